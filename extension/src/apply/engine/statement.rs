//! The executor: a revision runs statement by statement as the migration role, in a pinned session.

use crate::apply::context::ApplyContext;
use crate::apply::engine::entries::{micros, statement_entry};
use crate::apply::gate::bound_code::limit;
use crate::catalog::{objects, session as stored};
use crate::error::{self, refusal};
use crate::guard::classify::{classify, classify_all, classify_each};
use crate::guard::judge::{self, When};
use crate::guard::layers::object_access;
use crate::pg::execute::lock;
use crate::pg::execute::statements::{self, Statement};
use crate::pg::failure::Failure;
use crate::pg::parse::bind;
use crate::pg::pg_error::PgError;
use crate::pg::session::identity::set_local;
use crate::pg::session::pinned::{Pinned, has_pending_triggers, search_path};
use crate::pg::workers::shared::is_preloaded;
use crate::store::revisions::Stored;
use crate::{ledger, permission, store};
use pgrx::pg_sys::panic::ErrorReport;
use runbook_core::action::Action;
use runbook_core::advice::advice;
use runbook_core::command::Command;
use runbook_core::identity::Identity;
use runbook_core::ledger::{Entry, Kind};
use runbook_core::manifest::Manifest;
use runbook_core::plan::Direction;
use runbook_core::vocabulary::object_kind::ObjectKind;
use runbook_core::vocabulary::verb::Verb;
use serde_json::{Value, json};
use std::cell::RefCell;
use std::time::Instant;

/// What failed, for the ledger.
#[derive(Default)]
pub struct FailureSite {
    /// The revision.
    pub revision: String,
    /// Number of the statement in its section, from 1; 0 outside of any.
    pub statement: usize,
    /// Its line.
    pub line: usize,
}

/// What running statements has come to.
pub struct Ran {
    /// Whose approvals counted.
    pub approved_by: Vec<String>,
    /// What was taken away, with how much was in it.
    pub lost: Vec<String>,
}

/// Statements of one section, as they follow one another.
pub struct Part<'a> {
    /// `upgrade`, `downgrade` or `verify`.
    pub section: &'a str,
    /// The statements.
    pub statements: &'a [Statement],
    /// The number of the first of them in its section, from 1.
    pub first: usize,
}

impl ApplyContext {
    /// Runs one revision, and notes that it is applied or reverted.
    pub fn step(
        &self,
        stored: &Stored,
        come: &[String],
        site: &RefCell<FailureSite>,
        entries: &mut Vec<Entry>,
    ) -> Result<(), Failure> {
        let start = Instant::now();
        let id = stored.revision.revision.as_str();
        *site.borrow_mut() = FailureSite { revision: id.to_owned(), ..FailureSite::default() };
        let pinned = Pinned::enter(&self.settings.pinned(), self.settings.migration_role())?;
        let parsed = self.parse(self.sql(stored), id, self.direction.as_str())?;
        let checks = self.checks(stored)?;
        let parts = [
            Part { section: self.direction.as_str(), statements: &parsed, first: 1 },
            Part { section: "verify", statements: &checks, first: 1 },
        ];
        let ran = self.parts(stored, &parts, site, entries)?;
        drop(pinned);
        let mut facts = json!({"statements": parsed.len(), "duration_us": micros(start)});
        if !ran.lost.is_empty() {
            facts["lost"] = ran.lost.into();
        }
        entries.push(self.moved_entry(stored, come, &ran.approved_by, facts)?);
        Ok(())
    }

