//! `approve`, `reject`, `revoke`, `inbox`, and the function behind view `approvals`.

use crate::apply::{self, needs, settings::Settings};
use crate::approvals::{self as counted, Approvals, this_login};
use crate::caller::{must_be_the_login, refused};
use crate::error::{from_core, internal, refusal};
use crate::guard::classify_all;
use crate::ledger;
use crate::pg::entry::Failure;
use crate::pg::identity::{database, session_oid};
use crate::pg::session::{Pinned, search_path};
use crate::pg::statements::Statement;
use crate::store::approvals::{self, Decision};
use crate::store::revisions::{self, Stored};
use crate::store::{clock, logins, settings};
use crate::submit;
use pgrx::datum::{Interval, TimestampWithTimeZone};
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use runbook_core::ledger::Kind;
use runbook_core::manifest::Manifest;
use runbook_core::plan::Direction;
use runbook_core::policy::Verdict;
use runbook_core::target::Resolver;
use serde_json::json;

/// Approves a revision as the session's login; returns the digest that was approved. With a digest, only that content; with
/// a fingerprint, only while the catalog is in that state; for `valid_for`, or for as long as the settings say.
#[pg_extern]
#[search_path(pg_catalog, runbook, pg_temp)]
fn approve(
    revision: &str,
    comment: default!(Option<&str>, "NULL"),
    digest: default!(Option<&str>, "NULL"),
    valid_for: default!(Option<Interval>, "NULL"),
    fingerprint: default!(Option<&str>, "NULL"),
) -> Result<String, ErrorReport> {
    must_be_the_login("approve", &[counted::APPROVER])?;
    let stored = find(revision)?;
    let id = stored.revision.revision.as_str();
    refuse_other_content(&stored, digest)?;
    if stored.status == "applied" && !may_still_matter(&stored) {
        return Err(refused(
            "approve",
            "55000",
            format!("revision \"{id}\" is applied and has no way back that an approval could be for"),
            None,
            Some("Look at it: SELECT runbook.show('REVISION');".to_owned()),
        ));
    }
    if let Some(wanted) = fingerprint {
        let found = clock::fingerprint()?;
        if wanted != found {
            return Err(refused(
                "approve",
                "40001",
                "the catalog is not in the state that you approve for",
                Some(format!("Its fingerprint is {found}.")),
                Some("Review again, then pass runbook.fingerprint().".to_owned()),
            ));
        }
    }
    let login = this_login()?;
    let author = logins::login(&stored.submitter.name, stored.submitter_oid)?;
    if login.meets(&author) || login.meets(&stored.submitter) {
        let by = if login.name == author.name {
            format!("revision \"{id}\" was submitted by \"{}\", who can't approve it", login.name)
        } else {
            format!("revision \"{id}\" was submitted by \"{}\", who may be the same person as \"{}\"", author.name, login.name)
        };
        return Err(refused(
            "approve",
            "42501",
            by,
            Some(
                "Four eyes: the login counts, whatever role it has set; members of one login are one person; and a superuser is \
                 no exception."
                    .to_owned(),
            ),
            Some(format!("Another member of runbook_approver runs: SELECT runbook.approve('{id}', 'COMMENT');")),
        ));
    }
    let [upgrade, downgrade] = manifests(&stored)?;
    let decision = Decision {
        revision: id,
        digest: &stored.digest,
        approved: true,
        login: &login,
        oid: session_oid(),
        comment,
        manifests: [&upgrade, &downgrade],
        fingerprint,
    };
    let settings = Settings::load()?;
    let expires = approvals::decide(&decision, valid_for, settings.approval_valid_for(), &database())?;
    if !is_future(&stored, &login.name)? {
        return Err(refusal(
            "22023",
            "an approval must be valid for some time",
            None,
            Some("Give a positive valid_for.".into()),
        ));
    }
    revisions::set_status(id, "approved")?;
    let objects: Vec<_> = upgrade.actions().iter().chain(downgrade.actions()).map(crate::guard::object).collect();
    let facts = json!({
        "revision": id, "digest": stored.digest, "reason": comment, "expires": expires, "fingerprint": fingerprint,
        "objects": objects,
    });
    ledger::record(Kind::RevisionApproved, facts)?;
    Ok(stored.digest)
}

/// Whether the approval just given counts for any time at all.
fn is_future(stored: &Stored, approver: &str) -> Result<bool, ErrorReport> {
    let given = approvals::given_for(&[stored.revision.revision.as_str().to_owned()])?;
    Ok(given.iter().any(|one| one.login.name == approver && one.void.is_none()))
}

/// An applied revision can still be reverted.
fn may_still_matter(stored: &Stored) -> bool {
    stored.revision.downgrade.is_some()
}

/// Rejects a revision as the session's login; a rejected content can't be applied where the guard is active.
#[pg_extern]
#[search_path(pg_catalog, runbook, pg_temp)]
fn reject(revision: &str, comment: default!(Option<&str>, "NULL")) -> Result<String, ErrorReport> {
    must_be_the_login("reject", &[counted::APPROVER])?;
    let stored = find(revision)?;
    let id = stored.revision.revision.as_str();
    let login = this_login()?;
    let nothing = Manifest::default();
    let decision = Decision {
        revision: id,
        digest: &stored.digest,
        approved: false,
        login: &login,
        oid: session_oid(),
        comment,
        manifests: [&nothing, &nothing],
        fingerprint: None,
    };
    // A no stands until it is taken back or the content changes.
    approvals::decide(&decision, None, "1000 years", &database())?;
    revisions::set_status(id, "rejected")?;
    ledger::record(Kind::RevisionRejected, json!({"revision": id, "digest": stored.digest, "reason": comment}))?;
    Ok(stored.digest)
}

