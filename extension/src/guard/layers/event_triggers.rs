//! Layer 1: event triggers.
//!
//! `ddl_command_start` decides before any lock is taken, from the parse tree, and again under the lock that it takes then; `sql_drop` and `table_rewrite` check what
//! really happens, cascades included; `ddl_command_end` asks again, under the lock, what a covered statement has touched, and
//! records DDL outside revisions.

use crate::catalog::objects::{self, Touched};
use crate::catalog::relations;
use crate::error::refusal;
use crate::guard::classify::classify;
use crate::guard::enforcement::{self, Enforcement, Mode};
use crate::guard::integrity::wholeness::{self, MODE_OFF};
use crate::guard::integrity::{protect, update};
use crate::guard::judge::{When, decide, refuse_by_uncommitted_rules, refuse_if_taken_back};
use crate::guard::layers::begun;
use crate::guard::layers::dropping::{
    self, goes_with_its_extension, goes_with_its_relation, is_ours, is_what_its_statement_says, remember_members,
    remember_members_of_dropped,
};
use crate::guard::layers::utility_hook::statement_class;
use crate::guard::passing::{record_beginning, record_passing, record_seen};
use crate::guard::temporary::refuse_hidden;
use crate::guard::{permits, unresolved};
use crate::permission::{self, Before, Coverage};
use crate::pg::execute::transaction;
use crate::pg::hooks::events::{self, Event};
use crate::pg::parse::commands::Reading;
use crate::pg::parse::names::part_of;
use crate::pg::parse::objects::{describe, has_temporary_schema};
use crate::pg::session::extension_members::{expect_a_script, extension_of_the_script, is_in_a_script, is_in_own_script};
use crate::pg::session::identity::is_own_sql;
use crate::store::settings;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use runbook_core::action::{Action, Class, Object};
use runbook_core::command::{Command, Name};
use runbook_core::identity::{Address, Identity};
use runbook_core::vocabulary::object_kind::ObjectKind;
use runbook_core::vocabulary::verb::Verb;
use std::collections::HashSet;

#[pg_extern(
    sql = "CREATE FUNCTION runbook_internal.guard_command_start() RETURNS event_trigger LANGUAGE c AS 'MODULE_PATHNAME', '@FUNCTION_NAME@';
COMMENT ON FUNCTION runbook_internal.guard_command_start() IS 'Refuses what policy does not allow, before any lock and again under it.';"
)]
fn guard_command_start(fcinfo: pg_sys::FunctionCallInfo) -> Result<(), ErrorReport> {
    let event = event(fcinfo)?;
    let decided = event.is_decided();
    dropping::forget_members();
    if event.tag.ends_with(" EXTENSION") {
        expect_a_script();
    }
    if let Some(extension) = extension_of_the_script() {
        let may_drop = event.tag.starts_with("DROP") || event.tag.starts_with("ALTER") && is_in_own_script();
        return if may_drop { remember_members(&[extension]) } else { Ok(()) };
    }
    if is_own_sql() {
        return Ok(());
    }
    if event.tag == "ALTER EXTENSION" {
        update::begins(&event.command())?;
    }
    if decided && permission::covering(|coverage| coverage.is_none()) && event.tag != "DROP EXTENSION" {
        if event.is_judged_under_lock() && Enforcement::current()? != Enforcement::Off {
            let reading = event.reading();
            return if reading.unresolved {
                Ok(())
            } else {
                begun::settle(&event, reading, None, |reading, actions| judge(&event, reading, actions, When::During))
            };
        }
        return Ok(());
    }
    if event.comes_first() {
        transaction::keep_without_id();
    }
    let reading = event.reading();
    let Reading { command, unresolved } = &reading;
    if *unresolved {
        if !decided {
            event.note_unresolved();
        }
        return Ok(());
    }
    let actions = classify(command);
    remember_members_of_dropped(&actions)?;
    remember_before(command, &actions)?;
    let enforcement = Enforcement::current()?;
    if !decided {
        judge_first(&event, &reading, &actions, enforcement)?;
    }
    let is_unguarded = is_unguarded()?;
    match event.is_judged_under_lock() && !is_unguarded {
        true => begun::settle(&event, reading, (!decided).then_some(actions), |reading, actions| {
            // Others may have changed it while the lock was waited for.
            remember_before(&reading.command, actions)?;
            judge(&event, reading, actions, When::During)
        }),
        false => Ok(()),
    }
}

