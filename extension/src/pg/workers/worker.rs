//! Background workers in a database: they commit records, and seal the ledger.

use crate::pg::callback::never_raising;
use crate::pg::hooks::entry;
use crate::pg::session::extension_members;
use crate::pg::session::identity::set_local;
use crate::pg::workers::recorder::Segment;
use crate::pg::workers::shared;
use pgrx::bgworkers::{BackgroundWorker, SignalWakeFlags};
use pgrx::{PgTryBuilder, pg_sys};
use std::time::{Duration, Instant};

/// How long a writer stays in a database with nothing to do. While it is there, the database can't be dropped; DROP DATABASE
/// and CREATE DATABASE … TEMPLATE wait five seconds for others to go.
const LINGER: Duration = Duration::from_millis(300);

/// Writes the lines in one transaction; if that fails, each in one of its own. Which were written.
fn write(lines: &[String]) -> Vec<bool> {
    if attempt(lines) {
        return vec![true; lines.len()];
    }
    match lines {
        [_] => vec![false],
        _ => lines.iter().map(|line| attempt(std::slice::from_ref(line))).collect(),
    }
}

fn attempt(lines: &[String]) -> bool {
    let written = in_transaction("recorder", || {
        if !extension_members::is_installed() {
            return Err(crate::error::internal("the extension is not in this database"));
        }
        // SAFETY: popped below; an error aborts the transaction, which pops it too.
        unsafe { pg_sys::PushActiveSnapshot(pg_sys::GetTransactionSnapshot()) };
        entry::record(lines)?;
        // SAFETY: pushed above.
        unsafe { pg_sys::PopActiveSnapshot() };
        Ok(())
    });
    if written.is_some() {
        shared::mark_unsealed(None);
    }
    written.is_some()
}

/// Seals what is committed, a batch at a time; false if that failed.
fn seal_all() -> bool {
    let mut from: Option<String> = None;
    // Whoever comes by takes care that no job is forgotten.
    in_transaction("jobs", || {
        if extension_members::is_installed() {
            crate::pg::execute::transaction::with_snapshot(entry::revive);
        }
        Ok(())
    });
    loop {
        // Every database is looked into for something to seal.
        let batch = || if extension_members::is_installed() { entry::seal(from.as_deref()) } else { Ok(None) };
        match in_transaction("sealer", batch) {
            Some(Some(next)) => from = Some(next),
            Some(None) => return true,
            None => return false,
        }
    }
}

/// Runs `body` in a transaction of its own; its answer, once that is committed.
fn in_transaction<T>(
    what: &str,
    body: impl FnOnce() -> Result<T, pg_sys::panic::ErrorReport> + std::panic::UnwindSafe,
) -> Option<T> {
    // SAFETY: a background worker outside of any transaction; what is started is committed or aborted below.
    unsafe {
        pg_sys::SetCurrentStatementStartTimestamp();
        pg_sys::StartTransactionCommand();
        // Whatever the database sets for its sessions: nobody may silence the ledger by it.
        pg_sys::XactReadOnly = false;
        pg_sys::XactIsoLevel = pg_sys::XACT_READ_COMMITTED as i32;
    }
    let done = PgTryBuilder::new(|| {
        set_patience();
        match body() {
            Ok(answer) => {
                // SAFETY: ends what was started above.
                unsafe { pg_sys::CommitTransactionCommand() };
                Some(answer)
            }
            Err(report) => {
                pgrx::log!("pg_runbook {what}: {}", report.message());
                None
            }
        }
    })
    .catch_others(|caught| {
        use pgrx::pg_sys::panic::CaughtError;
        let (CaughtError::PostgresError(report)
        | CaughtError::ErrorReport(report)
        | CaughtError::RustPanic { ereport: report, .. }) = &caught;
        pgrx::log!("pg_runbook {what}: {}", report.message());
        None
    })
    .execute();
    // SAFETY: as above; a transaction that has committed is over.
    unsafe {
        if pg_sys::IsTransactionState() || pg_sys::IsAbortedTransactionBlockState() {
            pg_sys::AbortCurrentTransaction();
        }
    }
    done
}

/// The waiting session may itself hold a lock on the ledger: nobody would ever notice that deadlock. And what is written is durable
/// when it is on this server's disk, whatever the cluster's default.
fn set_patience() {
    set_local(c"lock_timeout", c"2s");
    set_local(c"synchronous_commit", c"local");
}

