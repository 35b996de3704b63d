//! The ends of transactions and subtransactions, for what must be done once before a commit.

use crate::pg::callback::never_raising;
use crate::pg::fault;
use pgrx::pg_sys;
use std::cell::Cell;
use std::ffi::c_void;
use std::sync::OnceLock;

/// What is done; [`register`] is given it.
pub struct Ends {
    /// The transaction is about to commit, or to be prepared. An error aborts it.
    pub before_commit: fn(),
    /// The transaction has ended; whether what it wrote is committed.
    pub over: fn(bool),
    /// A subtransaction has been rolled back.
    pub rolled_back: fn(u32),
    /// A subtransaction has ended and is part of its parent now.
    pub merged: fn(u32, u32),
}

static ENDS: OnceLock<Ends> = OnceLock::new();

thread_local! {
    static LISTENS: Cell<bool> = const { Cell::new(false) };
    /// Whether the running statement must find the transaction without an id.
    static WITHOUT_ID: Cell<bool> = const { Cell::new(false) };
}

/// Connects the ends of transactions to what is done about them.
pub fn register(ends: Ends) {
    let _ = ENDS.set(ends);
}

/// The subtransaction at hand; has this session listen to the ends of transactions from now on.
pub fn current() -> u32 {
    // SAFETY: the callbacks stay registered for the session's life; called inside a transaction.
    unsafe {
        if !LISTENS.replace(true) {
            pg_sys::RegisterXactCallback(Some(on_transaction), std::ptr::null_mut());
            pg_sys::RegisterSubXactCallback(Some(on_subtransaction), std::ptr::null_mut());
        }
        pg_sys::GetCurrentSubTransactionId()
    }
}

/// From here to its end, or to the statement's own first commit, nothing of ours gives the transaction an id. In a transaction block or
/// a savepoint the statement can't run: nothing is kept there, since the transaction goes on after its error.
pub fn keep_without_id() {
    current();
    // SAFETY: read statics of xact.c.
    let alone = unsafe { !pg_sys::IsTransactionBlock() && pg_sys::GetCurrentTransactionNestLevel() == 1 };
    WITHOUT_ID.set(alone);
}

/// While it lives, nothing of ours gives the transaction an id.
pub struct WithoutId(bool);

impl WithoutId {
    /// From here on.
    pub fn enter() -> Self {
        current();
        Self(WITHOUT_ID.replace(true))
    }
}

impl Drop for WithoutId {
    fn drop(&mut self) {
        WITHOUT_ID.set(self.0);
    }
}

/// Whether the transaction must not be given an id now.
pub fn stays_without_id() -> bool {
    WITHOUT_ID.get()
}

/// Whether the transaction sees to its end what was there when it began: REPEATABLE READ or SERIALIZABLE.
pub fn keeps_its_snapshot() -> bool {
    // SAFETY: reads a static of xact.c.
    unsafe { pg_sys::XactIsoLevel >= pg_sys::XACT_REPEATABLE_READ as i32 }
}

/// While it lives, there is a snapshot to read catalogs and our tables with, and the transaction's own is not taken for it: LOCK
/// under REPEATABLE READ must come before that.
pub struct Looking(());

impl Looking {
    /// Takes a snapshot.
    pub fn enter() -> Self {
        // SAFETY: popped on drop, or by the transaction's abort.
        unsafe { pg_sys::PushActiveSnapshot(pg_sys::GetNonHistoricCatalogSnapshot(pg_sys::InvalidOid)) };
        Self(())
    }
}

impl Drop for Looking {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // SAFETY: pushed by `enter`; an error has popped it already.
            unsafe { pg_sys::PopActiveSnapshot() };
        }
    }
}

/// Runs `body` with a new snapshot.
pub fn with_snapshot<T>(body: impl FnOnce() -> T) -> T {
    // SAFETY: what is pushed is popped; an error in between aborts the transaction, which pops it too.
    unsafe {
        pg_sys::PushActiveSnapshot(pg_sys::GetTransactionSnapshot());
        let result = body();
        pg_sys::PopActiveSnapshot();
        result
    }
}

thread_local! {
    static ROLLED_BACK: Cell<u64> = const { Cell::new(0) };
}

/// How many transactions and savepoints have been rolled back in this process: what was found out before may not be so any more.
pub fn undone() -> u64 {
    ROLLED_BACK.get()
}

unsafe extern "C-unwind" fn on_transaction(event: pg_sys::XactEvent::Type, _argument: *mut c_void) {
    use pg_sys::XactEvent::*;
    let Some(ends) = ENDS.get() else { return };
    match event {
        // SAFETY: before the commit the transaction is in progress, and an error aborts it.
        XACT_EVENT_PRE_COMMIT | XACT_EVENT_PRE_PREPARE => unsafe {
            pg_sys::panic::pgrx_extern_c_guard(|| {
                fault::at("before_commit");
                WITHOUT_ID.set(false);
                (ends.before_commit)();
            });
        },
        XACT_EVENT_COMMIT => never_raising("at a commit", || {
            fault::at("commit");
            (ends.over)(true);
        }),
        XACT_EVENT_ABORT | XACT_EVENT_PREPARE => never_raising("at the end of a transaction", || {
            ROLLED_BACK.set(ROLLED_BACK.get() + 1);
            fault::at("abort");
            WITHOUT_ID.set(false);
            (ends.over)(false);
        }),
        _ => {}
    }
}

unsafe extern "C-unwind" fn on_subtransaction(
    event: pg_sys::SubXactEvent::Type,
    own: pg_sys::SubTransactionId,
    parent: pg_sys::SubTransactionId,
    _argument: *mut c_void,
) {
    use pg_sys::SubXactEvent::*;
    let Some(ends) = ENDS.get() else { return };
    match event {
        SUBXACT_EVENT_COMMIT_SUB => never_raising("at the end of a savepoint", || {
            fault::at("merged");
            (ends.merged)(own, parent);
        }),
        SUBXACT_EVENT_ABORT_SUB => never_raising("at a rollback to a savepoint", || {
            ROLLED_BACK.set(ROLLED_BACK.get() + 1);
            fault::at("rolled_back");
            (ends.rolled_back)(own);
        }),
        _ => {}
    }
}

/// Ends the statement here if somebody wants that: for work that may take long. Nothing may be held that must be given back.
pub fn check_for_interrupts() {
    pgrx::check_for_interrupts!();
}

/// Whether catalogs can be read: not while a transaction or a savepoint is being rolled back.
pub fn is_in_progress() -> bool {
    // SAFETY: reads the transaction state.
    unsafe { pg_sys::IsTransactionState() }
}
