//! Which revisions run, in which order, and where the database then stands.

use crate::error::{Error, Result};
use crate::graph::{Along, Graph, Node};
use crate::target::{Place, Resolver};
use crate::vocabulary::words;

words! {
    /// Which way a step goes.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    Direction {
        /// Forward.
        Upgrade = "upgrade",
        /// Back.
        Downgrade = "downgrade",
    }
}

/// The steps from `current` to `target`.
///
/// # Errors
/// Those of target resolution; [`Error::NotOnTheWay`]; [`Error::Overlap`].
pub fn steps(graph: &Graph, current: &[Node], target: &str, direction: Direction) -> Result<Vec<Node>> {
    match direction {
        Direction::Upgrade => upgrade(graph, current, target),
        Direction::Downgrade => downgrade(graph, current, target),
    }
}

fn upgrade(graph: &Graph, current: &[Node], target: &str) -> Result<Vec<Node>> {
    let resolver = Resolver::new(graph, current);
    let targets = resolver.upgrade_target(target)?;
    // One target overlaps with nothing.
    for &one in targets.iter().filter(|_| targets.len() > 1) {
        let before = graph.ancestors(&[one], Along::All);
        let inside: Vec<Node> = targets.iter().copied().filter(|&other| other != one && before.contains(other)).collect();
        if !inside.is_empty() {
            return Err(Error::Overlap { revision: graph.id(one).to_owned(), other: graph.ids(&inside) });
        }
    }
    let applied = resolver.applied();
    Ok(graph.topological(&graph.ancestors_outside(&targets, &applied)))
}

fn downgrade(graph: &Graph, current: &[Node], target: &str) -> Result<Vec<Node>> {
    let resolver = Resolver::new(graph, current);
    let (label, place) = resolver.downgrade_target(target)?;
    let refused = || Error::NotOnTheWay { target: target.to_owned(), direction: "downgrade", current: graph.ids(current) };
    let mut roots = match place {
        Place::Base => graph.bases().to_vec(),
        Place::At(node) => graph.children(node).to_vec(),
    };
    // Alembic counts a labelled base once for itself and once for each of its labels.
    let counted: usize = match place {
        Place::Base => roots.iter().map(|&root| 1 + graph.vertex(root).labels.len()).sum(),
        Place::At(_) => roots.len(),
    };
    if let Some(label) = label.as_deref().filter(|_| counted > 1) {
        let line = graph.ancestors(&[resolver.branch(label)?], Along::Parents);
        roots.retain(|&root| line.contains(root));
        if roots.is_empty() {
            return Err(refused());
        }
    }
    let applied = resolver.applied();
    let doomed = graph.descendants(&roots, Along::All).retain(|node| applied.contains(node));
    if doomed.is_empty() && matches!(place, Place::At(node) if !current.contains(&node)) {
        return Err(refused());
    }
    let mut order = graph.topological(&doomed);
    order.reverse();
    Ok(order)
}

/// The heads after one step: the applied revisions that no other applied revision builds upon.
pub fn heads_after(graph: &Graph, heads: &[Node], step: Node, direction: Direction) -> Vec<Node> {
    match direction {
        Direction::Upgrade => {
            // A head that the step builds upon is right below it: whatever is further down has been built upon before.
            let below = graph.down(step);
            let mut after: Vec<Node> = heads.iter().copied().filter(|head| !below.contains(head)).collect();
            after.push(step);
            after
        }
        Direction::Downgrade => {
            let mut after: Vec<Node> = heads.iter().copied().filter(|&head| head != step).collect();
            let below = graph.down(step);
            let mut covered = graph.ancestors(&after, Along::All);
            for &one in below {
                for node in graph.ancestors(graph.down(one), Along::All).iter() {
                    covered.insert(node);
                }
            }
            after.extend(below.iter().copied().filter(|&one| !covered.contains(one)));
            after
        }
    }
}

