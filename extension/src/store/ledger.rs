//! Table `entry`.

use super::{Result, execute, read};
use crate::pg::entry::Parameter;
use runbook_core::ledger::Entry;

/// Appends entries in the transaction at hand. Rows are written four by four and one by one, by statements whose plan never
/// changes: a plan for arrays would be made anew every time.
pub fn append(entries: &[Entry]) -> Result<()> {
    let mut rest = entries;
    while let [a, b, c, d, others @ ..] = rest {
        execute(
            "INSERT INTO runbook.entry (entry_id, epoch, recorded_at, kind, payload, leaf_hash) VALUES \
             ($1::pg_catalog.uuid, 1, $2::pg_catalog.timestamptz, $3, $4, $5), \
             ($6::pg_catalog.uuid, 1, $7::pg_catalog.timestamptz, $8, $9, $10), \
             ($11::pg_catalog.uuid, 1, $12::pg_catalog.timestamptz, $13, $14, $15), \
             ($16::pg_catalog.uuid, 1, $17::pg_catalog.timestamptz, $18, $19, $20)",
            &[a, b, c, d].into_iter().flat_map(values).collect::<Vec<_>>(),
        )?;
        rest = others;
    }
    for one in rest {
        execute(
            "INSERT INTO runbook.entry (entry_id, epoch, recorded_at, kind, payload, leaf_hash) \
             VALUES ($1::pg_catalog.uuid, 1, $2::pg_catalog.timestamptz, $3, $4, $5)",
            &values(one),
        )?;
    }
    Ok(())
}

fn values(entry: &Entry) -> [Parameter<'_>; 5] {
    [
        entry.entry_id.as_str().into(),
        entry.recorded_at.as_str().into(),
        entry.kind.into(),
        entry.payload.as_str().into(),
        entry.leaf_hash.to_vec().into(),
    ]
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
