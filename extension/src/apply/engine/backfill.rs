//! Backfills: a change of many rows in batches along a key, each a transaction of its own that also says where the next one begins.

use crate::apply::context::ApplyContext;
use crate::apply::engine::backfill_plan::{Plan, only, plan, statement_text, table_of};
use crate::apply::engine::entries::{micros, statement_entry};
use crate::apply::engine::non_transactional::finish;
use crate::apply::engine::statement::{FailureSite, with_context};
use crate::apply::engine::throttle::Throttle;
use crate::apply::gate::bound_code::{Watched, limit};
use crate::apply::job::step::{Step, Stepped, moved, planned};
use crate::apply::job::stop_request::{must_be_operator, stop_requested};
use crate::error::refusal;
use crate::guard::classify::classify_all;
use crate::permission;
use crate::pg::clock;
use crate::pg::execute::job::{self, Commit, transaction};
use crate::pg::execute::lock;
use crate::pg::execute::statements::{self, Statement, View};
use crate::pg::failure::Failure;
use crate::pg::session::identity::set_local;
use crate::pg::session::pinned::Pinned;
use crate::settings::Settings;
use crate::store;
use crate::store::backfills::{self, Progress, Table};
use crate::store::jobs::Job;
use crate::store::revisions::Stored;
use pgrx::pg_sys::panic::ErrorReport;
use runbook_core::action::Action;
use runbook_core::backfill::{self, Backfill, Cut, Pace};
use runbook_core::report::Report;
use serde_json::json;
use std::cell::RefCell;
use std::time::{Duration, Instant};

/// A backfill whose condition its statement does not change would never come to an end.
const PASSES: i32 = 20;

/// Bytes that a row takes at least: its header, and its place in the page.
const SMALLEST_ROW: i64 = 28;

/// Does all batches that are left, and notes that the revision is applied.
///
/// # Errors
/// Those of the statement, complete; 42P16 for a table without a key; 42501 where an approval is missing or taken back meanwhile.
pub fn apply(job: &Job, step: &Step, stored: &Stored, site: &RefCell<FailureSite>) -> Result<Stepped, Report> {
    let (mut plan, mut progress, settings, started) = transaction(Commit::InOrder, || {
        let (run, pinned, statement) = begin(job, step, stored, site)?;
        run.refuse_if_needy(stored, &classify_all([&statement.command])?, true)?;
        let plan = plan(stored, &statement)?;
        drop(pinned);
        let progress = backfills::open(&step.revision, &step.digest, plan.header.first_batch(), plan.table.rows)?;
        Ok((plan, progress, run.settings, clock::micros()))
    })?;
    let start = Instant::now();
    let mut pace = Pace::new(progress.batch_rows);
    let mut throttle = Throttle::default();
    if throttle.hold(job, plan.table.oid)? == Stepped::Asked {
        return Ok(Stepped::Asked);
    }
    loop {
        settings.show(&step.revision, "upgrade", 1, &stored.revision.upgrade);
        let batch = transaction(Commit::InOrder, || batch(job, step, &plan, &progress, &mut pace, site))?;
        match batch {
            Batch::Asked => return Ok(Stepped::Asked),
            Batch::End => break,
            Batch::Done(next) => progress = next,
            Batch::Again(next) => {
                progress = next;
                plan = transaction(Commit::InOrder, || {
                    let (_run, _pinned, statement) = begin(job, step, stored, site)?;
                    Ok(self::plan(stored, &statement)?)
                })?;
            }
        }
        // Also where there is no pause: a worker must not outlive its server.
        if job::sleep(plan.header.pause) {
            return Ok(Stepped::Asked);
        }
        if throttle.hold(job, plan.table.oid)? == Stepped::Asked {
            return Ok(Stepped::Asked);
        }
    }
    let facts = |run: &ApplyContext| {
        let parsed = run.parse(&stored.revision.upgrade_for_parser(), &step.revision, "upgrade")?;
        let statement = only(parsed)?;
        let written = Statement { sql: statement_text(&stored.revision.upgrade, &statement), ..statement };
        let entry = statement_entry(&written, &step.revision, "upgrade", 1, start)?;
        let facts = json!({
            "statements": 1, "duration_us": micros(start),
            "backfill": {"rows": progress.rows, "batches": progress.batches, "passes": progress.pass},
        });
        Ok((vec![entry], facts))
    };
    finish(job, step, site, started, facts)?;
    Ok(Stepped::Done)
}

