//! Whether a job may continue: a stop may have been requested, and its login may have lost the role of operator.

use crate::error::{self, refusal};
use crate::pg::session::identity::{self, session_is_member};
use crate::store::jobs::{self, Job};
use pgrx::pg_sys::panic::ErrorReport;
use runbook_core::vocabulary::job_state::JobState;
use std::cell::Cell;
use std::time::{Duration, Instant};

/// Refuses to continue for a login that is no longer an operator.
///
/// # Errors
/// 42501.
pub fn must_be_operator() -> Result<(), ErrorReport> {
    if session_is_member("runbook_operator") { Ok(()) } else { Err(no_operator()) }
}

fn no_operator() -> ErrorReport {
    let message = format!("login \"{}\" is no longer a member of runbook_operator", identity::session_role());
    refusal("42501", message, None, None)
}

thread_local! {
    static POLLED: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// Polling interval for stop requests.
const LOOK: Duration = Duration::from_millis(50);

/// Whether a stop was requested. Called inside a transaction.
pub fn stop_requested(job: &Job) -> error::Result<bool> {
    if POLLED.get().is_some_and(|looked| looked.elapsed() < LOOK) {
        return Ok(false);
    }
    POLLED.set(Some(Instant::now()));
    Ok(jobs::state(job.job)? != Some(JobState::Running))
}
