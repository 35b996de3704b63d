//! The locks that keep two migrators apart, and two sealers.
//!
//! Each is a heavyweight lock on a sub-object of `runbook.state` that nothing else locks (`LockDatabaseObject` with a number
//! of our own): unlike an advisory lock or a lock on the extension, no SQL can take it from outside.

use pgrx::pg_sys;
use std::time::Duration;

/// OID of pg_class, from catalog/pg_class.h.
const CLASS_CATALOG: u32 = 1259;

/// The sub-object's number, as pg_locks shows it in `objsubid`.
pub const SUBOBJECT: u16 = 4242;

fn state_table() -> pg_sys::Oid {
    // SAFETY: the names are NUL-terminated; missing_ok.
    unsafe {
        let schema = pg_sys::get_namespace_oid(c"runbook".as_ptr(), true);
        pg_sys::get_relname_relid(c"state".as_ptr(), schema)
    }
}

/// Takes the migrator's lock until the end of the transaction, if it is free.
pub fn try_migrator() -> bool {
    // SAFETY: ExclusiveLock on an object of this database; held to the end of the transaction like any lock.
    unsafe {
        pg_sys::ConditionalLockDatabaseObject(
            pg_sys::Oid::from(CLASS_CATALOG),
            state_table(),
            SUBOBJECT,
            pg_sys::ExclusiveLock as pg_sys::LOCKMODE,
        )
    }
}

/// The sealer's sub-object.
const SEALER: u16 = 4243;

/// Takes the sealer's lock until the end of the transaction; waits for it. What others have sealed is visible to a snapshot taken
/// afterwards.
pub fn wait_for_sealer() {
    // SAFETY: as above; waiting gives way to cancellation and timeouts.
    unsafe {
        pg_sys::LockDatabaseObject(
            pg_sys::Oid::from(CLASS_CATALOG),
            state_table(),
            SEALER,
            pg_sys::ExclusiveLock as pg_sys::LOCKMODE,
        );
    }
}

/// Sleeps, and gives way to cancellation, termination and timeouts.
pub fn pause(duration: Duration) {
    std::thread::sleep(duration);
    pgrx::check_for_interrupts!();
}
