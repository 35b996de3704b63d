//! What the whole cluster shares, and the guard's own kinds: roles, databases, tablespaces, parameters, event triggers, extensions.

use crate::pg::parse::bind;
use crate::pg::parse::grants::bound_roles;
use crate::pg::parse::nodes::{NodePtr, items, string, tag};
use crate::pg::strings::text;
use pgrx::pg_sys::{self, NodeTag, ObjectType};
use runbook_core::command::{Command, Name};

/// Something on an object without a schema. What is created is not looked up.
pub fn shared(verb: &str, kind: &'static str, name: String) -> Command {
    let name = if verb == "create" { Name::bare(name) } else { bind::named(kind, &name) };
    Command::Shared { verb: verb.to_owned(), kind, name }
}

fn shared_role(verb: &str, name: Name) -> Command {
    Command::Shared { verb: verb.to_owned(), kind: "role", name }
}

/// Statements about what the whole cluster shares, about event triggers, and about what lies outside of the database.
pub unsafe fn shared_object(node: NodePtr) -> Option<Command> {
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

/// `set search_path of`, for a role or a database.
pub unsafe fn setting(verb: &str, statement: *mut pg_sys::VariableSetStmt) -> String {
    if statement.is_null() {
        return verb.to_owned();
    }
    // SAFETY: not null; a statement that the parser made.
    let name = unsafe { text((*statement).name) };
    let name = if name.is_empty() { "all parameters" } else { name.as_str() };
    if verb.is_empty() { name.to_owned() } else { format!("{verb} {name} of") }
}

pub fn dropped(kind: &str, name: &str) -> Command {
    Command::DropOne { kind: kind.to_owned(), name: bind::named(kind, name) }
}

/// Parameters that switch protections off.
pub fn is_switch(name: &[u8]) -> bool {
    let ours = name.len() > 8 && name[..8].eq_ignore_ascii_case(b"runbook.");
    ours && !name.eq_ignore_ascii_case(b"runbook.glass")
        || [&b"session_replication_role"[..], b"allow_system_table_mods", b"event_triggers", b"ignore_system_indexes"]
            .iter()
            .any(|switch| name.eq_ignore_ascii_case(switch))
}
