//! Where revisions and permits stand, and what approvers say.

use super::words;

words! {
    /// Where a revision stands.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    RevisionStatus {
        /// Submitted; nothing says that it may run.
        Pending = "pending",
        /// At least one approval counts, and nobody has rejected it.
        Approved = "approved",
        /// An approver has said no.
        Rejected = "rejected",
        /// The database has it.
        Applied = "applied",
        /// It was applied once, and then reverted.
        Reverted = "reverted",
        /// It is no part of the graph any more.
        Withdrawn = "withdrawn",
    }
}

words! {
    /// What an approver says.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    Answer {
        /// Yes.
        Approved = "approved",
        /// No.
        Rejected = "rejected",
    }
}

impl Answer {
    /// Yes or no.
    pub const fn of(approved: bool) -> Self {
        if approved { Self::Approved } else { Self::Rejected }
    }
}

words! {
    /// Where a permit stands.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    PermitStatus {
        /// It needs approvals.
        Requested = "requested",
        /// It can be used.
        Approved = "approved",
        /// It has been used, once and for all.
        Used = "used",
        /// An approver has said no.
        Rejected = "rejected",
        /// Its time is up.
        Expired = "expired",
    }
}
