//! What a target means: `head`, `heads`, `base`, `+N`, `-N`, a revision or a unique prefix of one, `rev+N`,
//! `rev-N`, `label`, `label@head`, `label@+N`.
//!
//! The rules are those of Alembic 1.20 (`alembic/script/revision.py`), proved against it by
//! `tests/alembic_differential.rs`. One is stricter: `-N` from several heads is refused, where Alembic warns
//! and takes whichever row comes first.

use crate::error::{Error, Result};
use crate::graph::{Along, Graph, Node, NodeSet};

/// Where a walk can end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Before every revision.
    Base,
    /// At a revision.
    At(Node),
}

/// `[label@][symbol](+|-)N`, taken apart.
struct Relative<'a> {
    label: Option<&'a str>,
    symbol: Option<&'a str>,
    steps: i64,
}

impl<'a> Relative<'a> {
    fn parse(target: &'a str) -> Option<Self> {
        let labelled = target.match_indices('@').filter(|(at, _)| *at > 0).find_map(|(at, _)| {
            let (symbol, steps) = Self::tail(&target[at + 1..])?;
            Some(Self { label: Some(&target[..at]), symbol, steps })
        });
        labelled.or_else(|| Self::tail(target).map(|(symbol, steps)| Self { label: None, symbol, steps }))
    }

    fn tail(text: &'a str) -> Option<(Option<&'a str>, i64)> {
        let sign = text.find(|c: char| !c.is_alphanumeric() && c != '_')?;
        let (symbol, steps) = text.split_at(sign);
        let digits = steps.strip_prefix(['+', '-'])?;
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let magnitude: i64 = digits.parse().unwrap_or(i64::from(i32::MAX));
        let steps = if steps.starts_with('-') { -magnitude } else { magnitude };
        Some(((!symbol.is_empty()).then_some(symbol), steps))
    }
}

/// The names in force for one resolution: a graph, and where the database stands in it.
pub struct Resolver<'a> {
    graph: &'a Graph,
    current: &'a [Node],
}

impl<'a> Resolver<'a> {
    /// A resolver for a database whose heads are `current`.
    pub fn new(graph: &'a Graph, current: &'a [Node]) -> Self {
        Self { graph, current }
    }

    /// The revisions that `upgrade target` must reach.
    ///
    /// # Errors
    /// Those of Alembic, as [`Error`]s with candidates.
    pub fn upgrade_target(&self, target: &str) -> Result<Vec<Node>> {
        let Some(relative) = Relative::parse(target) else {
            return self.many(target);
        };
        let too_far = || Error::TooFar { target: target.to_owned() };
        let start = match (relative.symbol, relative.steps) {
            (None, 0) => return Err(too_far()),
            (None, ..0) => return Err(Error::WrongWay { target: target.to_owned(), direction: "upgrade" }),
            (None, _) => self.upgrade_start(target, relative.label)?,
            (Some(symbol), 1..) => self.one(symbol)?,
            (Some(symbol), _) => self.one(&qualified(relative.label, symbol))?,
        };
        let label = relative.label.filter(|_| relative.steps > 0);
        match self.walk(target, start, relative.steps, label)? {
            Some(Place::At(node)) => Ok(vec![node]),
            _ => Err(too_far()),
        }
    }

    /// The branch that `downgrade target` is confined to, if any, and where it must end.
    ///
    /// # Errors
    /// Those of Alembic, as [`Error`]s with candidates.
    pub fn downgrade_target(&self, target: &str) -> Result<(Option<String>, Place)> {
        let Some(relative) = Relative::parse(target) else {
            let (label, symbol) = match target.rsplit_once('@') {
                Some((label, symbol)) if !label.is_empty() => (Some(label.to_owned()), symbol),
                Some((_, symbol)) => (None, symbol),
                None => (None, target),
            };
            return Ok((label, self.one(symbol)?.map_or(Place::Base, Place::At)));
        };
        let too_far = || Error::TooFar { target: target.to_owned() };
        let mut label = relative.label.map(str::to_owned);
        let place = match (relative.symbol, relative.steps) {
            (None, 0) => return Err(too_far()),
            (None, 1..) => return Err(Error::WrongWay { target: target.to_owned(), direction: "downgrade" }),
            (Some(symbol), 0..) => {
                let start = self.one(symbol)?;
                self.walk(target, start, relative.steps, relative.label)?
            }
            (symbol, _) => {
                let symbol = match symbol {
                    Some(symbol) => symbol.to_owned(),
                    None => self.downgrade_start(target, &mut label)?,
                };
                let start = self.one(&qualified(label.as_deref(), &symbol))?;
                self.walk(target, start, relative.steps, None)?
            }
        };
        Ok((label, place.ok_or_else(too_far)?))
    }

