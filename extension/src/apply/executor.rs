//! The executor: a revision runs statement by statement as the migration role, in a pinned session.

use crate::apply::run::Run;
use crate::error::refusal;
use crate::guard::{self, When, classify, classify_all};
use crate::ledger;
use crate::pg::caught::Caught;
use crate::pg::entry::Failure;
use crate::pg::session::{Pinned, search_path};
use crate::pg::statements::{self, Statement};
use crate::session;
use crate::store::catalog;
use crate::store::revisions::Stored;
use runbook_core::action::Action;
use runbook_core::command::Command;
use runbook_core::ledger::{Entry, Kind};
use runbook_core::plan::Direction;
use serde_json::json;
use std::cell::RefCell;
use std::time::Instant;

/// What failed, for the ledger.
#[derive(Default)]
pub struct Trouble {
    /// The revision.
    pub revision: String,
    /// Number of the statement in its section, from 1; 0 outside of any.
    pub statement: usize,
    /// Its line.
    pub line: usize,
}

impl Run {
    /// Runs one revision and records it.
    pub fn step(
        &self,
        stored: &Stored,
        come: &[String],
        trouble: &RefCell<Trouble>,
        entries: &mut Vec<Entry>,
    ) -> Result<(), Failure> {
        let id = stored.revision.revision.as_str();
        *trouble.borrow_mut() = Trouble { revision: id.to_owned(), ..Trouble::default() };
        let start = Instant::now();
        let sql = match self.direction {
            Direction::Upgrade => stored.revision.upgrade.as_str(),
            Direction::Downgrade => stored.revision.downgrade.as_deref().unwrap_or_default(),
        };
        let pinned = Pinned::enter(&self.settings.pinned(), self.settings.migration_role())?;
        let parsed = self.parse(sql, id, self.direction.as_str())?;
        let checks = match (self.direction, stored.revision.verify.as_deref()) {
            (Direction::Upgrade, Some(verify)) => self.parse(verify, id, "verify")?,
            _ => vec![],
        };
        // What was classified at submission looked at another catalog; what counts is what runs now.
        let actions = classify_all(parsed.iter().chain(&checks).map(|statement| &statement.command))?;
        let approved_by = self.refuse_if_needy(stored, &actions, true)?;
        let scope = self.permit(id, actions.clone());
        self.run(&parsed, id, self.direction.as_str(), trouble, entries)?;
        self.run(&checks, id, "verify", trouble, entries)?;
        *trouble.borrow_mut() = Trouble { revision: id.to_owned(), ..Trouble::default() };
        statements::check_constraints().map_err(|error| with_context(error, &format!("end of revision {id}")))?;
        self.refuse_leftovers(id)?;
        let events = session::covering(|coverage| coverage.map(|coverage| std::mem::take(&mut coverage.events)));
        let plain = parsed.iter().chain(&checks).all(|statement| is_plain(&statement.command));
        self.remember(stored, &actions, &approved_by, &events.unwrap_or_default(), plain)?;
        drop(scope);
        drop(pinned);
        let kind = if self.direction == Direction::Upgrade { Kind::RevisionApplied } else { Kind::RevisionReverted };
        let facts = json!({
            "revision": id, "digest": stored.digest, "direction": self.direction.as_str(), "phase": stored.phase,
            "approved_by": approved_by, "statements": parsed.len(), "duration_us": micros(start), "heads": come,
        });
        entries.push(ledger::entry(kind, facts)?);
        Ok(())
    }

    fn parse(&self, sql: &str, id: &str, section: &str) -> Result<Vec<Statement>, Failure> {
        statements::parse(sql).map_err(|error| Failure::Caught(with_context(error, &format!("revision {id} ({section})"))))
    }

    /// A cursor WITH HOLD would run its query when the caller commits, as the caller.
    fn refuse_leftovers(&self, id: &str) -> Result<(), Failure> {
        let cursors = catalog::holdable_cursors()?;
        if cursors.iter().all(|cursor| self.cursors.contains(cursor)) {
            return Ok(());
        }
        let message = format!("revision \"{id}\" leaves a cursor WITH HOLD open");
        let hint = "Declare it WITHOUT HOLD, or CLOSE it in the revision.";
        Err(refusal("0A000", message, None, Some(hint.to_owned())).into())
    }

