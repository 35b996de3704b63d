//! What waits for a login's approval.

use crate::apply::gate::next::need_now;
use crate::apply::gate::requirements;
use crate::approval::tally::{Approvals, describe_missing, tally_permit, who_may};
use crate::catalog::logins::this_login;
use crate::code;
use crate::pg::execute::statements;
use crate::pg::session::identity::database;
use crate::request::inbox;
use crate::request::permit::is_used;
use crate::store::{permits, revisions, settings};
use pgrx::pg_sys::panic::ErrorReport;
use runbook_core::approval::Login;
use runbook_core::plan::Direction;
use runbook_core::policy::Policy;
use runbook_core::vocabulary::judgement::Judgement;

/// Something that waits for a decision.
#[derive(Debug)]
pub struct Waiting {
    /// `revision` or `permit`.
    pub kind: &'static str,
    /// Its id.
    pub id: String,
    /// Whose it is.
    pub requested_by: String,
    /// What they say about it.
    pub message: String,
    /// What policy stops of what it would do.
    pub would: Vec<String>,
    /// What is missing.
    pub needs: String,
    /// The call that approves it.
    pub command: String,
    /// Digest of a revision's content.
    pub digest: Option<String>,
}

/// What waits for the session's login, permits first.
pub fn inbox() -> Result<Vec<Waiting>, ErrorReport> {
    let policy = settings::policy()?;
    let login = this_login()?;
    let mut waiting = inbox::waiting_for(&login, &policy)?;
    let ids = revisions::waiting()?;
    let approvals = Approvals::of(&ids)?;
    for stored in revisions::load(&ids)? {
        if login.meets(&stored.submitter) || policy.obstacle(&stored.upgrade_actions).is_none() {
            continue;
        }
        let actions = &stored.upgrade_actions;
        let known = requirements::need(&stored, Direction::Upgrade, actions, Some(&policy), &approvals, None)?;
        let (need, by) = need_now(&stored, Direction::Upgrade, known)?;
        let Some(need) = need.filter(|need| need.verdict == Judgement::RequireApproval && !by.contains(&login.name)) else {
            continue;
        };
        let id = stored.revision.revision.as_str().to_owned();
        waiting.push(Waiting {
            kind: "revision",
            command: format!("SELECT runbook.approve('{id}', 'COMMENT', '{}');", stored.digest),
            id,
            requested_by: stored.submitter.name.clone(),
            message: stored.revision.message.clone(),
            would: actions
                .iter()
                .filter(|action| policy.stops(action))
                .map(ToString::to_string)
                .chain(code::lines(|| code::texts_of(&stored.revision, Direction::Upgrade)))
                .collect(),
            needs: need.text,
            digest: Some(stored.digest),
        });
    }
    Ok(waiting)
}

/// The permits that wait for `login`.
pub fn waiting_for(login: &Login, policy: &Policy) -> Result<Vec<Waiting>, ErrorReport> {
    let mut waiting = Vec::new();
    for permit in permits::all(true, &database())? {
        let tally = tally_permit(&permit, policy, None)?;
        let Some(missing) = &tally.missing else { continue };
        if tally.by.contains(&login.name) || login.meets(&permit.requester) || is_used(&permit)? {
            continue;
        }
        let may = who_may(&missing.0, &permit.requester, permit.requester_oid, &tally.by)?.join(", ");
        let needs = describe_missing(missing, &tally.discounted);
        waiting.push(Waiting {
            kind: "permit",
            id: permit.permit.clone(),
            requested_by: permit.requester.name.clone(),
            message: permit.reason.clone(),
            would: permit
                .manifest
                .actions()
                .iter()
                .map(ToString::to_string)
                .chain(code::lines(|| Ok(code::texts(&statements::parse(&permit.statement)?))))
                .collect(),
            needs: format!("{needs}; expires {}; who may: {may}", permit.expires),
            command: format!("SELECT runbook.approve_permit('{}', 'COMMENT');", permit.permit),
            digest: None,
        });
    }
    Ok(waiting)
}
