//! What waits for a login's approval.

use crate::apply::gate::next::need_now;
use crate::apply::gate::requirements::{self, Need};
use crate::approval::tally::{Approvals, describe_missing, tally_permit, who_may};
use crate::catalog::logins::this_login;
use crate::code;
use crate::pg::execute::statements;
use crate::pg::session::identity::database;
use crate::request::inbox;
use crate::request::permit::is_used;
use crate::store::revisions::{self, Stored};
use crate::store::{permits, settings};
use pgrx::pg_sys::panic::ErrorReport;
use runbook_core::action::Action;
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
        if login.meets(&stored.submitter) {
            continue;
        }
        let Some(needs) = decision(&stored, &policy, &approvals, &login)? else { continue };
        let id = stored.revision.revision.as_str().to_owned();
        waiting.push(Waiting {
            kind: "revision",
            command: format!("SELECT runbook.approve('{id}', 'COMMENT', '{}');", stored.digest),
            id,
            requested_by: stored.submitter.name.clone(),
            message: stored.revision.message.clone(),
            would: effects(&stored, &policy),
            needs,
            digest: Some(stored.digest),
        });
    }
    Ok(waiting)
}

/// What a revision needs that `login` can decide: for its way forth; or for its way back, so that who has to go it need not look for
/// somebody first.
fn decision(stored: &Stored, policy: &Policy, approvals: &Approvals, login: &Login) -> Result<Option<String>, ErrorReport> {
    let can_decide = |(need, by): (Option<Need>, Vec<String>)| {
        need.filter(|need| need.verdict == Judgement::RequireApproval && !by.contains(&login.name))
    };
    if policy.obstacle(&stored.upgrade_actions).is_some() {
        let known = requirements::need(stored, Direction::Upgrade, &stored.upgrade_actions, Some(policy), approvals, None)?;
        return Ok(can_decide(need_now(stored, Direction::Upgrade, known)?).map(|need| need.text));
    }
    let back = requirements::need(stored, Direction::Downgrade, &stored.downgrade_actions, Some(policy), approvals, None)?;
    Ok(can_decide(back).map(|need| format!("for the way back: {}", need.text)))
}

/// What policy stops of what a revision does, on both ways, and what can't be known of it.
fn effects(stored: &Stored, policy: &Policy) -> Vec<String> {
    let stopped = |actions: &[Action]| -> Vec<String> {
        actions.iter().filter(|action| policy.stops(action)).map(ToString::to_string).collect()
    };
    let back = stopped(&stored.downgrade_actions).into_iter().map(|action| format!("{action}, on the way back"));
    let forth = stopped(&stored.upgrade_actions).into_iter();
    forth.chain(code::lines(|| code::texts_of(&stored.revision, Direction::Upgrade))).chain(back).collect()
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