/// Writes what waits for `database` until nothing has come for a while, and seals what is committed there. Connected to it.
pub fn serve(database: u32) {
    let mut leaves = Instant::now();
    let mut sealed: Option<Instant> = None;
    loop {
        let taken = shared::take(database);
        let is_time = sealed.is_none_or(|sealed| sealed.elapsed() >= seal_interval());
        if !taken.is_empty() {
            deliver_all(taken);
            leaves = Instant::now() + LINGER;
        } else if is_time && shared::take_unsealed(database) {
            if !seal_all() {
                // Later: the launcher comes again when it is time.
                shared::mark_unsealed(Some(database));
            }
            sealed = Some(Instant::now());
        } else if Instant::now() >= leaves || !BackgroundWorker::wait_latch(Some(LINGER)) {
            return;
        }
    }
}

fn deliver_all(taken: Vec<shared::Taken>) {
    // Whoever has gone meanwhile does not wait any more.
    let open = |one: shared::Taken| match Segment::attach(one.segment) {
        Some(segment) => Some((one, segment.line())),
        None => {
            one.answer(false);
            None
        }
    };
    // SAFETY: segments are attached outside of any transaction; without an owner they live until they are detached.
    let (taken, lines): (Vec<shared::Taken>, Vec<String>) = taken.into_iter().filter_map(open).unzip();
    for (one, written) in taken.iter().zip(write(&lines)) {
        one.answer(written);
    }
}

/// Connects a worker to a database, also to one that allows no connections.
pub fn connect(database: u32) {
    // SAFETY: called once in a background worker, as the bootstrap superuser.
    unsafe {
        pg_sys::BackgroundWorkerInitializeConnectionByOid(
            pg_sys::Oid::from(database),
            pg_sys::InvalidOid,
            pg_sys::BGWORKER_BYPASS_ALLOWCONN,
        );
    }
}

/// Frees a writer's place when its process ends.
///
/// # Safety
/// Called by PostgreSQL with the number of the place.
pub unsafe extern "C-unwind" fn writer_ends(_code: i32, place: pg_sys::Datum) {
    never_raising("at the end of a writer", || {
        crate::pg::fault::at("writer_exit");
        shared::release_writer(place.value());
    });
}

/// The main function of a writer.
///
/// # Safety
/// Called by PostgreSQL in a new process, with the number of its place.
#[unsafe(no_mangle)]
#[pgrx::pg_guard]
pub unsafe extern "C-unwind" fn runbook_writer_main(place: pg_sys::Datum) {
    let database: u32 = BackgroundWorker::get_extra().parse().unwrap_or(0);
    BackgroundWorker::attach_signal_handlers(SignalWakeFlags::SIGHUP | SignalWakeFlags::SIGTERM);
    // SAFETY: the callback takes the place's number back from its argument.
    unsafe { pg_sys::before_shmem_exit(Some(writer_ends), place) };
    connect(database);
    shared::become_writer(place.value());
    crate::pg::fault::at("writer");
    serve(database);
}

/// The main function of a worker that seals once.
///
/// # Safety
/// Called by PostgreSQL in a new process, with the handle of a [`Segment`].
#[unsafe(no_mangle)]
#[pgrx::pg_guard]
pub unsafe extern "C-unwind" fn runbook_sealer_main(handle: pg_sys::Datum) {
    let database: u32 = BackgroundWorker::get_extra().parse().unwrap_or(0);
    // SAFETY: lets this process be ended; the default handlers do the rest.
    unsafe { pg_sys::BackgroundWorkerUnblockSignals() };
    connect(database);
    let Some(segment) = u32::try_from(handle.value()).ok().and_then(Segment::attach) else { return };
    if seal_all() {
        segment.set_done();
    }
}

/// The main function of a worker for one record, where the library is not preloaded.
///
/// # Safety
/// Called by PostgreSQL in a new process, with the handle of a [`Segment`].
#[unsafe(no_mangle)]
#[pgrx::pg_guard]
pub unsafe extern "C-unwind" fn runbook_recorder_main(handle: pg_sys::Datum) {
    let database: u32 = BackgroundWorker::get_extra().parse().unwrap_or(0);
    // SAFETY: lets this process be ended; the default handlers do the rest.
    unsafe { pg_sys::BackgroundWorkerUnblockSignals() };
    connect(database);
    let Some(segment) = u32::try_from(handle.value()).ok().and_then(Segment::attach) else { return };
    if write(&[segment.line()]) == [true] {
        segment.set_done();
    }
}

/// See [`SEAL_INTERVAL`].
pub fn seal_interval() -> Duration {
    Duration::from_millis(u64::try_from(SEAL_INTERVAL.get()).unwrap_or(0))
}

/// `runbook.seal_interval`, in milliseconds.
pub static SEAL_INTERVAL: pgrx::GucSetting<i32> = pgrx::GucSetting::<i32>::new(1000);
