//! Refusals as PostgreSQL reports: SQLSTATE, message, DETAIL and HINT.

use pgrx::pg_sys::errcodes::PgSqlErrorCode;
use pgrx::pg_sys::panic::ErrorReport;

/// What can be refused.
pub type Result<T> = std::result::Result<T, ErrorReport>;

/// A refusal with everything that a user needs.
pub fn refusal(sqlstate: &str, message: impl Into<String>, detail: Option<String>, hint: Option<String>) -> ErrorReport {
    let report = ErrorReport::new(code(sqlstate), message.into(), "pg_runbook");
    let report = match detail {
        Some(detail) => report.set_detail(detail),
        None => report,
    };
    match hint {
        Some(hint) => report.set_hint(hint),
        None => report,
    }
}

/// A refusal that core made.
pub fn from_core(error: runbook_core::Error) -> ErrorReport {
    refusal(error.sqlstate(), error.to_string(), error.detail(), error.hint())
}

/// An error that can only happen if the extension's tables were changed by hand.
pub fn internal(problem: impl Into<String>) -> ErrorReport {
    let hint = "Compare the tables of schema runbook with a backup; SELECT * FROM runbook.verify_ledger() checks the ledger.";
    refusal("XX000", problem, None, Some(hint.to_owned()))
}

fn code(sqlstate: &str) -> PgSqlErrorCode {
    PgSqlErrorCode::from(packed(sqlstate))
}

/// Five characters packed as elog.h's MAKE_SQLSTATE does.
pub fn packed(sqlstate: &str) -> i32 {
    sqlstate.bytes().take(5).enumerate().map(|(place, byte)| (i32::from(byte.wrapping_sub(b'0')) & 0x3f) << (6 * place)).sum()
}

/// The five characters of a SQLSTATE from its packed form (MAKE_SQLSTATE in elog.h).
pub fn unpacked(code: i32) -> String {
    (0..5).map(|place| char::from((((code >> (6 * place)) & 0x3f) as u8) + b'0')).collect()
}
