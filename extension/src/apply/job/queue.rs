//! Jobs, from the client's side: start, wait, cancel, pause, resume.

use crate::apply::context::ApplyContext;
use crate::apply::way::{Way, way};
use crate::error::{self, internal, refusal};
use crate::ledger;
use crate::pg::execute::job;
use crate::pg::execute::lock::Held;
use crate::pg::execute::transaction::with_snapshot;
use crate::pg::failure::Failure;
use crate::pg::session::identity::{self, database, session_oid, session_role};
use crate::pg::session::timeline;
use crate::settings::Settings;
use crate::store::jobs::{self, Job, New};
use crate::store::revisions::{self, Stored, phase_before, phases};
use crate::store::{self, graph, job_lines};
use pgrx::pg_sys::panic::ErrorReport;
use runbook_core::ledger::Kind;
use runbook_core::plan::Direction;
use runbook_core::report::Report;
use runbook_core::timeline::stopped_early;
use runbook_core::vocabulary::job_state::{JobEvent, JobState};
use runbook_core::{Phase, border};
use serde_json::json;
use std::cell::Cell;
use std::time::{Duration, Instant};

/// After this many workers in a row ended without progress, no other is started by itself: the job may be what ends them.
const IDLE_STARTS: i32 = 10;

/// Stores a job for the steps to `target`, or for those before the border of a phase; its worker starts when the calling transaction
/// commits.
///
/// # Errors
/// Those of the target; 42501 where an approval is missing: what would stop a later step is said before the first.
pub fn start(direction: Direction, target: &str, stop: Stop) -> Result<i64, Failure> {
    let settings = Settings::load()?;
    let Way { graph, steps, .. } = way(&graph::heads()?, target, direction)?;
    let mut ids = graph.ids(&steps);
    let mut stored = revisions::load(&ids)?;
    if let Some(next) = stop.within(&stored)? {
        tell_of_border(&stored[next]);
        stored.truncate(next);
        ids.truncate(next);
    }
    let run = ApplyContext::new(direction, settings, &ids)?;
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
        jobs::set_state(job, JobState::Finished, None)?;
    } else {
        let facts = json!({"direction": direction.as_str(), "target": target, "revisions": ids, "job": job});
        ledger::record(Kind::ApplyStarted, facts)?;
        job::start_at_commit(job, login);
    }
    Ok(job)
}

/// How far an upgrade goes.
#[derive(Clone, Copy, Debug)]
pub enum Stop {
    /// To its target.
    Never,
    /// To the end of a phase.
    Behind(Phase),
    /// To where a later phase begins.
    AtBorder,
}

impl Stop {
    /// How many of the steps that is, if not all.
    fn within(self, steps: &[Stored]) -> error::Result<Option<usize>> {
        Ok(match self {
            Self::Never => None,
            Self::Behind(phase) => border::stop(None, &phases(steps), Some(phase)),
            Self::AtBorder => border::stop(phase_before(steps)?, &phases(steps), None),
        })
    }
}

/// Says before which revision an upgrade stops.
fn tell_of_border(next: &Stored) {
    let (id, phase) = (next.revision.revision.as_str(), next.phase.as_str());
    pgrx::notice!(
        "the upgrade stops before revision \"{id}\", where phase {phase} begins; to go on after the release: \
         runbook upgrade --through {phase}, or SELECT runbook.start_upgrade('head', '{phase}');"
    );
}

