//! What belongs to the extension: its tables, its members, and whether it is here at all. Looked up once, and again after a schema has
//! changed: every statement asks.

use crate::pg::session::latest::event_triggers_version as schemas_version;
use crate::pg::session::scans::dependents;
use pgrx::pg_sys;
use runbook_core::identity::Address;
use runbook_core::inventory::TABLES;
use std::cell::Cell;
use std::ffi::{CString, c_int};

thread_local! {
    static OWN_TABLES: Cell<Option<[u32; TABLES.len()]>> = const { Cell::new(None) };
    static LISTENS: Cell<bool> = const { Cell::new(false) };
}

/// Whether a table is ours. Names are looked up once per session, and again after a schema has changed.
pub fn is_own_table(table: u32) -> bool {
    if let Some(known) = OWN_TABLES.get() {
        return known.contains(&table);
    }
    // SAFETY: look-ups in catalog caches with missing_ok; the callback forgets what was found when a schema changes.
    let found = unsafe {
        if !LISTENS.replace(true) {
            pg_sys::CacheRegisterSyscacheCallback(
                pg_sys::SysCacheIdentifier::NAMESPACEOID as c_int,
                Some(forget_tables),
                pg_sys::Datum::from(0),
            );
        }
        let schema = pg_sys::get_namespace_oid(c"runbook".as_ptr(), true);
        let extension = if schema == pg_sys::InvalidOid { schema } else { own_extension() };
        TABLES.map(|name| {
            if extension == pg_sys::InvalidOid {
                return 0;
            }
            let name = CString::new(name).unwrap_or_default();
            let table = pg_sys::get_relname_relid(name.as_ptr(), schema);
            if is_table_of(table, extension) { table.to_u32() } else { 0 }
        })
    };
    OWN_TABLES.set(Some(found));
    found.contains(&table)
}

unsafe extern "C-unwind" fn forget_tables(_argument: pg_sys::Datum, _cache: c_int, _hash: u32) {
    OWN_TABLES.set(None);
}

thread_local! {
    /// The extension, and whether it is whole enough to be asked; as of a version of the schemas.
    static EXTENSION: Cell<Option<(u64, pg_sys::Oid, bool)>> = const { Cell::new(None) };
}

/// OID of the extension, and whether its tables are its own. Looked up again after a schema has changed: the extension can't come or
/// go without its schema.
fn extension() -> (pg_sys::Oid, bool) {
    let version = schemas_version();
    if let Some((_, extension, whole)) = EXTENSION.get().filter(|known| known.0 == version) {
        return (extension, whole);
    }
    // SAFETY: look-ups in catalogs with missing_ok, inside a transaction.
    let (extension, whole) = unsafe {
        let schema = pg_sys::get_namespace_oid(c"runbook".as_ptr(), true);
        if schema == pg_sys::InvalidOid {
            (schema, false)
        } else {
            // Anybody can make a schema and a view of these names, where the extension is not.
            let extension = pg_sys::get_extension_oid(c"pg_runbook".as_ptr(), true);
            let table = pg_sys::get_relname_relid(c"activation".as_ptr(), schema);
            (extension, extension != pg_sys::InvalidOid && is_table_of(table, extension))
        }
    };
    // SAFETY: reads a static of extension.c.
    if !unsafe { pg_sys::creating_extension } {
        EXTENSION.set(Some((version, extension, whole)));
    }
    (extension, whole)
}

/// Whether the extension is in this database, and not just being created or dropped. While it is updated, its script makes it what it will
/// be, and everything else that happens meanwhile is judged as always.
pub fn is_installed() -> bool {
    // SAFETY: look-ups in catalog caches, inside a transaction; the statics are of extension.c.
    unsafe {
        if !pg_sys::IsTransactionState() {
            return false;
        }
        let (extension, whole) = extension();
        whole
            && pg_sys::get_relname_relid(c"activation".as_ptr(), pg_sys::get_namespace_oid(c"runbook".as_ptr(), true))
                != pg_sys::InvalidOid
            && !(pg_sys::creating_extension
                && pg_sys::CurrentExtensionObject == extension
                && (UPDATED.get() != extension || is_in_a_script()))
    }
}

