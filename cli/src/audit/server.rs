//! A server's ledger, read in one snapshot. Nothing that the server says of it is believed without a hash.

use crate::audit::blocks::{Columns, Sink, Tile};
use crate::audit::copy::{MICROSECONDS_TO_2000, Records, Rows, odd};
use crate::client::{Client, Queries};
use crate::context::Context;
use crate::error::{Error, Kind, Result};
use crate::output;
use runbook_core::audit::{Finding, Opening};
use runbook_core::checkpoint::Origin;
use runbook_core::merkle::{Frontier, Hash, subtree};
use sha2::{Digest, Sha256};
use std::collections::HashMap;

/// Where the tree stands, as the server says.
#[derive(Clone, Debug)]
pub struct Head {
    /// The origin line; `None` while nothing is sealed.
    pub origin: Option<String>,
    /// Number of sealed entries.
    pub size: u64,
    /// Root over them; `None` where the server can't tell.
    pub root: Option<Hash>,
    /// Entries that wait to be sealed.
    pub unsealed: i64,
    /// When the oldest of them was recorded, as text.
    pub oldest_unsealed: Option<String>,
}

/// Opens a connection and seals what is committed, where the server can. A standby is read as it is.
pub fn connect(context: &Context) -> Result<Client> {
    let mut client = context.connect_session()?;
    let standby: bool = client.query_one("SELECT pg_catalog.pg_is_in_recovery()", &[])?.try_get(0)?;
    if !standby {
        client.batch_execute("SET lock_timeout = '5s'")?;
        if let Err(error) = client.batch_execute("CALL runbook.seal()") {
            // Whoever keeps it from being sealed must not keep it from being read.
            let is_answer =
                error.as_db_error().is_some_and(|error| !["42501", "3F000", "42883"].contains(&error.code().code()));
            if !is_answer {
                return Err(error.into());
            }
            notice(&error);
        }
        client.batch_execute("RESET lock_timeout")?;
    }
    Ok(client)
}

/// Everything is read in one snapshot from now on.
pub fn begin(client: &mut Client) -> Result<()> {
    Ok(client.begin("ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL jit = off")?)
}

/// Where the tree stands.
pub fn head(client: &mut Client) -> Result<Head> {
    client.batch_execute("SAVEPOINT head")?;
    let sql = "SELECT h.origin, h.size, h.root, h.unsealed, h.oldest_unsealed::text FROM runbook.tree_head() AS h";
    match client.query_one(sql, &[]) {
        Ok(row) => Ok(Head {
            origin: row.try_get(0)?,
            size: unsigned(row.try_get(1)?)?,
            root: Some(hash(row.try_get(2)?)?),
            unsealed: row.try_get(3)?,
            oldest_unsealed: row.try_get(4)?,
        }),
        Err(error) if error.code().is_some_and(|code| code.code() == "XX001") => {
            notice(&error);
            client.batch_execute("ROLLBACK TO head")?;
            let row =
                client.query_opt("SELECT e.position + 1 FROM runbook.entry AS e ORDER BY e.position DESC LIMIT 1", &[])?;
            let size = row.map_or(Ok(0), |row| unsigned(row.try_get(0)?))?;
            Ok(Head { origin: None, size, root: None, unsealed: 0, oldest_unsealed: None })
        }
        Err(error) => Err(error.into()),
    }
}

/// What is damaged can't go on, but it can be read, and that is what an auditor is here for.
fn notice(error: &postgres::Error) {
    output::notice("notice", error.as_db_error().map_or("", |error| error.message()));
}

/// The first position that has not been archived.
pub fn first_position(client: &mut Client) -> Result<u64> {
    let row = client.query_opt("SELECT e.position FROM runbook.entry AS e ORDER BY e.position LIMIT 1", &[])?;
    row.map_or(Ok(0), |row| unsigned(row.try_get(0)?))
}

