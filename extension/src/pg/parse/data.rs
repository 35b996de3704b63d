//! TRUNCATE, DELETE, LOCK and COPY.

use crate::pg::parse::names::relation;
use crate::pg::parse::nodes::{NodePtr, cascades, cast, field, items};
use pgrx::pg_sys;
use runbook_core::command::Command;
use runbook_core::vocabulary::object_kind::ObjectKind;
use runbook_core::vocabulary::verb::Verb;
use std::ffi::c_int;

/// What COPY … FROM STDIN is called.
pub const FROM_CLIENT: &str = "COPY FROM STDIN";

/// TRUNCATE.
pub fn truncate(statement: &pg_sys::TruncateStmt) -> Command {
    let names = items(statement.relations).into_iter().map(|one| relation(one.cast())).collect();
    Command::Truncate { names, cascade: cascades(statement.behavior) }
}

/// DELETE.
pub fn delete(statement: &pg_sys::DeleteStmt) -> Command {
    let filtered = !statement.whereClause.is_null() || !statement.usingClause.is_null();
    Command::Delete { name: relation(statement.relation), filtered }
}

/// LOCK TABLE.
pub fn lock(statement: &pg_sys::LockStmt) -> Command {
    let exclusive = statement.mode == pg_sys::AccessExclusiveLock as c_int;
    let names = items(statement.relations).into_iter().map(|one| relation(one.cast()));
    Command::Lock { names: names.collect(), exclusive }
}

/// COPY, which may reach a program or a file of the server.
pub fn copy(statement: &pg_sys::CopyStmt, command_tag: &str) -> Command {
    let name = field(statement.filename);
    match (statement.is_program, statement.is_from) {
        (true, _) => Command::Outside { verb: Verb::Run, kind: ObjectKind::Program, name },
        (_, true) if name.is_empty() => Command::Data { tag: FROM_CLIENT.to_owned() },
        _ if name.is_empty() => Command::Data { tag: command_tag.to_owned() },
        (_, true) => Command::Outside { verb: Verb::Read, kind: ObjectKind::File, name },
        (_, false) => Command::Outside { verb: Verb::Write, kind: ObjectKind::File, name },
    }
}

/// The columns that an UPDATE sets; none of any other statement.
pub fn set_columns(tree: NodePtr) -> Vec<String> {
    let Some(update) = cast::<pg_sys::UpdateStmt>(tree) else { return vec![] };
    items(update.targetList).into_iter().filter_map(cast::<pg_sys::ResTarget>).map(|target| field(target.name)).collect()
}
