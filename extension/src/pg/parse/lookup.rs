//! Look-ups of names that PostgreSQL may answer with an error: a type that is not there, a name of too many parts, a schema
//! that the role may not use.
//!
//! The guard asks before the statement does. It never raises such an error itself: the statement will, at the right place and
//! with the right position, and a client must not notice that it was asked for before. Until then nothing is known of the
//! statement, and [`failures`] says so; see `guard::unresolved` for what becomes of one that PostgreSQL takes all the same.

use crate::pg::execute::subtransaction;
use crate::pg::failure::Failure;
use crate::pg::session::pinned::Quiet;
use pgrx::pg_sys;
use std::cell::Cell;
use std::ffi::{CStr, c_char};

thread_local! {
    static FAILURES: Cell<u64> = const { Cell::new(0) };
}

/// How many look-ups have failed in this process so far.
pub fn failures() -> u64 {
    FAILURES.get()
}

/// Takes note that a look-up would have failed.
pub fn note_failure() {
    FAILURES.set(FAILURES.get() + 1);
}

/// Makes a look-up that may raise an error, in a subtransaction that is rolled back if it does; `None` then.
pub fn attempt<T>(look: impl FnOnce() -> Result<T, Failure>) -> Option<T> {
    // The statement will say the same, if it comes to that.
    let _quiet = Quiet::enter();
    let found = subtransaction::attempt(look);
    if found.is_none() {
        note_failure();
    }
    found
}

/// Whether PostgreSQL would look a relation up in the place that its name gives, instead of raising an error: the database is
/// this one, and the role may use the schema.
///
/// # Safety
/// Both are NUL-terminated, or null.
pub unsafe fn may_look_into(database: *const c_char, schema: *const c_char) -> bool {
    let may =
        // SAFETY: as the caller promises; look-ups in catalog caches with missing_ok, inside a transaction.
        unsafe { (database.is_null() || is_this_database(CStr::from_ptr(database))) && (schema.is_null() || may_use(schema)) };
    if !may {
        note_failure();
    }
    may
}

fn is_this_database(name: &CStr) -> bool {
    // SAFETY: a database that a session is connected to has a name, in memory of its own.
    unsafe {
        let own = pg_sys::get_database_name(pg_sys::MyDatabaseId);
        !own.is_null() && CStr::from_ptr(own) == name
    }
}

/// What `LookupExplicitNamespace` (catalog/namespace.c) asks, without an error.
unsafe fn may_use(schema: *const c_char) -> bool {
    // SAFETY: NUL-terminated; missing_ok.
    unsafe {
        let found = pg_sys::get_namespace_oid(schema, true);
        if found == pg_sys::InvalidOid {
            // The session's temporary schema goes by this name, and what is not there has no privileges.
            return true;
        }
        #[cfg(feature = "pg15")]
        let answer = pg_sys::pg_namespace_aclcheck(found, pg_sys::GetUserId(), pg_sys::ACL_USAGE);
        #[cfg(not(feature = "pg15"))]
        let answer = pg_sys::object_aclcheck(pg_sys::NamespaceRelationId, found, pg_sys::GetUserId(), pg_sys::ACL_USAGE.into());
        answer == pg_sys::AclResult::ACLCHECK_OK
    }
}