/// The right edge of the tree of `size` entries, as the server says.
pub fn frontier(client: &mut Client, size: u64) -> Result<Frontier> {
    let row = client.query_one("SELECT runbook.tree_frontier($1)", &[&signed(size)?])?;
    let roots = row.try_get::<_, Vec<Vec<u8>>>(0)?.into_iter().map(hash).collect::<Result<Vec<_>>>()?;
    Frontier::from_roots(size, roots)
        .ok_or_else(|| odd("the server returned the wrong number of subtrees for the size of the tree"))
}

/// Hashes beside the path from an entry to the root of the tree of `size` entries.
pub fn inclusion_proof(client: &mut Client, position: u64, size: u64) -> Result<Vec<Hash>> {
    let row = client.query_one("SELECT runbook.inclusion_proof($1, $2)", &[&signed(position)?, &signed(size)?])?;
    row.try_get::<_, Vec<Vec<u8>>>(0)?.into_iter().map(hash).collect()
}

/// What shows that one tree is the beginning of another.
pub fn consistency_proof(client: &mut Client, old: u64, new: u64) -> Result<Vec<Hash>> {
    let row = client.query_one("SELECT runbook.consistency_proof($1, $2)", &[&signed(old)?, &signed(new)?])?;
    row.try_get::<_, Vec<Vec<u8>>>(0)?.into_iter().map(hash).collect()
}

/// The openings of epochs, oldest first.
pub fn openings(client: &mut Client) -> Result<Vec<Opening>> {
    let rows = client.query(
        "SELECT (e.payload::jsonb ->> 'epoch')::int4, (e.payload::jsonb ->> 'size')::int8 FROM runbook.entry AS e \
         WHERE runbook.ledger_terms(e.payload) @> ARRAY['kind:epoch.opened'] ORDER BY e.position",
        &[],
    )?;
    rows.iter()
        .map(|row| Ok(Opening { epoch: row.try_get::<_, i32>(0)?.unsigned_abs(), size: unsigned(row.try_get(1)?)? }))
        .collect()
}

/// Entries that the server puts into one message. One message an entry took twice as long, and a query without these steps is
/// sorted on disk by a server that has not analyzed the table.
const CHUNK: u64 = 128;

/// What is known of the ledger where reading begins.
pub struct Known<'a> {
    /// The id that the first entry of all must have.
    pub ledger: Option<&'a str>,
    /// The epoch before.
    pub epoch: Option<i32>,
}

/// Reads entries from a position to before another; returns the epoch at the end.
pub fn entries(client: &mut Client, from: u64, to: u64, known: &Known, sink: &mut Sink) -> Result<Option<i32>> {
    let copy = format!(
        "COPY (SELECT a.rows FROM pg_catalog.generate_series({from}, {to} - 1, {CHUNK}) AS g (start) CROSS JOIN LATERAL ( \
             SELECT pg_catalog.string_agg(pg_catalog.record_send(s.entry), '') AS rows FROM ( \
                 SELECT ROW(e.position, e.epoch, e.entry_id, e.recorded_at, e.kind, e.leaf_hash, e.payload) AS entry \
                 FROM runbook.entry AS e WHERE e.position >= g.start AND e.position < LEAST(g.start + {CHUNK}, {to}) \
                 ORDER BY e.position) AS s) AS a WHERE a.rows IS NOT NULL) TO STDOUT (FORMAT binary)"
    );
    let mut epoch = known.epoch;
    let mut rows = Rows::new(client.copy_out(&copy)?)?;
    'read: while rows.next()? {
        let mut records = Records(rows.field()?);
        while !records.0.is_empty() {
            records.row(7)?;
            let position = u64::from_be_bytes(records.array()?);
            if position != sink.next() {
                sink.note(gap(sink.next(), position));
                break 'read;
            }
            let its_epoch = i32::from_be_bytes(records.array()?);
            let columns = Columns {
                entry_id: records.array()?,
                recorded_at: i64::from_be_bytes(records.array()?) + MICROSECONDS_TO_2000,
                kind: String::from_utf8_lossy(records.field()?).into_owned(),
                leaf_hash: records.field()?.to_vec(),
            };
            let id = uuid::Uuid::from_bytes(columns.entry_id).to_string();
            if position == 0 && known.ledger.is_some_and(|ledger| ledger != id) {
                let problem =
                    format!("the ledger is named after a different first entry: {}", known.ledger.unwrap_or_default());
                sink.note(Finding::Entry { position, problem });
            }
            let due = epoch.map_or(its_epoch, |before| before + i32::from(columns.kind == "epoch.opened"));
            if its_epoch != due {
                sink.note(Finding::Entry { position, problem: format!("column epoch is {its_epoch} and should be {due}") });
            }
            epoch = Some(its_epoch);
            sink.push(records.field()?, Some(columns));
        }
    }
    Ok(epoch)
}

