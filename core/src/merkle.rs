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
            Self::WrongLength => "the proof has a wrong number of hashes",
            Self::WrongRoot => "the proof leads to another root",
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
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The leaves that the implementations of Certificate Transparency test with, and the roots of the first 1 to 8 of them.
    const LEAVES: [&str; 8] =
        ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"];
    const ROOTS: [&str; 8] = [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ];

    fn leaves(count: u64) -> Vec<Hash> {
        (0..count).map(|number| leaf(&number.to_be_bytes())).collect()
    }

    /// MTH of RFC 6962, section 2.1, as it stands there.
    fn by_the_book(leaves: &[Hash]) -> Hash {
        match leaves {
            [] => empty(),
            [one] => *one,
            more => {
                let (left, right) = more.split_at(split(more.len() as u64) as usize);
                node(&by_the_book(left), &by_the_book(right))
            }
        }
    }

    /// PATH and SUBPROOF of the same section.
    fn path(position: usize, leaves: &[Hash]) -> Vec<Hash> {
        if leaves.len() == 1 {
            return Vec::new();
        }
        let (left, right) = leaves.split_at(split(leaves.len() as u64) as usize);
        let (mut proof, beside) = match position.checked_sub(left.len()) {
            None => (path(position, left), by_the_book(right)),
            Some(position) => (path(position, right), by_the_book(left)),
        };
        proof.push(beside);
        proof
    }

    fn subproof(old: usize, leaves: &[Hash], whole: bool) -> Vec<Hash> {
        if old == leaves.len() {
            return if whole { Vec::new() } else { vec![by_the_book(leaves)] };
        }
        let (left, right) = leaves.split_at(split(leaves.len() as u64) as usize);
        let (mut proof, beside) = match old.checked_sub(left.len()).filter(|rest| *rest > 0) {
            None => (subproof(old, left, whole), by_the_book(right)),
            Some(rest) => (subproof(rest, right, false), by_the_book(left)),
        };
        proof.push(beside);
        proof
    }

    #[test]
    fn the_roots_are_those_of_certificate_transparency() {
        let leaves: Vec<Hash> = LEAVES.iter().map(|text| leaf(&hex::decode(text).unwrap())).collect();
        let mut frontier = Frontier::default();
        assert_eq!(hex::encode(frontier.root()), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        for (at, expected) in ROOTS.iter().enumerate() {
            frontier.push(leaves[at]);
            assert_eq!(hex::encode(frontier.root()), *expected);
            assert_eq!(hex::encode(root(at as u64 + 1, &leaves[..]).unwrap()), *expected);
        }
    }

    #[test]
    fn every_proof_of_small_trees_is_that_of_the_rfc_and_holds() {
        let all = leaves(70);
        for size in 0..=70u64 {
            let tree = &all[..size as usize];
            let whole = by_the_book(tree);
            assert_eq!(root(size, tree).unwrap(), whole);
            let edge = Frontier::read(size, tree).unwrap();
            assert_eq!((edge.root(), edge.size()), (whole, size));
            for position in 0..size {
                let proof = inclusion_proof(position, size, tree).unwrap();
                assert_eq!(proof, path(position as usize, tree));
                assert_eq!(check_inclusion(all[position as usize], position, size, &proof, &whole), Ok(()));
            }
            for old in 0..=size {
                let before = by_the_book(&all[..old as usize]);
                let proof = consistency_proof(old, size, tree).unwrap();
                if old > 0 {
                    assert_eq!(proof, subproof(old as usize, tree, true));
                }
                assert_eq!(check_consistency((old, &before), (size, &whole), &proof), Ok(()));
            }
        }
    }

    #[test]
    fn subtrees_can_be_added_whole() {
        let all = leaves(600);
        let mut frontier = Frontier::read(256, &all[..]).unwrap();
        frontier.push_subtree(8, subtree(&all[256..512]));
        all[512..].iter().for_each(|leaf| frontier.push(*leaf));
        assert_eq!(frontier.root(), by_the_book(&all));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]

        /// Whatever is changed in a proof that holds (a position, a size, a hash, their number or order), it holds no more.
        #[test]
        fn no_changed_proof_is_accepted(
            size in 1u64..300, position: u64, old: u64, what in 0u8..8, at: usize, other: u64, bit in 0usize..256,
        ) {
            let all = leaves(size);
            let whole = root(size, &all[..]).unwrap();
            let (position, old) = (position % size, old % (size + 1));
            let flip = |hash: &mut Hash| hash[bit / 8] ^= 1 << (bit % 8);
            let change = |proof: &mut Vec<Hash>, root: &mut Hash, first: &mut u64, size: &mut u64| match what {
                0 if !proof.is_empty() => { let at = at % proof.len(); flip(&mut proof[at]); true }
                1 if !proof.is_empty() => { proof.remove(at % proof.len()); true }
                2 => { proof.insert(at % (proof.len() + 1), leaf(b"more")); true }
                3 if proof.len() > 1 => { let at = at % (proof.len() - 1); proof.swap(at, at + 1); true }
                4 => { flip(root); true }
                5 if *first != other % 400 => { *first = other % 400; true }
                // Past the edge of the tree sizes may differ without the path differing: RFC 9162 relies on the signed size there.
                6 if other % 400 < *first => { *size = other % 400; true }
                7 if !proof.is_empty() => { proof.reverse(); proof.push(leaf(b"more")); true }
                _ => false,
            };

            let (mut proof, mut root, mut first, mut last) =
                (inclusion_proof(position, size, &all[..]).unwrap(), whole, position, size);
            let mut hash = all[position as usize];
            if change(&mut proof, &mut root, &mut first, &mut last) {
                prop_assert!(check_inclusion(hash, first, last, &proof, &root).is_err());
            } else {
                flip(&mut hash);
                prop_assert!(check_inclusion(hash, first, last, &proof, &root).is_err());
            }

            let before = super::root(old, &all[..]).unwrap();
            let (mut proof, mut root, mut first, mut last) =
                (consistency_proof(old, size, &all[..]).unwrap(), whole, old, size);
            // Every tree extends the one without leaves.
            if change(&mut proof, &mut root, &mut first, &mut last) && (first != 0 || what != 4) && old != 0 {
                prop_assert!(check_consistency((first, &before), (last, &root), &proof).is_err());
            }
        }

        /// Nothing that anybody may send makes the verifiers panic.
        #[test]
        fn no_input_makes_a_verifier_panic(first: u64, size: u64, hashes in proptest::collection::vec(any::<[u8; 32]>(), 0..70)) {
            let any = leaf(b"any");
            prop_assert!(check_inclusion(any, first, size, &hashes, &any).is_err() || (size == 1 && hashes.is_empty()));
            let _ = check_consistency((first, &any), (size, &any), &hashes);
        }
    }
}
