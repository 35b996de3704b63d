//! Jobs, seen from whoever asks for them: start, wait, cancel, pause, resume.

use crate::apply::run::Run;
use crate::apply::settings::Settings;
use crate::apply::{Way, way};
use crate::error::{internal, refusal};
use crate::ledger;
use crate::pg::entry::Failure;
use crate::pg::identity::{self, database, name_of_role, session_oid, session_role};
use crate::pg::job;
use crate::pg::lock::Held;
use crate::pg::transaction::with_snapshot;
use crate::store::jobs::{self, Job, New};
use crate::store::{self, revisions};
use pgrx::pg_sys::panic::ErrorReport;
use runbook_core::ledger::Kind;
use runbook_core::plan::Direction;
use runbook_core::report::Report;
use serde_json::json;
use std::cell::Cell;
use std::time::{Duration, Instant};

/// After so many workers that have ended before they had got anywhere, nobody tries again by himself: what a job does may be what ends them.
pub const IDLE_STARTS: i32 = 10;

/// Stores a job for the steps to `target`; its worker starts when the calling transaction commits.
///
/// # Errors
/// Those of the target; 42501 where an approval is missing: what would stop a later step is said before the first.
pub fn start(direction: Direction, target: &str) -> Result<i64, Failure> {
    let settings = Settings::load()?;
    let Way { graph, steps, .. } = way(&revisions::heads()?, target, direction, true)?;
    let ids = graph.ids(&steps);
    let run = Run::new(direction, settings, &ids)?;
    let stored = revisions::load(&ids)?;
    for one in &stored {
        run.refuse_if_needy(one, one.actions(direction), false)?;
    }
    let digests: Vec<String> = stored.into_iter().map(|one| one.digest).collect();
    if digests.len() != ids.len() {
        return Err(internal("a revision of the plan has no row").into());
    }
    let (login, address) = (session_oid(), store::ledger::client_address()?);
    let job = jobs::add(&New {
        direction,
        target,
        revisions: &ids,
        digests: &digests,
        login: (login, &session_role()),
        role: identity::current_oid(),
        address: &address,
        application: &identity::application_name(),
        database: &database(),
    })?;
    if ids.is_empty() {
        jobs::set_state(job, "finished", None)?;
    } else {
        let facts = json!({"direction": direction.as_str(), "target": target, "revisions": ids, "job": job});
        ledger::record(Kind::ApplyStarted, facts)?;
        job::start_at_commit(job, login);
    }
    Ok(job)
}

