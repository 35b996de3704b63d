//! The lock that keeps two migrators apart.
//!
//! It is a heavyweight lock on the extension itself (`LockDatabaseObject` on pg_extension), which no role but the
//! extension's owner can take: unlike an advisory lock, nobody can block migrations with it from outside.

use pgrx::pg_sys;
use std::time::Duration;

/// OID of pg_extension, from catalog/pg_extension.h.
const EXTENSION_CATALOG: u32 = 3079;

fn extension() -> pg_sys::Oid {
    // SAFETY: the name is NUL-terminated; missing_ok.
    unsafe { pg_sys::get_extension_oid(c"pg_runbook".as_ptr(), true) }
}

/// Takes the migrator's lock until the end of the transaction, if it is free.
pub fn try_migrator() -> bool {
    // SAFETY: ExclusiveLock on an object of this database; held to the end of the transaction like any lock.
    unsafe {
        pg_sys::ConditionalLockDatabaseObject(
            pg_sys::Oid::from(EXTENSION_CATALOG),
            extension(),
            0,
            pg_sys::ExclusiveLock as pg_sys::LOCKMODE,
        )
    }
}

/// Sleeps, and gives way to cancellation, termination and timeouts.
pub fn pause(duration: Duration) {
    std::thread::sleep(duration);
    pgrx::check_for_interrupts!();
}