/// Hands out payloads of positions from `from` to before `to`, some at once, one a line, with the first one's position.
pub fn payloads(client: &mut Client, from: u64, to: u64, mut each: impl FnMut(u64, &[u8]) -> Result<()>) -> Result<()> {
    let copy = format!(
        "COPY (SELECT a.first, a.last, a.count, a.lines FROM pg_catalog.generate_series({from}, {to} - 1, {CHUNK}) AS g (start) \
         CROSS JOIN LATERAL ( \
             SELECT pg_catalog.min(s.position) AS first, pg_catalog.max(s.position) AS last, pg_catalog.count(*) AS count, \
                 pg_catalog.string_agg(s.payload, E'\\n') AS lines FROM ( \
                 SELECT e.position, e.payload FROM runbook.entry AS e \
                 WHERE e.position >= g.start AND e.position < LEAST(g.start + {CHUNK}, {to}) ORDER BY e.position) AS s) AS a \
         WHERE a.count > 0) TO STDOUT (FORMAT binary)"
    );
    let changed = |finding: &Finding| Err(crate::audit::finding::failed(finding));
    let mut expected = from;
    let mut rows = Rows::new(client.copy_out(&copy)?)?;
    while rows.next()? {
        let (first, last, count) =
            (u64::from_be_bytes(rows.array()?), u64::from_be_bytes(rows.array()?), u64::from_be_bytes(rows.array()?));
        let lines = rows.field()?;
        if first != expected {
            return changed(&gap(expected, first));
        }
        if last != first + count - 1 {
            let problem = "an entry after it is missing or appears twice".to_owned();
            return changed(&Finding::Entry { position: first, problem });
        }
        if lines.iter().filter(|byte| **byte == b'\n').count() as u64 != count - 1 {
            let problem = "its payload, or one after it, contains a line break, which canonical JSON does not".to_owned();
            return changed(&Finding::Entry { position: first, problem });
        }
        each(first, lines)?;
        expected = last + 1;
    }
    if expected < to { changed(&Finding::Gap { position: expected, next: to }) } else { Ok(()) }
}

/// Compares the tiles that the server keeps with those that were computed here, level by level. `size` is the whole tree's.
pub fn check_tiles(client: &mut Client, computed: Vec<Tile>, size: u64) -> Result<Option<Finding>> {
    let (mut level, mut tiles) = (0u32, computed);
    while !tiles.is_empty() {
        let known: HashMap<u64, &Tile> = tiles.iter().map(|tile| (tile.index, tile)).collect();
        let width = 256u64.pow(level + 1);
        let bad = |index: u64, why: &str| {
            let problem = format!("the Merkle tree that the server keeps is damaged: tile {index} of level {level} {why}");
            Ok(Some(Finding::Entry { position: index * width, problem }))
        };
        let copy = format!(
            "COPY (SELECT t.index, t.root, t.hashes FROM runbook.tile AS t WHERE t.level = {level} ORDER BY t.index) TO STDOUT (FORMAT binary)"
        );
        let mut rows = Rows::new(client.copy_out(&copy)?)?;
        let mut met = 0;
        while rows.next()? {
            let index = u64::from_be_bytes(rows.array()?);
            let root = rows.field()?.to_vec();
            let digest: Hash = Sha256::digest(rows.field()?).into();
            match known.get(&index) {
                Some(tile) if root != tile.root || digest != tile.digest => return bad(index, "does not match its entries"),
                Some(_) => met += 1,
                None if index >= size / width => return bad(index, "lies beyond the last entry"),
                // Of entries before those that were read.
                None => {}
            }
        }
        drop(rows);
        if met < tiles.len() {
            let first = tiles.iter().map(|tile| tile.index).min().unwrap_or(0);
            return bad(first, "or one after it is missing");
        }
        // Only where the audit has begun at the beginning of a tile of the next level can that be computed.
        let mut above = Vec::new();
        for group in tiles.chunk_by(|a, b| a.index / 256 == b.index / 256) {
            if group.len() == 256 {
                let roots: Vec<Hash> = group.iter().map(|tile| tile.root).collect();
                let digest = Sha256::digest(roots.as_flattened()).into();
                above.push(Tile { index: group[0].index / 256, root: subtree(&roots), digest });
            }
        }
        (level, tiles) = (level + 1, above);
    }
    Ok(None)
}

