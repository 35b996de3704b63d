//! Shared memory of the preloaded library: a mailbox for every backend, and the recorder's writers.
//!
//! A backend that has something to record puts the handle of a segment into its own mailbox and rings; a writer that is
//! connected to the right database takes it, commits, and says so. Every backend has a mailbox of its own, so there is
//! nothing to run out of, and nothing to lock: a mailbox's state is one atomic word.

use pgrx::pg_sys;
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

/// Databases in which records can be written at the same moment; more wait for their turn.
pub const WRITERS: usize = 8;

const EMPTY: u32 = 0;
const WAITING: u32 = 1;
const TAKEN: u32 = 2;
const DONE: u32 = 3;
const FAILED: u32 = 4;
/// The low bits of a mailbox's word are its state; the rest counts deliveries, so that a late answer to an abandoned one is
/// not taken for the answer to the next.
const STATE_BITS: u32 = 3;

#[repr(C)]
struct Mailbox {
    word: AtomicU32,
    database: AtomicU32,
    segment: AtomicU32,
    owner: AtomicPtr<pg_sys::Latch>,
}

#[repr(C)]
struct Writer {
    database: AtomicU32,
    /// Whether it has got into its database.
    arrived: AtomicU32,
    latch: AtomicPtr<pg_sys::Latch>,
}

/// Databases that can be marked at the same moment; if more are, all are looked into.
const MARKS: usize = 1024;

#[repr(C)]
struct Board {
    launcher: AtomicPtr<pg_sys::Latch>,
    writers: [Writer; WRITERS],
    /// OIDs of databases that have unsealed entries; 0 is a free place.
    unsealed: [AtomicU32; MARKS],
    /// Whether any database may have some.
    any_unsealed: AtomicU32,
    mailboxes: u32,
}

static BOARD: AtomicPtr<Board> = AtomicPtr::new(ptr::null_mut());
static PREVIOUS: OnceLock<(pg_sys::shmem_request_hook_type, pg_sys::shmem_startup_hook_type)> = OnceLock::new();

/// Asks for the memory. Called while shared_preload_libraries are loaded.
pub fn request() {
    // SAFETY: the postmaster is single-threaded here; the previous hooks are kept and called.
    unsafe {
        if PREVIOUS.set((pg_sys::shmem_request_hook, pg_sys::shmem_startup_hook)).is_ok() {
            pg_sys::shmem_request_hook = Some(on_request);
            pg_sys::shmem_startup_hook = Some(on_startup);
        }
    }
}

fn mailboxes() -> usize {
    // SAFETY: set before shared memory is asked for. Auxiliary processes never record.
    usize::try_from(unsafe { pg_sys::MaxBackends }).unwrap_or(0)
}

fn size() -> usize {
    size_of::<Board>().next_multiple_of(align_of::<Mailbox>()) + mailboxes() * size_of::<Mailbox>()
}

unsafe extern "C-unwind" fn on_request() {
    // SAFETY: called by the postmaster where it calls the hook; the previous one goes first.
    unsafe {
        if let Some(previous) = PREVIOUS.get().and_then(|previous| previous.0) {
            previous();
        }
        pg_sys::panic::pgrx_extern_c_guard(|| pg_sys::RequestAddinShmemSpace(size()));
    }
}

unsafe extern "C-unwind" fn on_startup() {
    // SAFETY: the previous hook goes first. ShmemInitStruct gives `size` bytes; all-zero bytes are a valid Board
    // without writers, and after a crash everything starts afresh.
    unsafe {
        if let Some(previous) = PREVIOUS.get().and_then(|previous| previous.1) {
            previous();
        }
        pg_sys::panic::pgrx_extern_c_guard(|| {
            let mut found = false;
            let board = pg_sys::ShmemInitStruct(c"pg_runbook".as_ptr(), size(), &raw mut found).cast::<Board>();
            if !found {
                ptr::write_bytes(board.cast::<u8>(), 0, size());
                (*board).mailboxes = u32::try_from(mailboxes()).unwrap_or(0);
            }
            BOARD.store(board, Ordering::Release);
        });
    }
}

fn board() -> Option<&'static Board> {
    // SAFETY: null, or memory that lives as long as the server.
    unsafe { BOARD.load(Ordering::Acquire).as_ref() }
}

/// Whether the library was preloaded, so that there is a launcher to hand records to.
pub fn is_preloaded() -> bool {
    board().is_some()
}

fn all(board: &Board) -> &[Mailbox] {
    let first = ptr::from_ref(board).cast::<u8>();
    // SAFETY: the mailboxes lie behind the board, as `size` says.
    unsafe {
        let first = first.add(size_of::<Board>().next_multiple_of(align_of::<Mailbox>())).cast::<Mailbox>();
        std::slice::from_raw_parts(first, board.mailboxes as usize)
    }
}

