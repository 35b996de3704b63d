//! Raw parse trees read into [`Command`]s. Nothing is decided here; see `runbook_core::action` for what it means.

use crate::pg::parse::alter_table::alter_table;
use crate::pg::parse::control_call::control_call;
use crate::pg::parse::create::{by_tag, create};
use crate::pg::parse::grants::{bound_roles, grant};
use crate::pg::parse::kinds::word;
use crate::pg::parse::names::{either, kind_of, new_relation, object, parts, relation, relation_named, schema};
use crate::pg::parse::nodes::{NodePtr, cascades, cast, field, items, tag};
use crate::pg::parse::shared::{dropped, is_switch, shared, shared_object};
use crate::pg::parse::type_change::has_on;
use crate::pg::parse::{alter, bind, data, lookup, maintain};
use crate::pg::strings::text;
use pgrx::pg_sys::{self, NodeTag, ObjectType};
use runbook_core::command::Command;
use runbook_core::vocabulary::object_kind::ObjectKind;
use runbook_core::vocabulary::verb::Verb;

/// What was read from a parse tree.
#[derive(Clone, Debug)]
pub struct Reading {
    /// What the statement would do.
    pub command: Command,
    /// Whether a name in it could not be looked up: PostgreSQL will refuse it, or `command` tells the worst.
    pub unresolved: bool,
}

/// Reads the node of a raw statement. `command_tag` is PostgreSQL's tag for it.
pub fn read(node: NodePtr, command_tag: &str) -> Reading {
    let before = lookup::failures();
    let command = command(node, command_tag);
    Reading { command, unresolved: lookup::failures() != before }
}

/// What the node of a raw statement would do.
pub fn command(node: NodePtr, command_tag: &str) -> Command {
    use NodeTag::*;
    // SAFETY: raises an error where the stack is nearly used up. Explained statements and elements of schemas nest.
    unsafe { pg_sys::check_stack_depth() };
    let opaque = || Some(Command::Opaque { tag: command_tag.to_owned() });
    let known = match tag(node) {
        T_DropStmt => cast(node).map(drop_objects),
        T_AlterTableStmt => cast(node).map(alter_table),
        T_RenameStmt => cast(node).map(rename),
        T_AlterObjectSchemaStmt => cast(node).map(alter::schema_of),
        T_AlterOwnerStmt => cast(node).map(alter::owner),
        T_AlterEnumStmt => cast(node).map(alter::enumeration),
        T_AlterDomainStmt => cast(node).map(alter::domain),
        T_AlterSeqStmt => cast(node).map(alter::sequence),
        T_AlterExtensionStmt => cast(node).map(alter::extension),
        T_AlterExtensionContentsStmt => cast(node).map(alter::members),
        T_AlterObjectDependsStmt => cast(node).map(alter::depends),
        T_AlterFunctionStmt => cast(node).map(alter::function),
        T_DropOwnedStmt => cast(node).map(|statement: &pg_sys::DropOwnedStmt| Command::DropOwned {
            roles: bound_roles(statement.roles),
            cascade: cascades(statement.behavior),
        }),
        T_ReassignOwnedStmt => {
            cast(node).map(|statement: &pg_sys::ReassignOwnedStmt| Command::Reassign { roles: bound_roles(statement.roles) })
        }
        T_DropUserMappingStmt => cast(node).map(drop_user_mapping),
        T_DropSubscriptionStmt => cast(node)
            .map(|statement: &pg_sys::DropSubscriptionStmt| dropped(ObjectKind::Subscription, &field(statement.subname))),
        T_GrantStmt => cast(node).map(grant),
        T_VariableSetStmt => cast(node).map(|statement| set(statement, command_tag)),
        T_TruncateStmt => cast(node).map(data::truncate),
        T_DeleteStmt => cast(node).map(data::delete),
        T_UpdateStmt => cast(node).map(|statement: &pg_sys::UpdateStmt| Command::Change { name: relation(statement.relation) }),
        T_MergeStmt => cast(node).map(|statement: &pg_sys::MergeStmt| Command::Change { name: relation(statement.relation) }),
        T_LockStmt => cast(node).map(data::lock),
        T_CopyStmt => cast(node).map(|statement| data::copy(statement, command_tag)),
        T_VacuumStmt => cast(node).map(|statement| maintain::vacuum(statement, command_tag)),
        T_ClusterStmt => cast(node).map(maintain::cluster),
        T_RefreshMatViewStmt => cast(node).map(maintain::refresh),
        T_ReindexStmt => cast(node).map(maintain::reindex),
        T_ExplainStmt => explained(node.cast()).map(|inner| command(inner, &tag_of(inner))).or_else(opaque),
        T_CreateSchemaStmt => cast(node).map(|statement| schema_with_elements(node, statement, command_tag)),
        T_SelectStmt => cast(node).and_then(into_temporary).or_else(|| cast(node).and_then(control_call)).or_else(opaque),
        _ => shared_object(node).or_else(|| create(node, command_tag)),
    };
    known.unwrap_or_else(|| by_tag(tag(node), command_tag.to_owned()))
}

