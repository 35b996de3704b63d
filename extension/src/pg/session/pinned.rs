//! The pinned session of a migration: parameters at known values, and the migration role in force.

use crate::pg::ffi;
use crate::pg::pg_error::{PgError, trap};
use crate::pg::session::parameters;
use crate::pg::strings::text;
use pgrx::pg_sys;
use runbook_core::identity::Address;
use std::ffi::{CStr, CString, c_char};

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
    pub fn enter(parameters: &[(CString, CString)], role: Option<&str>) -> Result<Self, PgError> {
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
        for (name, value) in parameters::of_the_session() {
            // SAFETY: as above; without a value it is set back.
            unsafe { set(&name, value.as_deref(), pg_sys::GucAction::GUC_ACTION_SAVE) }?;
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
        (0..length)
            .map(|at| (*(*list).elements.add(at)).oid_value)
            .filter(|oid| !pg_sys::isAnyTempNamespace(*oid))
            .map(|oid| text(pg_sys::get_namespace_name(oid)))
            .collect()
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

/// Whether the search path says that the temporary schema comes first.
pub fn searches_temporary_first() -> bool {
    // SAFETY: the parameter's own variable, NUL-terminated.
    let path = unsafe { CStr::from_ptr(pg_sys::namespace_search_path) }.to_string_lossy();
    path.split(',').next().is_some_and(|first| first.trim().trim_matches('"') == "pg_temp")
}

/// Whether any cursor is open, in a transaction that is to fail if one is: PostgreSQL's look at them is not ended where it finds one
/// (`ThereAreNoReadyPortals` in `portalmem.c`), and more than a hundred of those end the server.
pub fn has_open_cursors() -> bool {
    // SAFETY: looks through the session's portals.
    unsafe { !pg_sys::ThereAreNoReadyPortals() }
}

/// Closes a cursor.
pub fn close_cursor(name: &str) {
    let name = CString::new(name).unwrap_or_default();
    // SAFETY: NUL-terminated; null where there is no such portal. One that is being run is left alone.
    unsafe {
        let portal = pg_sys::GetPortalByName(name.as_ptr());
        if !portal.is_null() && (*portal).status == pg_sys::PortalStatus::PORTAL_READY {
            pg_sys::PortalDrop(portal, false);
        }
    }
}

/// What a prepared statement is, whatever its name: where its plan lies, and which relations it has found.
#[derive(Debug, PartialEq, Eq)]
pub struct Plan {
    address: usize,
    relations: Vec<u32>,
}

/// The plan of a prepared statement.
pub fn plan(name: &str) -> Plan {
    let name = CString::new(name).unwrap_or_default();
    // SAFETY: NUL-terminated; null where there is none. The list holds OIDs.
    unsafe {
        let found = pg_sys::FetchPreparedStatement(name.as_ptr(), false);
        let Some(statement) = found.as_ref() else { return Plan { address: 0, relations: vec![] } };
        let list = (*statement.plansource).relationOids;
        let length = if list.is_null() { 0 } else { usize::try_from((*list).length).unwrap_or(0) };
        let relations = (0..length).map(|at| (*(*list).elements.add(at)).oid_value.to_u32()).collect();
        Plan { address: statement.plansource.addr(), relations }
    }
}

/// The subtransaction in which a cursor was opened; 0 without one.
pub fn cursor_opened_in(name: &str) -> u32 {
    let name = CString::new(name).unwrap_or_default();
    // SAFETY: NUL-terminated; null where there is no such portal.
    unsafe { pg_sys::GetPortalByName(name.as_ptr()).as_ref() }.map_or(0, |portal| portal.createSubid)
}

/// Forgets a prepared statement.
pub fn deallocate(name: &str) {
    let name = CString::new(name).unwrap_or_default();
    // SAFETY: NUL-terminated; no error where it is gone.
    unsafe { pg_sys::DropPreparedStatement(name.as_ptr(), false) };
}

/// Drops objects of the session's temporary schema, as the end of the session would.
pub fn drop_temporary(objects: &[Address]) {
    if objects.is_empty() {
        return;
    }
    let flags = pg_sys::PERFORM_DELETION_INTERNAL | pg_sys::PERFORM_DELETION_QUIETLY | pg_sys::PERFORM_DELETION_SKIP_EXTENSIONS;
    // SAFETY: addresses that pg_depend has just named; what goes along with another of them is dropped once.
    unsafe {
        let all = pg_sys::new_object_addresses();
        for one in objects {
            let address = pg_sys::ObjectAddress {
                classId: pg_sys::Oid::from(one.class),
                objectId: pg_sys::Oid::from(one.object),
                objectSubId: one.part,
            };
            pg_sys::add_exact_object_address(&address, all);
        }
        pg_sys::performMultipleDeletions(all, pg_sys::DropBehavior::DROP_CASCADE, flags as i32);
        pg_sys::free_object_addresses(all);
        pg_sys::CommandCounterIncrement();
    }
}

/// Releases an advisory lock as often as the session holds it; one of the transaction stays until its end.
pub fn release_advisory(database: u32, class: u32, object: u32, sub: u16, exclusive: bool) {
    let tag = pg_sys::LOCKTAG {
        locktag_field1: database,
        locktag_field2: class,
        locktag_field3: object,
        locktag_field4: sub,
        locktag_type: pg_sys::LockTagType::LOCKTAG_ADVISORY as u8,
        locktag_lockmethodid: pg_sys::USER_LOCKMETHOD as u8,
    };
    let mode = if exclusive { pg_sys::ExclusiveLock } else { pg_sys::ShareLock };
    // Where the session does not hold it there is a warning, which is nothing for the client.
    let _quiet = Quiet::enter();
    // SAFETY: a lock tag as pg_locks shows it.
    while unsafe { pg_sys::LockRelease(&tag, mode as i32, true) } {}
}

/// Has the session listen to these channels and to no others, from the commit on.
pub fn listen_only_to(channels: &[String]) {
    let names: Vec<CString> = channels.iter().map(|channel| CString::new(channel.as_str()).unwrap_or_default()).collect();
    let pointers: Vec<*const c_char> = names.iter().map(|name| name.as_ptr()).collect();
    // SAFETY: NUL-terminated names, which are copied. Nothing is queued where nothing can be listened to.
    if let Err(caught) = unsafe { trap!(ffi::listen_only_to, pointers.as_ptr(), pointers.len()) } {
        caught.raise();
    }
}

/// Closes every descriptor of a large object. Privileges are asked for where one is opened, and never again.
pub fn close_large_objects() {
    // SAFETY: what PostgreSQL itself does at a commit. Descriptors that are opened afterwards begin anew.
    if let Err(caught) = unsafe { trap!(ffi::AtEOXact_LargeObject, true) } {
        caught.raise();
    }
}

/// While it lives, only errors are reported, to the client and to the log.
pub struct Quiet {
    client: i32,
    log: i32,
}

impl Quiet {
    /// Begins.
    pub fn enter() -> Self {
        let quiet = pgrx::PgLogLevel::ERROR as i32;
        // SAFETY: the parameters' own variables, which are put back on drop.
        unsafe {
            let old = Self { client: pg_sys::client_min_messages, log: pg_sys::log_min_messages };
            (pg_sys::client_min_messages, pg_sys::log_min_messages) = (quiet, quiet);
            old
        }
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        // SAFETY: see `enter`.
        unsafe { (pg_sys::client_min_messages, pg_sys::log_min_messages) = (self.client, self.log) }
    }
}

/// Whether triggers of a table wait for the end of the transaction.
pub fn has_pending_triggers(table: u32) -> bool {
    // SAFETY: looks through the transaction's own list of events.
    unsafe { pg_sys::AfterTriggerPendingOnRel(pg_sys::Oid::from(table)) }
}

/// What the unqualified name of a relation means.
pub fn relation_oid(name: &str) -> Option<u32> {
    let name = CString::new(name).unwrap_or_default();
    // SAFETY: NUL-terminated; looks along the search path and raises nothing.
    let found = unsafe { pg_sys::RelnameGetRelid(name.as_ptr()) }.to_u32();
    (found != 0).then_some(found)
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
pub unsafe fn set_parameter(name: &CStr, value: &CStr, action: pg_sys::GucAction::Type) -> Result<(), PgError> {
    // SAFETY: as the caller promises.
    unsafe { set(name, Some(value), action) }
}

/// Sets a parameter, or sets it back to what the session began with.
///
/// # Safety
/// Inside a transaction.
unsafe fn set(name: &CStr, value: Option<&CStr>, action: pg_sys::GucAction::Type) -> Result<(), PgError> {
    let (context, source) = (pg_sys::GucContext::PGC_SUSET, pg_sys::GucSource::PGC_S_SESSION);
    let value = value.map_or(std::ptr::null(), CStr::as_ptr);
    // SAFETY: both strings are NUL-terminated and outlive the call.
    unsafe { trap!(ffi::set_config_option, name.as_ptr(), value, context, source, action, true, 0, false) }.map(|_| ())
}
