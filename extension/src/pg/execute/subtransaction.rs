//! A subtransaction around something that may fail, so that after a failure the session is clean enough to act:
//! locks of every kind released, buffers unpinned, SPI unwound.

use crate::error::unpacked;
use crate::pg::failure::Failure;
use pgrx::pg_sys;
use pgrx::pg_sys::panic::CaughtError;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// Runs `body` in a subtransaction, which is rolled back if it fails.
///
/// # Errors
/// Those of `body`, unchanged.
pub fn within<T>(body: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    // SAFETY: the protocol of PL/pgSQL's exec_stmt_block: begin, restore the memory context, and after the end restore
    // context and resource owner. pgrx raises PostgreSQL's errors as panics: one that passed through without ending the
    // subtransaction would leave the session inside of it for ever.
    unsafe {
        let context = pg_sys::CurrentMemoryContext;
        let owner = pg_sys::CurrentResourceOwner;
        pg_sys::BeginInternalSubTransaction(std::ptr::null());
        pg_sys::CurrentMemoryContext = context;
        let result = catch_unwind(AssertUnwindSafe(body));
        match &result {
            Ok(Ok(_)) => pg_sys::ReleaseCurrentSubTransaction(),
            _ => pg_sys::RollbackAndReleaseCurrentSubTransaction(),
        }
        pg_sys::CurrentMemoryContext = context;
        pg_sys::CurrentResourceOwner = owner;
        result.unwrap_or_else(|panic| resume_unwind(panic))
    }
}

/// Runs something that may fail, and goes on if it does: its subtransaction is rolled back, and the answer is `None`. A request
/// to cancel the statement or to end the session is not caught, and neither is a panic of our own.
pub fn attempt<T>(body: impl FnOnce() -> Result<T, Failure>) -> Option<T> {
    // SAFETY: reads a static of xact.c. A parallel worker has no subtransactions, and runs no statement that changes anything.
    if unsafe { pg_sys::IsInParallelMode() } {
        return None;
    }
    match catch_unwind(AssertUnwindSafe(|| within(body))) {
        Ok(Ok(value)) => Some(value),
        Ok(Err(Failure::PgError(caught))) if is_interruption(&caught.sqlstate()) => {
            pgrx::pg_sys::panic::ErrorReport::from(Failure::PgError(caught)).report(pgrx::PgLogLevel::ERROR);
            None
        }
        Ok(Err(_)) => None,
        Err(panic) => match panic.downcast_ref::<CaughtError>() {
            Some(CaughtError::PostgresError(report)) if !is_interruption(&unpacked(report.sql_error_code() as i32)) => None,
            _ => resume_unwind(panic),
        },
    }
}

/// Whether a SQLSTATE says that somebody wants the statement or the session to end: query_canceled, and those of class 57P.
fn is_interruption(sqlstate: &str) -> bool {
    sqlstate == "57014" || sqlstate.starts_with("57P")
}
