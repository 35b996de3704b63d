//! The worker of a job: one revision after the other, each in transactions of its own, until the job has ended or is told to stop.

use crate::apply::context::ApplyContext;
use crate::apply::engine::statement::FailureSite;
use crate::apply::engine::{backfill, clean_up, non_transactional};
use crate::apply::job::queue::revive;
use crate::apply::job::session::set_up;
use crate::apply::job::step::{self, Step, Stepped, done, planned, remaining};
use crate::apply::job::stop_request::{must_be_operator, stop_requested};
use crate::apply::locks::{Place, Retries};
use crate::catalog::relations;
use crate::error::{self, internal, refusal};
use crate::pg::clock;
use crate::pg::execute::job::{self, Commit, transaction};
use crate::pg::execute::lock::{self, Held};
use crate::pg::hooks::lock_wait_monitor::Watch;
use crate::pg::hooks::triggers::count_for_a_revision;
use crate::pg::session::identity::{self, name_of_role, session_is_member};
use crate::settings::Settings;
use crate::store;
use crate::store::jobs::{self, Job};
use crate::store::revisions::Stored;
use crate::{ledger, permission};
use runbook_core::ledger::Kind;
use runbook_core::plan::Direction;
use runbook_core::report::Report;
use runbook_core::vocabulary::job_state::{JobEvent, JobState};
use serde_json::json;
use std::cell::RefCell;
use std::time::{Duration, Instant};

/// Why a job ends before all is done.
enum End {
    Paused,
    Cancelled,
    /// Whoever wanted it has noted it himself; by now somebody may want it to go on.
    Over,
    Failed(Box<Report>, FailureSite),
}

impl From<Report> for End {
    fn from(report: Report) -> Self {
        Self::Failed(Box::new(report), FailureSite::default())
    }
}

/// Works a job off; called in its own process.
pub fn run(number: i64) {
    // Whoever is at work already looks for the next job when it has ended its own.
    let Ok(Some(runner)) = transaction(Commit::InOrder, || {
        let runner = Held::runner();
        Ok(if jobs::other_worker()?.is_some() { None } else { runner })
    }) else {
        return;
    };
    permission::set_job(number);
    let job = transaction(Commit::InOrder, || Ok(jobs::load(number)?.filter(is_ours)));
    let worked = job.and_then(|job| job.map_or(Ok(()), |job| work(&job)));
    if let Err(report) = worked {
        pgrx::log!("pg_runbook job {number}: {}", report.message);
    }
    // First the lock, then the look: a job that came in between finds the lock free, or is found here.
    drop(runner);
    let _ = transaction(Commit::InOrder, || Ok(revive()?));
}

/// Whether it is this login's and this database's: a dump can bring the jobs of others along.
fn is_ours(job: &Job) -> bool {
    job.login == identity::session_oid() && job.login_name == identity::session_role() && job.database == identity::database()
}

fn work(job: &Job) -> Result<(), Report> {
    if !job.state.is_open() {
        return Ok(());
    }
    // Kept until it is noted how the job has ended: nobody applies anything in between.
    let mut migrator = None;
    let ended = apply(job, &mut migrator);
    if let Err(End::Failed(report, site)) = &ended {
        pgrx::log!("pg_runbook job {}, revision {}: {}", job.job, site.revision, report.message);
    }
    // The record of an end is not to be lost to another interrupt.
    for last in [false, false, true] {
        let recorded = transaction(Commit::Durably, || Ok(record_end(job, &ended)?));
        match recorded {
            Err(report) if report.sqlstate == "57014" && !last => {}
            other => {
                // Whether anybody can be told is not to change how it ended.
                let _ = transaction(Commit::InOrder, || Ok(jobs::tell(job.job)?));
                return other;
            }
        }
    }
    Ok(())
}

