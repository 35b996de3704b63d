//! Tables `entry` and `tile`: the sealed ledger, and the Merkle tree over it.

use crate::error::{Result, internal};
use crate::pg::hooks::triggers::Taking;
use crate::spi::{Row, execute, read_as_seen, write};
use runbook_core::ledger::Sealed;
use runbook_core::merkle::Hash;

/// Where the sealed ledger ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// How many positions there are.
    pub size: u64,
    /// The epoch that the next entry belongs to.
    pub epoch: i32,
}

/// Where the sealed ledger ends.
pub fn end() -> Result<End> {
    let rows = read_as_seen(
        "SELECT l.position OPERATOR(pg_catalog.+) 1, l.epoch FROM runbook.entry AS l \
         ORDER BY l.position USING OPERATOR(pg_catalog.>) LIMIT 1",
        &[],
        |row| Ok((row.get::<i64>(1)?, row.get::<i32>(2)?)),
    )?;
    let (size, epoch) = rows.into_iter().next().unwrap_or((0, 1));
    Ok(End { size: unsigned(size)?, epoch })
}

/// What was moved.
pub struct Moved {
    /// Leaf hashes, in the order of their positions.
    pub leaves: Vec<Hash>,
    /// Where in the table of unsealed entries the last of them was, as PostgreSQL writes a tuple's address.
    pub last: Option<String>,
}

/// Gives up to `limit` entries that stand behind `from` in their table positions, starting at `end`, oldest first.
pub fn move_batch(end: End, from: &str, limit: i64) -> Result<Moved> {
    let _taking = Taking::enter();
    let (mut taken, mut last) = (0, None);
    let rows = write(
        "WITH chosen AS MATERIALIZED ( \
             SELECT c.ctid AS place FROM runbook.unsealed AS c \
             WHERE c.ctid OPERATOR(pg_catalog.>) $4::pg_catalog.text::pg_catalog.tid LIMIT $3), \
         batch AS ( \
             DELETE FROM runbook.unsealed AS u WHERE u.ctid OPERATOR(pg_catalog.=) ANY (ARRAY(SELECT c.place FROM chosen AS c)) \
             RETURNING u.entry_id, u.recorded_at, u.kind, u.payload, u.leaf_hash), \
         moved AS ( \
             INSERT INTO runbook.entry (position, epoch, entry_id, recorded_at, kind, payload, leaf_hash) \
             SELECT $1 OPERATOR(pg_catalog.+) pg_catalog.row_number() OVER own OPERATOR(pg_catalog.-) 1, \
                 $2 OPERATOR(pg_catalog.+) \
                     (pg_catalog.count(*) FILTER (WHERE b.kind OPERATOR(pg_catalog.=) 'epoch.opened') OVER own)::pg_catalog.int4, \
                 b.entry_id, b.recorded_at, b.kind, b.payload, b.leaf_hash \
             FROM batch AS b \
             WINDOW own AS (ORDER BY b.recorded_at USING OPERATOR(pg_catalog.<), b.entry_id USING OPERATOR(pg_catalog.<) \
                 ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) \
             RETURNING position, leaf_hash) \
         SELECT m.position, m.leaf_hash, (SELECT pg_catalog.max(c.place)::pg_catalog.text FROM chosen AS c), \
             (SELECT pg_catalog.count(*) FROM batch) FROM (SELECT 1) AS one LEFT JOIN moved AS m ON true",
        &[signed(end.size)?.into(), end.epoch.into(), limit.into(), from.into()],
        |row| {
            (taken, last) = (row.get::<i64>(4)?, row.maybe::<String>(3)?);
            row.maybe::<i64>(1)?.map(|position| Ok((position, hash(row.get(2)?)?))).transpose()
        },
    )?;
    let mut moved: Vec<(i64, Hash)> = rows.into_iter().flatten().collect();
    if i64::try_from(moved.len()) != Ok(taken) {
        return Err(damaged(format!("{taken} entries were to be sealed, but {} were stored", moved.len())));
    }
    moved.sort_unstable_by_key(|(position, _)| *position);
    Ok(Moved { leaves: moved.into_iter().map(|(_, hash)| hash).collect(), last })
}

/// The hashes of a whole tile.
pub fn tile(level: u32, index: u64) -> Result<Option<Vec<Hash>>> {
    let rows = read_as_seen(
        "SELECT t.hashes FROM runbook.tile AS t \
         WHERE t.level OPERATOR(pg_catalog.=) $1::pg_catalog.int2 AND t.index OPERATOR(pg_catalog.=) $2",
        &[level_number(level)?.into(), signed(index)?.into()],
        |row| row.get::<Vec<u8>>(1),
    )?;
    let Some(bytes) = rows.into_iter().next() else { return Ok(None) };
    let (hashes, rest) = bytes.as_chunks::<32>();
    if hashes.len() != 256 || !rest.is_empty() {
        return Err(damaged(format!("tile {index} of level {level} has {} bytes", bytes.len())));
    }
    Ok(Some(hashes.to_vec()))
}

