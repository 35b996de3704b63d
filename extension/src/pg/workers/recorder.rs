//! The recorder, seen from a session: it hands over records that must survive the rollback of what they describe, and waits.
//!
//! With the library preloaded, a launcher sends a short-lived writer to whichever database has something to record
//! ([`crate::pg::workers::launcher`]). Otherwise every record has a worker of its own ([`crate::pg::workers::worker`]).

use crate::pg::workers::shared;
use pgrx::bgworkers::{BackgroundWorkerBuilder, BackgroundWorkerStatus};
use pgrx::pg_sys;
use std::ptr;
use std::time::{Duration, Instant};

/// While it lives, cancellation and timeouts wait: a refused user must not be able to prevent the record.
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
            shared::Outcome::Failed => break Err("the recorder failed; its own message is above".to_owned()),
            shared::Outcome::Pending => {}
        }
        if start.elapsed() > PRELOADED_PATIENCE && delivery.withdraw() {
            break Err("the recorder did not start in time".to_owned());
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
pub struct Segment(*mut pg_sys::dsm_segment);

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
    pub fn attach(handle: u32) -> Option<Self> {
        // SAFETY: null if the segment has gone meanwhile.
        let segment = unsafe { pg_sys::dsm_attach(handle) };
        (!segment.is_null()).then_some(Self(segment))
    }

    /// The line.
    pub fn line(&self) -> String {
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

    /// Tells the waiting session that the record is durable.
    pub fn set_done(&self) {
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
