//! What the server can say of its own ledger: that it agrees with itself. An auditor's checkpoints say more.

use crate::error;
use crate::ledger::tree::{Stored, TILE};
use crate::store::tree;
use runbook_core::ledger::Sealed;
use runbook_core::merkle::{Hash, Nodes, subtree};

/// What was found.
#[derive(Debug, Default)]
pub struct Report {
    /// Entries that were looked at.
    pub entries: i64,
    /// How many are bad.
    pub bad: i64,
    /// The first of them: position, if it has one, and id.
    pub first: Option<(Option<u64>, String)>,
    /// What is wrong with it.
    pub problem: Option<String>,
}

impl Report {
    fn add(&mut self, position: Option<u64>, entry_id: &str, problem: impl Into<String>) {
        self.bad += 1;
        if self.first.is_none() {
            self.first = Some((position, entry_id.to_owned()));
            self.problem = Some(problem.into());
        }
    }
}

/// Entries that are read at once.
const PAGE: i64 = 5_000;

/// Reads the whole ledger, in pages, and computes every hash again.
pub fn verify() -> error::Result<Report> {
    let mut report = Report::default();
    let mut expected = tree::first_position()?;
    let mut epoch = None;
    let mut leaves: Vec<(u64, Hash)> = Vec::new();
    loop {
        let page = tree::entries(expected, PAGE)?;
        if page.is_empty() {
            break;
        }
        for entry in &page {
            report.entries += 1;
            if entry.position != expected {
                report.add(
                    Some(expected),
                    &entry.entry_id,
                    format!("positions {expected} to {} are missing", entry.position - 1),
                );
            }
            expected = entry.position + 1;
            if let Some(problem) = problem(entry, &mut epoch) {
                report.add(Some(entry.position), &entry.entry_id, problem);
            }
            leaves.push((entry.position, entry.leaf_hash.clone().try_into().unwrap_or_default()));
            if expected.is_multiple_of(TILE) {
                check_leaves(expected / TILE - 1, &leaves, &mut report)?;
                leaves.clear();
            }
        }
    }
    if let Some(last) = tree::last_tile()?
        && last >= expected / TILE
    {
        report.add(
            Some(expected),
            "",
            format!("the Merkle tree continues to position {}, but the entries do not", last * TILE + TILE - 1),
        );
    }
    check_roots(expected, &mut report)?;
    for entry in tree::unsealed_entries()? {
        report.entries += 1;
        if let Some(problem) = entry.problem() {
            report.add(None, &entry.entry_id, problem);
        }
    }
    Ok(report)
}

fn problem(entry: &Sealed, epoch: &mut Option<i32>) -> Option<String> {
    let before = epoch.unwrap_or(entry.epoch);
    let due = if entry.kind == "epoch.opened" && epoch.is_some() { before + 1 } else { before };
    *epoch = Some(entry.epoch);
    if let Some(problem) = entry.problem() {
        return Some(problem.to_owned());
    }
    (entry.epoch != due).then(|| format!("column epoch is {} and should be {due}", entry.epoch))
}

/// Whether leaf hashes are those of their tile.
fn check_leaves(index: u64, leaves: &[(u64, Hash)], report: &mut Report) -> error::Result<()> {
    let Some(tile) = tree::tile(0, index)? else {
        report.add(Some(index * TILE), "", format!("the Merkle tree lacks tile {index}"));
        return Ok(());
    };
    let differs =
        |(position, hash): &&(u64, Hash)| usize::try_from(position - index * TILE).is_ok_and(|at| tile.get(at) != Some(hash));
    if let Some((position, _)) = leaves.iter().find(differs) {
        report.add(Some(*position), "", "the leaf hash differs from the one in the Merkle tree");
    }
    Ok(())
}

/// Whether every whole tile has its root, and that root stands in the tile above.
fn check_roots(size: u64, report: &mut Report) -> error::Result<()> {
    let (mut level, mut tiles) = (0, size / TILE);
    while tiles > 0 {
        for index in 0..tiles {
            let Some(hashes) = tree::tile(level, index)? else {
                report.add(
                    Some(index * TILE.pow(level + 1)),
                    "",
                    format!("the Merkle tree lacks tile {index} of level {level}"),
                );
                continue;
            };
            let above = Stored::default().node((level + 1) * 8, index);
            if above.ok() != Some(subtree(&hashes)) {
                let position = index * TILE.pow(level + 1);
                report.add(
                    Some(position),
                    "",
                    format!("the root of tile {index} of level {level} is not what its hashes give"),
                );
            }
        }
        (level, tiles) = (level + 1, tiles / TILE);
    }
    Ok(())
}
