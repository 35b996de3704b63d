//! Decisions on revisions: yes, no, taking it back, and what waits for one.
//!
//! A yes stores what it covers: the objects that the revision's names mean now, in the session that revisions run in.

use crate::apply::way;
use crate::catalog::logins::{self, this_login};
use crate::error::{from_core, internal, refusal};
use crate::guard::caller::limited;
use crate::guard::classify::classify_all;
use crate::ledger::refusal::refused;
use crate::pg::execute::statements::Statement;
use crate::pg::failure::Failure;
use crate::pg::session::identity::{current_oid, database, session_oid};
use crate::pg::session::pinned::{Pinned, search_path};
use crate::request::submit;
use crate::settings::Settings;
use crate::spi::clock;
use crate::store::approvals::{self, Decision, Given};
use crate::store::graph;
use crate::store::revisions::{self, Stored};
use crate::store::settings;
use crate::{code, ledger};
use pgrx::datum::Interval;
use pgrx::pg_sys::panic::ErrorReport;
use runbook_core::approval::Login;
use runbook_core::code::Code;
use runbook_core::identity::Identity;
use runbook_core::ledger::Kind;
use runbook_core::manifest::Manifest;
use runbook_core::plan::Direction;
use runbook_core::target::Resolver;
use runbook_core::vocabulary::status::RevisionStatus;
use runbook_core::vocabulary::verb::Verb;
use serde_json::json;

/// Approves; returns the digest.
///
/// # Errors
/// 42704 for no such revision; 55000 for other content, another catalog, or nothing to approve; 42501 for its author.
pub fn approve(
    name: &str,
    comment: Option<&str>,
    digest: Option<&str>,
    valid_for: Option<Interval>,
    fingerprint: Option<&str>,
) -> Result<String, ErrorReport> {
    limited("comment", comment.unwrap_or_default())?;
    graph::hold()?;
    let stored = find("approve", name)?;
    let id = stored.revision.revision.as_str();
    refuse_other_content(&stored, digest)?;
    refuse_without_way(&stored)?;
    refuse_other_catalog(fingerprint)?;
    refuse_old_sight(id)?;
    let login = this_login()?;
    refuse_author(&stored, &login)?;
    let settings = Settings::load()?;
    let ([upgrade, downgrade], code) = covered(&stored, &settings)?;
    let binds = code.iter().any(|code| !code.inert);
    let code = [code::stored(&code[0])?, code::stored(&code[1])?];
    let decision = Decision {
        revision: id,
        digest: &stored.digest,
        approved: true,
        login: &login,
        oid: session_oid(),
        comment,
        manifests: [&upgrade, &downgrade],
        code: &code,
        binds,
        fingerprint,
    };
    let expires = approvals::decide(&decision, valid_for, settings.approval_valid_for(), &database())?;
    settings::note_change()?;
    let given = approvals::given_for(&[id.to_owned()])?;
    if !given.iter().any(|one| one.oid == session_oid() && one.void.is_none()) {
        return Err(refusal(
            "22023",
            "an approval must be valid for a positive time",
            None,
            Some("Give a positive valid_for.".into()),
        ));
    }
    // Somebody else's no stands.
    revisions::set_status(id, status_by(&given))?;
    let facts = json!({
        "revision": id, "digest": stored.digest, "reason": comment, "expires": expires, "fingerprint": fingerprint,
        "code": runbook_core::code::digest(&code),
        "objects": upgrade.actions().iter().chain(downgrade.actions()).map(runbook_core::ledger::listed).collect::<Vec<_>>(),
    });
    ledger::record(Kind::RevisionApproved, facts)?;
    Ok(stored.digest)
}

/// Refuses to approve what the caller's transaction may not show: it sees what was there when it began.
fn refuse_old_sight(id: &str) -> Result<(), ErrorReport> {
    if !graph::has_moved_on()? {
        return Ok(());
    }
    let message = "could not serialize access: revisions were submitted or applied since this transaction began";
    let detail =
        "Its isolation level shows the database as it was when the transaction began, but an approval covers what is there now."
            .to_owned();
    Err(refusal("40001", message, Some(detail), Some(format!("ROLLBACK; then read it again: SELECT runbook.show('{id}');"))))
}

