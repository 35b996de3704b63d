//! Graphs, targets, plans and heads against Alembic itself.
//!
//! `tests/python/alembic_oracle.py` asks Alembic about random graphs; this test asks `runbook-core` the same and
//! compares: who refuses, which revisions run, that our order respects what each step needs, and the heads.
//! `RUNBOOK_TEST_PYTHON` names a Python with Alembic 1.20. To look further, set `RUNBOOK_TEST_SEED` and
//! `RUNBOOK_TEST_GRAPHS`.
#![allow(clippy::unwrap_used, missing_docs, reason = "a panic is how a test fails")]

use runbook_core::Error;
use runbook_core::graph::{Graph, Vertex};
use runbook_core::plan::{self, Direction};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

/// Oracles that run at the same time, each with a seed of its own.
const ORACLES: u64 = 2;

/// Where we deliberately differ, or where Alembic fails. Everything else must agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Exception {
    /// `-N` from several heads: Alembic warns and takes whichever row comes first; we refuse.
    AmbiguousDowngrade,
    /// Generously read numbers (`+1x`, `@-1`, ` -1`, `+١`): Alembic ignores what is odd about them; we refuse.
    LooseNumber,
    /// A step names a revision that another of its parents or dependencies already needs, and Alembic's
    /// `HeadMaintainer` fails or leaves an ancestor of a head among the heads; our heads are the maximal ones.
    RedundantEdge,
    /// A cycle that some base leads into and some head leads out of: Alembic doesn't see it; we refuse it.
    HiddenCycle,
}

#[derive(Debug, Default)]
struct Tally {
    graphs: usize,
    invalid: usize,
    states: usize,
    targets: usize,
    accepted: usize,
    refusals: usize,
    steps: usize,
    exceptions: BTreeMap<Exception, usize>,
    differences: usize,
    shown: Vec<String>,
}

impl Tally {
    fn differ(&mut self, case: &Value, state: &Value, answer: &Value, what: &str) {
        self.differences += 1;
        if self.shown.len() < 10 {
            self.shown.push(format!("{what}\n  answer {answer}\n  heads {}\n  graph {}", state["heads"], case["revisions"]));
        }
    }

    fn except(&mut self, exception: Exception) {
        *self.exceptions.entry(exception).or_default() += 1;
    }
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} must be a number, not {text:?}")))
}

fn oracle(seed: u64, graphs: u64) -> Child {
    let python = std::env::var("RUNBOOK_TEST_PYTHON")
        .expect("RUNBOOK_TEST_PYTHON must name a Python with Alembic 1.20 installed; \"make test\" sets it");
    let mut command = Command::new(&python);
    command.args(["-B", concat!(env!("CARGO_MANIFEST_DIR"), "/python/alembic_oracle.py")]);
    command.args(["--seed", &seed.to_string(), "--graphs", &graphs.to_string()]);
    command.env("PYTHONHASHSEED", "0").stdout(Stdio::piped());
    command.spawn().unwrap_or_else(|error| panic!("can't run RUNBOOK_TEST_PYTHON={python}: {error}"))
}

fn strings(value: &Value) -> Vec<String> {
    value.as_array().unwrap().iter().map(|item| item.as_str().unwrap().to_owned()).collect()
}

fn vertices(case: &Value) -> Vec<Vertex> {
    let vertex = |one: &Value| Vertex {
        id: one["id"].as_str().unwrap().to_owned(),
        parents: strings(&one["parents"]),
        depends_on: strings(&one["depends_on"]),
        labels: strings(&one["labels"]),
    };
    case["revisions"].as_array().unwrap().iter().map(vertex).collect()
}

/// Ids of what each revision needs immediately, worked out here so that the graph under test is not its own judge.
fn needs(vertices: &[Vertex]) -> HashMap<String, BTreeSet<String>> {
    let mut owner: HashMap<&str, &str> = HashMap::new();
    for vertex in vertices {
        owner.insert(&vertex.id, &vertex.id);
        owner.extend(vertex.labels.iter().map(|label| (label.as_str(), vertex.id.as_str())));
    }
    let below = |vertex: &Vertex| {
        vertex
            .parents
            .iter()
            .chain(&vertex.depends_on)
            .map(|name| owner[name.as_str()].to_owned())
            .collect::<BTreeSet<String>>()
    };
    vertices.iter().map(|vertex| (vertex.id.clone(), below(vertex))).collect()
}

/// The applied revisions that no applied revision needs.
fn maximal(applied: &BTreeSet<String>, needs: &HashMap<String, BTreeSet<String>>) -> BTreeSet<String> {
    applied.iter().filter(|id| !applied.iter().any(|other| needs[other].contains(*id))).cloned().collect()
}

