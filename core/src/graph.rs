//! The directed acyclic graph of revisions.
//!
//! Owns parents, dependencies, labels and lineage. It refuses duplicates, missing parents, cycles and labels
//! that two revisions claim. Semantics are those of Alembic 1.20's `RevisionMap`; two words recur:
//! *versioned* edges are parents alone, *all* edges are parents and dependencies.
//! Invariant: once built, every edge leads to a node and every node leads back to a base.

use crate::error::{Error, Result};
use std::collections::{BTreeSet, HashMap};

/// Index of a revision in its graph; ascending in order of insertion.
pub type Node = usize;

/// Which edges are followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Along {
    /// *Versioned* ones.
    Parents,
    /// *All* of them.
    All,
}

/// What the graph needs to know of a revision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Vertex {
    /// Its id.
    pub id: String,
    /// Ids of its parents.
    pub parents: Vec<String>,
    /// Ids or labels that it depends on.
    pub depends_on: Vec<String>,
    /// Labels that it starts.
    pub labels: Vec<String>,
}

#[derive(Debug)]
struct Edges {
    parents: Vec<Node>,
    dependencies: Vec<Node>,
    /// Parents, then the dependencies that no ancestor has already.
    down: Vec<Node>,
    children: Vec<Node>,
    all_children: Vec<Node>,
}

/// The graph. Building it checks it.
#[derive(Debug, Default)]
pub struct Graph {
    vertices: Vec<Vertex>,
    edges: Vec<Edges>,
    names: HashMap<String, Node>,
    heads: Vec<Node>,
    real_heads: Vec<Node>,
    bases: Vec<Node>,
}

impl Graph {
    /// Builds the graph of `vertices`, in their order.
    ///
    /// # Errors
    /// [`Error::Duplicate`], [`Error::LabelTaken`], [`Error::MissingParent`], [`Error::Cycle`].
    pub fn new(vertices: Vec<Vertex>) -> Result<Self> {
        let mut names = HashMap::with_capacity(vertices.len());
        for (node, vertex) in vertices.iter().enumerate() {
            if let Some(first) = names.insert(vertex.id.clone(), node) {
                let (first, second) = (format!("revision number {}", first + 1), format!("revision number {}", node + 1));
                return Err(Error::Duplicate { id: vertex.id.clone(), first, second });
            }
        }
        for (node, vertex) in vertices.iter().enumerate() {
            for label in &vertex.labels {
                if let Some(owner) = names.insert(label.clone(), node) {
                    let owner = vertices[owner].id.clone();
                    return Err(Error::LabelTaken { label: label.clone(), revision: vertex.id.clone(), owner });
                }
            }
        }
        let edges = resolve_edges(&vertices, &names)?;
        let mut graph = Self { vertices, edges, names, heads: vec![], real_heads: vec![], bases: vec![] };
        graph.link_children();
        graph.normalize_dependencies();
        graph.heads = graph.nodes().filter(|&node| graph.edges[node].children.is_empty()).collect();
        graph.real_heads = graph.nodes().filter(|&node| graph.edges[node].all_children.is_empty()).collect();
        graph.bases = graph.nodes().filter(|&node| graph.edges[node].parents.is_empty()).collect();
        graph.refuse_cycles()?;
        Ok(graph)
    }

    /// All nodes, in order of insertion.
    pub fn nodes(&self) -> impl Iterator<Item = Node> + use<> {
        0..self.vertices.len()
    }

    /// How many revisions there are.
    pub fn len(&self) -> usize {
        self.vertices.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.vertices.is_empty()
    }

    /// The revision at `node`.
    pub fn vertex(&self, node: Node) -> &Vertex {
        &self.vertices[node]
    }

    /// The id of `node`.
    pub fn id(&self, node: Node) -> &str {
        &self.vertices[node].id
    }

