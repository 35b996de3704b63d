//! What entries of the ledger are about.

use super::words;

words! {
    /// What an entry is about. The text is part of the hashed payload: it never changes.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    #[allow(missing_docs, reason = "each is described by its text")]
    Kind {
        RevisionSubmitted = "revision.submitted",
        RevisionApproved = "revision.approved",
        RevisionRejected = "revision.rejected",
        RevisionRevoked = "revision.revoked",
        RevisionWithdrawn = "revision.withdrawn",
        RevisionApplied = "revision.applied",
        RevisionReverted = "revision.reverted",
        RevisionStamped = "revision.stamped",
        ApplyStarted = "apply.started",
        ApplyStatement = "apply.statement",
        ApplyFailed = "apply.failed",
        ApplyFinished = "apply.finished",
        ApplyWaited = "apply.waited",
        ApplyResumed = "apply.resumed",
        ApplyPaused = "apply.paused",
        ApplyCancelled = "apply.cancelled",
        BlockerTerminated = "blocker.terminated",
        DdlExecuted = "ddl.executed",
        DdlBlocked = "ddl.blocked",
        DdlWouldBlock = "ddl.would_block",
        PolicyChanged = "policy.changed",
        GuardActivated = "guard.activated",
        GuardDeactivated = "guard.deactivated",
        GuardBypassed = "guard.bypassed",
        ExtensionUpdated = "extension.updated",
        CheckpointSigned = "checkpoint.signed",
        EpochOpened = "epoch.opened",
        LedgerArchived = "ledger.archived",
        PermitRequested = "permit.requested",
        PermitApproved = "permit.approved",
        PermitRejected = "permit.rejected",
        PermitUsed = "permit.used",
        BreakGlassOpened = "break_glass.opened",
        BreakGlassClosed = "break_glass.closed",
        CallRefused = "call.refused",
    }
}

#[cfg(test)]
mod tests {
    use super::Kind;

    #[test]
    fn each_text_stands_for_one_kind() {
        for kind in Kind::ALL {
            assert_eq!(Kind::parse(kind.as_str()), Some(kind));
        }
        assert_eq!(Kind::parse("revision.forgotten"), None);
    }
}