fn closure(heads: &[String], needs: &HashMap<String, BTreeSet<String>>) -> BTreeSet<String> {
    let (mut seen, mut todo) = (BTreeSet::new(), heads.to_vec());
    while let Some(id) = todo.pop() {
        todo.extend(needs[&id].iter().cloned());
        seen.insert(id);
    }
    seen
}

/// Whether something that `id` names is already needed by something else that it names.
fn redundant(id: &str, needs: &HashMap<String, BTreeSet<String>>) -> bool {
    needs[id]
        .iter()
        .any(|one| needs[id].iter().any(|other| other != one && closure(std::slice::from_ref(other), needs).contains(one)))
}

/// Whether the graph is refused for what the oracle spoilt.
fn wrong_as(error: &Error, wrong: Option<&str>) -> bool {
    match error {
        Error::MissingParent { .. } => matches!(wrong, Some("missing parent" | "missing dependency")),
        Error::LabelTaken { .. } => wrong == Some("label taken"),
        Error::Cycle { .. } => matches!(wrong, Some("cycle" | "dependency cycle" | "self loop")),
        _ => false,
    }
}

/// Whether our error says what Alembic's exception says. Its assertions say nothing, and `head` as the name of a
/// branch can be wrong in two ways at once.
fn same_reason(target: &str, ours: &Error, theirs: &str) -> bool {
    let says = |text: &str| theirs.contains(text);
    match ours {
        _ if says("AssertionError: ") || target.starts_with("head@") => true,
        Error::MultipleHeads { .. } => says("MultipleHeads: "),
        // For an ambiguous label Alembic says only that there is no such branch.
        Error::AmbiguousPrefix { .. } => says("Multiple revisions start with") || says("No such branch"),
        Error::AmbiguousWalk { .. } => says("Ambiguous walk") || says("Ambiguous upgrade"),
        Error::NoSuchRevision { .. } => says("No such revision") || says("No such branch"),
        Error::NotOnBranch { .. } => says("is not a member of branch"),
        Error::TooFar { .. } | Error::WrongWay { .. } => says("Walked too far") || says("didn't produce"),
        Error::Overlap { .. } => says("overlaps with"),
        Error::NotOnTheWay { .. } => says("is not an ancestor of") || says("Not a valid downgrade target"),
        _ => false,
    }
}

/// Follows our steps one by one; what is wrong with them, if anything.
fn follow(
    graph: &Graph,
    needs: &HashMap<String, BTreeSet<String>>,
    current: &[usize],
    steps: &[usize],
    direction: Direction,
) -> Result<BTreeSet<String>, String> {
    let mut applied = closure(&graph.ids(current), needs);
    let mut heads = current.to_vec();
    for &step in steps {
        let id = graph.id(step).to_owned();
        let in_order = match direction {
            Direction::Upgrade => needs[&id].is_subset(&applied) && applied.insert(id.clone()),
            Direction::Downgrade => !applied.iter().any(|other| needs[other].contains(&id)) && applied.remove(&id),
        };
        heads = plan::heads_after(graph, &heads, step, direction);
        let ours: BTreeSet<String> = graph.ids(&heads).into_iter().collect();
        if !in_order {
            return Err(format!("step {id} is out of order in {:?}", graph.ids(steps)));
        }
        if ours != maximal(&applied, needs) || ours.len() != heads.len() {
            return Err(format!("heads after {id} are {:?}, not {:?}", graph.ids(&heads), maximal(&applied, needs)));
        }
    }
    Ok(graph.ids(&heads).into_iter().collect())
}

