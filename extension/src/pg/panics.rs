//! Rust panics: PostgreSQL's errors pass through this code as panics.

/// Says for good that no panic of this library takes a backtrace. With RUST_BACKTRACE in the server's environment each would, and pgrx
/// writes it into the DETAIL of PostgreSQL's own errors. Called while the library is loaded.
pub fn take_no_backtraces() {
    const SWITCH: &str = "RUST_LIB_BACKTRACE";
    let before = std::env::var_os(SWITCH);
    // SAFETY: a process of PostgreSQL has no other thread that could read the environment meanwhile; it is as before afterwards.
    // The library has a copy of std of its own, which looks once and remembers.
    unsafe {
        std::env::set_var(SWITCH, "0");
        let _ = std::backtrace::Backtrace::capture();
        match before {
            Some(value) => std::env::set_var(SWITCH, value),
            None => std::env::remove_var(SWITCH),
        }
    }
}
