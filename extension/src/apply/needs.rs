//! What a step still needs before it may run.

use crate::pg::identity::database;
use crate::store;
use crate::store::approvals::{self, Decision};
use crate::store::revisions::Stored;
use runbook_core::action::Action;
use runbook_core::plan::Direction;
use runbook_core::policy::{Policy, Verdict};
use std::collections::{HashMap, HashSet};

/// The approvals that count, for the revisions of a plan.
#[derive(Debug, Default)]
pub struct Approvals {
    approved: HashMap<(String, String), HashSet<String>>,
    rejected: HashMap<(String, String), String>,
}

impl Approvals {
    /// The approvals of these revisions in this database.
    pub fn of(ids: &[String]) -> store::Result<Self> {
        let decisions: Vec<Decision> = approvals::decisions(ids, &database())?;
        let key = |one: &Decision| (one.revision.clone(), one.digest.clone());
        let rejected = decisions.iter().filter(|one| !one.approved).map(|one| (key(one), one.approver.clone())).collect();
        Ok(Self { rejected, approved: approvals::approvers(decisions) })
    }

    /// Who approved this content, its submitter left out, in alphabetical order.
    pub fn by(&self, stored: &Stored) -> Vec<String> {
        let key = key(stored);
        let mut by: Vec<String> =
            self.approved.get(&key).into_iter().flatten().filter(|who| **who != stored.submitted_by).cloned().collect();
        by.sort();
        by
    }
}

fn key(stored: &Stored) -> (String, String) {
    (stored.revision.revision.as_str().to_owned(), stored.digest.clone())
}

/// Something that stands in the way of a step.
#[derive(Debug)]
pub struct Need {
    /// As `plan()` shows it.
    pub text: String,
    /// The next call to make.
    pub hint: String,
    /// SQLSTATE of running the step all the same.
    pub sqlstate: &'static str,
}

/// What stands in the way of a step; `policy` is `None` where nothing is enforced.
pub fn need(
    stored: &Stored,
    direction: Direction,
    actions: &[Action],
    policy: Option<&Policy>,
    approvals: &Approvals,
) -> Option<Need> {
    let id = stored.revision.revision.as_str();
    if direction == Direction::Downgrade && stored.revision.downgrade.is_none() {
        let reason = stored.revision.irreversible_reason.as_deref().unwrap_or("no downgrade was given");
        return Some(Need {
            text: format!("a way back: the revision is irreversible ({reason})"),
            hint: "Write a new revision that undoes what can be undone.".to_owned(),
            sqlstate: "55000",
        });
    }
    let policy = policy?;
    if let (Direction::Upgrade, Some(who)) = (direction, approvals.rejected.get(&key(stored))) {
        return Some(Need {
            text: format!("another decision: {who} rejected it"),
            hint: format!("Submit a better one, or {who} takes it back: SELECT runbook.revoke('{id}');"),
            sqlstate: "42501",
        });
    }
    let (action, verdict) = policy.obstacle(actions)?;
    let class = action.class.as_str();
    if verdict == Verdict::Deny {
        return Some(Need {
            text: format!("another policy: {action} is {class}, which policy denies"),
            hint: format!("An admin can change that: SELECT runbook.set_policy('{class}', 'require_approval', 1);"),
            sqlstate: "42501",
        });
    }
    let needed = policy.approvals_needed(actions) as usize;
    let given = approvals.by(stored).len();
    (given < needed).then(|| Need {
        text: format!("approval ({given} of {needed}): {action} is {class}"),
        hint: format!(
            "A member of runbook_approver other than {} runs: SELECT runbook.approve('{id}', 'COMMENT');",
            stored.submitted_by
        ),
        sqlstate: "42501",
    })
}
