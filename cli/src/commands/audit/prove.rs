//! `runbook audit prove` and `runbook audit check-proof`.

use crate::args::{CheckProof, Format, Prove};
use crate::audit::{notes, server};
use crate::client::Queries;
use crate::context::Context;
use crate::error::{Error, Kind, Result};
use crate::key::cannot_read;
use crate::output;
use runbook_core::ledger::Kept;
use runbook_core::proof::Proof;
use serde_json::{Value, json};
use std::fs;

/// Writes a proof of one entry, after it has checked that the server gave the entry that was asked for.
pub fn run(args: &Prove, context: &Context) -> Result<()> {
    let (note, checkpoint) = notes::checkpoint(&args.checkpoint, &notes::keys(&args.keys.keys)?)?;
    let mut client = context.connect()?;
    server::begin(&mut client)?;
    server::same_ledger(&server::head(&mut client)?, std::iter::once(checkpoint.origin.as_str()))?;
    let row = match args.entry.parse::<i64>() {
        Ok(position) => client.query_opt("SELECT e.position, e.payload FROM runbook.entry AS e WHERE e.position = $1", &[&position]),
        // What is neither a position nor an id is no entry.
        Err(_) if uuid::Uuid::parse_str(&args.entry).is_err() => Ok(None),
        Err(_) => client.query_opt(
            "SELECT l.position, l.payload FROM runbook.ledger AS l WHERE l.entry_id = pg_catalog.uuid_in(pg_catalog.textout($1))",
            &[&args.entry],
        ),
    }?;
    let row = row.ok_or_else(|| {
        Error::new(
            Kind::Target,
            format!("there is no entry {}", args.entry),
            "runbook log shows positions; entries are named by position or id.",
        )
    })?;
    let (position, payload): (Option<i64>, String) = (row.try_get(0)?, row.try_get(1)?);
    let position = position.and_then(|position| u64::try_from(position).ok()).filter(|position| *position < checkpoint.size);
    let Some(position) = position else {
        let hint = "Sign a newer one: runbook audit checkpoint --key FILE --out NOTE";
        return Err(Error::new(Kind::Target, format!("the checkpoint does not cover entry {}", args.entry), hint));
    };
    // The server may have given another entry, as true as the one that was asked for.
    let id = serde_json::from_str::<Kept>(&payload).map(|kept| kept.entry_id.into_owned()).unwrap_or_default();
    if position.to_string() != args.entry && id != args.entry.to_lowercase() {
        return Err(Error::new(Kind::Check, format!("the server gave entry {position} instead of {}", args.entry), ""));
    }
    let hashes = server::inclusion_proof(&mut client, position, checkpoint.size)?;
    let proof = Proof { payload: payload.into_bytes(), position, hashes, note };
    proof.check().map_err(|why| {
        let hint = "runbook audit verify names what was changed.";
        Error::new(Kind::Check, format!("the server can't prove entry {position}: {why}"), hint)
    })?;
    fs::write(&args.out, proof.encode())?;
    let text =
        format!("{} proves that entry {position} is among the {} of the checkpoint", args.out.display(), checkpoint.size);
    output::message(context.format(), "position", position.into(), &text)
}

/// Checks a proof and its signature without a server, and prints the entry.
pub fn check(args: &CheckProof, context: &Context) -> Result<()> {
    let text = fs::read_to_string(&args.proof).map_err(|error| cannot_read(&args.proof, &error))?;
    let name = args.proof.display();
    let refuted = |why: &str| Error::new(Kind::Check, format!("{name} proves nothing: {why}"), "");
    let proof = Proof::parse(&text).map_err(refuted)?;
    let signed = notes::believed(&proof.note, &notes::keys(&args.keys.keys)?, &format!("the checkpoint in {name}"))?;
    proof.check().map_err(|why| refuted(&why))?;
    let payload = String::from_utf8_lossy(&proof.payload).into_owned();
    if context.format() == Format::Json {
        let entry: Value = serde_json::from_str(&payload).unwrap_or(Value::String(payload));
        return output::value(
            &json!({"ok": true, "position": proof.position, "size": signed.size, "origin": signed.origin, "entry": entry}),
        );
    }
    let signers: Vec<&str> = proof.note.signatures.iter().map(|signature| signature.name.as_str()).collect();
    let text = format!(
        "proved: entry {} of the {} that {} signed, in ledger {}",
        proof.position,
        signed.size,
        signers.join(", "),
        signed.origin
    );
    output::messages(context.format(), "ok", true.into(), &[&text, &payload])
}
