//! Tables `unsealed` and `entry`.

use crate::error::{Result, internal};
use crate::pg::execute::append;
use crate::spi::{self, read};
use runbook_core::ledger::{Entry, Kind};
use runbook_core::plan::Direction;

/// Appends entries in the transaction at hand.
pub fn append(entries: &[Entry]) -> Result<()> {
    if entries.is_empty() {
        return Ok(());
    }
    let mut rows = entries.iter().map(row).collect::<Result<Vec<_>>>()?;
    spi::append(c"unsealed", &mut rows)
}

/// The columns of an entry.
fn row(entry: &Entry) -> Result<[pgrx::pg_sys::Datum; 5]> {
    let id = uuid::Uuid::parse_str(&entry.entry_id).map_err(|error| internal(error.to_string()))?;
    let at = chrono::DateTime::parse_from_rfc3339(&entry.recorded_at).map_err(|error| internal(error.to_string()))?;
    Ok([
        append::uuid(*id.as_bytes()),
        append::moment(at.timestamp_micros()),
        append::text(entry.kind),
        append::text(&entry.payload),
        append::bytes(&entry.leaf_hash),
    ])
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
         FROM (SELECT s.entry_id, s.recorded_at, s.payload FROM runbook.entry AS s \
               WHERE runbook.ledger_terms(s.payload) OPERATOR(pg_catalog.@>) ARRAY['kind:break_glass.opened'] \
               UNION ALL SELECT u.entry_id, u.recorded_at, u.payload FROM runbook.unsealed AS u \
               WHERE u.kind OPERATOR(pg_catalog.=) 'break_glass.opened') AS e \
         CROSS JOIN LATERAL (SELECT e.payload::pg_catalog.jsonb AS payload) AS o \
         WHERE (o.payload OPERATOR(pg_catalog.->>) 'until_us')::pg_catalog.int8 OPERATOR(pg_catalog.>) \
                 (EXTRACT(epoch FROM pg_catalog.clock_timestamp()) OPERATOR(pg_catalog.*) 1000000)::pg_catalog.int8 \
             AND NOT EXISTS (SELECT FROM (SELECT s.payload FROM runbook.entry AS s \
                 WHERE runbook.ledger_terms(s.payload) OPERATOR(pg_catalog.@>) ARRAY['kind:break_glass.closed'] \
                 UNION ALL SELECT u.payload FROM runbook.unsealed AS u WHERE u.kind OPERATOR(pg_catalog.=) 'break_glass.closed') AS c \
                 WHERE (c.payload::pg_catalog.jsonb OPERATOR(pg_catalog.->>) 'break_glass') OPERATOR(pg_catalog.=) e.entry_id::pg_catalog.text) \
             AND EXISTS (SELECT FROM pg_catalog.pg_stat_activity AS a \
                 WHERE a.pid OPERATOR(pg_catalog.=) (o.payload OPERATOR(pg_catalog.->>) 'pid')::pg_catalog.int4 \
                 AND a.backend_start OPERATOR(pg_catalog.<) e.recorded_at \
                 AND a.datname OPERATOR(pg_catalog.=) pg_catalog.current_database()) \
         ORDER BY e.recorded_at USING OPERATOR(pg_catalog.<)",
        &[],
        |row| row.get(1),
    )
}

/// Whether an entry of a kind waits to be sealed, in this transaction or from others.
pub fn is_unsealed(kind: Kind) -> Result<bool> {
    let found = read(
        "SELECT true FROM runbook.unsealed AS u WHERE u.kind OPERATOR(pg_catalog.=) $1 LIMIT 1",
        &[kind.as_str().into()],
        |row| row.get::<bool>(1),
    )?;
    Ok(!found.is_empty())
}

/// The checkpoints of which the ledger says that they were signed: for each login that recorded some, the most entries that one covers.
pub fn checkpoints() -> Result<Vec<(String, i64)>> {
    read(
        "SELECT p.payload OPERATOR(pg_catalog.->>) 'session_role', \
             pg_catalog.max((p.payload OPERATOR(pg_catalog.->>) 'size')::pg_catalog.int8) \
         FROM (SELECT s.payload FROM runbook.entry AS s \
               WHERE runbook.ledger_terms(s.payload) OPERATOR(pg_catalog.@>) ARRAY['kind:checkpoint.signed'] \
               UNION ALL SELECT u.payload FROM runbook.unsealed AS u WHERE u.kind OPERATOR(pg_catalog.=) 'checkpoint.signed') AS e \
         CROSS JOIN LATERAL (SELECT e.payload::pg_catalog.jsonb AS payload) AS p GROUP BY 1",
        &[],
        |row| Ok((row.get(1)?, row.get(2)?)),
    )
}

/// Whether the ledger says that a revision has done something since then that no rollback takes back.
pub fn has_outside(revision: &str, direction: Direction, since: i64) -> Result<bool> {
    let found = read(
        "SELECT true FROM (SELECT e.payload, e.recorded_at FROM runbook.entry AS e \
                 WHERE runbook.ledger_terms(e.payload) OPERATOR(pg_catalog.@>) \
                     ARRAY[pg_catalog.concat('revision:', $1), 'kind:ddl.executed'] \
             UNION ALL SELECT u.payload, u.recorded_at FROM runbook.unsealed AS u \
                 WHERE runbook.ledger_terms(u.payload) OPERATOR(pg_catalog.@>) \
                     ARRAY[pg_catalog.concat('revision:', $1), 'kind:ddl.executed']) AS l \
         WHERE (EXTRACT(epoch FROM l.recorded_at) OPERATOR(pg_catalog.*) 1000000)::pg_catalog.int8 OPERATOR(pg_catalog.>) $3 \
             AND (l.payload::pg_catalog.jsonb OPERATOR(pg_catalog.->>) 'direction') OPERATOR(pg_catalog.=) $2 LIMIT 1",
        &[revision.into(), direction.as_str().into(), since.into()],
        |row| row.get::<bool>(1),
    )?;
    Ok(!found.is_empty())
}

/// Whether the ledger says that a permit has been used, whatever became of the transaction.
pub fn has_use(permit: &str) -> Result<bool> {
    let found = read(
        "SELECT true FROM runbook.entry AS e WHERE runbook.ledger_terms(e.payload) OPERATOR(pg_catalog.@>) \
             ARRAY[pg_catalog.concat('permit:', $1), 'kind:permit.used'] \
         UNION ALL SELECT true FROM runbook.unsealed AS u WHERE runbook.ledger_terms(u.payload) OPERATOR(pg_catalog.@>) \
             ARRAY[pg_catalog.concat('permit:', $1), 'kind:permit.used'] LIMIT 1",
        &[permit.into()],
        |row| row.get::<bool>(1),
    )?;
    Ok(!found.is_empty())
}
