//! Atomic apply: all steps in the caller's transaction, or none.

use crate::apply::context::ApplyContext;
use crate::apply::engine::deferred::DeferredConstraints;
use crate::apply::engine::statement::FailureSite;
use crate::apply::locks::{self, Place, Retries};
use crate::apply::way::{Way, way};
use crate::error::{internal, refusal};
use crate::ledger::{self, recorder};
use crate::pg::execute::subtransaction;
use crate::pg::failure::Failure;
use crate::pg::hooks::lock_wait_monitor::Watch;
use crate::pg::session::identity::{in_transaction_block, transaction_has_id};
use crate::settings::Settings;
use crate::store::graph;
use crate::store::revisions::{self, Stored};
use crate::store::{self, pieces};
use pgrx::pg_sys::panic::ErrorReport;
use runbook_core::graph::{Graph, Node};
use runbook_core::ledger::{Entry, Kind};
use runbook_core::plan::{Direction, heads_after};
use serde_json::json;
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

/// Entries that are written together.
const FLUSH: usize = 500;

/// What one call is to do.
struct Plan {
    graph: Rc<Graph>,
    /// Where the database stands, as nodes and as ids.
    heads: Vec<Node>,
    applied: Vec<String>,
    /// The steps, as nodes and as ids.
    steps: Vec<Node>,
    ids: Vec<String>,
    stored: HashMap<String, Stored>,
}

/// Applies or reverts revisions up to `target`, in the caller's transaction. Returns their ids in the order applied.
///
/// # Errors
/// Those of the target; 42501 where an approval is missing; 25001 for a revision that can't be part of a transaction; 55P03 where another
/// migrator stays; and the errors of the revisions' own statements, complete.
pub fn migrate(direction: Direction, target: &str) -> Result<Vec<String>, Failure> {
    // Without a transaction id nothing was written, so nothing can be pending.
    let caller_has_written = transaction_has_id();
    let settings = Settings::load()?;
    locks::take(settings.migrator_wait())?;
    // The heads come first: reading them takes a snapshot of its own, newer than that of a caller who has waited.
    let applied = graph::heads()?;
    let Way { graph, heads, steps } = way(&applied, target, direction)?;
    if steps.is_empty() {
        return Ok(vec![]);
    }
    if graph::has_moved_on()? {
        return Err(behind(direction, target).into());
    }
    let ids = graph.ids(&steps);
    let stored = revisions::load(&ids)?.into_iter().map(|one| (one.revision.revision.as_str().to_owned(), one)).collect();
    let plan = Plan { graph, heads, applied, steps, ids, stored };
    let run = ApplyContext::new(direction, settings, &plan.ids)?;
    for id in &plan.ids {
        let one = plan.stored.get(id).ok_or_else(|| internal(format!("revision \"{id}\" has no row")))?;
        run.refuse_if_needy(one, one.actions(direction), false)?;
        refuse_if_not_atomic(one, direction)?;
    }
    let facts = json!({"direction": direction.as_str(), "target": target, "revisions": plan.ids});
    let mut entries = vec![ledger::entry(Kind::ApplyStarted, facts.clone())?];
    let restore = DeferredConstraints::settle(caller_has_written)?;
    let mut retries = Retries::new(run.settings.lock_budget());
    let _watch = Watch::enter(run.settings.terminate_idle_blockers());
    loop {
        let site = RefCell::new(FailureSite::default());
        let Err(failure) = subtransaction::within(|| run.all(&plan, &restore, &site, &mut entries)) else { break };
        entries.truncate(1);
        run.forget();
        // What no rollback takes back.
        run.session.restore_after_failure()?;
        let site = site.borrow();
        let (sqlstate, message) = locks::told(&failure);
        let place =
            Place { revision: &site.revision, direction: direction.as_str(), statement: site.statement, line: site.line };
        // What the caller's own transaction has locked would stay locked.
        if !in_transaction_block()
            && let Some(retry) = retries.after(&sqlstate, &message, &place)?
        {
            pgrx::notice!("{}", retry.text);
            for entry in &retry.entries {
                recorder::record_entry(entry);
            }
            locks::pause_in_transaction(retry.pause)?;
            continue;
        }
        record_failure(direction, target, &site, &sqlstate, &message);
        return Err(failure);
    }
    run.session.restore_at_end()?;
    entries.push(ledger::entry(Kind::ApplyFinished, facts)?);
    store::ledger::append(&entries)?;
    Ok(plan.ids)
}

