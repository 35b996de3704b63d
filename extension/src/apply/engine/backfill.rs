//! Backfills: a change of many rows in batches along a key, each a transaction of its own that also says where the next one begins.

use crate::apply::context::ApplyContext;
use crate::apply::engine::non_transactional::finish;
use crate::apply::engine::statement::{FailureSite, micros, statement_entry, with_context};
use crate::apply::engine::throttle::Throttle;
use crate::apply::job::step::{Step, Stepped, moved, planned};
use crate::apply::job::stop_request::{must_be_operator, stop_requested};
use crate::error::{from_core, refusal};
use crate::guard::classify::classify_all;
use crate::pg::clock;
use crate::pg::execute::job::{self, Commit, transaction};
use crate::pg::execute::statements::{self, Statement, View};
use crate::pg::execute::{lock, subtransaction};
use crate::pg::failure::Failure;
use crate::pg::parse::names;
use crate::pg::session::identity::set_local;
use crate::pg::session::pinned::Pinned;
use crate::settings::Settings;
use crate::store::backfills::{self, Column, Progress, Table};
use crate::store::jobs::Job;
use crate::store::revisions::Stored;
use pgrx::pg_sys::panic::ErrorReport;
use runbook_core::Revision;
use runbook_core::action::quote;
use runbook_core::backfill::{self, Backfill, Cut, Pace};
use runbook_core::command::Command;
use runbook_core::identity::Identity;
use runbook_core::report::Report;
use serde_json::json;
use std::cell::RefCell;
use std::time::{Duration, Instant};

/// A backfill whose condition its statement does not change would never come to an end.
const PASSES: i32 = 20;

/// Bytes that a row takes at least: its header, and its place in the page.
const SMALLEST_ROW: i64 = 28;

/// What all batches share.
struct Plan {
    header: Backfill,
    cut: Cut,
    table: Table,
    key: Key,
    /// The author's statement, with parameters.
    sql: String,
}

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

/// Looks a backfill over when it is submitted, in the session that revisions run in. A table that is not there yet is looked at later.
///
/// # Errors
/// 22023 for header or statement, 42P16 for a table without a key.
pub fn check(revision: &Revision, parsed: &[Statement]) -> Result<(), ErrorReport> {
    let header = Backfill::parse(revision.backfill.as_deref().unwrap_or_default()).map_err(from_core)?;
    let cut = backfill::cut(&revision.upgrade).map_err(from_core)?;
    only(parsed.to_vec())?;
    refuse_unless_condition(&header)?;
    match table_of(&header) {
        Ok(table) if cut == Cut::Range => key_of(&header, &table).map(|_| ()),
        _ => Ok(()),
    }
}

/// Refuses a header whose condition is anything but one expression: it stands between others in the statements that look for keys.
fn refuse_unless_condition(header: &Backfill) -> Result<(), ErrorReport> {
    match &header.filter {
        Some(filter) if !statements::is_expression(filter) => {
            let hint = "Write one condition, as behind WHERE: total IS NULL";
            Err(refusal("22023", format!("backfill: \"{filter}\" is not a condition"), None, Some(hint.to_owned())))
        }
        _ => Ok(()),
    }
}

/// The one statement that a backfill has.
///
/// # Errors
/// 22023 where there are none or several, or it changes no rows.
pub fn only(mut statements: Vec<Statement>) -> Result<Statement, ErrorReport> {
    let wrong = |problem: &str| {
        let hint = "One UPDATE, INSERT, DELETE or MERGE with :from and :to, or with :limit.";
        Err(refusal("22023", format!("the upgrade of a backfill {problem}"), None, Some(hint.to_owned())))
    };
    match (statements.len(), statements.pop()) {
        (1, Some(one)) if matches!(one.command, Command::Change { .. } | Command::Delete { .. } | Command::Data { .. }) => {
            Ok(one)
        }
        (1, Some(one)) => wrong(&format!("is {}, which changes no rows", one.tag)),
        (count, _) => wrong(&format!("has {count} statements")),
    }
}

/// Looks the table and its key up, under the pinned search path.
fn plan(stored: &Stored, statement: &Statement) -> Result<Plan, ErrorReport> {
    let header = Backfill::parse(stored.revision.backfill.as_deref().unwrap_or_default()).map_err(from_core)?;
    let cut = backfill::cut(&stored.revision.upgrade).map_err(from_core)?;
    refuse_unless_condition(&header)?;
    let table = table_of(&header)?;
    let key = if cut == Cut::Range { key_of(&header, &table)? } else { Key::default() };
    let sql = backfill::with_parameters(&statement_text(&stored.revision.upgrade, statement), &key.types);
    Ok(Plan { header, cut, table, key, sql })
}

