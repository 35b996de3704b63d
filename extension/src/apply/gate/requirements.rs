//! What a step still needs before it may run.

use crate::approval::tally::{Approvals, Objection, describe_missing, who_may};
use crate::error;
use crate::guard::judge::{WINDOW_HINT, allow_call};
use crate::store::revisions::Stored;
use runbook_core::action::Action;
use runbook_core::approval::{Requirement, Tally};
use runbook_core::plan::Direction;
use runbook_core::policy::{Policy, Verdict};
use runbook_core::vocabulary::judgement::Judgement;

/// Something that stands in the way of a step.
#[derive(Debug)]
pub struct Need {
    /// As `plan()` shows it.
    pub text: String,
    /// SQLSTATE of running the step all the same.
    pub sqlstate: &'static str,
    /// The verdict for the ledger.
    pub verdict: Judgement,
    remedy: Remedy,
}

/// What can be done about it.
#[derive(Debug)]
enum Remedy {
    /// The next call to make.
    Hint(String),
    /// An approval is missing; the logins whose approvals count already.
    Approval(Box<Requirement>, Vec<String>),
}

impl Need {
    fn new(text: String, sqlstate: &'static str, verdict: Judgement, hint: String) -> Self {
        Self { text, sqlstate, verdict, remedy: Remedy::Hint(hint) }
    }

    /// DETAIL and HINT of the refusal.
    pub fn explain(&self, stored: &Stored) -> error::Result<(String, String)> {
        let (wanted, by) = match &self.remedy {
            Remedy::Hint(hint) => return Ok((String::new(), hint.clone())),
            Remedy::Approval(wanted, by) => (wanted, by),
        };
        let (id, author) = (stored.revision.revision.as_str(), &stored.submitter.name);
        let role = wanted.role.as_ref().map_or_else(String::new, |role| format!(" and {role}"));
        let may = who_may(wanted, &stored.submitter, stored.submitter_oid, by)?;
        Ok(if may.is_empty() {
            (
                format!("No one can approve it now: approvers are logins with runbook_approver{role}, except {author}."),
                format!("A DBA can add an approver: GRANT runbook_approver{} TO LOGIN;", role.replace(" and", ",")),
            )
        } else {
            (
                format!("Who may approve: {} (runbook_approver{role}; {author} submitted it).", may.join(", ")),
                format!("One of them runs: SELECT runbook.approve('{id}', 'COMMENT'); or: runbook approve {id} -m COMMENT"),
            )
        })
    }
}

/// What stands in the way of a step, and whose approvals count; `policy` is `None` where nothing is enforced. `objection`
/// tells of each approval whether it covers what is about to run, where that is known.
pub fn need(
    stored: &Stored,
    direction: Direction,
    actions: &[Action],
    policy: Option<&Policy>,
    approvals: &Approvals,
    objection: Option<&Objection>,
) -> error::Result<(Option<Need>, Vec<String>)> {
    let id = stored.revision.revision.as_str();
    let nobody = |need: Need| Ok((Some(need), vec![]));
    if direction == Direction::Downgrade && stored.revision.downgrade.is_none() {
        let reason = stored.revision.irreversible_reason.as_deref().unwrap_or("no downgrade was given");
        let text = format!("a way back: the revision is irreversible ({reason})");
        return nobody(Need::new(
            text,
            "55000",
            Judgement::Irreversible,
            "Write a new revision that undoes what can be undone.".to_owned(),
        ));
    }
    let Some(policy) = policy else { return Ok((None, vec![])) };
    let obstacle = policy.obstacle(actions);
    // A no stops the way forth in any case, and the way back where that needs a yes.
    if let Some(who) = approvals.rejected_by(id).filter(|_| direction == Direction::Upgrade || obstacle.is_some()) {
        let hint = format!("Submit a corrected revision, or let {who} withdraw the rejection: SELECT runbook.revoke('{id}');");
        return nobody(Need::new(format!("another decision: {who} rejected it"), "42501", Judgement::Rejected, hint));
    }
    if let Some((action, Verdict::Deny)) = obstacle {
        let text = format!("another policy: {action} is {}, which policy denies", action.class.as_str());
        let hint = format!("An admin can change that: {}", allow_call(action, policy));
        return nobody(Need::new(text, "42501", Judgement::Deny, hint));
    }
    let tally = match obstacle {
        Some(_) => approvals.tally(stored, direction, actions, policy, objection)?,
        None => Tally::default(),
    };
    if let Some(missing) = &tally.missing {
        let text = describe_missing(missing, &tally.discounted);
        let remedy = Remedy::Approval(Box::new(missing.0.clone()), tally.by.clone());
        return Ok((Some(Need { text, sqlstate: "42501", verdict: Judgement::RequireApproval, remedy }), tally.by));
    }
    let closed = policy.closed(actions).map(|closed| {
        let text =
            format!("a maintenance window for {} actions: \"{}\" opens {}", closed.class.as_str(), closed.window, closed.next);
        Need::new(text, "42501", Judgement::OutsideWindow, WINDOW_HINT.to_owned())
    });
    Ok((closed, tally.by))
}
