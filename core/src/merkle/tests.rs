use super::*;
use proptest::prelude::*;

/// The leaves that the implementations of Certificate Transparency test with, and the roots of the first 1 to 8 of them.
const LEAVES: [&str; 8] = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"];
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
