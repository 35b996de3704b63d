//! How a function that runs an author's SQL can fail.

use crate::error::refusal;
use crate::pg::pg_error::PgError;
use pgrx::pg_sys::panic::ErrorReport;

/// How a function that runs an author's SQL can fail.
#[derive(Debug)]
pub enum Failure {
    /// Our own refusal.
    Report(ErrorReport),
    /// PostgreSQL's error, complete.
    PgError(PgError),
}

impl From<ErrorReport> for Failure {
    fn from(report: ErrorReport) -> Self {
        Self::Report(report)
    }
}

impl From<PgError> for Failure {
    fn from(caught: PgError) -> Self {
        Self::PgError(caught)
    }
}

/// For functions without an entry point here, whose own texts are not at fault: the message is enough.
impl From<Failure> for ErrorReport {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Report(report) => report,
            Failure::PgError(caught) => {
                let report = caught.report();
                let some = |text: String| (!text.is_empty()).then_some(text);
                refusal(&report.sqlstate, report.message, some(report.detail), some(report.hint))
            }
        }
    }
}

impl PgError {
    /// Raises the error where it can only travel as a panic, which takes SQLSTATE, message, detail and hint along.
    pub fn raise(self) -> ! {
        ErrorReport::from(Failure::PgError(self)).report(pgrx::PgLogLevel::ERROR);
        unreachable!("an error report of level ERROR does not return")
    }
}
