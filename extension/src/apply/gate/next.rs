//! What stands in the way of a revision that could run next, with the objects and the code that are there now: an approval may have
//! stopped counting since it was given, and who can renew it should hear of it before somebody needs it.

use crate::apply::context::ApplyContext;
use crate::apply::gate::requirements::{Need, need};
use crate::approval::tally::Approvals;
use crate::error;
use crate::guard::classify::classify_all;
use crate::pg::execute::{statements, subtransaction};
use crate::pg::failure::Failure;
use crate::pg::session::pinned::Pinned;
use crate::settings::Settings;
use crate::store::revisions::{self, Stored};
use runbook_core::plan::Direction;
use runbook_core::vocabulary::status::RevisionStatus;

/// What a step needs, and whose approvals count, once its objects are looked up; `known` is what it needs by the names of them alone.
/// Nothing is looked up where no approval is relied upon, or where the revision is not the next one.
pub fn need_now(
    stored: &Stored,
    direction: Direction,
    known: (Option<Need>, Vec<String>),
) -> error::Result<(Option<Need>, Vec<String>)> {
    if known.0.is_some() || known.1.is_empty() || !is_next(stored, direction)? {
        return Ok(known);
    }
    // What can't be looked up is told when it is applied.
    Ok(subtransaction::attempt(|| look(stored, direction)).unwrap_or(known))
}

fn look(stored: &Stored, direction: Direction) -> Result<(Option<Need>, Vec<String>), Failure> {
    let id = stored.revision.revision.as_str();
    let ids = [id.to_owned()];
    let run = ApplyContext::new(direction, Settings::load()?, &ids)?;
    let pinned = Pinned::enter(&run.settings.pinned(), run.settings.migration_role())?;
    let parsed = statements::parse(&run.text(stored))?;
    let actions = classify_all(parsed.iter().map(|statement| &statement.command))?;
    let found = match &run.policy {
        Some(policy) => {
            let objection = run.objection(id, &actions, policy, Some(stored))?;
            need(stored, direction, &actions, Some(policy), &Approvals::of(&ids)?, Some(&objection))?
        }
        None => (None, vec![]),
    };
    drop(pinned);
    Ok(found)
}

/// Whether nothing else has to be applied, or reverted, first.
fn is_next(stored: &Stored, direction: Direction) -> error::Result<bool> {
    if direction == Direction::Downgrade {
        return Ok(stored.status == RevisionStatus::Applied);
    }
    let revision = &stored.revision;
    for name in revision.parents.iter().map(|one| one.as_str()).chain(revision.depends_on.iter().map(String::as_str)) {
        let Some(id) = revisions::named(name)? else { return Ok(false) };
        if revisions::status(&id)? != Some(RevisionStatus::Applied) {
            return Ok(false);
        }
    }
    Ok(stored.status != RevisionStatus::Applied)
}
