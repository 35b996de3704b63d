//! The recorder: background processes that commit records which must survive the rollback of what they describe.
//!
//! With the library preloaded, a launcher starts a short-lived writer for whichever database has something to record, and
//! writes itself where no worker slot is free. Otherwise every record has a worker of its own.

use crate::pg::identity::set_local;
use crate::pg::{entry, hooks, shared};
use pgrx::PgTryBuilder;
use pgrx::bgworkers::SignalWakeFlags;
use pgrx::bgworkers::{BackgroundWorker, BackgroundWorkerBuilder, BackgroundWorkerStatus, DynamicBackgroundWorker};
use pgrx::pg_sys;
use std::collections::HashMap;
use std::ptr;
use std::time::{Duration, Instant};

/// While it lives, cancellation and timeouts wait: whoever is refused must not be able to prevent the record of it.
struct Uninterrupted;

impl Uninterrupted {
    fn enter() -> Self {
        // SAFETY: what HOLD_INTERRUPTS does (miscadmin.h).
        unsafe { pg_sys::InterruptHoldoffCount += 1 };
        Self
    }
}

impl Drop for Uninterrupted {
    fn drop(&mut self) {
        // SAFETY: what RESUME_INTERRUPTS does; an error in between has reset the count already.
        unsafe { pg_sys::InterruptHoldoffCount = pg_sys::InterruptHoldoffCount.saturating_sub(1) };
    }
}

/// How long a free worker slot is waited for: others may be using all of them for a moment.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long a preloaded server's writer is waited for: it may stand in a queue behind other databases.
const PRELOADED_PATIENCE: Duration = Duration::from_secs(15);
/// How long a writer stays in a database with nothing to do. While it is there, the database can't be dropped; DROP DATABASE
/// and CREATE DATABASE … TEMPLATE wait five seconds for others to go.
const LINGER: Duration = Duration::from_millis(300);

/// Hands `line` to a worker in `database` (this one if `None`) and waits until it has committed.
///
/// # Errors
/// Why no worker could do it, for the server log.
pub fn hand_over(line: &str, database: Option<u32>) -> Result<(), String> {
    // SAFETY: reads a static of xlog.c. A worker registered on a standby would wait for its promotion.
    if unsafe { pg_sys::RecoveryInProgress() } {
        return Err("the server is a standby".to_owned());
    }
    let _uninterrupted = Uninterrupted::enter();
    let Some(segment) = Segment::create(line) else { return Err("no shared memory segment is free".to_owned()) };
    let database = database.unwrap_or_else(own_database);
    match shared::post(database, segment.handle()) {
        Some(delivery) => deliver(&delivery),
        None => through_own_worker("recorder", &segment, database),
    }
}

fn deliver(delivery: &shared::Delivery) -> Result<(), String> {
    let start = Instant::now();
    let result = loop {
        match delivery.outcome() {
            shared::Outcome::Written => break Ok(()),
            shared::Outcome::Failed => break Err("the recorder failed; its own message stands above".to_owned()),
            shared::Outcome::Pending => {}
        }
        if start.elapsed() > PRELOADED_PATIENCE && delivery.withdraw() {
            break Err("the recorder did not come in time".to_owned());
        }
        // SAFETY: this backend's own latch. Interrupts are held, so nothing is processed in between.
        unsafe {
            let wake = pg_sys::WL_LATCH_SET | pg_sys::WL_TIMEOUT | pg_sys::WL_EXIT_ON_PM_DEATH;
            if pg_sys::WaitLatch(pg_sys::MyLatch, wake as i32, 200, pg_sys::PG_WAIT_EXTENSION) & pg_sys::WL_TIMEOUT as i32 != 0
            {
                delivery.knock();
            }
            pg_sys::ResetLatch(pg_sys::MyLatch);
        }
    };
    // What else may have set the latch meanwhile must not be lost.
    // SAFETY: this backend's own latch.
    unsafe { pg_sys::SetLatch(pg_sys::MyLatch) };
    result
}

/// Has a worker seal what is committed in this database, and waits for it.
///
/// # Errors
/// Why no worker could do it.
pub fn seal() -> Result<(), String> {
    let Some(segment) = Segment::create("") else { return Err("no shared memory segment is free".to_owned()) };
    through_own_worker("sealer", &segment, own_database())
}

