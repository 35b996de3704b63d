//! `approve`, `reject`, `revoke`.

use crate::apply;
use crate::caller::must_be_the_login;
use crate::error::{from_core, internal, refusal};
use crate::ledger;
use crate::pg::identity::{database, session_role};
use crate::store::approvals::{self, Decision};
use crate::store::revisions::{self, Stored};
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use runbook_core::ledger::Kind;
use runbook_core::target::Resolver;
use serde_json::json;

/// Approves a revision as the session's login; returns the digest that was approved. With a digest, only that content.
#[pg_extern]
#[search_path(pg_catalog, runbook, pg_temp)]
fn approve(
    revision: &str,
    comment: default!(Option<&str>, "NULL"),
    digest: default!(Option<&str>, "NULL"),
) -> Result<String, ErrorReport> {
    must_be_the_login("approve", "runbook_approver")?;
    decide(revision, comment, digest, true)
}

/// Rejects a revision as the session's login; a rejected content can't be applied where approval is required.
#[pg_extern]
#[search_path(pg_catalog, runbook, pg_temp)]
fn reject(revision: &str, comment: default!(Option<&str>, "NULL")) -> Result<String, ErrorReport> {
    must_be_the_login("reject", "runbook_approver")?;
    decide(revision, comment, None, false)
}

/// Takes the login's own decision on a revision back; returns whether there was one.
#[pg_extern]
#[search_path(pg_catalog, runbook, pg_temp)]
fn revoke(revision: &str, comment: default!(Option<&str>, "NULL")) -> Result<bool, ErrorReport> {
    must_be_the_login("revoke", "runbook_approver")?;
    let stored = find(revision)?;
    let id = stored.revision.revision.as_str();
    let voided = approvals::void(id, Some(&session_role()), "revoked by the login that decided")?;
    if voided > 0 {
        let left = approvals::decisions(&[id.to_owned()], &database())?;
        let rejected = left.iter().any(|one| !one.approved && one.digest == stored.digest);
        let approved = left.iter().any(|one| one.approved && one.digest == stored.digest);
        revisions::set_status(
            id,
            if rejected {
                "rejected"
            } else if approved {
                "approved"
            } else {
                "pending"
            },
        )?;
        ledger::record(Kind::RevisionRevoked, json!({"revision": id, "digest": stored.digest, "reason": comment}))?;
    }
    Ok(voided > 0)
}

fn find(revision: &str) -> Result<Stored, ErrorReport> {
    let graph = revisions::graph()?;
    let heads = apply::nodes(&graph, &revisions::heads()?)?;
    let node = Resolver::new(&graph, &heads).one(revision).map_err(from_core)?;
    let node = node.ok_or_else(|| refusal("42704", "base is not a revision", None, None))?;
    revisions::load(&[graph.id(node).to_owned()])?.pop().ok_or_else(|| internal("a revision has no row"))
}

fn decide(revision: &str, comment: Option<&str>, digest: Option<&str>, approved: bool) -> Result<String, ErrorReport> {
    let stored = find(revision)?;
    let id = stored.revision.revision.as_str();
    if digest.is_some_and(|digest| digest != stored.digest) {
        return Err(refusal(
            "40001",
            format!("revision \"{id}\" has other content than you approve"),
            Some(format!("Its digest is {}.", stored.digest)),
            Some(format!("Read it again: SELECT runbook.show('{id}');")),
        ));
    }
    let login = session_role();
    if approved && login == stored.submitted_by {
        return Err(refusal(
            "42501",
            format!("revision \"{id}\" was submitted by \"{login}\", who can't approve it"),
            Some("Four eyes: the login counts, whatever role it has set, and a superuser is no exception.".to_owned()),
            Some(format!("Another member of runbook_approver runs: SELECT runbook.approve('{id}', 'COMMENT');")),
        ));
    }
    let decision = Decision { revision: id.to_owned(), digest: stored.digest.clone(), approved, approver: login };
    approvals::decide(&decision, comment, &database())?;
    revisions::set_status(id, if approved { "approved" } else { "rejected" })?;
    let kind = if approved { Kind::RevisionApproved } else { Kind::RevisionRejected };
    ledger::record(kind, json!({"revision": id, "digest": stored.digest, "reason": comment}))?;
    Ok(stored.digest)
}
