//! Hashing in parallel: one thread reads, all cores hash, one thread puts the tree together.
//!
//! Memory is bounded by the channels: a few blocks per core, whatever the ledger's size.

use crate::error::Result;
use runbook_core::audit::{Auditor, Finding};
use runbook_core::ledger::Beside;
use runbook_core::merkle::{self, Hash, subtree};
use sha2::{Digest, Sha256};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

/// Entries in a block, at most; a multiple of a tile.
const ENTRIES: usize = 4096;
/// Bytes in a block: one more payload may go beyond it.
const BYTES: usize = 4 << 20;
/// Leaves in a tile of the server's tree.
const TILE: u64 = 256;

/// What a server keeps beside a payload.
pub struct Columns {
    /// Id.
    pub entry_id: [u8; 16],
    /// Microseconds since 1970.
    pub recorded_at: i64,
    /// Kind.
    pub kind: String,
    /// What is kept as the leaf hash.
    pub leaf_hash: Vec<u8>,
}

/// Consecutive entries.
#[derive(Default)]
pub struct Block {
    first: u64,
    bytes: Vec<u8>,
    ends: Vec<usize>,
    columns: Vec<Columns>,
}

/// What came of a block.
struct Hashed {
    first: u64,
    pieces: Vec<Piece>,
    tiles: Vec<Tile>,
    problem: Option<(u64, String)>,
}

enum Piece {
    Leaves(Vec<Hash>),
    Tile(Hash),
}

/// A whole tile, as computed here.
#[derive(Clone, Copy, Debug)]
pub struct Tile {
    /// Its index among the tiles of its level.
    pub index: u64,
    /// The root over its hashes.
    pub root: Hash,
    /// SHA-256 of its hashes, one after the other.
    pub digest: Hash,
}

/// Where a reader puts entries.
pub struct Sink<'a> {
    block: Block,
    turn: usize,
    workers: &'a [SyncSender<Block>],
    finding: Option<Finding>,
}

impl Sink<'_> {
    /// Adds an entry, in order.
    pub fn push(&mut self, payload: &[u8], columns: Option<Columns>) {
        self.block.bytes.extend_from_slice(payload);
        self.block.ends.push(self.block.bytes.len());
        self.block.columns.extend(columns);
        let next = self.block.first + self.block.ends.len() as u64;
        let is_full = self.block.ends.len() >= ENTRIES || self.block.bytes.len() >= BYTES;
        if is_full && (next.is_multiple_of(TILE) || self.block.ends.len() >= 2 * ENTRIES) {
            self.flush();
        }
    }

    /// Notes what does not fit already while it is read.
    pub fn note(&mut self, finding: Finding) {
        if self.finding.as_ref().is_none_or(|known| finding.position() < known.position()) {
            self.finding = Some(finding);
        }
    }

    /// How many entries have been pushed, with those before the first.
    pub fn next(&self) -> u64 {
        self.block.first + self.block.ends.len() as u64
    }

    fn flush(&mut self) {
        let next = Block { first: self.next(), ..Block::default() };
        let block = std::mem::replace(&mut self.block, next);
        // A worker that is gone has panicked, which the scope reports.
        let _ = self.workers[self.turn].send(block);
        self.turn = (self.turn + 1) % self.workers.len();
    }
}

/// Reads entries by `read`, hashes them, and has `auditor` judge them; returns it, with the whole tiles that were computed.
pub fn audit(
    auditor: Auditor,
    checkpoints: &[u64],
    read: impl FnOnce(&mut Sink) -> Result<()>,
) -> Result<(Auditor, Vec<Tile>)> {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        let mut inputs = Vec::new();
        let mut outputs = Vec::new();
        for _ in 0..cores {
            let (input, blocks) = sync_channel::<Block>(2);
            let (results, output) = sync_channel(2);
            inputs.push(input);
            outputs.push(output);
            scope.spawn(move || {
                for block in blocks {
                    if results.send(hash(&block, checkpoints)).is_err() {
                        break;
                    }
                }
            });
        }
        let first = auditor.size();
        let collector = scope.spawn(move || collect(auditor, &outputs));
        let mut sink = Sink { block: Block { first, ..Block::default() }, turn: 0, workers: &inputs, finding: None };
        let outcome = read(&mut sink);
        sink.flush();
        let finding = sink.finding.take();
        drop(inputs);
        let (mut auditor, tiles) = collector.join().expect("putting hashes together does not panic");
        outcome?;
        if let Some(finding) = finding {
            auditor.note(finding);
        }
        Ok((auditor, tiles))
    })
}

