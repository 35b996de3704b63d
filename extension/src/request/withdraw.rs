//! Withdrawing: a revision that was never applied, or is reverted, leaves the graph. The ledger keeps what it was.

use crate::apply::locks;
use crate::error::refusal;
use crate::guard::caller::limited_reason;
use crate::ledger;
use crate::ledger::refusal::refused;
use crate::request::decide::find;
use crate::settings::Settings;
use crate::store::{approvals, graph, pieces, revisions};
use pgrx::pg_sys::panic::ErrorReport;
use runbook_core::graph::Along;
use runbook_core::ledger::Kind;
use runbook_core::vocabulary::status::RevisionStatus;
use serde_json::json;

/// Withdraws a revision; returns its id. Submitting it again brings it back.
///
/// # Errors
/// 42704 for no such revision; 22023 without a reason; 55P03 where another migrator stays; 55000 where it is applied, done in part, or others build upon it.
pub fn withdraw(name: &str, reason: &str) -> Result<String, ErrorReport> {
    limited_reason(reason, "withdrawing", "SELECT runbook.withdraw('REVISION', 'why nobody shall apply it');")?;
    locks::take(Settings::load()?.migrator_wait())?;
    graph::bump_graph()?;
    let stored = find("withdraw", name)?;
    let id = stored.revision.revision.as_str();
    let no = |message: String, hint: String| Err(refused("withdraw", "55000", message, None, Some(hint)));
    if stored.status == RevisionStatus::Applied {
        return no(
            format!("revision \"{id}\" is applied"),
            "Revert it first, by the name of the revision to go back to: runbook downgrade REVISION".into(),
        );
    }
    if pieces::is_begun(id)? {
        let hint = format!("Finish it: runbook upgrade {id}; then it can be reverted, and withdrawn.");
        return no(format!("statements of revision \"{id}\" have run"), hint);
    }
    let graph = graph::graph()?;
    let node = graph.find(id).ok_or_else(|| refusal("42704", format!("revision \"{id}\" does not exist"), None, None))?;
    let upon = graph.descendants(&[node], Along::All).iter().filter(|one| *one != node).collect::<Vec<_>>();
    let upon = graph.ids(&upon);
    if let Some(first) = upon.last() {
        let hint = format!("Withdraw those that build upon it first: SELECT runbook.withdraw('{first}', 'REASON');");
        return no(format!("revision \"{id}\" is what others build upon: {}", upon.join(", ")), hint);
    }
    approvals::void_yes(id, "the revision was withdrawn")?;
    revisions::withdraw(id)?;
    // This session has read the graph since.
    graph::bump_graph()?;
    ledger::record(Kind::RevisionWithdrawn, json!({"revision": id, "digest": stored.digest, "reason": reason}))?;
    Ok(id.to_owned())
}