/// SELECT INTO a temporary table.
fn into_temporary(statement: &pg_sys::SelectStmt) -> Option<Command> {
    // SAFETY: null, or an IntoClause that the parser made.
    let into = unsafe { statement.intoClause.as_ref() }?;
    let name = new_relation(into.rel);
    name.temporary.then_some(Command::Create { kind: ObjectKind::Table, name, replace: false })
}

/// PostgreSQL's tag for a statement.
fn tag_of(statement: NodePtr) -> String {
    // SAFETY: a statement that the parser made; the tag's name is a static string.
    unsafe { text(pg_sys::GetCommandTagName(pg_sys::CreateCommandTag(statement))) }
}

fn schema_with_elements(node: NodePtr, statement: &pg_sys::CreateSchemaStmt, command_tag: &str) -> Command {
    let own = create(node, command_tag).unwrap_or_else(|| by_tag(tag(node), command_tag.to_owned()));
    // Its elements fire no event of their own at the start.
    let elements = items(statement.schemaElts).into_iter().map(|element| command(element, &tag_of(element)));
    Command::Several(std::iter::once(own).chain(elements).collect())
}

fn drop_user_mapping(statement: &pg_sys::DropUserMappingStmt) -> Command {
    let name = bind::user_mapping(statement.user, &field(statement.servername));
    Command::DropOne { kind: ObjectKind::UserMapping, name }
}

fn set(statement: &pg_sys::VariableSetStmt, command_tag: &str) -> Command {
    let setting = field(statement.name);
    match setting.as_str() {
        // As it is pinned: pg_dump begins so.
        "standard_conforming_strings" if is_on(statement) => Command::Opaque { tag: command_tag.to_owned() },
        "role" | "session_authorization" | "standard_conforming_strings" | "session_replication_role" => {
            Command::SwitchRole { setting }
        }
        _ if is_switch(setting.as_bytes()) => shared(Verb::Set, ObjectKind::Parameter, &setting),
        _ => Command::Opaque { tag: command_tag.to_owned() },
    }
}

/// A word or a string that a parameter is set to.
fn constant(node: NodePtr) -> Option<String> {
    if tag(node) != NodeTag::T_A_Const {
        return None;
    }
    // SAFETY: the tag says so; the union begins with a node, whose tag says which member it is; a string is NUL-terminated.
    unsafe {
        let constant = &(*node.cast::<pg_sys::A_Const>()).val;
        (constant.node.type_ == NodeTag::T_String).then(|| text(constant.sval.sval))
    }
}

/// Whether a parameter is set to `on`.
fn is_on(statement: &pg_sys::VariableSetStmt) -> bool {
    let arguments = items(statement.args);
    statement.kind == pg_sys::VariableSetKind::VAR_SET_VALUE
        && matches!(&arguments[..], [one] if constant(*one).is_some_and(|value| value.eq_ignore_ascii_case("on")))
}

/// The statement that EXPLAIN ANALYZE runs, where it is one that creates something.
pub fn explained(statement: *mut pg_sys::ExplainStmt) -> Option<NodePtr> {
    // SAFETY: a statement that the parser made; after analysis its query is a Query.
    unsafe {
        if !has_on((*statement).options, "analyze") {
            return None;
        }
        let query = (*statement).query;
        let query = if tag(query) == NodeTag::T_Query { (*query.cast::<pg_sys::Query>()).utilityStmt } else { query };
        [NodeTag::T_CreateTableAsStmt, NodeTag::T_RefreshMatViewStmt].contains(&tag(query)).then_some(query)
    }
}

fn drop_objects(statement: &pg_sys::DropStmt) -> Command {
    let kind = statement.removeType;
    if matches!(kind, ObjectType::OBJECT_TRIGGER | ObjectType::OBJECT_RULE | ObjectType::OBJECT_POLICY) {
        // The table's name, then its own; the grammar allows one object only.
        let mut path = items(statement.objects).first().map(|object| parts(*object)).unwrap_or_default();
        let part = path.pop().unwrap_or_default();
        return Command::DropPart { kind: word(kind), name: relation_named(path), part };
    }
    let names = items(statement.objects).into_iter().map(|one| object(kind, one)).collect();
    Command::Drop { kind: word(kind), names, cascade: cascades(statement.behavior) }
}

fn rename(statement: &pg_sys::RenameStmt) -> Command {
    let (part, new_name) = (field(statement.subname), field(statement.newname));
    let name = either(statement.relation, statement.renameType, statement.object);
    let has_part = matches!(
        statement.renameType,
        ObjectType::OBJECT_COLUMN
            | ObjectType::OBJECT_ATTRIBUTE
            | ObjectType::OBJECT_TABCONSTRAINT
            | ObjectType::OBJECT_DOMCONSTRAINT
            | ObjectType::OBJECT_TRIGGER
            | ObjectType::OBJECT_RULE
            | ObjectType::OBJECT_POLICY
    );
    let name = match statement.renameType {
        ObjectType::OBJECT_SCHEMA => schema(&part),
        _ if name.name.is_empty() => bind::named(&word(statement.renameType), &part),
        _ => name,
    };
    let word = word(statement.renameType);
    let kind = if has_part { word } else { kind_of(statement.relation, &name, word) };
    Command::Rename { kind, name, part: has_part.then_some(part), new_name }
}
