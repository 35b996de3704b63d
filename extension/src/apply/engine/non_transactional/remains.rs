//! What is there of the objects of a statement that can't be part of a transaction, and what an interrupted attempt has left.

use super::Piece;
use crate::error::refusal;
use crate::pg::failure::Failure;
use crate::store::pieces::{self, Index};
use runbook_core::command::Name;
use runbook_core::identity::Identity;
use runbook_core::top_level_only::TopLevelOnly;

impl Piece<'_> {
    /// What is there of a statement's objects, and what of it an interrupted attempt has left.
    pub fn look(&self, alone: &TopLevelOnly) -> Result<Found, Failure> {
        let built = pieces::built(&self.step.revision, self.way(), self.number())?;
        let before = self.begun.map(|begun| begun.before.clone());
        let mut found = Found { before: before.clone().unwrap_or_default(), ..Found::default() };
        let interrupted = self.begun.is_some();
        let oid = |name: &Name| match name.identity {
            Identity::Is(found) => Some(found.object),
            _ => None,
        };
        match alone {
            TopLevelOnly::BuildIndex { table, index } => {
                found.already_done = interrupted && built.iter().any(|one| one.valid);
                found.leftovers = built.into_iter().filter(|one| !one.valid).collect();
                if let Some(table) = oid(table) {
                    self.look_beside(table, index, &mut found)?;
                }
            }
            TopLevelOnly::DropIndex { index } => {
                found.before = before.unwrap_or_else(|| oid(index).into_iter().collect());
                found.already_done = interrupted && !found.before.is_empty() && !pieces::any_relation(&found.before)?;
            }
            TopLevelOnly::Reindex { relation } => {
                let mut leftovers = pieces::put_aside(&found.before)?;
                leftovers.extend(built.into_iter().filter(|one| !one.valid));
                found.before = pieces::indexes_of(&oid(relation).into_iter().collect::<Vec<_>>())?;
                // They are known by this alone until they are dropped.
                found.before.extend(leftovers.iter().map(|one| one.oid));
                found.leftovers = leftovers;
            }
            TopLevelOnly::Detach { partition, .. } => {
                found.before = before.unwrap_or_else(|| oid(partition).into_iter().collect());
                if let (true, Some(partition)) = (interrupted, found.before.first()) {
                    match pieces::detaching(*partition)? {
                        None => found.already_done = true,
                        Some((true, partition, table)) => {
                            found.instead = Some(format!("ALTER TABLE {table} DETACH PARTITION {partition} FINALIZE"));
                        }
                        Some((false, ..)) => {}
                    }
                }
            }
            TopLevelOnly::Create { kind, name } => {
                let there = pieces::shared_object(&kind.to_string(), name)?;
                found.already_done = interrupted && there.is_some_and(|oid| !found.before.contains(&oid));
                if !interrupted {
                    found.before = there.into_iter().collect();
                }
            }
            TopLevelOnly::Drop { kind, name } => {
                let there = pieces::shared_object(&kind.to_string(), name)?;
                found.already_done = interrupted && !found.before.is_empty() && there.is_none();
                if !interrupted {
                    found.before = there.into_iter().collect();
                }
            }
            TopLevelOnly::Repeatable | TopLevelOnly::Commits => {}
        }
        Ok(found)
    }

    /// What stands where an index is to be built: an INVALID one that no revision has built stays, and IF NOT EXISTS shall not take it for the
    /// index that is wanted.
    fn look_beside(&self, table: u32, name: &str, found: &mut Found) -> Result<(), Failure> {
        let same = if name.is_empty() { None } else { pieces::index_beside(table, name)? };
        if let Some(same) = same.filter(|same| !same.valid && found.leftovers.iter().all(|ours| ours.oid != same.oid)) {
            if !pieces::is_built_by_us(same.oid)? {
                let detail = "No revision built it. An interrupted build left it behind, or a build is still running.";
                let hint = format!(
                    "If no build is running: DROP INDEX CONCURRENTLY {}; then: SELECT runbook.resume({});",
                    same.name, self.job.job
                );
                let message = format!("index {} exists and is INVALID", same.name);
                return Err(refusal("55000", message, Some(detail.to_owned()), Some(hint)).into());
            }
            found.leftovers.push(same);
        }
        for other in pieces::invalid_indexes(table)? {
            if found.leftovers.iter().all(|ours| ours.oid != other.oid) && !pieces::is_built_by_us(other.oid)? {
                found.foreign.push(other.name);
            }
        }
        Ok(())
    }
}

/// See [`Piece::look`].
#[derive(Default)]
pub struct Found {
    /// Whether an interrupted attempt has done it.
    pub already_done: bool,
    /// What finishes an interrupted statement, where that is another one.
    pub instead: Option<String>,
    /// Objects that it is to replace or remove.
    pub before: Vec<u32>,
    /// What is left of earlier attempts.
    pub leftovers: Vec<Index>,
    /// Invalid indexes of the table that are not ours.
    pub foreign: Vec<String>,
}
