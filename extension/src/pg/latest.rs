//! Reading what is committed now, whatever snapshot the transaction has.
//!
//! Under REPEATABLE READ a transaction sees the state at its first statement. Whether the guard is active, and what policy
//! says, must not be decided by what somebody saw an hour ago.

use crate::pg::caught::text;
use pgrx::pg_sys;
use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::CString;

thread_local! {
    static PLANS: RefCell<HashMap<&'static str, pg_sys::SPIPlanPtr>> = RefCell::default();
}

/// The first column of the first row of `sql`, as text; `None` without a row or for NULL.
pub fn value(sql: &'static str) -> Option<String> {
    // SAFETY: connect, plan, execute and finish in order, as spi.c wants it; the calls are pgrx's guarded ones, so an error
    // unwinds as a panic and SPI is closed at transaction abort. The plan is kept in memory of its own for the whole
    // session; the row's text is copied before SPI_finish frees it. The snapshot is registered while it is used.
    unsafe {
        pg_sys::SPI_connect();
        let known = PLANS.with_borrow(|plans| plans.get(sql).copied());
        let plan = known.unwrap_or_else(|| {
            let source = CString::new(sql).unwrap_or_default();
            let plan = pg_sys::SPI_prepare(source.as_ptr(), 0, std::ptr::null_mut());
            pg_sys::SPI_keepplan(plan);
            PLANS.with_borrow_mut(|plans| plans.insert(sql, plan));
            plan
        });
        // A parallel worker may take no snapshot of its own. A catalog snapshot is as new as any, and does not become the
        // transaction's: LOCK under REPEATABLE READ must come before that.
        let newest = if pg_sys::IsInParallelMode() {
            pg_sys::GetActiveSnapshot()
        } else {
            pg_sys::GetNonHistoricCatalogSnapshot(pg_sys::InvalidOid)
        };
        let snapshot = pg_sys::RegisterSnapshot(newest);
        pg_sys::SPI_execute_snapshot(
            plan,
            std::ptr::null_mut(),
            std::ptr::null(),
            snapshot,
            std::ptr::null_mut(),
            true,
            false,
            1,
        );
        let table = pg_sys::SPI_tuptable;
        let found = if pg_sys::SPI_processed == 0 || table.is_null() {
            None
        } else {
            let value = pg_sys::SPI_getvalue(*(*table).vals, (*table).tupdesc, 1);
            (!value.is_null()).then(|| text(value))
        };
        pg_sys::UnregisterSnapshot(snapshot);
        pg_sys::SPI_finish();
        found
    }
}

thread_local! {
    static EVENT_TRIGGERS: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

/// A number that changes whenever an event trigger may have changed, as far as this session has been told.
pub fn event_triggers_version() -> u64 {
    if EVENT_TRIGGERS.get() == 0 {
        EVENT_TRIGGERS.set(1);
        // SAFETY: the callback counts and does nothing else.
        unsafe {
            for cache in [pg_sys::SysCacheIdentifier::EVENTTRIGGEROID, pg_sys::SysCacheIdentifier::NAMESPACEOID] {
                pg_sys::CacheRegisterSyscacheCallback(cache as i32, Some(event_triggers_changed), pg_sys::Datum::from(0));
            }
        }
    }
    EVENT_TRIGGERS.get()
}

unsafe extern "C-unwind" fn event_triggers_changed(_argument: pg_sys::Datum, _cache: i32, _hash: u32) {
    EVENT_TRIGGERS.set(EVENT_TRIGGERS.get() + 1);
}
