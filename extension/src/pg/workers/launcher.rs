//! The launcher: one process for the cluster, connected to no database, that sends writers where something is to be recorded or sealed.
//!
//! Where no worker slot is free and somebody waits for a record, it connects, writes itself, ends, and is started anew.

use crate::pg::workers::shared;
use crate::pg::workers::worker::{connect, seal_interval, serve, writer_ends};
use pgrx::bgworkers::{
    BackgroundWorker, BackgroundWorkerBuilder, BackgroundWorkerStatus, DynamicBackgroundWorker, SignalWakeFlags,
};
use pgrx::pg_sys;
use std::collections::HashMap;
use std::ptr;
use std::time::{Duration, Instant};

/// Registers the launcher. Called while shared_preload_libraries are loaded.
pub fn register() {
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
    let mut writers = Writers::default();
    let mut waiting_since: Option<Instant> = None;
    // What was unsealed when the server stopped still is.
    shared::mark_any_unsealed();
    loop {
        if BackgroundWorker::sighup_received() {
            // SAFETY: outside of any transaction, where PostgreSQL's own workers do it.
            unsafe { pg_sys::ProcessConfigFile(pg_sys::GucContext::PGC_SIGHUP) };
        }
        let waiting = shared::waiting_databases();
        writers.collect(&waiting);
        let unserved = writers.serve(&waiting);
        match (unserved, waiting_since) {
            (None, _) => waiting_since = None,
            (Some(_), None) => waiting_since = Some(Instant::now()),
            (Some(database), Some(since)) if since.elapsed() > Duration::from_millis(100) => {
                // No slot is free: this process has one. It can't leave the database again, so it ends, and is started anew.
                serve_as_launcher(database);
            }
            _ => {}
        }
        let next = writers.visits.start_due(&mut writers.workers);
        let timeout = if waiting.is_empty() { next } else { Some(Duration::from_millis(50)) };
        if !BackgroundWorker::wait_latch(timeout) {
            // SAFETY: ends this process; exit code 1 has the postmaster start another, unless it shuts down.
            unsafe { pg_sys::proc_exit(1) }
        }
    }
}

/// The writers that the launcher has started.
struct Writers {
    /// By their places, each with its database.
    workers: Vec<Option<(u32, DynamicBackgroundWorker)>>,
    /// Databases that a writer could not get into, how often, and when it was last tried.
    failed: HashMap<u32, (u32, Instant)>,
    visits: Visits,
}

impl Default for Writers {
    fn default() -> Self {
        let workers = (0..shared::WRITERS).map(|_| None).collect();
        Self { workers, failed: HashMap::new(), visits: Visits::default() }
    }
}

impl Writers {
    /// Takes note of writers that have ended, while `waiting` databases have lines to be written.
    fn collect(&mut self, waiting: &[u32]) {
        for (place, worker) in self.workers.iter_mut().enumerate() {
            let Some((database, _)) = worker.take_if(|(_, worker)| has_stopped(worker)) else { continue };
            if shared::has_arrived(place) {
                self.visits.failures.remove(&database);
            } else {
                self.visits.failed(database);
            }
            // One that never came to its own end.
            if shared::writer_database(place) == database {
                shared::release_writer(place);
            }
            if waiting.contains(&database) {
                let tries = self.failed.get(&database).map_or(0, |(tries, _)| *tries) + 1;
                self.failed.insert(database, (tries, Instant::now()));
                if tries >= TRIES {
                    shared::take(database).iter().for_each(|one| one.answer(false));
                }
            } else {
                self.failed.remove(&database);
            }
        }
        self.failed.retain(|_, (_, last)| last.elapsed() < Duration::from_secs(60));
    }

    /// Starts writers for databases that wait; one that no slot was free for.
    fn serve(&mut self, waiting: &[u32]) -> Option<u32> {
        let mut unserved = None;
        for &database in waiting {
            let too_early = |(tries, last): &(u32, Instant)| last.elapsed() < Duration::from_millis(100) * 4u32.pow(*tries);
            if self.failed.get(&database).is_some_and(too_early) {
                continue;
            }
            let Some(place) = shared::reserve_writer(database) else { continue };
            self.workers[place] = start_writer(place, database).map(|worker| (database, worker));
            if self.workers[place].is_none() {
                shared::release_writer(place);
                unserved = Some(database);
            }
        }
        unserved
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
