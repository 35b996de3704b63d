//! The recorder's worker: a background process that commits one record in this database.

use crate::pg::entry;
use pgrx::bgworkers::{BackgroundWorker, BackgroundWorkerBuilder, BackgroundWorkerStatus};
use pgrx::pg_sys;
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

/// Hands `line` to a new worker and waits until it has committed.
///
/// # Errors
/// Why no worker could do it, for the server log.
pub fn hand_over(line: &str) -> Result<(), String> {
    // SAFETY: reads a static of xlog.c. A worker registered on a standby would wait for its promotion.
    if unsafe { pg_sys::RecoveryInProgress() } {
        return Err("the server is a standby".to_owned());
    }
    let _uninterrupted = Uninterrupted::enter();
    let segment = Segment::create(line);
    let start = Instant::now();
    let worker = loop {
        let registered = BackgroundWorkerBuilder::new("pg_runbook recorder")
            .set_type("pg_runbook recorder")
            .set_library("pg_runbook")
            .set_function("runbook_recorder_main")
            .enable_spi_access()
            .set_argument(Some(segment.handle()))
            .set_extra(&unsafe_database().to_string())
            .set_notify_pid(std::process::id().try_into().unwrap_or(0))
            .load_dynamic();
        match registered {
            Ok(worker) => break worker,
            Err(_) if start.elapsed() < PATIENCE => std::thread::sleep(Duration::from_millis(20)),
            Err(_) => return Err("no background worker slot is free; raise max_worker_processes".to_owned()),
        }
    };
    match worker.wait_for_startup() {
        // It may have finished already: whether it has committed, the segment says.
        Ok(_) | Err(BackgroundWorkerStatus::Stopped) => {}
        Err(status) => return Err(format!("the recorder did not start: {status:?}")),
    }
    worker.wait_for_shutdown().map_err(|status| format!("the recorder did not finish: {status:?}"))?;
    if segment.is_done() { Ok(()) } else { Err("the recorder failed; its own message stands above".to_owned()) }
}

fn unsafe_database() -> u32 {
    // SAFETY: set before any SQL runs.
    unsafe { pg_sys::MyDatabaseId }.to_u32()
}

/// A shared memory segment: a done flag (1 byte), the length (8 bytes), the line.
struct Segment(*mut pg_sys::dsm_segment);

const HEADER: usize = 16;

impl Segment {
    fn create(line: &str) -> Self {
        // SAFETY: the segment is large enough for header and line, and is unmapped on drop.
        unsafe {
            let segment = pg_sys::dsm_create(HEADER + line.len(), 0);
            let address = pg_sys::dsm_segment_address(segment).cast::<u8>();
            address.write(0);
            address.add(8).cast::<u64>().write_unaligned(line.len() as u64);
            ptr::copy_nonoverlapping(line.as_ptr(), address.add(HEADER), line.len());
            Self(segment)
        }
    }

    fn handle(&self) -> pg_sys::Datum {
        // SAFETY: a live segment.
        pg_sys::Datum::from(unsafe { pg_sys::dsm_segment_handle(self.0) })
    }

    fn is_done(&self) -> bool {
        // SAFETY: a live segment, whose writer has exited.
        unsafe { pg_sys::dsm_segment_address(self.0).cast::<u8>().read_volatile() == 1 }
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        // SAFETY: a live segment that this process created.
        unsafe { pg_sys::dsm_detach(self.0) }
    }
}

/// The worker's main function.
///
/// # Safety
/// Called by PostgreSQL in a new process, with the handle of a [`Segment`].
#[unsafe(no_mangle)]
#[pgrx::pg_guard]
pub unsafe extern "C-unwind" fn runbook_recorder_main(handle: pg_sys::Datum) {
    let database: u32 = BackgroundWorker::get_extra().parse().unwrap_or(0);
    BackgroundWorker::connect_worker_to_spi_by_oid(Some(pg_sys::Oid::from(database)), None);
    BackgroundWorker::transaction(|| {
        // SAFETY: the handle is of a segment that the waiting backend keeps alive; null if it has gone meanwhile.
        let (line, done) = unsafe {
            let segment = pg_sys::dsm_attach(handle.value() as pg_sys::dsm_handle);
            if segment.is_null() {
                return;
            }
            let address = pg_sys::dsm_segment_address(segment).cast::<u8>();
            let length = address.add(8).cast::<u64>().read_unaligned() as usize;
            let bytes = std::slice::from_raw_parts(address.add(HEADER), length).to_vec();
            pg_sys::dsm_pin_mapping(segment);
            (String::from_utf8_lossy(&bytes).into_owned(), address as usize)
        };
        DONE.set(done);
        // The waiting session may itself hold a lock on the ledger: nobody would ever notice that deadlock.
        let _ = pgrx::Spi::run("SET LOCAL lock_timeout = '2s'");
        if let Err(report) = entry::record(&line) {
            report.report(pgrx::PgLogLevel::ERROR);
        }
    });
    // The transaction has committed: say so.
    // SAFETY: the mapping is pinned until this process exits.
    unsafe {
        let done = DONE.get() as *mut u8;
        if !done.is_null() {
            done.write_volatile(1);
        }
    }
}

thread_local! {
    static DONE: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}
