//! Who is asking, and which database this is.

use crate::pg::caught::text;
use pgrx::pg_sys;
use std::ffi::CString;

/// The login: what SET ROLE and SECURITY DEFINER can't change.
pub fn session_role() -> String {
    // SAFETY: a session user is set in every backend that runs SQL.
    role_name(unsafe { pg_sys::GetSessionUserId() })
}

/// The role that the login has chosen, as seen from inside one of our SECURITY DEFINER functions.
pub fn outer_role() -> String {
    // SAFETY: reads a static of miscinit.c.
    role_name(unsafe { pg_sys::GetOuterUserId() })
}

/// The role whose privileges are in force.
pub fn current_role() -> String {
    // SAFETY: reads a static of miscinit.c.
    role_name(unsafe { pg_sys::GetUserId() })
}

fn role_name(role: pg_sys::Oid) -> String {
    // SAFETY: missing_ok: a role that was dropped meanwhile gives null.
    unsafe { text(pg_sys::GetUserNameFromId(role, true)) }
}

/// The database cluster's identifier and this database's OID: what an activation or an approval is bound to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Database {
    /// `system_identifier` of pg_control, as text.
    pub system_identifier: String,
    /// OID in pg_database.
    pub oid: u32,
}

/// The database of this session.
pub fn database() -> Database {
    // SAFETY: both are set before any SQL runs.
    let (system, oid) = unsafe { (pg_sys::GetSystemIdentifier(), pg_sys::MyDatabaseId) };
    Database { system_identifier: system.to_string(), oid: oid.to_u32() }
}

/// The transaction's 64-bit id; assigns one.
pub fn transaction_id() -> u64 {
    // SAFETY: called inside a transaction that writes.
    unsafe { pg_sys::GetTopFullTransactionId().value }
}

/// `application_name`, as the client claims it.
pub fn application_name() -> String {
    config("application_name").unwrap_or_default()
}

/// A configuration parameter's value.
pub fn config(name: &str) -> Option<String> {
    let name = CString::new(name).ok()?;
    // SAFETY: missing_ok, and no privilege restriction for a parameter that anybody may read.
    let value = unsafe { pg_sys::GetConfigOption(name.as_ptr(), true, false) };
    // SAFETY: null or a NUL-terminated string that stays valid until the next call.
    (!value.is_null()).then(|| unsafe { text(value) })
}

/// While it lives, the session acts as the bootstrap superuser; then as before. For our own tables only: no text that
/// a caller wrote may run under it.
pub struct AsOwner {
    role: pg_sys::Oid,
    context: i32,
}

impl AsOwner {
    /// Switches.
    pub fn enter() -> Self {
        let (mut role, mut context) = (pg_sys::InvalidOid, 0);
        // SAFETY: the pair is restored on drop, and by PostgreSQL itself when a transaction aborts.
        unsafe {
            pg_sys::GetUserIdAndSecContext(&mut role, &mut context);
            let restricted = context | pg_sys::SECURITY_LOCAL_USERID_CHANGE as i32;
            pg_sys::SetUserIdAndSecContext(pg_sys::Oid::from(pg_sys::BOOTSTRAP_SUPERUSERID), restricted);
        }
        Self { role, context }
    }
}

impl Drop for AsOwner {
    fn drop(&mut self) {
        // SAFETY: restores what `enter` read.
        unsafe { pg_sys::SetUserIdAndSecContext(self.role, self.context) }
    }
}
