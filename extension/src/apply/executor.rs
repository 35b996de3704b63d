//! The executor: revisions run statement by statement as the migration role, in a pinned session.

use crate::apply::deferred::DeferredConstraints;
use crate::apply::needs::need;
use crate::apply::settings::Settings;
use crate::apply::since::Since;
use crate::apply::{Way, locks, stamp, way};
use crate::approvals::Approvals;
use crate::error::{internal, refusal};
use crate::guard::enforcement::Enforcement;
use crate::guard::{self, When, classify, classify_all};
use crate::ledger::{self, recorder};
use crate::pg::caught::Caught;
use crate::pg::clock;
use crate::pg::entry::Failure;
use crate::pg::identity::transaction_has_id;
use crate::pg::session::{Pinned, search_path};
use crate::pg::statements::{self, Statement};
use crate::pg::subtransaction;
use crate::session::{self, By, Coverage};
use crate::store::approvals::Given;
use crate::store::objects::{self, Lasting, Made};
use crate::store::revisions::{self, Stored};
use crate::store::{self, catalog, settings};
use pgrx::pg_sys::panic::ErrorReport;
use runbook_core::action::Action;
use runbook_core::approval;
use runbook_core::command::Command;
use runbook_core::identity::{Address, Events, Identity};
use runbook_core::ledger::{Entry, Kind};
use runbook_core::manifest::Manifest;
use runbook_core::plan::{Direction, heads_after};
use runbook_core::policy::Policy;
use serde_json::json;
use std::cell::RefCell;
use std::collections::HashMap;
use std::time::Instant;

/// Entries that are written together.
const FLUSH: usize = 500;

