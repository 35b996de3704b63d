//! VACUUM FULL, CLUSTER, REFRESH and REINDEX.

use crate::pg::parse::bind;
use crate::pg::parse::names::relation;
use crate::pg::parse::nodes::{cast, field, items};
use crate::pg::parse::type_change::has_on;
use pgrx::pg_sys;
use runbook_core::command::Command;
use runbook_core::vocabulary::object_kind::ObjectKind;
use runbook_core::vocabulary::verb::Verb;

/// VACUUM, which rewrites tables where it is FULL.
pub fn vacuum(statement: &pg_sys::VacuumStmt, command_tag: &str) -> Command {
    if !is_full(std::ptr::from_ref(statement).cast_mut()) {
        return Command::Opaque { tag: command_tag.to_owned() };
    }
    let tables = items(statement.rels).into_iter().filter_map(cast::<pg_sys::VacuumRelation>);
    let names = tables.map(|one| relation(one.relation)).collect();
    Command::Rewrite { verb: Verb::VacuumFull, kind: ObjectKind::Table, names }
}

/// CLUSTER.
pub fn cluster(statement: &pg_sys::ClusterStmt) -> Command {
    rewrite(Verb::Cluster, ObjectKind::Table, statement.relation)
}

/// REFRESH MATERIALIZED VIEW.
pub fn refresh(statement: &pg_sys::RefreshMatViewStmt) -> Command {
    let kind = ObjectKind::MaterializedView;
    if statement.concurrent {
        return Command::Harmless { verb: Verb::RefreshConcurrently, kind, names: vec![relation(statement.relation)] };
    }
    rewrite(Verb::Refresh, kind, statement.relation)
}

/// REINDEX.
pub fn reindex(statement: &pg_sys::ReindexStmt) -> Command {
    let is_index = statement.kind == pg_sys::ReindexObjectType::REINDEX_OBJECT_INDEX;
    let kind = if is_index { ObjectKind::Index } else { ObjectKind::Table };
    if has_on(statement.params, "concurrently") {
        let name = match statement.relation.is_null() {
            true => bind::named(&ObjectKind::Database, &field(statement.name)),
            false => relation(statement.relation),
        };
        return Command::Harmless { verb: Verb::ReindexConcurrently, kind, names: vec![name] };
    }
    rewrite(Verb::Reindex, kind, statement.relation)
}

/// Whether a VACUUM is a VACUUM FULL.
pub fn is_full(statement: *mut pg_sys::VacuumStmt) -> bool {
    // SAFETY: a statement that the parser made.
    unsafe { has_on((*statement).options, "full") }
}

fn rewrite(verb: Verb, kind: ObjectKind, name: *mut pg_sys::RangeVar) -> Command {
    let names = if name.is_null() { vec![] } else { vec![relation(name)] };
    Command::Rewrite { verb, kind, names }
}