    /// The revisions that `name` stands for: one, several (`heads`), or none (`base`).
    ///
    /// # Errors
    /// [`Error::NoSuchRevision`], [`Error::AmbiguousPrefix`], [`Error::MultipleHeads`], [`Error::NotOnBranch`].
    pub fn many(&self, name: &str) -> Result<Vec<Node>> {
        let (label, symbol) = split_label(name);
        match symbol {
            "head" | "heads" => {
                let heads = match label {
                    None if symbol == "heads" => self.graph.real_heads().to_vec(),
                    None => self.graph.heads().to_vec(),
                    Some(label) => self.on_lineage(self.graph.heads(), label, Along::Parents)?,
                };
                if symbol == "head" && heads.len() > 1 {
                    return Err(Error::MultipleHeads { target: name.to_owned(), heads: self.graph.ids(&heads) });
                }
                // Here a label must be a name: `base@heads` means nothing, though `base@+1` does.
                heads.into_iter().map(|head| self.member(head, label)).collect()
            }
            "base" => Ok(vec![]),
            _ => Ok(vec![self.named(symbol, label)?]),
        }
    }

    /// The one revision that `name` stands for; `None` for base.
    ///
    /// # Errors
    /// As [`Resolver::many`]; [`Error::MultipleHeads`] if there are several.
    pub fn one(&self, name: &str) -> Result<Option<Node>> {
        let nodes = self.many(name)?;
        if nodes.len() > 1 {
            return Err(Error::MultipleHeads { target: name.to_owned(), heads: self.graph.ids(&nodes) });
        }
        if let (Some(label), _) = split_label(name) {
            self.branch(label)?;
        }
        Ok(nodes.first().copied())
    }

    /// Those of `targets` that are ancestors or descendants of what `name` stands for.
    ///
    /// # Errors
    /// As [`Resolver::many`].
    pub fn on_lineage(&self, targets: &[Node], name: &str, along: Along) -> Result<Vec<Node>> {
        if targets.is_empty() {
            return Ok(vec![]);
        }
        let (label, symbol) = split_label(name);
        let mut shares = match label {
            Some(label) => vec![self.named(label, None)?],
            None => vec![],
        };
        match symbol {
            "head" | "heads" | "base" => shares.extend(self.many(name)?),
            _ => shares.push(self.named(symbol, None)?),
        }
        let shares_any = |node: &Node| shares.is_empty() || self.graph.shares_lineage(*node, &shares, along);
        Ok(targets.iter().copied().filter(shares_any).collect())
    }

    /// The revision that starts a branch: by label, id or prefix.
    ///
    /// # Errors
    /// As [`Resolver::many`].
    pub fn branch(&self, label: &str) -> Result<Node> {
        self.named(label, None)
    }

    /// Everything that is applied.
    pub fn applied(&self) -> NodeSet {
        self.graph.ancestors(self.current, Along::All)
    }

    fn named(&self, symbol: &str, label: Option<&str>) -> Result<Node> {
        if let Some(label) = label {
            self.branch(label)?;
        }
        let node = match self.graph.find(symbol) {
            Some(node) => node,
            None => self.by_prefix(symbol, label)?,
        };
        self.member(node, label)
    }

    /// `node`, if it is on the branch `label`.
    fn member(&self, node: Node, label: Option<&str>) -> Result<Node> {
        match label {
            Some(label) if !self.graph.shares_lineage(node, &[self.branch(label)?], Along::Parents) => {
                Err(Error::NotOnBranch { revision: self.graph.id(node).to_owned(), branch: label.to_owned() })
            }
            _ => Ok(node),
        }
    }

