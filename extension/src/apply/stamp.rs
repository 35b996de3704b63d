//! Stamping: saying where the database stands without running anything; and Alembic's own table.

use crate::apply::locks;
use crate::apply::way::nodes;
use crate::catalog::relations;
use crate::error::{from_core, refusal};
use crate::ledger;
use crate::pg::execute::statements;
use crate::pg::failure::Failure;
use crate::pg::session::pinned::{Pinned, relation_exists};
use crate::settings::Settings;
use crate::store::{graph, pieces, revisions};
use pgrx::spi::quote_literal;
use runbook_core::graph::Along;
use runbook_core::ledger::Kind;
use runbook_core::plan::{Direction, stamp as stamped};
use serde_json::json;

/// Moves the heads to `target`; with `purge`, forgets the present ones first. Returns the new heads.
///
/// # Errors
/// Those of the target; 55P03 where another migrator stays; 22023 for a revision that Alembic's table can't hold.
pub fn stamp(target: &str, purge: bool) -> Result<Vec<String>, Failure> {
    let settings = Settings::load()?;
    locks::take(settings.migrator_wait())?;
    let old = graph::heads()?;
    let graph = graph::graph()?;
    let current = if purge { vec![] } else { nodes(&graph, &old)? };
    let heads = stamped(&graph, &current, target).map_err(from_core)?;
    let new = graph.ids(&heads);
    let gone: Vec<String> = old.iter().filter(|id| !new.contains(id)).cloned().collect();
    let come: Vec<String> = new.iter().filter(|id| !old.contains(id)).cloned().collect();
    graph::move_heads(&gone, &come)?;
    let before = graph.ancestors(&nodes(&graph, &old).unwrap_or_default(), Along::All);
    let after = graph.ancestors(&heads, Along::All);
    let changed: Vec<_> = graph.nodes().filter(|node| before.contains(*node) != after.contains(*node)).collect();
    pieces::forget(&graph.ids(&changed))?;
    for node in graph.nodes() {
        match (before.contains(node), after.contains(node)) {
            (false, true) => drop(revisions::mark(graph.id(node), Direction::Upgrade, None)?),
            (true, false) => drop(revisions::mark(graph.id(node), Direction::Downgrade, None)?),
            _ => {}
        }
    }
    if settings.alembic_version() {
        let pinned = Pinned::enter(&settings.pinned(), settings.migration_role())?;
        alembic_version(&old, purge)?;
        drop(pinned);
    }
    ledger::record(Kind::RevisionStamped, json!({"target": target, "purge": purge, "from": old, "to": new}))?;
    Ok(new)
}

/// Refuses to write to a table of that name which calls something: a trigger, a rule, a default or a check of whoever owns it would run
/// as the migration role. Another role's table is refused whatever it holds.
fn refuse_code_of_others() -> Result<(), Failure> {
    let Some(why) = relations::code_behind("alembic_version")? else { return Ok(()) };
    let hint =
        "Drop the object that is in the way, or turn the setting off: SELECT runbook.configure('alembic_version', 'off');";
    let message = "table \"alembic_version\" can't be updated".to_owned();
    Err(refusal("42501", message, Some(why), Some(hint.to_owned())).into())
}

/// Brings Alembic's table to where the runbook is, as the migration role; creates it as Alembic does if it is missing. Rows of revisions that
/// the runbook does not know stay, unless `purge` says otherwise. `before` is where the runbook was.
pub fn alembic_version(before: &[String], purge: bool) -> Result<(), Failure> {
    let heads = graph::heads()?;
    if let Some(long) = heads.iter().find(|id| id.len() > 32) {
        let hint = "Turn it off with SELECT runbook.configure('alembic_version', 'off'), or use shorter revision ids.";
        let message = format!("revision id \"{long}\" does not fit into alembic_version, which holds 32 characters");
        return Err(refusal("22001", message, None, Some(hint.to_owned())).into());
    }
    if !relation_exists(c"alembic_version") {
        statements::run(
            "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL, CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num))",
        )?;
    }
    refuse_code_of_others()?;
    let rows: Vec<String> = statements::latest("SELECT version_num FROM alembic_version")?.into_iter().flatten().collect();
    if !rows.is_empty() && !same(&rows, before) {
        let (theirs, ours) = (listed(&rows), listed(before));
        pgrx::notice!("alembic_version was at {theirs}, and the runbook at {ours}; alembic_version follows the runbook");
    }
    for id in rows.iter().filter(|id| !heads.contains(id)) {
        if purge || revisions::status(id)?.is_some() {
            statements::run(&format!(
                "DELETE FROM alembic_version WHERE version_num::pg_catalog.text OPERATOR(pg_catalog.=) {}::pg_catalog.text",
                quote_literal(id)
            ))?;
        }
    }
    for id in heads.iter().filter(|id| !rows.contains(id)) {
        statements::run(&format!("INSERT INTO alembic_version (version_num) VALUES ({})", quote_literal(id)))?;
    }
    Ok(())
}

fn same(one: &[String], other: &[String]) -> bool {
    one.len() == other.len() && one.iter().all(|id| other.contains(id))
}

fn listed(ids: &[String]) -> String {
    if ids.is_empty() { "base".to_owned() } else { ids.join(", ") }
}
