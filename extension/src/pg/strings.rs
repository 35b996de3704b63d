//! Strings of C.

use std::ffi::{CStr, c_char};

/// A C string as Rust text; empty if null.
///
/// # Safety
/// `pointer` is null or points to a NUL-terminated string.
pub unsafe fn text(pointer: *const c_char) -> String {
    if pointer.is_null() {
        return String::new();
    }
    // SAFETY: not null, and NUL-terminated as the caller promises.
    unsafe { CStr::from_ptr(pointer) }.to_string_lossy().into_owned()
}