    /// The SQL of this way.
    pub fn sql<'a>(&self, stored: &'a Stored) -> &'a str {
        match self.direction {
            Direction::Upgrade => stored.revision.upgrade.as_str(),
            Direction::Downgrade => stored.revision.downgrade.as_deref().unwrap_or_default(),
        }
    }

    /// The statements that must succeed after an upgrade.
    pub fn checks(&self, stored: &Stored) -> Result<Vec<Statement>, Failure> {
        match (self.direction, stored.revision.verify.as_deref()) {
            (Direction::Upgrade, Some(verify)) => self.parse(verify, stored.revision.revision.as_str(), "verify"),
            _ => Ok(vec![]),
        }
    }

    /// Notes that something was done by the approvals of a revision, if it was: they count once for each direction.
    pub fn use_up(&self, id: &str, approved_by: &[String]) -> error::Result<()> {
        if approved_by.is_empty() { Ok(()) } else { store::approvals::use_up(id, self.direction) }
    }

    /// The entry about a revision that is applied or reverted now, with further `facts`.
    pub fn moved_entry(
        &self,
        stored: &Stored,
        come: &[String],
        approved_by: &[String],
        mut facts: Value,
    ) -> Result<Entry, Failure> {
        self.use_up(stored.revision.revision.as_str(), approved_by)?;
        let kind = if self.direction == Direction::Upgrade { Kind::RevisionApplied } else { Kind::RevisionReverted };
        facts["revision"] = stored.revision.revision.as_str().into();
        facts["digest"] = stored.digest.as_str().into();
        facts["direction"] = self.direction.as_str().into();
        facts["phase"] = stored.phase.as_str().into();
        facts["approved_by"] = approved_by.into();
        facts["heads"] = come.into();
        Ok(ledger::entry(kind, facts)?)
    }

    /// Runs statements of one revision in the pinned session that the caller has entered.
    pub fn parts(
        &self,
        stored: &Stored,
        parts: &[Part],
        site: &RefCell<FailureSite>,
        entries: &mut Vec<Entry>,
    ) -> Result<Ran, Failure> {
        let id = stored.revision.revision.as_str();
        let all = || parts.iter().flat_map(|part| part.statements);
        // What was classified at submission looked at another catalog; what counts is what runs now.
        let declared = classify_each(all().map(|statement| &statement.command))?;
        let actions: Vec<Action> = declared.iter().flatten().cloned().collect();
        let approved_by = self.refuse_if_needy(stored, &actions, true)?;
        let lost = objects::losses(&actions)?;
        let watched = self.watch(&approved_by, all())?;
        let scope = self.permit(id, vec![]);
        limit(watched.as_ref());
        self.lock_tables(all(), id)?;
        let mut declared = declared.into_iter();
        for part in parts {
            self.run(part, &mut declared, id, site, entries)?;
        }
        permission::declare(Manifest::default());
        *site.borrow_mut() = FailureSite { revision: id.to_owned(), ..FailureSite::default() };
        self.leave(id)?;
        self.settle(id, watched)?;
        entries.extend(self.observed_entry(id, "SET CONSTRAINTS")?);
        self.refuse_if_taken_back(id, &actions, &approved_by)?;
        let plain = all().all(|statement| is_plain(&statement.command));
        self.remember_events(stored, &actions, &approved_by, plain)?;
        drop(scope);
        Ok(Ran { approved_by, lost })
    }

    /// Runs deferred work now, as the migration role: at the commit it would run as another role. Refuses what can't run now.
    pub fn leave(&self, id: &str) -> Result<(), Failure> {
        self.run_what_was_put_off(id)?;
        self.session.restore(id)?;
        // Dropping runs no code of the author's; what closing has set off, if anything, runs here.
        self.run_what_was_put_off(id)
    }

    /// Runs the triggers that wait for the end of the transaction, and those that they put off in their turn.
    fn run_what_was_put_off(&self, id: &str) -> Result<(), Failure> {
        let place = format!("end of revision {id}");
        for _ in 0..ROUNDS {
            statements::check_constraints().map_err(|error| with_context(error, &place))?;
            if !is_anything_put_off()? {
                return Ok(());
            }
        }
        let message = format!("revision \"{id}\" has triggers that defer themselves again and again");
        let detail = format!("After {ROUNDS} rounds some are still deferred. They would run at the commit, as another role.");
        let hint = "Remove SET CONSTRAINTS … DEFERRED from the trigger's function.".to_owned();
        Err(refusal("55000", message, Some(detail), Some(hint)).into())
    }

    /// Keeps what the permission in force has seen created and moved.
    pub fn remember_events(
        &self,
        stored: &Stored,
        actions: &[Action],
        approved_by: &[String],
        plain: bool,
    ) -> Result<(), Failure> {
        let events = permission::covering(|coverage| coverage.map(|coverage| std::mem::take(&mut coverage.events)));
        self.remember(stored, actions, approved_by, &events.unwrap_or_default(), plain)
    }

    /// Takes the locks of several tables in one order, before the first statement: the work on one of them is not lost to a deadlock
    /// over the next. Where data is changed first, nobody shall wait for the tables all that while.
    fn lock_tables<'a>(&self, statements: impl Iterator<Item = &'a Statement> + Clone, id: &str) -> Result<(), Failure> {
        if statements.clone().any(|statement| moves_data(&statement.command)) {
            return Ok(());
        }
        set_local(c"lock_timeout", &self.settings.lock_timeout());
        let place = format!("revision {id} ({}), before its first statement", self.direction.as_str());
        Ok(lock::tables(statements.flat_map(|statement| &statement.locks)).map_err(|error| with_context(error, &place))?)
    }

    /// Takes a section apart.
    pub fn parse(&self, sql: &str, id: &str, section: &str) -> Result<Vec<Statement>, Failure> {
        statements::parse(sql).map_err(|error| Failure::PgError(with_context(error, &format!("revision {id} ({section})"))))
    }

    fn run(
        &self,
        part: &Part,
        declared: &mut dyn Iterator<Item = Vec<Action>>,
        id: &str,
        site: &RefCell<FailureSite>,
        entries: &mut Vec<Entry>,
    ) -> Result<(), Failure> {
        let section = part.section;
        let mut patience = None;
        for (at, statement) in part.statements.iter().enumerate() {
            let number = part.first + at;
            *site.borrow_mut() = FailureSite { revision: id.to_owned(), statement: number, line: statement.line };
            let place = format!("revision {id} ({section}), statement {number}, line {}", statement.line);
            refuse_switch(statement, &place)?;
            // While a table is locked against everybody, nothing is waited for long.
            let wanted = match patience {
                None | Some(true) => is_data(&statement.command),
                Some(false) => false,
            };
            if patience != Some(wanted) {
                let timeout = if wanted { self.settings.data_lock_timeout() } else { self.settings.lock_timeout() };
                set_local(c"lock_timeout", &timeout);
                patience = Some(wanted);
            }
            permission::declare(Manifest::new(declared.next().unwrap_or_default(), search_path()));
            self.settings.show(id, section, number, &statement.sql);
            let start = Instant::now();
            match section == "verify" && statement.tag == "SELECT" {
                true => verify(statement, id, number, &place)?,
                false => statements::run(&statement.sql).map(|_| ()).map_err(|error| with_context(error, &place))?,
            }
            check_under_lock(statement)?;
            note_roles(statement);
            entries.push(statement_entry(statement, id, section, number, start)?);
        }
        Ok(())
    }
}

