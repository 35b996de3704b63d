//! The steps of a job: which are left, what one is allowed to find, and how it is noted that it is done.

use crate::apply::context::ApplyContext;
use crate::apply::locks::{self, Place};
use crate::apply::transactional;
use crate::apply::way::nodes;
use crate::catalog::relations;
use crate::error::{self, internal, refusal};
use crate::pg::execute::lock;
use crate::pg::failure::Failure;
use crate::pg::hooks::lock_wait_monitor;
use crate::store::graph;
use crate::store::jobs::{self, Job};
use crate::store::revisions::{self, Stored};
use crate::store::{self, pieces};
use pgrx::pg_sys::panic::ErrorReport;
use runbook_core::graph::Along;
use runbook_core::ledger::Entry;
use runbook_core::plan::{Direction, heads_after};
use runbook_core::vocabulary::status::RevisionStatus;
use std::cell::Cell;

/// One step of a job that is still to be done.
#[derive(Debug)]
pub struct Step {
    /// Its place in the job's plan, from 1.
    pub number: i32,
    /// The revision.
    pub revision: String,
    /// The digest that it had when the job was planned.
    pub digest: String,
    /// Heads that go.
    pub gone: Vec<String>,
    /// Heads that come.
    pub come: Vec<String>,
}

/// How the work on a step ends, if it does not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stepped {
    /// The revision is applied, or reverted.
    Done,
    /// A stop was requested.
    Asked,
}

/// What of the job's plan is still to be done, in order.
pub fn remaining(job: &Job) -> error::Result<Vec<Step>> {
    HAD_PIECES.set(pieces::any()?);
    let graph = graph::graph()?;
    let mut heads = nodes(&graph, &graph::heads()?)?;
    let mut applied = graph.ancestors(&heads, Along::All);
    let up = job.direction == Direction::Upgrade;
    let mut steps = vec![];
    for (at, (id, digest)) in job.revisions.iter().zip(&job.digests).enumerate() {
        let node = graph.find(id).ok_or_else(|| withdrawn(id))?;
        if applied.contains(node) == up {
            continue;
        }
        let blocked = if up {
            graph.down(node).iter().find(|other| !applied.contains(**other))
        } else {
            graph.children(node).iter().find(|other| applied.contains(**other))
        };
        if let Some(&other) = blocked {
            let is = if up { "not applied" } else { "applied" };
            let message = format!("revision \"{id}\" can't be next: \"{}\" is {is}", graph.id(other));
            let detail = "Other revisions were applied or reverted since the job was planned.".to_owned();
            let hint = format!("Start it again: SELECT runbook.start_{}('{}');", job.direction.as_str(), job.target);
            return Err(refusal("55000", message, Some(detail), Some(hint)));
        }
        let after = heads_after(&graph, &heads, node, job.direction);
        steps.push(Step {
            number: i32::try_from(at + 1).unwrap_or(i32::MAX),
            revision: id.clone(),
            digest: digest.clone(),
            gone: graph.ids(heads.iter().filter(|head| !after.contains(head))),
            come: graph.ids(after.iter().filter(|head| !heads.contains(head))),
        });
        if up {
            applied.insert(node);
        } else {
            applied = applied.retain(|other| other != node);
        }
        heads = after;
    }
    Ok(steps)
}

fn withdrawn(id: &str) -> ErrorReport {
    let message = format!("revision \"{id}\" was withdrawn since the job was planned");
    refusal("55000", message, None, Some("Start the upgrade again, without it.".to_owned()))
}

/// The revision of a step, as it was planned.
pub fn planned(step: &Step) -> Result<Stored, Failure> {
    if !lock::hold_on() {
        let holder = relations::migrator()?.map(|holder| format!("It is {holder}."));
        return Err(refusal("55P03", "another migrator is at work in this database", holder, None).into());
    }
    let stored = revisions::load(std::slice::from_ref(&step.revision))?.pop();
    let stored = stored.ok_or_else(|| internal(format!("revision \"{}\" has no row", step.revision)))?;
    if stored.status == RevisionStatus::Withdrawn {
        return Err(withdrawn(&step.revision).into());
    }
    if stored.digest != step.digest {
        let message = format!("revision \"{}\" was submitted again since the job was planned", step.revision);
        let hint = "Review it, have it approved, and start the upgrade again.";
        return Err(refusal("55000", message, None, Some(hint.to_owned())).into());
    }
    Ok(stored)
}

/// Notes that a step is done, in the transaction that does it.
pub fn done(job: &Job, step: &Step, run: &ApplyContext, started: i64, entries: &mut Vec<Entry>) -> Result<(), Failure> {
    run.flush()?;
    if HAD_PIECES.get() {
        pieces::forget(std::slice::from_ref(&step.revision))?;
    }
    // Most often one head gives way to another.
    let (gone, come) = (step.gone.split_first(), step.come.split_first());
    let others = |head: Option<(&String, &'_ [String])>| head.map_or(vec![], |(_, others)| others.to_vec());
    let marked = jobs::complete_step(&jobs::Done {
        job: job.job,
        step: step.number,
        direction: job.direction,
        revision: &step.revision,
        digest: &step.digest,
        gone: gone.map(|(head, _)| head.as_str()),
        come: come.map(|(head, _)| head.as_str()),
        started,
        is_again: job.starts > 0,
    })?;
    if !marked {
        return Err(transactional::resubmitted(&step.revision).into());
    }
    graph::move_heads(&others(gone), &others(come))?;
    run.alembic_version(&step.gone, &step.come)?;
    moved(job)?;
    let seen = lock_wait_monitor::take();
    if !seen.ended.is_empty() {
        let place = Place { revision: &step.revision, direction: job.direction.as_str(), statement: 0, line: 0 };
        entries.extend(locks::terminated(&seen, &place)?);
    }
    store::ledger::append(&std::mem::take(entries))?;
    Ok(())
}

thread_local! {
    static MOVES: Cell<u64> = const { Cell::new(0) };
    static HAS_MOVED: Cell<bool> = const { Cell::new(false) };
    /// Whether some revision had been done in part when the job began.
    static HAD_PIECES: Cell<bool> = const { Cell::new(true) };
}

/// How often this worker has got somewhere.
pub fn moves() -> u64 {
    MOVES.get()
}

/// Notes that a worker has got somewhere; once in its life in the job.
pub fn moved(job: &Job) -> error::Result<()> {
    MOVES.set(MOVES.get() + 1);
    if !HAS_MOVED.get() {
        HAS_MOVED.set(jobs::moved(job.job)?);
    }
    Ok(())
}
