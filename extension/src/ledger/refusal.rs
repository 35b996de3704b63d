//! Refusals of calls that are in the ledger by the time the caller reads them.

use crate::error::refusal;
use crate::ledger::recorder;
use pgrx::pg_sys::panic::ErrorReport;
use runbook_core::ledger::Kind;
use runbook_core::vocabulary::judgement::Judgement;
use serde_json::json;

/// A refusal that is in the ledger by the time the caller reads it, whatever becomes of the transaction.
pub fn refused(
    function: &str,
    sqlstate: &str,
    message: impl Into<String>,
    detail: Option<String>,
    hint: Option<String>,
) -> ErrorReport {
    let message = message.into();
    recorder::record(
        Kind::CallRefused,
        json!({"function": function, "sqlstate": sqlstate, "reason": message, "detail": detail, "verdict": Judgement::Refused.as_str()}),
    );
    refusal(sqlstate, message, detail, hint)
}