/// Takes note of what a covered statement finds, so that what it makes is told from what was there.
fn remember_before(command: &Command, actions: &[Action]) -> Result<(), ErrorReport> {
    if permission::covering(|coverage| coverage.is_some()) {
        let named = match command {
            Command::Create { replace: true, name, .. } => objects::named(&name.name)?,
            Command::Definer { name, .. } => objects::named(&name.name)?,
            Command::Rule { replace: true, name, .. } | Command::Trigger { replace: true, name, .. } => objects::named(name)?,
            _ => HashSet::new(),
        };
        let columns = actions.iter().filter_map(|action| match action.identity {
            Identity::NewColumn { table, after } if action.verb == Verb::Add => Some((table, after)),
            _ => None,
        });
        let before = Before { named, columns: columns.collect() };
        permission::covering(|coverage| coverage.map(|coverage| coverage.before = before));
    }
    Ok(())
}

/// Judges a statement that the preloaded library has not judged: before any lock.
fn judge_first(event: &Event, reading: &Reading, actions: &[Action], enforcement: Enforcement) -> Result<(), ErrorReport> {
    let there: Vec<Action> = actions.iter().filter(|action| is_there(action)).cloned().collect();
    if enforcement != Enforcement::Off {
        let damaged = wholeness::damaged_triggers();
        if !damaged.is_empty() {
            wholeness::bypassed(&event.tag, &there, &format!("event triggers are damaged: {}", damaged.join(", ")));
        }
    } else if enforcement::mode() == Mode::off && settings::is_active()? {
        wholeness::bypassed(&event.tag, &there, MODE_OFF);
    }
    refuse_by_uncommitted_rules(&event.tag, &there)?;
    judge(event, reading, actions, When::Before)?;
    if enforcement != Enforcement::Off && there.iter().any(Action::outlasts_rollback) {
        record_passing(&event.tag, &there)?;
    }
    if enforcement != Enforcement::Off && event.commits_midway() {
        record_beginning(&event.tag, &there);
    }
    Ok(())
}

/// Judges a statement that is about to run. What doesn't exist can't be lost; PostgreSQL says so better, or IF EXISTS asks for silence.
fn judge(event: &Event, reading: &Reading, actions: &[Action], when: When) -> Result<(), ErrorReport> {
    let actions: Vec<Action> = actions.iter().filter(|action| is_there(action)).cloned().collect();
    let enforcement = Enforcement::current()?;
    if enforcement != Enforcement::Off {
        protect::check(&event.tag, &reading.command, &actions, enforcement)?;
    }
    decide(&event.tag, &actions, when)
}

#[pg_extern(
    sql = "CREATE FUNCTION runbook_internal.guard_sql_drop() RETURNS event_trigger LANGUAGE c AS 'MODULE_PATHNAME', '@FUNCTION_NAME@';
COMMENT ON FUNCTION runbook_internal.guard_sql_drop() IS 'Checks what was really dropped, cascades included.';"
)]
fn guard_sql_drop(fcinfo: pg_sys::FunctionCallInfo) -> Result<(), ErrorReport> {
    let event = event(fcinfo)?;
    if is_unguarded()? {
        return Ok(());
    }
    let mut dropped = relations::dropped_objects();
    if is_in_own_script() {
        dropped.retain(|object| !is_ours(&object.action));
    }
    // Indexes, defaults and row types that go along with their object are no decision of their own. What a CASCADE reached
    // is, and so is whatever holds data: partitions, owned sequences, members of an extension.
    let mut decided: Vec<Action> = Vec::new();
    for object in &dropped {
        let holds_data = object.action.object.kind.holds_data();
        let counts = holds_data || (object.original || object.normal) && !goes_with_its_extension(&object.action);
        if counts && !is_what_its_statement_says(&event.tag, &object.action) && !goes_with_its_relation(object, &dropped)? {
            decided.push(object.action.clone());
        }
    }
    decide(&event.tag, &decided, When::During)?;
    let lasting: Vec<Action> = dropped.into_iter().map(|object| object.action).filter(|action| !action.temporary).collect();
    record_seen(&event.tag, &lasting)
}

