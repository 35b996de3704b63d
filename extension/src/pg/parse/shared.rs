//! What the whole cluster shares, and the guard's own kinds: roles, databases, tablespaces, parameters, event triggers, extensions.

use crate::pg::parse::bind;
use crate::pg::parse::grants::bound_roles;
use crate::pg::parse::nodes::{NodePtr, cast, field, items, string, tag};
use crate::pg::strings::text;
use pgrx::pg_sys::{self, NodeTag, ObjectType};
use runbook_core::action::quote;
use runbook_core::command::{Command, Name};
use runbook_core::vocabulary::object_kind::ObjectKind;
use runbook_core::vocabulary::verb::{Parameter, Verb};

/// Something on an object without a schema. What is created is not looked up.
pub fn shared(verb: Verb, kind: ObjectKind, name: &str) -> Command {
    let name = if verb == Verb::Create { Name::bare(name) } else { bind::named(&kind, name) };
    Command::Shared { verb, kind, name }
}

fn shared_role(verb: Verb, name: Name) -> Command {
    Command::Shared { verb, kind: ObjectKind::Role, name }
}

/// Statements about what the whole cluster shares, about event triggers, and about what lies outside of the database.
pub fn shared_object(node: NodePtr) -> Option<Command> {
    use NodeTag::*;
    use ObjectKind::{Database, EventTrigger, Parameter, Tablespace};
    match tag(node) {
        T_DropdbStmt => cast(node).map(|one: &pg_sys::DropdbStmt| dropped(Database, &field(one.dbname))),
        T_CreatedbStmt => cast(node).map(|one: &pg_sys::CreatedbStmt| shared(Verb::Create, Database, &field(one.dbname))),
        T_AlterDatabaseStmt => {
            cast(node).map(|one: &pg_sys::AlterDatabaseStmt| shared(Verb::Alter, Database, &field(one.dbname)))
        }
        T_AlterDatabaseSetStmt => cast(node)
            .map(|one: &pg_sys::AlterDatabaseSetStmt| shared(setting(one.setstmt, None), Database, &field(one.dbname))),
        T_DropTableSpaceStmt => {
            cast(node).map(|one: &pg_sys::DropTableSpaceStmt| dropped(Tablespace, &field(one.tablespacename)))
        }
        T_CreateTableSpaceStmt => {
            cast(node).map(|one: &pg_sys::CreateTableSpaceStmt| shared(Verb::Create, Tablespace, &field(one.tablespacename)))
        }
        T_AlterTableSpaceOptionsStmt => cast(node)
            .map(|one: &pg_sys::AlterTableSpaceOptionsStmt| shared(Verb::Alter, Tablespace, &field(one.tablespacename))),
        T_CreateRoleStmt => cast(node).map(created_role),
        T_AlterRoleStmt => cast(node).map(altered_role),
        T_AlterRoleSetStmt => cast(node).map(role_setting),
        T_DropRoleStmt => cast(node).map(|one: &pg_sys::DropRoleStmt| {
            let one_role = |name| Command::DropOne { kind: ObjectKind::Role, name };
            Command::Several(bound_roles(one.roles).into_iter().map(one_role).collect())
        }),
        T_GrantRoleStmt => cast(node).map(granted_role),
        T_AlterSystemStmt => {
            cast(node).map(|one: &pg_sys::AlterSystemStmt| shared(Verb::SetForCluster, Parameter, &parameter(one.setstmt)))
        }
        T_CreateEventTrigStmt => {
            cast(node).map(|one: &pg_sys::CreateEventTrigStmt| shared(Verb::Create, EventTrigger, &field(one.trigname)))
        }
        T_AlterEventTrigStmt => {
            cast(node).map(|one: &pg_sys::AlterEventTrigStmt| shared(Verb::Switch, EventTrigger, &field(one.trigname)))
        }
        T_LoadStmt => cast(node).map(|one: &pg_sys::LoadStmt| Command::Outside {
            verb: Verb::Load,
            kind: ObjectKind::Library,
            name: field(one.filename),
        }),
        T_CommentStmt => cast(node).and_then(commented),
        _ => None,
    }
}