/// The status of a revision that waits, by the decisions that stand.
fn status_by(given: &[Given]) -> RevisionStatus {
    let stands = |approved: bool| given.iter().any(|one| one.approved == approved && one.void.is_none());
    match (stands(false), stands(true)) {
        (true, _) => RevisionStatus::Rejected,
        (false, true) => RevisionStatus::Approved,
        (false, false) => RevisionStatus::Pending,
    }
}

/// Rejects; returns the digest. A no stands until it is taken back or the content changes.
///
/// # Errors
/// 42704 for no such revision.
pub fn reject(name: &str, comment: Option<&str>) -> Result<String, ErrorReport> {
    limited("comment", comment.unwrap_or_default())?;
    let stored = find("reject", name)?;
    let id = stored.revision.revision.as_str();
    let nothing = Manifest::default();
    let no_code = code::stored(&Code::default())?;
    let decision = Decision {
        revision: id,
        digest: &stored.digest,
        approved: false,
        login: &this_login()?,
        oid: session_oid(),
        comment,
        manifests: [&nothing, &nothing],
        code: &[no_code.clone(), no_code],
        binds: false,
        fingerprint: None,
    };
    approvals::decide(&decision, None, "1000 years", &database())?;
    revisions::set_status(id, RevisionStatus::Rejected)?;
    ledger::record(Kind::RevisionRejected, json!({"revision": id, "digest": stored.digest, "reason": comment}))?;
    Ok(stored.digest)
}

/// Takes the login's decision back; false if there was none.
///
/// # Errors
/// 42704 for no such revision.
pub fn revoke(name: &str, comment: Option<&str>) -> Result<bool, ErrorReport> {
    limited("comment", comment.unwrap_or_default())?;
    let stored = find("revoke", name)?;
    let id = stored.revision.revision.as_str();
    if approvals::void(id, Some(session_oid()), approvals::REVOKED)? == 0 {
        return Ok(false);
    }
    let left = approvals::given_for(&[id.to_owned()])?;
    settings::note_change()?;
    revisions::set_status(id, status_by(&left))?;
    ledger::record(Kind::RevisionRevoked, json!({"revision": id, "digest": stored.digest, "reason": comment}))?;
    Ok(true)
}

/// The revision with that id or prefix of an id. A label or a relative name may mean another one tomorrow, or since
/// somebody looked.
pub fn find(function: &str, name: &str) -> Result<Stored, ErrorReport> {
    if let Some(stored) = revisions::load(&[name.to_owned()])?.pop() {
        if stored.status != RevisionStatus::Withdrawn {
            return Ok(stored);
        }
        let hint = "Submitting it again brings it back.".to_owned();
        return Err(refused(function, "55000", format!("revision \"{name}\" was withdrawn"), None, Some(hint)));
    }
    let graph = graph::graph()?;
    let heads = way::nodes(&graph, &graph::heads()?)?;
    let node = Resolver::new(&graph, &heads).one(name).map_err(from_core)?;
    let id = match node.map(|node| graph.id(node)) {
        Some(id) if id.starts_with(name) => id.to_owned(),
        Some(id) => {
            let message = format!("{function} takes the id of a revision, and \"{name}\" is not an id");
            let detail = format!("It means revision \"{id}\" now, and may mean another one later.");
            let hint = format!("To read it: SELECT runbook.show('{id}');");
            return Err(refused(function, "22023", message, Some(detail), Some(hint)));
        }
        None => return Err(refusal("42704", "base is not a revision", None, None)),
    };
    revisions::load(&[id])?.pop().ok_or_else(|| internal("a revision has no row"))
}

fn refuse_other_content(stored: &Stored, digest: Option<&str>) -> Result<(), ErrorReport> {
    let id = stored.revision.revision.as_str();
    match digest {
        Some(digest) if digest != stored.digest => Err(refused(
            "approve",
            "55000",
            format!("revision \"{id}\" does not have the content that you approve"),
            Some(format!("Its digest is {}.", stored.digest)),
            Some(format!("Read it again: SELECT runbook.show('{id}');")),
        )),
        _ => Ok(()),
    }
}