/// The hashes of what is there of a tile that is not whole: leaf hashes at level 0, roots of the tiles below above that.
pub fn partial(level: u32, index: u64) -> Result<Vec<Hash>> {
    let (from, to) = (signed(index * 256)?, signed(index * 256 + 256)?);
    let each = |row: &Row| Ok((row.get::<i64>(1)?, hash(row.get(2)?)?));
    let rows = match level.checked_sub(1) {
        None => read_as_seen(
            "SELECT l.position, l.leaf_hash FROM runbook.entry AS l \
             WHERE l.position OPERATOR(pg_catalog.>=) $1 AND l.position OPERATOR(pg_catalog.<) $2 \
             ORDER BY l.position USING OPERATOR(pg_catalog.<)",
            &[from.into(), to.into()],
            each,
        ),
        Some(below) => read_as_seen(
            "SELECT t.index, t.root FROM runbook.tile AS t WHERE t.level OPERATOR(pg_catalog.=) $3::pg_catalog.int2 \
                 AND t.index OPERATOR(pg_catalog.>=) $1 AND t.index OPERATOR(pg_catalog.<) $2 \
             ORDER BY t.index USING OPERATOR(pg_catalog.<)",
            &[from.into(), to.into(), level_number(below)?.into()],
            each,
        ),
    }?;
    for (expected, (found, _)) in (from..).zip(&rows) {
        if *found != expected {
            return Err(damaged(match level {
                0 => format!("the entry at position {expected} is missing"),
                _ => format!("tile {expected} of level {} is missing", level - 1),
            }));
        }
    }
    Ok(rows.into_iter().map(|(_, hash)| hash).collect())
}

/// The last whole tile of leaves that is stored.
pub fn last_tile() -> Result<Option<u64>> {
    let rows = read_as_seen(
        "SELECT t.index FROM runbook.tile AS t WHERE t.level OPERATOR(pg_catalog.=) 0 \
         ORDER BY t.index USING OPERATOR(pg_catalog.>) LIMIT 1",
        &[],
        |row| row.get::<i64>(1),
    )?;
    rows.into_iter().next().map(unsigned).transpose()
}

/// Stores a whole tile.
pub fn insert_tile(level: u32, index: u64, root: &Hash, hashes: &[Hash]) -> Result<()> {
    execute(
        "INSERT INTO runbook.tile (level, index, root, hashes) VALUES ($1::pg_catalog.int2, $2, $3, $4)",
        &[level_number(level)?.into(), signed(index)?.into(), root.to_vec().into(), hashes.concat().into()],
    )
}

/// The id of the first entry: which ledger this is.
pub fn ledger_id() -> Result<Option<String>> {
    let first = read_as_seen(
        "SELECT l.entry_id::pg_catalog.text FROM runbook.entry AS l WHERE l.position OPERATOR(pg_catalog.=) 0",
        &[],
        |row| row.get::<String>(1),
    )?;
    if let Some(id) = first.into_iter().next() {
        return Ok(Some(id));
    }
    // Archived: the entry about that says so, sealed or not.
    let archived = read_as_seen(
        "SELECT l.payload::pg_catalog.jsonb OPERATOR(pg_catalog.->>) 'ledger' FROM ( \
             SELECT u.payload, u.recorded_at FROM runbook.unsealed AS u WHERE u.kind OPERATOR(pg_catalog.=) 'ledger.archived' \
             UNION ALL SELECT e.payload, e.recorded_at FROM runbook.entry AS e \
             WHERE runbook.ledger_terms(e.payload) OPERATOR(pg_catalog.@>) ARRAY['kind:ledger.archived']) AS l \
         ORDER BY l.recorded_at USING OPERATOR(pg_catalog.>) LIMIT 1",
        &[],
        |row| row.maybe::<String>(1),
    )?;
    Ok(archived.into_iter().flatten().next())
}

/// How many entries have no position yet, and when the oldest of them was recorded.
pub fn unsealed() -> Result<(i64, Option<pgrx::datum::TimestampWithTimeZone>)> {
    let rows =
        read_as_seen("SELECT pg_catalog.count(*), pg_catalog.min(u.recorded_at) FROM runbook.unsealed AS u", &[], |row| {
            Ok((row.get::<i64>(1)?, row.maybe(2)?))
        })?;
    Ok(rows.into_iter().next().unwrap_or((0, None)))
}

