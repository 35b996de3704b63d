//! Revisions with `transaction: off`: statement by statement, each recorded when it has begun and when it is done.
//!
//! A statement that can be part of a transaction commits together with the record that it is done. One that can't is looked at again
//! after an interruption: what it has left behind is known by the OIDs that were recorded as it made them.

mod remains;

use crate::apply::context::ApplyContext;
use crate::apply::engine::clean_up::{CLEAN_UP, clean_up, drop_all, pin};
use crate::apply::engine::entries::{micros, statement_entry};
use crate::apply::engine::statement::{FailureSite, Part, is_plain, refuse_switch};
use crate::apply::gate::bound_code::Watched;
use crate::apply::job::session::set_up;
use crate::apply::job::step::{Step, Stepped, done, moved, planned};
use crate::apply::job::stop_request::{must_be_operator, stop_requested};
use crate::guard::classify::classify_all;
use crate::permission;
use crate::pg::clock;
use crate::pg::execute::job::{self, Acting, Commit, transaction};
use crate::pg::execute::statements::Statement;
use crate::pg::execute::top_level_only::{self, Place};
use crate::pg::failure::Failure;
use crate::pg::session::identity;
use crate::pg::session::pinned::Pinned;
use crate::settings::Settings;
use crate::store;
use crate::store::jobs::Job;
use crate::store::pieces::{self, Index, Progress};
use crate::store::revisions::Stored;
use runbook_core::action::Action;
use runbook_core::advice::advice;
use runbook_core::ledger::Entry;
use runbook_core::report::Report;
use runbook_core::statement;
use runbook_core::top_level_only::TopLevelOnly;
use serde_json::{Value, json};
use std::cell::RefCell;
use std::time::Instant;

/// Applies or reverts a revision.
///
/// # Errors
/// Those of its statements, complete; 42501 where an approval is missing or taken back meanwhile.
pub fn apply(job: &Job, step: &Step, stored: &Stored, site: &RefCell<FailureSite>) -> Result<Stepped, Report> {
    let way = job.direction.as_str();
    let (texts, known, started) = transaction(Commit::InOrder, || {
        let run = ApplyContext::new(job.direction, Settings::load()?, std::slice::from_ref(&step.revision))?;
        let pinned = Pinned::enter(&run.settings.pinned(), run.settings.migration_role())?;
        let parsed = run.parse(run.sql(stored), &step.revision, way)?;
        let texts: Vec<String> = parsed.iter().map(|one| digest(&one.sql)).collect();
        let known = pieces::progress(&step.revision, way)?;
        let first = finished(&texts, &known);
        // Nothing begins that could not go on to the end.
        let left = classify_all(parsed[first..].iter().map(|one| &one.command))?;
        run.refuse_if_needy(stored, &left, true)?;
        drop(pinned);
        Ok((texts, known, clock::micros()))
    })?;
    let start = Instant::now();
    for (at, text) in texts.iter().enumerate().skip(finished(&texts, &known)) {
        let begun = known.iter().find(|one| usize::try_from(one.statement) == Ok(at + 1) && one.digest == *text && !one.done);
        let of = i32::try_from(texts.len()).unwrap_or(i32::MAX);
        let one = Piece { job, step, at, of, digest: text, begun, site };
        if one.run()? == Stepped::Asked {
            return Ok(Stepped::Asked);
        }
    }
    finish(job, step, site, started, |_| Ok((vec![], json!({"statements": texts.len(), "duration_us": micros(start)}))))?;
    Ok(Stepped::Done)
}

