//! Functions that PostgreSQL calls where no error can be raised: while a transaction ends, a process exits, or a message is being written.
//!
//! There an ERROR would become a PANIC, and no one would catch a Rust panic. A step that fails is skipped, and the server log
//! has a line.

use pgrx::pg_sys::errcodes::PgSqlErrorCode;
use pgrx::pg_sys::panic::ErrorReport;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

thread_local! {
    static DEPTH: Cell<u32> = const { Cell::new(0) };
}

/// Whether this is a place where nothing may be raised.
pub fn must_not_raise() -> bool {
    DEPTH.get() > 0
}

/// Writes a line into the server log, and nothing to the client, whatever it asks for.
pub fn log_to_server(line: &str) {
    ErrorReport::new(PgSqlErrorCode::ERRCODE_SUCCESSFUL_COMPLETION, line.to_owned(), "pg_runbook")
        .report(pgrx::PgLogLevel::LOG_SERVER_ONLY);
}

/// Runs `body`; whatever it raises ends here. `what` says where, for the server log.
pub fn never_raising(what: &str, body: impl FnOnce()) {
    struct Leave;
    impl Drop for Leave {
        fn drop(&mut self) {
            DEPTH.set(DEPTH.get() - 1);
        }
    }
    DEPTH.set(DEPTH.get() + 1);
    let _leave = Leave;
    if catch_unwind(AssertUnwindSafe(body)).is_err() {
        // Saying so can fail, too.
        let _ = catch_unwind(|| log_to_server(&format!("pg_runbook: something failed {what} and was skipped")));
    }
}