fn ring(latch: &AtomicPtr<pg_sys::Latch>) {
    let latch = latch.load(Ordering::Acquire);
    if !latch.is_null() {
        // SAFETY: latches of processes lie in shared memory for ever; setting one that nobody owns does nothing.
        unsafe { pg_sys::SetLatch(latch) }
    }
}

/// A delivery on its way.
pub struct Delivery {
    mailbox: &'static Mailbox,
    generation: u32,
}

/// What became of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing yet.
    Pending,
    /// It is durable.
    Written,
    /// It could not be written.
    Failed,
}

/// Puts a segment into this backend's mailbox, for `database`. `None` without a mailbox.
pub fn post(database: u32, segment: u32) -> Option<Delivery> {
    let board = board()?;
    let mailbox = all(board).get(own_number()?)?;
    let generation = (mailbox.word.load(Ordering::Acquire) >> STATE_BITS).wrapping_add(1) & (u32::MAX >> STATE_BITS);
    mailbox.database.store(database, Ordering::Relaxed);
    mailbox.segment.store(segment, Ordering::Relaxed);
    // SAFETY: set for the whole life of a backend.
    mailbox.owner.store(unsafe { pg_sys::MyLatch }, Ordering::Relaxed);
    mailbox.word.store(generation << STATE_BITS | WAITING, Ordering::Release);
    let delivery = Delivery { mailbox, generation };
    delivery.knock();
    Some(delivery)
}

/// The number of this backend among all.
fn own_number() -> Option<usize> {
    // SAFETY: null outside of backends; a PGPROC otherwise.
    let process = unsafe { pg_sys::MyProc.as_ref() }?;
    #[cfg(any(feature = "pg15", feature = "pg16"))]
    return usize::try_from(process.pgprocno).ok();
    #[cfg(not(any(feature = "pg15", feature = "pg16")))]
    {
        let _ = process;
        // SAFETY: set together with MyProc.
        usize::try_from(unsafe { pg_sys::MyProcNumber }).ok()
    }
}

impl Delivery {
    /// Rings for whoever may take it.
    pub fn knock(&self) {
        let Some(board) = board() else { return };
        let database = self.mailbox.database.load(Ordering::Relaxed);
        for writer in board.writers.iter().filter(|writer| writer.database.load(Ordering::Acquire) == database) {
            ring(&writer.latch);
        }
        ring(&board.launcher);
    }

    /// What has become of it.
    pub fn outcome(&self) -> Outcome {
        match self.mailbox.word.load(Ordering::Acquire) {
            word if word >> STATE_BITS != self.generation => Outcome::Failed,
            word => match word & ((1 << STATE_BITS) - 1) {
                DONE => Outcome::Written,
                FAILED | EMPTY => Outcome::Failed,
                _ => Outcome::Pending,
            },
        }
    }

    /// Takes it back; false if a writer has it already.
    pub fn withdraw(&self) -> bool {
        let (from, to) = (self.generation << STATE_BITS | WAITING, self.generation << STATE_BITS | EMPTY);
        self.mailbox.word.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}

/// A delivery that a writer has taken.
pub struct Taken {
    mailbox: &'static Mailbox,
    generation: u32,
    /// Handle of the segment that holds the record.
    pub segment: u32,
}

impl Taken {
    /// Tells the backend that waits for it.
    pub fn answer(&self, written: bool) {
        let from = self.generation << STATE_BITS | TAKEN;
        let to = self.generation << STATE_BITS | if written { DONE } else { FAILED };
        if self.mailbox.word.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire).is_ok() {
            ring(&self.mailbox.owner);
        }
    }
}

/// Takes every delivery that waits for `database`.
pub fn take(database: u32) -> Vec<Taken> {
    let Some(board) = board() else { return vec![] };
    let take = |mailbox: &'static Mailbox| {
        let word = mailbox.word.load(Ordering::Acquire);
        if word & ((1 << STATE_BITS) - 1) != WAITING || mailbox.database.load(Ordering::Relaxed) != database {
            return None;
        }
        let generation = word >> STATE_BITS;
        let segment = mailbox.segment.load(Ordering::Relaxed);
        let taken = mailbox.word.compare_exchange(word, generation << STATE_BITS | TAKEN, Ordering::AcqRel, Ordering::Acquire);
        taken.is_ok().then_some(Taken { mailbox, generation, segment })
    };
    all(board).iter().filter_map(take).collect()
}

