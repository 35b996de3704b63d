//! Entries with the circumstances that the server knows: who, from where, when, in which transaction.

use crate::pg::clock;
use crate::pg::execute::transaction;
use crate::pg::session::identity;
use crate::{error, permission, store};
use runbook_core::ledger::{Circumstances, Entry, Kind};
use serde_json::Value;
use std::cell::OnceCell;

thread_local! {
    static CLIENT_ADDRESS: OnceCell<String> = const { OnceCell::new() };
}

/// Builds an entry; stores nothing. What runs under a permit or a broken glass says so.
pub fn entry(kind: Kind, mut facts: Value) -> error::Result<Entry> {
    if let (Some(permit), None) = (permission::permit_in_use(), facts.get("permit")) {
        facts["permit"] = permit.into();
    }
    if let (Some(glass), None) = (permission::break_glass(), facts.get("break_glass"))
        && clock::micros() < glass.until
    {
        facts["break_glass"] = glass.id.into();
    }
    if let (Some(job), None) = (permission::job(), facts.get("job")) {
        facts["job"] = job.into();
    }
    // Ordinary triggers did not fire, foreign keys were not checked.
    if let Some(role) = identity::disguised_login() {
        facts["authenticated_role"] = role.into();
    }
    if let Some(role) = identity::replication_role() {
        facts["session_replication_role"] = role.into();
    }
    Ok(Entry::new(kind, circumstances()?, facts))
}

/// Who, from where, when, and in which transaction.
pub fn circumstances() -> error::Result<Circumstances> {
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
