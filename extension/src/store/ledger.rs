//! Table `entry`.

use super::{Result, execute, read};
use runbook_core::ledger::Entry;

/// Appends entries in the transaction at hand.
pub fn append(entries: &[Entry]) -> Result<()> {
    let column = |get: &dyn Fn(&Entry) -> String| entries.iter().map(get).collect::<Vec<_>>();
    execute(
        "INSERT INTO runbook.entry (entry_id, epoch, recorded_at, kind, payload, leaf_hash) \
         SELECT e.id::pg_catalog.uuid, 1, e.at::pg_catalog.timestamptz, e.kind, e.payload, pg_catalog.decode(e.hash, 'hex') \
         FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3), pg_catalog.unnest($4), \
              pg_catalog.unnest($5)) AS e (id, at, kind, payload, hash)",
        &[
            column(&|entry| entry.entry_id.clone()).into(),
            column(&|entry| entry.recorded_at.clone()).into(),
            column(&|entry| entry.kind.to_owned()).into(),
            column(&|entry| entry.payload.clone()).into(),
            column(&|entry| hex(&entry.leaf_hash)).into(),
        ],
    )
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The client's address as the server sees it; empty for a unix socket.
pub fn client_address() -> Result<String> {
    let rows = read("SELECT COALESCE(pg_catalog.host(pg_catalog.inet_client_addr()), '')", &[], |row| row.get::<String>(1));
    rows.map(|rows| rows.into_iter().next().unwrap_or_default())
}