fn record_end(job: &Job, ended: &Result<(), End>) -> error::Result<()> {
    let way = job.direction.as_str();
    // Another worker has taken it over, if a statement has given the locks away.
    if !lock::hold_runner() || jobs::other_worker()?.is_some() {
        return Ok(());
    }
    let Some(was) = jobs::state(job.job)? else { return Ok(()) };
    let ended = match ended {
        // The signal has met the worker while it kept its books.
        Err(End::Failed(report, _)) if report.sqlstate == "57014" && was == JobState::Cancelling => &Err(End::Cancelled),
        other => other,
    };
    let event = match ended {
        Ok(()) => JobEvent::Completes,
        Err(End::Paused) => JobEvent::Pauses,
        Err(End::Cancelled) => JobEvent::Cancels,
        Err(End::Over) => return Ok(()),
        Err(End::Failed(..)) => JobEvent::Fails,
    };
    let Some(state) = was.after(event) else { return Ok(()) };
    let error = match ended {
        Err(End::Failed(report, _)) => Some(&**report),
        _ => None,
    };
    if !jobs::set_state(job.job, state, error)? {
        return Ok(());
    }
    match ended {
        Ok(()) => {
            let facts = json!({"direction": way, "target": job.target, "revisions": job.revisions});
            ledger::record(Kind::ApplyFinished, facts)
        }
        Err(End::Cancelled) if was == JobState::Running => {
            let reason = "the statement of its worker was cancelled";
            ledger::record(Kind::ApplyCancelled, json!({"direction": way, "target": job.target, "reason": reason}))
        }
        Err(End::Paused | End::Cancelled | End::Over) => Ok(()),
        Err(End::Failed(report, site)) => {
            let facts = json!({
                "direction": way, "target": job.target, "revision": site.revision, "statement_number": site.statement,
                "line": site.line, "sqlstate": report.sqlstate, "reason": report.message,
            });
            ledger::record(Kind::ApplyFailed, facts)
        }
    }
}

fn apply(job: &Job, migrator: &mut Option<Held>) -> Result<(), End> {
    prepare(job)?;
    *migrator = Some(wait_for_migrator(job)?);
    let begun = transaction(Commit::InOrder, || {
        if !jobs::begin(job.job, job::pid())? {
            return Ok(false);
        }
        if job.starts > 0 {
            let facts =
                json!({"direction": job.direction.as_str(), "target": job.target, "reason": "a worker has taken it up again"});
            ledger::record(Kind::ApplyResumed, facts)?;
        }
        Ok(true)
    })?;
    if !begun {
        return Err(End::Over);
    }
    let (steps, settings) = transaction(Commit::InOrder, || Ok((remaining(job)?, Settings::load()?)))?;
    for step in &steps {
        count_for_a_revision();
        match with_retries(job, step, &settings)? {
            Stepped::Done => {}
            Stepped::Asked => return Err(asked(job, step)?),
        }
    }
    Ok(())
}

/// Looks at whether the login may still do what it asked for, and sets the session up.
fn prepare(job: &Job) -> Result<(), Report> {
    transaction(Commit::InOrder, || {
        must_be_operator()?;
        if job.role != job.login {
            let may = name_of_role(job.role).filter(|role| session_is_member(role));
            let Some(_) = may else {
                let message = format!(
                    "login \"{}\" can no longer act as the role that it had when it started the job",
                    identity::session_role()
                );
                return Err(refusal("42501", message, None, None).into());
            };
        }
        // Its own settings may have the login begin as somebody else.
        job::become_role(job.role);
        set_up(job)
    })
}

/// Polls for the migrator's lock. While it waits, it holds no snapshot and no transaction.
fn wait_for_migrator(job: &Job) -> Result<Held, End> {
    let patience = transaction(Commit::InOrder, || Ok(Settings::load()?.migrator_wait()))?;
    let start = Instant::now();
    let mut told = false;
    loop {
        if let Some(held) = transaction(Commit::InOrder, || Ok(Held::migrator()))? {
            return Ok(held);
        }
        if !told {
            told = true;
            transaction(Commit::InOrder, || {
                let holder = relations::migrator()?.unwrap_or_else(|| "another migrator".to_owned());
                Ok(jobs::note(job.job, Some(&format!("waits for {holder}")))?)
            })?;
        }
        if start.elapsed() >= patience {
            return Err(transaction::<()>(Commit::InOrder, || {
                let holder = relations::migrator()?.map(|holder| format!("It is {holder}."));
                let hint = format!("When it has finished: SELECT runbook.resume({});", job.job);
                Err(refusal("55P03", "another migrator is at work in this database", holder, Some(hint)).into())
            })
            .expect_err("it is an error")
            .into());
        }
        if job::sleep(Duration::from_millis(50)) {
            return Err(End::Cancelled);
        }
        match transaction(Commit::InOrder, || Ok(jobs::state(job.job)?))? {
            Some(JobState::Queued | JobState::Running) => {}
            Some(JobState::Pausing) => return Err(End::Paused),
            Some(JobState::Cancelling) => return Err(End::Cancelled),
            _ => return Err(End::Over),
        }
    }
}

