//! What a backfill is about: its header, its table and key, and the bounds of batches.

use crate::error::{from_core, refusal};
use crate::pg::execute::statements::{self, Statement, View};
use crate::pg::execute::subtransaction;
use crate::pg::failure::Failure;
use crate::pg::parse::names;
use crate::store::backfills::{self, Column, Progress, Table};
use crate::store::revisions::Stored;
use pgrx::pg_sys::panic::ErrorReport;
use runbook_core::Revision;
use runbook_core::action::quote;
use runbook_core::backfill::{self, Backfill, Cut};
use runbook_core::command::Command;
use runbook_core::identity::Identity;

/// What all batches share.
pub struct Plan {
    pub(super) header: Backfill,
    pub(super) cut: Cut,
    pub(super) table: Table,
    pub(super) key: Key,
    /// The author's statement, with parameters.
    pub(super) sql: String,
}

/// Checks a backfill when it is submitted, in the session that revisions run in. A table that does not exist yet is checked later.
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
            let hint = "Write one condition, as after WHERE, such as total IS NULL.";
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
        let hint = "Write one UPDATE, INSERT, DELETE or MERGE, with :from and :to or with :limit.";
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
pub fn plan(stored: &Stored, statement: &Statement) -> Result<Plan, ErrorReport> {
    let header = Backfill::parse(stored.revision.backfill.as_deref().unwrap_or_default()).map_err(from_core)?;
    let cut = backfill::cut(&stored.revision.upgrade).map_err(from_core)?;
    refuse_unless_condition(&header)?;
    let table = table_of(&header)?;
    let key = if cut == Cut::Range { key_of(&header, &table)? } else { Key::default() };
    let sql = backfill::with_parameters(&statement_text(&stored.revision.upgrade, statement), &key.types);
    Ok(Plan { header, cut, table, key, sql })
}

/// The table that a header names, under the search path in force.
pub fn table_of(header: &Backfill) -> Result<Table, ErrorReport> {
    let Identity::Is(found) = names::relation_written(&header.table).identity else {
        let hint = "Write the table as in SQL; add its schema if it is not on the search path.".to_owned();
        return Err(refusal("42P01", format!("table \"{}\" of the backfill does not exist", header.table), None, Some(hint)));
    };
    backfills::table(found.object)?
        .filter(|table| ["r", "p"].contains(&table.kind.as_str()))
        .ok_or_else(|| refusal("42809", format!("\"{}\" is not a table", header.table), None, None))
}

/// The key along which batches are cut.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Key {
    /// Names of its columns.
    pub(super) names: Vec<String>,
    /// Their types, as SQL spells them.
    pub(super) types: Vec<String>,
    /// What else their order depends on.
    pub(super) shape: String,
    /// The schema of the operators that order them.
    pub(super) operators: String,
    /// What each column is compared as, where that must be said.
    pub(super) compared: Vec<Option<String>>,
}

/// The key of a backfill.
fn key_of(header: &Backfill, table: &Table) -> Result<Key, ErrorReport> {
    let names = if header.key.is_empty() { table.primary_key.clone() } else { header.key.clone() };
    let columns = key_columns(table, &names)?;
    let shape = columns.iter().map(|column| column.shape.as_str()).collect::<Vec<_>>().join(" ");
    let orders: Vec<_> = columns.iter().filter_map(|column| names::order_of(column.data_type)).collect();
    let operators = orders.first().map(|(schema, _)| schema.clone()).unwrap_or_default();
    if orders.iter().any(|(schema, _)| *schema != operators) {
        let message = format!("the columns of the key of table {} are ordered by operators of different schemas", table.name);
        let hint = "Name a key whose columns are of types of one schema, or bound the statement by :limit.";
        return Err(refusal("42P16", message, None, Some(hint.to_owned())));
    }
    let compared = orders.into_iter().map(|(_, compared)| compared).collect();
    Ok(Key { names, types: columns.into_iter().map(|column| column.spelled).collect(), shape, operators, compared })
}

