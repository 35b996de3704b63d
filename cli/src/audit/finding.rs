//! What an auditor found, as a failure of the command.

use crate::error::{Error, Kind};
use runbook_core::audit::Finding;

/// The failure that a finding is.
pub fn failed(finding: &Finding) -> Error {
    Error::new(
        Kind::Check,
        format!("the ledger was changed: {finding}"),
        "Keep the server and the checkpoints as they are, and verify an export or a backup: runbook audit verify --export FILE",
    )
}
