//! `request_permit`, `approve_permit`, `reject_permit`, and the function behind view `permits`.

use crate::apply::settings::Settings;
use crate::approvals::{self as counted, describe_missing, tally_permit, this_login, who_may};
use crate::caller::{must_be_the_login, refused};
use crate::error::{internal, refusal};
use crate::guard::{classify_all, object};
use crate::ledger;
use crate::pg::entry::Failure;
use crate::pg::identity::{database, session_oid};
use crate::pg::session::{resolution, search_path};
use crate::pg::statements;
use crate::store::permits::{self, Permit, Request};
use crate::store::{clock, logins, settings};
use pgrx::datum::{Interval, TimestampWithTimeZone};
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use runbook_core::approval::Login;
use runbook_core::identity::Identity;
use runbook_core::ledger::Kind;
use runbook_core::manifest::Manifest;
use runbook_core::policy::{Policy, Verdict};
use runbook_core::statement::{digest, skip_blank};
use serde_json::json;

const REQUESTERS: [&str; 5] =
    ["runbook_author", "runbook_operator", "runbook_approver", "runbook_admin", "runbook_break_glass"];

/// Asks for a permit to run one statement once, as the session's login; returns its id.
#[pg_extern]
pub fn request_permit(statement: &str, reason: &str, valid_for: default!(Interval, "'1 hour'")) -> Result<String, ErrorReport> {
    must_be_the_login("request_permit", &REQUESTERS)?;
    if reason.trim().is_empty() {
        let hint = "SELECT runbook.request_permit('STATEMENT', 'why, for those who approve');";
        return Err(refusal("22023", "a permit needs a reason", None, Some(hint.to_owned())));
    }
    let settings = Settings::load()?;
    let (_, expires, sane) = clock::deadline(valid_for, settings.permit_max())?;
    if !sane {
        let hint = format!("Ask for a time of at most {} (setting permit_max).", settings.permit_max());
        return Err(refusal("22023", "a permit can't be valid for that time", None, Some(hint)));
    }
    let manifest = manifest_of(statement)?;
    let policy = settings::policy()?;
    match policy.obstacle(manifest.actions()) {
        None => {
            let message = "the statement needs no permit";
            let detail = "Policy does not stop anything that it would do.".to_owned();
            return Err(refusal("55000", message, Some(detail), Some("Run it.".to_owned())));
        }
        Some((action, Verdict::Deny)) => {
            let message = format!("{action} is {}, which policy denies", action.class.as_str());
            let hint = format!("An admin can change that: {}", crate::guard::allow_call(action, &policy));
            return Err(refused("request_permit", "42501", message, None, Some(hint)));
        }
        Some(_) => {}
    }
    let id: String = uuid::Uuid::new_v4().simple().to_string().chars().take(12).collect();
    let login = this_login()?;
    let request = Request {
        permit: &id,
        statement: skip_blank(statement).trim_end(),
        digest: &digest(statement),
        manifest: &manifest,
        resolution: resolution(),
        reason,
        login: &login,
        oid: session_oid(),
    };
    permits::request(&request, valid_for, &database())?;
    let facts = json!({
        "permit": id, "statement": request.statement, "reason": reason, "expires": expires,
        "objects": manifest.actions().iter().map(object).collect::<Vec<_>>(),
    });
    ledger::record(Kind::PermitRequested, facts)?;
    Ok(id)
}

/// What one statement would do, to which objects.
fn manifest_of(statement: &str) -> Result<Manifest, ErrorReport> {
    let parsed = statements::parse(statement).map_err(Failure::from)?;
    let [only] = &parsed[..] else {
        let message = format!("a permit is for one statement, and this text has {}", parsed.len());
        return Err(refusal("22023", message, None, Some("Ask for each of them, or write a revision.".to_owned())));
    };
    let actions = classify_all([&only.command])?;
    if actions.is_empty() {
        let detail = "A permit covers what can be read from the statement itself, not what a block or a function reaches.";
        let hint = "Ask for the DDL statement itself, or write a revision.";
        let message = format!("what {} does can't be read from its text", only.tag);
        return Err(refusal("22023", message, Some(detail.to_owned()), Some(hint.to_owned())));
    }
    if let Some(missing) = actions.iter().find(|action| action.verb != "add" && action.identity == Identity::Missing) {
        return Err(refusal("42704", format!("{} does not exist", missing.object), None, None));
    }
    Ok(Manifest::new(actions, search_path()))
}

