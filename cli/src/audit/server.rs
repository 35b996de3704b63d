//! A server's ledger, read in one snapshot. Nothing that the server says of it is believed without a hash.

use crate::audit::blocks::{Columns, Sink, Tile};
use crate::context::Context;
use crate::error::{Error, Kind, Result};
use postgres::Client;
use runbook_core::audit::{Finding, Opening};
use runbook_core::checkpoint::Origin;
use runbook_core::merkle::{Frontier, Hash, subtree};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::io::Read;

/// Where the tree stands, as the server says.
#[derive(Clone, Debug)]
pub struct Head {
    /// The origin line; `None` while nothing is sealed.
    pub origin: Option<String>,
    /// Number of sealed entries.
    pub size: u64,
    /// Root over them.
    pub root: Hash,
    /// Entries that wait to be sealed.
    pub unsealed: i64,
    /// When the oldest of them was recorded, as text.
    pub oldest_unsealed: Option<String>,
}

/// Opens a connection and seals what is committed, where the server can. A standby is read as it is.
pub fn connect(context: &Context) -> Result<Client> {
    let mut client = context.connect()?;
    let standby: bool = client.query_one("SELECT pg_catalog.pg_is_in_recovery()", &[])?.get(0);
    if !standby {
        client.batch_execute("CALL runbook.seal()")?;
    }
    Ok(client)
}

/// Everything is read in one snapshot from now on.
pub fn begin(client: &mut Client) -> Result<()> {
    Ok(client.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")?)
}

/// Where the tree stands.
pub fn head(client: &mut Client) -> Result<Head> {
    let row = client
        .query_one("SELECT h.origin, h.size, h.root, h.unsealed, h.oldest_unsealed::text FROM runbook.tree_head() AS h", &[])?;
    Ok(Head {
        origin: row.get(0),
        size: unsigned(row.get(1))?,
        root: hash(row.get(2))?,
        unsealed: row.get(3),
        oldest_unsealed: row.get(4),
    })
}

/// The first position that has not been archived.
pub fn first_position(client: &mut Client) -> Result<u64> {
    let row = client.query_opt("SELECT e.position FROM runbook.entry AS e ORDER BY e.position LIMIT 1", &[])?;
    row.map_or(Ok(0), |row| unsigned(row.get(0)))
}

/// The right edge of the tree of `size` entries, as the server says.
pub fn frontier(client: &mut Client, size: u64) -> Result<Frontier> {
    let row = client.query_one("SELECT runbook.tree_frontier($1)", &[&signed(size)?])?;
    let roots = row.get::<_, Vec<Vec<u8>>>(0).into_iter().map(hash).collect::<Result<Vec<_>>>()?;
    Frontier::from_roots(size, roots).ok_or_else(|| odd("the server gave another number of subtrees than the size has"))
}

/// Hashes beside the path from an entry to the root of the tree of `size` entries.
pub fn inclusion_proof(client: &mut Client, position: u64, size: u64) -> Result<Vec<Hash>> {
    let row = client.query_one("SELECT runbook.inclusion_proof($1, $2)", &[&signed(position)?, &signed(size)?])?;
    row.get::<_, Vec<Vec<u8>>>(0).into_iter().map(hash).collect()
}

/// What shows that one tree is the beginning of another.
pub fn consistency_proof(client: &mut Client, old: u64, new: u64) -> Result<Vec<Hash>> {
    let row = client.query_one("SELECT runbook.consistency_proof($1, $2)", &[&signed(old)?, &signed(new)?])?;
    row.get::<_, Vec<Vec<u8>>>(0).into_iter().map(hash).collect()
}

/// The openings of epochs, oldest first.
pub fn openings(client: &mut Client) -> Result<Vec<Opening>> {
    let rows = client.query(
        "SELECT (e.payload::jsonb ->> 'epoch')::int4, (e.payload::jsonb ->> 'size')::int8 FROM runbook.entry AS e \
         WHERE runbook.ledger_terms(e.payload) @> ARRAY['kind:epoch.opened'] ORDER BY e.position",
        &[],
    )?;
    rows.iter().map(|row| Ok(Opening { epoch: row.get::<_, i32>(0).unsigned_abs(), size: unsigned(row.get(1))? })).collect()
}

/// Reads entries from a position on.
pub fn entries(client: &mut Client, from: u64, sink: &mut Sink) -> Result<()> {
    let copy = format!(
        "COPY (SELECT e.position, e.epoch, e.entry_id, e.recorded_at, e.kind, e.leaf_hash, e.payload FROM runbook.entry AS e \
         WHERE e.position >= {from} ORDER BY e.position) TO STDOUT (FORMAT binary)"
    );
    let mut epoch = None;
    let mut rows = Rows::new(client.copy_out(&copy)?)?;
    while rows.next()? {
        let position = u64::from_be_bytes(rows.array()?);
        if position != sink.next() {
            sink.note(gap(sink.next(), position));
            break;
        }
        let its_epoch = i32::from_be_bytes(rows.array()?);
        let columns = Columns {
            entry_id: rows.array()?,
            recorded_at: i64::from_be_bytes(rows.array()?) + MICROSECONDS_TO_2000,
            kind: String::from_utf8_lossy(rows.field()?).into_owned(),
            leaf_hash: rows.field()?.to_vec(),
        };
        let before = epoch.unwrap_or(if position == 0 { 1 } else { its_epoch });
        let due = before + i32::from(columns.kind == "epoch.opened" && (position == 0 || epoch.is_some()));
        if its_epoch != due {
            sink.note(Finding::Entry { position, problem: format!("column epoch is {its_epoch} and should be {due}") });
        }
        epoch = Some(its_epoch);
        let payload = rows.field()?;
        sink.push(payload, Some(columns));
    }
    Ok(())
}

/// Hands out payloads of positions from `from` to before `to`.
pub fn payloads(client: &mut Client, from: u64, to: u64, mut each: impl FnMut(u64, &[u8]) -> Result<()>) -> Result<()> {
    let copy = format!(
        "COPY (SELECT e.position, e.payload FROM runbook.entry AS e WHERE e.position >= {from} AND e.position < {to} \
         ORDER BY e.position) TO STDOUT (FORMAT binary)"
    );
    let mut expected = from;
    let mut rows = Rows::new(client.copy_out(&copy)?)?;
    while rows.next()? {
        let position = u64::from_be_bytes(rows.array()?);
        if position != expected {
            return Err(crate::commands::audit::failed(&gap(expected, position)));
        }
        each(position, rows.field()?)?;
        expected += 1;
    }
    Ok(())
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
                Some(tile) if root != tile.root || digest != tile.digest => return bad(index, "is not what its entries give"),
                Some(_) => met += 1,
                None if index >= size / width => return bad(index, "lies beyond the last entry"),
                // Of entries before those that were read.
                None => {}
            }
        }
        drop(rows);
        if met < tiles.len() {
            let first = tiles.iter().map(|tile| tile.index).min().unwrap_or(0);
            return bad(first, "or one behind it is missing");
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
            let position = unsigned(row.get(0))?;
            if hashes.get((position % 256) as usize).map(|hash| &hash[..]) != Some(row.get::<_, &[u8]>(1)) {
                return Ok(Some(position));
            }
        }
    }
    Ok(None)
}

