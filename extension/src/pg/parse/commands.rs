//! Raw parse trees read into [`Command`]s. Nothing is decided here; see `runbook_core::action` for what it means.

use crate::pg::parse::alter_table::alter_table;
use crate::pg::parse::control_call::control_call;
use crate::pg::parse::create::{by_tag, create, is_definer};
use crate::pg::parse::grants::{bound_roles, grant};
use crate::pg::parse::kinds::word;
use crate::pg::parse::names::{data_type, either, extension, kind_of, object, parts, relation, relation_named, schema};
use crate::pg::parse::nodes::{NodePtr, cascades, items, tag};
use crate::pg::parse::shared::{dropped, is_switch, shared, shared_object};
use crate::pg::parse::type_change::has_on;
use crate::pg::parse::{bind, lookup};
use crate::pg::strings::text;
use pgrx::pg_sys::{self, NodeTag, ObjectType};
use runbook_core::command::{Change, Command};
use runbook_core::vocabulary::object_kind::ObjectKind;
use runbook_core::vocabulary::verb::Verb;
use std::ffi::c_int;

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

pub fn command(node: NodePtr, command_tag: &str) -> Command {
    // SAFETY: raises an error where the stack is nearly used up. Explained statements and elements of schemas nest.
    unsafe { pg_sys::check_stack_depth() };
    let command_tag = command_tag.to_owned();
    // SAFETY: each arm casts to the struct that its node tag names (nodes/nodes.h).
    unsafe {
        match tag(node) {
            NodeTag::T_DropStmt => drop_objects(&*node.cast()),
            NodeTag::T_AlterTableStmt => alter_table(&*node.cast()),
            NodeTag::T_RenameStmt => rename(&*node.cast()),
            NodeTag::T_AlterObjectSchemaStmt => {
                let statement = &*node.cast::<pg_sys::AlterObjectSchemaStmt>();
                let name = either(statement.relation, statement.objectType, statement.object);
                Command::SetSchema {
                    kind: kind_of(statement.relation, &name, word(statement.objectType)),
                    name,
                    schema: text(statement.newschema),
                }
            }
            NodeTag::T_AlterOwnerStmt => {
                let statement = &*node.cast::<pg_sys::AlterOwnerStmt>();
                let name = either(statement.relation, statement.objectType, statement.object);
                Command::Owner {
                    kind: kind_of(statement.relation, &name, word(statement.objectType)),
                    name,
                    role: bind::role(statement.newowner),
                }
            }
            NodeTag::T_AlterEnumStmt => {
                let statement = &*node.cast::<pg_sys::AlterEnumStmt>();
                let name = data_type(statement.typeName.cast());
                if statement.oldVal.is_null() {
                    Command::AddEnumValue { name, value: text(statement.newVal) }
                } else {
                    Command::RenameEnumValue { name, value: text(statement.oldVal) }
                }
            }
            NodeTag::T_AlterDomainStmt => {
                let statement = &*node.cast::<pg_sys::AlterDomainStmt>();
                let (verb, scans) = match statement.subtype as u8 {
                    b'O' => (Verb::SetNotNull, true),
                    b'C' => (Verb::AddConstraint, true),
                    b'V' => (Verb::ValidateConstraint, true),
                    b'X' => (Verb::DropConstraint, false),
                    b'N' => (Verb::DropNotNull, false),
                    _ => (Verb::Alter, false),
                };
                Command::AlterDomain { name: data_type(statement.typeName.cast()), verb, scans }
            }
            NodeTag::T_DropOwnedStmt => {
                let statement = &*node.cast::<pg_sys::DropOwnedStmt>();
                Command::DropOwned { roles: bound_roles(statement.roles), cascade: cascades(statement.behavior) }
            }
            NodeTag::T_ReassignOwnedStmt => {
                Command::Reassign { roles: bound_roles((*node.cast::<pg_sys::ReassignOwnedStmt>()).roles) }
            }
            NodeTag::T_TruncateStmt => {
                let statement = &*node.cast::<pg_sys::TruncateStmt>();
                let names = items(statement.relations).into_iter().map(|one| relation(one.cast())).collect();
                Command::Truncate { names, cascade: cascades(statement.behavior) }
            }
            NodeTag::T_DeleteStmt => {
                let statement = &*node.cast::<pg_sys::DeleteStmt>();
                let filtered = !statement.whereClause.is_null() || !statement.usingClause.is_null();
                Command::Delete { name: relation(statement.relation), filtered }
            }
            NodeTag::T_GrantStmt => grant(&*node.cast::<pg_sys::GrantStmt>()),
            NodeTag::T_DropUserMappingStmt => {
                let statement = &*node.cast::<pg_sys::DropUserMappingStmt>();
                let name = bind::user_mapping(statement.user, &text(statement.servername));
                Command::DropOne { kind: ObjectKind::UserMapping, name }
            }
            NodeTag::T_DropSubscriptionStmt => {
                dropped(ObjectKind::Subscription, &text((*node.cast::<pg_sys::DropSubscriptionStmt>()).subname))
            }
            NodeTag::T_VariableSetStmt => {
                let setting = text((*node.cast::<pg_sys::VariableSetStmt>()).name);
                match setting.as_str() {
                    "role" | "session_authorization" | "standard_conforming_strings" | "session_replication_role" => {
                        Command::SwitchRole { setting }
                    }
                    _ if is_switch(setting.as_bytes()) => shared(Verb::Set, ObjectKind::Parameter, &setting),
                    _ => Command::Opaque { tag: command_tag },
                }
            }
            NodeTag::T_UpdateStmt => Command::Change { name: relation((*node.cast::<pg_sys::UpdateStmt>()).relation) },
            NodeTag::T_MergeStmt => Command::Change { name: relation((*node.cast::<pg_sys::MergeStmt>()).relation) },
            NodeTag::T_LockStmt => {
                let statement = &*node.cast::<pg_sys::LockStmt>();
                let exclusive = statement.mode == pg_sys::AccessExclusiveLock as c_int;
                let names = items(statement.relations).into_iter().map(|one| relation(one.cast()));
                Command::Lock { names: names.collect(), exclusive }
            }
            NodeTag::T_CopyStmt => copy(&*node.cast(), command_tag),
            NodeTag::T_ExplainStmt => match explained(node.cast()) {
                Some(statement) => {
                    let tag = text(pg_sys::GetCommandTagName(pg_sys::CreateCommandTag(statement)));
                    command(statement, &tag)
                }
                None => Command::Opaque { tag: command_tag },
            },
            NodeTag::T_VacuumStmt => {
                if !is_full(node.cast()) {
                    return Command::Opaque { tag: command_tag };
                }
                let relations = items((*node.cast::<pg_sys::VacuumStmt>()).rels);
                let names = relations.into_iter().map(|one| relation((*one.cast::<pg_sys::VacuumRelation>()).relation));
                Command::Rewrite { verb: Verb::VacuumFull, kind: ObjectKind::Table, names: names.collect() }
            }
            NodeTag::T_ClusterStmt => rewrite(Verb::Cluster, ObjectKind::Table, (*node.cast::<pg_sys::ClusterStmt>()).relation),
            NodeTag::T_RefreshMatViewStmt => {
                let statement = &*node.cast::<pg_sys::RefreshMatViewStmt>();
                if statement.concurrent {
                    let names = vec![relation(statement.relation)];
                    return Command::Harmless { verb: Verb::RefreshConcurrently, kind: ObjectKind::MaterializedView, names };
                }
                rewrite(Verb::Refresh, ObjectKind::MaterializedView, statement.relation)
            }
            NodeTag::T_ReindexStmt => {
                let statement = &*node.cast::<pg_sys::ReindexStmt>();
                let is_index = statement.kind == pg_sys::ReindexObjectType::REINDEX_OBJECT_INDEX;
                let kind = if is_index { ObjectKind::Index } else { ObjectKind::Table };
                if has_on(statement.params, "concurrently") {
                    let names = if statement.relation.is_null() {
                        vec![bind::named(&ObjectKind::Database, &text(statement.name))]
                    } else {
                        vec![relation(statement.relation)]
                    };
                    return Command::Harmless { verb: Verb::ReindexConcurrently, kind, names };
                }
                rewrite(Verb::Reindex, kind, statement.relation)
            }
            NodeTag::T_AlterSeqStmt => {
                let name = relation((*node.cast::<pg_sys::AlterSeqStmt>()).sequence);
                Command::AlterTable { kind: ObjectKind::Sequence, name, changes: vec![Change::Unknown { subtype: 0 }] }
            }
            NodeTag::T_AlterExtensionStmt => {
                let name = extension(&text((*node.cast::<pg_sys::AlterExtensionStmt>()).extname));
                Command::Extension { verb: Verb::Update, name, member: None }
            }
            NodeTag::T_AlterObjectDependsStmt => {
                let statement = &*node.cast::<pg_sys::AlterObjectDependsStmt>();
                let kind = statement.objectType;
                if kind == ObjectType::OBJECT_TRIGGER {
                    // The table's name, then its own.
                    let part = parts(statement.object).pop().unwrap_or_default();
                    return Command::DependsOnExtension {
                        kind: word(kind),
                        name: relation(statement.relation),
                        part: Some(part),
                    };
                }
                let name = either(statement.relation, kind, statement.object);
                Command::DependsOnExtension { kind: kind_of(statement.relation, &name, word(kind)), name, part: None }
            }
            NodeTag::T_AlterExtensionContentsStmt => {
                let statement = &*node.cast::<pg_sys::AlterExtensionContentsStmt>();
                let name = extension(&text(statement.extname));
                let member = object(statement.objtype, statement.object);
                let verb = if statement.action > 0 { Verb::AddMember } else { Verb::RemoveMember };
                Command::Extension { verb, name, member: Some((word(statement.objtype), member)) }
            }
            NodeTag::T_AlterFunctionStmt => {
                let statement = &*node.cast::<pg_sys::AlterFunctionStmt>();
                let name = object(statement.objtype, statement.func.cast());
                let kind = word(statement.objtype);
                if has_on(statement.actions, "security") {
                    return Command::Definer { verb: Verb::MakeSecurityDefiner, kind, name };
                }
                // Its search path is what keeps its privileges from whoever calls it.
                if is_definer(&name) {
                    return Command::Definer { verb: Verb::AlterSecurityDefiner, kind, name };
                }
                Command::AlterTable { kind, name, changes: vec![Change::Unknown { subtype: 0 }] }
            }
            NodeTag::T_CreateSchemaStmt => {
                let statement = &*node.cast::<pg_sys::CreateSchemaStmt>();
                let own = create(node, &command_tag).unwrap_or_else(|| by_tag(tag(node), command_tag));
                // Its elements fire no event of their own at the start.
                let elements = items(statement.schemaElts).into_iter().map(|element| {
                    let tag = text(pg_sys::GetCommandTagName(pg_sys::CreateCommandTag(element)));
                    command(element, &tag)
                });
                Command::Several(std::iter::once(own).chain(elements).collect())
            }
            NodeTag::T_SelectStmt => match control_call(&*node.cast()) {
                Some(command) => command,
                None => Command::Opaque { tag: command_tag },
            },
            _ => shared_object(node).or_else(|| create(node, &command_tag)).unwrap_or_else(|| by_tag(tag(node), command_tag)),
        }
    }
}

/// Whether a VACUUM is a VACUUM FULL.
pub fn is_full(statement: *mut pg_sys::VacuumStmt) -> bool {
    // SAFETY: a statement that the parser made.
    unsafe { has_on((*statement).options, "full") }
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

fn rewrite(verb: Verb, kind: ObjectKind, name: *mut pg_sys::RangeVar) -> Command {
    let names = if name.is_null() { vec![] } else { vec![relation(name)] };
    Command::Rewrite { verb, kind, names }
}

fn copy(statement: &pg_sys::CopyStmt, tag: String) -> Command {
    // SAFETY: null or NUL-terminated.
    let name = unsafe { text(statement.filename) };
    match (statement.is_program, statement.is_from) {
        (true, _) => Command::Outside { verb: Verb::Run, kind: ObjectKind::Program, name },
        _ if name.is_empty() => Command::Data { tag },
        (_, true) => Command::Outside { verb: Verb::Read, kind: ObjectKind::File, name },
        (_, false) => Command::Outside { verb: Verb::Write, kind: ObjectKind::File, name },
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
    // SAFETY: strings that the parser made.
    let (part, new_name) = unsafe { (text(statement.subname), text(statement.newname)) };
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