/// Starts a worker for one segment and waits until it has ended. `what` is its name, and that of its main function.
fn through_own_worker(what: &str, segment: &Segment, database: u32) -> Result<(), String> {
    let start = Instant::now();
    let name = format!("pg_runbook {what}");
    let worker = loop {
        let registered = BackgroundWorkerBuilder::new(&name)
            .set_type(&name)
            .set_library("pg_runbook")
            .set_function(&format!("runbook_{what}_main"))
            .enable_spi_access()
            .set_argument(Some(pg_sys::Datum::from(segment.handle())))
            .set_extra(&database.to_string())
            .set_notify_pid(std::process::id().try_into().unwrap_or(0))
            .load_dynamic();
        match registered {
            Ok(worker) => break worker,
            Err(_) if start.elapsed() < PATIENCE => std::thread::sleep(Duration::from_millis(20)),
            Err(_) => {
                return Err(
                    "no background worker slot is free; raise max_worker_processes, or preload pg_runbook, whose launcher has a slot of its own"
                        .to_owned(),
                );
            }
        }
    };
    match worker.wait_for_startup() {
        // It may have finished already: whether it has committed, the segment says.
        Ok(_) | Err(BackgroundWorkerStatus::Stopped) => {}
        Err(status) => return Err(format!("the {what} did not start: {status:?}")),
    }
    worker.wait_for_shutdown().map_err(|status| format!("the {what} did not finish: {status:?}"))?;
    if segment.is_done() { Ok(()) } else { Err(format!("the {what} failed; its own message is in the server log")) }
}

fn own_database() -> u32 {
    // SAFETY: set before any SQL runs.
    unsafe { pg_sys::MyDatabaseId }.to_u32()
}

/// A shared memory segment: a done flag (1 byte), the length (8 bytes), the line.
struct Segment(*mut pg_sys::dsm_segment);

const HEADER: usize = 16;

impl Segment {
    fn create(line: &str) -> Option<Self> {
        // SAFETY: the segment is large enough for header and line, and is unmapped on drop.
        unsafe {
            let segment = pg_sys::dsm_create(HEADER + line.len(), pg_sys::DSM_CREATE_NULL_IF_MAXSEGMENTS as i32);
            if segment.is_null() {
                return None;
            }
            let address = pg_sys::dsm_segment_address(segment).cast::<u8>();
            address.write(0);
            address.add(8).cast::<u64>().write_unaligned(line.len() as u64);
            ptr::copy_nonoverlapping(line.as_ptr(), address.add(HEADER), line.len());
            Some(Self(segment))
        }
    }

    /// The segment that another backend has made, while that waits for it.
    fn attach(handle: u32) -> Option<Self> {
        // SAFETY: null if the segment has gone meanwhile.
        let segment = unsafe { pg_sys::dsm_attach(handle) };
        (!segment.is_null()).then_some(Self(segment))
    }

    fn line(&self) -> String {
        // SAFETY: a live segment laid out by `create`.
        unsafe {
            let address = pg_sys::dsm_segment_address(self.0).cast::<u8>();
            let length = address.add(8).cast::<u64>().read_unaligned() as usize;
            String::from_utf8_lossy(std::slice::from_raw_parts(address.add(HEADER), length)).into_owned()
        }
    }

    fn handle(&self) -> u32 {
        // SAFETY: a live segment.
        unsafe { pg_sys::dsm_segment_handle(self.0) }
    }

    fn is_done(&self) -> bool {
        // SAFETY: a live segment, whose writer has exited.
        unsafe { pg_sys::dsm_segment_address(self.0).cast::<u8>().read_volatile() == 1 }
    }

    fn set_done(&self) {
        // SAFETY: a live segment.
        unsafe { pg_sys::dsm_segment_address(self.0).cast::<u8>().write_volatile(1) }
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        // SAFETY: a live segment that this process has created or attached.
        unsafe { pg_sys::dsm_detach(self.0) }
    }
}

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
    loop {
        match in_transaction("sealer", || entry::seal(from.as_deref())) {
            Some(Some(next)) => from = Some(next),
            Some(None) => return true,
            None => return false,
        }
    }
}