/// The table that a header names, under the search path in force.
fn table_of(header: &Backfill) -> Result<Table, ErrorReport> {
    let Identity::Is(found) = names::relation_written(&header.table).identity else {
        let hint = "Write the table as in SQL, with its schema where the search path does not find it.".to_owned();
        return Err(refusal("42P01", format!("table \"{}\" of the backfill does not exist", header.table), None, Some(hint)));
    };
    backfills::table(found.object)?
        .filter(|table| ["r", "p"].contains(&table.kind.as_str()))
        .ok_or_else(|| refusal("42809", format!("\"{}\" is not a table", header.table), None, None))
}

/// What becomes of a backfill under whose table's name another one is found.
fn another_table(header: &Backfill) -> ErrorReport {
    let detail =
        "Batches go on behind the last key of the table in which the backfill began; in this one they would leave rows out.";
    let hint = "Give the tables their names back and resume the job, or cancel it and submit a backfill for this table.";
    let message = format!("table \"{}\" is not the one in which the backfill began", header.table);
    refusal("55000", message, Some(detail.to_owned()), Some(hint.to_owned()))
}

/// The key along which batches are cut.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Key {
    /// Names of its columns.
    names: Vec<String>,
    /// Their types, as SQL spells them.
    types: Vec<String>,
    /// What else their order depends on.
    shape: String,
}

/// The key of a backfill.
fn key_of(header: &Backfill, table: &Table) -> Result<Key, ErrorReport> {
    let names = if header.key.is_empty() { table.primary_key.clone() } else { header.key.clone() };
    let columns = key_columns(table, &names)?;
    let shape = columns.iter().map(|column| column.shape.as_str()).collect::<Vec<_>>().join(" ");
    Ok(Key { names, types: columns.into_iter().map(|column| column.spelled).collect(), shape })
}

/// The author's text of the statement, without what stands around it.
fn statement_text(section: &str, statement: &Statement) -> String {
    let parsed = backfill::for_parser(section);
    // Names and parameters have the same length, so the places are the same.
    parsed.find(&statement.sql).and_then(|at| section.get(at..at + statement.sql.len())).unwrap_or(section).to_owned()
}

fn key_columns(table: &Table, key: &[String]) -> Result<Vec<Column>, ErrorReport> {
    let advice = |problem: String| {
        let hint = "Name columns that are NOT NULL and lead an index, as in \"key id\"; or bound the statement by :limit: \
                    … WHERE ctid = ANY (ARRAY(SELECT ctid FROM t WHERE … LIMIT :limit)).";
        Err(refusal(
            "42P16",
            problem,
            Some("Batches are cut along a key that every row has.".to_owned()),
            Some(hint.to_owned()),
        ))
    };
    if key.is_empty() {
        return advice(format!("table {} has no primary key, and the backfill names no key", table.name));
    }
    let mut columns = vec![];
    for (name, found) in key.iter().zip(backfills::columns(table.oid, key)?) {
        match found {
            None => return advice(format!("table {} has no column \"{name}\"", table.name)),
            Some(column) if !column.is_filled => {
                return advice(format!("column \"{name}\" of table {} may be NULL", table.name));
            }
            Some(column) if !names::is_compared_as_ordered(column.data_type) => {
                let message = format!("column \"{name}\" of table {} is compared otherwise than it is ordered", table.name);
                let detail = format!(
                    "The operators of type {} are not in the search path, or others stand before them.",
                    column.spelled
                );
                let hint = "Put their schema into it: SELECT runbook.configure('search_path', 'public, …');";
                return Err(refusal("42P16", message, Some(detail), Some(hint.to_owned())));
            }
            Some(column) => columns.push(column),
        }
    }
    if !backfills::has_index(table.oid, key)? {
        return advice(format!("no index of table {} begins with ({})", table.name, key.join(", ")));
    }
    Ok(columns)
}

/// The values of a key's columns, as text.
type Values = Vec<String>;

