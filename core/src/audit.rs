//! An auditor's checks: entries in order against saved checkpoints, and the findings where they do not match.
//!
//! Nothing here knows where entries come from (a server, an export) or who signed the checkpoints. Invariant: an auditor that ends
//! without a finding has computed every hash itself.

use crate::checkpoint::{Checkpoint, Origin};
use crate::merkle::{Frontier, Hash};
use std::fmt;

/// What does not fit. Positions count from 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// An entry by itself is wrong: its payload does not match its hash, or what is kept beside it does not match the payload.
    Entry {
        /// Where.
        position: u64,
        /// What, in words.
        problem: String,
    },
    /// Entries are missing before one that is there.
    Gap {
        /// The first that is missing.
        position: u64,
        /// The one that is there.
        next: u64,
    },
    /// The ledger ends before a checkpoint does.
    Short {
        /// Entries that there are.
        size: u64,
        /// Entries that there were.
        checkpoint: u64,
    },
    /// The tree over the first entries has another root than the checkpoint: one of them was changed, exchanged or removed.
    Root {
        /// The largest size at which all was well: the first bad position is there or behind.
        good: u64,
        /// The checkpoint's size: the first bad position is before it.
        checkpoint: u64,
    },
    /// Two checkpoints say different things of one ledger.
    Fork {
        /// At this size, or between these sizes.
        checkpoint: u64,
        /// In words.
        problem: String,
    },
}

impl Finding {
    /// The first position that may be bad.
    pub fn position(&self) -> u64 {
        match self {
            Self::Entry { position, .. } | Self::Gap { position, .. } => *position,
            Self::Short { size, .. } => *size,
            Self::Root { good, .. } => *good,
            Self::Fork { checkpoint, .. } => *checkpoint,
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Entry { position, problem } => write!(out, "position {position}: {problem}"),
            Self::Gap { position, next } if position + 1 == *next => write!(out, "position {position}: the entry is missing"),
            Self::Gap { position, next } => write!(out, "positions {position} to {}: the entries are missing", next - 1),
            Self::Short { size, checkpoint } => write!(
                out,
                "position {size}: the ledger ends here, but a checkpoint covers {checkpoint} entries: {} are missing",
                checkpoint - size
            ),
            Self::Root { good, checkpoint } => write!(
                out,
                "positions {good} to {}: these entries are not the ones that the checkpoint of {checkpoint} entries covers",
                checkpoint - 1
            ),
            Self::Fork { checkpoint, problem } => write!(out, "checkpoint of {checkpoint} entries: {problem}"),
        }
    }
}

/// Reads a ledger from one end to the other.
#[derive(Debug)]
pub struct Auditor {
    frontier: Frontier,
    checkpoints: Vec<Checkpoint>,
    next: usize,
    good: u64,
    first: Option<Finding>,
}

impl Auditor {
    /// Starts at the end of `frontier`, whose root is believed. Checkpoints of smaller trees are not looked at.
    ///
    /// # Errors
    /// Checkpoints that can't all be true.
    pub fn new(frontier: Frontier, checkpoints: &[Checkpoint]) -> Result<Self, Finding> {
        let mut checkpoints: Vec<Checkpoint> =
            checkpoints.iter().filter(|checkpoint| checkpoint.size >= frontier.size()).cloned().collect();
        checkpoints.sort_by_key(|checkpoint| checkpoint.size);
        for pair in checkpoints.windows(2) {
            if pair[0].size == pair[1].size && pair[0].root != pair[1].root {
                let problem = "two checkpoints of this size have different roots".to_owned();
                return Err(Finding::Fork { checkpoint: pair[0].size, problem });
            }
        }
        let good = frontier.size();
        let mut auditor = Self { frontier, checkpoints, next: 0, good, first: None };
        auditor.compare();
        Ok(auditor)
    }

    /// How many entries have been read.
    pub fn size(&self) -> u64 {
        self.frontier.size()
    }

    /// Root over what has been read.
    pub fn root(&self) -> Hash {
        self.frontier.root()
    }

    /// The size of the next checkpoint that has not been reached.
    pub fn next_checkpoint(&self) -> Option<u64> {
        self.checkpoints.get(self.next).map(|checkpoint| checkpoint.size)
    }

    /// Notes something that was found out about an entry; the first one counts.
    pub fn note(&mut self, finding: Finding) {
        if self.first.as_ref().is_none_or(|first| finding.position() < first.position()) {
            self.first = Some(finding);
        }
    }

    /// Reads an entry, by its leaf hash.
    pub fn push(&mut self, leaf: Hash) {
        self.frontier.push(leaf);
        self.compare();
    }

    /// Reads 2^`level` entries at once, by the root over them. No checkpoint may end among them, and the size be a multiple.
    pub fn push_subtree(&mut self, level: u32, root: Hash) {
        self.frontier.push_subtree(level, root);
        self.compare();
    }

    fn compare(&mut self) {
        while let Some(checkpoint) =
            self.checkpoints.get(self.next).filter(|checkpoint| checkpoint.size <= self.frontier.size())
        {
            if self.first.is_none() {
                if checkpoint.root == self.frontier.root() {
                    self.good = checkpoint.size;
                } else {
                    self.first = Some(Finding::Root { good: self.good, checkpoint: checkpoint.size });
                }
            }
            self.next += 1;
        }
    }

