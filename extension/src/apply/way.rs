//! The way from where the database stands to a target.

use crate::error::{self, from_core, internal, refusal};
use crate::store::{graph, pieces};
use runbook_core::graph::{Graph, Node};
use runbook_core::plan::Direction;
use std::rc::Rc;

/// The nodes of ids that the database says are applied.
pub fn nodes(graph: &Graph, ids: &[String]) -> error::Result<Vec<Node>> {
    let find =
        |id: &String| graph.find(id).ok_or_else(|| internal(format!("applied revision \"{id}\" is not a submitted revision")));
    ids.iter().map(find).collect()
}

/// The graph in which `target` is resolved, and in it the heads and the steps.
pub struct Way {
    /// The graph, or as much of it as an upgrade can touch.
    pub graph: Rc<Graph>,
    /// Where the database stands.
    pub heads: Vec<Node>,
    /// What is to be done, in order.
    pub steps: Vec<Node>,
}

/// The way from `applied` (ids of the heads) to `target`.
pub fn way(applied: &[String], target: &str, direction: Direction) -> error::Result<Way> {
    if direction == Direction::Upgrade
        && let Some(frontier) = graph::frontier(target)?
    {
        let known = nodes(&frontier.graph, &frontier.applied)?;
        let heads = nodes(&frontier.graph, applied)?;
        let steps = steps(&frontier.graph, &known, target, direction)?;
        return Ok(Way { graph: Rc::new(frontier.graph), heads, steps });
    }
    if direction == Direction::Downgrade && target.starts_with('-') {
        refuse_beside_what_is_done_in_part(target)?;
    }
    let graph = graph::graph()?;
    let heads = nodes(&graph, applied)?;
    let steps = steps(&graph, &heads, target, direction)?;
    Ok(Way { graph, heads, steps })
}

/// One step back would be taken from before a revision that has run in part, and not from that.
fn refuse_beside_what_is_done_in_part(target: &str) -> error::Result<()> {
    let Some((id, progress)) = pieces::applied_in_part()? else { return Ok(()) };
    let message = format!("revision \"{id}\" is applied in part: {progress}");
    let detail = format!("\"{target}\" would leave that as it is, and revert what comes before it.");
    let hint = format!("Finish it: runbook upgrade {id}; or name the revision to go back to: runbook downgrade REVISION.");
    Err(refusal("55000", message, Some(detail), Some(hint)))
}

/// The steps to `target` as ids.
fn steps(graph: &Graph, heads: &[Node], target: &str, direction: Direction) -> error::Result<Vec<Node>> {
    runbook_core::plan::steps(graph, heads, target, direction).map_err(from_core)
}