    fn by_prefix(&self, prefix: &str, label: Option<&str>) -> Result<Node> {
        let long_enough = |name: &str| name.chars().count() > 3;
        let starts = |name: &str| !prefix.is_empty() && long_enough(name) && name.starts_with(prefix);
        let mut found: Vec<(&str, Node)> = self.graph.names().filter(|(name, _)| starts(name)).collect();
        if let Some(label) = label {
            let nodes: Vec<Node> = found.iter().map(|(_, node)| *node).collect();
            let kept = self.on_lineage(&nodes, label, Along::Parents)?;
            found.retain(|(_, node)| kept.contains(node));
        }
        found.sort_unstable();
        match found[..] {
            [(_, node)] => Ok(node),
            [] => Err(Error::NoSuchRevision { target: prefix.to_owned(), nearest: self.nearest(prefix) }),
            _ => {
                let candidates = found.iter().take(10).map(|(name, _)| (*name).to_owned()).collect();
                Err(Error::AmbiguousPrefix { prefix: prefix.to_owned(), candidates })
            }
        }
    }

    fn nearest(&self, name: &str) -> Vec<String> {
        let start: String = name.chars().take(3).collect();
        if start.chars().count() < 3 {
            return vec![];
        }
        let mut names: Vec<String> =
            self.graph.names().filter(|(other, _)| other.starts_with(&start)).map(|(other, _)| other.to_owned()).collect();
        names.sort();
        names.truncate(5);
        names
    }

    /// Where `+N` or `label@+N` starts from.
    fn upgrade_start(&self, target: &str, label: Option<&str>) -> Result<Option<Node>> {
        let mut starts = self.current.to_vec();
        if let Some(label) = label {
            starts = self.on_lineage(&starts, label, Along::Parents)?;
            if starts.is_empty() {
                let applied: Vec<Node> = self.applied().iter().collect();
                let active = self.on_lineage(&applied, label, Along::Parents)?;
                let has_active_child = |node: &Node| active.iter().any(|&other| self.graph.down(other).contains(node));
                starts = active.iter().copied().filter(|node| !has_active_child(node)).collect();
            }
        }
        if starts.len() > 1 {
            return Err(Error::AmbiguousWalk { target: target.to_owned(), candidates: self.graph.ids(&starts) });
        }
        Ok(starts.first().copied())
    }

    /// Where `-N` or `label@-N` starts from. Without a label, the walk is confined to the one current head.
    fn downgrade_start(&self, target: &str, label: &mut Option<String>) -> Result<String> {
        let ambiguous = |nodes: &[Node]| Error::AmbiguousWalk { target: target.to_owned(), candidates: self.graph.ids(nodes) };
        let Some(branch) = label.as_deref() else {
            return match *self.current {
                [] => Err(Error::TooFar { target: target.to_owned() }),
                [only] => {
                    *label = Some(self.graph.id(only).to_owned());
                    Ok(self.graph.id(only).to_owned())
                }
                _ => Err(ambiguous(self.current)),
            };
        };
        let mut symbols = self.on_lineage(self.current, branch, Along::Parents)?;
        if symbols.is_empty() {
            let applied = self.applied();
            let tips: Vec<Node> = applied
                .iter()
                .filter(|&node| !self.graph.children(node).iter().any(|&child| applied.contains(child)))
                .collect();
            symbols = self.on_lineage(&tips, branch, Along::Parents)?;
        }
        match symbols[..] {
            [only] => Ok(self.graph.id(only).to_owned()),
            [] => Err(Error::TooFar { target: target.to_owned() }),
            _ => Err(ambiguous(&symbols)),
        }
    }