/// An applied revision can still be reverted, if it has a way back.
fn refuse_without_way(stored: &Stored) -> Result<(), ErrorReport> {
    let id = stored.revision.revision.as_str();
    if stored.status != RevisionStatus::Applied || stored.revision.downgrade.is_some() {
        return Ok(());
    }
    Err(refused(
        "approve",
        "55000",
        format!("revision \"{id}\" is applied and has no downgrade to approve"),
        None,
        Some(format!("To read it: SELECT runbook.show('{id}');")),
    ))
}

fn refuse_other_catalog(fingerprint: Option<&str>) -> Result<(), ErrorReport> {
    let Some(wanted) = fingerprint else { return Ok(()) };
    let found = clock::fingerprint()?;
    if wanted == found {
        return Ok(());
    }
    Err(refused(
        "approve",
        "55000",
        "the catalog is not in the state that you approve for",
        Some(format!("Its fingerprint is {found}.")),
        Some("Review it again, then pass the value of SELECT runbook.fingerprint();".to_owned()),
    ))
}

fn refuse_author(stored: &Stored, login: &Login) -> Result<(), ErrorReport> {
    let (id, author) = (stored.revision.revision.as_str(), &stored.submitter);
    let now = logins::login(&author.name, stored.submitter_oid)?;
    if !login.meets(&now) && !login.meets(author) {
        return Ok(());
    }
    let message = if login.name == author.name {
        format!("revision \"{id}\" was submitted by \"{}\", who can't approve it", login.name)
    } else {
        format!("revision \"{id}\" was submitted by \"{}\", who may be the same person as \"{}\"", author.name, login.name)
    };
    let detail = "Four eyes: no author approves, and each login that submitted the revision is an author. SET ROLE does not \
                  change the login, members of one login are one person, and superusers are no exception.";
    let hint = format!("Another member of runbook_approver runs: SELECT runbook.approve('{id}', 'COMMENT');");
    Err(refused("approve", "42501", message, Some(detail.to_owned()), Some(hint)))
}

/// What an approval given now covers: upgrade (with verification) and downgrade.
fn covered(stored: &Stored, settings: &Settings) -> Result<([Manifest; 2], [Code; 2]), ErrorReport> {
    let id = stored.revision.revision.as_str();
    let revision = &stored.revision;
    let manifest = |texts: &[(&str, &str)]| -> Result<Manifest, Failure> {
        let mut parsed: Vec<Statement> = Vec::new();
        for (sql, section) in texts {
            parsed.extend(submit::parse(sql, id, section)?);
        }
        let manifest = Manifest::new(classify_all(parsed.iter().map(|one| &one.command))?, search_path());
        Ok(manifest.to_run_as(settings.migration_role().map(|_| current_oid())))
    };
    let pinned = Pinned::enter(&settings.pinned(), settings.migration_role()).map_err(Failure::from)?;
    let upgrade =
        manifest(&[(&revision.upgrade_for_parser(), "upgrade"), (revision.verify.as_deref().unwrap_or_default(), "verify")])?;
    let downgrade = manifest(&[(revision.downgrade.as_deref().unwrap_or_default(), "downgrade")])?;
    let code = |direction| -> Result<Code, ErrorReport> { code::reach_for_approval(id, code::texts_of(revision, direction)?) };
    let code = [code(Direction::Upgrade)?, code(Direction::Downgrade)?];
    drop(pinned);
    let missing = |action: &&runbook_core::action::Action| action.verb == Verb::Drop && action.identity == Identity::Missing;
    if let (None, Some(action)) = (settings.migration_role(), upgrade.actions().iter().find(missing)) {
        // Without a migration role the names mean what they mean to whoever applies.
        pgrx::notice!(
            "{} does not exist for this login; no migration_role is configured, so names are looked up as the login that \
             approves",
            action.object
        );
    }
    Ok(([upgrade, downgrade], code))
}
