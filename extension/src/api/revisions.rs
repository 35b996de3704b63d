//! `submit`, `show`, `plan`, `heads`, `current`, `history`, `branches`.

use crate::apply::gate::next::need_now;
use crate::apply::gate::requirements::need;
use crate::apply::way;
use crate::approval::tally::Approvals;
use crate::error::{from_core, internal, refusal};
use crate::guard::caller::enter;
use crate::guard::enforcement::Enforcement;
use crate::pg::failure::Failure;
use crate::request::submit;
use crate::settings::Settings;
use crate::store::graph;
use crate::store::revisions::{self, Summary, phase_before, phases};
use crate::store::settings;
use pgrx::JsonB;
use pgrx::datum::TimestampWithTimeZone;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use runbook_core::plan::{self, Direction};
use runbook_core::target::Resolver;
use runbook_core::{border, changing};
use serde_json::{Value, json};

/// Behind `runbook.submit(jsonb)`.
pub fn submit(fcinfo: pg_sys::FunctionCallInfo, json: Value) -> Result<String, Failure> {
    enter(fcinfo, &changing::SUBMIT)?;
    submit::submit(&json, &Settings::load()?)
}

/// Everything that is stored of a revision.
#[pg_extern(security_definer)]
#[search_path(pg_catalog, runbook, pg_temp)]
fn show(revision: &str) -> Result<JsonB, ErrorReport> {
    let graph = graph::graph()?;
    let heads = way::nodes(&graph, &graph::heads()?)?;
    let node = Resolver::new(&graph, &heads).one(revision).map_err(from_core)?;
    let node = node.ok_or_else(|| refusal("42704", "base is not a revision", None, None))?;
    let stored = revisions::load(&[graph.id(node).to_owned()])?.pop().ok_or_else(|| internal("a revision has no row"))?;
    let mut json = serde_json::to_value(&stored.revision).map_err(|error| internal(error.to_string()))?;
    json["phase"] = stored.phase.as_str().into();
    json["author"] = stored.author.into();
    json["digest"] = stored.digest.into();
    json["status"] = stored.status.as_str().into();
    json["submitted_by"] = stored.submitter.name.into();
    json["upgrade_actions"] =
        stored.upgrade_actions.iter().map(|action| json!({"action": action.to_string(), "class": action.class})).collect();
    json["downgrade_actions"] =
        stored.downgrade_actions.iter().map(|action| json!({"action": action.to_string(), "class": action.class})).collect();
    json["children"] = graph.ids(graph.children(node)).into();
    Ok(JsonB(json))
}

/// The steps to a target, what each still needs, where a later phase begins, and what the way back of each will need.
#[pg_extern(security_definer)]
#[search_path(pg_catalog, runbook, pg_temp)]
#[allow(clippy::type_complexity, reason = "the columns of the result, which pgrx reads from here")]
fn plan(
    target: default!(&str, "'head'"),
    direction: default!(&str, "'upgrade'"),
) -> Result<
    TableIterator<
        'static,
        (
            name!(step, i32),
            name!(direction, String),
            name!(revision, String),
            name!(phase, String),
            name!(needs, Option<String>),
            name!(message, String),
            name!(border, bool),
            name!(way_back, Option<String>),
        ),
    >,
    ErrorReport,
> {
    let way = Direction::parse(direction).ok_or_else(|| {
        refusal(
            "22023",
            format!("unknown direction \"{direction}\""),
            None,
            Some("The directions are upgrade and downgrade.".into()),
        )
    })?;
    let found = way::way(&graph::heads()?, target, way)?;
    let ids = found.graph.ids(&found.steps);
    let policy = (Enforcement::current()? == Enforcement::Enforce).then(settings::policy).transpose()?;
    let approvals = Approvals::of(&ids)?;
    let stored = revisions::load(&ids)?;
    let (before, phases) = (phase_before(&stored)?, phases(&stored));
    let mut rows = Vec::with_capacity(stored.len());
    for (at, one) in stored.into_iter().enumerate() {
        let mut needs = need(&one, way, one.actions(way), policy.as_ref(), &approvals, None)?;
        if at == 0 {
            needs = need_now(&one, way, needs)?;
        }
        let needs = needs.0.map(|need| need.text);
        let id = one.revision.revision.as_str().to_owned();
        let step = i32::try_from(at + 1).unwrap_or(i32::MAX);
        let border = way == Direction::Upgrade && border::begins(before, &phases, at);
        let back = match way {
            Direction::Upgrade => {
                need(&one, Direction::Downgrade, one.actions(Direction::Downgrade), policy.as_ref(), &approvals, None)?.0
            }
            Direction::Downgrade => None,
        };
        let phase = one.phase.as_str().to_owned();
        rows.push((step, way.as_str().to_owned(), id, phase, needs, one.revision.message, border, back.map(|need| need.text)));
    }
    Ok(TableIterator::new(rows))
}

