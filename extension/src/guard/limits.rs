//! What an approval does not bind does not run under it.
//!
//! An approval binds the code that the words of a statement reach. Where a name was not recognised, what it means would be bound by
//! nobody: whoever may replace it would decide what the approved statement does. So it is looked at again when it runs.

use crate::catalog::relations::{is_beside, is_of_an_extension, sql_functions};
use crate::code::Reached;
use crate::error::{self, refusal};
use crate::permission::{self, By};
use crate::pg::hooks::limit;
use crate::pg::parse::objects::{describe, relation_path};
use crate::pg::session::extension_members::is_own;
use runbook_core::identity::{Address, FUNCTIONS, History, RELATIONS};
use std::collections::HashSet;
use std::rc::Rc;

/// A function or relation is entered: refuses it if the permission in force binds what runs, and not this.
pub fn entered(found: Address) {
    if let Err(report) = refuse_unbound(found) {
        report.report(pgrx::PgLogLevel::ERROR);
    }
}

/// From here on nothing runs, under the permission in force, that is not in `reached`; and what the client's statement has entered so far
/// must be.
///
/// # Errors
/// 42501, if it is not.
pub fn set(reached: &Rc<Reached>) -> error::Result<()> {
    if !permission::limit_to(reached) {
        return Ok(());
    }
    let so_far = limit::entered();
    if so_far.is_cut {
        return Err(unbound("more code than can be told"));
    }
    for (class, object) in so_far.objects {
        refuse_unbound(Address { class, object, part: 0 })?;
    }
    let known: HashSet<u32> = reached.of(FUNCTIONS).map(limit::hash).collect();
    let unknown: HashSet<u32> = so_far.inlined.difference(&known).copied().collect();
    if !unknown.is_empty() {
        for function in sql_functions()?.into_iter().filter(|one| unknown.contains(&limit::hash(*one))) {
            refuse_unbound(Address { class: FUNCTIONS, object: function, part: 0 })?;
        }
    }
    Ok(())
}

fn refuse_unbound(found: Address) -> error::Result<()> {
    let limits = permission::covering(|coverage| {
        let coverage = coverage?;
        coverage.limits.clone().filter(|_| !coverage.record_only && !coverage.events.made(found))
    });
    let Some(limits) = limits else { return Ok(()) };
    if limits.has((found.class, found.object))
        || is_own(found)
        || found.class == FUNCTIONS && limit::is_machine_code(found.object)
        || found.class == RELATIONS && is_made_by_postgres(found.object)
    {
        return Ok(());
    }
    let relations = || limits.of(RELATIONS).collect::<Vec<u32>>();
    if is_of_an_extension(found)? || found.class == RELATIONS && is_beside(found.object, &relations())? {
        return Ok(());
    }
    let name = describe(found).map_or_else(|| "a function".to_owned(), |(kind, path, _)| format!("{kind} {}", path.join(".")));
    Err(unbound(&name))
}

/// Whether a relation is one that PostgreSQL makes for itself, as REFRESH MATERIALIZED VIEW CONCURRENTLY does.
fn is_made_by_postgres(relation: u32) -> bool {
    relation_path(relation).is_some_and(|path| path.iter().all(|part| part.starts_with("pg_temp_")))
}

fn unbound(name: &str) -> pgrx::pg_sys::panic::ErrorReport {
    let by = permission::covering(|coverage| coverage.map(|coverage| coverage.by.clone()));
    let (what, next) = match by {
        Some(By::Revision { revision, .. }) => {
            ("the revision", format!("then approve again: SELECT runbook.approve('{revision}');"))
        }
        _ => ("the permit", "then request another permit.".to_owned()),
    };
    let message = format!("{name} would run too, and the approval does not bind it");
    let detail = format!(
        "Nothing was changed. The text of {what}, and the code that it names, do not name it in a way that can be read."
    );
    refusal("42501", message, Some(detail), Some(format!("Write its name plainly where it is used, {next}")))
}
