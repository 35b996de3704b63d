//! `request_permit`, `approve_permit`, `reject_permit`, and the function behind view `permits`.

use crate::approvals as counted;
use crate::caller::{must_be_asked_for, must_be_the_login};
use crate::permits::{self, Line};
use pgrx::datum::{Interval, TimestampWithTimeZone};
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

const REQUESTERS: [&str; 5] =
    ["runbook_author", "runbook_operator", "runbook_approver", "runbook_admin", "runbook_break_glass"];

/// Asks for a permit to run one statement once, as the session's login; returns its id. Names are looked up as in the
/// statement itself, so this function has no search path of its own.
#[pg_extern]
fn request_permit(statement: &str, reason: &str, valid_for: default!(Interval, "'1 hour'")) -> Result<String, ErrorReport> {
    must_be_the_login("request_permit", &REQUESTERS)?;
    must_be_asked_for("request_permit")?;
    permits::request(statement, reason, valid_for)
}

/// Approves a permit that somebody else asked for; returns its statement.
#[pg_extern]
#[search_path(pg_catalog, runbook, pg_temp)]
fn approve_permit(permit: &str, comment: default!(Option<&str>, "NULL")) -> Result<String, ErrorReport> {
    must_be_the_login("approve_permit", &[counted::APPROVER])?;
    must_be_asked_for("approve_permit")?;
    permits::approve(permit, comment)
}

/// Rejects a permit, for good; returns its statement.
#[pg_extern]
#[search_path(pg_catalog, runbook, pg_temp)]
fn reject_permit(permit: &str, comment: default!(Option<&str>, "NULL")) -> Result<String, ErrorReport> {
    must_be_the_login("reject_permit", &[counted::APPROVER])?;
    must_be_asked_for("reject_permit")?;
    permits::reject(permit, comment)
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
        ),
    >,
    ErrorReport,
> {
    let row = |line: Line| {
        let Line { permit, status, needs } = line;
        (permit.permit, status.to_owned(), permit.requester.name, permit.reason, permit.statement, needs, permit.expires_at)
    };
    Ok(TableIterator::new(permits::all()?.into_iter().map(row)))
}
