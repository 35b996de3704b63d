//! Files from anybody: proofs, notes, checkpoints, origins. Nothing panics, and what is read is written as it was.
#![no_main]

use libfuzzer_sys::fuzz_target;
use runbook_core::checkpoint::{Checkpoint, Note, Origin};
use runbook_core::proof::Proof;

fuzz_target!(|text: &str| {
    if let Ok(proof) = Proof::parse(text) {
        assert_eq!(proof.encode(), text);
        let _ = proof.check();
    }
    if let Ok(note) = Note::parse(text) {
        assert_eq!(note.encode(), text);
    }
    if let Ok(checkpoint) = Checkpoint::parse(text) {
        assert!(text.starts_with(&checkpoint.text()));
        if let Some(origin) = Origin::parse(&checkpoint.origin) {
            assert_eq!(origin.line(), checkpoint.origin);
        }
    }
    let _ = runbook_core::ledger::terms(text);
});
