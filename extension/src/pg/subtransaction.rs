//! A subtransaction around something that may fail, so that after a failure the session is clean enough to act:
//! locks of every kind released, buffers unpinned, SPI unwound.

use crate::pg::entry::Failure;
use pgrx::pg_sys;
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
