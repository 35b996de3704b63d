//! `request_permit`, `approve_permit`, `reject_permit`, and the function behind view `permits`.

use crate::guard::caller::enter;
use crate::request::permit::{self, Line};
use pgrx::datum::{Interval, TimestampWithTimeZone};
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use runbook_core::changing;

/// Asks for a permit to run one statement once, as the session's login; returns its id. Names are looked up as in the
/// statement itself, so this function has no search path of its own.
#[pg_extern]
fn request_permit(
    fcinfo: pg_sys::FunctionCallInfo,
    statement: Option<&str>,
    reason: Option<&str>,
    valid_for: default!(Option<Interval>, "'1 hour'"),
) -> Result<String, ErrorReport> {
    let call = enter(fcinfo, &changing::REQUEST_PERMIT)?;
    let statement = call.given(statement, "statement")?;
    let reason = call.given(reason, "reason")?;
    let valid_for = call.given(valid_for, "valid_for")?;
    permit::request(statement, reason, valid_for)
}

/// Approves a permit that another person requested; returns its statement.
#[pg_extern]
#[search_path(pg_catalog, runbook, pg_temp)]
fn approve_permit(
    fcinfo: pg_sys::FunctionCallInfo,
    permit: Option<&str>,
    comment: default!(Option<&str>, "NULL"),
) -> Result<String, ErrorReport> {
    let call = enter(fcinfo, &changing::APPROVE_PERMIT)?;
    let permit = call.given(permit, "permit")?;
    permit::approve(permit, comment)
}

/// Rejects a permit, for good; returns its statement.
#[pg_extern]
#[search_path(pg_catalog, runbook, pg_temp)]
fn reject_permit(
    fcinfo: pg_sys::FunctionCallInfo,
    permit: Option<&str>,
    comment: default!(Option<&str>, "NULL"),
) -> Result<String, ErrorReport> {
    let call = enter(fcinfo, &changing::REJECT_PERMIT)?;
    let permit = call.given(permit, "permit")?;
    permit::reject(permit, comment)
}

/// The rows of view `permits`.
#[pg_extern(security_definer)]
#[search_path(pg_catalog, runbook, pg_temp)]
#[allow(clippy::type_complexity, reason = "the columns of the result, which pgrx reads from here")]
fn permits_in_force() -> Result<
    TableIterator<
        'static,
        (
            name!(permit, String),
            name!(status, String),
            name!(requested_by, String),
            name!(reason, String),
            name!(statement, String),
            name!(needs, Option<String>),
            name!(expires_at, TimestampWithTimeZone),
            name!(parameters, Option<String>),
        ),
    >,
    ErrorReport,
> {
    let row = |line: Line| {
        let Line { permit, status, needs, parameters } = line;
        let (requester, expires) = (permit.requester.name, permit.expires_at);
        (permit.permit, status.as_str().to_owned(), requester, permit.reason, permit.statement, needs, expires, parameters)
    };
    Ok(TableIterator::new(permit::all()?.into_iter().map(row)))
}
