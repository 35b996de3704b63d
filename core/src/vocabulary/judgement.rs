//! What entries say was decided about a statement.

use super::words;
use crate::policy::Verdict;

words! {
    /// Why a statement was recorded, refused or let pass. The text is part of the hashed payload: it never changes.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    Judgement {
        /// It passed, and policy wants it recorded.
        #[default]
        Record = "record",
        /// Policy asks for an approval, and nothing approved covers it.
        RequireApproval = "require_approval",
        /// Policy denies it.
        Deny = "deny",
        /// It goes beyond what the revision or permit declares.
        OutsideManifest = "outside_manifest",
        /// No maintenance window is open.
        OutsideWindow = "outside_window",
        /// No rollback takes it back, and the rules that it is judged by are not committed.
        UncommittedRules = "uncommitted_rules",
        /// It would damage the guard itself.
        SelfProtection = "self_protection",
        /// It would change what a guarded database of the cluster shares.
        OtherDatabase = "other_database",
        /// A name in it could not be looked up before it ran.
        Unresolved = "unresolved",
        /// The guard was switched off or damaged.
        Bypassed = "bypassed",
        /// The revision has no way back.
        Irreversible = "irreversible",
        /// An approver has said no.
        Rejected = "rejected",
        /// A call was refused.
        Refused = "refused",
    }
}

impl From<Verdict> for Judgement {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Allow | Verdict::Record => Self::Record,
            Verdict::RequireApproval => Self::RequireApproval,
            Verdict::Deny => Self::Deny,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Judgement, Verdict};

    #[test]
    fn verdicts_that_stop_something_keep_their_texts() {
        for verdict in [Verdict::Record, Verdict::RequireApproval, Verdict::Deny] {
            assert_eq!(Judgement::from(verdict).as_str(), verdict.as_str());
        }
    }
}
