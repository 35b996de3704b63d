//! SQL of ours, run with plans that are kept.
//!
//! PostgreSQL acts on catalogs as they are now, whatever snapshot the transaction has: under REPEATABLE READ and SERIALIZABLE that may be
//! hours old. So what is decided from is read as of now, too.

use crate::error::internal;
use crate::pg::hooks::entry::Parameter;
use crate::pg::strings::text;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::{FromDatum, IntoDatum, pg_sys};
use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::{CString, c_char, c_int};

thread_local! {
    static PLANS: RefCell<HashMap<&'static str, pg_sys::SPIPlanPtr>> = RefCell::default();
}

/// What a statement of ours sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sight {
    /// What is committed now, and what this transaction has done, its current command included.
    Now,
    /// What is committed now, and what earlier commands of this transaction have done: for hooks in the middle of a command.
    BeforeCommand,
    /// What the transaction sees, its present command included.
    Transaction,
}

/// One row of a result.
pub struct Row {
    tuple: pg_sys::HeapTuple,
    shape: pg_sys::TupleDesc,
}

impl Row {
    /// The value of column `ordinal` (from 1), which the query never makes NULL.
    pub fn get<T: FromDatum + IntoDatum>(&self, ordinal: usize) -> Result<T, ErrorReport> {
        self.maybe(ordinal)?.ok_or_else(|| internal(format!("column {ordinal} of a runbook table is NULL")))
    }

    /// The value of column `ordinal` (from 1), if it is not NULL.
    pub fn maybe<T: FromDatum + IntoDatum>(&self, ordinal: usize) -> Result<Option<T>, ErrorReport> {
        let number = c_int::try_from(ordinal).unwrap_or_default();
        let mut is_null = false;
        // SAFETY: a row of a result, which is freed after the last use of it; PostgreSQL answers NULL for a column that is
        // not there. The value is of the type that is given with it, and is copied.
        unsafe {
            let datum = pg_sys::SPI_getbinval(self.tuple, self.shape, number, &raw mut is_null);
            T::try_from_datum(datum, is_null, pg_sys::SPI_gettypeid(self.shape, number))
        }
        .map_err(|error| internal(error.to_string()))
    }

    /// All columns, as text.
    pub fn texts(&self) -> Vec<Option<String>> {
        // SAFETY: as above; the texts are copied before they are freed.
        unsafe {
            let column = |number| {
                let value = pg_sys::SPI_getvalue(self.tuple, self.shape, number);
                (!value.is_null()).then(|| text(value))
            };
            (1..=(*self.shape).natts).map(column).collect()
        }
    }
}

/// Runs one statement, with the privileges in force; what `each` makes of the rows, up to the first error of it.
///
/// # Panics
/// With PostgreSQL's error, if the statement fails.
pub fn rows<T, E>(
    sql: &'static str,
    parameters: &[Parameter],
    sight: Sight,
    mut each: impl FnMut(&Row) -> Result<T, E>,
) -> Result<Vec<T>, E> {
    // SAFETY: connect, plan, execute and finish in order, as spi.c wants it; the calls are pgrx's guarded ones, so an error
    // unwinds as a panic and SPI is closed at the abort. Types, values and nulls have one element for each parameter, and the
    // caller keeps what the values point to. The plan is kept in memory of its own for the whole session; values are copied before
    // SPI_finish frees the rows. A snapshot is registered while it is used.
    unsafe {
        pg_sys::SPI_connect();
        let plan = plan(sql, parameters);
        let null = |parameter: &Parameter| if parameter.datum().is_some() { b' ' } else { b'n' } as c_char;
        let mut values: Vec<pg_sys::Datum> = parameters
            .iter()
            .map(|parameter| parameter.datum().map_or(pg_sys::Datum::from(0), |datum| datum.sans_lifetime()))
            .collect();
        let nulls: Vec<c_char> = parameters.iter().map(null).collect();
        // Parallel workers take no snapshot and begin no command.
        let is_parallel = pg_sys::IsInParallelMode();
        let snapshot = match sight {
            _ if is_parallel => pg_sys::GetActiveSnapshot(),
            Sight::Transaction => std::ptr::null_mut(),
            Sight::Now | Sight::BeforeCommand => now(),
        };
        let reads_only = is_parallel || sight == Sight::BeforeCommand;
        let held = if snapshot.is_null() { snapshot } else { pg_sys::RegisterSnapshot(snapshot) };
        let out = std::ptr::null_mut();
        let code = pg_sys::SPI_execute_snapshot(plan, values.as_mut_ptr(), nulls.as_ptr(), held, out, reads_only, true, 0);
        // What could not be asked must not look like no rows.
        if code < 0 {
            pgrx::error!("SQL of the runbook could not be run ({code}): {sql}");
        }
        if !held.is_null() {
            pg_sys::UnregisterSnapshot(held);
        }
        let table = pg_sys::SPI_tuptable;
        let count = if table.is_null() { 0 } else { usize::try_from(pg_sys::SPI_processed).unwrap_or_default() };
        let row = |at| Row { tuple: *(*table).vals.add(at), shape: (*table).tupdesc };
        let found = (0..count).map(|at| each(&row(at))).collect();
        pg_sys::SPI_finish();
        found
    }
}

/// A snapshot of what is committed by now. That of the catalogs is as new as any, and does not become the transaction's: LOCK under
/// REPEATABLE READ must come before that.
///
/// # Safety
/// Inside a transaction, not in a parallel worker. It is valid until the next one is taken, unless it is registered.
unsafe fn now() -> pg_sys::Snapshot {
    // SAFETY: as above.
    unsafe {
        pg_sys::AcceptInvalidationMessages();
        pg_sys::InvalidateCatalogSnapshot();
        pg_sys::GetNonHistoricCatalogSnapshot(pg_sys::InvalidOid)
    }
}

/// The plan of a statement, made once in a session. Its parameters are keys and short lists: to plan for their values takes longer than any
/// of the plans.
///
/// # Safety
/// SPI is connected.
unsafe fn plan(sql: &'static str, parameters: &[Parameter]) -> pg_sys::SPIPlanPtr {
    if let Some(known) = PLANS.with_borrow(|plans| plans.get(sql).copied()) {
        return known;
    }
    let source = CString::new(sql).unwrap_or_default();
    let mut types: Vec<pg_sys::Oid> = parameters.iter().map(Parameter::oid).collect();
    let count = c_int::try_from(types.len()).unwrap_or_default();
    // SAFETY: as above; NUL-terminated, with one type for each parameter.
    let made = unsafe {
        let made =
            pg_sys::SPI_prepare_cursor(source.as_ptr(), count, types.as_mut_ptr(), pg_sys::CURSOR_OPT_GENERIC_PLAN as c_int);
        pg_sys::SPI_keepplan(made);
        made
    };
    PLANS.with_borrow_mut(|plans| plans.insert(sql, made));
    made
}