/// Takes the login's own decision on a revision back; returns whether there was one.
#[pg_extern]
#[search_path(pg_catalog, runbook, pg_temp)]
fn revoke(revision: &str, comment: default!(Option<&str>, "NULL")) -> Result<bool, ErrorReport> {
    must_be_the_login("revoke", &[counted::APPROVER])?;
    let stored = find(revision)?;
    let id = stored.revision.revision.as_str();
    let voided = approvals::void(id, Some(session_oid()), "it was revoked")?;
    if voided > 0 {
        let left = approvals::given_for(&[id.to_owned()])?;
        let stands = |approved: bool| left.iter().any(|one| one.approved == approved && one.void.is_none());
        let status = if stands(false) {
            "rejected"
        } else if stands(true) {
            "approved"
        } else {
            "pending"
        };
        revisions::set_status(id, status)?;
        ledger::record(Kind::RevisionRevoked, json!({"revision": id, "digest": stored.digest, "reason": comment}))?;
    }
    Ok(voided > 0)
}

/// The revision that a name means. An exact id needs no graph.
fn find(revision: &str) -> Result<Stored, ErrorReport> {
    if let Some(stored) = revisions::load(&[revision.to_owned()])?.pop() {
        return Ok(stored);
    }
    let graph = revisions::graph()?;
    let heads = apply::nodes(&graph, &revisions::heads()?)?;
    let node = Resolver::new(&graph, &heads).one(revision).map_err(from_core)?;
    let node = node.ok_or_else(|| refusal("42704", "base is not a revision", None, None))?;
    revisions::load(&[graph.id(node).to_owned()])?.pop().ok_or_else(|| internal("a revision has no row"))
}

fn refuse_other_content(stored: &Stored, digest: Option<&str>) -> Result<(), ErrorReport> {
    let id = stored.revision.revision.as_str();
    match digest {
        Some(digest) if digest != stored.digest => Err(refused(
            "approve",
            "40001",
            format!("revision \"{id}\" has other content than you approve"),
            Some(format!("Its digest is {}.", stored.digest)),
            Some(format!("Read it again: SELECT runbook.show('{id}');")),
        )),
        _ => Ok(()),
    }
}

/// What an approval given now covers: upgrade (with verification) and downgrade, with the objects that their names mean
/// under the session of a revision.
fn manifests(stored: &Stored) -> Result<[Manifest; 2], ErrorReport> {
    let id = stored.revision.revision.as_str();
    let revision = &stored.revision;
    let settings = Settings::load()?;
    let manifest = |texts: &[(&str, &str)]| -> Result<Manifest, Failure> {
        let mut parsed: Vec<Statement> = Vec::new();
        for (sql, section) in texts {
            parsed.extend(submit::parse(sql, id, section)?);
        }
        Ok(Manifest::new(classify_all(parsed.iter().map(|one| &one.command))?, search_path()))
    };
    let pinned = Pinned::enter(&settings.pinned(), settings.migration_role()).map_err(Failure::from)?;
    let upgrade = manifest(&[(&revision.upgrade, "upgrade"), (revision.verify.as_deref().unwrap_or_default(), "verify")])?;
    let downgrade = manifest(&[(revision.downgrade.as_deref().unwrap_or_default(), "downgrade")])?;
    drop(pinned);
    Ok([upgrade, downgrade])
}

/// Why a decision does not count, apart from who else decided; NULL if it may.
#[pg_extern(volatile)]
#[search_path(pg_catalog, runbook, pg_temp)]
#[allow(clippy::too_many_arguments, reason = "they are the columns of a row")]
fn approval_void(
    void_reason: Option<&str>,
    digest: &str,
    current_digest: Option<&str>,
    system_identifier: &str,
    database_oid: pg_sys::Oid,
    expires_at: TimestampWithTimeZone,
    approver: &str,
    approver_oid: pg_sys::Oid,
) -> Option<String> {
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
        ),
    >,
    ErrorReport,
> {
    must_be_the_login("inbox", &[counted::APPROVER])?;
    let policy = settings::policy()?;
    let login = this_login()?;
    let mut rows = super::permits::waiting_for(&login, &policy)?;
    let ids = revisions::waiting()?;
    let approvals = Approvals::of(&ids)?;
    for stored in revisions::load(&ids)? {
        if login.meets(&stored.submitter) || policy.obstacle(&stored.upgrade_actions).is_none() {
            continue;
        }
        let tally = approvals.tally(&stored, &stored.upgrade_actions, &policy, None)?;
        let Some(need) = needs::need(&stored, Direction::Upgrade, &stored.upgrade_actions, Some(&policy), &approvals, None)?
        else {
            continue;
        };
        if tally.by.contains(&login.name) || need.verdict != "require_approval" {
            continue;
        }
        let stopped = stored.upgrade_actions.iter().filter(|action| policy.rule(action).verdict >= Verdict::RequireApproval);
        let id = stored.revision.revision.as_str().to_owned();
        rows.push((
            "revision".to_owned(),
            id.clone(),
            stored.submitter.name.clone(),
            stored.revision.message.clone(),
            stopped.map(ToString::to_string).collect(),
            need.text,
            format!("SELECT runbook.approve('{id}', 'COMMENT', '{}');", stored.digest),
        ));
    }
    Ok(TableIterator::new(rows))
}