/// Checks what must hold afterwards, and notes that the revision is applied or reverted, in one transaction. `facts` gives entries that go before
/// that note, and facts that go into it; it is called in the pinned session.
pub fn finish(
    job: &Job,
    step: &Step,
    site: &RefCell<FailureSite>,
    started: i64,
    facts: impl FnOnce(&ApplyContext) -> Result<(Vec<Entry>, Value), Failure>,
) -> Result<(), Report> {
    transaction(Commit::InOrder, || {
        let stored = planned(step)?;
        let run = ApplyContext::new(job.direction, Settings::load()?, std::slice::from_ref(&step.revision))?;
        let pinned = Pinned::enter(&run.settings.pinned(), run.settings.migration_role())?;
        let checks = run.checks(&stored)?;
        let (mut entries, facts) = facts(&run)?;
        let part = Part { section: "verify", statements: &checks, first: 1 };
        let mut by = run.parts(&stored, &[part], site, &mut entries)?.approved_by;
        drop(pinned);
        by.extend(run.refuse_if_needy(&stored, stored.actions(job.direction), false)?);
        by.sort_unstable();
        by.dedup();
        entries.push(run.moved_entry(&stored, &step.come, &by, facts)?);
        pieces::forget(std::slice::from_ref(&step.revision))?;
        done(job, step, &run, started, &mut entries)
    })
}

/// How many statements from the first on are done; a revision that was submitted again keeps those whose text is the same.
fn finished(texts: &[String], known: &[Progress]) -> usize {
    let is_done = |(at, text): &(usize, &String)| {
        known.iter().any(|one| usize::try_from(one.statement) == Ok(at + 1) && one.done && one.digest == **text)
    };
    texts.iter().enumerate().take_while(is_done).count()
}

fn digest(sql: &str) -> String {
    statement::digest(sql).unwrap_or_else(|| sql.to_owned())
}

/// One statement.
struct Piece<'a> {
    job: &'a Job,
    step: &'a Step,
    /// Its place, from 0.
    at: usize,
    /// How many there are.
    of: i32,
    digest: &'a str,
    /// What is known of it if it was interrupted.
    begun: Option<&'a Progress>,
    site: &'a RefCell<FailureSite>,
}

/// What is to be done about a statement that can't be part of a transaction.
enum Next {
    Asked,
    /// It was part of a transaction, or had been done before it was interrupted.
    Done,
    /// It was interrupted, and what it has committed is not known.
    Unsure,
    ApplyContext(Box<Prepared>),
}

struct Prepared {
    run: ApplyContext,
    stored: Stored,
    statement: Statement,
    /// The statement, or the one that finishes what was interrupted.
    sql: String,
    actions: Vec<Action>,
    approved_by: Vec<String>,
    role: u32,
    before: Vec<u32>,
    /// What is left of earlier attempts.
    leftovers: Vec<Index>,
    /// Invalid indexes of the table that are not ours.
    foreign: Vec<String>,
    /// Whether it ends transactions itself.
    commits: bool,
    /// The code under it.
    watched: Option<Watched>,
    /// The permission to run it.
    _scope: Option<permission::Scope>,
}

