//! Rows written without a statement.
//!
//! Every DDL transaction writes to the ledger right before it commits. The way through the executor, with its plans, snapshots and
//! triggers, took twice as long as what PostgreSQL itself does with rows of its catalogs, which is done here.

use pgrx::IntoDatum;
use pgrx::pg_sys;
use std::ffi::CStr;

/// An open table that takes rows.
pub struct Table {
    relation: pg_sys::Relation,
    indexes: pg_sys::CatalogIndexState,
    columns: usize,
}

impl Table {
    /// Opens a table in schema `runbook` that has `columns` columns, and plain indexes only; `None` if there is no such table.
    ///
    /// # Panics
    /// With PostgreSQL's error if it can't be locked.
    pub fn open(name: &CStr, columns: usize) -> Option<Self> {
        // SAFETY: look-ups with missing_ok inside a transaction; the lock is kept to its end.
        unsafe {
            let schema = pg_sys::get_namespace_oid(c"runbook".as_ptr(), true);
            let table = pg_sys::get_relname_relid(name.as_ptr(), schema);
            if table == pg_sys::InvalidOid {
                return None;
            }
            let relation = pg_sys::table_open(table, pg_sys::RowExclusiveLock as pg_sys::LOCKMODE);
            let has = usize::try_from((*(*relation).rd_att).natts).unwrap_or(0);
            if has != columns || (*(*relation).rd_rel).relkind as u8 != b'r' {
                pg_sys::table_close(relation, pg_sys::NoLock as pg_sys::LOCKMODE);
                return None;
            }
            Some(Self { relation, indexes: pg_sys::CatalogOpenIndexes(relation), columns })
        }
    }

    /// Inserts a row, none of whose columns is NULL.
    ///
    /// # Panics
    /// With PostgreSQL's error, such as that of a key that is there already.
    pub fn insert(&self, values: &mut [pg_sys::Datum]) {
        assert_eq!(values.len(), self.columns, "a row has as many values as the table has columns");
        let mut nulls = vec![false; values.len()];
        // SAFETY: as many values as columns, of the columns' types: the callers write rows of tables that this extension has made.
        // The tuple is copied into the page, and into the indexes, before it is freed.
        unsafe {
            let tuple = pg_sys::heap_form_tuple((*self.relation).rd_att, values.as_mut_ptr(), nulls.as_mut_ptr());
            pg_sys::CatalogTupleInsertWithInfo(self.relation, tuple, self.indexes);
            pg_sys::heap_freetuple(tuple);
        }
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // SAFETY: opened by `open`; an error lets PostgreSQL close them itself.
            unsafe {
                pg_sys::CatalogCloseIndexes(self.indexes);
                pg_sys::table_close(self.relation, pg_sys::NoLock as pg_sys::LOCKMODE);
            }
        }
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

/// Makes the insertions visible to what the same transaction runs next.
pub fn done() {
    // SAFETY: called inside a transaction.
    unsafe { pg_sys::CommandCounterIncrement() }
}