thread_local! {
    /// When this session last started a worker for a job that had none.
    static REVIVED: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// How a job has ended: with an error, or without one; `None` while it runs. `told` is the last note that the client was shown.
pub fn look(number: i64, told: &mut Option<String>) -> error::Result<Option<Option<Report>>> {
    if identity::in_recovery() {
        return Err(refusal("25006", "jobs cannot run on a standby", None, None));
    }
    let found = with_snapshot(|| jobs::outcome(number))?;
    let Some((state, is_run, error)) = found else { return Err(unknown(number)) };
    let ended = |sqlstate: &str, message: String, hint: String| {
        Ok(Some(Some(Report { sqlstate: sqlstate.to_owned(), message, hint, ..Report::default() })))
    };
    match state {
        JobState::Finished => Ok(Some(None)),
        JobState::Failed => Ok(Some(Some(shown(error.unwrap_or_default())))),
        JobState::Cancelled => ended(
            "57014",
            format!("job {number} was cancelled"),
            format!("What it has applied stays. To continue: SELECT runbook.resume({number});"),
        ),
        JobState::Paused => {
            ended("55000", format!("job {number} is paused"), format!("To continue: SELECT runbook.resume({number});"))
        }
        JobState::Interrupted => ended(
            "55000",
            format!("job {number} is interrupted: {RECOVERED}"),
            format!("If it shall go on: SELECT runbook.resume({number});"),
        ),
        JobState::Queued | JobState::Running | JobState::Pausing | JobState::Cancelling => {
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

/// An error as the session's login may see it: it can hold values of rows.
pub fn shown(report: Report) -> Report {
    let may = ["runbook_operator", "runbook_admin", "runbook_auditor"].iter().any(|role| identity::session_is_member(role));
    if may { report } else { report.reduced() }
}

/// Says what a job waits for, where that has changed.
fn tell(number: i64, told: &mut Option<String>) -> error::Result<()> {
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

fn existing(number: i64) -> error::Result<Job> {
    let job = jobs::lock(number)?.ok_or_else(|| unknown(number))?;
    if job.database != database() {
        let detail = "It came with a dump, and the logins that it names belong to that database.".to_owned();
        let hint = format!("Start it again: SELECT runbook.start_{}('{}');", job.direction.as_str(), job.target);
        return Err(refusal("55000", format!("job {number} was started in another database"), Some(detail), Some(hint)));
    }
    Ok(job)
}

fn entry(kind: Kind, job: &Job) -> error::Result<()> {
    ledger::record(kind, json!({"job": job.job, "direction": job.direction.as_str(), "target": job.target}))
}

/// Cancels a job; false if it has ended.
pub fn cancel(number: i64) -> error::Result<bool> {
    let job = existing(number)?;
    let event = JobEvent::CancelRequested { has_begun: job.starts > 0 };
    let Some(next) = job.state.after(event) else { return Ok(false) };
    jobs::set_state(number, next, None)?;
    if next == JobState::Cancelling {
        // The number of a process that is gone may be another's by now.
        if let Some(pid) = job.worker_pid.filter(|pid| jobs::is_worker(*pid).unwrap_or(false)) {
            job::interrupt_at_commit(pid);
        }
        job::start_at_commit(number, job.login);
    }
    entry(Kind::ApplyCancelled, &job)?;
    Ok(true)
}

/// Stops a job at the next point from which it can be resumed; false if it has ended.
pub fn pause(number: i64) -> error::Result<bool> {
    let job = existing(number)?;
    let Some(next) = job.state.after(JobEvent::PauseRequested) else { return Ok(false) };
    if next == job.state {
        return Ok(true);
    }
    jobs::set_state(number, next, None)?;
    entry(Kind::ApplyPaused, &job)?;
    Ok(true)
}

/// Has a job go on; false if it has finished, or somebody is at work on it. One that had ended is the job of the login that resumes it: nobody
/// acts as another by it.
pub fn resume(number: i64) -> error::Result<bool> {
    let job = existing(number)?;
    if job.state.after(JobEvent::Resumed).is_some() {
        let login = session_oid();
        jobs::requeue(number, (login, &session_role()), identity::current_oid())?;
        entry(Kind::ApplyResumed, &job)?;
        job::start_at_commit(number, login);
    } else if !job.state.is_open() {
        return Ok(false);
    } else if is_at_work()? {
        // Whoever is at work takes up what is queued.
        return Ok(job.state == JobState::Queued);
    } else {
        start_anew(&job)?;
    }
    Ok(true)
}

/// Whether a worker is at work in this database.
fn is_at_work() -> error::Result<bool> {
    Ok(Held::runner().is_none() || jobs::other_worker()?.is_some())
}

/// Starts a worker for the oldest job that has none.
pub fn revive() -> error::Result<()> {
    let Some(job) = jobs::next(&database())? else { return Ok(()) };
    if is_at_work()? {
        return Ok(());
    }
    start_anew(&job)
}

/// How the note of a job begins that somebody has to decide about.
const RECOVERED: &str = "the server was recovered to an earlier moment";

/// Starts a worker for a job that has lost its own, or has never had one, and counts it: one that does not come counts, too. Where that is no
/// use any more, the job fails.
fn start_anew(job: &Job) -> error::Result<()> {
    let (number, login) = (job.job, &job.login_name);
    if job.timeline != timeline::current() {
        let history = timeline::history();
        let reason = match &history {
            Some(history) => stopped_early(history, job.timeline),
            None => Some("to a moment that its history does not tell"),
        };
        if let (Some(reason), Some(state)) = (reason, job.state.after(JobEvent::Recovered)) {
            jobs::set_state(number, state, None)?;
            jobs::note(number, Some(&format!("{RECOVERED} ({reason}): nobody knows whether it is wanted there")))?;
            return revive();
        }
    }
    let error = if job.idle_starts >= IDLE_STARTS {
        Report {
            sqlstate: "58000".to_owned(),
            message: format!("job {number} was given up"),
            detail: format!("{IDLE_STARTS} workers in a row ended without any progress."),
            hint: format!("Check the server log, then resume it: SELECT runbook.resume({number});"),
            ..Report::default()
        }
    } else if !job_lines::is_login(job.login, login)? {
        Report {
            sqlstate: "28000".to_owned(),
            message: format!("job {number} can't continue: login \"{login}\" does not exist or can't log in"),
            hint: format!("To take the job over: SELECT runbook.resume({number});"),
            ..Report::default()
        }
    } else {
        // A worker that came now would wait for a transaction that stays open. Without a slot the job stays in the queue.
        let begins = if identity::in_transaction_block() {
            job::start_at_commit(number, job.login);
            true
        } else {
            job::start(number, job.login)
        };
        return if begins { jobs::revived(number) } else { Ok(()) };
    };
    jobs::set_state(number, JobState::Failed, Some(&error)).map(|_| ())
}