    /// Walks `steps` from `start` (`None`: from outside); `None` if that ends outside.
    fn walk(&self, target: &str, start: Option<Node>, steps: i64, label: Option<&str>) -> Result<Option<Place>> {
        let mut place = start.map(Place::At);
        for _ in 0..steps.unsigned_abs() {
            let next = match (place, steps > 0) {
                (Some(Place::Base), _) => return Ok(None),
                (None, true) => self.climb(self.graph.bases(), label)?,
                (Some(Place::At(node)), true) => self.climb(self.graph.children(node), label)?,
                (None, false) => self.graph.heads().iter().copied().map(Place::At).collect(),
                (Some(Place::At(node)), false) if self.graph.parents(node).is_empty() => vec![Place::Base],
                (Some(Place::At(node)), false) => self.graph.parents(node).iter().copied().map(Place::At).collect(),
            };
            match next[..] {
                [] if place.is_none() && steps < 0 => place = Some(Place::Base),
                [] => return Ok(None),
                [only] => place = Some(only),
                _ => {
                    let ways = next.iter().map(|place| match place {
                        Place::At(node) => self.graph.id(*node).to_owned(),
                        Place::Base => "base".to_owned(),
                    });
                    return Err(Error::AmbiguousWalk { target: target.to_owned(), candidates: ways.collect() });
                }
            }
        }
        Ok(place)
    }

    fn climb(&self, nodes: &[Node], label: Option<&str>) -> Result<Vec<Place>> {
        let nodes = match label {
            Some(label) => self.on_lineage(nodes, label, Along::Parents)?,
            None => nodes.to_vec(),
        };
        Ok(nodes.into_iter().map(Place::At).collect())
    }
}

fn split_label(name: &str) -> (Option<&str>, &str) {
    match name.split_once('@') {
        Some(("", symbol)) => (None, symbol),
        Some((label, symbol)) => (Some(label), symbol),
        None => (None, name),
    }
}

fn qualified(label: Option<&str>, symbol: &str) -> String {
    label.map_or_else(|| symbol.to_owned(), |label| format!("{label}@{symbol}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Vertex;

    fn chain(ids: &[&str]) -> Graph {
        let vertices = ids.iter().enumerate().map(|(index, id)| Vertex {
            id: (*id).into(),
            parents: if index == 0 { vec![] } else { vec![ids[index - 1].into()] },
            ..Vertex::default()
        });
        Graph::new(vertices.collect()).unwrap()
    }

    #[test]
    fn an_ambiguous_prefix_lists_its_candidates() {
        let graph = chain(&["abcd01", "abcd02"]);
        let error = Resolver::new(&graph, &[]).one("abcd").unwrap_err();
        assert_eq!(error.detail().unwrap(), "Candidates: abcd01, abcd02.");
    }

    #[test]
    fn relative_targets_walk_from_where_the_database_stands() {
        let graph = chain(&["aaaa", "bbbb", "cccc"]);
        assert_eq!(Resolver::new(&graph, &[0]).upgrade_target("+1").unwrap(), [1]);
        assert_eq!(Resolver::new(&graph, &[0]).upgrade_target("bbbb+1").unwrap(), [2]);
        assert!(Resolver::new(&graph, &[2]).upgrade_target("+1").is_err());
        assert_eq!(Resolver::new(&graph, &[2]).downgrade_target("-2").unwrap().1, Place::At(0));
        assert_eq!(Resolver::new(&graph, &[0]).downgrade_target("-1").unwrap().1, Place::Base);
        assert!(Resolver::new(&graph, &[0]).downgrade_target("-2").is_err());
    }

    #[test]
    fn base_and_head_are_places_and_not_branches() {
        let graph = chain(&["aaaa", "bbbb"]);
        let resolver = Resolver::new(&graph, &[0]);
        for target in ["base@head", "base@heads", "head@heads"] {
            assert!(matches!(resolver.upgrade_target(target), Err(Error::NoSuchRevision { .. })), "{target}");
        }
        assert!(matches!(resolver.upgrade_target("nope@base-1"), Err(Error::NoSuchRevision { .. })));
        assert!(matches!(resolver.downgrade_target("base+0"), Err(Error::TooFar { .. })));
    }

    #[test]
    fn huge_steps_end_instead_of_overflowing() {
        let graph = chain(&["aaaa"]);
        assert!(Resolver::new(&graph, &[]).upgrade_target("+99999999999999999999").is_err());
    }
}
