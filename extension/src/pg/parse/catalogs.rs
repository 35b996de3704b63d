//! Who wrote a row of a catalog, and when.

use pgrx::pg_sys;

/// Whether the transaction at hand, or a subtransaction of it that is not rolled back, has written a row with this `xmin`.
pub fn is_own_write(xmin: u32) -> bool {
    // SAFETY: reads the transaction state.
    unsafe { pg_sys::TransactionIdIsCurrentTransactionId(pg_sys::TransactionId::from(xmin)) }
}

/// The transaction that has written a column as it is now; `None` where there is none.
pub fn column_written(relation: u32, number: i32) -> Option<u32> {
    // SAFETY: the tuple is null or a row that stays valid until it is released.
    unsafe {
        let cache = pg_sys::SysCacheIdentifier::ATTNUM as i32;
        let number = pg_sys::Datum::from(i16::try_from(number).ok()?);
        let tuple = pg_sys::SearchSysCache2(cache, pg_sys::Oid::from(relation).into(), number);
        if tuple.is_null() {
            return None;
        }
        let written = (*(*tuple).t_data).t_choice.t_heap.t_xmin.into_inner();
        pg_sys::ReleaseSysCache(tuple);
        Some(written)
    }
}

/// The oldest transaction that may still be running: what older ones wrote was there before now.
pub fn horizon() -> u32 {
    // SAFETY: a fresh snapshot is only looked at; the next one replaces it.
    unsafe {
        pg_sys::InvalidateCatalogSnapshot();
        (*pg_sys::GetNonHistoricCatalogSnapshot(pg_sys::InvalidOid)).xmin.into_inner()
    }
}

/// Whether a row with this `xmin` was written before the time of a [`horizon`].
pub fn was_before(xmin: u32, horizon: u32) -> bool {
    // SAFETY: compares two numbers.
    unsafe { pg_sys::TransactionIdPrecedes(pg_sys::TransactionId::from(xmin), pg_sys::TransactionId::from(horizon)) }
}

/// Whether a row with this `xmin` was written by another transaction, and the statement at hand does not see it yet.
pub fn is_unseen(xmin: u32) -> bool {
    let written = pg_sys::TransactionId::from(xmin);
    // SAFETY: the active snapshot, where there is one, lives as long as the statement.
    unsafe {
        pg_sys::ActiveSnapshotSet()
            && !pg_sys::TransactionIdIsCurrentTransactionId(written)
            && pg_sys::XidInMVCCSnapshot(written, pg_sys::GetActiveSnapshot())
    }
}
