//! Whether a job is to go on: somebody may want it to stop, and its login may be no operator any more.

use crate::error::{self, refusal};
use crate::pg::session::identity::{self, session_is_member};
use crate::store::jobs::{self, Job};
use pgrx::pg_sys::panic::ErrorReport;
use runbook_core::vocabulary::job_state::JobState;
use std::cell::Cell;
use std::time::{Duration, Instant};

/// Refuses to go on for a login that is no operator any more.
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

/// How often it is looked whether somebody wants the job to stop.
const LOOK: Duration = Duration::from_millis(50);

/// Whether somebody wants the job to stop. Inside a transaction.
pub fn stop_requested(job: &Job) -> error::Result<bool> {
    if POLLED.get().is_some_and(|looked| looked.elapsed() < LOOK) {
        return Ok(false);
    }
    POLLED.set(Some(Instant::now()));
    Ok(jobs::state(job.job)? != Some(JobState::Running))
}
