//! `runbook audit checkpoint`.

use crate::args::CheckpointArgs;
use crate::audit::{notes, server};
use crate::commands::audit::{failed, verify};
use crate::context::Context;
use crate::error::{Error, Kind, Result};
use crate::key::{PrivateKey, cannot_read};
use crate::output;
use runbook_core::audit::{Finding, abandoned_by};
use runbook_core::checkpoint::{Checkpoint, Origin};
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

pub fn run(args: &CheckpointArgs, context: &Context) -> Result<()> {
    let key = PrivateKey::load(&args.key)?;
    let mut client = server::connect(context)?;
    server::begin(&mut client)?;
    let head = server::head(&mut client)?;
    let (Some(line), Some(origin)) = (&head.origin, head.origin.as_deref().and_then(Origin::parse)) else {
        let hint = "The ledger begins with the first change: SELECT runbook.activate();";
        return Err(Error::new(Kind::Failed, "the ledger is empty: there is nothing to sign", hint));
    };
    let state = state_file(&args.key, &origin);
    let last = last_signed(&state, &key)?;
    if last.is_none() && !args.new_ledger {
        refuse_exchanged(&args.key, &origin)?;
    }
    let openings = server::openings(&mut client)?;
    let mut since = last.clone();
    if let Some(last) = &last {
        if let Some(opening) = abandoned_by(last, &openings) {
            // Fails unless that was accepted.
            verify::in_force(std::slice::from_ref(last), &openings, args.accept_epoch.as_slice())?;
            since = None;
            eprintln!(
                "notice: everything is verified from the beginning, since epoch {} has rolled history back",
                opening.epoch
            );
        } else if last.size > head.size {
            let finding = Finding::Short { size: head.size, checkpoint: last.size };
            return Err(refusal(&failed(&finding), &state));
        }
    }
    let auditor = verify::audit(&mut client, &head, since.as_ref(), &[]).map_err(|error| refusal(&error, &state))?;
    let checkpoint = Checkpoint { origin: line.clone(), size: auditor.size(), root: auditor.root() };
    let note = key.sign(checkpoint.text())?.encode();
    // First what this key has signed, so that a crash in between can't make it forget.
    write(&state, &note)?;
    write(&args.out, &note)?;
    client.batch_execute("COMMIT")?;
    let standby: bool = client.query_one("SELECT pg_catalog.pg_is_in_recovery()", &[])?.get(0);
    if !standby {
        client.execute("SELECT runbook.record_checkpoint($1)", &[&note])?;
    }
    let read = last.map_or(checkpoint.size, |last| checkpoint.size.saturating_sub(last.size));
    let text = format!(
        "signed: {} entries, root {} ({read} verified now)\n{}: keep it where the server's administrators can't change it",
        checkpoint.size,
        runbook_core::checkpoint::format_hash(&checkpoint.root),
        args.out.display()
    );
    output::message(context.format(), "checkpoint", note.clone().into(), &text)
}

/// Where the last checkpoint that a key has signed of a ledger is kept: beside the key.
fn state_file(key: &Path, origin: &Origin) -> PathBuf {
    let mut name = key.as_os_str().to_owned();
    name.push(format!(
        ".{}.last",
        origin.ledger.replace(|character: char| !character.is_ascii_alphanumeric() && character != '-', "_")
    ));
    name.into()
}

/// Refuses a first checkpoint where the key has signed another ledger of the same database: its first entry was exchanged, or the
/// extension was dropped and created again.
fn refuse_exchanged(key: &Path, origin: &Origin) -> Result<()> {
    let directory = key.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let prefix = format!("{}.", key.file_name().unwrap_or_default().to_string_lossy());
    for file in fs::read_dir(directory)? {
        let file = file?.path();
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if !(name.starts_with(&prefix) && name.ends_with(".last")) {
            continue;
        }
        let text = fs::read_to_string(&file).map_err(|error| cannot_read(&file, &error))?;
        let known = text.lines().next().and_then(Origin::parse);
        if let Some(known) = known
            .filter(|known| (&known.system_identifier, known.database_oid) == (&origin.system_identifier, origin.database_oid))
        {
            return Err(Error::new(
                Kind::Check,
                format!(
                    "nothing is signed: this key has signed ledger {} of this database, and this is ledger {}",
                    known.ledger, origin.ledger
                ),
                "Either the ledger was exchanged, or the extension was dropped and created again. If that was on purpose, say so: --new-ledger",
            ));
        }
    }
    Ok(())
}

fn last_signed(state: &Path, key: &PrivateKey) -> Result<Option<Checkpoint>> {
    if !state.try_exists().map_err(|error| cannot_read(state, &error))? {
        return Ok(None);
    }
    notes::checkpoint(state, &[key.public()?]).map(|(_, checkpoint)| Some(checkpoint))
}

fn refusal(why: &Error, state: &Path) -> Error {
    let why = why.render(false);
    let why = why.trim_start_matches("error: ").lines().next().unwrap_or_default();
    Error::new(
        Kind::Check,
        format!("nothing is signed: {why}"),
        format!(
            "The last checkpoint that this key has signed is in {}. If history was rolled back on purpose, an admin opens a new epoch: \
             runbook audit open-epoch -m REASON",
            state.display()
        ),
    )
}

/// Writes a file whole or not at all.
fn write(file: &Path, text: &str) -> Result<()> {
    let directory = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut temporary = tempfile::NamedTempFile::new_in(directory)?;
    temporary.write_all(text.as_bytes())?;
    temporary.as_file().sync_all()?;
    fs::set_permissions(temporary.path(), std::os::unix::fs::PermissionsExt::from_mode(0o644))?;
    temporary.persist(file).map_err(|error| Error::from(error.error))?;
    File::open(directory)?.sync_all()?;
    Ok(())
}