/// Refuses to go on with another ledger than the one that checkpoints are of.
pub fn same_ledger(head: &Head, origin: &str) -> Result<()> {
    let own = head.origin.as_deref().and_then(Origin::parse);
    match (own, Origin::parse(origin)) {
        (Some(own), Some(theirs)) if own.ledger == theirs.ledger => {
            if (&own.system_identifier, own.database_oid) != (&theirs.system_identifier, theirs.database_oid) {
                eprintln!(
                    "notice: the ledger has moved: the checkpoint is of system {} database {}, this is system {} database {}",
                    theirs.system_identifier, theirs.database_oid, own.system_identifier, own.database_oid
                );
            }
            Ok(())
        }
        _ => Err(Error::new(
            Kind::Check,
            format!("the checkpoint is of another ledger: {origin}"),
            format!(
                "This one is {}. If it should be the same, its first entry was exchanged.",
                head.origin.as_deref().unwrap_or("empty")
            ),
        )),
    }
}

/// From 1970, where we count from, to 2000, where PostgreSQL does.
const MICROSECONDS_TO_2000: i64 = 946_684_800_000_000;

/// Rows of COPY … (FORMAT binary), field by field.
struct Rows<R> {
    reader: R,
    buffer: Vec<u8>,
}

impl<R: Read> Rows<R> {
    fn new(mut reader: R) -> Result<Self> {
        let mut header = [0; 19];
        reader.read_exact(&mut header)?;
        if !header.starts_with(b"PGCOPY\n\xff\r\n\0") {
            return Err(odd("the server's COPY does not begin as one does"));
        }
        Ok(Self { reader, buffer: Vec::new() })
    }

    /// Goes to the next row; false at the end.
    fn next(&mut self) -> Result<bool> {
        let mut count = [0; 2];
        self.reader.read_exact(&mut count)?;
        if i16::from_be_bytes(count) >= 0 {
            return Ok(true);
        }
        std::io::copy(&mut self.reader, &mut std::io::sink())?;
        Ok(false)
    }

    fn field(&mut self) -> Result<&[u8]> {
        let mut length = [0; 4];
        self.reader.read_exact(&mut length)?;
        let length = usize::try_from(i32::from_be_bytes(length)).map_err(|_| odd("a column of the ledger is NULL"))?;
        self.buffer.resize(length, 0);
        self.reader.read_exact(&mut self.buffer)?;
        Ok(&self.buffer)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        self.field()?.try_into().map_err(|_| odd("a column of the ledger has another type than it should"))
    }
}

fn gap(expected: u64, found: u64) -> Finding {
    if found < expected {
        Finding::Entry { position: found, problem: "there are two entries".to_owned() }
    } else {
        Finding::Gap { position: expected, next: found }
    }
}

fn odd(what: &str) -> Error {
    Error::new(Kind::Check, what, "The tables of schema runbook are not as the extension has made them.")
}

fn hash(bytes: Vec<u8>) -> Result<Hash> {
    bytes.try_into().map_err(|_| odd("the server gave a hash that is none"))
}

fn unsigned(number: i64) -> Result<u64> {
    u64::try_from(number).map_err(|_| odd("the server gave a negative position"))
}

fn signed(number: u64) -> Result<i64> {
    i64::try_from(number).map_err(|_| Error::new(Kind::Input, format!("{number} is larger than a ledger can be"), ""))
}
