//! Memory of Rust's own.
//!
//! Rust aborts a process that it can't give memory to, and PostgreSQL restarts the whole server when a process aborts. So a backend that
//! finds none ends by itself, as PostgreSQL's own code does where it can't go on.

use crate::pg::ffi;
use std::alloc::{GlobalAlloc, Layout, System};

struct Allocator;

#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

/// The system's answer, if it is one.
fn given(pointer: *mut u8) -> *mut u8 {
    if pointer.is_null() {
        // SAFETY: a process of PostgreSQL; the message needs no memory but what is set aside for it, and the call does not return. What
        // callbacks find half done, they leave (pg/callback.rs).
        unsafe { ffi::end_without_memory() }
    }
    pointer
}

// SAFETY: the system's allocator, whose answers are passed on unless they are null.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as the caller promises.
        given(unsafe { System.alloc(layout) })
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as the caller promises.
        given(unsafe { System.alloc_zeroed(layout) })
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as the caller promises.
        given(unsafe { System.realloc(pointer, layout, size) })
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(pointer, layout) }
    }
}