/// How many entries have no position yet, and how many seconds the oldest of them has waited.
pub fn waiting() -> Result<(i64, i64)> {
    let rows = read_as_seen(
        "SELECT pg_catalog.count(*), COALESCE(EXTRACT(epoch FROM pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-) \
             pg_catalog.min(u.recorded_at)), 0)::pg_catalog.int8 FROM runbook.unsealed AS u",
        &[],
        |row| Ok((row.get(1)?, row.get(2)?)),
    )?;
    Ok(rows.into_iter().next().unwrap_or((0, 0)))
}

/// The first position that is still here.
pub fn first_position() -> Result<u64> {
    let rows = read_as_seen(
        "SELECT l.position FROM runbook.entry AS l ORDER BY l.position USING OPERATOR(pg_catalog.<) LIMIT 1",
        &[],
        |row| row.get::<i64>(1),
    )?;
    rows.into_iter().next().map_or(Ok(0), unsigned)
}

/// Up to `limit` sealed entries from a position on.
pub fn entries(from: u64, limit: i64) -> Result<Vec<Sealed>> {
    read_as_seen(
        "SELECT l.position, l.epoch, l.entry_id::pg_catalog.text, \
             (EXTRACT(epoch FROM l.recorded_at) OPERATOR(pg_catalog.*) 1000000)::pg_catalog.int8, l.kind, l.payload, l.leaf_hash \
         FROM runbook.entry AS l WHERE l.position OPERATOR(pg_catalog.>=) $1 \
         ORDER BY l.position USING OPERATOR(pg_catalog.<) LIMIT $2",
        &[signed(from)?.into(), limit.into()],
        |row| {
            Ok(Sealed {
                position: unsigned(row.get(1)?)?,
                epoch: row.get(2)?,
                entry_id: row.get(3)?,
                recorded_at: row.get(4)?,
                kind: row.get(5)?,
                payload: row.get(6)?,
                leaf_hash: row.get(7)?,
            })
        },
    )
}

/// Entries that have no position yet, in the order in which they would get one.
pub fn unsealed_entries() -> Result<Vec<Sealed>> {
    read_as_seen(
        "SELECT u.entry_id::pg_catalog.text, \
             (EXTRACT(epoch FROM u.recorded_at) OPERATOR(pg_catalog.*) 1000000)::pg_catalog.int8, u.kind, u.payload, u.leaf_hash \
         FROM runbook.unsealed AS u \
         ORDER BY u.recorded_at USING OPERATOR(pg_catalog.<), u.entry_id USING OPERATOR(pg_catalog.<)",
        &[],
        |row| {
            Ok(Sealed {
                position: 0,
                epoch: 0,
                entry_id: row.get(1)?,
                recorded_at: row.get(2)?,
                kind: row.get(3)?,
                payload: row.get(4)?,
                leaf_hash: row.get(5)?,
            })
        },
    )
}

/// Removes the entries before a position; how many.
pub fn remove_before(position: u64) -> Result<i64> {
    let _taking = Taking::enter();
    let rows = write(
        "WITH gone AS (DELETE FROM runbook.entry AS l WHERE l.position OPERATOR(pg_catalog.<) $1 RETURNING 1) \
         SELECT pg_catalog.count(*) FROM gone",
        &[signed(position)?.into()],
        |row| row.get::<i64>(1),
    )?;
    Ok(rows.into_iter().next().unwrap_or(0))
}

fn hash(bytes: Vec<u8>) -> Result<Hash> {
    let length = bytes.len();
    bytes.try_into().map_err(|_| damaged(format!("a hash has {length} bytes")))
}

fn unsigned(number: i64) -> Result<u64> {
    u64::try_from(number).map_err(|_| damaged(format!("there is a position {number}")))
}

/// A position as PostgreSQL keeps it.
fn signed(number: u64) -> Result<i64> {
    i64::try_from(number).map_err(|_| internal("a position is larger than a ledger can be"))
}

fn level_number(level: u32) -> Result<i32> {
    i32::try_from(level).map_err(|_| internal("a level is higher than a tree can be"))
}

/// The error for tables of the ledger that contradict each other.
pub fn damaged(what: String) -> pgrx::pg_sys::panic::ErrorReport {
    crate::error::refusal(
        "XX001",
        format!("the ledger is damaged: {what}"),
        Some("Tables of the ledger were changed by someone who bypassed the guard, or by a disk error.".to_owned()),
        Some(
            "To find the first bad position: SELECT * FROM runbook.verify_ledger(); or, against a checkpoint: runbook audit \
             verify"
                .to_owned(),
        ),
    )
}
