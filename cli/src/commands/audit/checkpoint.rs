//! `runbook audit checkpoint`.

use crate::args::CheckpointArgs;
use crate::audit::finding::failed;
use crate::audit::{notes, server};
use crate::client::{Client, Queries};
use crate::commands::audit::{export, verify};
use crate::context::Context;
use crate::error::{Error, Kind, Result};
use crate::key::{PrivateKey, cannot_read};
use crate::output;
use runbook_core::audit::{Finding, abandoned_by};
use runbook_core::checkpoint::{Checkpoint, Note, Origin};
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

/// Verifies what is new since the key's last checkpoint, signs, and remembers what it has signed before it writes the note.
pub fn run(args: &CheckpointArgs, context: &Context) -> Result<()> {
    export::ordinary(&args.out)?;
    let key = PrivateKey::load(&args.key)?;
    let mut client = server::connect(context)?;
    server::begin(&mut client)?;
    let head = server::head(&mut client)?;
    let Some(line) = &head.origin else {
        let hint = "The ledger begins with the first change: SELECT runbook.activate();";
        return Err(Error::new(Kind::Failed, "the ledger is empty: there is nothing to sign", hint));
    };
    let Some(origin) = Origin::parse(line) else {
        return Err(Error::new(
            Kind::Check,
            "the server's origin names no ledger",
            "The function runbook.tree_head() was changed.",
        ));
    };
    let state = state_file(&args.key);
    let ours = of_ledger(signed(&state, &key)?, &origin, line, args.new_ledger)?;
    let openings = server::openings(&mut client)?;
    // Reading begins at the last checkpoint; if an epoch has given that up, and this is accepted, at the beginning, and all that can still
    // be met must be.
    let last = ours.last();
    let since = last.filter(|last| abandoned_by(last, &openings).is_none());
    let met = if since.is_some() {
        Vec::new()
    } else {
        let epoch = |known: &Checkpoint| Origin::parse(&known.origin).map_or(1, |origin| origin.epoch);
        let before = openings.iter().filter(|opening| ours.iter().any(|known| epoch(known) >= opening.epoch)).copied();
        verify::in_force(&ours, &openings, &before.chain(args.accept_epoch).collect::<Vec<_>>())?
    };
    if let Some(since) = since.filter(|since| since.size > head.size) {
        let finding = Finding::Short { size: head.size, checkpoint: since.size };
        return Err(refusal(&failed(&finding), &state));
    }
    let question = verify::Question { since, checkpoints: &met, archived: args.accept_archived };
    let auditor = verify::audit(&mut client, &head, &question).map_err(|error| refusal(&error, &state))?;
    let checkpoint = Checkpoint { origin: line.clone(), size: auditor.size(), root: auditor.root() };
    let note = key.sign(checkpoint.text())?.encode();
    // First what this key has signed, so that a crash in between can't make it forget.
    remember(&state, &note)?;
    write(&args.out, &note)?;
    client.commit()?;
    record(&mut client, &note)?;
    let read = last.map_or(checkpoint.size, |last| checkpoint.size.saturating_sub(last.size));
    let root = runbook_core::checkpoint::format_hash(&checkpoint.root);
    let signed = format!("signed: {} entries, root {root} ({read} verified now)", checkpoint.size);
    let keep = format!("{}: keep it where the server's administrators can't change it", args.out.display());
    output::messages(context.format(), "checkpoint", note.clone().into(), &[&signed, &keep])
}

/// Those of the checkpoints that are of this ledger; refuses a ledger that a key has not signed, if it has signed another one.
fn of_ledger(signed: Vec<Checkpoint>, origin: &Origin, line: &str, is_new_accepted: bool) -> Result<Vec<Checkpoint>> {
    let is_ours = |known: &Checkpoint| Origin::parse(&known.origin).is_some_and(|known| known.ledger == origin.ledger);
    let (ours, others): (Vec<Checkpoint>, Vec<Checkpoint>) = signed.into_iter().partition(is_ours);
    if ours.is_empty()
        && !is_new_accepted
        && let Some(other) = others.last()
    {
        return Err(Error::new(
            Kind::Check,
            format!("nothing is signed: this key has signed another ledger, {}, and never this one, {line}", other.origin),
            "Either this is another database, or the ledger was replaced. To sign it all the same, add --new-ledger",
        ));
    }
    Ok(ours)
}

/// Has the ledger record that a checkpoint was signed. A standby can't.
fn record(client: &mut Client, note: &str) -> Result<()> {
    let standby: bool = client.query_one("SELECT pg_catalog.pg_is_in_recovery()", &[])?.try_get(0)?;
    if !standby {
        client.query_one("SELECT runbook.record_checkpoint($1)", &[&note])?;
    }
    Ok(())
}

/// Where the checkpoints that a key has signed are kept: beside the key, a note in a JSON string a line.
fn state_file(key: &Path) -> PathBuf {
    let mut name = key.as_os_str().to_owned();
    name.push(".signed");
    name.into()
}

/// The checkpoints that the key has signed, oldest first. A last line without its end was cut off before anybody saw the note.
fn signed(state: &Path, key: &PrivateKey) -> Result<Vec<Checkpoint>> {
    if !state.try_exists().map_err(|error| cannot_read(state, &error))? {
        return Ok(Vec::new());
    }
    let text = fs::read_to_string(state).map_err(|error| cannot_read(state, &error))?;
    let keys = [key.public()?];
    let whole = &text[..text.rfind('\n').map_or(0, |end| end + 1)];
    whole
        .lines()
        .map(|line| {
            let bad = || {
                Error::new(
                    Kind::Check,
                    format!("{} has been changed", state.display()),
                    "Restore it from a backup: it records what this key has signed.",
                )
            };
            let note: String = serde_json::from_str(line).map_err(|_| bad())?;
            notes::believed(&Note::parse(&note).map_err(|_| bad())?, &keys, &state.display().to_string())
        })
        .collect()
}

/// Adds a note to those that the key has signed, durably.
fn remember(state: &Path, note: &str) -> Result<()> {
    let known = if state.try_exists().map_err(|error| cannot_read(state, &error))? {
        fs::read_to_string(state).map_err(|error| cannot_read(state, &error))?
    } else {
        String::new()
    };
    let whole = &known[..known.rfind('\n').map_or(0, |end| end + 1)];
    write(state, &format!("{whole}{}\n", serde_json::Value::from(note)))
}

fn refusal(why: &Error, state: &Path) -> Error {
    let why = why.message().lines().next().unwrap_or_default();
    Error::new(
        Kind::Check,
        format!("nothing is signed: {why}"),
        format!(
            "What this key has signed is in {}. If history was rolled back on purpose, an admin opens a new epoch: \
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