    /// The ids of `nodes`.
    pub fn ids<'a>(&self, nodes: impl IntoIterator<Item = &'a Node>) -> Vec<String> {
        nodes.into_iter().map(|&node| self.id(node).to_owned()).collect()
    }

    /// The node whose id or label is exactly `name`.
    pub fn find(&self, name: &str) -> Option<Node> {
        self.names.get(name).copied()
    }

    /// All ids and labels with their nodes.
    pub fn names(&self) -> impl Iterator<Item = (&str, Node)> {
        self.names.iter().map(|(name, &node)| (name.as_str(), node))
    }

    /// Revisions that are no other revision's parent.
    pub fn heads(&self) -> &[Node] {
        &self.heads
    }

    /// Revisions that are no other revision's parent or dependency.
    pub fn real_heads(&self) -> &[Node] {
        &self.real_heads
    }

    /// Revisions without parents.
    pub fn bases(&self) -> &[Node] {
        &self.bases
    }

    /// Parents of `node`.
    pub fn parents(&self, node: Node) -> &[Node] {
        &self.edges[node].parents
    }

    /// Revisions whose parent `node` is.
    pub fn children(&self, node: Node) -> &[Node] {
        &self.edges[node].children
    }

    /// What must be applied immediately before `node`: parents and dependencies.
    pub fn down(&self, node: Node) -> &[Node] {
        &self.edges[node].down
    }

    /// `start` and everything before it.
    pub fn ancestors(&self, start: &[Node], along: Along) -> NodeSet {
        self.closure(start, |edges| if along == Along::All { &edges.down } else { &edges.parents })
    }

    /// `start` and everything after it.
    pub fn descendants(&self, start: &[Node], along: Along) -> NodeSet {
        self.closure(start, |edges| if along == Along::All { &edges.all_children } else { &edges.children })
    }

    /// Whether `node` is an ancestor or a descendant of one of `others`, or is among them.
    pub fn shares_lineage(&self, node: Node, others: &[Node], along: Along) -> bool {
        let (up, down) = (self.descendants(&[node], along), self.ancestors(&[node], along));
        others.iter().any(|&other| up.contains(other) || down.contains(other))
    }

    /// The members of `set` in an order in which everything comes after what it needs, a branch at a time.
    pub fn topological(&self, set: &NodeSet) -> Vec<Node> {
        let mut done = NodeSet::new(self.len());
        let mut order = Vec::new();
        for start in self.nodes().filter(|&node| set.contains(node)) {
            let mut stack = vec![(start, 0)];
            while let Some((node, next)) = stack.pop() {
                if next == 0 && !done.insert(node) {
                    continue;
                }
                match self.edges[node].down.get(next) {
                    Some(&below) => {
                        stack.push((node, next + 1));
                        if set.contains(below) && !done.contains(below) {
                            stack.push((below, 0));
                        }
                    }
                    None => order.push(node),
                }
            }
        }
        order
    }

    /// Labels in force at every node: a label covers its revision's descendants, and the straight line before it.
    pub fn labels(&self) -> Vec<BTreeSet<String>> {
        let mut labels = vec![BTreeSet::new(); self.len()];
        for node in self.nodes() {
            let own = &self.vertices[node].labels;
            if own.is_empty() {
                continue;
            }
            for below in self.descendants(&[node], Along::Parents).iter() {
                labels[below].extend(own.iter().cloned());
            }
            let mut parent = node;
            while let [only] = self.edges[parent].parents[..] {
                if self.edges[only].all_children.len() > 1 || self.edges[only].parents.len() > 1 {
                    break;
                }
                labels[only].extend(own.iter().cloned());
                parent = only;
            }
        }
        labels
    }

    fn link_children(&mut self) {
        for node in self.nodes() {
            let (parents, dependencies) = (self.edges[node].parents.clone(), self.edges[node].dependencies.clone());
            for &parent in &parents {
                self.edges[parent].children.push(node);
                self.edges[parent].all_children.push(node);
            }
            for dependency in dependencies.into_iter().filter(|dependency| !parents.contains(dependency)) {
                self.edges[dependency].all_children.push(node);
            }
        }
    }

    fn normalize_dependencies(&mut self) {
        for node in self.nodes() {
            let mut down = self.edges[node].parents.clone();
            if !self.edges[node].dependencies.is_empty() {
                let mut own = self.edges[node].dependencies.clone();
                for ancestor in self.ancestors(&[node], Along::Parents).iter().filter(|&ancestor| ancestor != node) {
                    own.retain(|dependency| !self.edges[ancestor].dependencies.contains(dependency));
                }
                own.retain(|dependency| !down.contains(dependency));
                down.extend(own);
            }
            self.edges[node].down = down;
        }
    }

    fn refuse_cycles(&self) -> Result<()> {
        for along in [Along::Parents, Along::All] {
            let mut waiting: Vec<usize> = self.nodes().map(|node| self.before(node, along).len()).collect();
            let mut ready: Vec<Node> = self.nodes().filter(|&node| waiting[node] == 0).collect();
            let mut settled = 0;
            while let Some(node) = ready.pop() {
                settled += 1;
                let after = if along == Along::All { &self.edges[node].all_children } else { &self.edges[node].children };
                for &next in after {
                    waiting[next] -= 1;
                    if waiting[next] == 0 {
                        ready.push(next);
                    }
                }
            }
            if settled < self.len() {
                let mut revisions: Vec<String> =
                    self.nodes().filter(|&node| waiting[node] > 0).map(|node| self.id(node).to_owned()).collect();
                revisions.sort();
                let relation = if along == Along::All { "dependency cycle" } else { "cycle" };
                return Err(Error::Cycle { revisions, relation });
            }
        }
        Ok(())
    }

    fn before(&self, node: Node, along: Along) -> Vec<Node> {
        let edges = &self.edges[node];
        let mut before = edges.parents.clone();
        if along == Along::All {
            before.extend(edges.dependencies.iter().filter(|dependency| !edges.parents.contains(dependency)));
        }
        before
    }

    /// `start` and all ancestors and dependencies, without `known` and whatever lies behind it.
    pub fn ancestors_outside(&self, start: &[Node], known: &NodeSet) -> NodeSet {
        let mut seen = NodeSet::new(self.len());
        let mut todo = start.to_vec();
        while let Some(node) = todo.pop() {
            if !known.contains(node) && seen.insert(node) {
                todo.extend(&self.edges[node].down);
            }
        }
        seen
    }

    fn closure<'a>(&'a self, start: &[Node], edges: impl Fn(&'a Edges) -> &'a Vec<Node>) -> NodeSet {
        let mut seen = NodeSet::new(self.len());
        let mut todo = start.to_vec();
        while let Some(node) = todo.pop() {
            if seen.insert(node) {
                todo.extend(edges(&self.edges[node]));
            }
        }
        seen
    }
}

