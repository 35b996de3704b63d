//! What the whole cluster shares, and the guard's own kinds: roles, databases, tablespaces, parameters, event triggers, extensions.

use crate::pg::parse::bind;
use crate::pg::parse::grants::bound_roles;
use crate::pg::parse::nodes::{NodePtr, items, string, tag};
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
pub unsafe fn shared_object(node: NodePtr) -> Option<Command> {
    // SAFETY: each arm casts to the struct that its node tag names.
    unsafe {
        Some(match tag(node) {
            NodeTag::T_DropdbStmt => dropped(ObjectKind::Database, &text((*node.cast::<pg_sys::DropdbStmt>()).dbname)),
            NodeTag::T_CreatedbStmt => {
                shared(Verb::Create, ObjectKind::Database, &text((*node.cast::<pg_sys::CreatedbStmt>()).dbname))
            }
            NodeTag::T_AlterDatabaseStmt => {
                shared(Verb::Alter, ObjectKind::Database, &text((*node.cast::<pg_sys::AlterDatabaseStmt>()).dbname))
            }
            NodeTag::T_AlterDatabaseSetStmt => {
                let statement = &*node.cast::<pg_sys::AlterDatabaseSetStmt>();
                shared(setting(statement.setstmt, None), ObjectKind::Database, &text(statement.dbname))
            }
            NodeTag::T_DropTableSpaceStmt => {
                dropped(ObjectKind::Tablespace, &text((*node.cast::<pg_sys::DropTableSpaceStmt>()).tablespacename))
            }
            NodeTag::T_CreateTableSpaceStmt => shared(
                Verb::Create,
                ObjectKind::Tablespace,
                &text((*node.cast::<pg_sys::CreateTableSpaceStmt>()).tablespacename),
            ),
            NodeTag::T_AlterTableSpaceOptionsStmt => shared(
                Verb::Alter,
                ObjectKind::Tablespace,
                &text((*node.cast::<pg_sys::AlterTableSpaceOptionsStmt>()).tablespacename),
            ),
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
                let own = shared(Verb::Create, ObjectKind::Role, &name);
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
                    None => shared_role(Verb::Alter, name),
                }
            }
            NodeTag::T_AlterRoleSetStmt => {
                let statement = &*node.cast::<pg_sys::AlterRoleSetStmt>();
                let database = (!statement.role.is_null() && !statement.database.is_null()).then(|| text(statement.database));
                let verb = setting(statement.setstmt, database.as_deref());
                let name = if statement.role.is_null() { Name::bare("all") } else { bind::role(statement.role) };
                let of_role = shared_role(verb.clone(), name);
                // Of all roles in a database: that is the database's own setting.
                if statement.role.is_null() && !statement.database.is_null() {
                    let of_database = shared(verb, ObjectKind::Database, &text(statement.database));
                    return Some(Command::Several(vec![of_role, of_database]));
                }
                of_role
            }
            NodeTag::T_DropRoleStmt => {
                let names = bound_roles((*node.cast::<pg_sys::DropRoleStmt>()).roles);
                let one = |name| Command::DropOne { kind: ObjectKind::Role, name };
                Command::Several(names.into_iter().map(one).collect())
            }
            NodeTag::T_GrantRoleStmt => {
                let statement = &*node.cast::<pg_sys::GrantRoleStmt>();
                let granted = items(statement.granted_roles);
                let granted = granted
                    .into_iter()
                    .map(|one| bind::named(&ObjectKind::Role, &text((*one.cast::<pg_sys::AccessPriv>()).priv_name)))
                    .collect();
                Command::Membership { granted, members: bound_roles(statement.grantee_roles), revoke: !statement.is_grant }
            }
            NodeTag::T_AlterSystemStmt => {
                let statement = (*node.cast::<pg_sys::AlterSystemStmt>()).setstmt;
                shared(Verb::SetForCluster, ObjectKind::Parameter, &parameter(statement))
            }
            NodeTag::T_CreateEventTrigStmt => {
                shared(Verb::Create, ObjectKind::EventTrigger, &text((*node.cast::<pg_sys::CreateEventTrigStmt>()).trigname))
            }
            NodeTag::T_AlterEventTrigStmt => {
                shared(Verb::Switch, ObjectKind::EventTrigger, &text((*node.cast::<pg_sys::AlterEventTrigStmt>()).trigname))
            }
            NodeTag::T_LoadStmt => Command::Outside {
                verb: Verb::Load,
                kind: ObjectKind::Library,
                name: text((*node.cast::<pg_sys::LoadStmt>()).filename),
            },
            NodeTag::T_CommentStmt => {
                let statement = &*node.cast::<pg_sys::CommentStmt>();
                // Others fire events, which record them.
                let kind = match statement.objtype {
                    ObjectType::OBJECT_DATABASE => ObjectKind::Database,
                    ObjectType::OBJECT_ROLE => ObjectKind::Role,
                    ObjectType::OBJECT_TABLESPACE => ObjectKind::Tablespace,
                    ObjectType::OBJECT_EVENT_TRIGGER => ObjectKind::EventTrigger,
                    _ => return None,
                };
                let names = vec![bind::named(&kind, &string(statement.object))];
                Command::Harmless { verb: Verb::CommentOn, kind, names }
            }
            _ => return None,
        })
    }
}

/// That a parameter is set for a role or a database; `database` where it is for a role in that database alone.
pub unsafe fn setting(statement: *mut pg_sys::VariableSetStmt, database: Option<&str>) -> Verb {
    // SAFETY: null, or a statement that the parser made.
    let name = unsafe { parameter(statement) }.into();
    Verb::SetParameter(Parameter { name, database: database.map(|name| quote(name).into()) })
}

/// The parameter that is set; or that it is about all.
unsafe fn parameter(statement: *mut pg_sys::VariableSetStmt) -> String {
    // SAFETY: null, or a statement that the parser made.
    let name = unsafe { statement.as_ref().map(|statement| text(statement.name)) };
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