fn record_failure(direction: Direction, target: &str, site: &FailureSite, sqlstate: &str, message: &str) {
    let facts = json!({
        "direction": direction.as_str(), "target": target, "revision": site.revision, "statement_number": site.statement,
        "line": site.line, "sqlstate": sqlstate, "reason": message,
    });
    recorder::record(Kind::ApplyFailed, facts);
}

impl ApplyContext {
    /// Runs all steps, in a subtransaction.
    fn all(
        &self,
        plan: &Plan,
        restore: &DeferredConstraints,
        site: &RefCell<FailureSite>,
        entries: &mut Vec<Entry>,
    ) -> Result<(), Failure> {
        let mut heads = plan.heads.clone();
        for (&node, id) in plan.steps.iter().zip(&plan.ids) {
            let after = heads_after(&plan.graph, &heads, node, self.direction);
            let come: Vec<String> = plan.graph.ids(after.iter().filter(|head| !heads.contains(head)));
            let one = &plan.stored[id];
            self.step(one, &come, site, entries)?;
            // The first one says that it has started; it stays for another attempt.
            if entries.len() >= FLUSH {
                store::ledger::append(&entries.split_off(1))?;
                self.flush()?;
            }
            restore.after(one, plan.ids.last() == Some(id))?;
            if !revisions::mark(id, self.direction, Some(&one.digest))? {
                return Err(resubmitted(id).into());
            }
            heads = after;
        }
        // Once for the whole call: updating one row a thousand times in one transaction makes a chain of a thousand versions.
        let after = plan.graph.ids(&heads);
        let gone: Vec<String> = plan.applied.iter().filter(|id| !after.contains(id)).cloned().collect();
        let come: Vec<String> = after.iter().filter(|id| !plan.applied.contains(id)).cloned().collect();
        self.flush()?;
        pieces::forget(&plan.ids)?;
        self.move_heads(&gone, &come)
    }
}

/// Refuses a revision whose statements can't be part of the caller's transaction.
fn refuse_if_not_atomic(stored: &Stored, direction: Direction) -> Result<(), ErrorReport> {
    let (revision, way) = (&stored.revision, direction.as_str());
    let why = if !revision.transaction {
        "It is declared \"transaction: off\": its statements run one by one, outside of any transaction."
    } else if revision.backfill.is_some() && direction == Direction::Upgrade {
        "It is a backfill: each of its batches is a transaction of its own."
    } else {
        return Ok(());
    };
    let id = revision.revision.as_str();
    let hint =
        format!("Let a worker run it: SELECT runbook.start_{way}('{id}'); then CALL runbook.wait(JOB); or: runbook {way} {id}");
    Err(refusal("25001", format!("revision \"{id}\" ({way}) can't run inside a transaction"), Some(why.to_owned()), Some(hint)))
}

/// The error for a transaction that does not see what earlier revisions have done.
fn behind(direction: Direction, target: &str) -> ErrorReport {
    let way = direction.as_str();
    refusal(
        "40001",
        format!(
            "could not serialize access: revisions were submitted or applied since this transaction began ({way} to \"{target}\")"
        ),
        Some(
            "Its isolation level shows the database as it was when the transaction began, so a revision would miss later \
             changes."
                .to_owned(),
        ),
        Some(format!("ROLLBACK; then try again: SELECT runbook.{way}('{target}'); or use READ COMMITTED.")),
    )
}

/// The error for a revision that was submitted with new content while it ran.
pub fn resubmitted(id: &str) -> ErrorReport {
    let detail = "The content that ran is no longer the stored content, so it was rolled back.".to_owned();
    refusal(
        "55000",
        format!("revision \"{id}\" was submitted again while it ran"),
        Some(detail),
        Some("Review it, have it approved, and try again.".to_owned()),
    )
}
