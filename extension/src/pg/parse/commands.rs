//! Raw parse trees read into [`Command`]s. Nothing is decided here; see `runbook_core::action` for what it means.

#![allow(non_upper_case_globals, reason = "the constants are PostgreSQL's, spelt as in parsenodes.h")]

use crate::pg::parse::kinds::word;
use crate::pg::parse::names::{
    data_type, extension, new_relation, object, parts, relation, relation_kind, relation_named, relation_numbered,
    relation_written, schema,
};
use crate::pg::parse::nodes::{NodePtr, items, name_of, string, strings, tag};
use crate::pg::parse::type_change::{column_rewrites, has_on, type_change};
use crate::pg::parse::{bind, constraints, lookup};
use crate::pg::strings::text;
use pgrx::pg_sys::{self, AlterTableType, NodeTag, ObjectType};
use runbook_core::changing::{self, Weakens};
use runbook_core::command::{Change, Command, Name, RuleEffect, TypeChange};
use runbook_core::identity::Identity;
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

fn command(node: NodePtr, command_tag: &str) -> Command {
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
                    kind: kind_of(statement.relation, &name, word(statement.objectType)).into(),
                    name,
                    schema: text(statement.newschema),
                }
            }
            NodeTag::T_AlterOwnerStmt => {
                let statement = &*node.cast::<pg_sys::AlterOwnerStmt>();
                let name = either(statement.relation, statement.objectType, statement.object);
                Command::Owner {
                    kind: kind_of(statement.relation, &name, word(statement.objectType)).into(),
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
                let (what, scans) = match statement.subtype as u8 {
                    b'O' => ("set not null on", true),
                    b'C' => ("add constraint to", true),
                    b'V' => ("validate constraint of", true),
                    b'X' => ("drop constraint of", false),
                    b'N' => ("drop not null on", false),
                    _ => ("alter", false),
                };
                Command::AlterDomain { name: data_type(statement.typeName.cast()), what, scans }
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
                Command::DropOne { kind: "user mapping".to_owned(), name }
            }
            NodeTag::T_DropSubscriptionStmt => {
                dropped("subscription", &text((*node.cast::<pg_sys::DropSubscriptionStmt>()).subname))
            }
            NodeTag::T_VariableSetStmt => {
                let setting = text((*node.cast::<pg_sys::VariableSetStmt>()).name);
                match setting.as_str() {
                    "role" | "session_authorization" | "standard_conforming_strings" | "session_replication_role" => {
                        Command::SwitchRole { setting }
                    }
                    _ if is_switch(setting.as_bytes()) => shared("set", "parameter", setting),
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
                Command::Rewrite { tag: "VACUUM FULL".to_owned(), kind: "table", names: names.collect() }
            }
            NodeTag::T_ClusterStmt => rewrite(command_tag, "table", (*node.cast::<pg_sys::ClusterStmt>()).relation),
            NodeTag::T_RefreshMatViewStmt => {
                let statement = &*node.cast::<pg_sys::RefreshMatViewStmt>();
                if statement.concurrent {
                    let names = vec![relation(statement.relation)];
                    return Command::Harmless { verb: "refresh concurrently", kind: "materialized view", names };
                }
                rewrite("REFRESH".to_owned(), "materialized view", statement.relation)
            }
            NodeTag::T_ReindexStmt => {
                let statement = &*node.cast::<pg_sys::ReindexStmt>();
                let kind = if statement.kind == pg_sys::ReindexObjectType::REINDEX_OBJECT_INDEX { "index" } else { "table" };
                if has_on(statement.params, "concurrently") {
                    let names = if statement.relation.is_null() {
                        vec![bind::named("database", &text(statement.name))]
                    } else {
                        vec![relation(statement.relation)]
                    };
                    return Command::Harmless { verb: "reindex concurrently", kind, names };
                }
                rewrite(command_tag, kind, statement.relation)
            }
            NodeTag::T_AlterSeqStmt => {
                let name = relation((*node.cast::<pg_sys::AlterSeqStmt>()).sequence);
                Command::AlterTable { kind: "sequence".to_owned(), name, changes: vec![Change::Unknown { subtype: 0 }] }
            }
            NodeTag::T_AlterExtensionStmt => {
                let name = extension(&text((*node.cast::<pg_sys::AlterExtensionStmt>()).extname));
                Command::Extension { verb: "update", name, member: None }
            }
            NodeTag::T_AlterObjectDependsStmt => {
                let statement = &*node.cast::<pg_sys::AlterObjectDependsStmt>();
                let kind = statement.objectType;
                if kind == ObjectType::OBJECT_TRIGGER {
                    // The table's name, then its own.
                    let part = parts(statement.object).pop().unwrap_or_default();
                    return Command::DependsOnExtension {
                        kind: word(kind).into(),
                        name: relation(statement.relation),
                        part: Some(part),
                    };
                }
                let name = either(statement.relation, kind, statement.object);
                Command::DependsOnExtension { kind: kind_of(statement.relation, &name, word(kind)).into(), name, part: None }
            }
            NodeTag::T_AlterExtensionContentsStmt => {
                let statement = &*node.cast::<pg_sys::AlterExtensionContentsStmt>();
                let name = extension(&text(statement.extname));
                let member = object(statement.objtype, statement.object);
                let verb = if statement.action > 0 { "add a member to" } else { "remove a member from" };
                Command::Extension { verb, name, member: Some((word(statement.objtype).to_owned(), member)) }
            }
            NodeTag::T_AlterFunctionStmt => {
                let statement = &*node.cast::<pg_sys::AlterFunctionStmt>();
                let name = object(statement.objtype, statement.func.cast());
                let kind = word(statement.objtype).to_owned();
                if has_on(statement.actions, "security") {
                    return Command::Definer { verb: "make a security definer of", kind, name };
                }
                // Its search path is what keeps its privileges from whoever calls it.
                if is_definer(&name) {
                    return Command::Definer { verb: "alter security definer", kind, name };
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

/// Something on an object without a schema. What is created is not looked up.
fn shared(verb: &str, kind: &'static str, name: String) -> Command {
    let name = if verb == "create" { Name::bare(name) } else { bind::named(kind, &name) };
    Command::Shared { verb: verb.to_owned(), kind, name }
}

fn shared_role(verb: &str, name: Name) -> Command {
    Command::Shared { verb: verb.to_owned(), kind: "role", name }
}

/// Statements about what the whole cluster shares, about event triggers, and about what lies outside of the database.
unsafe fn shared_object(node: NodePtr) -> Option<Command> {
    // SAFETY: each arm casts to the struct that its node tag names.
    unsafe {
        Some(match tag(node) {
            NodeTag::T_DropdbStmt => dropped("database", &text((*node.cast::<pg_sys::DropdbStmt>()).dbname)),
            NodeTag::T_CreatedbStmt => shared("create", "database", text((*node.cast::<pg_sys::CreatedbStmt>()).dbname)),
            NodeTag::T_AlterDatabaseStmt => {
                shared("alter", "database", text((*node.cast::<pg_sys::AlterDatabaseStmt>()).dbname))
            }
            NodeTag::T_AlterDatabaseSetStmt => {
                let statement = &*node.cast::<pg_sys::AlterDatabaseSetStmt>();
                shared(&setting("set", statement.setstmt), "database", text(statement.dbname))
            }
            NodeTag::T_DropTableSpaceStmt => {
                dropped("tablespace", &text((*node.cast::<pg_sys::DropTableSpaceStmt>()).tablespacename))
            }
            NodeTag::T_CreateTableSpaceStmt => {
                shared("create", "tablespace", text((*node.cast::<pg_sys::CreateTableSpaceStmt>()).tablespacename))
            }
            NodeTag::T_AlterTableSpaceOptionsStmt => {
                shared("alter", "tablespace", text((*node.cast::<pg_sys::AlterTableSpaceOptionsStmt>()).tablespacename))
            }
            NodeTag::T_CreateRoleStmt => {
                let statement = &*node.cast::<pg_sys::CreateRoleStmt>();
                let name = text(statement.role);
                let memberships = items(statement.options).into_iter().filter_map(|option| {
                    let option = &*option.cast::<pg_sys::DefElem>();
                    match text(option.defname).as_str() {
                        "addroleto" => Some((bound_roles(option.arg.cast()), vec![Name::bare(name.as_str())])),
                        "rolemembers" | "adminmembers" => {
                            Some((vec![Name::bare(name.as_str())], bound_roles(option.arg.cast())))
                        }
                        _ => None,
                    }
                });
                let memberships: Vec<Command> =
                    memberships.map(|(granted, members)| Command::Membership { granted, members, revoke: false }).collect();
                let own = shared("create", "role", name.clone());
                Command::Several(std::iter::once(own).chain(memberships).collect())
            }
            NodeTag::T_AlterRoleStmt => {
                let statement = &*node.cast::<pg_sys::AlterRoleStmt>();
                // ALTER GROUP … ADD USER is a grant in disguise.
                let members = items(statement.options).into_iter().find_map(|option| {
                    let option = &*option.cast::<pg_sys::DefElem>();
                    (text(option.defname) == "rolemembers").then(|| bound_roles(option.arg.cast()))
                });
                let name = bind::role(statement.role);
                match members {
                    Some(members) => Command::Membership { granted: vec![name], members, revoke: statement.action < 0 },
                    None => shared_role("alter", name),
                }
            }
            NodeTag::T_AlterRoleSetStmt => {
                let statement = &*node.cast::<pg_sys::AlterRoleSetStmt>();
                let mut verb = setting("set", statement.setstmt);
                if !statement.role.is_null() && !statement.database.is_null() {
                    let database = runbook_core::action::quote(&text(statement.database));
                    verb = format!("{} in database {database} of", verb.trim_end_matches(" of"));
                }
                let name = if statement.role.is_null() { Name::bare("all") } else { bind::role(statement.role) };
                let of_role = shared_role(&verb, name);
                // Of all roles in a database: that is the database's own setting.
                if statement.role.is_null() && !statement.database.is_null() {
                    return Some(Command::Several(vec![of_role, shared(&verb, "database", text(statement.database))]));
                }
                of_role
            }
            NodeTag::T_DropRoleStmt => {
                let names = bound_roles((*node.cast::<pg_sys::DropRoleStmt>()).roles);
                let one = |name| Command::DropOne { kind: "role".to_owned(), name };
                Command::Several(names.into_iter().map(one).collect())
            }
            NodeTag::T_GrantRoleStmt => {
                let statement = &*node.cast::<pg_sys::GrantRoleStmt>();
                let granted = items(statement.granted_roles);
                let granted = granted
                    .into_iter()
                    .map(|one| bind::named("role", &text((*one.cast::<pg_sys::AccessPriv>()).priv_name)))
                    .collect();
                Command::Membership { granted, members: bound_roles(statement.grantee_roles), revoke: !statement.is_grant }
            }
            NodeTag::T_AlterSystemStmt => {
                let statement = (*node.cast::<pg_sys::AlterSystemStmt>()).setstmt;
                shared("set for the whole cluster", "parameter", setting("", statement).trim_start().to_owned())
            }
            NodeTag::T_CreateEventTrigStmt => {
                shared("create", "event trigger", text((*node.cast::<pg_sys::CreateEventTrigStmt>()).trigname))
            }
            NodeTag::T_AlterEventTrigStmt => {
                shared("switch", "event trigger", text((*node.cast::<pg_sys::AlterEventTrigStmt>()).trigname))
            }
            NodeTag::T_LoadStmt => {
                Command::Outside { verb: "load", kind: "library", name: text((*node.cast::<pg_sys::LoadStmt>()).filename) }
            }
            NodeTag::T_CommentStmt => {
                let statement = &*node.cast::<pg_sys::CommentStmt>();
                // Others fire events, which record them.
                let kind = match statement.objtype {
                    ObjectType::OBJECT_DATABASE => "database",
                    ObjectType::OBJECT_ROLE => "role",
                    ObjectType::OBJECT_TABLESPACE => "tablespace",
                    ObjectType::OBJECT_EVENT_TRIGGER => "event trigger",
                    _ => return None,
                };
                Command::Harmless { verb: "comment on", kind, names: vec![bind::named(kind, &string(statement.object))] }
            }
            _ => return None,
        })
    }
}

fn bound_roles(list: *mut pg_sys::List) -> Vec<Name> {
    items(list).into_iter().map(|one| bind::role(one.cast())).collect()
}

/// `set search_path of`, for a role or a database.
unsafe fn setting(verb: &str, statement: *mut pg_sys::VariableSetStmt) -> String {
    if statement.is_null() {
        return verb.to_owned();
    }
    // SAFETY: not null; a statement that the parser made.
    let name = unsafe { text((*statement).name) };
    let name = if name.is_empty() { "all parameters" } else { name.as_str() };
    if verb.is_empty() { name.to_owned() } else { format!("{verb} {name} of") }
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

fn rewrite(tag: String, kind: &'static str, name: *mut pg_sys::RangeVar) -> Command {
    let names = if name.is_null() { vec![] } else { vec![relation(name)] };
    Command::Rewrite { tag, kind, names }
}

fn copy(statement: &pg_sys::CopyStmt, tag: String) -> Command {
    // SAFETY: null or NUL-terminated.
    let name = unsafe { text(statement.filename) };
    match (statement.is_program, statement.is_from) {
        (true, _) => Command::Outside { verb: "run", kind: "program", name },
        _ if name.is_empty() => Command::Data { tag },
        (_, true) => Command::Outside { verb: "read", kind: "file", name },
        (_, false) => Command::Outside { verb: "write", kind: "file", name },
    }
}

fn cascades(behavior: pg_sys::DropBehavior::Type) -> bool {
    behavior == pg_sys::DropBehavior::DROP_CASCADE
}

fn dropped(kind: &str, name: &str) -> Command {
    Command::DropOne { kind: kind.to_owned(), name: bind::named(kind, name) }
}

fn either(variable: *mut pg_sys::RangeVar, kind: ObjectType::Type, node: NodePtr) -> Name {
    if variable.is_null() { object(kind, node) } else { relation(variable) }
}

fn kind_of(variable: *mut pg_sys::RangeVar, name: &Name, word: &'static str) -> &'static str {
    if variable.is_null() { word } else { relation_kind(name, word) }
}

fn grant(statement: &pg_sys::GrantStmt) -> Command {
    let privileges: Vec<String> = items(statement.privileges)
        .into_iter()
        // SAFETY: a list of AccessPriv, whose name is null for ALL.
        .map(|node| unsafe {
            let privilege = &*node.cast::<pg_sys::AccessPriv>();
            let columns = strings(privilege.cols);
            let name = if privilege.priv_name.is_null() { "all".to_owned() } else { text(privilege.priv_name) };
            if columns.is_empty() { name } else { format!("{name} ({})", columns.join(", ")) }
        })
        .collect();
    let kind = word(statement.objtype);
    let members = items(statement.objects);
    let (kind, names) = match statement.targtype {
        pg_sys::GrantTargetType::ACL_TARGET_OBJECT if is_named_by_range(statement.objtype) => {
            (kind.to_owned(), members.into_iter().map(|one| relation(one.cast())).collect())
        }
        pg_sys::GrantTargetType::ACL_TARGET_OBJECT => {
            (kind.to_owned(), members.into_iter().map(|one| object(statement.objtype, one)).collect())
        }
        pg_sys::GrantTargetType::ACL_TARGET_ALL_IN_SCHEMA => {
            (format!("every {kind} in schema"), members.into_iter().map(|one| schema(&string(one))).collect())
        }
        _ => (format!("default privileges of every {kind}"), vec![Name::bare("")]),
    };
    let privileges = if privileges.is_empty() { vec!["all".to_owned()] } else { privileges };
    Command::Grant { kind, names, privileges, roles: bound_roles(statement.grantees), revoke: !statement.is_grant }
}

fn is_named_by_range(kind: ObjectType::Type) -> bool {
    matches!(kind, ObjectType::OBJECT_TABLE | ObjectType::OBJECT_SEQUENCE)
}

/// What a SELECT does if that is nothing but to call, with constants, a function of ours that weakens the guard.
fn control_call(statement: &pg_sys::SelectStmt) -> Option<Command> {
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
    let function = changing::weakening(&name.name).filter(|_| name.schema.as_deref() == Some(OUR_SCHEMA))?;
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

fn drop_objects(statement: &pg_sys::DropStmt) -> Command {
    let kind = statement.removeType;
    if matches!(kind, ObjectType::OBJECT_TRIGGER | ObjectType::OBJECT_RULE | ObjectType::OBJECT_POLICY) {
        // The table's name, then its own; the grammar allows one object only.
        let mut path = items(statement.objects).first().map(|object| parts(*object)).unwrap_or_default();
        let part = path.pop().unwrap_or_default();
        return Command::DropPart { kind: word(kind).into(), name: relation_named(path), part };
    }
    let names = items(statement.objects).into_iter().map(|one| object(kind, one)).collect();
    Command::Drop { kind: word(kind).into(), names, cascade: cascades(statement.behavior) }
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
        _ if name.name.is_empty() => bind::named(word(statement.renameType), &part),
        _ => name,
    };
    let word = word(statement.renameType);
    let kind = if has_part { word } else { kind_of(statement.relation, &name, word) };
    Command::Rename { kind: kind.into(), name, part: has_part.then_some(part), new_name }
}

fn alter_table(statement: &pg_sys::AlterTableStmt) -> Command {
    let name = relation(statement.relation);
    let changes = items(statement.cmds)
        .into_iter()
        // SAFETY: cmds is a list of AlterTableCmd.
        .flat_map(|node| changes(unsafe { &*node.cast::<pg_sys::AlterTableCmd>() }, &name))
        .collect();
    let kind = kind_of(statement.relation, &name, word(statement.objtype));
    // SAFETY: as above.
    let options = items(statement.cmds).into_iter().map(|node| unsafe { (*node.cast::<pg_sys::AlterTableCmd>()).def });
    let own = Command::AlterTable { kind: kind.into(), name, changes };
    with_outside(own, options.filter(|node| tag(*node) == NodeTag::T_List).map(|list| list.cast()))
}

/// One subcommand can be several changes: a column comes with its constraints.
fn changes(command: &pg_sys::AlterTableCmd, table: &Name) -> Vec<Change> {
    let own = change(command, table);
    if command.subtype != AlterTableType::AT_AddColumn || tag(command.def) != NodeTag::T_ColumnDef {
        return vec![own];
    }
    // SAFETY: the tag says so.
    let column = unsafe { &*command.def.cast::<pg_sys::ColumnDef>() };
    constraints::of_column(column, &table.name, own)
}

const OUR_SCHEMA: &str = "runbook";

/// What a statement puts into a schema, of which only that it is ours matters.
fn into_our_schema(schema: String, name: &str) -> Name {
    if schema == OUR_SCHEMA { Name { schema: Some(schema), ..Name::bare(name) } } else { Name::default() }
}

/// A statement, with the programs and files of the server that options of foreign tables, servers and the like make it reach.
fn with_outside(own: Command, lists: impl Iterator<Item = *mut pg_sys::List>) -> Command {
    let outside: Vec<Command> = lists.flat_map(items).filter_map(outside).collect();
    if outside.is_empty() { own } else { Command::Several(std::iter::once(own).chain(outside).collect()) }
}

/// What file_fdw's options `program` and `filename` reach. Other wrappers may call something else so: then it is asked for in vain.
fn outside(option: NodePtr) -> Option<Command> {
    if tag(option) != NodeTag::T_DefElem {
        return None;
    }
    // SAFETY: the tag says so.
    let option = unsafe { &*option.cast::<pg_sys::DefElem>() };
    // SAFETY: NUL-terminated.
    let word = unsafe { text(option.defname) };
    if option.defaction == pg_sys::DefElemAction::DEFELEM_DROP {
        return None;
    }
    let name = string(option.arg);
    match word.as_str() {
        "program" => Some(Command::Outside { verb: "run", kind: "program", name }),
        "filename" => Some(Command::Outside { verb: "read", kind: "file", name }),
        _ => None,
    }
}

fn change(command: &pg_sys::AlterTableCmd, table: &Name) -> Change {
    use AlterTableType::*;
    // SAFETY: for each subtype `name` and `def` are what parsenodes.h says; both may be null.
    unsafe {
        let name = text(command.name);
        match command.subtype {
            AT_AddColumn => Change::AddColumn { column: column_name(command.def), rewrites: column_rewrites(command.def) },
            AT_DropColumn => Change::DropColumn { column: name },
            AT_AlterColumnType => Change::ColumnType { effect: retyped(table, command.def, &name), column: name },
            AT_ColumnDefault => Change::ColumnDefault { column: name, gone: command.def.is_null() },
            AT_SetNotNull => Change::SetNotNull { column: name },
            AT_DropNotNull => Change::DropNotNull { column: name },
            AT_DropExpression => Change::DropExpression { column: name },
            AT_DropIdentity => Change::DropIdentity { column: name },
            AT_SetIdentity => Change::ResetIdentity { column: name },
            AT_AddConstraint => constraints::added(command.def),
            AT_ValidateConstraint => Change::ValidateConstraint { name },
            AT_DropConstraint => Change::DropConstraint { name },
            AT_ChangeOwner => Change::Owner { role: bind::role(command.newowner) },
            AT_DetachPartition | AT_DetachPartitionFinalize => Change::DetachPartition { partition: partition(command.def) },
            AT_AttachPartition => Change::AttachPartition { partition: partition(command.def) },
            AT_DropInherit => Change::NoInherit { parent: relation(command.def.cast()) },
            AT_EnableRowSecurity | AT_ForceRowSecurity => Change::RowSecurity { enable: true },
            AT_DisableRowSecurity | AT_NoForceRowSecurity => Change::RowSecurity { enable: false },
            AT_EnableTrig | AT_EnableAlwaysTrig | AT_EnableReplicaTrig => Change::Triggers { enable: true, name: Some(name) },
            AT_EnableTrigAll | AT_EnableTrigUser => Change::Triggers { enable: true, name: None },
            AT_DisableTrig => Change::Triggers { enable: false, name: Some(name) },
            AT_DisableTrigAll | AT_DisableTrigUser => Change::Triggers { enable: false, name: None },
            AT_EnableRule | AT_EnableAlwaysRule | AT_EnableReplicaRule => Change::Rules { enable: true },
            AT_DisableRule => Change::Rules { enable: false },
            AT_SetUnLogged => Change::Unlogged,
            AT_SetLogged => Change::Logged,
            AT_SetAccessMethod => Change::Rewrite { what: "set access method of" },
            AT_SetTableSpace => Change::Rewrite { what: "set tablespace of" },
            AT_ReplicaIdentity => Change::ReplicaIdentity {
                nothing: tag(command.def) == NodeTag::T_ReplicaIdentityStmt
                    && (*command.def.cast::<pg_sys::ReplicaIdentityStmt>()).identity_type as u8 == b'n',
            },
            AT_AddInherit => Change::Inherit { parent: relation(command.def.cast()) },
            AT_SetRelOptions | AT_ResetRelOptions | AT_ReplaceRelOptions if has_view_security(command.def) => {
                Change::ViewSecurity
            }
            AT_SetStatistics
            | AT_SetOptions
            | AT_ResetOptions
            | AT_SetStorage
            | AT_SetCompression
            | AT_ClusterOn
            | AT_DropCluster
            | AT_SetRelOptions
            | AT_ResetRelOptions
            | AT_AddIdentity
            | AT_AddIndexConstraint => Change::Tuning,
            subtype => Change::Unknown { subtype },
        }
    }
}

unsafe fn column_name(definition: NodePtr) -> String {
    if tag(definition) != NodeTag::T_ColumnDef {
        return String::new();
    }
    // SAFETY: the tag says so.
    unsafe { text((*definition.cast::<pg_sys::ColumnDef>()).colname) }
}

unsafe fn partition(definition: NodePtr) -> Name {
    if tag(definition) != NodeTag::T_PartitionCmd {
        return Name::default();
    }
    // SAFETY: the tag says so.
    relation(unsafe { (*definition.cast::<pg_sys::PartitionCmd>()).name })
}

/// What a change of type does to the values. A USING expression that is more than the column itself can do anything; explicit
/// casts count: they cut strings and numbers short.
unsafe fn retyped(table: &Name, definition: NodePtr, column: &str) -> TypeChange {
    if tag(definition) != NodeTag::T_ColumnDef {
        return TypeChange::Converts;
    }
    // SAFETY: the tag says so.
    let definition = unsafe { &*definition.cast::<pg_sys::ColumnDef>() };
    let expression = definition.raw_default;
    if !expression.is_null() {
        if tag(expression) != NodeTag::T_ColumnRef {
            return TypeChange::Loses;
        }
        // SAFETY: the tag says so.
        let fields = unsafe { (*expression.cast::<pg_sys::ColumnRef>()).fields };
        if items(fields).last().is_none_or(|last| string(*last) != column) {
            return TypeChange::Loses;
        }
    }
    type_change(table, column, definition)
}

/// Statements that create something, with the name where it is cheap to have.
unsafe fn create(node: NodePtr, command_tag: &str) -> Option<Command> {
    // SAFETY: each arm casts to the struct that its node tag names.
    unsafe {
        let (name, replace) = match tag(node) {
            NodeTag::T_IndexStmt => {
                let statement = &*node.cast::<pg_sys::IndexStmt>();
                let (table, name) = (relation(statement.relation), text(statement.idxname));
                return Some(Command::CreateIndex {
                    table,
                    name,
                    concurrently: statement.concurrent,
                    unique: statement.unique,
                });
            }
            NodeTag::T_CreateForeignServerStmt => {
                let statement = &*node.cast::<pg_sys::CreateForeignServerStmt>();
                let own =
                    Command::Create { kind: "server".to_owned(), name: Name::bare(text(statement.servername)), replace: false };
                return Some(with_outside(own, [statement.options].into_iter()));
            }
            NodeTag::T_CreateUserMappingStmt => {
                let statement = &*node.cast::<pg_sys::CreateUserMappingStmt>();
                let name = Name::bare(text(statement.servername));
                let own = Command::Create { kind: "user mapping".to_owned(), name, replace: false };
                return Some(with_outside(own, [statement.options].into_iter()));
            }
            NodeTag::T_CreateFdwStmt => {
                let statement = &*node.cast::<pg_sys::CreateFdwStmt>();
                let name = Name::bare(text(statement.fdwname));
                let own = Command::Create { kind: "foreign data wrapper".to_owned(), name, replace: false };
                return Some(with_outside(own, [statement.options].into_iter()));
            }
            NodeTag::T_AlterForeignServerStmt => {
                let options = (*node.cast::<pg_sys::AlterForeignServerStmt>()).options;
                return Some(with_outside(by_tag(tag(node), command_tag.to_owned()), [options].into_iter()));
            }
            NodeTag::T_AlterFdwStmt => {
                let options = (*node.cast::<pg_sys::AlterFdwStmt>()).options;
                return Some(with_outside(by_tag(tag(node), command_tag.to_owned()), [options].into_iter()));
            }
            NodeTag::T_AlterUserMappingStmt => {
                let options = (*node.cast::<pg_sys::AlterUserMappingStmt>()).options;
                return Some(with_outside(by_tag(tag(node), command_tag.to_owned()), [options].into_iter()));
            }
            NodeTag::T_ImportForeignSchemaStmt => {
                let statement = &*node.cast::<pg_sys::ImportForeignSchemaStmt>();
                let name = into_our_schema(text(statement.local_schema), "*");
                let own = Command::Create { kind: "foreign table".to_owned(), name, replace: false };
                return Some(with_outside(own, [statement.options].into_iter()));
            }
            NodeTag::T_CreateForeignTableStmt => {
                let statement = &*node.cast::<pg_sys::CreateForeignTableStmt>();
                return Some(with_outside(created_table(&statement.base, command_tag), [statement.options].into_iter()));
            }
            NodeTag::T_CreateStmt => return Some(created_table(&*node.cast::<pg_sys::CreateStmt>(), command_tag)),
            NodeTag::T_ViewStmt => {
                let statement = &*node.cast::<pg_sys::ViewStmt>();
                (new_relation(statement.view), statement.replace)
            }
            NodeTag::T_CreateSeqStmt => (new_relation((*node.cast::<pg_sys::CreateSeqStmt>()).sequence), false),
            NodeTag::T_CompositeTypeStmt => (new_relation((*node.cast::<pg_sys::CompositeTypeStmt>()).typevar), false),
            NodeTag::T_CreateEnumStmt => (name_of(strings((*node.cast::<pg_sys::CreateEnumStmt>()).typeName)), false),
            NodeTag::T_CreateDomainStmt => (name_of(strings((*node.cast::<pg_sys::CreateDomainStmt>()).domainname)), false),
            NodeTag::T_CreateSchemaStmt => (Name::bare(text((*node.cast::<pg_sys::CreateSchemaStmt>()).schemaname)), false),
            NodeTag::T_CreateExtensionStmt => {
                let statement = &*node.cast::<pg_sys::CreateExtensionStmt>();
                let name = text(statement.extname);
                let schema = items(statement.options).into_iter().find_map(|option| {
                    let option = &*option.cast::<pg_sys::DefElem>();
                    (text(option.defname) == "schema").then(|| string(option.arg))
                });
                match schema {
                    Some(schema) if schema == OUR_SCHEMA => (into_our_schema(schema, &name), false),
                    _ => (Name::bare(name), false),
                }
            }
            NodeTag::T_CreateTableAsStmt => {
                let into = (*node.cast::<pg_sys::CreateTableAsStmt>()).into;
                (if into.is_null() { Name::default() } else { new_relation((*into).rel) }, false)
            }
            NodeTag::T_CreateFunctionStmt => {
                let statement = &*node.cast::<pg_sys::CreateFunctionStmt>();
                let name = name_of(strings(statement.funcname));
                if has_on(statement.options, "security") {
                    let verb = if statement.replace { "create or replace" } else { "create" };
                    return Some(Command::Definer { verb, kind: kind_from(command_tag), name });
                }
                (name, statement.replace)
            }
            NodeTag::T_DefineStmt => {
                let statement = &*node.cast::<pg_sys::DefineStmt>();
                (name_of(strings(statement.defnames)), statement.replace)
            }
            NodeTag::T_CreateTrigStmt => {
                let statement = &*node.cast::<pg_sys::CreateTrigStmt>();
                let (table, name) = (relation(statement.relation), text(statement.trigname));
                return Some(Command::Trigger { table, name, replace: statement.replace });
            }
            NodeTag::T_RuleStmt => {
                let statement = &*node.cast::<pg_sys::RuleStmt>();
                let (table, name) = (relation(statement.relation), text(statement.rulename));
                return Some(Command::Rule { table, name, replace: statement.replace, effect: effect(statement) });
            }
            NodeTag::T_CreatePolicyStmt => {
                let statement = &*node.cast::<pg_sys::CreatePolicyStmt>();
                return Some(Command::Policy { table: relation(statement.table), name: text(statement.policy_name) });
            }
            _ => return None,
        };
        Some(Command::Create { kind: kind_from(command_tag), name, replace })
    }
}

fn created_table(statement: &pg_sys::CreateStmt, command_tag: &str) -> Command {
    let parents: Vec<Name> = items(statement.inhRelations).into_iter().map(|one| relation(one.cast())).collect();
    let own = Command::Create { kind: kind_from(command_tag), name: new_relation(statement.relation), replace: false };
    if parents.is_empty() { own } else { Command::Several(vec![own, Command::Heir { parents }]) }
}

/// Whether a function runs with the privileges of its owner.
fn is_definer(name: &Name) -> bool {
    let Identity::Is(found) = name.identity else { return false };
    // SAFETY: the tuple is null or a pg_proc row that stays valid until it is released.
    unsafe {
        let cache = pg_sys::SysCacheIdentifier::PROCOID as c_int;
        let tuple = pg_sys::SearchSysCache1(cache, pg_sys::Oid::from(found.object).into());
        if tuple.is_null() {
            return false;
        }
        let row: pg_sys::Form_pg_proc = pg_sys::GETSTRUCT(tuple).cast();
        let definer = (*row).prosecdef;
        pg_sys::ReleaseSysCache(tuple);
        definer
    }
}

/// What a rule does to rows: they vanish where a write is replaced by none; and what it deletes or updates, nobody has asked for.
fn effect(statement: &pg_sys::RuleStmt) -> RuleEffect {
    // An INSERT that does nothing else: what it has of WITH or ON CONFLICT can delete and update.
    let only_inserts = |action: NodePtr| {
        // SAFETY: the tag says so.
        tag(action) == NodeTag::T_InsertStmt
            && unsafe {
                let insert = &*action.cast::<pg_sys::InsertStmt>();
                insert.withClause.is_null() && insert.onConflictClause.is_null()
            }
    };
    let harmless = |action: &NodePtr| {
        // SAFETY: the tag says so.
        let reads =
            tag(*action) == NodeTag::T_SelectStmt && unsafe { (*action.cast::<pg_sys::SelectStmt>()).withClause.is_null() };
        reads || tag(*action) == NodeTag::T_NotifyStmt || only_inserts(*action)
    };
    let changes = !items(statement.actions).iter().all(harmless);
    // A view has no rows of its own to lose.
    let is_view = matches!(relation(statement.relation).identity, Identity::Is(found)
        // SAFETY: looks into a catalog cache.
        if unsafe { pg_sys::get_rel_relkind(pg_sys::Oid::from(found.object)) } as u8 == b'v');
    let swallows = statement.instead && statement.event != pg_sys::CmdType::CMD_SELECT && !is_view;
    if changes && !is_view || swallows { RuleEffect::Loses } else { RuleEffect::Redirects }
}

/// Whether options of a relation are among those of a view that say whose privileges and which rows count.
fn has_view_security(options: NodePtr) -> bool {
    let list: *mut pg_sys::List = if tag(options) == NodeTag::T_List { options.cast() } else { return false };
    items(list).into_iter().filter(|option| tag(*option) == NodeTag::T_DefElem).any(|option| {
        // SAFETY: the tag says so.
        let name = unsafe { text((*option.cast::<pg_sys::DefElem>()).defname) };
        ["security_invoker", "security_barrier", "check_option"].contains(&name.as_str())
    })
}

fn kind_from(command_tag: &str) -> String {
    command_tag.trim_start_matches("CREATE ").trim_end_matches(" AS").to_lowercase()
}

/// What only the kind of statement tells. Every statement of PostgreSQL 15 stands here, or in [`read`]; one that a later
/// version adds counts as breaking until somebody has looked at it (the test `statements` compares with the server's headers).
fn by_tag(node_tag: NodeTag, tag: String) -> Command {
    use NodeTag::*;
    match node_tag {
        T_InsertStmt | T_SelectStmt | T_ReturnStmt | T_PLAssignStmt => Command::Data { tag },
        T_TransactionStmt => Command::Transaction { tag },
        T_DoStmt | T_CallStmt | T_ExecuteStmt | T_PrepareStmt | T_DeallocateStmt | T_NotifyStmt | T_ListenStmt
        | T_UnlistenStmt | T_DiscardStmt | T_FetchStmt | T_DeclareCursorStmt | T_ClosePortalStmt | T_ConstraintsSetStmt
        | T_CheckPointStmt | T_VariableShowStmt | T_CommentStmt => Command::Opaque { tag },
        T_CreateAmStmt
        | T_CreateCastStmt
        | T_CreateConversionStmt
        | T_CreateFdwStmt
        | T_CreateForeignServerStmt
        | T_CreateOpClassStmt
        | T_CreateOpFamilyStmt
        | T_CreatePLangStmt
        | T_CreatePublicationStmt
        | T_CreateRangeStmt
        | T_CreateStatsStmt
        | T_CreateSubscriptionStmt
        | T_CreateTransformStmt
        | T_CreateUserMappingStmt => Command::Create { kind: kind_from(&tag), name: Name::default(), replace: false },
        T_AlterDefaultPrivilegesStmt | T_AlterPolicyStmt | T_SecLabelStmt => Command::Protection { tag },
        // It creates tables like any other; each fires its own events.
        T_AlterCollationStmt
        | T_AlterDatabaseRefreshCollStmt
        | T_AlterFdwStmt
        | T_AlterForeignServerStmt
        | T_AlterOpFamilyStmt
        | T_AlterOperatorStmt
        | T_AlterPublicationStmt
        | T_AlterStatsStmt
        | T_AlterSubscriptionStmt
        | T_AlterTSConfigurationStmt
        | T_AlterTSDictionaryStmt
        | T_AlterTableMoveAllStmt
        | T_AlterTypeStmt
        | T_AlterUserMappingStmt => Command::Other { tag },
        _ => Command::Other { tag },
    }
}

/// Parameters that switch protections off.
pub fn is_switch(name: &[u8]) -> bool {
    let ours = name.len() > 8 && name[..8].eq_ignore_ascii_case(b"runbook.");
    ours && !name.eq_ignore_ascii_case(b"runbook.glass")
        || [&b"session_replication_role"[..], b"allow_system_table_mods", b"event_triggers", b"ignore_system_indexes"]
            .iter()
            .any(|switch| name.eq_ignore_ascii_case(switch))
}
