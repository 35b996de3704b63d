//! Proofs from anybody about a tree that we know: what is accepted is true.
#![no_main]

use libfuzzer_sys::fuzz_target;
use runbook_core::merkle::{self, Hash};
use std::sync::OnceLock;

/// Leaves of the known tree.
const SIZE: u64 = 600;

fn leaves() -> &'static [Hash] {
    static LEAVES: OnceLock<Vec<Hash>> = OnceLock::new();
    LEAVES.get_or_init(|| (0..SIZE).map(|number| merkle::leaf(&number.to_be_bytes())).collect())
}

/// Takes numbers out of the input; 0 when it is used up.
struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn number(&mut self) -> u64 {
        let (taken, rest) = self.0.split_at(self.0.len().min(2));
        self.0 = rest;
        taken.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
    }
}

/// Changes an honest proof as the input says: hashes of the tree and of nowhere, more, fewer, exchanged, with a bit flipped.
fn change(proof: &mut Vec<Hash>, input: &mut Input) {
    for _ in 0..input.number() % 6 {
        let at = input.number() as usize % (proof.len() + 1);
        match input.number() % 6 {
            0 if at < proof.len() => {
                proof.remove(at);
            }
            1 => proof.insert(at, leaves()[(input.number() % SIZE) as usize]),
            2 if at < proof.len() => proof[at][(input.number() % 32) as usize] ^= 1 << (input.number() % 8),
            3 if at + 1 < proof.len() => proof.swap(at, at + 1),
            4 if at < proof.len() => {
                let level = input.number() % 9;
                let index = input.number() % (SIZE >> level);
                let start = (index << level) as usize;
                proof[at] = merkle::subtree(&leaves()[start..start + (1 << level)]);
            }
            _ => proof.insert(at, [input.number() as u8; 32]),
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let size = 1 + input.number() % SIZE;
    let tree = &leaves()[..size as usize];
    let Ok(root) = merkle::root(size, tree);

    let honest = input.number() % size;
    let Ok(mut proof) = merkle::inclusion_proof(honest, size, tree);
    change(&mut proof, &mut input);
    let (leaf, position) = (input.number() % SIZE, input.number() % (size + 3));
    if merkle::check_inclusion(leaves()[leaf as usize], position, size, &proof, &root).is_ok() {
        assert_eq!(leaf, position, "leaf {leaf} is not at position {position}");
    }

    let honest = input.number() % (size + 1);
    let Ok(mut proof) = merkle::consistency_proof(honest, size, tree);
    change(&mut proof, &mut input);
    // The root of a tree that is the beginning of ours, said to be of some size.
    let (really, claimed) = (input.number() % (size + 1), input.number() % (size + 3));
    let Ok(old_root) = merkle::root(really, &leaves()[..really as usize]);
    if merkle::check_consistency((claimed, &old_root), (size, &root), &proof).is_ok() {
        let Ok(true_root) = merkle::root(claimed.min(SIZE), &leaves()[..claimed.min(SIZE) as usize]);
        assert_eq!(true_root, old_root, "the tree of {claimed} has not that root");
    }
});
