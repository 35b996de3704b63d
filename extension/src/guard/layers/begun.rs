//! Statements that are judged again under their lock, before they do anything.
//!
//! What a statement does to a table depends on what the table is: the type of a column, a view or a table, a partition that is protected.
//! It is judged before any lock is taken, and while it waits for the lock another session may rename tables, or give a column another
//! type. So the lock is taken here, the same that PostgreSQL takes next, and the statement is read once more. What was read then is
//! remembered for the events that follow, when the catalog says already what the statement has made of it.

use crate::catalog::objects::{self, Touched};
use crate::error::{self, refusal};
use crate::guard::classify::classify;
use crate::pg::execute::lock;
use crate::pg::hooks::events::{Event, Statement};
use crate::pg::parse::commands::Reading;
use runbook_core::action::Action;
use runbook_core::identity::{Identity, RELATIONS};
use std::cell::RefCell;

/// What a statement meant under its lock.
#[derive(Clone, Debug)]
pub struct Begun {
    /// What it does.
    pub actions: Vec<Action>,
    /// The tables that it names, by OID, with the mode of the lock.
    tables: Vec<(u32, i32)>,
}

impl Begun {
    /// Whether the statement named this relation when it was judged; true where none of its names could be bound to one.
    fn names(&self, relation: u32) -> bool {
        let bound = self.actions.iter().flat_map(|action| [action.identity, action.owner]).filter_map(|one| match one {
            Identity::Is(found) if found.class == RELATIONS => Some(found.object),
            _ => None,
        });
        let known: Vec<u32> = self.tables.iter().map(|(table, _)| *table).chain(bound).collect();
        let is_unbound = known.is_empty() && self.actions.iter().any(|action| action.identity.is_unknown());
        is_unbound || known.contains(&relation)
    }
}

thread_local! {
    static BEGUN: RefCell<Vec<(Statement, Begun)>> = const { RefCell::new(Vec::new()) };
}

/// How often names may change their meaning while a statement waits.
const ATTEMPTS: u32 = 5;

/// Locks what the statement names, and has `judge` judge it again. `seen` is what it has been judged by, where that is known.
///
/// # Errors
/// Those of `judge`; 55P03 and 40P01; 40001 where names change their meaning again and again.
pub fn settle(
    event: &Event,
    mut reading: Reading,
    mut seen: Option<Vec<Action>>,
    judge: impl Fn(&Reading, &[Action]) -> error::Result<()>,
) -> error::Result<()> {
    for _ in 0..ATTEMPTS {
        let tables = lock::settling(event.tree(), &reading.command);
        lock::own(&tables);
        reading = event.reading();
        if reading.unresolved {
            event.note_unresolved();
            return Ok(());
        }
        let actions = classify(&reading.command);
        if seen.as_ref() != Some(&actions) {
            judge(&reading, &actions)?;
        }
        if tables == lock::settling(event.tree(), &reading.command) {
            remember(event.statement(), Begun { actions, tables });
            return Ok(());
        }
        seen = Some(actions);
    }
    Err(changed(event))
}

fn remember(statement: Statement, begun: Begun) {
    BEGUN.with_borrow_mut(|known| {
        known.retain(|(other, _)| other.goes_on() && *other != statement);
        known.push((statement, begun));
    });
}

/// What the statement meant when it began, if it is one of those that are judged under their lock.
pub fn of(event: &Event) -> Option<Begun> {
    let statement = event.statement();
    BEGUN.with_borrow(|known| known.iter().rfind(|(other, _)| *other == statement).map(|(_, begun)| begun.clone()))
}

/// Refuses, at its end, a statement that has changed another table than it was judged by.
///
/// # Errors
/// 40001.
pub fn check(event: &Event) -> error::Result<()> {
    let Some(begun) = of(event) else { return Ok(()) };
    BEGUN.with_borrow_mut(|known| known.retain(|(other, _)| *other != event.statement()));
    // What is committed already can't be taken back, and has given its locks up.
    if event.commits_midway() {
        return Ok(());
    }
    let is_other = |(tag, found, _): &Touched| {
        *tag == event.tag && tag.starts_with("ALTER") && found.class == RELATIONS && !begun.names(found.object)
    };
    let moved = !event.renames() && lock::settling(event.tree(), &event.command()) != begun.tables;
    let touched = objects::touched()?;
    // What is renamed or moved is of its own kind.
    let strays = begun.actions.iter().filter(|action| action.is_move()).any(|action| {
        let Identity::Is(judged) = action.identity else { return false };
        let mut same = touched.iter().filter(|(tag, found, _)| *tag == event.tag && found.class == judged.class).peekable();
        same.peek().is_some() && same.all(|(_, found, _)| found.object != judged.object)
    });
    if moved || strays || touched.iter().any(is_other) { Err(changed(event)) } else { Ok(()) }
}

fn changed(event: &Event) -> pgrx::pg_sys::panic::ErrorReport {
    refusal(
        "40001",
        format!("could not serialize access: names in this {} changed their meaning while it waited", event.tag),
        Some("Another session has renamed or replaced what it names. Nothing has been changed.".to_owned()),
        Some("Try the statement again.".to_owned()),
    )
}
