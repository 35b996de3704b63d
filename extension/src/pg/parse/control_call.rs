//! Calls of ours that weaken the guard, as far as their text tells what they do.

use crate::pg::parse::names::{relation_numbered, relation_written};
use crate::pg::parse::nodes::{NodePtr, items, name_of, strings, tag};
use crate::pg::strings::text;
use pgrx::pg_sys::{self, NodeTag};
use runbook_core::changing::{self, Weakens};
use runbook_core::command::{Command, Name};
use runbook_core::identity::Identity;
use runbook_core::inventory::SCHEMA;

/// What a SELECT does if that is nothing but to call, with constants, a function of ours that weakens the guard.
pub fn control_call(statement: &pg_sys::SelectStmt) -> Option<Command> {
    let bare = statement.fromClause.is_null()
        && statement.whereClause.is_null()
        && statement.groupClause.is_null()
        && statement.havingClause.is_null()
        && statement.withClause.is_null()
        && statement.intoClause.is_null()
        && statement.valuesLists.is_null()
        && statement.sortClause.is_null()
        && statement.limitOffset.is_null()
        && statement.limitCount.is_null()
        && statement.distinctClause.is_null()
        && statement.windowClause.is_null()
        && statement.lockingClause.is_null()
        && statement.op == pg_sys::SetOperation::SETOP_NONE;
    let [target] = items(statement.targetList)[..] else { return None };
    if !bare || tag(target) != NodeTag::T_ResTarget {
        return None;
    }
    // SAFETY: the tag says so.
    let call = unsafe { (*target.cast::<pg_sys::ResTarget>()).val };
    if tag(call) != NodeTag::T_FuncCall {
        return None;
    }
    // SAFETY: the tag says so.
    let call = unsafe { &*call.cast::<pg_sys::FuncCall>() };
    let name = name_of(strings(call.funcname));
    let function = changing::weakening(&name.name).filter(|_| name.schema.as_deref() == Some(SCHEMA))?;
    let constant = items(call.args).into_iter().all(is_constant);
    let plain = call.agg_filter.is_null() && call.over.is_null() && call.agg_order.is_null();
    if !constant || !plain {
        return None;
    }
    let table = match function.weakens {
        Weakens::Table => Some(table_argument(call)?),
        _ => None,
    };
    Some(Command::Control { function: name, table })
}

/// The table that a call's first argument, or the one called `table`, stands for, as PostgreSQL reads a regclass.
fn table_argument(call: &pg_sys::FuncCall) -> Option<Name> {
    let named = |node: &NodePtr| tag(*node) == NodeTag::T_NamedArgExpr;
    let arguments = items(call.args);
    let is_table = |node: &&NodePtr| {
        // SAFETY: the tag says so; the name is a string that the parser made.
        named(node) && unsafe { text((*node.cast::<pg_sys::NamedArgExpr>()).name) } == "table"
    };
    let value = match arguments.first().filter(|first| !named(first)) {
        Some(first) => *first,
        // SAFETY: the tag says so.
        None => arguments.iter().find(is_table).map(|node| unsafe { (*node.cast::<pg_sys::NamedArgExpr>()).arg.cast() })?,
    };
    let table = constant_relation(value)?;
    // What can't be looked up must not be taken for anything.
    Some(if table.identity.is_unknown() { Name { identity: Identity::Missing, ..table } } else { table })
}

/// The relation that a constant stands for, by its name or its OID.
fn constant_relation(node: NodePtr) -> Option<Name> {
    if tag(node) != NodeTag::T_A_Const {
        return None;
    }
    // SAFETY: the tag says so; the union begins with a node, whose tag says which member it is.
    let constant = unsafe { &(*node.cast::<pg_sys::A_Const>()).val };
    // SAFETY: as above.
    match unsafe { constant.node.type_ } {
        // SAFETY: the tag says so.
        NodeTag::T_Integer => u32::try_from(unsafe { constant.ival.ival }).ok().map(relation_numbered),
        NodeTag::T_String => {
            // SAFETY: the tag says so; what it holds is NUL-terminated.
            let written = unsafe { text(constant.sval.sval) };
            let number = written.parse().ok().filter(|_| written.bytes().all(|byte| byte.is_ascii_digit()));
            Some(number.map_or_else(|| relation_written(&written), relation_numbered))
        }
        _ => None,
    }
}

/// Constants without a cast: the name of a type could be looked up elsewhere.
fn is_constant(node: NodePtr) -> bool {
    // SAFETY: raises an error where the stack is nearly used up: arrays nest.
    unsafe { pg_sys::check_stack_depth() };
    match tag(node) {
        NodeTag::T_A_Const => true,
        // SAFETY: the tag says so.
        NodeTag::T_NamedArgExpr => is_constant(unsafe { (*node.cast::<pg_sys::NamedArgExpr>()).arg.cast() }),
        NodeTag::T_A_ArrayExpr => {
            // SAFETY: the tag says so.
            let elements = unsafe { (*node.cast::<pg_sys::A_ArrayExpr>()).elements };
            items(elements).into_iter().all(is_constant)
        }
        _ => false,
    }
}