/// Enters the pinned session, with the statement as the parser reads it there.
fn begin(
    job: &Job,
    step: &Step,
    stored: &Stored,
    site: &RefCell<FailureSite>,
) -> Result<(ApplyContext, Pinned, Statement), Failure> {
    let run = ApplyContext::new(job.direction, Settings::load()?, std::slice::from_ref(&step.revision))?;
    let pinned = Pinned::enter(&run.settings.pinned(), run.settings.migration_role())?;
    let parsed = run.parse(&backfill::for_parser(&stored.revision.upgrade), &step.revision, "upgrade")?;
    let statement = only(parsed)?;
    *site.borrow_mut() = FailureSite { revision: step.revision.clone(), statement: 1, line: statement.line };
    Ok((run, pinned, statement))
}

/// The error for a backfill whose table name now means another table.
fn another_table(header: &Backfill) -> ErrorReport {
    let detail =
        "The backfill continues after the last key that it reached in its first table; in this table it would skip rows.";
    let hint = "Rename the tables back and resume the job, or cancel it and submit a backfill for this table.";
    let message = format!("table \"{}\" is not the table in which the backfill began", header.table);
    refusal("55000", message, Some(detail.to_owned()), Some(hint.to_owned()))
}

enum Batch {
    Asked,
    /// There is nothing left.
    End,
    Done(Progress),
    /// The table was rewritten or emptied: the batches start again at its first key.
    Again(Progress),
}

/// One batch, with the note of where the next one begins.
fn batch(
    job: &Job,
    step: &Step,
    plan: &Plan,
    progress: &Progress,
    pace: &mut Pace,
    site: &RefCell<FailureSite>,
) -> Result<Batch, Failure> {
    if stop_requested(job)? {
        return Ok(Batch::Asked);
    }
    must_be_operator()?;
    let start = Instant::now();
    let stored = planned(step)?;
    let (run, pinned, statement) = begin(job, step, &stored, site)?;
    set_local(c"lock_timeout", &run.settings.data_lock_timeout());
    let (files, table) = locked(plan)?;
    if plan.cut == Cut::Range && plan.is_outdated(&table, &files, progress) {
        drop(pinned);
        return again(step, plan, Progress { files: Some(files), shape: None, ..progress.clone() });
    }
    // A plan made for other bounds may read the whole table.
    set_local(c"plan_cache_mode", c"force_custom_plan");
    let place =
        format!("revision {} (upgrade), statement 1, line {}, batch {}", step.revision, statement.line, progress.batches + 1);
    let actions = classify_all([&statement.command])?;
    let (by, watched, scope) = allowed(&run, &stored, &statement, &actions)?;
    let mut next = Progress { files: Some(files), shape: Some(plan.key.shape.clone()), ..progress.clone() };
    let Some((parameters, last)) = parameters(plan, progress)? else {
        // The header's condition may have called something.
        run.leave(&step.revision)?;
        drop(scope);
        drop(pinned);
        return another_pass(step, plan, next);
    };
    let is_tried_twice = progress.batches == 0 && plan.header.repeatable && plan.cut == Cut::Range;
    let changed = match is_tried_twice {
        true => first_batch(plan, &parameters, &statement, &place)?,
        false => statements::execute(&plan.sql, &parameters).map_err(|error| with_context(error, &place))?,
    };
    run.leave(&step.revision)?;
    run.settle(&step.revision, watched)?;
    run.remember_events(&stored, &actions, &by, false)?;
    store::ledger::append(run.observed_entry(&step.revision, &statement.tag)?.as_slice())?;
    drop(scope);
    drop(pinned);
    run.flush()?;
    if plan.cut == Cut::Limit && changed == 0 {
        return Ok(Batch::End);
    }
    next.last_key = last;
    next.rows += i64::try_from(changed).unwrap_or(i64::MAX);
    next.batches += 1;
    refuse_endless(step, plan, &statement, next.rows)?;
    next.batch_rows = pace.next(&plan.header, start.elapsed(), lock::others_wait());
    backfills::advance(&step.revision, &next, start.elapsed())?;
    moved(job)?;
    Ok(Batch::Done(next))
}

