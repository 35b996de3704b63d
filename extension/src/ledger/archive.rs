//! Archiving: whole tiles of the oldest entries leave the database, and the tree over them stays.

use crate::catalog::logins::{self, this_login};
use crate::error::refusal;
use crate::ledger::epoch::hex;
use crate::ledger::record;
use crate::ledger::tree::{Stored, TILE};
use crate::pg::execute::lock;
use crate::pg::session::identity::session_role;
use crate::store::{ledger, tree};
use pgrx::pg_sys::panic::ErrorReport;
use runbook_core::ledger::Kind;
use runbook_core::merkle;
use runbook_core::vocabulary::judgement::Judgement;
use serde_json::json;

/// Removes the entries before a position; how many. `root` must be the tree's root over them.
pub fn archive(before: i64, root: &[u8], reason: &str) -> Result<i64, ErrorReport> {
    let refuse = |why: String| {
        let hint = "runbook audit archive --before POSITION --out FILE --checkpoint NOTE -m REASON";
        Err(refusal("22023", format!("nothing is archived: {why}"), None, Some(hint.to_owned())))
    };
    lock::wait_for_sealer();
    let (first, end) = (tree::first_position()?, tree::end()?);
    let Some(position) = u64::try_from(before).ok().filter(|position| position.is_multiple_of(TILE)) else {
        return refuse(format!("{before} is not a multiple of {TILE}"));
    };
    // The last entry stays: it says how long the ledger is.
    if position <= first || position >= end.size {
        return refuse(format!("there is nothing to archive between {first} and {position}; the last entry stays"));
    }
    let covered = covered()?;
    if before > covered {
        let message =
            format!("nothing is archived: no login but \"{}\" has recorded a checkpoint of {before} entries", session_role());
        let detail = format!("The last checkpoint that another login recorded covers {covered} entries.");
        let hint = "An auditor signs and records one: runbook audit checkpoint --key FILE --out NOTE";
        return Err(refusal("22023", message, Some(detail), Some(hint.to_owned())));
    }
    if merkle::root(position, &Stored::default())? != root {
        return refuse(format!("the root over {position} entries differs: the export is not what the database holds"));
    }
    let ledger = tree::ledger_id()?;
    let removed = tree::remove_before(position)?;
    let facts = json!({
        "ledger": ledger, "first": i64::try_from(first).unwrap_or(i64::MAX), "before": before, "root": hex(root), "reason": reason,
        "verdict": Judgement::Record.as_str(),
    });
    record(Kind::LedgerArchived, facts)?;
    Ok(removed)
}

/// How many entries are covered by a checkpoint that somebody else than the login at hand has recorded: nobody's key is known here, so that
/// whoever archives could have made up a note. A superuser could remove entries anyway.
fn covered() -> Result<i64, ErrorReport> {
    let me = this_login()?;
    let is_superuser = logins::role(&me.name)?.is_some_and(|(_, is_superuser)| is_superuser);
    let mut most = 0;
    for (name, size) in ledger::checkpoints()? {
        let meets = match logins::role(&name)? {
            Some((oid, _)) => me.meets(&logins::login(&name, oid)?),
            None => me.name == name,
        };
        if is_superuser || !meets {
            most = most.max(size);
        }
    }
    Ok(most)
}
