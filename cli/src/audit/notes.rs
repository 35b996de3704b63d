//! Saved checkpoints, checked with the keys that the user trusts.

use crate::error::{Error, Kind, Result};
use crate::key::{PublicKey, cannot_read};
use runbook_core::checkpoint::{Checkpoint, Note, Origin};
use std::fs;
use std::path::{Path, PathBuf};

/// Keys that are trusted.
pub fn keys(files: &[PathBuf]) -> Result<Vec<PublicKey>> {
    let mut keys = Vec::new();
    for file in files {
        keys.extend(PublicKey::load(file)?);
    }
    Ok(keys)
}

/// The checkpoint of a file, once a trusted key has signed it.
pub fn checkpoint(file: &Path, keys: &[PublicKey]) -> Result<(Note, Checkpoint)> {
    let text = fs::read_to_string(file).map_err(|error| cannot_read(file, &error))?;
    let bad = |why: &str| {
        let hint = "runbook audit checkpoint --key FILE --out NOTE writes one.";
        Error::new(Kind::Check, format!("{} is not a checkpoint: {why}", file.display()), hint)
    };
    let note = Note::parse(&text).map_err(bad)?;
    let checkpoint = believed(&note, keys, &file.display().to_string())?;
    Ok((note, checkpoint))
}

/// The checkpoint of a note, once a trusted key has signed it.
pub fn believed(note: &Note, keys: &[PublicKey], what: &str) -> Result<Checkpoint> {
    if keys.is_empty() {
        let hint = "Name the public keys that you trust: --key auditor.key.pub";
        return Err(Error::new(Kind::Input, "a checkpoint can't be verified without a public key", hint));
    }
    if !keys.iter().any(|key| key.has_signed(note)) {
        let names: Vec<&str> = note.signatures.iter().map(|signature| signature.name.as_str()).collect();
        return Err(Error::new(
            Kind::Check,
            format!("no key that you trust has signed {what}"),
            format!(
                "It claims to be signed by {}. Either --key names another key, or the checkpoint was changed.",
                names.join(", ")
            ),
        ));
    }
    let bad = |why: &str| Error::new(Kind::Check, format!("{what} is signed, but is not a checkpoint of a ledger: {why}"), "");
    let checkpoint = Checkpoint::parse(&note.text).map_err(bad)?;
    if checkpoint.text() != note.text {
        return Err(bad("it has extra lines"));
    }
    if Origin::parse(&checkpoint.origin).is_none() {
        return Err(bad("its origin names no ledger"));
    }
    Ok(checkpoint)
}