fn collect(mut auditor: Auditor, outputs: &[Receiver<Hashed>]) -> (Auditor, Vec<Tile>) {
    let mut tiles = Vec::new();
    // In turn, as they were handed out: the first worker without a block has had the last one.
    for output in outputs.iter().cycle() {
        let Ok(hashed) = output.recv() else { break };
        debug_assert_eq!(hashed.first, auditor.size());
        if let Some((position, problem)) = hashed.problem {
            auditor.note(Finding::Entry { position, problem });
        }
        for piece in hashed.pieces {
            match piece {
                Piece::Leaves(leaves) => leaves.into_iter().for_each(|leaf| auditor.push(leaf)),
                Piece::Tile(root) => auditor.push_subtree(8, root),
            }
        }
        tiles.extend(hashed.tiles);
    }
    (auditor, tiles)
}

fn hash(block: &Block, checkpoints: &[u64]) -> Hashed {
    let mut start = 0;
    let mut problem = None;
    let mut leaves: Vec<Hash> = Vec::with_capacity(block.ends.len());
    for (at, end) in block.ends.iter().enumerate() {
        let payload = &block.bytes[start..*end];
        let leaf = merkle::leaf(payload);
        if problem.is_none()
            && let Some(columns) = block.columns.get(at)
        {
            let id = uuid::Uuid::from_bytes(columns.entry_id).to_string();
            let beside =
                Beside { entry_id: &id, recorded_at: columns.recorded_at, kind: &columns.kind, leaf_hash: &columns.leaf_hash };
            problem = beside.problem(payload, &leaf).map(|problem| (block.first + at as u64, problem.to_owned()));
        }
        leaves.push(leaf);
        start = *end;
    }
    let mut hashed = Hashed { first: block.first, pieces: Vec::new(), tiles: Vec::new(), problem };
    let mut rest = &leaves[..];
    let mut position = block.first;
    while !rest.is_empty() {
        let count = rest.len().min((TILE - position % TILE) as usize);
        let (these, others) = rest.split_at(count);
        let end = position + count as u64;
        let is_whole = count as u64 == TILE;
        if is_whole {
            let root = subtree(these);
            hashed.tiles.push(Tile { index: position / TILE, root, digest: Sha256::digest(these.as_flattened()).into() });
        }
        let is_cut = checkpoints.iter().any(|size| (position + 1..end).contains(size));
        hashed.pieces.push(match hashed.tiles.last() {
            Some(tile) if is_whole && !is_cut => Piece::Tile(tile.root),
            _ => Piece::Leaves(these.to_vec()),
        });
        (rest, position) = (others, end);
    }
    hashed
}

#[cfg(test)]
mod tests {
    use super::*;
    use runbook_core::checkpoint::Checkpoint;
    use runbook_core::merkle::{Frontier, root};

    #[test]
    fn blocks_and_tiles_give_the_tree_of_the_leaves() {
        let payloads: Vec<Vec<u8>> = (0..20_011u32).map(|number| number.to_string().into_bytes()).collect();
        let leaves: Vec<Hash> = payloads.iter().map(|payload| merkle::leaf(payload)).collect();
        for start in [0usize, 100, 256, 5_000] {
            let checkpoint =
                |size: u64| Checkpoint { origin: "o".into(), size, root: root(size, &leaves[..size as usize]).unwrap() };
            let checkpoints = [checkpoint(5_000), checkpoint(5_120), checkpoint(19_999)];
            let sizes: Vec<u64> = checkpoints.iter().map(|checkpoint| checkpoint.size).collect();
            let auditor = Auditor::new(Frontier::read(start as u64, &leaves[..]).unwrap(), &checkpoints).unwrap();
            let read = |sink: &mut Sink| {
                payloads[start..].iter().for_each(|payload| sink.push(payload, None));
                Ok(())
            };
            let (auditor, tiles) = audit(auditor, &sizes, read).unwrap();
            assert_eq!((auditor.size(), auditor.root()), (20_011, root(20_011, &leaves[..]).unwrap()));
            assert_eq!(tiles.len(), 20_011 / 256 - start.div_ceil(256));
            assert_eq!(tiles[0].root, subtree(&leaves[tiles[0].index as usize * 256..][..256]));
            assert_eq!(auditor.finish(), None);
        }
    }
}