fn resolve_edges(vertices: &[Vertex], names: &HashMap<String, Node>) -> Result<Vec<Edges>> {
    let mut edges = Vec::with_capacity(vertices.len());
    for vertex in vertices {
        let find = |name: &String, relation: &'static str| {
            let missing = || Error::MissingParent { revision: vertex.id.clone(), parent: name.clone(), relation };
            names.get(name).copied().ok_or_else(missing)
        };
        let mut parents = Vec::new();
        for name in &vertex.parents {
            let parent = names.get(name).copied().filter(|&parent| vertices[parent].id == *name);
            let parent = parent.ok_or_else(|| Error::MissingParent {
                revision: vertex.id.clone(),
                parent: name.clone(),
                relation: "parent",
            })?;
            if !parents.contains(&parent) {
                parents.push(parent);
            }
        }
        let mut dependencies = Vec::new();
        for name in &vertex.depends_on {
            let dependency = find(name, "dependency")?;
            if !dependencies.contains(&dependency) {
                dependencies.push(dependency);
            }
        }
        edges.push(Edges { parents, dependencies, down: vec![], children: vec![], all_children: vec![] });
    }
    Ok(edges)
}

/// A set of nodes of one graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeSet(Vec<bool>);

impl NodeSet {
    /// The empty set for a graph of `len` nodes.
    pub fn new(len: usize) -> Self {
        Self(vec![false; len])
    }

    /// Adds `node`; says whether it is new.
    pub fn insert(&mut self, node: Node) -> bool {
        !std::mem::replace(&mut self.0[node], true)
    }

    /// Whether `node` is a member.
    pub fn contains(&self, node: Node) -> bool {
        self.0[node]
    }

    /// The members, ascending.
    pub fn iter(&self) -> impl Iterator<Item = Node> + '_ {
        self.0.iter().enumerate().filter(|(_, member)| **member).map(|(node, _)| node)
    }

    /// Whether there is no member.
    pub fn is_empty(&self) -> bool {
        !self.0.contains(&true)
    }

    /// The members for which `keep` holds.
    pub fn retain(mut self, keep: impl Fn(Node) -> bool) -> Self {
        for (node, member) in self.0.iter_mut().enumerate() {
            *member = *member && keep(node);
        }
        self
    }
}

#[cfg(test)]
mod tests;