enum Batch {
    Asked,
    /// There is nothing left.
    End,
    Done(Progress),
    /// The table is another inside: the batches begin anew at its first key.
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
    // First the lock: what is read before others have let go of the table may be what they have replaced.
    let files = lock::tree(plan.table.oid).map_err(Failure::PgError)?;
    let table = table_of(&plan.header)?;
    if table.oid != plan.table.oid {
        return Err(another_table(&plan.header).into());
    }
    if plan.cut == Cut::Range && plan.is_outdated(&table, &files, progress) {
        drop(pinned);
        return again(step, plan, Progress { files: Some(files), shape: None, ..progress.clone() });
    }
    // A plan made for other bounds may read the whole table.
    set_local(c"plan_cache_mode", c"force_custom_plan");
    let place =
        format!("revision {} (upgrade), statement 1, line {}, batch {}", step.revision, statement.line, progress.batches + 1);
    let actions = classify_all([&statement.command])?;
    let by = run.refuse_if_needy(&stored, &actions, true)?;
    let watched = if by.is_empty() { None } else { run.watch(&by, [&statement])? };
    let scope = run.permit(&step.revision, actions.clone());
    let located = |error| Failure::PgError(with_context(error, &place));
    let mut next = Progress { files: Some(files), shape: Some(plan.key.shape.clone()), ..progress.clone() };
    let (parameters, last) = match plan.cut {
        Cut::Limit => (vec![progress.batch_rows.to_string()], None),
        Cut::Range => match plan.bounds(progress)? {
            Some((first, last)) => (first.into_iter().chain(last.iter().cloned()).collect(), Some(last)),
            None => {
                // The header's condition may have called something.
                run.leave(&step.revision)?;
                drop(scope);
                drop(pinned);
                return another_pass(step, plan, next);
            }
        },
    };
    let changed = if progress.batches == 0 && plan.header.repeatable && plan.cut == Cut::Range {
        // What others write meanwhile is no work of the statement's.
        let view = View::now();
        let changed = statements::execute_under(&view, &plan.sql, &parameters).map_err(located)?;
        plan.refuse_unless_repeatable(&view, &parameters, &statement)?;
        changed
    } else {
        statements::execute(&plan.sql, &parameters).map_err(located)?
    };
    run.leave(&step.revision)?;
    run.settle(&step.revision, watched)?;
    run.remember_events(&stored, &actions, &by, false)?;
    drop(scope);
    drop(pinned);
    run.flush()?;
    if plan.cut == Cut::Limit && changed == 0 {
        return Ok(Batch::End);
    }
    let rows = i64::try_from(changed).unwrap_or(i64::MAX);
    next.last_key = last;
    next.rows += rows;
    next.batches += 1;
    // The table may never have been analysed; of the smallest rows, it can't hold more than these.
    let most = plan.table.rows.max(plan.table.bytes / SMALLEST_ROW).max(10_000);
    if (plan.cut == Cut::Limit || plan.updates(&statement)) && next.rows > 20 * most {
        return Err(endless(step, &format!("It has changed {} rows by now, of at most {most}.", next.rows)));
    }
    next.batch_rows = pace.next(&plan.header, start.elapsed(), lock::others_wait());
    backfills::advance(&step.revision, &next, start.elapsed())?;
    moved(job)?;
    Ok(Batch::Done(next))
}

/// After the table was rewritten or emptied, or its key changed, between two batches: which of its rows are done is not known.
fn again(step: &Step, plan: &Plan, mut next: Progress) -> Result<Batch, Failure> {
    if !plan.header.repeatable && next.last_key.is_some() {
        let message = format!("table {} was rewritten or emptied, or its key changed, while the backfill ran", plan.table.name);
        let detail = "Which of its rows the batches before have changed is not known any more, and none may be changed twice.";
        let hint = "Look at the table, cancel the job, and submit a backfill for the rows that are left.";
        return Err(refusal("55000", message, Some(detail.to_owned()), Some(hint.to_owned())).into());
    }
    next.last_key = None;
    backfills::advance(&step.revision, &next, Duration::ZERO)?;
    Ok(Batch::Again(next))
}

/// After the last key: with a condition, what was inserted behind has its turn, until nothing is found.
fn another_pass(step: &Step, plan: &Plan, mut next: Progress) -> Result<Batch, Failure> {
    if plan.header.filter.is_none() || next.last_key.is_none() {
        return Ok(Batch::End);
    }
    if next.pass >= PASSES {
        let table = &plan.table.name;
        let detail = format!("After {PASSES} passes over table {table} there still are rows that meet its condition.");
        return Err(endless(step, &detail));
    }
    next.pass += 1;
    next.last_key = None;
    backfills::advance(&step.revision, &next, Duration::ZERO)?;
    Ok(Batch::Done(next))
}

fn endless(step: &Step, detail: &str) -> Failure {
    let hint = "The statement must make its condition false for the rows that it changes; new rows must come with the value.";
    let message = format!("the backfill of revision \"{}\" does not come to an end", step.revision);
    refusal("55000", message, Some(detail.to_owned()), Some(hint.to_owned())).into()
}

impl Plan {
    /// Whether the table is not inside what it was when this was planned, or when the last batch ran. An error about its key is that of the
    /// next plan.
    fn is_outdated(&self, table: &Table, files: &[u32], progress: &Progress) -> bool {
        let same_key = key_of(&self.header, table).is_ok_and(|key| key == self.key);
        // A partition that has come is like rows that have been inserted.
        !same_key
            || progress.shape.as_ref().is_some_and(|known| *known != self.key.shape)
            || progress.files.iter().flatten().any(|known| !files.contains(known))
    }