/// What all steps of one call share.
struct Run {
    direction: Direction,
    settings: Settings,
    enforcement: Enforcement,
    policy: Option<Policy>,
    approvals: Approvals,
    /// What earlier steps of this call have done to which objects, by OID.
    done: RefCell<HashMap<u32, Vec<Made>>>,
    /// What of it is not stored yet.
    lately: RefCell<Vec<Made>>,
    /// Cursors WITH HOLD that the caller has open.
    cursors: Vec<String>,
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
/// Those of the target; 42501 where an approval is missing; 55P03 where another migrator stays;
/// and the errors of the revisions' own statements, complete.
pub fn migrate(direction: Direction, target: &str) -> Result<Vec<String>, Failure> {
    // Without a transaction id nothing was written, so nothing can be pending.
    let caller_has_written = transaction_has_id();
    let settings = Settings::load()?;
    locks::take(settings.migrator_wait())?;
    // The heads come first: reading them takes a snapshot of its own, newer than that of a caller who has waited.
    let applied = revisions::heads()?;
    let Way { graph, mut heads, steps: plan } = way(&applied, target, direction, true)?;
    if plan.is_empty() {
        return Ok(vec![]);
    }
    let ids = graph.ids(&plan);
    let mut stored: HashMap<String, Stored> =
        revisions::load(&ids)?.into_iter().map(|one| (one.revision.revision.as_str().to_owned(), one)).collect();
    let enforcement = Enforcement::current()?;
    let policy = (enforcement != Enforcement::Off).then(settings::policy).transpose()?;
    let run = Run {
        direction,
        settings,
        enforcement,
        policy,
        approvals: Approvals::of(&ids)?,
        cursors: catalog::holdable_cursors()?,
        done: RefCell::default(),
        lately: RefCell::default(),
    };
    for id in &ids {
        let one = stored.get(id).ok_or_else(|| internal(format!("revision \"{id}\" has no row")))?;
        run.refuse_if_needy(one, one.actions(direction), false)?;
    }
    let mut entries =
        vec![ledger::entry(Kind::ApplyStarted, json!({"direction": direction.as_str(), "target": target, "revisions": ids}))?];
    let trouble = RefCell::new(Trouble::default());
    let restore = DeferredConstraints::settle(caller_has_written)?;
    let result = subtransaction::within(|| {
        for (&node, id) in plan.iter().zip(&ids) {
            let after = heads_after(&graph, &heads, node, direction);
            let come: Vec<String> = graph.ids(after.iter().filter(|head| !heads.contains(head)));
            let one = stored.remove(id).ok_or_else(|| internal(format!("revision \"{id}\" stands twice in a plan")))?;
            run.step(&one, &come, &trouble, &mut entries)?;
            if entries.len() >= FLUSH {
                store::ledger::append(&std::mem::take(&mut entries))?;
                objects::remember_made(&run.lately.take())?;
            }
            let is_last = ids.last() == Some(id);
            restore.after(&one, is_last)?;
            if !revisions::mark(id, direction, Some(&one.digest))? {
                return Err(resubmitted(id).into());
            }
            heads = after;
        }
        // Once for the whole call: updating one row a thousand times in one transaction makes a chain of a thousand versions.
        let after = graph.ids(&heads);
        let gone: Vec<String> = applied.iter().filter(|id| !after.contains(id)).cloned().collect();
        let come: Vec<String> = after.iter().filter(|id| !applied.contains(id)).cloned().collect();
        revisions::move_heads(&gone, &come)?;
        objects::remember_made(&run.lately.take())?;
        if run.settings.alembic_version() {
            let pinned = Pinned::enter(&run.settings.pinned(), run.settings.migration_role())?;
            stamp::alembic_version(&gone, &come)?;
            drop(pinned);
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
        recorder::record(Kind::ApplyFailed, facts);
        return Err(failure);
    }
    entries.push(ledger::entry(
        Kind::ApplyFinished,
        json!({"direction": direction.as_str(), "target": target, "revisions": ids}),
    )?);
    store::ledger::append(&entries)?;
    Ok(ids)
}

impl Run {
    /// Refuses a step that something stands in the way of; with `bound`, also where approvals do not cover the objects that
    /// `actions` mean now. Returns whose approvals count.
    fn refuse_if_needy(&self, stored: &Stored, actions: &[Action], bound: bool) -> Result<Vec<String>, Failure> {
        let id = stored.revision.revision.as_str();
        if stored.revision.digest().as_str() != stored.digest {
            return Err(internal(format!("the stored content of revision \"{id}\" does not have its digest")).into());
        }
        let fresh = match &self.policy {
            // The time of day matters, and the call may have been running for long.
            Some(policy) if policy.has_windows() => Some(settings::policy()?),
            _ => None,
        };
        let policy = fresh.as_ref().or(self.policy.as_ref());
        let (need, by) = match policy {
            Some(policy) if bound && policy.obstacle(actions).is_some() => {
                // Decisions may have been taken back since the call began.
                let approvals = Approvals::of(&[id.to_owned()])?;
                let objection = self.objection(id, actions, policy)?;
                need(stored, self.direction, actions, Some(policy), &approvals, Some(&objection))?
            }
            _ => need(stored, self.direction, actions, policy, &self.approvals, None)?,
        };
        let Some(need) = need else { return Ok(by) };
        if need.sqlstate == "42501" && guard::glass::is_broken() {
            return Ok(by);
        }
        let (detail, hint) = need.explain(stored)?;
        let facts = json!({
            "revision": id, "direction": self.direction.as_str(), "reason": need.text, "detail": detail,
            "verdict": need.verdict, "objects": actions.iter().map(runbook_core::ledger::listed).collect::<Vec<_>>(),
        });
        if self.enforcement == Enforcement::Record && need.sqlstate == "42501" {
            ledger::record(Kind::DdlWouldBlock, facts)?;
            return Ok(by);
        }
        recorder::record(Kind::DdlBlocked, facts);
        let message = format!("revision \"{id}\" ({}) needs {}", self.direction.as_str(), need.text);
        let detail = format!("Nothing was changed. {detail}").trim_end().to_owned();
        Err(refusal(need.sqlstate, message, Some(detail), Some(hint)).into())
    }

    /// Tells of an approval whether it covers `actions`, on the objects that they mean now.
    fn objection<'a>(
        &'a self,
        revision: &'a str,
        actions: &'a [Action],
        policy: &'a Policy,
    ) -> store::Result<impl Fn(&Given) -> store::Result<Option<String>> + 'a> {
        let whole = |identity: Identity| match identity {
            Identity::Is(found) => Some(found.whole()),
            Identity::NewColumn { table, .. } => Some(Address::relation(table)),
            Identity::Unknown | Identity::Missing => None,
        };
        let objects: Vec<Address> = actions.iter().filter_map(|action| whole(action.identity)).collect();
        let mut done = objects::made_by_revisions(&objects)?;
        let here = self.done.borrow();
        done.extend(objects.iter().filter_map(|one| here.get(&one.object)).flatten().cloned());
        let search_path = search_path();
        Ok(move |given: &Given| {
            // The call may have been running for long.
            if given.expires_at <= clock::micros() {
                return Ok(Some("it expired".to_owned()));
            }
            let since = Since::new(&done, given.decided_at, revision, self.direction);
            let approved = given.manifest(self.direction)?;
            if approved.search_path() != search_path {
                return Ok(Some("revisions have another search path now".to_owned()));
            }
            if let Some(why) = approval::objection(&approved, actions, |action| policy.stops(action), &since) {
                return Ok(Some(why));
            }
            Ok(match &given.fingerprint {
                Some(approved) if *approved != store::clock::fingerprint()? => {
                    Some("it was given for another state of the catalog, and that has changed since".to_owned())
                }
                _ => None,
            })
        })
    }

    /// Keeps what a revision has created and brought elsewhere.
    fn remember(
        &self,
        stored: &Stored,
        actions: &[Action],
        by: &[String],
        events: &Events,
        plain: bool,
    ) -> Result<(), Failure> {
        let id = stored.revision.revision.as_str();
        let moves = events.all().any(|(_, created, _)| !created);
        let approved = match &self.policy {
            // A rename that needs no approval may have one all the same; only then does it count for others.
            Some(policy) if moves && by.is_empty() => {
                let objection = self.objection(id, actions, policy)?;
                !self.approvals.tally(stored, actions, policy, Some(&objection))?.by.is_empty()
            }
            _ => !by.is_empty(),
        };
        // What a subtransaction took back has not happened; a new table's columns have their names from here on.
        let lasting = if plain { objects::as_told(events) } else { objects::lasting(events)? };
        for Lasting { object, created, tied, path } in lasting {
            let one = Made {
                revision: id.to_owned(),
                direction: self.direction,
                object,
                created,
                tied,
                path,
                approved,
                at: i64::MAX,
            };
            self.done.borrow_mut().entry(object.object).or_default().push(one.clone());
            self.lately.borrow_mut().push(one);
        }
        Ok(())
    }

    /// Runs one revision and records it.
    fn step(
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

    fn permit(&self, id: &str, actions: Vec<Action>) -> session::Scope {
        let by = By::Revision { revision: id.to_owned(), direction: self.direction.as_str() };
        let manifest = Manifest::new(actions, search_path());
        session::enter(Coverage::new(by, manifest, self.policy.clone(), self.enforcement == Enforcement::Record))
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

fn resubmitted(id: &str) -> ErrorReport {
    let detail = "What ran is not what is stored now; nothing of it stays.".to_owned();
    refusal(
        "55000",
        format!("revision \"{id}\" was submitted again while it ran"),
        Some(detail),
        Some("Look at it, have it approved, and try again.".to_owned()),
    )
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
