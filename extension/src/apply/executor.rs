//! The executor: revisions run statement by statement as the migration role, in a pinned session.

use crate::apply::needs::{Approvals, need};
use crate::apply::settings::Settings;
use crate::apply::{locks, nodes, stamp, steps};
use crate::error::{internal, refusal};
use crate::guard::enforcement::Enforcement;
use crate::guard::object;
use crate::ledger::{self, By, recorder};
use crate::pg::caught::Caught;
use crate::pg::entry::Failure;
use crate::pg::session::{Pinned, search_path};
use crate::pg::statements::{self, Statement};
use crate::pg::subtransaction;
use crate::session::{self, Applying};
use crate::store::revisions::{self, Stored};
use crate::store::{self, catalog, settings};
use runbook_core::action::classify;
use runbook_core::command::Command;
use runbook_core::ledger::{Entry, Kind};
use runbook_core::manifest::Manifest;
use runbook_core::plan::{Direction, heads_after};
use runbook_core::policy::Policy;
use serde_json::json;
use std::cell::RefCell;
use std::collections::HashMap;
use std::time::Instant;

/// What all steps of one call share.
struct Run {
    direction: Direction,
    settings: Settings,
    enforcement: Enforcement,
    policy: Option<Policy>,
    approvals: Approvals,
}

/// What failed, for the ledger.
#[derive(Default)]
struct Trouble {
    revision: String,
    statement: usize,
    line: usize,
}

/// Applies or reverts revisions up to `target`, in the caller's transaction. Returns their ids in the order applied.
///
/// # Errors
/// Those of the target; 42501 where an approval is missing; 55P03 where another migrator stays; 55000 for a nested call;
/// and the errors of the revisions' own statements, complete.
pub fn migrate(direction: Direction, target: &str) -> Result<Vec<String>, Failure> {
    if session::with(|applying| applying.is_some()) {
        let hint = "Let the caller apply both, in the order of their parents.";
        return Err(refusal("55000", "a revision can't apply other revisions", None, Some(hint.to_owned())).into());
    }
    let settings = Settings::load()?;
    locks::take(settings.migrator_wait())?;
    // The heads come first: reading them takes a snapshot of its own, newer than that of a caller who has waited.
    let applied = revisions::heads()?;
    let graph = revisions::graph()?;
    let mut heads = nodes(&graph, &applied)?;
    let plan = steps(&graph, &heads, target, direction)?;
    if plan.is_empty() {
        return Ok(vec![]);
    }
    let ids = graph.ids(&plan);
    let mut stored: HashMap<String, Stored> =
        revisions::load(&ids)?.into_iter().map(|one| (one.revision.revision.as_str().to_owned(), one)).collect();
    let enforcement = Enforcement::current()?;
    let policy = (enforcement != Enforcement::Off).then(settings::policy).transpose()?;
    let run = Run { direction, settings, enforcement, policy, approvals: Approvals::of(&ids)? };
    for id in &ids {
        let one = stored.get(id).ok_or_else(|| internal(format!("revision \"{id}\" has no row")))?;
        run.refuse_if_needy(one)?;
    }
    ledger::record(
        Kind::ApplyStarted,
        By::Caller,
        json!({"direction": direction.as_str(), "target": target, "revisions": ids}),
    )?;
    let trouble = RefCell::new(Trouble::default());
    let result = subtransaction::within(|| {
        for (at, (&node, id)) in plan.iter().zip(&ids).enumerate() {
            let after = heads_after(&graph, &heads, node, direction);
            let gone: Vec<String> = graph.ids(heads.iter().filter(|head| !after.contains(head)));
            let come: Vec<String> = graph.ids(after.iter().filter(|head| !heads.contains(head)));
            let one = stored.remove(id).ok_or_else(|| internal(format!("revision \"{id}\" stands twice in a plan")))?;
            run.step(&one, &gone, &come, at + 1 < plan.len(), &trouble)?;
            revisions::move_heads(&gone, &come)?;
            revisions::mark(id, direction)?;
            heads = after;
        }
        Ok(())
    });
    if let Err(failure) = result {
        let trouble = trouble.borrow();
        let (sqlstate, message) = match &failure {
            Failure::Caught(caught) => (caught.sqlstate(), caught.message()),
            Failure::Report(report) => (String::new(), report.message().to_owned()),
        };
        let facts = json!({
            "direction": direction.as_str(), "target": target, "revision": trouble.revision, "statement_number": trouble.statement,
            "line": trouble.line, "sqlstate": sqlstate, "reason": message,
        });
        recorder::record(Kind::ApplyFailed, By::Caller, facts);
        return Err(failure);
    }
    ledger::record(
        Kind::ApplyFinished,
        By::Caller,
        json!({"direction": direction.as_str(), "target": target, "revisions": ids}),
    )?;
    Ok(ids)
}

impl Run {
    fn refuse_if_needy(&self, stored: &Stored) -> Result<(), Failure> {
        let id = stored.revision.revision.as_str();
        if stored.revision.digest().as_str() != stored.digest {
            return Err(internal(format!("the stored content of revision \"{id}\" does not have its digest")).into());
        }
        let Some(need) = need(stored, self.direction, self.policy.as_ref(), &self.approvals) else { return Ok(()) };
        let facts =
            json!({"revision": id, "direction": self.direction.as_str(), "reason": need.text, "verdict": "require_approval"});
        if self.enforcement == Enforcement::Record && need.sqlstate == "42501" {
            ledger::record(Kind::DdlWouldBlock, By::Caller, facts)?;
            return Ok(());
        }
        recorder::record(Kind::DdlBlocked, By::Caller, facts);
        let message = format!("revision \"{id}\" ({}) needs {}", self.direction.as_str(), need.text);
        let detail = "Nothing was changed.".to_owned();
        Err(refusal(need.sqlstate, message, Some(detail), Some(need.hint)).into())
    }