    /// Whether the statement changes the very rows whose keys cut the batches.
    fn updates(&self, statement: &Statement) -> bool {
        matches!(&statement.command, Command::Change { name } if statement.tag == "UPDATE"
            && matches!(name.identity, Identity::Is(found) if found.object == self.table.oid))
    }

    /// The first and the last key of the next batch.
    fn bounds(&self, progress: &Progress) -> Result<Option<(Values, Values)>, Failure> {
        // Qualified throughout: ORDER BY takes a bare name for an output column first, and those are texts here.
        let columns = self.columns();
        let text = |(at, column): (usize, &String)| format!("{column}::pg_catalog.text AS key_{at}");
        let texts: Vec<String> = columns.iter().enumerate().map(text).collect();
        let parameter = |(at, data_type): (usize, &String)| format!("CAST(${} AS {data_type})", at + 1);
        let key = self.row(&columns);
        let bound = self.row(&self.key.types.iter().enumerate().map(parameter).collect::<Vec<_>>());
        let filter = self.filter();
        let table = format!("{} AS backfilled", self.table.name);
        let (texts, order) = (texts.join(", "), columns.join(", "));
        let descending: Vec<String> = columns.iter().map(|column| format!("{column} DESC")).collect();
        let after = if progress.last_key.is_some() { format!("{key} > {bound}") } else { "true".to_owned() };
        let first = statements::query(
            &format!("SELECT {texts} FROM {table} WHERE {after} AND {filter} ORDER BY {order} LIMIT 1"),
            progress.last_key.as_deref().unwrap_or_default(),
        )?;
        let Some(first) = first.into_iter().next() else { return Ok(None) };
        let skip = progress.batch_rows.max(1) - 1;
        let from = format!("FROM {table} WHERE {key} >= {bound} AND {filter}");
        let mut last = statements::query(&format!("SELECT {texts} {from} ORDER BY {order} OFFSET {skip} LIMIT 1"), &first)?;
        if last.is_empty() {
            last = statements::query(&format!("SELECT {texts} {from} ORDER BY {} LIMIT 1", descending.join(", ")), &first)?;
        }
        let last = last.into_iter().next().unwrap_or_else(|| first.clone());
        Ok(Some((first, last)))
    }

    /// The columns of the key.
    fn columns(&self) -> Vec<String> {
        self.key.names.iter().map(|column| format!("backfilled.{}", quote(column))).collect()
    }

    fn row(&self, values: &[String]) -> String {
        if values.len() == 1 { values[0].clone() } else { format!("({})", values.join(", ")) }
    }

    fn filter(&self) -> String {
        // The line break ends a comment that the condition may end with.
        self.header.filter.as_ref().map_or_else(|| "true".to_owned(), |filter| format!("({filter}\n)"))
    }

    /// Runs the first batch again, to be rolled back, and compares the rows of its range.
    fn refuse_unless_repeatable(&self, view: &View, parameters: &[String], statement: &Statement) -> Result<(), Failure> {
        let columns = self.columns();
        let bounds = |first: usize| {
            let one = |(at, data_type): (usize, &String)| format!("CAST(${} AS {data_type})", first + at);
            self.row(&self.key.types.iter().enumerate().map(one).collect::<Vec<_>>())
        };
        let rows = format!(
            "SELECT pg_catalog.md5(pg_catalog.string_agg(sum, '' ORDER BY sum)) FROM (SELECT \
             pg_catalog.md5(backfilled::pg_catalog.text) FROM {} AS backfilled WHERE {} BETWEEN {} AND {}) AS found (sum)",
            self.table.name,
            self.row(&columns),
            bounds(1),
            bounds(1 + self.key.types.len())
        );
        let before = statements::query_under(view, &rows, parameters)?;
        let mut same = false;
        // Rolled back whatever comes of it.
        let again = subtransaction::within(|| {
            let changed = statements::execute_under(view, &self.sql, parameters)?;
            let inserts = statement.tag == "INSERT" && changed > 0;
            same = !inserts && statements::query_under(view, &rows, parameters)? == before;
            Err::<(), Failure>(refusal("RB001", "rolled back", None, None).into())
        });
        if same {
            return Ok(());
        }
        let detail = match again {
            Err(Failure::PgError(error)) => format!("ApplyContext again, its first batch fails: {}", error.message()),
            _ => "ApplyContext again, its first batch changes rows that it has changed already.".to_owned(),
        };
        let hint = "Write it so that a second run changes nothing, such as SET total = price * quantity; or, where each row may be \
                    changed once only, write \"repeatable no\" into the backfill's header: batches are never run twice.";
        let message = "the backfill's statement is not repeatable";
        Err(refusal("55000", message, Some(detail), Some(hint.to_owned())).into())
    }
}
