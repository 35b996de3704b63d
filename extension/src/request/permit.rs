//! Permits, from request to decision. Their use is the guard's business.

use crate::approval::tally::{describe_missing, tally_permit};
use crate::catalog::cascade;
use crate::catalog::logins::{self, this_login};
use crate::error::{internal, refusal};
use crate::guard::caller::{limited, limited_reason};
use crate::guard::classify::classify_all;
use crate::guard::integrity::update;
use crate::guard::judge::allow_call;
use crate::guard::statement_text::recordable;
use crate::ledger::refusal::refused;
use crate::pg::execute::statements::{self, Statement};
use crate::pg::failure::Failure;
use crate::pg::session::identity::{database, session_oid};
use crate::pg::session::parameters::{ROLE, reading};
use crate::pg::session::pinned::{resolution, search_path};
use crate::settings::Settings;
use crate::spi::clock;
use crate::store::ledger::has_use;
use crate::store::permits::{self, Permit, Request};
use crate::store::settings;
use crate::{code, ledger};
use pgrx::datum::Interval;
use pgrx::pg_sys::panic::ErrorReport;
use runbook_core::action::Action;
use runbook_core::command::Command;
use runbook_core::identity::{Address, Identity};
use runbook_core::ledger::Kind;
use runbook_core::manifest::Manifest;
use runbook_core::policy::{Policy, Verdict};
use runbook_core::statement::{digest, parameter, skip_blank};
use runbook_core::vocabulary::status::PermitStatus;
use runbook_core::vocabulary::verb::Verb;
use serde_json::json;

/// Asks for a permit; returns its id.
///
/// # Errors
/// 22023 for a text that is not one readable statement or a time that is too long; 42704 for an object that does not exist;
/// 55000 where none is needed; 42501 where policy denies.
pub fn request(statement: &str, reason: &str, valid_for: Interval) -> Result<String, ErrorReport> {
    limited("statement", statement)?;
    limited_reason(reason, "a permit", "SELECT runbook.request_permit('STATEMENT', 'why, for those who approve');")?;
    let settings = Settings::load()?;
    let (_, expires, sane) = clock::deadline(valid_for, settings.permit_max())?;
    if !sane {
        let hint = format!("Ask for a positive time of at most {} (setting \"permit_max\").", settings.permit_max());
        return Err(refusal("22023", "invalid duration for a permit", None, Some(hint)));
    }
    let Some(digest) = digest(statement) else {
        let detail =
            "How PostgreSQL reads the second part depends on the first, so the statement could be taken for another one."
                .to_owned();
        let hint = "Write the string constant in one line, or join its parts with ||.".to_owned();
        return Err(refusal("22023", "a string constant continues on the next line", Some(detail), Some(hint)));
    };
    let manifest = manifest_of(statement)?;
    let policy = settings::policy()?;
    refuse_needless(&manifest, &policy)?;
    refuse_what_cascade_reaches(statement, &manifest, &policy)?;
    let id: String = uuid::Uuid::new_v4().simple().to_string().chars().take(12).collect();
    let request = Request {
        permit: &id,
        statement: skip_blank(statement).trim_end(),
        digest: &digest,
        manifest: &manifest,
        resolution: resolution(),
        parameters: &reading(),
        reason,
        login: &this_login()?,
        oid: session_oid(),
    };
    permits::request(&request, valid_for, &database())?;
    let facts = json!({
        "permit": id, "statement": recordable(request.statement), "reason": reason, "expires": expires,
        "parameters": request.parameters,
        "objects": manifest.actions().iter().map(runbook_core::ledger::listed).collect::<Vec<_>>(),
    });
    ledger::record(Kind::PermitRequested, facts)?;
    Ok(id)
}

