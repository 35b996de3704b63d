//! The hooks for objects and for DML.

use crate::pg::fault;
use crate::pg::hooks::statement_at_hand::{CHECKING, REPORTED};
use crate::pg::hooks::watch::{PREVIOUS, guarded};
use crate::pg::parse::bind;
use crate::pg::session::extension_members::is_own_table;
use crate::pg::session::identity::is_own_sql;
use pgrx::pg_sys;
use runbook_core::identity::Address;
use std::ffi::{c_int, c_void};

/// OID of lo_export(oid, text) (catalog/pg_proc.dat).
const LO_EXPORT: u32 = 765;

/// PostgreSQL's functions that change what statements have no word for (catalog/pg_proc.dat).
const OUTSIDE_OF_STATEMENTS: [(u32, &str); 14] = [
    (3445, "pg_import_system_collations"),
    (3779, "pg_create_physical_replication_slot"),
    (3780, "pg_drop_replication_slot"),
    (3786, "pg_create_logical_replication_slot"),
    (3878, "pg_replication_slot_advance"),
    (4220, "pg_copy_physical_replication_slot"),
    (4221, "pg_copy_physical_replication_slot"),
    (4222, "pg_copy_logical_replication_slot"),
    (4223, "pg_copy_logical_replication_slot"),
    (4224, "pg_copy_logical_replication_slot"),
    (6003, "pg_replication_origin_create"),
    (6004, "pg_replication_origin_drop"),
    (6009, "pg_replication_origin_xact_setup"),
    (6011, "pg_replication_origin_advance"),
];

/// The name of such a function. Calls of functions are many: most are told by one comparison.
fn outside_of_statements(function: u32) -> Option<&'static str> {
    if !(3445..=6011).contains(&function) {
        return None;
    }
    OUTSIDE_OF_STATEMENTS.iter().find(|(oid, _)| *oid == function).map(|(_, name)| *name)
}

/// `object_access_hook`.
///
/// # Safety
/// Called by PostgreSQL.
pub unsafe extern "C-unwind" fn on_access(
    access: pg_sys::ObjectAccessType::Type,
    class: pg_sys::Oid,
    object: pg_sys::Oid,
    part: c_int,
    argument: *mut c_void,
) {
    // SAFETY: the arguments are those of the hook, passed on unchanged; what `argument` is, the kind of access says.
    unsafe {
        if let Some(next) = PREVIOUS.get().and_then(|previous| previous.access) {
            next(access, class, object, part, argument);
        }
        match access {
            pg_sys::ObjectAccessType::OAT_DROP => {
                let flags = if argument.is_null() { 0 } else { (*argument.cast::<pg_sys::ObjectAccessDrop>()).dropflags };
                // Transient tables of rewrites, and temporary ones that go with the session.
                let internal = flags & pg_sys::PERFORM_DELETION_INTERNAL as c_int != 0;
                guarded(|watch| {
                    fault::at("dropped");
                    let unreported = !internal && !REPORTED.get().is_current();
                    let found = Address { class: class.to_u32(), object: object.to_u32(), part };
                    (watch.dropped)(found, unreported);
                });
            }
            // Calls of functions are many: an integer is compared.
            pg_sys::ObjectAccessType::OAT_FUNCTION_EXECUTE if object.to_u32() == LO_EXPORT => {
                guarded(|watch| (watch.exported)());
            }
            pg_sys::ObjectAccessType::OAT_FUNCTION_EXECUTE => {
                if let Some(name) = outside_of_statements(object.to_u32()) {
                    guarded(|watch| (watch.called)(object.to_u32(), name));
                }
            }
            pg_sys::ObjectAccessType::OAT_POST_CREATE if bind::is_shared(class.to_u32()) => {
                guarded(|watch| (watch.created)(Address { class: class.to_u32(), object: object.to_u32(), part: 0 }));
            }
            pg_sys::ObjectAccessType::OAT_TRUNCATE => guarded(|watch| (watch.truncated)(object.to_u32())),
            _ => {}
        }
    }
}

/// `ExecutorCheckPerms_hook`.
///
/// # Safety
/// Called by PostgreSQL.
#[cfg(feature = "pg15")]
pub unsafe extern "C-unwind" fn on_check(range_table: *mut pg_sys::List, report: bool) -> bool {
    // SAFETY: a list of RangeTblEntry, passed on unchanged.
    unsafe {
        let next = PREVIOUS.get().and_then(|previous| previous.check);
        if let Some(next) = next
            && !next(range_table, report)
        {
            return false;
        }
        let length = if range_table.is_null() { 0 } else { (*range_table).length };
        for at in 0..length {
            let entry = (*(*range_table).elements.add(at as usize)).ptr_value.cast::<pg_sys::RangeTblEntry>();
            note_write((*entry).relid, (*entry).requiredPerms);
        }
        true
    }
}

/// `ExecutorCheckPerms_hook`.
///
/// # Safety
/// Called by PostgreSQL.
#[cfg(not(feature = "pg15"))]
pub unsafe extern "C-unwind" fn on_check(range_table: *mut pg_sys::List, permissions: *mut pg_sys::List, report: bool) -> bool {
    // SAFETY: a list of RTEPermissionInfo, passed on unchanged.
    unsafe {
        let next = PREVIOUS.get().and_then(|previous| previous.check);
        if let Some(next) = next
            && !next(range_table, permissions, report)
        {
            return false;
        }
        let length = if permissions.is_null() { 0 } else { (*permissions).length };
        for at in 0..length {
            let entry = (*(*permissions).elements.add(at as usize)).ptr_value.cast::<pg_sys::RTEPermissionInfo>();
            note_write((*entry).relid, (*entry).requiredPerms);
        }
        true
    }
}

/// OIDs below are those of the system's own objects (access/transam.h, FirstNormalObjectId).
const FIRST_NORMAL_OBJECT: u32 = 16384;

/// A few comparisons of integers for an ordinary table.
unsafe fn note_write(table: pg_sys::Oid, permissions: pg_sys::AclMode) {
    const WRITES: u64 = (pg_sys::ACL_INSERT | pg_sys::ACL_UPDATE | pg_sys::ACL_DELETE) as u64;
    let table = table.to_u32();
    if u64::from(permissions) & WRITES == 0 || table == 0 || CHECKING.get() || is_own_sql() {
        return;
    }
    // SAFETY: the check is called inside a transaction.
    unsafe {
        guarded(|watch| {
            fault::at("check");
            if table < FIRST_NORMAL_OBJECT || is_own_table(table) {
                (watch.written)(table);
            }
        });
    }
}