/// The heads after `stamp target`: what the target names, and the current heads that are unrelated to it.
///
/// # Errors
/// Those of target resolution.
pub fn stamp(graph: &Graph, current: &[Node], target: &str) -> Result<Vec<Node>> {
    let resolver = Resolver::new(graph, current);
    let related = resolver.on_lineage(current, target, Along::All)?;
    let destinations = resolver.many(target)?;
    let mut after: Vec<Node> = current.iter().copied().filter(|head| !related.contains(head)).collect();
    after.extend(destinations);
    let covered = |node: Node| after.iter().any(|&other| other != node && graph.ancestors(&[other], Along::All).contains(node));
    let mut heads: Vec<Node> = after.iter().copied().filter(|&node| !covered(node)).collect();
    heads.sort_unstable();
    heads.dedup();
    Ok(heads)
}

/// The revisions of `range` (`lower:upper`, each side optional), newest first.
///
/// # Errors
/// Those of target resolution; [`Error::NotOnTheWay`] where `lower` is no ancestor of `upper`.
pub fn history(graph: &Graph, current: &[Node], range: &str) -> Result<Vec<Node>> {
    let (lower, upper) = range.split_once(':').unwrap_or((range, ""));
    let resolver = Resolver::new(graph, current);
    let side = |text: &str, default: &str| -> Result<Vec<Node>> {
        match text.trim() {
            "" => resolver.many(default),
            "current" => Ok(current.to_vec()),
            text if text.starts_with('-') => match resolver.downgrade_target(text)?.1 {
                Place::At(node) => Ok(vec![node]),
                Place::Base => Ok(vec![]),
            },
            text => resolver.upgrade_target(text),
        }
    };
    let (lower, upper) = (side(lower, "base")?, side(upper, "heads")?);
    let reachable = graph.ancestors(&upper, Along::All);
    if let Some(&outside) = lower.iter().find(|&&node| !reachable.contains(node)) {
        return Err(Error::NotOnTheWay {
            target: graph.id(outside).to_owned(),
            direction: "history",
            current: graph.ids(current),
        });
    }
    let line = graph.descendants(&lower, Along::Parents);
    let mut order = graph.topological(&reachable.retain(|node| lower.is_empty() || line.contains(node)));
    order.reverse();
    Ok(order)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Vertex;

    fn graph(rows: &[(&str, &[&str])]) -> Graph {
        let vertices = rows.iter().map(|(id, parents)| Vertex {
            id: (*id).into(),
            parents: parents.iter().map(|parent| (*parent).into()).collect(),
            ..Vertex::default()
        });
        Graph::new(vertices.collect()).unwrap()
    }

    #[test]
    fn a_merge_needs_both_branches_and_its_downgrade_restores_both_heads() {
        let graph = graph(&[("base", &[]), ("left", &["base"]), ("right", &["base"]), ("both", &["left", "right"])]);
        assert_eq!(steps(&graph, &[], "both", Direction::Upgrade).unwrap(), [0, 1, 2, 3]);
        assert_eq!(heads_after(&graph, &[1, 2], 3, Direction::Upgrade), [3]);
        assert_eq!(heads_after(&graph, &[3], 3, Direction::Downgrade), [1, 2]);
    }

    #[test]
    fn head_is_refused_where_there_are_two_and_heads_is_not() {
        let graph = graph(&[("root", &[]), ("left", &["root"]), ("right", &["root"])]);
        let error = steps(&graph, &[], "head", Direction::Upgrade).unwrap_err();
        assert!(error.hint().unwrap().contains("left right"), "{error:?}");
        assert_eq!(steps(&graph, &[], "heads", Direction::Upgrade).unwrap().len(), 3);
    }

    #[test]
    fn ten_thousand_revisions_are_planned_in_well_under_a_tenth_of_a_second() {
        let vertices = (0..10_000).map(|index| Vertex {
            id: format!("r{index:05}"),
            parents: if index == 0 { vec![] } else { vec![format!("r{:05}", index - 1)] },
            ..Vertex::default()
        });
        let graph = Graph::new(vertices.collect()).unwrap();
        let start = std::time::Instant::now();
        assert_eq!(steps(&graph, &[], "head", Direction::Upgrade).unwrap().len(), 10_000);
        assert!(start.elapsed().as_millis() < 100, "{:?}", start.elapsed());
    }
}
