//! Entries with the circumstances that the server knows: who, from where, when, in which transaction.

use crate::ledger::{pending, recorder};
use crate::pg::{clock, identity, transaction};
use crate::session;
use crate::store;
use runbook_core::ledger::{Circumstances, Entry, Kind, StatementFacts};
use serde_json::Value;
use std::cell::OnceCell;

thread_local! {
    static CLIENT_ADDRESS: OnceCell<String> = const { OnceCell::new() };
}

/// Builds an entry; stores nothing. What runs under a permit or a broken glass says so.
pub fn entry(kind: Kind, mut facts: Value) -> store::Result<Entry> {
    if let (Some(permit), None) = (session::permit_in_use(), facts.get("permit")) {
        facts["permit"] = permit.into();
    }
    if let (Some(glass), None) = (session::break_glass(), facts.get("break_glass"))
        && clock::micros() < glass.until
    {
        facts["break_glass"] = glass.id.into();
    }
    if let (Some(job), None) = (session::job(), facts.get("job")) {
        facts["job"] = job.into();
    }
    // Ordinary triggers did not fire, foreign keys were not checked.
    if let Some(role) = identity::replication_role() {
        facts["session_replication_role"] = role.into();
    }
    Ok(Entry::new(kind, circumstances()?, facts))
}

fn circumstances() -> store::Result<Circumstances> {
    let address = CLIENT_ADDRESS.with(|known| match known.get() {
        Some(address) => Ok(address.clone()),
        None => store::ledger::client_address().map(|address| known.get_or_init(|| address).clone()),
    })?;
    // A standby assigns none, and some statements must find the transaction without.
    let xid = match identity::in_recovery() || transaction::stays_without_id() {
        true => identity::transaction_id_if_any(),
        false => Some(identity::transaction_id()),
    };
    Ok(Circumstances {
        entry_id: uuid::Uuid::now_v7().to_string(),
        recorded_at: clock::now(),
        session_role: identity::session_role(),
        current_role: identity::current_role(),
        client_addr: address,
        application: identity::application_name(),
        xid: xid.map(|id| id.to_string()).unwrap_or_default(),
    })
}

/// Appends one entry in the transaction at hand; it is written when that commits.
pub fn record(kind: Kind, facts: Value) -> store::Result<()> {
    if identity::is_read_only() {
        // Some statements may run in a transaction that can't be written in.
        recorder::record(kind, facts);
        return Ok(());
    }
    pending::push(entry(kind, facts)?)
}

/// Appends an entry about a statement that passes; at once and outside the transaction, if what it does `outlasts` a rollback.
pub fn record_statement(facts: StatementFacts, outlasts: bool) -> store::Result<()> {
    let permit = session::permit_in_use();
    let glass = session::break_glass().filter(|glass| clock::micros() < glass.until);
    let facts = StatementFacts {
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