thread_local! {
    /// What stood on the stack of error contexts when CREATE or ALTER EXTENSION began.
    static SCRIPT_CONTEXT: Cell<*mut pg_sys::ErrorContextCallback> = const { Cell::new(std::ptr::null_mut()) };
    /// Our extension, if it was whole when that began.
    static UPDATED: Cell<pg_sys::Oid> = const { Cell::new(pg_sys::InvalidOid) };
}

/// CREATE or ALTER EXTENSION begins.
pub fn expect_a_script() {
    // SAFETY: reads statics of extension.c and elog.c.
    unsafe {
        if !pg_sys::creating_extension {
            SCRIPT_CONTEXT.set(pg_sys::error_context_stack);
            let (extension, whole) = extension();
            UPDATED.set(if whole { extension } else { pg_sys::InvalidOid });
        }
    }
}

/// Whether the statement is part of the script that updates our own extension.
pub fn is_in_own_script() -> bool {
    extension_of_the_script().is_some_and(|extension| extension == own_extension().to_u32())
}

/// Tells every session, when the transaction commits, that the extension has other members than before.
pub fn announce_members() {
    // SAFETY: queues an invalidation message, inside a transaction; the catalog of schemas is what all that is remembered here goes by.
    unsafe { pg_sys::CacheInvalidateCatalog(pg_sys::NamespaceRelationId) }
}

/// Whether the statement is part of an extension's script, of CREATE EXTENSION or ALTER EXTENSION … UPDATE. What an event trigger, a
/// function or a DO block does meanwhile is not: each of these has put something of its own on the stack of error contexts.
pub fn is_in_a_script() -> bool {
    extension_of_the_script().is_some()
}

/// The extension of whose script the statement is part.
pub fn extension_of_the_script() -> Option<u32> {
    // SAFETY: reads statics of extension.c and elog.c.
    unsafe {
        let directly = pg_sys::creating_extension && pg_sys::error_context_stack == SCRIPT_CONTEXT.get();
        directly.then(|| pg_sys::CurrentExtensionObject.to_u32())
    }
}

/// Whether a relation is an ordinary table that belongs to the extension.
unsafe fn is_table_of(relation: pg_sys::Oid, extension: pg_sys::Oid) -> bool {
    // SAFETY: look-ups in a catalog cache and in pg_depend.
    unsafe {
        relation != pg_sys::InvalidOid
            && pg_sys::get_rel_relkind(relation) as u8 == b'r'
            && pg_sys::getExtensionOfObject(pg_sys::RelationRelationId, relation) == extension
    }
}

/// OID of the extension; 0 if it is not in this database.
fn own_extension() -> pg_sys::Oid {
    extension().0
}

thread_local! {
    /// The highest OID of a member of the extension, as of a version of the schemas.
    static LAST_MEMBER: Cell<Option<(u64, u32)>> = const { Cell::new(None) };
}

fn last_member(extension: pg_sys::Oid) -> u32 {
    let version = schemas_version();
    if let Some((_, last)) = LAST_MEMBER.get().filter(|known| known.0 == version) {
        return last;
    }
    let mut last = 0;
    let extension = Address { class: pg_sys::ExtensionRelationId.to_u32(), object: extension.to_u32(), part: 0 };
    dependents(extension, |_, member| {
        last = last.max(member);
        true
    });
    LAST_MEMBER.set(Some((version, last)));
    last
}

/// Whether the object is the extension itself or a member of it.
pub fn is_own(object: Address) -> bool {
    let extension = own_extension();
    if extension == pg_sys::InvalidOid {
        return false;
    }
    if object.class == pg_sys::ExtensionRelationId.to_u32() {
        return object.object == extension.to_u32();
    }
    // Whatever is made after the extension has a higher OID than its members: tables that come and go are not looked up.
    if object.object > last_member(extension) {
        return false;
    }
    // SAFETY: a scan of pg_depend.
    unsafe { pg_sys::getExtensionOfObject(pg_sys::Oid::from(object.class), pg_sys::Oid::from(object.object)) == extension }
}