/// Permission for a batch: whose approvals count, and the code under it.
fn allowed(
    run: &ApplyContext,
    stored: &Stored,
    statement: &Statement,
    actions: &[Action],
) -> Result<(Vec<String>, Option<Watched>, permission::Scope), Failure> {
    let id = stored.revision.revision.as_str();
    let by = run.refuse_if_needy(stored, actions, true)?;
    let watched = if by.is_empty() { None } else { run.watch(&by, [statement])? };
    run.use_up(id, &by)?;
    let scope = run.permit(id, actions.to_vec());
    limit(watched.as_ref());
    Ok((by, watched, scope))
}

/// Locks the table, and looks at it then: what is read before others have let go of it may be what they have replaced.
fn locked(plan: &Plan) -> Result<(Vec<u32>, Table), Failure> {
    let files = lock::tree(plan.table.oid).map_err(Failure::PgError)?;
    let table = table_of(&plan.header)?;
    if table.oid != plan.table.oid {
        return Err(another_table(&plan.header).into());
    }
    Ok((files, table))
}

/// What a batch's statement is given, and the last key of its range; `None` where no row is left behind the last one.
#[allow(clippy::type_complexity, reason = "the parameters, and a key if there is one")]
fn parameters(plan: &Plan, progress: &Progress) -> Result<Option<(Vec<String>, Option<Vec<String>>)>, Failure> {
    Ok(match plan.cut {
        Cut::Limit => Some((vec![progress.batch_rows.to_string()], None)),
        Cut::Range => {
            plan.bounds(progress)?.map(|(first, last)| (first.into_iter().chain(last.iter().cloned()).collect(), Some(last)))
        }
    })
}

/// The first batch of a statement that may be repeated: it is tried again, and must change nothing then.
fn first_batch(plan: &Plan, parameters: &[String], statement: &Statement, place: &str) -> Result<u64, Failure> {
    // What others write meanwhile is no work of the statement's.
    let view = View::now();
    let located = |error| Failure::PgError(with_context(error, place));
    let changed = statements::execute_under(&view, &plan.sql, parameters).map_err(located)?;
    plan.refuse_unless_repeatable(&view, parameters, statement)?;
    Ok(changed)
}

/// Refuses a backfill that has changed far more rows than the table can have.
fn refuse_endless(step: &Step, plan: &Plan, statement: &Statement, rows: i64) -> Result<(), Failure> {
    // The table may never have been analysed; of the smallest rows, it can't hold more than these.
    let most = plan.table.rows.max(plan.table.bytes / SMALLEST_ROW).max(10_000);
    if (plan.cut == Cut::Limit || plan.updates(statement)) && rows > 20 * most {
        return Err(endless(step, &format!("It has changed {rows} rows, but the table has at most {most}.")));
    }
    Ok(())
}

/// After the table was rewritten or emptied, or its key changed, between two batches: which of its rows are done is not known.
fn again(step: &Step, plan: &Plan, mut next: Progress) -> Result<Batch, Failure> {
    if !plan.header.repeatable && next.last_key.is_some() {
        let message = format!("table {} was rewritten or emptied, or its key changed, while the backfill ran", plan.table.name);
        let detail = "It is no longer known which rows the earlier batches changed, and no row may be changed twice.";
        let hint = "Check the table, cancel the job, and submit a backfill for the remaining rows.";
        return Err(refusal("55000", message, Some(detail.to_owned()), Some(hint.to_owned())).into());
    }
    next.last_key = None;
    backfills::advance(&step.revision, &next, Duration::ZERO)?;
    Ok(Batch::Again(next))
}

/// After the last key: with a condition, starts another pass for rows that were inserted meanwhile, until none is found.
fn another_pass(step: &Step, plan: &Plan, mut next: Progress) -> Result<Batch, Failure> {
    if plan.header.filter.is_none() || next.last_key.is_none() {
        return Ok(Batch::End);
    }
    if next.pass >= PASSES {
        let table = &plan.table.name;
        let detail = format!("After {PASSES} passes, table {table} still has rows that meet the condition.");
        return Err(endless(step, &detail));
    }
    next.pass += 1;
    next.last_key = None;
    backfills::advance(&step.revision, &next, Duration::ZERO)?;
    Ok(Batch::Done(next))
}

fn endless(step: &Step, detail: &str) -> Failure {
    let hint = "The statement must make the condition false for each row that it changes. New rows must be inserted with the \
                value set.";
    let message = format!("the backfill of revision \"{}\" does not come to an end", step.revision);
    refusal("55000", message, Some(detail.to_owned()), Some(hint.to_owned())).into()
}
