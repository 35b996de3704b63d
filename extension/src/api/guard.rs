//! `activate`, `deactivate`, `guard_status`.

use crate::catalog::cluster::prepared_transactions;
use crate::guard::caller::{enter, limited_reason};
use crate::guard::integrity::{attachments, cluster, wholeness};
use crate::guard::{control, status};
use crate::ledger;
use crate::pg::session::identity::{database, session_role};
use crate::store::settings;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use runbook_core::changing;
use runbook_core::ledger::Kind;
use serde_json::json;

/// Activates the guard in this database; false if it was active already.
#[pg_extern]
#[search_path(pg_catalog, runbook, pg_temp)]
fn activate(fcinfo: pg_sys::FunctionCallInfo) -> Result<bool, ErrorReport> {
    enter(fcinfo, &changing::ACTIVATE)?;
    if settings::is_active()? {
        return Ok(false);
    }
    attachments::refuse_strangers("SELECT runbook.activate();")?;
    wholeness::refuse_damaged_triggers("SELECT runbook.activate();")?;
    settings::activate(&session_role())?;
    cluster::mark(true)?;
    let here = database();
    // What they did was judged by nobody, and happens when somebody commits them.
    let prepared = prepared_transactions()?;
    if !prepared.is_empty() {
        pgrx::notice!(
            "the guard has not judged {} prepared transaction(s), which can still be committed: {}",
            prepared.len(),
            prepared.join(", ")
        );
    }
    let facts = json!({"system_identifier": here.system_identifier, "database_oid": here.oid, "prepared": prepared});
    ledger::record(Kind::GuardActivated, facts)?;
    Ok(true)
}

/// Deactivates the guard, for a reason that the ledger keeps; false if it was not active.
#[pg_extern]
#[search_path(pg_catalog, runbook, pg_temp)]
fn deactivate(fcinfo: pg_sys::FunctionCallInfo, reason: Option<&str>) -> Result<bool, ErrorReport> {
    let call = enter(fcinfo, &changing::DEACTIVATE)?;
    let reason = call.given(reason, "reason")?;
    limited_reason(reason, "deactivating", "SELECT runbook.deactivate('why, and until when');")?;
    if !settings::is_active()? {
        return Ok(false);
    }
    control::decide(&changing::DEACTIVATE, None, "switch the guard off")?;
    settings::deactivate()?;
    cluster::mark(false)?;
    ledger::record(Kind::GuardDeactivated, json!({"reason": reason}))?;
    Ok(true)
}

/// Which protections are active.
#[pg_extern(security_definer)]
#[search_path(pg_catalog, runbook, pg_temp)]
#[allow(clippy::type_complexity, reason = "the columns of the result, which pgrx reads from here")]
fn guard_status() -> Result<
    TableIterator<'static, (name!(layer, String), name!(active, bool), name!(covers, String), name!(detail, String))>,
    ErrorReport,
> {
    let rows = status::layers()?;
    Ok(TableIterator::new(rows.into_iter().map(|one| (one.layer.to_owned(), one.active, one.covers.to_owned(), one.detail))))
}