/// Looks for the entry, among those from `good` to before `bad`, whose leaf hash differs from the one in the server's tree:
/// whoever changed the entry may have forgotten that.
pub fn first_difference(client: &mut Client, good: u64, bad: u64) -> Result<Option<u64>> {
    for index in good / 256..bad.div_ceil(256) {
        let tile = client
            .query_opt("SELECT t.hashes FROM runbook.tile AS t WHERE t.level = 0 AND t.index = $1", &[&signed(index)?])?;
        let Some(tile) = tile else { continue };
        let (hashes, _) = tile.get::<_, &[u8]>(0).as_chunks::<32>();
        let leaves = client.query(
            "SELECT e.position, e.leaf_hash FROM runbook.entry AS e WHERE e.position >= $1 AND e.position < $2 ORDER BY e.position",
            &[&signed(index * 256)?, &signed(index * 256 + 256)?],
        )?;
        for row in &leaves {
            let position = unsigned(row.try_get(0)?)?;
            if hashes.get((position % 256) as usize).map(|hash| &hash[..]) != Some(row.try_get::<_, &[u8]>(1)?) {
                return Ok(Some(position));
            }
        }
    }
    Ok(None)
}

/// Refuses to go on with another ledger than the one that checkpoints are of; says so if it has moved.
pub fn same_ledger<'a>(head: &Head, origins: impl Iterator<Item = &'a str>) -> Result<()> {
    if head.root.is_none() || (head.origin.is_none() && head.size > 0) {
        // A server that can't say where its tree stands has something else to be told of first.
        return Ok(());
    }
    let own = head.origin.as_deref().and_then(Origin::parse);
    let mut told = None;
    for line in origins {
        let theirs = Origin::parse(line);
        let (Some(own), Some(theirs)) =
            (&own, theirs.filter(|theirs| own.as_ref().is_some_and(|own| own.ledger == theirs.ledger)))
        else {
            let hint = format!(
                "This ledger is {}. If it should be the same ledger, its first entry was replaced.",
                head.origin.as_deref().unwrap_or("empty")
            );
            return Err(Error::new(Kind::Check, format!("the checkpoint is of another ledger: {line}"), hint));
        };
        let place = (theirs.system_identifier, theirs.database_oid);
        if place != (own.system_identifier.clone(), own.database_oid) && told.as_ref() != Some(&place) {
            let moved = format!(
                "the ledger has moved: the checkpoint is of system {} database {}, this is system {} database {}",
                place.0, place.1, own.system_identifier, own.database_oid
            );
            output::notice("notice", &moved);
            told = Some(place);
        }
    }
    Ok(())
}

fn gap(expected: u64, found: u64) -> Finding {
    if found < expected {
        Finding::Entry { position: found, problem: "there are two entries".to_owned() }
    } else {
        Finding::Gap { position: expected, next: found }
    }
}

fn hash(bytes: Vec<u8>) -> Result<Hash> {
    bytes.try_into().map_err(|_| odd("the server returned an invalid hash"))
}

fn unsigned(number: i64) -> Result<u64> {
    u64::try_from(number).map_err(|_| odd("the server returned a negative position"))
}

fn signed(number: u64) -> Result<i64> {
    i64::try_from(number).map_err(|_| Error::new(Kind::Input, format!("{number} is larger than a ledger can be"), ""))
}
