//! Memory of Rust's own.
//!
//! Rust aborts a process that it can't give memory to, and PostgreSQL restarts the whole server when a process aborts. So a backend that
//! finds none ends by itself, as PostgreSQL's own code does where it can't go on. Where it must not end, while a transaction commits
//! ([`crate::pg::callback`]), there is a reserve.

use crate::pg::{callback, ffi};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicUsize, Ordering};

struct Allocator;

#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

const RESERVE: usize = 64 * 1024;

/// What is given out once, and never taken back.
#[repr(align(16))]
struct Reserve(UnsafeCell<[u8; RESERVE]>);

// SAFETY: each byte is given out once, by an atomic counter.
unsafe impl Sync for Reserve {}

static MEMORY: Reserve = Reserve(UnsafeCell::new([0; RESERVE]));
static USED: AtomicUsize = AtomicUsize::new(0);

/// Memory of the reserve; null if it has not as much.
fn reserved(layout: Layout) -> *mut u8 {
    let size = layout.size().next_multiple_of(16);
    if layout.align() > 16 {
        return std::ptr::null_mut();
    }
    let start = USED.fetch_add(size, Ordering::Relaxed);
    if start + size > RESERVE {
        return std::ptr::null_mut();
    }
    // SAFETY: within the reserve.
    unsafe { MEMORY.0.get().cast::<u8>().add(start) }
}

fn is_reserved(pointer: *mut u8) -> bool {
    let start = MEMORY.0.get().addr();
    (start..start + RESERVE).contains(&pointer.addr())
}

#[cfg(feature = "faults")]
static FAILS: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);

/// Runs `body` as if there were no memory.
#[cfg(feature = "faults")]
pub fn without(body: impl FnOnce()) {
    FAILS.store(true, Ordering::Relaxed);
    body();
    FAILS.store(false, Ordering::Relaxed);
}

/// The system's answer, if it is one.
fn given(pointer: *mut u8, layout: Layout) -> *mut u8 {
    #[cfg(feature = "faults")]
    let pointer = if FAILS.load(Ordering::Relaxed) { std::ptr::null_mut() } else { pointer };
    if !pointer.is_null() {
        return pointer;
    }
    let pointer = if callback::must_not_raise() { reserved(layout) } else { pointer };
    if pointer.is_null() {
        #[cfg(feature = "faults")]
        FAILS.store(false, Ordering::Relaxed);
        // SAFETY: a process of PostgreSQL; the message needs no memory but what is set aside for it, and the call does not return. What
        // callbacks find half done, they leave.
        unsafe { ffi::end_without_memory() }
    }
    pointer
}

// SAFETY: the system's allocator; where it answers with null, memory of the reserve, which is never given out twice.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as the caller promises.
        given(unsafe { System.alloc(layout) }, layout)
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as the caller promises; the reserve is zero until it is given out.
        given(unsafe { System.alloc_zeroed(layout) }, layout)
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as the caller promises. The system knows nothing of the reserve, and where it has no memory it leaves the old as it was.
        unsafe {
            let new = if is_reserved(pointer) { std::ptr::null_mut() } else { System.realloc(pointer, layout, size) };
            if !new.is_null() {
                return new;
            }
            let Ok(wanted) = Layout::from_size_align(size, layout.align()) else { return std::ptr::null_mut() };
            let new = self.alloc(wanted);
            std::ptr::copy_nonoverlapping(pointer, new, layout.size().min(size));
            self.dealloc(pointer, layout);
            new
        }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        if !is_reserved(pointer) {
            // SAFETY: as the caller promises.
            unsafe { System.dealloc(pointer, layout) }
        }
    }
}
