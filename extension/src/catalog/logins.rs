//! Logins: which of them may be one person, and who may approve.

use crate::error::Result;
use crate::pg::session::identity::{session_oid, session_role};
use crate::spi::read;
use pgrx::pg_sys::Oid;
use runbook_core::approval::Login;

/// The login of this session.
pub fn this_login() -> Result<Login> {
    login(&session_role(), session_oid())
}

/// A login, with the login roles that it is or may become by membership.
pub fn login(name: &str, oid: u32) -> Result<Login> {
    let rows = read(
        "WITH RECURSIVE up (oid) AS (SELECT $1 UNION SELECT m.roleid FROM pg_catalog.pg_auth_members AS m \
             JOIN up AS u ON m.member OPERATOR(pg_catalog.=) u.oid) \
         SELECT u.oid FROM up AS u JOIN pg_catalog.pg_roles AS r ON r.oid OPERATOR(pg_catalog.=) u.oid WHERE r.rolcanlogin",
        &[Oid::from(oid).into()],
        |row| row.get::<Oid>(1),
    )?;
    let identities = rows.into_iter().map(Oid::to_u32).chain([oid]).collect();
    Ok(Login { name: name.to_owned(), identities })
}

/// The OID of a role, and whether it is a superuser.
pub fn role(name: &str) -> Result<Option<(u32, bool)>> {
    let rows = read(
        "SELECT r.oid, r.rolsuper FROM pg_catalog.pg_roles AS r WHERE r.rolname OPERATOR(pg_catalog.=) $1::pg_catalog.name",
        &[name.into()],
        |row| Ok((row.get::<Oid>(1)?.to_u32(), row.get(2)?)),
    )?;
    Ok(rows.into_iter().next())
}

/// Logins that are members of all of `roles`, in alphabetical order, superusers by grant only; at most fifty.
pub fn logins_with(roles: &[&str]) -> Result<Vec<(String, u32)>> {
    read(
        "WITH RECURSIVE down (role, oid) AS ( \
             SELECT r.rolname, r.oid FROM pg_catalog.pg_roles AS r WHERE r.rolname OPERATOR(pg_catalog.=) ANY ($1::pg_catalog.name[]) \
             UNION SELECT d.role, m.member FROM pg_catalog.pg_auth_members AS m JOIN down AS d ON m.roleid OPERATOR(pg_catalog.=) d.oid) \
         SELECT r.rolname::pg_catalog.text, r.oid FROM pg_catalog.pg_roles AS r WHERE r.rolcanlogin AND ( \
             SELECT pg_catalog.count(DISTINCT d.role) FROM down AS d WHERE d.oid OPERATOR(pg_catalog.=) r.oid \
         ) OPERATOR(pg_catalog.=) pg_catalog.cardinality($1)::pg_catalog.int8 \
         ORDER BY r.rolname USING OPERATOR(pg_catalog.<) LIMIT 50",
        &[roles.iter().map(|role| (*role).to_owned()).collect::<Vec<_>>().into()],
        |row| Ok((row.get(1)?, row.get::<Oid>(2)?.to_u32())),
    )
}