/// Runs a query of the verify section, whose answer counts if it is yes or no.
fn verify(statement: &Statement, id: &str, number: usize, place: &str) -> Result<(), Failure> {
    let Some(row) = statements::first_untrue(&statement.sql).map_err(|error| with_context(error, place))? else {
        return Ok(());
    };
    let message = format!("revision \"{id}\" is not applied: statement {number} of its verify section is not true");
    let detail = format!("Row {row} of its result is false or NULL. At {place}.");
    let hint =
        "A query with one boolean column in the verify section must be true in every row. Correct what it finds, or the query.";
    Err(refusal("P0004", message, Some(detail), Some(hint.to_owned())).into())
}

/// How often triggers may put themselves off.
const ROUNDS: usize = 20;

/// Whether a trigger waits for the end of the transaction. A table can't be dropped, nor a trigger, while it does.
fn is_anything_put_off() -> Result<bool, ErrorReport> {
    Ok(stored::tables_with_deferrable_triggers()?.into_iter().any(has_pending_triggers))
}

/// Statements that wait for rows, and not for whole tables.
fn is_data(command: &Command) -> bool {
    match command {
        Command::Data { tag } => tag == "INSERT",
        Command::Change { .. } | Command::Delete { .. } => true,
        _ => false,
    }
}

/// Statements that may take long over the rows of a table.
fn moves_data(command: &Command) -> bool {
    matches!(command, Command::Data { .. } | Command::Change { .. } | Command::Delete { .. } | Command::Opaque { .. })
}

/// Whether a statement is DDL that makes no table and reaches nothing but its own objects: then what the guard was told of it
/// is what happened, and nobody need look.
pub fn is_plain(command: &Command) -> bool {
    use ObjectKind::{ForeignTable, Schema, Table, Tablespace};
    match command {
        Command::Create { kind: Table | ForeignTable | Tablespace | Schema, .. } => false,
        Command::Create { .. } => true,
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
            judge::decide(&again.tag, &classify_all([&again.command])?, When::During)?;
        }
    }
    Ok(())
}

/// A role that the revision has made is its own. The preloaded library sees it; event triggers don't.
fn note_roles(statement: &Statement) {
    if is_preloaded() {
        return;
    }
    let is_new = |action: &Action| action.verb == Verb::Create && action.object.kind == ObjectKind::Role;
    for action in classify(&statement.command).into_iter().filter(is_new) {
        if let Some(name) = action.object.path.last()
            && let Identity::Is(found) = bind::named(&ObjectKind::Role, name).identity
        {
            object_access::created(found);
        }
    }
}

/// The error with another line of CONTEXT, and with the hint that PostgreSQL, which knows nothing of revisions, can't give.
pub fn with_context(mut error: PgError, place: &str) -> PgError {
    error.add_context(place);
    if let Some(hint) = advice(&error.sqlstate(), &error.message()) {
        error.suggest(hint);
    }
    error
}

/// SET ROLE would fail anyway under the security-restricted switch; here it fails with a reason. The other settings would
/// change what the statements mean that an approver has read.
pub fn refuse_switch(statement: &Statement, place: &str) -> Result<(), Failure> {
    let setting = match &statement.command {
        Command::SwitchRole { setting } => setting.as_str(),
        _ if !statements::strings_conform() => "standard_conforming_strings",
        _ => return Ok(()),
    };
    let hint = "Revisions run as the migration role, in a pinned session; remove the statement that changes it.";
    let message = format!("a revision can't change \"{setting}\"");
    Err(refusal("42501", message, Some(format!("At {place}.")), Some(hint.to_owned())).into())
}
