//! Layer 2, statements: what event triggers never see, and everything else before they do.

use crate::guard::classify::classify;
use crate::guard::decide::{When, decide, facts};
use crate::guard::enforcement::{self, Enforcement};
use crate::guard::{cluster, object_access, protect, wholeness};
use crate::ledger::{self, recorder};
use crate::pg::hooks::{self, Looking, Utility};
use crate::pg::identity::in_recovery;
use crate::session;
use crate::store::{self, objects, settings};
use runbook_core::action::{Action, Class};
use runbook_core::ledger::Kind;
use runbook_core::policy::Verdict;

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
    let here = hooks::is_installed();
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
        record(&utility.tag, &actions)?;
    }
    Ok(!damaged.iter().any(|name| name == "a_runbook_sql_drop"))
}

/// What passes and fires no event trigger is recorded here, where policy does not simply allow it.
fn record(tag: &str, actions: &[Action]) -> store::Result<()> {
    let lasting: Vec<Action> = actions.iter().filter(|action| !action.temporary && action.verb != "lock").cloned().collect();
    if lasting.is_empty() || session::is_applying() || in_recovery() {
        return Ok(());
    }
    let policy = settings::policy()?;
    let passes = |action: &Action| policy.rule(action).verdict == Verdict::Allow && action.verb != "create";
    if lasting.iter().all(passes) {
        return Ok(());
    }
    let mut facts = facts(tag, &lasting, "record", "", None);
    if enforcement::mode() == "record" {
        facts["mode"] = "record".into();
    }
    if lasting.iter().any(Action::outlasts_rollback) {
        recorder::record(Kind::DdlExecuted, facts);
        return Ok(());
    }
    ledger::record(Kind::DdlExecuted, facts)
}

/// A class as a number that is not 0, as the hook keeps it for the statement that is running.
fn grade(class: Class) -> Option<u8> {
    Class::ALL.iter().position(|known| *known == class).and_then(|at| u8::try_from(at + 1).ok())
}

/// The gravest class among the actions of the statement that is running, if the hook has judged it.
pub fn statement_class() -> Option<Class> {
    usize::from(hooks::grade()).checked_sub(1).and_then(|at| Class::ALL.get(at).copied())
}
