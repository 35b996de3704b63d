//! The pinned session of a migration: parameters at known values, and the migration role in force.

use crate::pg::caught::{Caught, text, trap};
use crate::pg::ffi;
use pgrx::pg_sys;
use std::ffi::{CStr, CString};

/// While it lives, the pinned parameters and the migration role are in force. Dropping it restores everything that the
/// migration may have SET, and the caller's identity.
///
/// The switch is of the kind that SECURITY DEFINER functions make (`SECURITY_LOCAL_USERID_CHANGE`), under which
/// PostgreSQL refuses SET ROLE, RESET ROLE and SET SESSION AUTHORIZATION: SQL can't undo it.
pub struct Pinned {
    nest_level: i32,
    role: pg_sys::Oid,
    context: i32,
}

impl Pinned {
    /// Pins `parameters` and switches to `role` (`None`: the role that called).
    ///
    /// # Errors
    /// PostgreSQL's own, for a parameter value that it refuses; and "role does not exist".
    pub fn enter(parameters: &[(CString, CString)], role: Option<&str>) -> Result<Self, Caught> {
        let name = role.map(|role| CString::new(role).unwrap_or_default());
        let target = match &name {
            // SAFETY: NUL-terminated; raises an error if there is no such role, which `trap` catches.
            Some(name) => unsafe { trap!(ffi::get_role_oid, name.as_ptr(), false) }?,
            // SAFETY: reads a static of miscinit.c. Functions that get here run with the privileges of their caller.
            None => unsafe { pg_sys::GetUserId() },
        };
        let (mut role, mut context) = (pg_sys::InvalidOid, 0);
        // SAFETY: the nest level is closed on drop, or by PostgreSQL when the transaction aborts.
        let nest_level = unsafe {
            pg_sys::GetUserIdAndSecContext(&mut role, &mut context);
            pg_sys::NewGUCNestLevel()
        };
        let pinned = Self { nest_level, role, context };
        for (name, value) in parameters {
            // SAFETY: both strings are NUL-terminated and outlive the call.
            unsafe { set_parameter(name, value, pg_sys::GucAction::GUC_ACTION_SAVE) }?;
        }
        // SAFETY: restored on drop. Only the flag of a local change is set: a full security-restricted operation would
        // forbid temporary tables, which migrations use.
        unsafe { pg_sys::SetUserIdAndSecContext(target, context | pg_sys::SECURITY_LOCAL_USERID_CHANGE as i32) };
        Ok(pinned)
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        // SAFETY: restores what `enter` saved; `false` undoes plain SETs of the migration too (guc.c, AtEOXact_GUC).
        unsafe {
            pg_sys::SetUserIdAndSecContext(self.role, self.context);
            pg_sys::AtEOXact_GUC(false, self.nest_level);
        }
    }
}

/// The schemas in which unqualified names are looked up, in order, temporary and system schemas left out.
pub fn search_path() -> Vec<String> {
    // SAFETY: a fresh list of namespace OIDs in the current memory context; names are copied.
    unsafe {
        let list = pg_sys::fetch_search_path(false);
        let length = if list.is_null() { 0 } else { usize::try_from((*list).length).unwrap_or(0) };
        (0..length).map(|at| text(pg_sys::get_namespace_name((*(*list).elements.add(at)).oid_value))).collect()
    }
}

/// The schemas that are searched, in order, with those that PostgreSQL puts in front; the session's temporary schema as
/// `pg_temp`.
pub fn resolution() -> Vec<String> {
    // SAFETY: a fresh list of namespace OIDs in the current memory context; names are copied.
    unsafe {
        let list = pg_sys::fetch_search_path(true);
        let length = if list.is_null() { 0 } else { usize::try_from((*list).length).unwrap_or(0) };
        (0..length)
            .map(|at| (*(*list).elements.add(at)).oid_value)
            .map(|oid| if pg_sys::isTempNamespace(oid) { "pg_temp".to_owned() } else { text(pg_sys::get_namespace_name(oid)) })
            .collect()
    }
}

/// Whether any cursor is open.
pub fn has_open_cursors() -> bool {
    // SAFETY: looks through the session's portals.
    unsafe { !pg_sys::ThereAreNoReadyPortals() }
}

/// Whether the unqualified name of a relation means something.
pub fn relation_exists(name: &CStr) -> bool {
    // SAFETY: NUL-terminated; looks along the search path and raises nothing.
    unsafe { pg_sys::RelnameGetRelid(name.as_ptr()) != pg_sys::InvalidOid }
}

/// Sets a parameter with the rights of a superuser.
///
/// # Safety
/// Inside a transaction.
pub(super) unsafe fn set_parameter(name: &CStr, value: &CStr, action: pg_sys::GucAction::Type) -> Result<(), Caught> {
    let (context, source) = (pg_sys::GucContext::PGC_SUSET, pg_sys::GucSource::PGC_S_SESSION);
    // SAFETY: both strings are NUL-terminated and outlive the call.
    unsafe { trap!(ffi::set_config_option, name.as_ptr(), value.as_ptr(), context, source, action, true, 0, false) }.map(|_| ())
}
