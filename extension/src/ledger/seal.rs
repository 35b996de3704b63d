//! The sealer: gives committed entries their positions, and extends the Merkle tree over them.
//!
//! Invariants: one sealer at a time, under its lock; positions count from 0 without a gap; entries and the tiles over them commit
//! together, so that a crash leaves the tree as it was; no row of `tile` ever changes.

use crate::error;
use crate::ledger::tree::TILE;
use crate::pg::execute::{lock, transaction};
use crate::store::tree;
use runbook_core::merkle::{Hash, subtree};

/// Entries that are sealed in one transaction.
const BATCH: i64 = 10_000;

/// Where the first batch begins.
pub const BEGINNING: &str = "(0,0)";

/// Seals a batch, in a transaction that has taken no snapshot yet, of what stands behind `from` in the table of unsealed entries; where the
/// next one begins, if there may be more. Where another sealer is at work, waits for it.
pub fn batch(from: &str) -> error::Result<Option<String>> {
    lock::wait_for_sealer();
    // Taken under the lock: what the last sealer has committed is in it.
    transaction::with_snapshot(|| {
        let end = tree::end()?;
        let moved = tree::move_batch(end, from, BATCH)?;
        let is_full = i64::try_from(moved.leaves.len()).is_ok_and(|count| count == BATCH);
        grow(end.size, moved.leaves)?;
        Ok(moved.last.filter(|_| is_full))
    })
}

/// Stores the tiles that become whole when a tree of `size` leaves gets more of them.
fn grow(size: u64, leaves: Vec<Hash>) -> error::Result<()> {
    let (mut level, mut nodes, mut new) = (0, size, leaves);
    while !new.is_empty() {
        let first = nodes / TILE;
        let mut row = if nodes.is_multiple_of(TILE) { Vec::new() } else { tree::partial(level, first)? };
        // The entries that have just been moved may be among them.
        row.truncate(usize::try_from(nodes % TILE).unwrap_or(0));
        row.append(&mut new);
        for (index, hashes) in (first..).zip(row.as_chunks::<{ TILE as usize }>().0) {
            let root = subtree(hashes);
            tree::insert_tile(level, index, &root, hashes)?;
            new.push(root);
        }
        (level, nodes) = (level + 1, first);
    }
    Ok(())
}