#[pg_extern(
    sql = "CREATE FUNCTION runbook_internal.guard_table_rewrite() RETURNS event_trigger LANGUAGE c AS 'MODULE_PATHNAME', '@FUNCTION_NAME@';
COMMENT ON FUNCTION runbook_internal.guard_table_rewrite() IS 'Checks tables that are about to be rewritten.';"
)]
fn guard_table_rewrite(fcinfo: pg_sys::FunctionCallInfo) -> Result<(), ErrorReport> {
    let event = event(fcinfo)?;
    if is_in_own_script() || is_unguarded()? {
        return Ok(());
    }
    let Some((oid, schema, name)) = relations::rewritten_table()? else { return Ok(()) };
    let temporary = schema.starts_with("pg_temp");
    let found = Address::relation(oid);
    let name = Name { schema: Some(schema), temporary, identity: Identity::Is(found), ..Name::bare(name) };
    // The catalog has the new types already.
    let declared = begun::of(&event).map_or_else(|| classify(&event.command()), |begun| begun.actions);
    let rewrite = Action::on(Verb::Rewrite, Class::Blocking, ObjectKind::Table, &name);
    if permission::covering(|coverage| coverage.is_none()) {
        // An heir, or a table of a type that is altered, loses what the statement's own table loses.
        let of_data =
            declared.iter().filter(|action| action.object.kind == ObjectKind::Column || action.class == Class::Destructive);
        let class = of_data.map(|action| action.class).max().unwrap_or(Class::Blocking).max(Class::Blocking);
        let rewrite = Action { class, ..rewrite };
        // What a name means has been decided on before the lock; it can't change any more.
        let again = declared.into_iter().filter(is_there).filter(|_| enforcement::mode() != Mode::record);
        return decide(&event.tag, &again.chain([rewrite]).collect::<Vec<_>>(), When::During);
    }
    // The statement is declared; here it shows which tables it really rewrites.
    let strays = permission::covering(|coverage| {
        let coverage = coverage?;
        let policy = coverage.policy.as_ref()?;
        let stopped = declared.into_iter().find(|action| policy.stops(action))?;
        (!temporary && !coverage.mentions(found, stopped.class)).then_some(stopped.class)
    });
    match strays {
        Some(class) => decide(&event.tag, &[Action { class, ..rewrite }], When::During),
        None => Ok(()),
    }
}

#[pg_extern(
    sql = "CREATE FUNCTION runbook_internal.guard_command_end() RETURNS event_trigger LANGUAGE c AS 'MODULE_PATHNAME', '@FUNCTION_NAME@';
COMMENT ON FUNCTION runbook_internal.guard_command_end() IS 'Asks again, under the lock, what a covered statement has touched; records DDL outside revisions.';"
)]
fn guard_command_end(fcinfo: pg_sys::FunctionCallInfo) -> Result<(), ErrorReport> {
    let event = event(fcinfo)?;
    if event.was_unresolved() && !is_own_sql() {
        return unresolved::refuse(&event.tag);
    }
    begun::check(&event)?;
    judge_what_was_done(&event)?;
    if event.tag == "ALTER EXTENSION" && !is_in_a_script() {
        update::ended(&event.command())?;
    }
    Ok(())
}

fn judge_what_was_done(event: &Event) -> Result<(), ErrorReport> {
    if permission::covering(|coverage| coverage.is_some()) && !is_in_a_script() {
        check_under_lock(event)?;
        permits::check_code()?;
        refuse_if_taken_back(&event.tag)?;
        if permission::is_applying() {
            refuse_hidden()?;
        }
    }
    if is_in_own_script() || is_unguarded()? {
        return Ok(());
    }
    if has_temporary_schema() || relations::has_temporary_objects() {
        check_temporary(event)?;
    }
    if permission::is_applying() {
        return Ok(());
    }
    // What the objects say is what was touched; how grave it is, the statement says.
    let of_statement = || classify(&event.command()).into_iter().map(|action| action.class).max();
    let class = statement_class().map_or_else(of_statement, Some);
    let mut touched = relations::created_objects(&event.tag)?;
    touched.iter_mut().for_each(|action| action.class = class.unwrap_or(action.class));
    record_seen(&event.tag, &touched)
}

