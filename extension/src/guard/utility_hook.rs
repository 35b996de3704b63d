//! Layer 2, statements: what event triggers never see, and everything else before they do.

use crate::guard::classify::classify;
use crate::guard::decide::{When, decide, record_passing};
use crate::guard::enforcement::Enforcement;
use crate::guard::{cluster, object_access, protect, wholeness};
use crate::pg::hooks::{self, Utility};
use crate::pg::own::is_installed;
use crate::pg::transaction::Looking;
use crate::store::{self, objects, settings};
use runbook_core::action::Class;

/// Judges a utility statement. The answer: whether event triggers will judge what it drops.
pub fn before(utility: &Utility) -> bool {
    match judge(utility) {
        Ok(reported) => reported,
        Err(report) => {
            report.report(pgrx::PgLogLevel::ERROR);
            false
        }
    }
}

fn judge(utility: &Utility) -> store::Result<bool> {
    let here = is_installed();
    if !here && utility.has_events {
        return Ok(true);
    }
    let _looking = Looking::enter();
    let enforcement = if here { Enforcement::current()? } else { Enforcement::Off };
    object_access::remember(enforcement);
    let active = here && (enforcement != Enforcement::Off || settings::is_active()?);
    if !active && utility.has_events {
        return Ok(true);
    }
    let command = utility.command();
    let mut actions = classify(&command);
    actions.retain(|action| action.verb == "add" || !action.identity.is_absent());
    if enforcement == Enforcement::Off {
        if active {
            wholeness::bypassed(&utility.tag, &actions, wholeness::MODE_OFF);
        }
        cluster::judge(&utility.tag, &actions, active)?;
        return Ok(true);
    }
    let damaged = wholeness::damaged_triggers();
    if !damaged.is_empty() {
        wholeness::bypassed(&utility.tag, &actions, &format!("event triggers are damaged: {}", damaged.join(", ")));
    }
    hooks::set_grade(actions.iter().map(|action| action.class).max().and_then(grade).unwrap_or_default());
    cluster::judge(&utility.tag, &actions, true)?;
    protect::check(&utility.tag, &command, &actions, enforcement)?;
    if let Some(verb) = actions.iter().find(|action| action.empties()).map(|action| action.verb.clone()) {
        object_access::announce_truncate(&verb);
        let implied = objects::implied(&actions)?;
        actions.extend(implied);
    }
    decide(&utility.tag, &actions, When::Before)?;
    if !utility.has_events {
        record_passing(&utility.tag, &actions)?;
    }
    Ok(!damaged.iter().any(|name| name == "a_runbook_sql_drop"))
}

/// A class as a number that is not 0, as the hook keeps it for the statement that is running.
fn grade(class: Class) -> Option<u8> {
    Class::ALL.iter().position(|known| *known == class).and_then(|at| u8::try_from(at + 1).ok())
}

/// The gravest class among the actions of the statement that is running, if the hook has judged it.
pub fn statement_class() -> Option<Class> {
    usize::from(hooks::grade()).checked_sub(1).and_then(|at| Class::ALL.get(at).copied())
}
