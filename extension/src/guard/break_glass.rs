//! Break-glass: policy set aside in one session, for a reason, for a time; every step of it in the ledger.
//!
//! The entry that says so is durable before anything is permitted, and is written outside the session's transaction: no
//! rollback can take it back. The permission itself is process memory and ends by the clock. A parameter of the session marks
//! it, so that it also ends with DISCARD ALL and RESET ALL, which poolers send between clients; the parameter alone grants
//! nothing.

use crate::error::{self, refusal};
use crate::guard::enforcement;
use crate::ledger::recorder;
use crate::permission::{self, BreakGlass};
use crate::pg::clock;
use crate::pg::session::identity::mark_glass;
use crate::store::ledger;
use pgrx::pg_sys::panic::ErrorReport;
use runbook_core::ledger::Kind;
use serde_json::json;

/// Breaks the glass until `until` (microseconds since 1970, and as text).
///
/// # Errors
/// 58000 where the ledger can't be written: then nothing is permitted.
pub fn open(reason: &str, until: i64, until_text: &str) -> Result<(), ErrorReport> {
    let facts =
        json!({"reason": reason, "until": until_text, "until_us": until.to_string(), "pid": std::process::id().to_string()});
    let id = recorder::record_durably(Kind::BreakGlassOpened, facts).map_err(|problem| {
        let detail = format!("Breaking the glass must be recorded in the ledger first, and that failed: {problem}.");
        refusal(
            "58000",
            "the glass could not be broken",
            Some(detail),
            Some("Check the server log, then try again.".to_owned()),
        )
    })?;
    // One glass at a time: the first would seem broken until its time is up.
    close("another one was broken");
    mark_glass(&id);
    permission::set_break_glass(Some(BreakGlass { id, until }));
    Ok(())
}

/// Puts policy back in force; false if the glass was not broken.
pub fn close(reason: &str) -> bool {
    let Some(glass) = permission::break_glass() else { return false };
    permission::set_break_glass(None);
    recorder::record(Kind::BreakGlassClosed, json!({"break_glass": glass.id, "reason": reason}));
    true
}

/// Whether policy is set aside in this session now. A glass whose time is up is closed on the way.
pub fn is_broken() -> bool {
    let why = match permission::break_glass() {
        None => return false,
        Some(glass) if clock::micros() >= glass.until => "its time was up",
        Some(glass) if enforcement::glass_mark() != glass.id => "the session was reset, or the transaction rolled back",
        Some(_) => return true,
    };
    close(why);
    false
}

/// The sessions of this database in which the glass is broken, as people read it.
pub fn elsewhere() -> error::Result<Vec<String>> {
    ledger::broken_glass()
}
