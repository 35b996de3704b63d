//! The Merkle tree over leaf hashes, and proofs about it (RFC 6962, section 2.1; the verifiers follow RFC 9162, section 2.1).
//!
//! A tree of `n` leaves is a row of complete subtrees, whose sizes are the powers of two in `n`, largest first. Nothing here knows
//! where hashes are kept: [`Nodes`] gives the root of any complete subtree. Positions and sizes are counts of leaves, from 0.

use sha2::{Digest, Sha256};
use std::convert::Infallible;
use std::fmt;

/// A SHA-256 hash.
pub type Hash = [u8; 32];

/// SHA-256(0x00 ‖ payload): the hash of a leaf.
pub fn leaf(payload: &[u8]) -> Hash {
    Sha256::new().chain_update([0u8]).chain_update(payload).finalize().into()
}

/// SHA-256(0x01 ‖ left ‖ right): the hash of an inner node.
pub fn node(left: &Hash, right: &Hash) -> Hash {
    let mut bytes = [1u8; 65];
    bytes[1..33].copy_from_slice(left);
    bytes[33..].copy_from_slice(right);
    Sha256::digest(bytes).into()
}

/// The root of the tree without leaves: SHA-256 of nothing.
pub fn empty() -> Hash {
    Sha256::digest([]).into()
}

/// Where the roots of complete subtrees come from.
pub trait Nodes {
    /// Why a hash can't be had.
    type Error;
    /// The root of the subtree of 2^`level` leaves that starts at leaf `index` · 2^`level`.
    ///
    /// # Errors
    /// Whatever keeps the hashes can't give this one.
    fn node(&self, level: u32, index: u64) -> Result<Hash, Self::Error>;
}

impl Nodes for [Hash] {
    type Error = Infallible;
    fn node(&self, level: u32, index: u64) -> Result<Hash, Infallible> {
        let size = 1usize << level;
        let start = usize::try_from(index).expect("a slice has no more leaves than memory") * size;
        Ok(subtree(&self[start..start + size]))
    }
}

/// The root of a complete subtree, given its leaves, or its nodes of any one level; a power of two of them, at least one.
pub fn subtree(hashes: &[Hash]) -> Hash {
    debug_assert!(hashes.len().is_power_of_two());
    let mut row = hashes.to_vec();
    while row.len() > 1 {
        row = row.chunks_exact(2).map(|pair| node(&pair[0], &pair[1])).collect();
    }
    row[0]
}

/// The right edge of a growing tree: the roots of its complete subtrees, largest first. A few hundred bytes for any size.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frontier {
    size: u64,
    roots: Vec<Hash>,
}

impl Frontier {
    /// The edge of the tree of `size` leaves.
    ///
    /// # Errors
    /// Those of `nodes`.
    pub fn read<N: Nodes + ?Sized>(size: u64, nodes: &N) -> Result<Self, N::Error> {
        let roots = complete(0, size).map(|(level, index)| nodes.node(level, index)).collect::<Result<_, _>>()?;
        Ok(Self { size, roots })
    }

    /// How many leaves there are.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The roots of the complete subtrees, largest first.
    pub fn roots(&self) -> &[Hash] {
        &self.roots
    }

    /// The edge that these roots make; `None` if a tree of `size` leaves has another number of them.
    pub fn from_roots(size: u64, roots: Vec<Hash>) -> Option<Self> {
        (roots.len() == size.count_ones() as usize).then_some(Self { size, roots })
    }

    /// Adds a leaf.
    pub fn push(&mut self, leaf: Hash) {
        self.push_subtree(0, leaf);
    }

    /// Adds a complete subtree of 2^`level` leaves; the size must be a multiple of that.
    pub fn push_subtree(&mut self, level: u32, root: Hash) {
        debug_assert!(self.size.is_multiple_of(1 << level));
        let mut root = root;
        let mut above = self.size >> level;
        while above & 1 == 1 {
            let left = self.roots.pop().expect("an odd number of subtrees has a last one");
            root = node(&left, &root);
            above >>= 1;
        }
        self.roots.push(root);
        self.size += 1 << level;
    }

    /// The tree's root.
    pub fn root(&self) -> Hash {
        let mut roots = self.roots.iter().rev().copied();
        let Some(last) = roots.next() else { return empty() };
        roots.fold(last, |right, left| node(&left, &right))
    }
}

/// The complete subtrees that make up the leaves from `start` to `end`, from left to right, as (level, index). `start` must be where
/// a tree of `end` leaves, or a part of it that RFC 6962 splits off, begins.
fn complete(start: u64, end: u64) -> impl Iterator<Item = (u32, u64)> {
    let mut at = start;
    std::iter::from_fn(move || {
        let rest = end.checked_sub(at).filter(|rest| *rest > 0)?;
        let level = rest.ilog2();
        let found = (level, at >> level);
        at += 1 << level;
        Some(found)
    })
}

/// The root over the leaves from `start` to `end`, of which there is at least one.
fn range<N: Nodes + ?Sized>(start: u64, end: u64, nodes: &N) -> Result<Hash, N::Error> {
    let roots = complete(start, end).map(|(level, index)| nodes.node(level, index)).collect::<Result<Vec<_>, _>>()?;
    let mut roots = roots.into_iter().rev();
    let last = roots.next().expect("a range that is split off is not empty");
    Ok(roots.fold(last, |right, left| node(&left, &right)))
}

/// The root of the tree of `size` leaves.
///
/// # Errors
/// Those of `nodes`.
pub fn root<N: Nodes + ?Sized>(size: u64, nodes: &N) -> Result<Hash, N::Error> {
    if size == 0 { Ok(empty()) } else { range(0, size, nodes) }
}

