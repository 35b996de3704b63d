//! `approve`, `reject`, `revoke`, `inbox`, and the function behind view `approvals`.

use crate::approval::tally as counted;
use crate::guard::caller::{enter, must_be_the_login};
use crate::request::inbox::{self, Waiting};
use crate::request::{decide, withdraw};
use pgrx::datum::{Interval, TimestampWithTimeZone};
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use runbook_core::changing;

/// Approves a revision as the session's login; returns the digest that was approved. With a digest, only that content; with
/// a fingerprint, only while the catalog is in that state; for `valid_for`, or for as long as the settings say.
#[pg_extern]
#[search_path(pg_catalog, runbook, pg_temp)]
fn approve(
    fcinfo: pg_sys::FunctionCallInfo,
    revision: Option<&str>,
    comment: default!(Option<&str>, "NULL"),
    digest: default!(Option<&str>, "NULL"),
    valid_for: default!(Option<Interval>, "NULL"),
    fingerprint: default!(Option<&str>, "NULL"),
) -> Result<String, ErrorReport> {
    let call = enter(fcinfo, &changing::APPROVE)?;
    let revision = call.given(revision, "revision")?;
    decide::approve(revision, comment, digest, valid_for, fingerprint)
}

/// Rejects a revision as the session's login; a rejected content can't be applied where the guard is active.
#[pg_extern]
#[search_path(pg_catalog, runbook, pg_temp)]
fn reject(
    fcinfo: pg_sys::FunctionCallInfo,
    revision: Option<&str>,
    comment: default!(Option<&str>, "NULL"),
) -> Result<String, ErrorReport> {
    let call = enter(fcinfo, &changing::REJECT)?;
    let revision = call.given(revision, "revision")?;
    decide::reject(revision, comment)
}

/// Takes the login's own decision on a revision back; returns whether there was one.
#[pg_extern]
#[search_path(pg_catalog, runbook, pg_temp)]
fn revoke(
    fcinfo: pg_sys::FunctionCallInfo,
    revision: Option<&str>,
    comment: default!(Option<&str>, "NULL"),
) -> Result<bool, ErrorReport> {
    let call = enter(fcinfo, &changing::REVOKE)?;
    let revision = call.given(revision, "revision")?;
    decide::revoke(revision, comment)
}

/// Takes a revision that is not applied out of the graph, for a reason; returns its id.
#[pg_extern]
#[search_path(pg_catalog, runbook, pg_temp)]
fn withdraw(fcinfo: pg_sys::FunctionCallInfo, revision: Option<&str>, reason: Option<&str>) -> Result<String, ErrorReport> {
    let call = enter(fcinfo, &changing::WITHDRAW)?;
    let (revision, reason) = (call.given(revision, "revision")?, call.given(reason, "reason")?);
    withdraw::withdraw(revision, reason)
}

/// Why a decision does not count, apart from who else decided; NULL if it may.
#[pg_extern(volatile)]
#[search_path(pg_catalog, runbook, pg_temp)]
#[allow(clippy::too_many_arguments, reason = "they are the columns of a row")]
fn approval_void(
    void_reason: Option<&str>,
    digest: Option<&str>,
    current_digest: Option<&str>,
    system_identifier: Option<&str>,
    database_oid: Option<pg_sys::Oid>,
    expires_at: Option<TimestampWithTimeZone>,
    approver: Option<&str>,
    approver_oid: Option<pg_sys::Oid>,
) -> Option<String> {
    let (digest, system_identifier, expires_at) = (digest?, system_identifier?, expires_at?);
    let (database_oid, approver, approver_oid) = (database_oid?, approver?, approver_oid?);
    // PostgreSQL counts microseconds from 2000-01-01, thirty years and seven leap days after the epoch.
    const SINCE_1970: i64 = 946_684_800_000_000;
    let micros = i64::from(expires_at).saturating_add(SINCE_1970);
    let (database_oid, approver_oid) = (database_oid.to_u32(), approver_oid.to_u32());
    counted::void(void_reason, digest, current_digest, system_identifier, database_oid, micros, approver, approver_oid)
}

/// What waits for the session's login to decide, with what it would do and which call approves it.
#[pg_extern]
#[search_path(pg_catalog, runbook, pg_temp)]
#[allow(clippy::type_complexity, reason = "the columns of the result, which pgrx reads from here")]
fn inbox() -> Result<
    TableIterator<
        'static,
        (
            name!(kind, String),
            name!(id, String),
            name!(requested_by, String),
            name!(message, String),
            name!(would, Vec<String>),
            name!(needs, String),
            name!(command, String),
            name!(digest, Option<String>),
        ),
    >,
    ErrorReport,
> {
    must_be_the_login("inbox", &[counted::APPROVER])?;
    let row = |one: Waiting| {
        (one.kind.to_owned(), one.id, one.requested_by, one.message, one.would, one.needs, one.command, one.digest)
    };
    Ok(TableIterator::new(inbox::inbox()?.into_iter().map(row)))
}