fn created_role(statement: &pg_sys::CreateRoleStmt) -> Command {
    let name = field(statement.role);
    let own = || vec![Name::bare(name.as_str())];
    let memberships = items(statement.options).into_iter().filter_map(cast::<pg_sys::DefElem>).filter_map(|option| {
        let (granted, members) = match field(option.defname).as_str() {
            "addroleto" => (bound_roles(option.arg.cast()), own()),
            "rolemembers" | "adminmembers" => (own(), bound_roles(option.arg.cast())),
            _ => return None,
        };
        Some(Command::Membership { granted, members, revoke: false })
    });
    let memberships: Vec<Command> = memberships.collect();
    Command::Several(std::iter::once(shared(Verb::Create, ObjectKind::Role, &name)).chain(memberships).collect())
}

fn altered_role(statement: &pg_sys::AlterRoleStmt) -> Command {
    // ALTER GROUP … ADD USER is a grant in disguise.
    let mut options = items(statement.options).into_iter().filter_map(cast::<pg_sys::DefElem>);
    let members = options.find(|option| field(option.defname) == "rolemembers").map(|option| bound_roles(option.arg.cast()));
    let name = bind::role(statement.role);
    match members {
        Some(members) => Command::Membership { granted: vec![name], members, revoke: statement.action < 0 },
        None => shared_role(Verb::Alter, name),
    }
}

fn role_setting(statement: &pg_sys::AlterRoleSetStmt) -> Command {
    let (of_all, everywhere) = (statement.role.is_null(), statement.database.is_null());
    let database = field(statement.database);
    let verb = setting(statement.setstmt, Some(database.as_str()).filter(|_| !of_all && !everywhere));
    let name = if of_all { Name::bare("all") } else { bind::role(statement.role) };
    let of_role = shared_role(verb.clone(), name);
    // Of all roles in a database: that is the database's own setting.
    if of_all && !everywhere {
        return Command::Several(vec![of_role, shared(verb, ObjectKind::Database, &database)]);
    }
    of_role
}

fn granted_role(statement: &pg_sys::GrantRoleStmt) -> Command {
    // SAFETY: a list of AccessPriv, whose name is NUL-terminated.
    let name = |one: NodePtr| unsafe { text((*one.cast::<pg_sys::AccessPriv>()).priv_name) };
    let granted = items(statement.granted_roles).into_iter().map(|one| bind::named(&ObjectKind::Role, &name(one)));
    Command::Membership {
        granted: granted.collect(),
        members: bound_roles(statement.grantee_roles),
        revoke: !statement.is_grant,
    }
}

/// COMMENT ON what fires no event; others record themselves.
fn commented(statement: &pg_sys::CommentStmt) -> Option<Command> {
    let kind = match statement.objtype {
        ObjectType::OBJECT_DATABASE => ObjectKind::Database,
        ObjectType::OBJECT_ROLE => ObjectKind::Role,
        ObjectType::OBJECT_TABLESPACE => ObjectKind::Tablespace,
        ObjectType::OBJECT_EVENT_TRIGGER => ObjectKind::EventTrigger,
        _ => return None,
    };
    let names = vec![bind::named(&kind, &string(statement.object))];
    Some(Command::Harmless { verb: Verb::CommentOn, kind, names })
}

/// That a parameter is set for a role or a database; `database` where it is for a role in that database alone.
fn setting(statement: *mut pg_sys::VariableSetStmt, database: Option<&str>) -> Verb {
    let name = parameter(statement).into();
    Verb::SetParameter(Parameter { name, database: database.map(|name| quote(name).into()) })
}

/// The parameter that is set; or that it is about all.
fn parameter(statement: *mut pg_sys::VariableSetStmt) -> String {
    let name = cast::<pg_sys::VariableSetStmt>(statement.cast()).map(|statement| field(statement.name));
    name.filter(|name| !name.is_empty()).unwrap_or_else(|| "all parameters".to_owned())
}

/// DROP of one object without a schema.
pub fn dropped(kind: ObjectKind, name: &str) -> Command {
    let name = bind::named(&kind, name);
    Command::DropOne { kind, name }
}

/// Parameters that switch protections off.
pub fn is_switch(name: &[u8]) -> bool {
    let ours = name.len() > 8 && name[..8].eq_ignore_ascii_case(b"runbook.");
    ours && !name.eq_ignore_ascii_case(b"runbook.glass")
        || [&b"session_replication_role"[..], b"allow_system_table_mods", b"event_triggers", b"ignore_system_indexes"]
            .iter()
            .any(|switch| name.eq_ignore_ascii_case(switch))
}
