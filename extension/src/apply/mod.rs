//! Applying revisions: the plan, the needs, the lock, the pinned session, the statements.
//!
//! Owns the only code that sets the permission in [`crate::session`]. It refuses to start while anything that a step
//! needs is missing. Invariant: a revision is applied wholly, with its ledger entries, or not at all.

mod executor;
mod locks;
pub mod needs;
pub mod settings;
mod stamp;

pub use executor::migrate;
pub use stamp::stamp;

use crate::error::{from_core, internal};
use crate::store;
use runbook_core::graph::{Graph, Node};

/// The nodes of ids that the database says are applied.
pub fn nodes(graph: &Graph, ids: &[String]) -> store::Result<Vec<Node>> {
    let find = |id: &String| {
        graph.find(id).ok_or_else(|| internal(format!("applied revision \"{id}\" is not among the submitted ones")))
    };
    ids.iter().map(find).collect()
}

/// The steps to `target` as ids.
pub fn steps(
    graph: &Graph,
    heads: &[Node],
    target: &str,
    direction: runbook_core::plan::Direction,
) -> store::Result<Vec<Node>> {
    runbook_core::plan::steps(graph, heads, target, direction).map_err(from_core)
}