fn compare(tally: &mut Tally, case: &Value) {
    tally.graphs += 1;
    let vertices = vertices(case);
    let needs = if case["wrong"].is_null() { needs(&vertices) } else { HashMap::new() };
    let graph = match Graph::new(vertices) {
        Ok(graph) => graph,
        Err(error) => {
            tally.invalid += 1;
            if !wrong_as(&error, case["wrong"].as_str()) {
                tally.differ(case, &Value::Null, &case["error"], &format!("we refuse the graph otherwise: {error}"));
            }
            if case["error"].is_null() && matches!(error, Error::Cycle { .. }) {
                tally.except(Exception::HiddenCycle);
            } else if case["error"].is_null() {
                tally.differ(case, &Value::Null, &Value::Null, &format!("only we refuse the graph: {error}"));
            }
            return;
        }
    };
    if !case["error"].is_null() || !case["wrong"].is_null() {
        return tally.differ(case, &Value::Null, &case["error"], "only Alembic refuses the graph");
    }
    for state in case["states"].as_array().unwrap() {
        tally.states += 1;
        let current: Vec<usize> = strings(&state["heads"]).iter().map(|id| graph.find(id).unwrap()).collect();
        for answer in state["answers"].as_array().unwrap() {
            tally.targets += 1;
            let direction = Direction::parse(answer["direction"].as_str().unwrap()).unwrap();
            let target = answer["target"].as_str().unwrap();
            let ours = plan::steps(&graph, &current, target, direction);
            let exception = if answer["ambiguous"] == true {
                Some(Exception::AmbiguousDowngrade)
            } else if answer["loose"] == true {
                Some(Exception::LooseNumber)
            } else {
                None
            };
            match (ours, answer["refused"].as_str(), exception) {
                (Err(error), Some(theirs), _) => {
                    tally.refusals += 1;
                    if exception.is_none() && !same_reason(target, &error, theirs) {
                        tally.differ(case, state, answer, &format!("we refuse otherwise: {error:?}"));
                    }
                }
                (Err(_), None, Some(exception)) => tally.except(exception),
                (Ok(_), _, Some(exception)) => tally.differ(case, state, answer, &format!("{exception:?} must be refused")),
                (Err(error), None, None) => tally.differ(case, state, answer, &format!("only we refuse: {error}")),
                (Ok(steps), Some(_), None) => {
                    tally.differ(case, state, answer, &format!("only Alembic refuses; we take {:?}", graph.ids(&steps)));
                }
                (Ok(steps), None, None) => {
                    tally.accepted += 1;
                    tally.steps += steps.len();
                    let (mine, theirs) =
                        (BTreeSet::from_iter(graph.ids(&steps)), BTreeSet::from_iter(strings(&answer["steps"])));
                    if mine != theirs {
                        tally.differ(case, state, answer, &format!("we take {mine:?}"));
                        continue;
                    }
                    let after = match follow(&graph, &needs, &current, &steps, direction) {
                        Ok(after) => after,
                        Err(what) => {
                            tally.differ(case, state, answer, &what);
                            continue;
                        }
                    };
                    let theirs = answer["heads"].as_array().unwrap().last().unwrap_or(&state["heads"]);
                    if answer["crashed"].is_null() && after == BTreeSet::from_iter(strings(theirs)) {
                        continue;
                    }
                    let theirs = BTreeSet::from_iter(strings(theirs));
                    let below = closure(&Vec::from_iter(after.clone()), &needs);
                    let failed = answer["crashed"].is_string() || (after.is_subset(&theirs) && theirs.is_subset(&below));
                    if failed && steps.iter().any(|&step| redundant(graph.id(step), &needs)) {
                        tally.except(Exception::RedundantEdge);
                    } else {
                        tally.differ(case, state, answer, &format!("we end at {after:?}"));
                    }
                }
            }
        }
    }
}

#[test]
fn every_answer_is_alembics() {
    let start = std::time::Instant::now();
    let (seed, graphs) = (number("RUNBOOK_TEST_SEED", 1), number("RUNBOOK_TEST_GRAPHS", 2400));
    let mut oracles: Vec<Child> = (0..ORACLES).map(|index| oracle(seed * ORACLES + index, graphs / ORACLES)).collect();
    let (sender, lines) = std::sync::mpsc::sync_channel(64);
    for child in &mut oracles {
        let (reader, sender) = (BufReader::new(child.stdout.take().unwrap()), sender.clone());
        std::thread::spawn(move || reader.lines().try_for_each(|line| sender.send(line.unwrap())));
    }
    drop(sender);
    let mut tally = Tally::default();
    for line in lines {
        compare(&mut tally, &serde_json::from_str(&line).expect("the oracle writes a JSON object per line"));
    }
    for mut child in oracles {
        assert!(child.wait().unwrap().success(), "the oracle failed; is Alembic installed for RUNBOOK_TEST_PYTHON?");
    }
    println!(
        "Alembic differential: {} graphs ({} invalid), {} states, {} targets ({} taken by both in {} steps, {} refused by both); {:?}; {:.1?}",
        tally.graphs,
        tally.invalid,
        tally.states,
        tally.targets,
        tally.accepted,
        tally.steps,
        tally.refusals,
        tally.exceptions,
        start.elapsed()
    );
    assert!(tally.differences == 0, "{} differences, among them\n{}", tally.differences, tally.shown.join("\n\n"));
    assert!(tally.graphs as u64 >= graphs / ORACLES * ORACLES, "the oracle wrote only {} graphs", tally.graphs);
    assert!(tally.exceptions.values().sum::<usize>() * 20 < tally.targets, "more exceptions than a rule bears: {tally:?}");
    if graphs >= 2000 {
        assert!(tally.invalid >= 80 && tally.states >= 3_000 && tally.targets >= 100_000, "too little compared: {tally:?}");
        assert!(tally.accepted >= 25_000 && tally.refusals >= 50_000, "too little compared: {tally:?}");
        assert!(tally.steps >= 40_000, "too little compared: {tally:?}");
    }
}