    /// What was found first so far.
    pub fn first(&self) -> Option<&Finding> {
        self.first.as_ref()
    }

    /// Says that there is no more to read.
    pub fn end(&mut self) {
        let size = self.frontier.size();
        if let Some(last) = self.checkpoints.last().filter(|last| last.size > size) {
            let short = Finding::Short { size, checkpoint: last.size };
            self.note(short);
        }
    }

    /// What was found first, once everything has been read.
    pub fn finish(mut self) -> Option<Finding> {
        self.end();
        self.first
    }
}

/// An opening of an epoch, as its entry says: history was rolled back on purpose, and goes on from here. It is a claim of whoever
/// runs the server; an auditor accepts it, or not, by naming both numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opening {
    /// The new epoch.
    pub epoch: u32,
    /// How many entries there were: those before stay, what was behind is gone.
    pub size: u64,
}

impl std::str::FromStr for Opening {
    type Err = &'static str;

    /// Reads `EPOCH:POSITION`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (epoch, size) = text.split_once(':').ok_or("write EPOCH:POSITION, such as 2:1300")?;
        let epoch = epoch.parse().map_err(|_| "the epoch is not a number")?;
        let size = size.parse().map_err(|_| "the position is not a number")?;
        Ok(Self { epoch, size })
    }
}

impl fmt::Display for Opening {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        write!(out, "{}:{}", self.epoch, self.size)
    }
}

/// Whether a checkpoint covers entries that an epoch gave up: those checkpoints can't be met any more.
pub fn abandoned_by(checkpoint: &Checkpoint, openings: &[Opening]) -> Option<Opening> {
    let epoch = Origin::parse(&checkpoint.origin).map_or(1, |origin| origin.epoch);
    openings.iter().copied().find(|opening| opening.epoch > epoch && checkpoint.size > opening.size)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::merkle::{leaf, root};

    fn leaves(count: u64) -> Vec<Hash> {
        (0..count).map(|number| leaf(&number.to_be_bytes())).collect()
    }

    fn checkpoint(size: u64, all: &[Hash]) -> Checkpoint {
        Checkpoint {
            origin: "pg_runbook/7/5/0198c0de-0000-7000-8000-000000000000/1".into(),
            size,
            root: root(size, &all[..size as usize]).unwrap(),
        }
    }

    fn audit(entries: &[Hash], checkpoints: &[Checkpoint]) -> Option<Finding> {
        let mut auditor = Auditor::new(Frontier::default(), checkpoints).unwrap();
        entries.iter().for_each(|leaf| auditor.push(*leaf));
        auditor.finish()
    }

    #[test]
    fn what_is_as_it_was_is_found_good() {
        let all = leaves(100);
        assert_eq!(
            audit(&all, &[checkpoint(0, &all), checkpoint(64, &all), checkpoint(99, &all), checkpoint(100, &all)]),
            None
        );
    }

    #[test]
    fn a_change_is_between_the_last_good_checkpoint_and_the_first_bad_one() {
        let all = leaves(100);
        let checkpoints = [checkpoint(90, &all), checkpoint(40, &all), checkpoint(70, &all)];
        let mut changed = all.clone();
        changed[55] = leaf(b"other");
        assert_eq!(audit(&changed, &checkpoints), Some(Finding::Root { good: 40, checkpoint: 70 }));
        changed.swap(3, 4);
        assert_eq!(audit(&changed, &checkpoints), Some(Finding::Root { good: 0, checkpoint: 40 }));
        assert_eq!(audit(&all[..60], &checkpoints), Some(Finding::Short { size: 60, checkpoint: 90 }));
    }

    #[test]
    fn two_checkpoints_of_one_size_are_a_fork() {
        let (all, other) = (leaves(9), leaves(10)[1..].to_vec());
        let found = Auditor::new(Frontier::default(), &[checkpoint(9, &all), checkpoint(9, &other)]).unwrap_err();
        assert_eq!(found.position(), 9);
    }

    #[test]
    fn an_audit_can_start_where_the_last_one_ended() {
        let all = leaves(1000);
        let edge = Frontier::read(700, &all[..]).unwrap();
        let mut auditor = Auditor::new(edge, &[checkpoint(100, &all), checkpoint(700, &all), checkpoint(900, &all)]).unwrap();
        all[700..].iter().for_each(|leaf| auditor.push(*leaf));
        assert_eq!(auditor.finish(), None);
    }

    #[test]
    fn an_epoch_gives_up_what_was_behind_its_opening_and_nothing_else() {
        let all = leaves(20);
        let openings = [Opening { epoch: 2, size: 12 }];
        assert_eq!(abandoned_by(&checkpoint(12, &all), &openings), None);
        assert_eq!(abandoned_by(&checkpoint(13, &all), &openings), Some(openings[0]));
        let later =
            Checkpoint { origin: "pg_runbook/7/5/0198c0de-0000-7000-8000-000000000000/2".into(), ..checkpoint(13, &all) };
        assert_eq!(abandoned_by(&later, &openings), None);
    }
}
