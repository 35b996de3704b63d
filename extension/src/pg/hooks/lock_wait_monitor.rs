//! Which sessions block a lock, seen from the process that waits for it.
//!
//! While it sleeps in the queue, PostgreSQL wakes it once, after `deadlock_timeout`, looks for a deadlock, and says in the server log that
//! it still waits, if `log_lock_waits` is on. That message is the moment used here: no latch and no lock of the lock table is held, and
//! `pg_blocking_pids` answers. Then the timer is set again, so that the moment comes back, and with it the search for deadlocks: a
//! migration finds a deadlock before the application does, and gives way.

use crate::pg::callback::never_raising;
use crate::pg::ffi;
use pgrx::pg_sys;
use std::cell::{Cell, RefCell};
use std::ffi::c_int;
use std::sync::OnceLock;
use std::time::Duration;

static PREVIOUS: OnceLock<pg_sys::emit_log_hook_type> = OnceLock::new();

thread_local! {
    static WATCHING: Cell<bool> = const { Cell::new(false) };
    /// After how many microseconds of idling in a transaction a blocker is ended; 0: never.
    static PATIENCE: Cell<i64> = const { Cell::new(0) };
    static SEEN: RefCell<Seen> = const { RefCell::new(Seen { blockers: Vec::new(), ended: Vec::new() }) };
}

/// What was seen during waits.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Processes that were in the way when it was last looked.
    pub blockers: Vec<i32>,
    /// Those that were ended because they idled in a transaction.
    pub ended: Vec<i32>,
}

/// Installs the hook; called once, when the library is loaded.
pub fn install() {
    // SAFETY: _PG_init runs in a single thread; the previous hook is kept and called.
    unsafe {
        if PREVIOUS.set(pg_sys::emit_log_hook).is_ok() {
            pg_sys::emit_log_hook = Some(on_log);
        }
    }
}

/// While it lives, waits for locks in this process are looked at.
pub struct Watch {
    before: bool,
}

impl Watch {
    /// Starts looking; `patience` is how long a blocker may idle in a transaction before it is ended, `None`: for ever.
    pub fn enter(patience: Option<Duration>) -> Self {
        let micros = patience.map_or(0, |patience| i64::try_from(patience.as_micros()).unwrap_or(i64::MAX));
        PATIENCE.set(micros);
        Self { before: WATCHING.replace(true) }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        WATCHING.set(self.before);
    }
}

/// What has been seen since it was last asked.
pub fn take() -> Seen {
    SEEN.take()
}

unsafe extern "C-unwind" fn on_log(data: *mut pg_sys::ErrorData) {
    // SAFETY: called by EmitErrorReport with a live ErrorData. Nothing here waits, or reads a catalog.
    unsafe {
        if let Some(Some(previous)) = PREVIOUS.get() {
            previous(data);
        }
        if !WATCHING.get() || (*data).elevel != pgrx::PgLogLevel::LOG as c_int || !speaks_of_waiting(data) {
            return;
        }
        // Whoever wants these in the log has log_lock_waits on for all; here they come too often.
        (*data).output_to_server = false;
        if waits() {
            never_raising("while a lock was waited for", || {
                crate::pg::fault::at("log");
                look();
            });
            ffi::enable_timeout_after(DEADLOCK_TIMEOUT, pg_sys::DeadlockTimeout);
        }
    }
}

/// Whether it is one of the messages of `log_lock_waits` (storage/lmgr/proc.c), by its text in the source.
unsafe fn speaks_of_waiting(data: *const pg_sys::ErrorData) -> bool {
    // SAFETY: a NUL-terminated string, or null.
    let id = unsafe { crate::pg::strings::text((*data).message_id) };
    id.starts_with("process %d ") && [" waiting for ", " acquired "].iter().any(|words| id.contains(words))
}

/// From utils/timeout.h.
const DEADLOCK_TIMEOUT: c_int = 1;

/// Whether this process is waiting for a lock.
unsafe fn waits() -> bool {
    // SAFETY: a PGPROC, or null.
    unsafe { pg_sys::MyProc.as_ref() }.is_some_and(|process| !process.waitLock.is_null())
}

unsafe fn look() {
    let blockers: Option<Vec<Option<i32>>> =
        // SAFETY: the function takes a process number and reads shared memory, under its own latches.
        unsafe { pgrx::direct_function_call(pg_sys::pg_blocking_pids, &[Some(pg_sys::Datum::from(pg_sys::MyProcPid))]) };
    // A prepared transaction has no process: it is shown as 0.
    let blockers: Vec<i32> = blockers.unwrap_or_default().into_iter().flatten().filter(|pid| *pid > 0).collect();
    let patience = PATIENCE.get();
    let idle: Vec<i32> = if patience > 0 { idle_for(patience, &blockers) } else { vec![] };
    for pid in &idle {
        // SAFETY: SIGTERM to a backend is what pg_terminate_backend sends.
        unsafe { ffi::kill(*pid, TERMINATE) };
    }
    // The hook must not raise anything: a borrow that is taken is left alone.
    SEEN.with(|seen| {
        if let Ok(mut seen) = seen.try_borrow_mut() {
            seen.blockers = blockers;
            for pid in idle {
                if !seen.ended.contains(&pid) {
                    seen.ended.push(pid);
                }
            }
        }
    });
}

const TERMINATE: c_int = 15;

/// Which of these processes have been idle in a transaction for so many microseconds.
fn idle_for(patience: i64, pids: &[i32]) -> Vec<i32> {
    let mut idle = vec![];
    // SAFETY: the snapshot of the backends' states is a copy in local memory, made anew here.
    unsafe {
        let now = pg_sys::GetCurrentTimestamp();
        pg_sys::pgstat_clear_backend_activity_snapshot();
        for at in 1..=pg_sys::pgstat_fetch_stat_numbackends() {
            let entry = pg_sys::pgstat_fetch_stat_local_beentry(at);
            if entry.is_null() {
                continue;
            }
            let status = &(*entry).backendStatus;
            let is_idle =
                [pg_sys::BackendState::STATE_IDLEINTRANSACTION, pg_sys::BackendState::STATE_IDLEINTRANSACTION_ABORTED]
                    .contains(&status.st_state);
            let client = status.st_backendType == pg_sys::BackendType::B_BACKEND;
            if is_idle && client && pids.contains(&status.st_procpid) && now - status.st_state_start_timestamp >= patience {
                idle.push(status.st_procpid);
            }
        }
        pg_sys::pgstat_clear_backend_activity_snapshot();
    }
    idle
}
