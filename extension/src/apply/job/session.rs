//! The session of a job's worker.

use crate::pg::execute::job;
use crate::pg::failure::Failure;
use crate::settings::Settings;
use crate::store::jobs::Job;

/// Sets the worker's session up, regardless of the settings of the login and the database.
pub fn set_up(job: &Job) -> Result<(), Failure> {
    let name = format!("runbook job {}", job.job);
    let look = Settings::load()?.poll_interval().as_millis().to_string();
    for (parameter, value) in [
        ("application_name", name.as_str()),
        ("statement_timeout", "0"),
        ("lock_timeout", "0"),
        ("idle_in_transaction_session_timeout", "0"),
        ("log_lock_waits", "on"),
        ("deadlock_timeout", look.as_str()),
        ("default_transaction_read_only", "off"),
        ("default_transaction_isolation", "read committed"),
        ("default_transaction_deferrable", "off"),
    ] {
        job::set_parameter(parameter, value)?;
    }
    Ok(())
}
