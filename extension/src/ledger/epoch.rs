//! Epochs, and checkpoints that auditors have signed.

use crate::error::refusal;
use crate::ledger::refusal::refused;
use crate::ledger::tree::Stored;
use crate::ledger::{pending, record};
use crate::pg::execute::{lock, transaction};
use crate::pg::workers::recorder;
use crate::store::{ledger, tree as stored};
use pgrx::pg_sys::panic::ErrorReport;
use runbook_core::audit::Opening;
use runbook_core::checkpoint::{Checkpoint, Note, Origin};
use runbook_core::ledger::Kind;
use runbook_core::merkle;
use runbook_core::vocabulary::judgement::Judgement;
use serde_json::json;

/// Records that the next epoch begins; it does at the entry's position. `EPOCH:POSITION`.
pub fn open(reason: &str, position: Option<i64>) -> Result<String, ErrorReport> {
    // One after the other: each has the number behind that of the last one.
    lock::wait_for_opening();
    // What has been committed so far belongs to what is there. Without a worker to seal it, it is left out.
    let _ = recorder::seal();
    if pending::holds(Kind::EpochOpened) || ledger::is_unsealed(Kind::EpochOpened)? {
        let detail = "The entry that opens it has no position yet.".to_owned();
        let hint = "Once that transaction has committed: CALL runbook.seal();".to_owned();
        return Err(refusal("55000", "another epoch is being opened", Some(detail), Some(hint)));
    }
    let end = transaction::with_snapshot(stored::end)?;
    let size = match position.map(u64::try_from) {
        None => end.size,
        Some(Ok(position)) if position <= end.size => position,
        Some(_) => {
            let hint = "runbook audit verify names the first position that does not fit the last checkpoint.";
            let message =
                format!("history can't have been rolled back to a position beyond the {} entries that are sealed", end.size);
            return Err(refusal("22023", message, None, Some(hint.to_owned())));
        }
    };
    let opening = Opening { epoch: end.epoch.unsigned_abs() + 1, size };
    let root = transaction::with_snapshot(|| merkle::root(size, &Stored::default()))?;
    let facts = json!({
        "epoch": opening.epoch, "size": i64::try_from(size).unwrap_or(i64::MAX), "root": hex(&root), "reason": reason,
        "verdict": Judgement::Record.as_str(),
    });
    record(Kind::EpochOpened, facts)?;
    Ok(opening.to_string())
}

/// Records a signed checkpoint, if it says what is so.
pub fn record_checkpoint(note: &str) -> Result<(), ErrorReport> {
    let bad = |why: &str| {
        let hint = "runbook audit checkpoint --key FILE --out NOTE signs one and records it.";
        refused(
            "record_checkpoint",
            "22023",
            format!("the note is not a checkpoint of this ledger: {why}"),
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
        return Err(bad("its root is a different one"));
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
