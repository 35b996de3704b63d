//! Layer 2, statements: what event triggers never see, and everything else before they do.

use crate::catalog::objects;
use crate::error;
use crate::guard::classify::classify;
use crate::guard::enforcement::Enforcement;
use crate::guard::integrity::{cluster, protect, wholeness};
use crate::guard::judge::{When, decide, refuse_by_uncommitted_rules};
use crate::guard::layers::object_access;
use crate::guard::passing::{record_beginning, record_passing};
use crate::pg::execute::transaction::{self, Looking};
use crate::pg::hooks::statement_at_hand;
use crate::pg::hooks::watch::{Passes, Utility};
use crate::pg::parse::commands::Reading;
use crate::pg::session::extension_members::{expect_a_script, is_in_a_script, is_installed};
use crate::store::settings;
use runbook_core::action::{Action, Class};
use runbook_core::vocabulary::verb::Verb;

/// Event triggers judge what it drops.
const REPORTED: Passes = Passes::Judged { reported: true };

/// Judges a utility statement.
pub fn before(utility: &Utility) -> Passes {
    match judge(utility) {
        Ok(passes) => passes,
        Err(report) => {
            report.report(pgrx::PgLogLevel::ERROR);
            REPORTED
        }
    }
}

/// A statement that could not be read has run.
pub fn unresolved(tag: &str) {
    if let Err(report) = crate::guard::unresolved::refuse(tag) {
        report.report(pgrx::PgLogLevel::ERROR);
    }
}

fn judge(utility: &Utility) -> error::Result<Passes> {
    let here = is_installed();
    if utility.tag.ends_with(" EXTENSION") {
        expect_a_script();
    }
    // The statements of an extension's script have been judged with the statement that runs it.
    if (!here || is_in_a_script()) && utility.has_events {
        return Ok(REPORTED);
    }
    let _looking = Looking::enter();
    let enforcement = if here { Enforcement::current()? } else { Enforcement::Off };
    object_access::remember(enforcement);
    let active = here && (enforcement != Enforcement::Off || settings::is_active()?);
    if !active && utility.has_events {
        return Ok(REPORTED);
    }
    if utility.comes_first() {
        transaction::keep_without_id();
    }
    let Reading { command, unresolved } = utility.reading();
    if unresolved {
        return Ok(if enforcement == Enforcement::Off { REPORTED } else { Passes::Unresolved });
    }
    let mut actions = classify(&command);
    actions.retain(|action| action.verb == Verb::Add || !action.identity.is_absent());
    if here {
        refuse_by_uncommitted_rules(&utility.tag, &actions)?;
    }
    if enforcement == Enforcement::Off {
        return while_off(&utility.tag, &actions, active);
    }
    let damaged = wholeness::damaged_triggers();
    if !damaged.is_empty() {
        wholeness::bypassed(&utility.tag, &actions, &format!("event triggers are damaged: {}", damaged.join(", ")));
    }
    statement_at_hand::set_grade(actions.iter().map(|action| action.class).max().and_then(grade).unwrap_or_default());
    if actions.iter().any(cluster::is_shared) {
        cluster::judge(&utility.tag, &actions, Some(&settings::policy()?))?;
    }
    if protect::skips(&utility.tag, &actions, enforcement)? {
        return Ok(Passes::Skipped);
    }
    protect::check(&utility.tag, &command, &actions, enforcement)?;
    if let Some(verb) = actions.iter().find(|action| action.empties()).map(|action| action.verb.clone()) {
        object_access::announce_truncate(verb);
        let implied = objects::implied(&actions)?;
        actions.extend(implied);
    }
    decide(&utility.tag, &actions, When::Before)?;
    if utility.commits_midway() {
        record_beginning(&utility.tag, &actions);
    }
    // A foreign table's program has run when the transaction that made the table is rolled back.
    if !utility.has_events || actions.iter().any(Action::outlasts_rollback) {
        record_passing(&utility.tag, &actions)?;
    }
    Ok(Passes::Judged { reported: !damaged.iter().any(|name| name == "a_runbook_sql_drop") })
}

/// Where this database is not guarded, or `active` and switched off in the session, others of the cluster may have a say.
fn while_off(tag: &str, actions: &[Action], active: bool) -> error::Result<Passes> {
    if active {
        wholeness::bypassed(tag, actions, wholeness::MODE_OFF);
    }
    let policy = if active { Some(settings::policy()?) } else { None };
    cluster::judge(tag, actions, policy.as_ref())?;
    Ok(REPORTED)
}

/// A class as a number that is not 0, as the hook keeps it for the statement that is running.
fn grade(class: Class) -> Option<u8> {
    Class::ALL.iter().position(|known| *known == class).and_then(|at| u8::try_from(at + 1).ok())
}

/// The gravest class among the actions of the statement that is running, if the hook has judged it.
pub fn statement_class() -> Option<Class> {
    usize::from(statement_at_hand::grade()).checked_sub(1).and_then(|at| Class::ALL.get(at).copied())
}
