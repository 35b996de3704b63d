//! `start_upgrade`, `start_downgrade`, `wait`, `cancel`, `pause`, `resume`, and view `jobs`.

use crate::apply::job::queue::{self, Stop};
use crate::error::refusal;
use crate::guard::caller::enter;
use crate::pg::execute::procedure;
use crate::pg::failure::Failure;
use crate::store;
use pgrx::JsonB;
use pgrx::datum::{Interval, TimestampWithTimeZone};
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use runbook_core::plan::Direction;
use runbook_core::vocabulary::job_state::JobState;
use runbook_core::{Phase, changing, progress};
use std::time::Duration;

/// Has a worker apply revisions, one transaction each: up to target, up to the end of a phase, or, where neither is given, towards head up
/// to the border of a phase.
#[pg_extern]
#[search_path(pg_catalog, runbook, pg_temp)]
fn start_upgrade(
    fcinfo: pg_sys::FunctionCallInfo,
    target: default!(Option<&str>, "''"),
    through: default!(Option<&str>, "''"),
) -> Result<i64, ErrorReport> {
    let call = enter(fcinfo, &changing::START_UPGRADE)?;
    let [target, through] = [call.given(target, "target")?, call.given(through, "through")?];
    let last = Some(through).filter(|text| !text.is_empty()).map(|text| {
        Phase::parse(text).ok_or_else(|| {
            let hint = "The phases are expand, migrate and contract.".to_owned();
            refusal("22023", format!("unknown phase \"{text}\""), None, Some(hint))
        })
    });
    let stop = match (target, last.transpose()?) {
        (_, Some(phase)) => Stop::Behind(phase),
        ("", None) => Stop::AtBorder,
        (_, None) => Stop::Never,
    };
    Ok(queue::start(Direction::Upgrade, if target.is_empty() { "head" } else { target }, stop)?)
}

/// Has a worker revert revisions down to target, one transaction each.
#[pg_extern]
#[search_path(pg_catalog, runbook, pg_temp)]
fn start_downgrade(fcinfo: pg_sys::FunctionCallInfo, target: Option<&str>) -> Result<i64, ErrorReport> {
    let call = enter(fcinfo, &changing::START_DOWNGRADE)?;
    let target = call.given(target, "target")?;
    Ok(queue::start(Direction::Downgrade, target, Stop::Never)?)
}

/// Behind `CALL runbook.wait(bigint)`.
pub fn wait(job: i64, may_end_transactions: bool) -> Result<(), Failure> {
    if !may_end_transactions {
        let detail = "A waiting transaction holds a snapshot, and a concurrent index build would wait for that snapshot.";
        let hint = format!("Outside a transaction block: CALL runbook.wait({job}); or here: SELECT * FROM runbook.jobs;");
        let message = "runbook.wait can't be called inside a transaction block";
        return Err(refusal("25001", message, Some(detail.to_owned()), Some(hint)).into());
    }
    let mut told = None;
    let failed = procedure::waiting(|| queue::look(job, &mut told))?;
    failed.map_or(Ok(()), |report| Err(Failure::PgError(crate::pg::pg_error::PgError::again(&report))))
}

/// Cancels a job; false if it has ended already.
#[pg_extern]
#[search_path(pg_catalog, runbook, pg_temp)]
fn cancel(fcinfo: pg_sys::FunctionCallInfo, job: Option<i64>) -> Result<bool, ErrorReport> {
    let call = enter(fcinfo, &changing::CANCEL)?;
    let job = call.given(job, "job")?;
    queue::cancel(job)
}

/// Stops a job before its next revision, statement or batch; false if it has already ended.
#[pg_extern]
#[search_path(pg_catalog, runbook, pg_temp)]
fn pause(fcinfo: pg_sys::FunctionCallInfo, job: Option<i64>) -> Result<bool, ErrorReport> {
    let call = enter(fcinfo, &changing::PAUSE)?;
    let job = call.given(job, "job")?;
    queue::pause(job)
}

/// Resumes a job; false if it has finished or is running.
#[pg_extern]
#[search_path(pg_catalog, runbook, pg_temp)]
fn resume(fcinfo: pg_sys::FunctionCallInfo, job: Option<i64>) -> Result<bool, ErrorReport> {
    let call = enter(fcinfo, &changing::RESUME)?;
    let job = call.given(job, "job")?;
    queue::resume(job)
}

/// An error as the session's login may see it.
fn shown(error: JsonB) -> JsonB {
    let report = serde_json::from_value(error.0).unwrap_or_default();
    JsonB(serde_json::to_value(queue::shown(report)).unwrap_or_default())
}

/// The rows of view `jobs`, or one of them.
#[pg_extern(security_definer)]
#[search_path(pg_catalog, runbook, pg_temp)]
#[allow(clippy::type_complexity, reason = "the columns of the result, which pgrx reads from here")]
fn jobs_in_force(
    only: default!(Option<i64>, "NULL"),
) -> Result<
    TableIterator<
        'static,
        (
            name!(job, i64),
            name!(state, String),
            name!(direction, String),
            name!(target, String),
            name!(revision, Option<String>),
            name!(step, i32),
            name!(steps, i32),
            name!(statement, Option<String>),
            name!(percent, Option<f64>),
            name!(eta, Option<Interval>),
            name!(waiting_for, Option<String>),
            name!(login, String),
            name!(requested_at, TimestampWithTimeZone),
            name!(started_at, Option<TimestampWithTimeZone>),
            name!(finished_at, Option<TimestampWithTimeZone>),
            name!(worker_pid, Option<i32>),
            name!(note, Option<String>),
            name!(error, Option<JsonB>),
        ),
    >,
    ErrorReport,
> {
    let row = |line: store::job_lines::Line| {
        let percent = if line.state == JobState::Finished.as_str() { Some(100.0) } else { progress::percent(&line.seen) };
        let elapsed = line.seconds.filter(|seconds| *seconds > 0.0).map(Duration::from_secs_f64);
        let eta = percent.zip(elapsed).and_then(|(percent, elapsed)| progress::eta(percent, elapsed));
        let eta = eta
            .filter(|_| line.state == JobState::Running.as_str())
            .map(|eta| Interval::from_seconds(eta.as_secs_f64().round()));
        (
            line.job,
            line.state,
            line.direction,
            line.target,
            line.revision,
            line.step,
            line.steps,
            line.statement,
            percent.map(|percent| (percent * 10.0).round() / 10.0),
            eta,
            line.waiting_for,
            line.login,
            line.requested_at,
            line.started_at,
            line.finished_at,
            line.worker_pid,
            line.note,
            line.error.map(shown),
        )
    };
    Ok(TableIterator::new(store::job_lines::lines(only)?.into_iter().map(row)))
}