fn refuse_needless(manifest: &Manifest, policy: &Policy) -> Result<(), ErrorReport> {
    match policy.obstacle(manifest.actions()) {
        None => {
            let detail = "Policy allows everything that the statement says it would do.".to_owned();
            Err(refusal("55000", "the statement needs no permit", Some(detail), Some("Run it.".to_owned())))
        }
        Some((action, Verdict::Deny)) => {
            let message = format!("{action} is {}, which policy denies", action.class.as_str());
            let hint = format!("An admin can change that: {}", allow_call(action, policy));
            Err(refused("request_permit", "42501", message, action.warning().map(str::to_owned), Some(hint)))
        }
        Some(_) => Ok(()),
    }
}

/// A permit covers what its statement names. What CASCADE takes along would be refused when it is used; so it is said before anybody decides.
fn refuse_what_cascade_reaches(statement: &str, manifest: &Manifest, policy: &Policy) -> Result<(), ErrorReport> {
    let parsed = statements::parse(statement).map_err(Failure::from)?;
    let cascades = |one: &Statement| matches!(one.command, Command::Drop { cascade: true, .. });
    if !parsed.iter().any(cascades) {
        return Ok(());
    }
    let roots: Vec<Address> = manifest
        .actions()
        .iter()
        .filter_map(|action| if let Identity::Is(found) = action.identity { Some(found) } else { None })
        .collect();
    let reached = cascade::reached(&roots)?;
    let Some(first) = reached.iter().find(|action| policy.stops(action)) else { return Ok(()) };
    let message = format!("a permit does not cover what CASCADE reaches: {first} is {}", first.class.as_str());
    let names: Vec<String> = reached.iter().take(20).map(|action| action.object.to_string()).collect();
    let detail = format!("It reaches {}{}.", names.join(", "), if reached.len() > 20 { ", …" } else { "" });
    let hint = "Request a permit to drop each of them, dependent objects first; or write a revision with these statements.";
    Err(refusal("22023", message, Some(detail), Some(hint.to_owned())))
}

/// What one statement would do, to which objects.
fn manifest_of(statement: &str) -> Result<Manifest, ErrorReport> {
    let parsed = statements::parse(statement).map_err(Failure::from)?;
    let [only] = &parsed[..] else {
        let message = format!("a permit covers one statement, but this text has {}", parsed.len());
        return Err(refusal(
            "22023",
            message,
            None,
            Some("Request a permit for each of them, or write a revision.".to_owned()),
        ));
    };
    if let Some(parameter) = parameter(statement) {
        let detail = "Its value is only known when the statement runs, so no approver can see it.".to_owned();
        let hint = "Write the value into the statement.".to_owned();
        return Err(refusal("22023", format!("the statement has a parameter, {parameter}"), Some(detail), Some(hint)));
    }
    let actions = classify_all([&only.command])?;
    if actions.is_empty() && update::is_done(&only.command)? {
        let hint = "Install the package of the new version first; see docs/updating.md.".to_owned();
        return Err(refusal(
            "55000",
            format!("pg_runbook is {} already, as its library is", update::LIBRARY),
            None,
            Some(hint),
        ));
    }
    if actions.is_empty() {
        let detail = "A permit covers what can be read from the statement itself, not what a block or a function does.";
        let hint = "Request a permit for the DDL statement itself, or write a revision. In a call of a runbook function, each \
                    argument must be a constant without a cast.";
        let message = format!("the effects of {} can't be read from its text", only.tag);
        return Err(refusal("22023", message, Some(detail.to_owned()), Some(hint.to_owned())));
    }
    if let Some(missing) = actions.iter().find(|action| action.verb != Verb::Add && action.identity.is_absent()) {
        let hint = "Write the name with its schema, and check that the object exists.".to_owned();
        return Err(refusal("42704", format!("{} does not exist", missing.object), None, Some(hint)));
    }
    Ok(Manifest::new(actions, search_path()))
}

