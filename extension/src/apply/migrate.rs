//! Atomic apply: all steps in the caller's transaction, or none.

use crate::apply::deferred::DeferredConstraints;
use crate::apply::executor::Trouble;
use crate::apply::run::Run;
use crate::apply::settings::Settings;
use crate::apply::{Way, locks, stamp, way};
use crate::error::{internal, refusal};
use crate::ledger::{self, recorder};
use crate::pg::entry::Failure;
use crate::pg::identity::transaction_has_id;
use crate::pg::session::Pinned;
use crate::pg::subtransaction;
use crate::store;
use crate::store::objects;
use crate::store::revisions::{self, Stored};
use pgrx::pg_sys::panic::ErrorReport;
use runbook_core::ledger::Kind;
use runbook_core::plan::{Direction, heads_after};
use serde_json::json;
use std::cell::RefCell;
use std::collections::HashMap;

/// Entries that are written together.
const FLUSH: usize = 500;

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
    let run = Run::new(direction, settings, &ids)?;
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

fn resubmitted(id: &str) -> ErrorReport {
    let detail = "What ran is not what is stored now; nothing of it stays.".to_owned();
    refusal(
        "55000",
        format!("revision \"{id}\" was submitted again while it ran"),
        Some(detail),
        Some("Look at it, have it approved, and try again.".to_owned()),
    )
}
