//! Layer 1: event triggers.
//!
//! `ddl_command_start` decides before any lock is taken, from the parse tree; `sql_drop` and `table_rewrite` check what
//! really happens, cascades included; `ddl_command_end` records DDL outside revisions.

use crate::error::refusal;
use crate::guard::decide::{decide, facts};
use crate::guard::enforcement::Enforcement;
use crate::ledger;
use crate::pg::events::{self, Event};
use crate::session;
use crate::store::catalog::{self, Dropped};
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use runbook_core::action::{Action, Class, classify};
use runbook_core::command::Name;
use runbook_core::ledger::Kind;

#[pg_extern(
    sql = "CREATE FUNCTION runbook.guard_command_start() RETURNS event_trigger LANGUAGE c AS 'MODULE_PATHNAME', '@FUNCTION_NAME@';
COMMENT ON FUNCTION runbook.guard_command_start() IS 'Refuses what policy does not allow, before any lock.';"
)]
fn guard_command_start(fcinfo: pg_sys::FunctionCallInfo) -> Result<(), ErrorReport> {
    let event = event(fcinfo)?;
    // What doesn't exist can't be lost; PostgreSQL says so better, or IF EXISTS asks for silence.
    let actions: Vec<Action> = classify(&event.command()).into_iter().filter(|action| !action.missing).collect();
    decide(&event.tag, &actions)
}

#[pg_extern(
    sql = "CREATE FUNCTION runbook.guard_sql_drop() RETURNS event_trigger LANGUAGE c AS 'MODULE_PATHNAME', '@FUNCTION_NAME@';
COMMENT ON FUNCTION runbook.guard_sql_drop() IS 'Checks what was really dropped, cascades included.';"
)]
fn guard_sql_drop(fcinfo: pg_sys::FunctionCallInfo) -> Result<(), ErrorReport> {
    let event = event(fcinfo)?;
    if is_unguarded()? {
        return Ok(());
    }
    let dropped = catalog::dropped_objects()?;
    // What goes along with an object that is covered itself (its indexes, its owned sequences, its partitions) is no
    // decision of its own; what a CASCADE reached is.
    let mut decided: Vec<Action> = Vec::new();
    for object in dropped.iter().filter(|object| object.original || object.normal) {
        if !is_inherited(object, &dropped)? {
            decided.push(object.action.clone());
        }
    }
    decide(&event.tag, &decided)?;
    let lasting: Vec<Action> = dropped.into_iter().map(|object| object.action).filter(|action| !action.temporary).collect();
    record(&event.tag, &lasting)
}

#[pg_extern(
    sql = "CREATE FUNCTION runbook.guard_table_rewrite() RETURNS event_trigger LANGUAGE c AS 'MODULE_PATHNAME', '@FUNCTION_NAME@';
COMMENT ON FUNCTION runbook.guard_table_rewrite() IS 'Checks tables that are about to be rewritten.';"
)]
fn guard_table_rewrite(fcinfo: pg_sys::FunctionCallInfo) -> Result<(), ErrorReport> {
    let event = event(fcinfo)?;
    if session::with(|applying| applying.is_some()) || is_unguarded()? {
        return Ok(());
    }
    let Some((schema, name)) = catalog::rewritten_table()? else { return Ok(()) };
    let temporary = schema.starts_with("pg_temp");
    let name = Name { schema: Some(schema), temporary, ..Name::bare(name) };
    decide(&event.tag, &[Action::on("rewrite", Class::Blocking, "table", &name)])
}

#[pg_extern(
    sql = "CREATE FUNCTION runbook.guard_command_end() RETURNS event_trigger LANGUAGE c AS 'MODULE_PATHNAME', '@FUNCTION_NAME@';
COMMENT ON FUNCTION runbook.guard_command_end() IS 'Records DDL outside revisions in the ledger.';"
)]
fn guard_command_end(fcinfo: pg_sys::FunctionCallInfo) -> Result<(), ErrorReport> {
    let event = event(fcinfo)?;
    if session::with(|applying| applying.is_some()) || is_unguarded()? {
        return Ok(());
    }
    record(&event.tag, &catalog::created_objects(&event.tag)?)
}

/// Whether a column goes only because the statement drops the column of that name from a table that this one inherits
/// from: PostgreSQL takes it from all descendants, and refuses to drop it from one of them.
fn is_inherited(object: &Dropped, all: &[Dropped]) -> Result<bool, ErrorReport> {
    let column = |one: &Dropped| -> Option<(String, String, String)> {
        match &one.action.object.path[..] {
            [schema, table, column] if one.action.object.kind == "column" => {
                Some((schema.clone(), table.clone(), column.clone()))
            }
            _ => None,
        }
    };
    let Some((schema, table, name)) = column(object) else { return Ok(false) };
    for (parent_schema, parent, _) in all.iter().filter_map(column).filter(|(.., other)| *other == name) {
        if catalog::inherits(&schema, &table, &parent_schema, &parent)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn event(fcinfo: pg_sys::FunctionCallInfo) -> Result<Event, ErrorReport> {
    events::read(fcinfo).ok_or_else(|| refusal("39P03", "this function can only be called by an event trigger", None, None))
}

/// Whether nothing is enforced or recorded here. A revision that is being applied carries its own answer.
fn is_unguarded() -> Result<bool, ErrorReport> {
    match session::with(|applying| applying.map(|applying| applying.policy.is_none())) {
        Some(unguarded) => Ok(unguarded),
        None => Ok(Enforcement::current()? == Enforcement::Off),
    }
}

fn record(tag: &str, actions: &[Action]) -> Result<(), ErrorReport> {
    if actions.is_empty() || session::with(|applying| applying.is_some()) {
        return Ok(());
    }
    ledger::record(Kind::DdlExecuted, facts(tag, actions, "record", "", None))
}
