//! Constraints in parse trees: what they do to the rows that are there, and to those that clients write from now on.

use crate::pg::parse::names::relation;
use crate::pg::parse::nodes::{NodePtr, cast, items, tag};
use crate::pg::session::extension_members::is_own_table;
use crate::pg::session::scans;
use crate::pg::strings::text;
use pgrx::pg_sys::{self, ConstrType, NodeTag};
use runbook_core::command::{Change, Command, Name};
use runbook_core::identity::Identity;
use std::ffi::{CString, c_char};

/// What ADD CONSTRAINT does.
pub fn added(definition: NodePtr) -> Change {
    if tag(definition) != NodeTag::T_Constraint {
        return Change::AddConstraint { name: String::new(), scans: true };
    }
    // SAFETY: the tag says so.
    let constraint = unsafe { &*definition.cast::<pg_sys::Constraint>() };
    // SAFETY: null or NUL-terminated.
    let name = unsafe { text(constraint.conname) };
    of_kind(constraint, name)
}

fn of_kind(constraint: &pg_sys::Constraint, name: String) -> Change {
    let reaches_rows = |action: c_char| [b'c', b'n', b'd'].contains(&(action as u8));
    let changes_rows = |action: c_char| [b'n', b'd'].contains(&(action as u8));
    let cascades = reaches_rows(constraint.fk_del_action) || changes_rows(constraint.fk_upd_action);
    match constraint.contype {
        ConstrType::CONSTR_FOREIGN if cascades => Change::AddCascade { name, scans: !constraint.skip_validation },
        ConstrType::CONSTR_CHECK => Change::AddRestriction { name },
        _ if constraint.skip_validation => Change::AddRestriction { name },
        // An index that is there already is what has been built for it.
        _ => Change::AddConstraint { name, scans: constraint.indexname.is_null() },
    }
}

/// A statement, with the foreign keys to tables of ours that it puts on.
pub fn with_references(own: Command, elements: impl IntoIterator<Item = NodePtr>) -> Command {
    let tables = to_own_tables(elements);
    if tables.is_empty() { own } else { Command::Several(vec![own, Command::References { tables }]) }
}

/// Foreign keys to tables of ours, among the constraints and columns of a table; of others nothing needs to be said.
fn to_own_tables(elements: impl IntoIterator<Item = NodePtr>) -> Vec<Name> {
    let constraints = elements.into_iter().flat_map(|element| match tag(element) {
        // SAFETY: the tag says so.
        NodeTag::T_ColumnDef => items(unsafe { (*element.cast::<pg_sys::ColumnDef>()).constraints }),
        _ => vec![element],
    });
    let foreign_keys = constraints.filter(|one| tag(*one) == NodeTag::T_Constraint).filter_map(|one| {
        // SAFETY: the tag says so.
        let constraint = unsafe { &*one.cast::<pg_sys::Constraint>() };
        (constraint.contype == ConstrType::CONSTR_FOREIGN).then(|| relation(constraint.pktable))
    });
    foreign_keys.filter(|name| matches!(name.identity, Identity::Is(found) if is_own_table(found.object))).collect()
}

/// The changes that adding a column makes: `own` is the column itself.
pub fn of_column(column: &pg_sys::ColumnDef, table: &str, own: Change) -> Vec<Change> {
    // SAFETY: NUL-terminated.
    let column_name = unsafe { text(column.colname) };
    let all: Vec<&pg_sys::Constraint> = items(column.constraints)
        .into_iter()
        .filter(|one| tag(*one) == NodeTag::T_Constraint)
        // SAFETY: the tag says so.
        .map(|one| unsafe { &*one.cast::<pg_sys::Constraint>() })
        .collect();
    let has = |kinds: &[ConstrType::Type]| all.iter().any(|one| kinds.contains(&one.contype));
    let mut changes = vec![own];
    for one in &all {
        let suffix = match one.contype {
            ConstrType::CONSTR_FOREIGN => "_fkey",
            ConstrType::CONSTR_UNIQUE => "_key",
            ConstrType::CONSTR_PRIMARY => "_pkey",
            ConstrType::CONSTR_CHECK => "_check",
            _ => continue,
        };
        // SAFETY: null or NUL-terminated.
        let given = unsafe { text(one.conname) };
        // As PostgreSQL will call it, if that name is free.
        let of = if one.contype == ConstrType::CONSTR_PRIMARY { table.to_owned() } else { format!("{table}_{column_name}") };
        changes.push(of_kind(one, if given.is_empty() { format!("{of}{suffix}") } else { given }));
    }
    // INSERTs of clients that don't know the column fail.
    let filled = [ConstrType::CONSTR_DEFAULT, ConstrType::CONSTR_IDENTITY, ConstrType::CONSTR_GENERATED];
    if has(&[ConstrType::CONSTR_NOTNULL, ConstrType::CONSTR_PRIMARY]) && !has(&filled) {
        changes.push(Change::AddRestriction { name: format!("{table}_{column_name}_not_null") });
    }
    changes
}

/// Whether every row of a table is known to have a value in the column, because a valid CHECK says so: then SET NOT NULL need not look.
pub fn has_values_only(table: &Name, column: &str) -> bool {
    let Identity::Is(found) = table.identity else { return false };
    let Ok(column) = CString::new(column) else { return false };
    // SAFETY: a look-up in a catalog cache; 0 where there is no such column.
    let number = unsafe { pg_sys::get_attnum(pg_sys::Oid::from(found.object), column.as_ptr()) };
    number > 0 && scans::checks(found.object).iter().any(|condition| says_not_null(condition, number))
}

/// Whether a stored condition is `column IS NOT NULL`, alone or with others by AND.
fn says_not_null(condition: &str, column: i16) -> bool {
    let Ok(condition) = CString::new(condition) else { return false };
    // SAFETY: what PostgreSQL has stored, it can read.
    let node = unsafe { pg_sys::stringToNode(condition.as_ptr()) };
    is_not_null_of(node.cast(), column)
}

fn is_not_null_of(node: NodePtr, column: i16) -> bool {
    if let Some(test) = cast::<pg_sys::NullTest>(node) {
        let is_column = cast::<pg_sys::Var>(test.arg.cast()).is_some_and(|variable| variable.varattno == column);
        return test.nulltesttype == pg_sys::NullTestType::IS_NOT_NULL && !test.argisrow && is_column;
    }
    cast::<pg_sys::BoolExpr>(node).is_some_and(|parts| {
        parts.boolop == pg_sys::BoolExprType::AND_EXPR && items(parts.args).into_iter().any(|part| is_not_null_of(part, column))
    })
}
