//! Layer 3: protected tables. Triggers, so that they work without preloading and on logical subscribers.

use crate::error::refusal;
use crate::guard::classify::classify;
use crate::guard::control;
use crate::guard::integrity::wholeness;
use crate::guard::judge::{When, decide};
use crate::pg::execute::statements;
use crate::pg::hooks::events::client_query;
use crate::pg::parse::objects;
use crate::store::protected::{self, Member};
use crate::{ledger, permission};
use pgrx::pg_sys::panic::ErrorReport;
use runbook_core::action::{Action, Class, quote};
use runbook_core::changing;
use runbook_core::command::Name;
use runbook_core::identity::{Address, Identity};
use runbook_core::inventory::SCHEMAS;
use runbook_core::ledger::Kind;
use runbook_core::vocabulary::object_kind::ObjectKind;
use runbook_core::vocabulary::verb::Verb;
use serde_json::json;

fn name_of(table: u32) -> Option<Name> {
    let (_, path, temporary) = objects::describe(Address::relation(table))?;
    let identity = Identity::Is(Address::relation(table));
    Some(Name { schema: path.first().cloned(), temporary, identity, ..Name::bare(path.last().cloned().unwrap_or_default()) })
}

/// Judges a transaction that changes more rows of a protected table than it allows.
///
/// # Errors
/// 42501.
pub fn too_many_rows([table, root]: [u32; 2], limit: i64, tag: &'static str) -> Result<(), ErrorReport> {
    let table = if table != root && is_named(root) { root } else { table };
    let Some(name) = name_of(table) else { return Ok(()) };
    let action = Action::many_rows(&name);
    wholeness::switched_off(tag, &action)?;
    decide(tag, &[action], When::Before).map_err(|report| match report.hint() {
        // The limit is what people have to know here.
        Some(hint) => {
            let detail = format!(
                "The table is protected: a transaction or a revision may change at most {limit} of its rows. {}",
                detail_of(&report)
            );
            let hint = hint.to_owned();
            refusal("42501", report.message().to_owned(), Some(detail), Some(hint))
        }
        None => report,
    })
}

/// Whether the client's statement names this table as the one whose rows it changes, and reaches a partition or an heir by it.
fn is_named(table: u32) -> bool {
    let Some(query) = client_query().filter(|_| !permission::is_applying()) else { return false };
    let found = Identity::Is(Address::relation(table));
    let parsed = statements::parse(&query).unwrap_or_default();
    parsed
        .iter()
        .flat_map(|one| classify(&one.command))
        .any(|action| action.verb == Verb::ChangeManyRows && action.identity == found)
}

fn detail_of(report: &ErrorReport) -> String {
    report.detail().map(str::to_owned).unwrap_or_default()
}

/// Judges a TRUNCATE of a protected table.
///
/// # Errors
/// 42501.
pub fn emptied(table: u32) -> Result<(), ErrorReport> {
    let Some(name) = name_of(table) else { return Ok(()) };
    let as_written =
        [Verb::Truncate, Verb::TruncateCascade].map(|verb| Action::on(verb, Class::Destructive, ObjectKind::Table, &name));
    // Where the hook has judged it, or a revision declares it, the words were those of the statement.
    let is_covered = permission::covering(|coverage| {
        coverage
            .is_some_and(|coverage| as_written.iter().any(|action| coverage.uncovered(std::slice::from_ref(action)).is_none()))
    });
    if is_covered {
        return Ok(());
    }
    let [action, _] = as_written;
    wholeness::switched_off("TRUNCATE TABLE", &action)?;
    decide("TRUNCATE TABLE", &[action], When::Before)
}

/// Protects a table with all its partitions and heirs; `max_rows` is how many rows a transaction may change, without limit if
/// `None`.
///
/// # Errors
/// 42809 for what is no table; 42501 where a permit is needed to weaken the protection.
pub fn protect(table: u32, max_rows: Option<i64>) -> Result<(), ErrorReport> {
    let Some((kind, path, temporary)) = objects::describe(Address::relation(table)) else {
        return Err(refusal("42P01", "there is no such table", None, None));
    };
    let full: Vec<String> = path.iter().map(|part| quote(part)).collect();
    let full = full.join(".");
    if kind != ObjectKind::Table || temporary {
        let hint = "Protect the table that holds the rows.".to_owned();
        return Err(refusal("42809", format!("{full} is not an ordinary table"), None, Some(hint)));
    }
    if path.first().is_some_and(|schema| SCHEMAS.contains(&schema.as_str()) || schema.starts_with("pg_")) {
        let detail = "System catalogs and the runbook's own tables are guarded by the preloaded library.".to_owned();
        return Err(refusal("42809", format!("{full} can't be protected"), Some(detail), None));
    }
    if max_rows.is_some_and(|rows| rows < 0) {
        let hint =
            "Give the number of rows that one transaction may change, or NULL to guard only against TRUNCATE.".to_owned();
        return Err(refusal("22023", "max_rows can't be negative", None, Some(hint)));
    }
    let before = protected::limit(table)?;
    let members = protected::tree(table)?;
    refuse_to_count_elsewhere(&full, &members)?;
    // Also for what belongs to it and is protected more strictly by itself.
    let is_weaker = |old: Option<Option<i64>>| match (old, max_rows) {
        (Some(Some(old)), Some(new)) => new > old,
        (Some(Some(_)), None) => true,
        _ => false,
    };
    if members.iter().any(|member| is_weaker(member.limit)) {
        let name = name_of(table).unwrap_or_default();
        control::decide(&changing::PROTECT_TABLE, Some(&name), &format!("weaken the protection of {full}"))?;
    }
    protected::protect(table, &members, max_rows)?;
    let facts = json!({"protected_table": full, "max_rows": max_rows, "old_max_rows": before.flatten()});
    ledger::record(Kind::PolicyChanged, facts)
}

/// Refuses to have rows counted under one table that count under another one: the other's limit would not be what it says.
fn refuse_to_count_elsewhere(full: &str, members: &[Member]) -> Result<(), ErrorReport> {
    let Some((member, root)) = protected::counted_elsewhere(members)? else { return Ok(()) };
    let path = |table: u32| name_of(table).map(|name| name.path().iter().map(|part| quote(part)).collect::<Vec<_>>().join("."));
    let (member, root) = (path(member).unwrap_or_default(), path(root).unwrap_or_default());
    let whose = if member == full { "Its rows".to_owned() } else { format!("The rows of {member}") };
    Err(refusal(
        "55000",
        format!("{full} can't be protected by itself"),
        Some(format!("{whose} count together with those of {root}, which is protected and which it belongs to.")),
        Some(format!("Change the limit there: SELECT runbook.protect_table('{root}', ROWS);")),
    ))
}

/// Removes the protection of a table; false if it had none.
///
/// # Errors
/// 42501 where a permit is needed for it.
pub fn unprotect(table: u32) -> Result<bool, ErrorReport> {
    let Some(before) = protected::limit(table)? else { return Ok(false) };
    let name = name_of(table).unwrap_or_default();
    let full: Vec<String> = name.path().iter().map(|part| quote(part)).collect();
    let full = full.join(".");
    control::decide(&changing::UNPROTECT_TABLE, Some(&name), &format!("remove the protection of {full}"))?;
    protected::unprotect(&protected::tree(table)?)?;
    ledger::record(Kind::PolicyChanged, json!({"unprotected_table": full, "old_max_rows": before}))?;
    Ok(true)
}
