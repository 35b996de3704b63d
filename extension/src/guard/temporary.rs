//! Temporary relations of a revision that have the name of a lasting one: statements that seem to mean the one would mean the other.

use crate::catalog::session::hidden_temporaries;
use crate::error::{Result, refusal};
use crate::ledger::refusal::refused;
use crate::permission;
use crate::pg::execute::statements::Statement;
use crate::pg::parse::names::relation_named;
use crate::pg::parse::objects::has_temporary_schema;
use crate::pg::session::pinned::{resolution, searches_temporary_first};
use pgrx::pg_sys::panic::ErrorReport;
use runbook_core::command::{Command, Name};
use runbook_core::identity::{History, Identity};
use runbook_core::temporary::{SCHEMA, Shadowed};

const DUPLICATE: &str = "42P07";

/// Refuses what the statement at hand has done to names, if a temporary relation of the revision that is being applied hides behind a
/// lasting one now.
pub fn refuse_hidden() -> Result<()> {
    if !has_temporary_schema() {
        return Ok(());
    }
    // A worker's session has nothing but what the revision has made; a login's own is none of the revision's business.
    let is_job = permission::job().is_some();
    let counts = |found| is_job || permission::covering(|one| one.is_some_and(|coverage| coverage.events.made(found)));
    match hidden_temporaries(searched_first())?.into_iter().find(|(found, _)| counts(*found)) {
        Some((_, shadowed)) => {
            Err(refusal(DUPLICATE, shadowed.message(), Some(shadowed.detail()), Some(Shadowed::HINT.to_owned())))
        }
        None => Ok(()),
    }
}

/// The schemas in which a name is looked up before the temporary one.
fn searched_first() -> Vec<String> {
    resolution().into_iter().take_while(|schema| schema != SCHEMA).collect()
}

/// Refuses a submission with a temporary relation that would hide behind one which is there already.
pub fn refuse_shadowed(statements: &[Statement], id: &str, section: &str) -> std::result::Result<(), ErrorReport> {
    for (at, statement) in statements.iter().enumerate() {
        let Some(shadowed) = temporary(&statement.command).and_then(shadowed) else { continue };
        let place = format!("Revision {id} ({section}), statement {}, line {}.", at + 1, statement.line);
        let detail = format!("{place} {}", shadowed.detail());
        return Err(refused("submit", DUPLICATE, shadowed.message(), Some(detail), Some(Shadowed::HINT.to_owned())));
    }
    Ok(())
}

fn temporary(command: &Command) -> Option<&Name> {
    match command {
        Command::Create { kind, name, .. } => (kind.is_relation() && name.temporary).then_some(name),
        Command::Several(commands) => commands.iter().find_map(temporary),
        _ => None,
    }
}

fn shadowed(name: &Name) -> Option<Shadowed> {
    if searches_temporary_first() {
        return None;
    }
    let found = relation_named(vec![name.name.clone()]);
    let lasting = matches!(found.identity, Identity::Is(_)) && !found.temporary;
    lasting.then(|| Shadowed { name: found.name, schema: found.schema.unwrap_or_default() })
}
