//! GRANT and REVOKE.

use crate::pg::parse::bind;
use crate::pg::parse::kinds::word;
use crate::pg::parse::names::{object, relation, schema};
use crate::pg::parse::nodes::{items, string, strings};
use crate::pg::strings::text;
use pgrx::pg_sys::{self, ObjectType};
use runbook_core::command::{Command, Name};
use runbook_core::vocabulary::object_kind::ObjectKind;

/// The roles of a list, each bound to the role that has its name now.
pub fn bound_roles(list: *mut pg_sys::List) -> Vec<Name> {
    items(list).into_iter().map(|one| bind::role(one.cast())).collect()
}

/// GRANT and REVOKE on objects.
pub fn grant(statement: &pg_sys::GrantStmt) -> Command {
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
            (kind, members.into_iter().map(|one| relation(one.cast())).collect())
        }
        pg_sys::GrantTargetType::ACL_TARGET_OBJECT => {
            (kind, members.into_iter().map(|one| object(statement.objtype, one)).collect())
        }
        pg_sys::GrantTargetType::ACL_TARGET_ALL_IN_SCHEMA => {
            (ObjectKind::EveryInSchema(Box::new(kind)), members.into_iter().map(|one| schema(&string(one))).collect())
        }
        _ => (ObjectKind::DefaultPrivileges(Box::new(kind)), vec![Name::bare("")]),
    };
    let privileges = if privileges.is_empty() { vec!["all".to_owned()] } else { privileges };
    Command::Grant { kind, names, privileges, roles: bound_roles(statement.grantees), revoke: !statement.is_grant }
}

fn is_named_by_range(kind: ObjectType::Type) -> bool {
    matches!(kind, ObjectType::OBJECT_TABLE | ObjectType::OBJECT_SEQUENCE)
}