/// The databases for which deliveries wait, each once.
pub fn waiting_databases() -> Vec<u32> {
    let Some(board) = board() else { return vec![] };
    let waits = |mailbox: &&Mailbox| mailbox.word.load(Ordering::Acquire) & ((1 << STATE_BITS) - 1) == WAITING;
    let mut found: Vec<u32> = all(board).iter().filter(waits).map(|mailbox| mailbox.database.load(Ordering::Relaxed)).collect();
    found.sort_unstable();
    found.dedup();
    found
}

/// Marks a database (this one if `None`) as one that has unsealed entries. A few loads where it is marked already.
pub fn mark_unsealed(database: Option<u32>) {
    let Some(board) = board() else { return };
    // SAFETY: set before any SQL runs.
    let database = database.unwrap_or_else(|| unsafe { pg_sys::MyDatabaseId }.to_u32());
    let start = database as usize % MARKS;
    for place in board.unsealed[start..].iter().chain(&board.unsealed[..start]).take(32) {
        match place.compare_exchange(0, database, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => return ring(&board.launcher),
            Err(known) if known == database => return,
            Err(_) => {}
        }
    }
    if board.any_unsealed.swap(1, Ordering::AcqRel) == 0 {
        ring(&board.launcher);
    }
}

/// Takes the mark of a database away; whether there was one.
pub fn take_unsealed(database: u32) -> bool {
    let Some(board) = board() else { return false };
    let take = |place: &AtomicU32| place.compare_exchange(database, 0, Ordering::AcqRel, Ordering::Acquire).is_ok();
    board.unsealed.iter().filter(|place| take(place)).count() > 0
}

/// The databases that are marked.
pub fn unsealed_databases() -> Vec<u32> {
    let Some(board) = board() else { return vec![] };
    let mut found: Vec<u32> =
        board.unsealed.iter().map(|place| place.load(Ordering::Acquire)).filter(|oid| *oid != 0).collect();
    found.sort_unstable();
    found.dedup();
    found
}

/// Whether every database is to be looked into; asked once.
pub fn take_any_unsealed() -> bool {
    board().is_some_and(|board| board.any_unsealed.swap(0, Ordering::AcqRel) != 0)
}

/// Has every database looked into.
pub fn mark_any_unsealed() {
    if let Some(board) = board() {
        board.any_unsealed.store(1, Ordering::Release);
    }
}

/// Whether the writer at `place`, which has ended, got into its database.
pub fn has_arrived(place: usize) -> bool {
    board().and_then(|board| board.writers.get(place)).is_some_and(|writer| writer.arrived.load(Ordering::Acquire) != 0)
}

/// Registers this process as the launcher.
pub fn become_launcher() {
    if let Some(board) = board() {
        // SAFETY: set for the whole life of a background worker.
        board.launcher.store(unsafe { pg_sys::MyLatch }, Ordering::Release);
    }
}

/// Whether a launcher runs, which writes the records.
pub fn has_launcher() -> bool {
    board().is_some_and(|board| !board.launcher.load(Ordering::Acquire).is_null())
}

/// Whether the server may have background workers at all.
pub fn may_have_workers() -> bool {
    // SAFETY: reads a parameter's static.
    unsafe { pg_sys::max_worker_processes > 0 }
}

/// Reserves a writer's place for `database`; `None` if it has one, or all are taken.
pub fn reserve_writer(database: u32) -> Option<usize> {
    let board = board()?;
    let of = |writer: &Writer| writer.database.load(Ordering::Acquire);
    if board.writers.iter().any(|writer| of(writer) == database) {
        return None;
    }
    let place = board.writers.iter().position(|writer| of(writer) == 0)?;
    board.writers[place].arrived.store(0, Ordering::Release);
    board.writers[place].database.store(database, Ordering::Release);
    Some(place)
}

/// The database of a writer's place; 0 if it is free.
pub fn writer_database(place: usize) -> u32 {
    board().and_then(|board| board.writers.get(place)).map_or(0, |writer| writer.database.load(Ordering::Acquire))
}

/// Registers this process as the writer at `place`.
pub fn become_writer(place: usize) {
    if let Some(writer) = board().and_then(|board| board.writers.get(place)) {
        // SAFETY: set for the whole life of a background worker.
        writer.latch.store(unsafe { pg_sys::MyLatch }, Ordering::Release);
        writer.arrived.store(1, Ordering::Release);
    }
}

/// Frees a writer's place, and rings for the launcher, since something may have come meanwhile.
pub fn release_writer(place: usize) {
    if let Some(board) = board()
        && let Some(writer) = board.writers.get(place)
    {
        writer.latch.store(ptr::null_mut(), Ordering::Release);
        writer.database.store(0, Ordering::Release);
        ring(&board.launcher);
    }
}