    fn run(
        &self,
        parsed: &[Statement],
        id: &str,
        section: &str,
        trouble: &RefCell<Trouble>,
        entries: &mut Vec<Entry>,
    ) -> Result<(), Failure> {
        let home = search_path().into_iter().next();
        for (at, statement) in parsed.iter().enumerate() {
            let number = at + 1;
            *trouble.borrow_mut() = Trouble { revision: id.to_owned(), statement: number, line: statement.line };
            let place = format!("revision {id} ({section}), statement {number}, line {}", statement.line);
            refuse_switch(statement, &place)?;
            let start = Instant::now();
            statements::run(&statement.sql).map_err(|error| explained(with_context(error, &place)))?;
            check_under_lock(statement)?;
            let declared = classify(&statement.command);
            let observed = session::covering(|coverage| coverage.map(|coverage| std::mem::take(&mut coverage.observed)));
            let observed = observed.unwrap_or_default();
            let actions = if declared.is_empty() { observed } else { declared };
            let actions: Vec<Action> = actions.into_iter().map(|action| action.at_home(home.as_ref())).collect();
            let facts = json!({
                "revision": id, "section": section, "statement_number": number, "line": statement.line, "tag": statement.tag,
                "objects": actions.iter().map(runbook_core::ledger::listed).collect::<Vec<_>>(), "statement": statement.sql, "duration_us": micros(start),
            });
            entries.push(ledger::entry(Kind::ApplyStatement, facts)?);
        }
        Ok(())
    }
}

/// Whether a statement is DDL that makes no table and reaches nothing but its own objects: then what the guard was told of it
/// is what happened, and nobody need look.
fn is_plain(command: &Command) -> bool {
    match command {
        Command::Create { kind, .. } => !kind.contains("table") && kind != "schema",
        Command::CreateIndex { .. }
        | Command::AlterTable { .. }
        | Command::Rename { .. }
        | Command::SetSchema { .. }
        | Command::AddEnumValue { .. }
        | Command::Drop { .. } => true,
        _ => false,
    }
}

/// No event trigger sees what empties a table. Its name can't move any more once the statement holds its lock, so what it
/// means is asked again.
fn check_under_lock(statement: &Statement) -> Result<(), Failure> {
    if matches!(statement.command, Command::Truncate { .. } | Command::Delete { filtered: false, .. }) {
        for again in statements::parse(&statement.sql)? {
            guard::decide(&again.tag, &classify_all([&again.command])?, When::During)?;
        }
    }
    Ok(())
}

fn micros(start: Instant) -> u64 {
    u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX)
}

fn with_context(mut error: Caught, place: &str) -> Caught {
    error.add_context(place);
    error
}

/// What can't run inside a function gets the hint that PostgreSQL, which doesn't know why, can't give.
fn explained(mut error: Caught) -> Caught {
    if error.sqlstate() == "25001" {
        error.suggest(
            "upgrade() runs in a transaction. Leave CONCURRENTLY out, or run the statement by hand and then \
             SELECT runbook.stamp('REVISION').",
        );
    }
    error
}

/// SET ROLE would fail anyway under the security-restricted switch; here it fails with a reason. The other settings would
/// change what the statements mean that an approver has read.
fn refuse_switch(statement: &Statement, place: &str) -> Result<(), Failure> {
    let setting = match &statement.command {
        Command::SwitchRole { setting } => setting.as_str(),
        _ if !statements::strings_conform() => "standard_conforming_strings",
        _ => return Ok(()),
    };
    let hint = "Revisions run as the migration role, in a pinned session; remove the statement that changes it.";
    let message = format!("a revision can't change \"{setting}\"");
    Err(refusal("42501", message, Some(format!("At {place}.")), Some(hint.to_owned())).into())
}
