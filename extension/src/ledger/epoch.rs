//! Epochs, and checkpoints that auditors have signed.

use crate::caller::refused;
use crate::guard::control;
use crate::ledger::tree::Stored;
use crate::ledger::{record, tree};
use crate::store::tree as stored;
use pgrx::pg_sys::panic::ErrorReport;
use runbook_core::checkpoint::{Checkpoint, Note, Origin};
use runbook_core::ledger::Kind;
use runbook_core::merkle;
use serde_json::json;

/// Records that the next epoch begins; it does at the entry's position.
pub fn open(reason: &str) -> Result<i32, ErrorReport> {
    control::decide("open_epoch", "open an epoch of the ledger")?;
    let head = tree::head()?;
    let epoch = head.epoch + 1;
    let facts = json!({
        "epoch": epoch, "size": i64::try_from(head.size).unwrap_or(i64::MAX), "root": hex(&head.root), "reason": reason,
        "verdict": "record",
    });
    record(Kind::EpochOpened, facts)?;
    Ok(epoch)
}

/// Records a signed checkpoint, if it says what is so.
pub fn record_checkpoint(note: &str) -> Result<(), ErrorReport> {
    let bad = |why: &str| {
        let hint = "runbook audit checkpoint --key FILE --out NOTE signs one and records it.";
        refused(
            "record_checkpoint",
            "22023",
            format!("the note is no checkpoint of this ledger: {why}"),
            None,
            Some(hint.to_owned()),
        )
    };
    let parsed = Note::parse(note).map_err(bad)?;
    let checkpoint = Checkpoint::parse(&parsed.text).map_err(bad)?;
    let (ours, theirs) = (stored::ledger_id()?, Origin::parse(&checkpoint.origin));
    if ours.is_none() || ours != theirs.map(|origin| origin.ledger) {
        return Err(bad("its origin is another ledger"));
    }
    if checkpoint.size > stored::end()?.size {
        return Err(bad("it covers more entries than there are"));
    }
    if merkle::root(checkpoint.size, &Stored::default())? != checkpoint.root {
        return Err(bad("its root is another"));
    }
    let signers: Vec<&str> = parsed.signatures.iter().map(|signature| signature.name.as_str()).collect();
    let facts = json!({
        "origin": checkpoint.origin, "size": i64::try_from(checkpoint.size).unwrap_or(i64::MAX), "root": hex(&checkpoint.root),
        "signers": signers, "note": note,
    });
    record(Kind::CheckpointSigned, facts)
}

/// Lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