/// Revisions that no other revision follows.
#[pg_extern(security_definer)]
#[search_path(pg_catalog, runbook, pg_temp)]
#[allow(clippy::type_complexity, reason = "the columns of the result, which pgrx reads from here")]
fn heads() -> Result<
    TableIterator<
        'static,
        (
            name!(revision, String),
            name!(parents, Vec<String>),
            name!(branch_labels, Vec<String>),
            name!(phase, String),
            name!(status, String),
            name!(message, String),
        ),
    >,
    ErrorReport,
> {
    let graph = graph::graph()?;
    let rows = revisions::summaries(&graph.ids(graph.heads()))?;
    let row =
        |one: Summary| (one.revision, one.parents, one.branch_labels, one.phase, one.status.as_str().to_owned(), one.message);
    Ok(TableIterator::new(rows.into_iter().map(row)))
}

/// Where this database stands.
#[pg_extern(security_definer)]
#[search_path(pg_catalog, runbook, pg_temp)]
#[allow(clippy::type_complexity, reason = "the columns of the result, which pgrx reads from here")]
fn current() -> Result<
    TableIterator<
        'static,
        (
            name!(revision, String),
            name!(is_head, bool),
            name!(message, String),
            name!(applied_at, Option<TimestampWithTimeZone>),
        ),
    >,
    ErrorReport,
> {
    let graph = graph::graph()?;
    let rows = revisions::summaries(&graph::heads()?)?;
    let row = move |one: Summary| {
        let is_head = graph.find(&one.revision).is_some_and(|node| graph.heads().contains(&node));
        (one.revision, is_head, one.message, one.applied_at)
    };
    Ok(TableIterator::new(rows.into_iter().map(row).collect::<Vec<_>>()))
}

/// Revisions of a range (lower:upper), newest first.
#[pg_extern(security_definer)]
#[search_path(pg_catalog, runbook, pg_temp)]
#[allow(clippy::type_complexity, reason = "the columns of the result, which pgrx reads from here")]
fn history(
    range: default!(&str, "'base:heads'"),
) -> Result<
    TableIterator<
        'static,
        (
            name!(revision, String),
            name!(parents, Vec<String>),
            name!(phase, String),
            name!(message, String),
            name!(status, String),
            name!(applied_at, Option<TimestampWithTimeZone>),
            name!(is_head, bool),
            name!(is_branch_point, bool),
            name!(is_merge_point, bool),
            name!(branch_labels, Vec<String>),
        ),
    >,
    ErrorReport,
> {
    let graph = graph::graph()?;
    let current = way::nodes(&graph, &graph::heads()?)?;
    let nodes = plan::history(&graph, &current, range).map_err(from_core)?;
    let rows = revisions::summaries(&graph.ids(&nodes))?;
    let row = |(one, node): (Summary, usize)| {
        let (children, merged) = (graph.children(node).len(), graph.parents(node).len() > 1);
        let point = (children == 0, children > 1, merged);
        let (is_head, is_branch_point, is_merge_point) = point;
        (
            one.revision,
            one.parents,
            one.phase,
            one.message,
            one.status.as_str().to_owned(),
            one.applied_at,
            is_head,
            is_branch_point,
            is_merge_point,
            one.branch_labels,
        )
    };
    Ok(TableIterator::new(rows.into_iter().zip(nodes).map(row).collect::<Vec<_>>()))
}

/// Revisions that more than one other revision follows.
#[pg_extern(security_definer)]
#[search_path(pg_catalog, runbook, pg_temp)]
fn branches()
-> Result<TableIterator<'static, (name!(revision, String), name!(children, Vec<String>), name!(message, String))>, ErrorReport>
{
    let graph = graph::graph()?;
    let points: Vec<usize> = graph.nodes().filter(|&node| graph.children(node).len() > 1).collect();
    let rows = revisions::summaries(&graph.ids(&points))?;
    let row = |(one, node): (Summary, usize)| (one.revision, graph.ids(graph.children(node)), one.message);
    Ok(TableIterator::new(rows.into_iter().zip(points).map(row).collect::<Vec<_>>()))
}