    /// Runs one revision and records it.
    fn step(
        &self,
        stored: &Stored,
        gone: &[String],
        come: &[String],
        more: bool,
        trouble: &RefCell<Trouble>,
    ) -> Result<(), Failure> {
        let id = stored.revision.revision.as_str();
        *trouble.borrow_mut() = Trouble { revision: id.to_owned(), ..Trouble::default() };
        let start = Instant::now();
        let sql = match self.direction {
            Direction::Upgrade => stored.revision.upgrade.as_str(),
            Direction::Downgrade => stored.revision.downgrade.as_deref().unwrap_or_default(),
        };
        let mut entries = Vec::new();
        let pinned = Pinned::enter(&self.settings.pinned(), self.settings.migration_role())?;
        let parsed = self.parse(sql, id, self.direction.as_str())?;
        let scope = self.permit(id, &parsed);
        self.run(&parsed, id, self.direction.as_str(), trouble, &mut entries)?;
        if let (Direction::Upgrade, Some(verify)) = (self.direction, stored.revision.verify.as_deref()) {
            let checks = self.parse(verify, id, "verify")?;
            self.run(&checks, id, "verify", trouble, &mut entries)?;
        }
        if may_defer(&parsed) {
            *trouble.borrow_mut() = Trouble { revision: id.to_owned(), ..Trouble::default() };
            statements::check_constraints().map_err(|error| with_context(error, &format!("end of revision {id}")))?;
            if more {
                defer_again()?;
            }
        }
        if self.settings.alembic_version() {
            stamp::alembic_version(gone, come)?;
        }
        drop(scope);
        drop(pinned);
        let kind = if self.direction == Direction::Upgrade { Kind::RevisionApplied } else { Kind::RevisionReverted };
        let approved_by = self.approvals.by(stored);
        let facts = json!({
            "revision": id, "digest": stored.digest, "direction": self.direction.as_str(), "phase": stored.phase,
            "approved_by": approved_by, "statements": parsed.len(), "duration_us": micros(start), "heads": come,
        });
        entries.push(ledger::entry(kind, By::Caller, facts)?);
        store::ledger::append(&entries)?;
        Ok(())
    }

    fn parse(&self, sql: &str, id: &str, section: &str) -> Result<Vec<Statement>, Failure> {
        statements::parse(sql).map_err(|error| Failure::Caught(with_context(error, &format!("revision {id} ({section})"))))
    }

    fn permit(&self, id: &str, parsed: &[Statement]) -> session::Scope {
        let actions = parsed.iter().flat_map(|statement| classify(&statement.command)).collect();
        session::enter(Applying {
            revision: id.to_owned(),
            direction: self.direction.as_str(),
            manifest: Manifest::new(actions, search_path()),
            policy: self.policy.clone(),
            record_only: self.enforcement == Enforcement::Record,
            observed: vec![],
        })
    }

    fn run(
        &self,
        parsed: &[Statement],
        id: &str,
        section: &str,
        trouble: &RefCell<Trouble>,
        entries: &mut Vec<Entry>,
    ) -> Result<(), Failure> {
        for (at, statement) in parsed.iter().enumerate() {
            let number = at + 1;
            *trouble.borrow_mut() = Trouble { revision: id.to_owned(), statement: number, line: statement.line };
            let place = format!("revision {id} ({section}), statement {number}, line {}", statement.line);
            refuse_switch(statement, &place)?;
            let start = Instant::now();
            statements::run(&statement.sql).map_err(|error| with_context(error, &place))?;
            let declared = classify(&statement.command);
            let observed =
                session::with(|applying| applying.map(|applying| std::mem::take(&mut applying.observed))).unwrap_or_default();
            let actions = if declared.is_empty() { observed } else { declared };
            let facts = json!({
                "revision": id, "section": section, "statement_number": number, "line": statement.line, "tag": statement.tag,
                "objects": actions.iter().map(object).collect::<Vec<_>>(), "statement": statement.sql, "duration_us": micros(start),
            });
            entries.push(ledger::entry(Kind::ApplyStatement, By::Running, facts)?);
        }
        Ok(())
    }
}

fn micros(start: Instant) -> u64 {
    u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX)
}

fn with_context(mut error: Caught, place: &str) -> Caught {
    error.add_context(place);
    error
}

/// SET ROLE would fail anyway under the security-restricted switch; here it fails with a reason.
fn refuse_switch(statement: &Statement, place: &str) -> Result<(), Failure> {
    match &statement.command {
        Command::SwitchRole { setting } => Err(refusal(
            "42501",
            format!("a revision can't change \"{setting}\""),
            Some(format!("At {place}.")),
            Some("Revisions run as the migration role; remove the statement.".to_owned()),
        )
        .into()),
        _ => Ok(()),
    }
}

/// Whether statements may have queued deferred constraint checks. Pure DDL validates at once.
fn may_defer(parsed: &[Statement]) -> bool {
    parsed.iter().any(|statement| {
        matches!(
            statement.command,
            Command::Data { .. } | Command::Delete { .. } | Command::Opaque { .. } | Command::Create { .. }
        ) && !statement.tag.starts_with("CREATE ")
            && !statement.tag.starts_with("COMMENT")
    })
}

/// After [`statements::check_constraints`], initially deferred constraints wait again, for the next revision.
fn defer_again() -> Result<(), Failure> {
    let names = catalog::deferred_constraints()?;
    if !names.is_empty() {
        statements::run(&format!("SET CONSTRAINTS {} DEFERRED", names.join(", ")))?;
    }
    Ok(())
}
