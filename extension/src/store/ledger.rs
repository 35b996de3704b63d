//! Table `entry`.

use super::{Result, execute, read};
use runbook_core::ledger::Entry;

/// Appends entries in the transaction at hand.
pub fn append(entries: &[Entry]) -> Result<()> {
    if let [only] = entries {
        return execute(
            "INSERT INTO runbook.entry (entry_id, epoch, recorded_at, kind, payload, leaf_hash) \
             VALUES ($1::pg_catalog.uuid, 1, $2::pg_catalog.timestamptz, $3, $4, $5)",
            &[
                only.entry_id.as_str().into(),
                only.recorded_at.as_str().into(),
                only.kind.into(),
                only.payload.as_str().into(),
                only.leaf_hash.to_vec().into(),
            ],
        );
    }
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

/// The sessions of this database in which the glass is broken: `alice (pid 123) until 12:00:00: "reason"`.
pub fn broken_glass() -> Result<Vec<String>> {
    read(
        "SELECT pg_catalog.format('%s (pid %s) until %s: \"%s\"', o.payload OPERATOR(pg_catalog.->>) 'session_role', \
             o.payload OPERATOR(pg_catalog.->>) 'pid', o.payload OPERATOR(pg_catalog.->>) 'until', \
             o.payload OPERATOR(pg_catalog.->>) 'reason') \
         FROM runbook.entry AS e CROSS JOIN LATERAL (SELECT e.payload::pg_catalog.jsonb AS payload) AS o \
         WHERE e.kind OPERATOR(pg_catalog.=) 'break_glass.opened' \
             AND (o.payload OPERATOR(pg_catalog.->>) 'until_us')::pg_catalog.int8 OPERATOR(pg_catalog.>) \
                 (EXTRACT(epoch FROM pg_catalog.clock_timestamp()) OPERATOR(pg_catalog.*) 1000000)::pg_catalog.int8 \
             AND NOT EXISTS (SELECT FROM runbook.entry AS c WHERE c.kind OPERATOR(pg_catalog.=) 'break_glass.closed' \
                 AND (c.payload::pg_catalog.jsonb OPERATOR(pg_catalog.->>) 'break_glass') OPERATOR(pg_catalog.=) e.entry_id::pg_catalog.text) \
             AND EXISTS (SELECT FROM pg_catalog.pg_stat_activity AS a \
                 WHERE a.pid OPERATOR(pg_catalog.=) (o.payload OPERATOR(pg_catalog.->>) 'pid')::pg_catalog.int4 \
                 AND a.backend_start OPERATOR(pg_catalog.<) e.recorded_at \
                 AND a.datname OPERATOR(pg_catalog.=) pg_catalog.current_database()) \
         ORDER BY e.recorded_at USING OPERATOR(pg_catalog.<)",
        &[],
        |row| row.get(1),
    )
}
