//! What a step still needs before it may run.

use crate::approvals::{Approvals, Objection, describe_missing, who_may};
use crate::guard::{WINDOW_HINT, allow_call};
use crate::store;
use crate::store::revisions::Stored;
use runbook_core::action::Action;
use runbook_core::plan::Direction;
use runbook_core::policy::{Policy, Verdict};

/// Something that stands in the way of a step.
#[derive(Debug)]
pub struct Need {
    /// As `plan()` shows it.
    pub text: String,
    /// More about it, in full sentences.
    pub detail: String,
    /// The next call to make.
    pub hint: String,
    /// SQLSTATE of running the step all the same.
    pub sqlstate: &'static str,
    /// The verdict for the ledger.
    pub verdict: &'static str,
}

/// What stands in the way of a step; `policy` is `None` where nothing is enforced. `objection` tells of each approval
/// whether it covers what is about to run, where that is known.
pub fn need(
    stored: &Stored,
    direction: Direction,
    actions: &[Action],
    policy: Option<&Policy>,
    approvals: &Approvals,
    objection: Option<&Objection>,
) -> store::Result<Option<Need>> {
    let id = stored.revision.revision.as_str();
    if direction == Direction::Downgrade && stored.revision.downgrade.is_none() {
        let reason = stored.revision.irreversible_reason.as_deref().unwrap_or("no downgrade was given");
        return Ok(Some(Need {
            text: format!("a way back: the revision is irreversible ({reason})"),
            detail: String::new(),
            hint: "Write a new revision that undoes what can be undone.".to_owned(),
            sqlstate: "55000",
            verdict: "irreversible",
        }));
    }
    let Some(policy) = policy else { return Ok(None) };
    if let (Direction::Upgrade, Some(who)) = (direction, approvals.rejected_by(id)) {
        return Ok(Some(Need {
            text: format!("another decision: {who} rejected it"),
            detail: String::new(),
            hint: format!("Submit a better one, or {who} takes it back: SELECT runbook.revoke('{id}');"),
            sqlstate: "42501",
            verdict: "rejected",
        }));
    }
    if let Some((action, Verdict::Deny)) = policy.obstacle(actions) {
        let class = action.class.as_str();
        return Ok(Some(Need {
            text: format!("another policy: {action} is {class}, which policy denies"),
            detail: String::new(),
            hint: format!("An admin can change that: {}", allow_call(action, policy)),
            sqlstate: "42501",
            verdict: "deny",
        }));
    }
    if let Some(need) = missing_approval(stored, actions, policy, approvals, objection)? {
        return Ok(Some(need));
    }
    Ok(policy.closed(actions).map(|closed| Need {
        text: format!(
            "a maintenance window for {} actions: \"{}\" opens {}",
            closed.class.as_str(),
            closed.window,
            closed.next
        ),
        detail: String::new(),
        hint: WINDOW_HINT.to_owned(),
        sqlstate: "42501",
        verdict: "outside_window",
    }))
}

fn missing_approval(
    stored: &Stored,
    actions: &[Action],
    policy: &Policy,
    approvals: &Approvals,
    objection: Option<&Objection>,
) -> store::Result<Option<Need>> {
    if policy.obstacle(actions).is_none() {
        return Ok(None);
    }
    let tally = approvals.tally(stored, actions, policy, objection)?;
    let Some(missing) = &tally.missing else { return Ok(None) };
    let id = stored.revision.revision.as_str();
    let may = who_may(&missing.0, &stored.submitter, stored.submitter_oid, &tally.by)?;
    let role = missing.0.role.as_ref().map_or_else(String::new, |role| format!(" and {role}"));
    let (detail, hint) = if may.is_empty() {
        (
            format!(
                "Nobody may approve it now: approvers are logins with runbook_approver{role}, {} excepted.",
                stored.submitter.name
            ),
            "Let a DBA make somebody an approver: GRANT runbook_approver TO LOGIN;".to_owned(),
        )
    } else {
        (
            format!("Who may approve: {} (runbook_approver{role}; {} submitted it).", may.join(", "), stored.submitter.name),
            format!("One of them runs: SELECT runbook.approve('{id}', 'COMMENT'); or: runbook approve {id} -m COMMENT"),
        )
    };
    Ok(Some(Need {
        text: describe_missing(missing, &tally.discounted),
        detail,
        hint,
        sqlstate: "42501",
        verdict: "require_approval",
    }))
}