/// The largest power of two that is smaller than `size`, which is at least 2: where a tree splits.
fn split(size: u64) -> u64 {
    1 << (size - 1).ilog2()
}

/// The hashes beside the path from leaf `position` to the root of the tree of `size` leaves, from the leaf upwards. Empty if
/// there is no such leaf.
///
/// # Errors
/// Those of `nodes`.
pub fn inclusion_proof<N: Nodes + ?Sized>(position: u64, size: u64, nodes: &N) -> Result<Vec<Hash>, N::Error> {
    let mut proof = Vec::new();
    let (mut start, mut end) = (0, size);
    if position >= size {
        return Ok(proof);
    }
    while end - start > 1 {
        let middle = start + split(end - start);
        if position < middle {
            proof.push(range(middle, end, nodes)?);
            end = middle;
        } else {
            proof.push(range(start, middle, nodes)?);
            start = middle;
        }
    }
    proof.reverse();
    Ok(proof)
}

/// What shows that the tree of `old` leaves is the beginning of the tree of `new` leaves. Empty unless 0 < old < new.
///
/// # Errors
/// Those of `nodes`.
pub fn consistency_proof<N: Nodes + ?Sized>(old: u64, new: u64, nodes: &N) -> Result<Vec<Hash>, N::Error> {
    let mut proof = Vec::new();
    if old == 0 || old >= new {
        return Ok(proof);
    }
    let (mut start, mut end) = (0, new);
    // SUBPROOF of RFC 6962: down to where the old tree ends; the old tree itself need not be proved if it is a whole subtree.
    while old != end {
        let middle = start + split(end - start);
        if old <= middle {
            proof.push(range(middle, end, nodes)?);
            end = middle;
        } else {
            proof.push(range(start, middle, nodes)?);
            start = middle;
        }
    }
    if start > 0 {
        proof.push(range(start, end, nodes)?);
    }
    proof.reverse();
    Ok(proof)
}

/// Why a proof proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refuted {
    /// There is no such position, or no tree of such sizes.
    OutOfRange,
    /// The proof has more or fewer hashes than the sizes ask for.
    WrongLength,
    /// The hashes lead to another root than the one they should.
    WrongRoot,
}

impl fmt::Display for Refuted {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        out.write_str(match self {
            Self::OutOfRange => "the tree has no such position or size",
            Self::WrongLength => "the proof has the wrong number of hashes",
            Self::WrongRoot => "the proof leads to a different root",
        })
    }
}

/// Checks that `leaf` is at `position` of the tree of `size` leaves with this root (RFC 9162, section 2.1.3.2).
///
/// # Errors
/// Why it is not shown.
pub fn check_inclusion(leaf: Hash, position: u64, size: u64, proof: &[Hash], root: &Hash) -> Result<(), Refuted> {
    if position >= size {
        return Err(Refuted::OutOfRange);
    }
    let (mut at, mut last) = (position, size - 1);
    let mut hash = leaf;
    for step in proof {
        if last == 0 {
            return Err(Refuted::WrongLength);
        }
        if at & 1 == 1 || at == last {
            hash = node(step, &hash);
            while at & 1 == 0 && at != 0 {
                at >>= 1;
                last >>= 1;
            }
        } else {
            hash = node(&hash, step);
        }
        at >>= 1;
        last >>= 1;
    }
    match (last == 0, hash == *root) {
        (false, _) => Err(Refuted::WrongLength),
        (true, false) => Err(Refuted::WrongRoot),
        (true, true) => Ok(()),
    }
}

/// Checks that the tree of `old` leaves is the beginning of the tree of `new` leaves (RFC 9162, section 2.1.4.2).
///
/// # Errors
/// Why it is not shown.
pub fn check_consistency(old: (u64, &Hash), new: (u64, &Hash), proof: &[Hash]) -> Result<(), Refuted> {
    let ((old, old_root), (new, new_root)) = (old, new);
    if old > new {
        return Err(Refuted::OutOfRange);
    }
    if old == new || old == 0 {
        let beginning = if old == 0 { empty() } else { *new_root };
        return match (proof.is_empty(), beginning == *old_root && (new > 0 || *new_root == empty())) {
            (false, _) => Err(Refuted::WrongLength),
            (true, same) => {
                if same {
                    Ok(())
                } else {
                    Err(Refuted::WrongRoot)
                }
            }
        };
    }
    let (first, rest) = if old.is_power_of_two() {
        (*old_root, proof)
    } else {
        let (first, rest) = proof.split_first().ok_or(Refuted::WrongLength)?;
        (*first, rest)
    };
    let (mut at, mut last) = (old - 1, new - 1);
    while at & 1 == 1 {
        at >>= 1;
        last >>= 1;
    }
    let (mut old_hash, mut new_hash) = (first, first);
    for step in rest {
        if last == 0 {
            return Err(Refuted::WrongLength);
        }
        if at & 1 == 1 || at == last {
            old_hash = node(step, &old_hash);
            new_hash = node(step, &new_hash);
            while at & 1 == 0 && at != 0 {
                at >>= 1;
                last >>= 1;
            }
        } else {
            new_hash = node(&new_hash, step);
        }
        at >>= 1;
        last >>= 1;
    }
    match (last == 0, old_hash == *old_root && new_hash == *new_root) {
        (false, _) => Err(Refuted::WrongLength),
        (true, false) => Err(Refuted::WrongRoot),
        (true, true) => Ok(()),
    }
}

#[cfg(test)]
mod tests;