thread_local! {
    /// When this session last had a worker started for a job that nobody worked on.
    static REVIVED: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// How a job has ended: with an error, or without one; `None` while it goes on. `told` is what the client knows of what it waits for.
pub fn look(number: i64, told: &mut Option<String>) -> store::Result<Option<Option<Report>>> {
    let found = with_snapshot(|| jobs::outcome(number))?;
    let Some((state, is_run, error)) = found else { return Err(unknown(number)) };
    let ended = |sqlstate: &str, message: String, hint: String| {
        Ok(Some(Some(Report { sqlstate: sqlstate.to_owned(), message, hint, ..Report::default() })))
    };
    match state.as_str() {
        "finished" => Ok(Some(None)),
        "failed" => Ok(Some(Some(error.unwrap_or_default()))),
        "cancelled" => ended(
            "57014",
            format!("job {number} was cancelled"),
            format!("What it had applied stays. To go on: SELECT runbook.resume({number});"),
        ),
        "paused" => ended("55000", format!("job {number} is paused"), format!("To go on: SELECT runbook.resume({number});")),
        _ => {
            // Its worker may have found no slot, or have gone down with the server.
            let early = REVIVED.get().is_some_and(|last| last.elapsed() < Duration::from_secs(1));
            if !is_run && !early {
                if REVIVED.replace(Some(Instant::now())).is_some() {
                    with_snapshot(revive)?;
                }
            } else if is_run {
                REVIVED.set(Some(Instant::now()));
            }
            tell(number, told)?;
            Ok(None)
        }
    }
}

/// Says what a job waits for, where that has changed.
fn tell(number: i64, told: &mut Option<String>) -> store::Result<()> {
    let Some(text) = with_snapshot(|| jobs::note_of(number))? else { return Ok(()) };
    if told.as_ref() != Some(&text) {
        pgrx::notice!("job {number}: {text}");
        *told = Some(text);
    }
    Ok(())
}

fn unknown(number: i64) -> ErrorReport {
    let hint = "SELECT job, state, target FROM runbook.jobs;";
    refusal("42704", format!("job {number} does not exist"), None, Some(hint.to_owned()))
}

fn existing(number: i64) -> store::Result<Job> {
    jobs::lock(number)?.ok_or_else(|| unknown(number))
}

fn entry(kind: Kind, job: &Job) -> store::Result<()> {
    ledger::record(kind, json!({"job": job.job, "direction": job.direction.as_str(), "target": job.target}))
}

/// Cancels a job; false if it has ended.
pub fn cancel(number: i64) -> store::Result<bool> {
    let job = existing(number)?;
    match job.state.as_str() {
        "queued" | "paused" if job.starts == 0 => jobs::set_state(number, "cancelled", None)?,
        "queued" | "paused" | "running" | "pausing" => {
            jobs::set_state(number, "cancelling", None)?;
            // The number of a process that is gone may be another's by now.
            if let Some(pid) = job.worker_pid.filter(|pid| jobs::runner().is_ok_and(|runner| runner == Some(*pid))) {
                job::interrupt_at_commit(pid);
            }
            job::start_at_commit(number, job.login);
        }
        "cancelling" => job::start_at_commit(number, job.login),
        _ => return Ok(false),
    }
    entry(Kind::ApplyCancelled, &job)?;
    Ok(true)
}

/// Has a job stop where it can go on later; false if it has ended.
pub fn pause(number: i64) -> store::Result<bool> {
    let job = existing(number)?;
    match job.state.as_str() {
        "queued" => jobs::set_state(number, "paused", None)?,
        "running" => jobs::set_state(number, "pausing", None)?,
        "pausing" | "paused" => return Ok(true),
        _ => return Ok(false),
    }
    entry(Kind::ApplyPaused, &job)?;
    Ok(true)
}

/// Has a job go on; false if it has finished, or somebody is at work on it.
pub fn resume(number: i64) -> store::Result<bool> {
    let job = existing(number)?;
    let is_stopped = ["paused", "failed", "cancelled"].contains(&job.state.as_str());
    let is_open = ["queued", "running", "pausing", "cancelling"].contains(&job.state.as_str());
    if is_stopped {
        jobs::requeue(number)?;
        entry(Kind::ApplyResumed, &job)?;
    } else if !is_open || (job.state != "queued" && is_at_work()?) {
        return Ok(false);
    } else {
        jobs::forgive(number)?;
    }
    job::start_at_commit(number, job.login);
    Ok(true)
}

/// Whether a worker is at work in this database.
fn is_at_work() -> store::Result<bool> {
    Ok(Held::runner().is_none())
}

/// Starts a worker for the oldest job that nobody works on.
pub fn revive() -> store::Result<()> {
    let Some(job) = jobs::next(&database())? else { return Ok(()) };
    if is_at_work()? {
        return Ok(());
    }
    if job.idle_starts >= IDLE_STARTS {
        let error = Report {
            sqlstate: "58000".to_owned(),
            message: format!("job {} was given up", job.job),
            detail: format!("{IDLE_STARTS} workers in a row have ended before they had got anywhere."),
            hint: format!("Look into the server log; then SELECT runbook.resume({});", job.job),
            ..Report::default()
        };
        jobs::set_state(job.job, "failed", Some(&error))?;
    } else if name_of_role(job.login).is_none() {
        let error = Report {
            sqlstate: "28000".to_owned(),
            message: format!("job {} can't go on: the login that asked for it is gone", job.job),
            hint: format!("Ask for it anew: SELECT runbook.start_{}('{}');", job.direction.as_str(), job.target),
            ..Report::default()
        };
        jobs::set_state(job.job, "failed", Some(&error))?;
    } else {
        job::start(job.job, job.login);
    }
    Ok(())
}
