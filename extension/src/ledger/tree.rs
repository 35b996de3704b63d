//! The Merkle tree as it is stored, and its head.

use crate::error;
use crate::pg::session::identity;
use crate::store::tree;
use pgrx::pg_sys::panic::ErrorReport;
use runbook_core::checkpoint::Origin;
use runbook_core::merkle::{self, Hash, Nodes, subtree};
use std::cell::RefCell;
use std::collections::HashMap;

/// Hashes of nodes, out of whole tiles and of what is there of the last ones. Reads every tile once.
#[derive(Default)]
pub struct Stored(RefCell<HashMap<(u32, u64), Vec<Hash>>>);

/// Levels of the tree in a tile.
pub const TILE_LEVELS: u32 = 8;
/// Hashes in a whole tile.
pub const TILE: u64 = 1 << TILE_LEVELS;

impl Nodes for Stored {
    type Error = ErrorReport;

    fn node(&self, level: u32, index: u64) -> error::Result<Hash> {
        let (tile_level, within) = (level / TILE_LEVELS, level % TILE_LEVELS);
        let first = index << within;
        let key = (tile_level, first / TILE);
        if !self.0.borrow().contains_key(&key) {
            let hashes = match tree::tile(key.0, key.1)? {
                Some(hashes) => hashes,
                None => tree::partial(key.0, key.1)?,
            };
            self.0.borrow_mut().insert(key, hashes);
        }
        let tiles = self.0.borrow();
        let start = usize::try_from(first % TILE).unwrap_or(0);
        match tiles[&key].get(start..start + (1 << within)) {
            Some(hashes) => Ok(subtree(hashes)),
            None => Err(tree::damaged(format!("the tree has no node {index} at level {level}"))),
        }
    }
}

/// Where the tree stands.
pub struct Head {
    /// Which ledger, where, in which epoch; `None` while nothing is sealed.
    pub origin: Option<Origin>,
    /// The epoch that the next entry belongs to.
    pub epoch: i32,
    /// Number of leaves.
    pub size: u64,
    /// Root over them.
    pub root: Hash,
}

/// The tree's head. What it covers is durable: every sealer commits synchronously, and nobody sees that before it is on disk, so that a
/// crash takes back nothing that anybody has heard of.
pub fn head() -> error::Result<Head> {
    let end = tree::end()?;
    let root = merkle::root(end.size, &Stored::default())?;
    let here = identity::database();
    let origin = tree::ledger_id()?.map(|ledger| Origin {
        system_identifier: here.system_identifier,
        database_oid: here.oid,
        ledger,
        epoch: end.epoch.unsigned_abs(),
    });
    Ok(Head { origin, epoch: end.epoch, size: end.size, root })
}