/// Approves a permit; returns its statement.
///
/// # Errors
/// 42704 for no such permit; 55000 for one that is closed; 42501 for its requester.
pub fn approve(name: &str, comment: Option<&str>) -> Result<String, ErrorReport> {
    limited("comment", comment.unwrap_or_default())?;
    let permit = find(name)?;
    refuse_closed("approve_permit", &permit)?;
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
    let reached = code::reach(code::texts(&statements::parse(&permit.statement).map_err(Failure::from)?), &[]);
    permits::decide(&permit.permit, Some((&reached.code, &reached.versions())), &login, session_oid(), comment)?;
    settings::note_change()?;
    let facts = json!({"permit": permit.permit, "statement": recordable(&permit.statement), "reason": comment});
    ledger::record(Kind::PermitApproved, facts)?;
    Ok(permit.statement)
}

/// Rejects a permit for good; returns its statement.
///
/// # Errors
/// 42704 for no such permit; 55000 for one that is closed.
pub fn reject(name: &str, comment: Option<&str>) -> Result<String, ErrorReport> {
    limited("comment", comment.unwrap_or_default())?;
    let permit = find(name)?;
    refuse_closed("reject_permit", &permit)?;
    if !permits::reject(&permit.permit, &this_login()?)? {
        refuse_closed("reject_permit", &find(&permit.permit)?)?;
    }
    permits::decide(&permit.permit, None, &this_login()?, session_oid(), comment)?;
    let facts = json!({"permit": permit.permit, "statement": recordable(&permit.statement), "reason": comment});
    ledger::record(Kind::PermitRejected, facts)?;
    Ok(permit.statement)
}

fn find(prefix: &str) -> Result<Permit, ErrorReport> {
    let hint = || Some("See SELECT * FROM runbook.permits; four characters of an id are enough.".to_owned());
    let mut found = if prefix.len() < 4 { vec![] } else { permits::named(prefix, &database())? };
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

/// Whether a permit has been used. Where what was done under it stays whatever becomes of the transaction, the ledger tells.
pub fn is_used(permit: &Permit) -> Result<bool, ErrorReport> {
    Ok(permit.used || permit.manifest.actions().iter().any(Action::outlasts_rollback) && has_use(&permit.permit)?)
}

fn refuse_closed(function: &str, permit: &Permit) -> Result<(), ErrorReport> {
    let what = match permit {
        used if is_used(used)? => "has been used",
        Permit { void: Some(_), .. } => "has been rejected",
        Permit { expired: true, .. } => "has expired",
        _ => return Ok(()),
    };
    let hint = Some("Request a new permit: SELECT runbook.request_permit('STATEMENT', 'REASON');".to_owned());
    Err(refused(function, "55000", format!("permit \"{}\" {what}", permit.permit), None, hint))
}

/// A permit as view `permits` shows it.
#[derive(Debug)]
pub struct Line {
    /// The permit.
    pub permit: Permit,
    /// Where it stands.
    pub status: PermitStatus,
    /// What still stands in the way of using it.
    pub needs: Option<String>,
    /// The parameters under which its text is read, where this session has other values.
    pub parameters: Option<String>,
}

/// All permits of this database.
pub fn all() -> Result<Vec<Line>, ErrorReport> {
    let policy = settings::policy()?;
    let here = reading();
    let line = |permit: Permit| {
        let (status, needs) = match &permit {
            used if is_used(used)? => (PermitStatus::Used, None),
            Permit { void: Some(why), .. } => (PermitStatus::Rejected, Some(why.clone())),
            Permit { expired: true, .. } => (PermitStatus::Expired, None),
            open => {
                let tally = tally_permit(open, &policy, None)?;
                let missing = tally.missing.as_ref().map(|missing| describe_missing(missing, &tally.discounted));
                (if missing.is_some() { PermitStatus::Requested } else { PermitStatus::Approved }, missing)
            }
        };
        let other = permit.parameters.iter().filter(|(name, value)| name.as_str() != ROLE && here.get(*name) != Some(*value));
        let other: Vec<String> = other.map(|(name, value)| format!("{name} = {value}")).collect();
        let parameters = Some(other.join("; ")).filter(|text| !text.is_empty());
        Ok(Line { permit, status, needs, parameters })
    };
    permits::all(false, &database())?.into_iter().map(line).collect()
}
