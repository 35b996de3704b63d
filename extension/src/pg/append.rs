//! Rows written without a statement.
//!
//! Every DDL transaction writes to the ledger right before it commits. The way through the executor, with its plans, snapshots and
//! triggers, took three times as long as what PostgreSQL itself does with the rows of COPY, which is done here.

use pgrx::IntoDatum;
use pgrx::pg_sys;
use std::ffi::CStr;

/// Appends rows to a table of schema `runbook` that has no index, none of whose columns is NULL; false if there is no such table with so
/// many columns. They are visible to what the same transaction runs next.
///
/// # Panics
/// With PostgreSQL's error if the table can't be locked.
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
        let fits = usize::try_from((*descriptor).natts) == Ok(COLUMNS)
            && (*(*relation).rd_rel).relkind as u8 == b'r'
            && !(*(*relation).rd_rel).relhasindex;
        if fits {
            let slot = |values: &mut [pg_sys::Datum; COLUMNS]| {
                let tuple = pg_sys::heap_form_tuple(descriptor, values.as_mut_ptr(), [false; COLUMNS].as_mut_ptr());
                let slot = pg_sys::MakeSingleTupleTableSlot(descriptor, &raw const pg_sys::TTSOpsHeapTuple);
                pg_sys::ExecStoreHeapTuple(tuple, slot, true)
            };
            let mut slots: Vec<*mut pg_sys::TupleTableSlot> = rows.iter_mut().map(slot).collect();
            let count = i32::try_from(slots.len()).unwrap_or(0);
            let command = pg_sys::GetCurrentCommandId(true);
            pg_sys::heap_multi_insert(relation, slots.as_mut_ptr(), count, command, 0, std::ptr::null_mut());
            slots.into_iter().for_each(|slot| pg_sys::ExecDropSingleTupleTableSlot(slot));
            pg_sys::CommandCounterIncrement();
        }
        pg_sys::table_close(relation, pg_sys::NoLock as pg_sys::LOCKMODE);
        fits
    }
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
    /// Microseconds from 1970 to 2000, where PostgreSQL counts from (datatype/timestamp.h).
    const EPOCH: i64 = 946_684_800_000_000;
    pg_sys::Datum::from(micros - EPOCH)
}
