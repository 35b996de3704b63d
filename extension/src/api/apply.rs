//! `upgrade`, `downgrade`, `stamp`, `require`.

use crate::apply::{stamp, transactional, way};
use crate::error::refusal;
use crate::guard::caller::{enter, given};
use crate::pg::failure::Failure;
use crate::store::graph;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use runbook_core::changing;
use runbook_core::plan::Direction;
use runbook_core::target::Resolver;

/// Behind `runbook.upgrade(text)`.
pub fn upgrade(fcinfo: pg_sys::FunctionCallInfo, target: &str) -> Result<Vec<String>, Failure> {
    enter(fcinfo, &changing::UPGRADE)?;
    transactional::migrate(Direction::Upgrade, target)
}

/// Behind `runbook.downgrade(text)`.
pub fn downgrade(fcinfo: pg_sys::FunctionCallInfo, target: &str) -> Result<Vec<String>, Failure> {
    enter(fcinfo, &changing::DOWNGRADE)?;
    transactional::migrate(Direction::Downgrade, target)
}

/// Says where the database stands without running anything.
#[pg_extern]
#[search_path(pg_catalog, runbook, pg_temp)]
fn stamp(
    fcinfo: pg_sys::FunctionCallInfo,
    target: Option<&str>,
    purge: default!(Option<bool>, false),
) -> Result<Vec<String>, ErrorReport> {
    let call = enter(fcinfo, &changing::STAMP)?;
    let target = call.given(target, "target")?;
    let purge = call.given(purge, "purge")?;
    Ok(stamp::stamp(target, purge)?)
}

/// True if the revision is applied; an error otherwise. For applications to call when they start.
#[pg_extern(security_definer)]
#[search_path(pg_catalog, runbook, pg_temp)]
fn require(revision: Option<&str>) -> Result<bool, ErrorReport> {
    let revision = given(revision, "require", "revision")?;
    let graph = graph::graph()?;
    let heads = way::nodes(&graph, &graph::heads()?)?;
    let resolver = Resolver::new(&graph, &heads);
    // An application that starts asks one question, and every no has one SQLSTATE.
    let wanted = resolver.many(revision).map_err(|error| {
        refusal("55000", format!("revision \"{revision}\" is required, and {error}"), error.detail(), error.hint())
    })?;
    let applied = resolver.applied();
    let Some(&missing) = wanted.iter().find(|&&node| !applied.contains(node)) else { return Ok(true) };
    let at = if heads.is_empty() { "base".to_owned() } else { graph.ids(&heads).join(", ") };
    Err(refusal(
        "55000",
        format!("revision \"{}\" is required and not applied", graph.id(missing)),
        Some(format!("The database is at {at}.")),
        Some(format!("Migrate first: SELECT runbook.upgrade('{}');", graph.id(missing))),
    ))
}