impl Piece<'_> {
    fn number(&self) -> i32 {
        i32::try_from(self.at + 1).unwrap_or(i32::MAX)
    }

    fn way(&self) -> &'static str {
        self.job.direction.as_str()
    }

    fn progress(&self, done: bool, before: &[u32]) -> Progress {
        Progress { statement: self.number(), digest: self.digest.to_owned(), done, before: before.to_vec() }
    }

    fn run(&self) -> Result<Stepped, Report> {
        let start = Instant::now();
        let mut next = transaction(Commit::InOrder, || self.prepare(start, false));
        // What ends its transaction itself is told by its failing at that: nothing of it has happened then.
        if next.as_ref().is_err_and(|report| report.sqlstate == "2D000") {
            next = transaction(Commit::InOrder, || self.prepare(start, true));
        }
        let prepared = match next? {
            Next::Asked => return Ok(Stepped::Asked),
            Next::Done => return Ok(Stepped::Done),
            Next::Unsure => return Err(self.unsure()),
            Next::ApplyContext(prepared) => prepared,
        };
        drop_all(&prepared.leftovers, None)?;
        let place = Place { revision: self.step.revision.clone(), direction: self.way().to_owned(), statement: self.number() };
        prepared.run.settings.show(&self.step.revision, self.way(), self.at + 1, &prepared.sql);
        let acting = Acting::enter(prepared.role);
        let ran = top_level_only::run(&prepared.sql, Some(place));
        drop(acting);
        // Whatever it has set is set no more, and the locks are ours still, or another worker is at it by now.
        transaction(Commit::InOrder, || self.regain())?;
        let line = prepared.statement.line;
        if let Err(report) = ran {
            return Err(self.failed(report, prepared, start, line)?);
        }
        let watched = prepared.watched;
        transaction(Commit::InOrder, || {
            let acting = Acting::enter(prepared.role);
            let entry = statement_entry(&prepared.statement, &self.step.revision, self.way(), self.at + 1, start)?;
            drop(acting);
            let plain = is_plain(&prepared.statement.command);
            prepared.run.remember_events(&prepared.stored, &prepared.actions, &prepared.approved_by, plain)?;
            prepared.run.flush()?;
            let built = pieces::built(&self.step.revision, self.way(), self.number())?;
            let built: Vec<u32> = built.iter().filter(|index| index.valid).map(|index| index.oid).collect();
            prepared.run.remember_built(&self.step.revision, watched, &built)?;
            store::ledger::append(&[entry])?;
            pieces::note(&self.step.revision, self.way(), &self.progress(true, &prepared.before), self.of)?;
            if !prepared.foreign.is_empty() {
                let text = format!("not dropped, because no revision built them: {} (INVALID)", prepared.foreign.join(", "));
                store::jobs::note(self.job.job, Some(&text))?;
            }
            Ok(moved(self.job)?)
        })?;
        Ok(Stepped::Done)
    }

    /// After a statement that had the session for itself.
    fn regain(&self) -> Result<(), Failure> {
        job::reset_parameters();
        set_up(self.job)?;
        planned(self.step).map(|_| ())
    }

    /// The report of a statement at top level that failed, after what it has left is cleaned up.
    fn failed(&self, mut report: Report, prepared: Box<Prepared>, start: Instant, line: usize) -> Result<Report, Report> {
        // Whoever has cancelled it does not wait for what it waited for.
        let patience = if report.sqlstate == "57014" { CLEAN_UP } else { prepared.run.settings.lock_budget() };
        let commits = prepared.commits;
        if commits {
            transaction(Commit::InOrder, || self.note_what_it_committed(&prepared, start))?;
        }
        drop(prepared);
        clean_up(&self.step.revision, self.job.direction, patience);
        let place = format!("revision {} ({}), statement {}, line {line}", self.step.revision, self.way(), self.at + 1);
        if let (true, Some(hint)) = (report.hint.is_empty(), advice(&report.sqlstate, &report.message)) {
            report.hint = hint.to_owned();
        }
        report.context = if report.context.is_empty() { place } else { format!("{}\n{place}", report.context) };
        if commits {
            report.hint = format!("{} {}", report.hint, self.again()).trim_start().to_owned();
        }
        Ok(report)
    }

    /// What a statement has done that failed after it had committed something: in the ledger, and to be done again from its beginning.
    fn note_what_it_committed(&self, prepared: &Prepared, start: Instant) -> Result<(), Failure> {
        let acting = Acting::enter(prepared.role);
        let entry = statement_entry(&prepared.statement, &self.step.revision, self.way(), self.at + 1, start)?;
        drop(acting);
        store::ledger::append(&[entry])?;
        Ok(pieces::take_back(&self.step.revision, self.way(), self.number())?)
    }

    /// What helps after a failure of a statement that ends transactions itself.
    fn again(&self) -> String {
        format!("What it has committed stays. To run it again from its beginning: SELECT runbook.resume({});", self.job.job)
    }

    fn unsure(&self) -> Report {
        Report {
            sqlstate: "55000".to_owned(),
            message: format!("statement {} of revision \"{}\" was interrupted", self.number(), self.step.revision),
            detail: "It commits while it runs: how far it has come is not known.".to_owned(),
            hint: self.again(),
            ..Report::default()
        }
    }

    /// Runs the statement if it can be part of a transaction; otherwise finds out what is to be done. `commits` is for one that failed at
    /// ending its transaction.
    fn prepare(&self, start: Instant, commits: bool) -> Result<Next, Failure> {
        if stop_requested(self.job)? {
            return Ok(Next::Asked);
        }
        must_be_operator()?;
        let stored = planned(self.step)?;
        let id = &self.step.revision;
        let run = ApplyContext::new(self.job.direction, Settings::load()?, std::slice::from_ref(id))?;
        let pinned = Pinned::enter(&run.settings.pinned(), run.settings.migration_role())?;
        let mut parsed = run.parse(run.sql(&stored), id, self.way())?;
        let statement = parsed.swap_remove(self.at);
        *self.site.borrow_mut() = FailureSite { revision: id.clone(), statement: self.at + 1, line: statement.line };
        let may_commit = ["CALL", "DO"].contains(&statement.tag.as_str());
        if may_commit && self.begun.is_some() && !commits {
            pieces::take_back(id, self.way(), self.number())?;
            return Ok(Next::Unsure);
        }
        let own = (may_commit && commits).then_some(TopLevelOnly::Commits);
        let Some(alone) = own.or_else(|| statement.top_level_only.clone()) else {
            return self.within_transaction(&run, &stored, statement, pinned);
        };
        let place = format!("revision {id} ({}), statement {}, line {}", self.way(), self.at + 1, statement.line);
        refuse_switch(&statement, &place)?;
        let actions = classify_all([&statement.command])?;
        let found = self.look(&alone)?;
        let already = found.already_done;
        let approved_by = if already { vec![] } else { run.refuse_if_needy(&stored, &actions, true)? };
        let watched = run.watch(&approved_by, [&statement])?;
        let timeout = if alone.is_patient() { c"0".to_owned() } else { run.settings.lock_timeout() };
        let role = identity::current_oid();
        let scope = (!already).then(|| run.permit(id, actions.clone()));
        drop(pinned);
        if already {
            let entry = statement_entry(&statement, id, self.way(), self.at + 1, start)?;
            return self.done(&[entry], &found.before);
        }
        pin(&run.settings)?;
        job::set_parameter("lock_timeout", &timeout.to_string_lossy())?;
        pieces::note(id, self.way(), &self.progress(false, &found.before), self.of)?;
        // The statement commits itself.
        run.use_up(id, &approved_by)?;
        let sql = found.instead.unwrap_or_else(|| statement.sql.clone());
        let (leftovers, foreign, before) = (found.leftovers, found.foreign, found.before);
        Ok(Next::ApplyContext(Box::new(Prepared {
            run,
            stored,
            statement,
            sql,
            actions,
            approved_by,
            role,
            before,
            leftovers,
            foreign,
            commits: alone == TopLevelOnly::Commits,
            watched,
            _scope: scope,
        })))
    }

    fn within_transaction(
        &self,
        run: &ApplyContext,
        stored: &Stored,
        statement: Statement,
        pinned: Pinned,
    ) -> Result<Next, Failure> {
        let mut entries = vec![];
        let part = Part { section: self.way(), statements: &[statement], first: self.at + 1 };
        let ran = run.parts(stored, &[part], self.site, &mut entries)?;
        run.use_up(&self.step.revision, &ran.approved_by)?;
        drop(pinned);
        run.flush()?;
        self.done(&entries, &[])
    }

    /// Notes that the statement is done; `before` are objects that it was to replace or remove.
    fn done(&self, entries: &[Entry], before: &[u32]) -> Result<Next, Failure> {
        store::ledger::append(entries)?;
        pieces::note(&self.step.revision, self.way(), &self.progress(true, before), self.of)?;
        moved(self.job)?;
        Ok(Next::Done)
    }
}