/// Runs `body` in a transaction of its own, in a database that has the extension; its answer, once that is committed.
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
        if !hooks::is_installed() {
            // Every database is looked into for something to seal; only where somebody waits for a record is it news.
            if what == "recorder" {
                pgrx::log!("pg_runbook recorder: the extension is not in this database");
            }
            return None;
        }
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
fn serve(database: u32) {
    let mut leaves = Instant::now();
    let mut sealed: Option<Instant> = None;
    loop {
        let taken = shared::take(database);
        let is_time = sealed.is_none_or(|sealed| sealed.elapsed() >= seal_interval());
        if !taken.is_empty() {
            deliver_all(taken);
            leaves = Instant::now() + LINGER;
        } else if is_time && shared::take_unsealed(database) {
            seal_all();
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

fn seal_interval() -> Duration {
    Duration::from_millis(u64::try_from(SEAL_INTERVAL.get()).unwrap_or(0))
}

/// `runbook.seal_interval`, in milliseconds.
pub static SEAL_INTERVAL: pgrx::GucSetting<i32> = pgrx::GucSetting::<i32>::new(1000);

/// Connects a worker to a database, also to one that lets nobody else in.
fn connect(database: u32) {
    // SAFETY: called once in a background worker, as the bootstrap superuser.
    unsafe {
        pg_sys::BackgroundWorkerInitializeConnectionByOid(
            pg_sys::Oid::from(database),
            pg_sys::InvalidOid,
            pg_sys::BGWORKER_BYPASS_ALLOWCONN,
        );
    }
}

/// Registers the launcher. Called while shared_preload_libraries are loaded.
pub fn register_launcher() {
    BackgroundWorkerBuilder::new("pg_runbook launcher")
        .set_type("pg_runbook launcher")
        .set_library("pg_runbook")
        .set_function("runbook_launcher_main")
        .enable_spi_access()
        .set_restart_time(Some(Duration::from_secs(1)))
        .load();
}

/// The launcher's main function: one for the cluster, connected to no database.
///
/// # Safety
/// Called by PostgreSQL in a new process.
#[unsafe(no_mangle)]
#[pgrx::pg_guard]
pub unsafe extern "C-unwind" fn runbook_launcher_main(_argument: pg_sys::Datum) {
    BackgroundWorker::attach_signal_handlers(SignalWakeFlags::SIGHUP | SignalWakeFlags::SIGTERM);
    shared::become_launcher();
    let mut workers: Vec<Option<(u32, DynamicBackgroundWorker)>> = (0..shared::WRITERS).map(|_| None).collect();
    // Databases that a writer could not get into, and how often, and when it was last tried.
    let mut failed: HashMap<u32, (u32, Instant)> = HashMap::new();
    let mut waiting_since: Option<Instant> = None;
    let mut visits = Visits::default();
    // What was unsealed when the server stopped still is.
    shared::mark_any_unsealed();
    loop {
        if BackgroundWorker::sighup_received() {
            // SAFETY: outside of any transaction, where PostgreSQL's own workers do it.
            unsafe { pg_sys::ProcessConfigFile(pg_sys::GucContext::PGC_SIGHUP) };
        }
        let waiting = shared::waiting_databases();
        for (place, worker) in workers.iter_mut().enumerate() {
            let Some((database, _)) = worker.take_if(|(_, worker)| has_stopped(worker)) else { continue };
            if !shared::has_arrived(place) {
                visits.failed(database);
            }
            // One that never came to its own end.
            if shared::writer_database(place) == database {
                shared::release_writer(place);
            }
            if waiting.contains(&database) {
                let tries = failed.get(&database).map_or(0, |(tries, _)| *tries) + 1;
                failed.insert(database, (tries, Instant::now()));
                if tries >= TRIES {
                    shared::take(database).iter().for_each(|one| one.answer(false));
                }
            } else {
                failed.remove(&database);
            }
        }
        failed.retain(|_, (_, last)| last.elapsed() < Duration::from_secs(60));
        let mut unserved = None;
        for database in &waiting {
            let too_early = |(tries, last): &(u32, Instant)| last.elapsed() < Duration::from_millis(100) * 4u32.pow(*tries);
            if failed.get(database).is_some_and(too_early) {
                continue;
            }
            let Some(place) = shared::reserve_writer(*database) else { continue };
            workers[place] = start_writer(place, *database).map(|worker| (*database, worker));
            if workers[place].is_none() {
                shared::release_writer(place);
                unserved = Some(*database);
            }
        }
        match (unserved, waiting_since) {
            (None, _) => waiting_since = None,
            (Some(_), None) => waiting_since = Some(Instant::now()),
            (Some(database), Some(since)) if since.elapsed() > Duration::from_millis(100) => {
                // No slot is free: this process has one. It can't leave the database again, so it ends, and is started anew.
                serve_as_launcher(database);
            }
            _ => {}
        }
        let next = visits.start_due(&mut workers);
        let timeout = if waiting.is_empty() { next } else { Some(Duration::from_millis(50)) };
        if !BackgroundWorker::wait_latch(timeout) {
            // SAFETY: ends this process; exit code 1 has the postmaster start another, unless it shuts down.
            unsafe { pg_sys::proc_exit(1) }
        }
    }
}

/// Writers that are at work at the same moment because something is to be sealed: the slots are everybody's.
const SEALING: usize = 2;

/// When databases were last visited to seal what is there.
#[derive(Default)]
struct Visits {
    last: HashMap<u32, Instant>,
    failures: HashMap<u32, u32>,
    census: Option<DynamicBackgroundWorker>,
}

impl Visits {
    /// Starts writers for marked databases whose time has come; how long until there may be something to do, `None` if nothing is
    /// marked.
    fn start_due(&mut self, workers: &mut [Option<(u32, DynamicBackgroundWorker)>]) -> Option<Duration> {
        self.census.take_if(|census| has_stopped(census));
        if self.census.is_none() && shared::take_any_unsealed() {
            self.census = start_census();
            if self.census.is_none() {
                shared::mark_any_unsealed();
                return Some(Duration::from_secs(1));
            }
        }
        let marked = shared::unsealed_databases();
        self.last.retain(|_, at| at.elapsed() < seal_interval());
        let mut next =
            marked.iter().filter_map(|database| self.last.get(database)).map(|at| seal_interval() - at.elapsed()).min();
        for database in marked.iter().filter(|database| !self.last.contains_key(database)).copied().collect::<Vec<_>>() {
            if workers.iter().flatten().count() >= SEALING {
                next = Some(Duration::from_millis(50));
                break;
            }
            // It has a writer already, which seals.
            let Some(place) = shared::reserve_writer(database) else { continue };
            self.last.insert(database, Instant::now());
            workers[place] = start_writer(place, database).map(|worker| (database, worker));
            if workers[place].is_none() {
                shared::release_writer(place);
                next = Some(Duration::from_secs(1));
            }
        }
        if next.is_none() && !marked.is_empty() {
            next = Some(seal_interval());
        }
        next.map(|next| next.max(Duration::from_millis(1)))
    }

    /// Notes that a writer did not get into a database, which may be gone. It is marked again when somebody commits there.
    fn failed(&mut self, database: u32) {
        let failures = self.failures.entry(database).or_default();
        *failures += 1;
        if *failures >= TRIES {
            shared::take_unsealed(database);
            self.failures.remove(&database);
        }
    }
}

/// Starts a worker that marks every database.
fn start_census() -> Option<DynamicBackgroundWorker> {
    BackgroundWorkerBuilder::new("pg_runbook census")
        .set_type("pg_runbook census")
        .set_library("pg_runbook")
        .set_function("runbook_census_main")
        .enable_spi_access()
        .set_notify_pid(std::process::id().try_into().unwrap_or(0))
        .load_dynamic()
        .ok()
}

/// The main function of the census: reads the list of databases, and marks all that let somebody in.
///
/// # Safety
/// Called by PostgreSQL in a new process.
#[unsafe(no_mangle)]
#[pgrx::pg_guard]
pub unsafe extern "C-unwind" fn runbook_census_main(_argument: pg_sys::Datum) {
    // SAFETY: connected to no database, the shared catalogs can be read; the scan is over before its transaction is.
    unsafe {
        pg_sys::BackgroundWorkerUnblockSignals();
        pg_sys::BackgroundWorkerInitializeConnectionByOid(pg_sys::InvalidOid, pg_sys::InvalidOid, 0);
        pg_sys::StartTransactionCommand();
        let databases = pg_sys::table_open(pg_sys::DatabaseRelationId, pg_sys::AccessShareLock as i32);
        let scan = pg_sys::table_beginscan_catalog(databases, 0, ptr::null_mut());
        loop {
            let tuple = pg_sys::heap_getnext(scan, pg_sys::ScanDirection::ForwardScanDirection);
            if tuple.is_null() {
                break;
            }
            let header = (*tuple).t_data;
            let row = &*header.cast::<u8>().add(usize::from((*header).t_hoff)).cast::<pg_sys::FormData_pg_database>();
            if row.datallowconn {
                shared::mark_unsealed(Some(row.oid.to_u32()));
            }
        }
        pg_sys::table_endscan(scan);
        pg_sys::table_close(databases, pg_sys::AccessShareLock as i32);
        pg_sys::CommitTransactionCommand();
    }
}

/// After so many writers that could not write, those who wait are told so, and the server log has their records.
const TRIES: u32 = 3;

fn has_stopped(worker: &DynamicBackgroundWorker) -> bool {
    matches!(worker.pid(), Err(BackgroundWorkerStatus::Stopped))
}

fn serve_as_launcher(database: u32) -> ! {
    if shared::reserve_writer(database).is_some_and(|place| {
        shared::become_writer(place);
        // SAFETY: the callback takes the place's number back from its argument.
        unsafe { pg_sys::before_shmem_exit(Some(writer_ends), pg_sys::Datum::from(place)) };
        true
    }) {
        connect(database);
        serve(database);
    }
    // SAFETY: as above.
    unsafe { pg_sys::proc_exit(1) }
}

fn start_writer(place: usize, database: u32) -> Option<DynamicBackgroundWorker> {
    BackgroundWorkerBuilder::new("pg_runbook writer")
        .set_type("pg_runbook writer")
        .set_library("pg_runbook")
        .set_function("runbook_writer_main")
        .enable_spi_access()
        .set_argument(Some(pg_sys::Datum::from(place)))
        .set_extra(&database.to_string())
        .set_notify_pid(std::process::id().try_into().unwrap_or(0))
        .load_dynamic()
        .ok()
}

unsafe extern "C-unwind" fn writer_ends(_code: i32, place: pg_sys::Datum) {
    shared::release_writer(place.value());
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
