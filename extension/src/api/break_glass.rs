//! `break_glass`, `close_break_glass`.

use crate::error::refusal;
use crate::guard::break_glass;
use crate::guard::caller::{enter, limited_reason};
use crate::guard::enforcement::Enforcement;
use crate::ledger::refusal::refused;
use crate::pg::session::identity::session_role;
use crate::settings::Settings;
use crate::spi::clock;
use pgrx::datum::Interval;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use runbook_core::changing;

/// Sets policy aside in this session, for a reason and for a time; returns when it ends.
#[pg_extern]
#[search_path(pg_catalog, runbook, pg_temp)]
fn break_glass(
    fcinfo: pg_sys::FunctionCallInfo,
    reason: Option<&str>,
    valid_for: default!(Option<Interval>, "'15 minutes'"),
) -> Result<String, ErrorReport> {
    let call = enter(fcinfo, &changing::BREAK_GLASS)?;
    let reason = call.given(reason, "reason")?;
    let valid_for = call.given(valid_for, "valid_for")?;
    limited_reason(reason, "breaking the glass", "SELECT runbook.break_glass('what is on fire', '15 minutes');")?;
    if Enforcement::current()? == Enforcement::Off {
        let detail = "Nothing is enforced in this database, so there is no policy to set aside.".to_owned();
        return Err(refusal("55000", "the guard is not active here", Some(detail), None));
    }
    let settings = Settings::load()?;
    let (until, text, sane) = clock::deadline(valid_for, settings.break_glass_max())?;
    if !sane {
        return Err(refused(
            "break_glass",
            "22023",
            "invalid duration for breaking the glass",
            Some(format!("It must be positive and at most {} (setting \"break_glass_max\").", settings.break_glass_max())),
            Some("SELECT runbook.break_glass('REASON', '15 minutes');".to_owned()),
        ));
    }
    break_glass::open(reason, until, &text)?;
    warning!(
        "policy is set aside in this session until {text}: every statement of \"{}\" is marked in the ledger",
        session_role()
    );
    Ok(text)
}

/// Puts policy back in force in this session before the time is up; false if the glass was whole.
#[pg_extern]
#[search_path(pg_catalog, runbook, pg_temp)]
fn close_break_glass(fcinfo: pg_sys::FunctionCallInfo) -> Result<bool, ErrorReport> {
    enter(fcinfo, &changing::CLOSE_BREAK_GLASS)?;
    Ok(break_glass::close("closed by the login"))
}