/// Does a step, again and again while locks are not to be had and there is time.
fn with_retries(job: &Job, step: &Step, settings: &Settings) -> Result<Stepped, End> {
    let mut retries = Retries::new(settings.lock_budget());
    let _watch = Watch::enter(settings.terminate_idle_blockers());
    let mut noted = false;
    let mut moves = step::moves();
    loop {
        // A worker must not outlive its server, however busy it is.
        if job::sleep(Duration::ZERO) {
            return Ok(Stepped::Asked);
        }
        let site = RefCell::new(FailureSite { revision: step.revision.clone(), ..FailureSite::default() });
        let mut report = match attempt(job, step, &site) {
            Ok(stepped) => {
                if noted {
                    transaction(Commit::InOrder, || Ok(jobs::note(job.job, None)?))?;
                }
                return Ok(stepped);
            }
            // Whoever cancels the worker's statement means the job; an author can raise that SQLSTATE, too.
            Err(report) if report.sqlstate == "57014" && is_cancellation(job, &report)? => return Ok(Stepped::Asked),
            Err(report) => report,
        };
        let site = site.into_inner();
        let place =
            Place { revision: &step.revision, direction: job.direction.as_str(), statement: site.statement, line: site.line };
        // A statement or a batch that has got through has the next one begin with all its time.
        if std::mem::replace(&mut moves, step::moves()) != moves {
            retries.begin_anew();
        }
        let retry = transaction(Commit::InOrder, || {
            let retry = retries.after(&report.sqlstate, &report.message, &place)?;
            if let Some(retry) = &retry {
                store::ledger::append(&retry.entries)?;
                jobs::note(job.job, Some(&retry.text))?;
            }
            Ok(retry)
        })?;
        let Some(retry) = retry else {
            if runbook_core::patience::is_about_locks(&report.sqlstate)
                && let Some(spent) = retries.spent()
            {
                report.detail = if report.detail.is_empty() { spent } else { format!("{} {spent}", report.detail) };
            }
            return Err(End::Failed(Box::new(report), site));
        };
        noted = true;
        if job::sleep(retry.pause) {
            return Ok(Stepped::Asked);
        }
    }
}

/// Whether an error was asked for: the job's state says so, or it is PostgreSQL's own answer to a signal.
fn is_cancellation(job: &Job, report: &Report) -> Result<bool, Report> {
    let signalled = report.routine == "ProcessInterrupts" && report.message.ends_with("due to user request");
    Ok(signalled || transaction(Commit::InOrder, || Ok(jobs::state(job.job)? != Some(JobState::Running)))?)
}

/// Which stop was requested: a pause or a cancellation. What a cancelled job has begun is cleaned up.
fn asked(job: &Job, step: &Step) -> Result<End, Report> {
    let state = transaction(Commit::InOrder, || Ok(jobs::state(job.job)?))?;
    if matches!(state, Some(JobState::Pausing | JobState::Paused)) {
        return Ok(End::Paused);
    }
    clean_up::clean_up(&step.revision, job.direction, clean_up::CLEAN_UP);
    Ok(End::Cancelled)
}

fn attempt(job: &Job, step: &Step, site: &RefCell<FailureSite>) -> Result<Stepped, Report> {
    /// What is left to do after the first transaction.
    enum Left {
        Nothing(Stepped),
        Statements(Stored),
        Batches(Stored),
    }
    let left = transaction(Commit::InOrder, || {
        if stop_requested(job)? {
            return Ok(Left::Nothing(Stepped::Asked));
        }
        // What the revision before has left in the session.
        job::forget_session();
        if !job::is_acting_as(job.login, job.role) {
            return Err(internal("the session of a job is not the one that it began with").into());
        }
        must_be_operator()?;
        let started = clock::micros();
        let stored = planned(step)?;
        if stored.revision.backfill.is_some() && job.direction == Direction::Upgrade {
            return Ok(Left::Batches(stored));
        }
        if !stored.revision.transaction {
            return Ok(Left::Statements(stored));
        }
        let run = ApplyContext::new(job.direction, Settings::load()?, std::slice::from_ref(&step.revision))?;
        run.refuse_if_needy(&stored, stored.actions(job.direction), false)?;
        let mut entries = vec![];
        run.step(&stored, &step.come, site, &mut entries)?;
        done(job, step, &run, started, &mut entries)?;
        Ok(Left::Nothing(Stepped::Done))
    })?;
    match left {
        Left::Nothing(stepped) => Ok(stepped),
        Left::Statements(stored) => non_transactional::apply(job, step, &stored, site),
        Left::Batches(stored) => backfill::apply(job, step, &stored, site),
    }
}