/// The author's text of the statement, without what stands around it.
pub fn statement_text(section: &str, statement: &Statement) -> String {
    let parsed = backfill::for_parser(section);
    // Names and parameters have the same length, so the places are the same.
    parsed.find(&statement.sql).and_then(|at| section.get(at..at + statement.sql.len())).unwrap_or(section).to_owned()
}

/// regproc, regprocedure, regoper, regoperator, regclass, regtype, regconfig, regdictionary, regnamespace, regrole and regcollation
/// (catalog/pg_type.dat): their values are numbers that are written as names.
const NAMES: [u32; 11] = [24, 2202, 2203, 2204, 2205, 2206, 3734, 3769, 4089, 4096, 4191];

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
            Some(column) if NAMES.contains(&column.data_type) => {
                return advice(format!(
                    "column \"{name}\" of table {} holds names of objects, which can come to mean other objects",
                    table.name
                ));
            }
            Some(column) if !column.is_filled => {
                return advice(format!("column \"{name}\" of table {} may be NULL", table.name));
            }
            Some(column) if !names::is_compared_as_ordered(column.data_type) => {
                let message =
                    format!("column \"{name}\" of table {} is not compared by the operators that order it", table.name);
                let detail = format!(
                    "The operators of type {} are not on the search path, or other operators come first.",
                    column.spelled
                );
                let hint = "Add their schema to the search path: SELECT runbook.configure('search_path', 'public, …');";
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

impl Plan {
    /// Whether the table is not inside what it was when this was planned, or when the last batch ran. An error about its key is that of the
    /// next plan.
    pub(super) fn is_outdated(&self, table: &Table, files: &[u32], progress: &Progress) -> bool {
        let same_key = key_of(&self.header, table).is_ok_and(|key| key == self.key);
        // A partition that has come is like rows that have been inserted.
        !same_key
            || progress.shape.as_ref().is_some_and(|known| *known != self.key.shape)
            || progress.files.iter().flatten().any(|known| !files.contains(known))
    }

    /// Whether the statement changes the very rows whose keys cut the batches.
    pub(super) fn updates(&self, statement: &Statement) -> bool {
        matches!(&statement.command, Command::Change { name } if statement.tag == "UPDATE"
            && matches!(name.identity, Identity::Is(found) if found.object == self.table.oid))
    }

    /// The first and the last key of the next batch.
    pub(super) fn bounds(&self, progress: &Progress) -> Result<Option<(Values, Values)>, Failure> {
        // Qualified throughout: ORDER BY takes a bare name for an output column first, and those are texts here.
        let columns = self.columns();
        let text = |(at, column): (usize, &String)| format!("{column}::pg_catalog.text AS key_{at}");
        let texts: Vec<String> = columns.iter().enumerate().map(text).collect();
        let bound = self.bound(1);
        let filter = self.filter();
        let table = format!("{} AS backfilled", self.table.name);
        let (texts, order) = (texts.join(", "), columns.join(", "));
        let descending: Vec<String> = columns.iter().map(|column| format!("{column} DESC")).collect();
        let after = if progress.last_key.is_some() { self.compared(">", &bound) } else { "true".to_owned() };
        let first = statements::query(
            &format!("SELECT {texts} FROM {table} WHERE {after} AND {filter} ORDER BY {order} LIMIT 1"),
            progress.last_key.as_deref().unwrap_or_default(),
        )?;
        let Some(first) = first.into_iter().next() else { return Ok(None) };
        let skip = progress.batch_rows.max(1) - 1;
        let from = format!("FROM {table} WHERE {} AND {filter}", self.compared(">=", &bound));
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

    /// The values of a key that are given as parameters, from number `first` on.
    fn bound(&self, first: usize) -> String {
        let parameter = |(at, data_type): (usize, &String)| format!("CAST(${} AS {data_type})", first + at);
        self.row(self.key.types.iter().enumerate().map(parameter).collect())
    }

    /// A comparison of the key, by the operator that orders it: nobody else's, however well it fits the types.
    fn compared(&self, operator: &str, bound: &str) -> String {
        format!("{} OPERATOR({}.{operator}) {bound}", self.row(self.columns()), self.key.operators)
    }

    fn row(&self, mut values: Vec<String>) -> String {
        for (value, compared) in values.iter_mut().zip(&self.key.compared) {
            if let Some(data_type) = compared {
                *value = format!("CAST({value} AS {data_type})");
            }
        }
        if values.len() == 1 { values.remove(0) } else { format!("({})", values.join(", ")) }
    }

    fn filter(&self) -> String {
        // The line break ends a comment that the condition may end with.
        self.header.filter.as_ref().map_or_else(|| "true".to_owned(), |filter| format!("({filter}\n)"))
    }

    /// The text of a column with the key of its row.
    fn keyed(&self, column: &str) -> String {
        let key: Vec<String> = self.columns().iter().map(|column| format!("{column}::pg_catalog.text")).collect();
        format!("pg_catalog.concat_ws('|', {}, backfilled.{}::pg_catalog.text)", key.join(", "), quote(column))
    }

    /// Runs the first batch again, to be rolled back, and compares the rows of its range.
    pub(super) fn refuse_unless_repeatable(
        &self,
        view: &View,
        parameters: &[String],
        statement: &Statement,
    ) -> Result<(), Failure> {
        // What triggers do by the way, such as counting versions, is theirs; the columns that the statement sets are looked at one by one.
        let sum = |value: &str| {
            format!("pg_catalog.md5(pg_catalog.string_agg(pg_catalog.md5({value}), '' ORDER BY pg_catalog.md5({value})))")
        };
        let mut columns = if self.updates(statement) { statement.sets.clone() } else { vec![] };
        columns.sort_unstable();
        columns.dedup();
        let sums = match columns.as_slice() {
            [] => sum("backfilled::pg_catalog.text"),
            columns => columns.iter().map(|one| sum(&self.keyed(one))).collect::<Vec<_>>().join(", "),
        };
        let rows = format!(
            "SELECT {sums} FROM {} AS backfilled WHERE {} AND {}",
            self.table.name,
            self.compared(">=", &self.bound(1)),
            self.compared("<=", &self.bound(1 + self.key.types.len()))
        );
        let before = statements::query_under(view, &rows, parameters)?;
        let (mut same, mut changed_again) = (false, Vec::new());
        // Rolled back whatever comes of it.
        let again = subtransaction::within(|| {
            let changed = statements::execute_under(view, &self.sql, parameters)?;
            let inserts = statement.tag == "INSERT" && changed > 0;
            let after = statements::query_under(view, &rows, parameters)?;
            same = !inserts && after == before;
            let differs = |at: usize| before.first().map(|row| &row[at]) != after.first().map(|row| &row[at]);
            changed_again = columns.iter().enumerate().filter(|(at, _)| differs(*at)).map(|(_, name)| quote(name)).collect();
            Err::<(), Failure>(refusal("RB001", "rolled back", None, None).into())
        });
        if same {
            return Ok(());
        }
        let detail = match again {
            Err(Failure::PgError(error)) => format!("The first batch fails when it runs a second time: {}", error.message()),
            _ if !changed_again.is_empty() => {
                format!("The first batch changes {} again when it runs a second time.", changed_again.join(", "))
            }
            _ => "The first batch changes rows again when it runs a second time.".to_owned(),
        };
        let hint = "Write it so that a second run changes nothing, such as SET total = price * quantity; or, if each row may \
                    be changed only once, write \"repeatable no\" in the backfill's header: then no batch runs twice.";
        let message = "the backfill's statement is not repeatable";
        Err(refusal("55000", message, Some(detail), Some(hint.to_owned())).into())
    }
}