/// What depends on a temporary object goes with the session that it belongs to, without any event: so it must not come to that.
fn check_temporary(event: &Event) -> Result<(), ErrorReport> {
    let touched = objects::touched()?;
    let is_temporary = |(.., path): &Touched| path.first().is_some_and(|schema| schema.starts_with("pg_temp"));
    // Nothing lasting comes to depend on what is made beside it: PostgreSQL makes that temporary, too.
    if !touched.is_empty() && touched.iter().all(is_temporary) {
        return Ok(());
    }
    let tied = relations::tied_to_temporary()?.into_iter().filter_map(|found| {
        let (kind, path, _) = describe(found)?;
        let object = Object { kind: kind.clone(), qualified: path.len() > 1, path };
        let tied = Action::on(Verb::TieToTemporary, Class::Destructive, kind, &Name::default());
        Some(Action { object, identity: Identity::Is(found), ..tied })
    });
    decide(&event.tag, &tied.collect::<Vec<_>>(), When::During)
}

/// What a covered statement has touched, asked again now that its locks are held: names can't move any more.
fn check_under_lock(event: &Event) -> Result<(), ErrorReport> {
    let touched = objects::touched()?;
    let (moves, rest): (Vec<Action>, Vec<Action>) =
        classify(&event.command()).into_iter().filter(|action| action.verb != Verb::Drop).partition(Action::is_move);
    permission::covering(|coverage| coverage.map(|coverage| note_created(coverage, &touched, &rest)));
    let stays: Vec<Action> = rest.into_iter().filter(is_there).collect();
    if permission::covering(|coverage| coverage.is_some_and(|coverage| coverage.uncovered(&stays).is_some())) {
        decide(&event.tag, &stays, When::During)?;
    }
    for action in moves {
        for (_, found, path) in &touched {
            // The old name is gone: the object itself says what was renamed, and where it is now.
            // What has no identity of its own goes by its name.
            let own = !matches!(action.object.kind, ObjectKind::EnumValue | ObjectKind::DomainConstraint);
            let moved = if own { Action { identity: Identity::Is(*found), ..action.clone() } } else { action.clone() };
            if permission::covering(|coverage| coverage.is_some_and(|coverage| coverage.declares_move(&moved))) {
                permission::covering(|coverage| coverage.map(|coverage| coverage.events.rename(*found, path.clone())));
            } else {
                decide(&event.tag, &[moved], When::During)?;
            }
        }
    }
    Ok(())
}

/// Objects and columns that were not there before the statement.
fn note_created(coverage: &mut Coverage, touched: &[Touched], actions: &[Action]) {
    for (_, found, path) in touched.iter().filter(|(tag, ..)| tag.starts_with("CREATE") || tag == "SELECT INTO") {
        if !coverage.before.named.contains(&found.whole()) {
            coverage.events.create(found.whole(), path.clone());
        }
    }
    for action in actions.iter().filter(|action| action.verb == Verb::Add) {
        if let (Identity::Is(table), Some(name)) = (action.owner, action.object.path.last())
            && let Identity::Is(constraint) = part_of(table, &ObjectKind::Constraint, name)
        {
            coverage.events.create(constraint, action.object.path.clone());
        }
        if let Identity::Is(column) = action.identity
            && coverage.before.columns.get(&column.object).is_some_and(|after| column.part > *after)
        {
            coverage.create_column(column, action.object.path.clone());
        }
    }
}

/// Whether there is anything to lose yet; a column to be added is not there and counts all the same.
fn is_there(action: &Action) -> bool {
    action.verb == Verb::Add || !action.identity.is_absent()
}

fn event(fcinfo: pg_sys::FunctionCallInfo) -> Result<Event, ErrorReport> {
    events::read(fcinfo).ok_or_else(|| refusal("39P03", "this function can only be called by an event trigger", None, None))
}

/// Whether nothing is enforced or recorded here. A revision that is being applied carries its own answer.
fn is_unguarded() -> Result<bool, ErrorReport> {
    if is_own_sql() {
        return Ok(true);
    }
    match permission::covering(|coverage| coverage.map(|coverage| coverage.policy.is_none())) {
        Some(unguarded) => Ok(unguarded),
        None => Ok(Enforcement::current()? == Enforcement::Off),
    }
}