/// Approves a permit that somebody else asked for; returns its statement.
#[pg_extern]
#[search_path(pg_catalog, runbook, pg_temp)]
fn approve_permit(permit: &str, comment: default!(Option<&str>, "NULL")) -> Result<String, ErrorReport> {
    must_be_the_login("approve_permit", &[counted::APPROVER])?;
    let permit = find(permit)?;
    refuse_closed(&permit)?;
    let login = this_login()?;
    let requester = logins::login(&permit.requester.name, permit.requester_oid)?;
    if login.meets(&requester) || login.meets(&permit.requester) {
        return Err(refused(
            "approve_permit",
            "42501",
            format!("permit \"{}\" was requested by \"{}\", who can't approve it", permit.permit, permit.requester.name),
            Some(format!("Four eyes: \"{}\" is the same login, or may be the same person.", login.name)),
            Some(format!("Another member of runbook_approver runs: SELECT runbook.approve_permit('{}');", permit.permit)),
        ));
    }
    permits::decide(&permit.permit, true, &login, session_oid(), comment)?;
    ledger::record(Kind::PermitApproved, json!({"permit": permit.permit, "statement": permit.statement, "reason": comment}))?;
    Ok(permit.statement)
}

/// Rejects a permit, for good; returns its statement.
#[pg_extern]
#[search_path(pg_catalog, runbook, pg_temp)]
fn reject_permit(permit: &str, comment: default!(Option<&str>, "NULL")) -> Result<String, ErrorReport> {
    must_be_the_login("reject_permit", &[counted::APPROVER])?;
    let permit = find(permit)?;
    refuse_closed(&permit)?;
    permits::decide(&permit.permit, false, &this_login()?, session_oid(), comment)?;
    ledger::record(Kind::PermitRejected, json!({"permit": permit.permit, "statement": permit.statement, "reason": comment}))?;
    Ok(permit.statement)
}

fn find(prefix: &str) -> Result<Permit, ErrorReport> {
    let hint = || Some("See SELECT * FROM runbook.permits;".to_owned());
    let mut found = permits::named(prefix, &database())?;
    match found.len() {
        1 => found.pop().ok_or_else(|| internal("a list of one is empty")),
        0 => Err(refusal("42704", format!("no such permit \"{prefix}\" in this database"), None, hint())),
        _ => {
            let ids: Vec<String> = found.into_iter().map(|one| one.permit).collect();
            let detail = Some(format!("Candidates: {}.", ids.join(", ")));
            Err(refusal("42P08", format!("several permits start with \"{prefix}\""), detail, hint()))
        }
    }
}

fn refuse_closed(permit: &Permit) -> Result<(), ErrorReport> {
    let what = match permit {
        Permit { used: true, .. } => "has been used",
        Permit { void: Some(_), .. } => "has been rejected",
        Permit { expired: true, .. } => "has expired",
        _ => return Ok(()),
    };
    let hint = Some("Let a new one be requested.".to_owned());
    Err(refused("approve_permit", "55000", format!("permit \"{}\" {what}", permit.permit), None, hint))
}

/// What stands in the way of a permit; `None` if its requester can use it.
fn needs(permit: &Permit, policy: &Policy) -> Result<Option<String>, ErrorReport> {
    let tally = tally_permit(permit, policy)?;
    Ok(tally.missing.as_ref().map(|missing| describe_missing(missing, &tally.discounted)))
}

/// A row of `inbox()`.
type Waiting = (String, String, String, String, Vec<String>, String, String);

/// The permits that wait for `login`.
pub fn waiting_for(login: &Login, policy: &Policy) -> Result<Vec<Waiting>, ErrorReport> {
    let mut rows = Vec::new();
    for permit in permits::all(true, &database())? {
        let tally = tally_permit(&permit, policy)?;
        let Some(missing) = &tally.missing else { continue };
        if tally.by.contains(&login.name) || login.meets(&permit.requester) {
            continue;
        }
        let may = who_may(&missing.0, &permit.requester, permit.requester_oid, &tally.by)?;
        let text = format!(
            "{}; expires {}; who may: {}",
            describe_missing(missing, &tally.discounted),
            permit.expires,
            may.join(", ")
        );
        rows.push((
            "permit".to_owned(),
            permit.permit.clone(),
            permit.requester.name.clone(),
            permit.reason.clone(),
            permit.manifest.actions().iter().map(ToString::to_string).collect(),
            text,
            format!("SELECT runbook.approve_permit('{}', 'COMMENT');", permit.permit),
        ));
    }
    Ok(rows)
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
    let policy = settings::policy()?;
    let mut rows = Vec::new();
    for permit in permits::all(false, &database())? {
        let missing = needs(&permit, &policy)?;
        let (status, missing) = match (&permit, &missing) {
            (Permit { used: true, .. }, _) => ("used", None),
            (Permit { void: Some(_), .. }, _) => ("rejected", permit.void.clone()),
            (Permit { expired: true, .. }, _) => ("expired", None),
            (_, Some(_)) => ("requested", missing),
            (_, None) => ("approved", None),
        };
        let requester = permit.requester.name.clone();
        rows.push((permit.permit, status.to_owned(), requester, permit.reason, permit.statement, missing, permit.expires_at));
    }
    Ok(TableIterator::new(rows))
}
