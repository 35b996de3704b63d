//! Rows written without a statement.
//!
//! Every DDL transaction writes to the ledger right before it commits. The way through the executor, with its plans, snapshots and
//! triggers, took three times as long as what PostgreSQL itself does with the rows of COPY, which is done here.

use crate::pg::clock::POSTGRES_EPOCH;
use pgrx::{IntoDatum, pg_sys};
use std::ffi::CStr;

/// Appends rows to a table of schema `runbook`, none of whose columns is NULL; false if there is no such table with so many columns. They are visible to what the same transaction runs next.
///
/// # Panics
/// With PostgreSQL's error if the table can't be locked, or a constraint is violated.
pub fn rows<const COLUMNS: usize>(name: &CStr, rows: &mut [[pg_sys::Datum; COLUMNS]]) -> bool {
    // SAFETY: look-ups with missing_ok inside a transaction. A row has as many values as the table has columns, of the columns' types:
    // the callers write rows of tables that this extension has made. The slots live until they have been inserted; an error has
    // PostgreSQL free and close everything itself. The lock is kept to the end of the transaction.
    unsafe {
        let schema = pg_sys::get_namespace_oid(c"runbook".as_ptr(), true);
        let table = pg_sys::get_relname_relid(name.as_ptr(), schema);
        if table == pg_sys::InvalidOid {
            return false;
        }
        let relation = pg_sys::table_open(table, pg_sys::RowExclusiveLock as pg_sys::LOCKMODE);
        let descriptor = (*relation).rd_att;
        let class = (*relation).rd_rel;
        let fits = usize::try_from((*descriptor).natts) == Ok(COLUMNS) && (*class).relkind as u8 == b'r';
        if fits {
            let slot = |values: &mut [pg_sys::Datum; COLUMNS]| {
                let tuple = pg_sys::heap_form_tuple(descriptor, values.as_mut_ptr(), [false; COLUMNS].as_mut_ptr());
                let slot = pg_sys::MakeSingleTupleTableSlot(descriptor, &raw const pg_sys::TTSOpsHeapTuple);
                pg_sys::ExecStoreHeapTuple(tuple, slot, true)
            };
            let mut slots: Vec<*mut pg_sys::TupleTableSlot> = rows.iter_mut().map(slot).collect();
            if (*class).relhasindex {
                insert_with_indexes(relation, &slots);
            } else {
                let count = i32::try_from(slots.len()).unwrap_or(0);
                let command = pg_sys::GetCurrentCommandId(true);
                pg_sys::heap_multi_insert(relation, slots.as_mut_ptr(), count, command, 0, std::ptr::null_mut());
            }
            slots.into_iter().for_each(|slot| pg_sys::ExecDropSingleTupleTableSlot(slot));
            pg_sys::CommandCounterIncrement();
        }
        pg_sys::table_close(relation, pg_sys::NoLock as pg_sys::LOCKMODE);
        fits
    }
}

/// Inserts rows as logical replication does, with constraints and indexes of every kind.
///
/// # Safety
/// The relation is open and locked for writing; each slot holds a row of it.
unsafe fn insert_with_indexes(relation: pg_sys::Relation, slots: &[*mut pg_sys::TupleTableSlot]) {
    // SAFETY: as above. No range table is wanted: what it would serve, errors about columns that may not be read, is left out for a relation
    // without a place in one. What is made here lives in the executor state's memory, or is closed before that is freed.
    unsafe {
        let state = pg_sys::CreateExecutorState();
        (*state).es_output_cid = pg_sys::GetCurrentCommandId(true);
        let mut result = pg_sys::ResultRelInfo { type_: pg_sys::NodeTag::T_ResultRelInfo, ..Default::default() };
        pg_sys::InitResultRelInfo(&raw mut result, relation, 0, std::ptr::null_mut(), 0);
        // Its triggers keep others off.
        result.ri_TrigDesc = std::ptr::null_mut();
        pg_sys::ExecOpenIndices(&raw mut result, false);
        slots.iter().for_each(|slot| pg_sys::ExecSimpleRelationInsert(&raw mut result, state, *slot));
        pg_sys::ExecCloseIndices(&raw mut result);
        pg_sys::FreeExecutorState(state);
    }
}

/// The value of a column that can't be NULL: an OID, a number, a boolean, an array of texts.
pub fn value(value: impl IntoDatum) -> pg_sys::Datum {
    value.into_datum().expect("it is not NULL")
}

/// A text column's value.
pub fn text(value: &str) -> pg_sys::Datum {
    value.into_datum().expect("a text is not NULL")
}

/// A bytea column's value.
pub fn bytes(value: &[u8]) -> pg_sys::Datum {
    value.into_datum().expect("bytes are not NULL")
}

/// A uuid column's value.
pub fn uuid(value: [u8; 16]) -> pg_sys::Datum {
    pgrx::Uuid::from_bytes(value).into_datum().expect("a uuid is not NULL")
}

/// A timestamptz column's value, from microseconds since 1970.
pub fn moment(micros: i64) -> pg_sys::Datum {
    pg_sys::Datum::from(micros - POSTGRES_EPOCH)
}
