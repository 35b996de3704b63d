//! Reading several rows of the catalogs as they are now, whatever snapshot the transaction has, and telling who wrote a row.

use crate::pg::caught::text;
use crate::pg::entry::Parameter;
use pgrx::pg_sys;
use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::{CString, c_char, c_int};

thread_local! {
    static PLANS: RefCell<HashMap<&'static str, pg_sys::SPIPlanPtr>> = RefCell::default();
}

/// All columns of all rows of `sql`, as text.
pub fn rows(sql: &'static str, parameters: &[Parameter]) -> Vec<Vec<Option<String>>> {
    // SAFETY: connect, plan, execute and finish in order, as spi.c wants it; the calls are pgrx's guarded ones, so an error
    // unwinds as a panic and SPI is closed at transaction abort. Types, values and nulls have one element for each parameter, and the
    // caller keeps what the values point to. The plan is kept in memory of its own for the whole session; texts are copied before
    // SPI_finish frees them. The snapshot is taken anew, and registered while it is used.
    unsafe {
        pg_sys::SPI_connect();
        let known = PLANS.with_borrow(|plans| plans.get(sql).copied());
        let plan = known.unwrap_or_else(|| {
            let source = CString::new(sql).unwrap_or_default();
            let mut types: Vec<pg_sys::Oid> = parameters.iter().map(Parameter::oid).collect();
            let count = c_int::try_from(types.len()).unwrap_or_default();
            // The parameters are lists of a few names or OIDs: making a plan takes longer than any of the plans.
            let generic = pg_sys::CURSOR_OPT_GENERIC_PLAN as c_int;
            let plan = pg_sys::SPI_prepare_cursor(source.as_ptr(), count, types.as_mut_ptr(), generic);
            pg_sys::SPI_keepplan(plan);
            PLANS.with_borrow_mut(|plans| plans.insert(sql, plan));
            plan
        });
        let null = |parameter: &Parameter| if parameter.datum().is_some() { b' ' } else { b'n' } as c_char;
        let mut values: Vec<pg_sys::Datum> = parameters
            .iter()
            .map(|parameter| parameter.datum().map_or(pg_sys::Datum::from(0), |datum| datum.sans_lifetime()))
            .collect();
        let nulls: Vec<c_char> = parameters.iter().map(null).collect();
        pg_sys::AcceptInvalidationMessages();
        pg_sys::InvalidateCatalogSnapshot();
        let snapshot = pg_sys::RegisterSnapshot(pg_sys::GetNonHistoricCatalogSnapshot(pg_sys::InvalidOid));
        let out = std::ptr::null_mut();
        pg_sys::SPI_execute_snapshot(plan, values.as_mut_ptr(), nulls.as_ptr(), snapshot, out, true, false, 0);
        let table = pg_sys::SPI_tuptable;
        let count = if table.is_null() { 0 } else { usize::try_from(pg_sys::SPI_processed).unwrap_or_default() };
        let mut found = Vec::with_capacity(count);
        for at in 0..count {
            let (row, shape) = (*(*table).vals.add(at), (*table).tupdesc);
            let column = |number| {
                let value = pg_sys::SPI_getvalue(row, shape, number);
                (!value.is_null()).then(|| text(value))
            };
            found.push((1..=(*shape).natts).map(column).collect());
        }
        pg_sys::UnregisterSnapshot(snapshot);
        pg_sys::SPI_finish();
        found
    }
}

/// Whether the transaction at hand, or a subtransaction of it that is not rolled back, has written a row with this `xmin`.
pub fn is_own_write(xmin: u32) -> bool {
    // SAFETY: reads the transaction state.
    unsafe { pg_sys::TransactionIdIsCurrentTransactionId(pg_sys::TransactionId::from(xmin)) }
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
