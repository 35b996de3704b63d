//! Entries with the circumstances that the server knows: who, from where, when, in which transaction.

use crate::ledger::circumstances::{circumstances, entry};
use crate::ledger::{pending, recorder};
use crate::pg::clock;
use crate::pg::session::identity;
use crate::{error, permission};
use runbook_core::ledger::{Entry, Kind, StatementFacts};
use serde_json::Value;

/// Appends one entry in the transaction at hand; it is written when that commits.
pub fn record(kind: Kind, facts: Value) -> error::Result<()> {
    if identity::is_read_only() {
        // Some statements may run in a transaction that can't be written in.
        recorder::record(kind, facts);
        return Ok(());
    }
    pending::push(entry(kind, facts)?)
}

/// Appends an entry about a statement that passes; at once and outside the transaction, if what it does `outlasts` a rollback.
pub fn record_statement(facts: StatementFacts, outlasts: bool) -> error::Result<()> {
    let permit = permission::permit_in_use();
    let glass = permission::break_glass().filter(|glass| clock::micros() < glass.until);
    let login = identity::disguised_login();
    let facts = StatementFacts {
        authenticated_role: login.as_deref(),
        permit: permit.as_deref(),
        break_glass: glass.as_ref().map(|glass| glass.id.as_str()),
        replication_role: identity::replication_role(),
        ..facts
    };
    let entry = Entry::of_statement(Kind::DdlExecuted, circumstances()?, &facts);
    if outlasts || identity::is_read_only() {
        recorder::record_entry(&entry);
        return Ok(());
    }
    pending::push(entry)
}
