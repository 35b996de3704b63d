//! Records that survive the rollback of what they describe.
//!
//! A background worker writes them and commits before the error is raised. If none can be had, the server log gets the
//! payload, and the statement is blocked all the same.

use crate::ledger::entry;
use crate::pg::callback::log_to_server;
use crate::{error, pg, store};
use runbook_core::ledger::{Entry, Kind};
use serde_json::{Value, json};

/// Records outside the transaction; never fails.
pub fn record(kind: Kind, facts: Value) {
    if let Ok(entry) = entry(kind, facts) {
        record_entry(&entry);
    }
}

/// Records an entry that is built already outside the transaction; never fails.
pub fn record_entry(entry: &Entry) {
    if let Err(problem) = hand_over(entry) {
        log_to_server(&format!("pg_runbook: could not record in the ledger ({problem}): {}", entry.payload));
    }
}

/// Records outside the transaction and returns the entry's id once it is durable.
///
/// # Errors
/// Why it could not be recorded.
pub fn record_durably(kind: Kind, facts: Value) -> Result<String, String> {
    let entry = entry(kind, facts).map_err(|report| report.message().to_owned())?;
    hand_over(&entry)?;
    Ok(entry.entry_id)
}

/// Records in the ledger of another database, which must be guarded; never fails.
pub fn record_elsewhere(database: u32, kind: Kind, facts: Value) {
    let Ok(entry) = entry(kind, facts) else { return };
    if let Err(problem) = pg::workers::recorder::hand_over(&line(&entry), Some(database)) {
        log_to_server(&format!(
            "pg_runbook: could not record in the ledger of database {database} ({problem}): {}",
            entry.payload
        ));
    }
}

fn hand_over(entry: &Entry) -> Result<(), String> {
    pg::workers::recorder::hand_over(&line(entry), None)
}

fn line(entry: &Entry) -> String {
    json!([entry.entry_id, entry.recorded_at, entry.kind, entry.payload]).to_string()
}

/// What the worker does with lines that were handed over.
pub fn write(lines: &[String]) -> error::Result<()> {
    let entries = lines.iter().map(|line| read(line)).collect::<error::Result<Vec<_>>>()?;
    store::ledger::append(&entries)
}

fn read(line: &str) -> error::Result<Entry> {
    let parts: Vec<String> = serde_json::from_str(line).unwrap_or_default();
    let [entry_id, recorded_at, kind, payload] = &parts[..] else {
        return Err(crate::error::internal("a record handed to the recorder is malformed"));
    };
    let kind =
        Kind::parse(kind).ok_or_else(|| crate::error::internal("a record handed to the recorder has an unknown kind"))?;
    Ok(Entry::restore(entry_id, recorded_at, kind, payload))
}
