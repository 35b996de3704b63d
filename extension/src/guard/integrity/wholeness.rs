//! Whether the guard is whole, and a record where a privileged user has switched it off.

use crate::catalog::relations;
use crate::error;
use crate::guard::enforcement::{self, Mode};
use crate::guard::outcome::facts;
use crate::ledger::recorder;
use crate::pg::callback::log_to_server;
use crate::pg::execute::transaction::Looking;
use crate::pg::session::extension_members::is_installed;
use crate::pg::session::identity::in_recovery;
use crate::pg::session::latest;
use crate::store::settings;
use runbook_core::action::Action;
use runbook_core::inventory::{EVENT_TRIGGERS, ROLES};
use runbook_core::ledger::Kind;
use runbook_core::vocabulary::judgement::Judgement;
use std::cell::RefCell;

/// Why nothing is judged where a superuser says so.
pub const MODE_OFF: &str = "runbook.mode is off in this session";

thread_local! {
    static SAID: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
    static KNOWN: RefCell<Option<(u64, Vec<String>)>> = const { RefCell::new(None) };
}

/// Our event triggers that are missing, not ENABLE ALWAYS, or call another function. Asked again after any event trigger has
/// changed.
pub fn damaged_triggers() -> Vec<String> {
    let version = latest::event_triggers_version();
    if let Some(known) =
        KNOWN.with_borrow(|known| known.as_ref().filter(|(at, _)| *at == version).map(|(_, list)| list.clone()))
    {
        return known;
    }
    let damaged: Vec<String> = EVENT_TRIGGERS
        .iter()
        .filter(|(name, function)| !relations::is_whole_event_trigger(name, function))
        .map(|(name, _)| (*name).to_owned())
        .collect();
    KNOWN.set(Some((version, damaged.clone())));
    damaged
}

/// Refuses to go on while they are damaged; `then` is what to run when they are whole again.
///
/// # Errors
/// 55000.
pub fn refuse_damaged_triggers(then: &str) -> error::Result<()> {
    let damaged = damaged_triggers();
    if damaged.is_empty() {
        return Ok(());
    }
    let detail = format!("Event triggers are missing, disabled, or fire for some statements only: {}.", damaged.join(", "));
    let hint = format!("Undo that, and find out who has done it. Then: {then}");
    Err(error::refusal("55000", "pg_runbook is not as it was installed", Some(detail), Some(hint)))
}

/// Different statements that one session leaves evidence of.
const MOST: usize = 1000;

/// Leaves evidence that a statement is not judged as it should be: once per session for the same thing done to the same object.
pub fn bypassed(tag: &str, actions: &[Action], why: &str) {
    let lasting: Vec<Action> = actions.iter().filter(|action| !action.temporary).cloned().collect();
    let what = lasting.first().map(|action| format!("{why}: {action}")).unwrap_or_default();
    if what.is_empty() || in_recovery() || SAID.with_borrow(|said| said.len() >= MOST || said.contains(&what)) {
        return;
    }
    SAID.with_borrow_mut(|said| said.push(what));
    log_to_server(&format!("pg_runbook: the guard is bypassed: {why}"));
    recorder::record(Kind::GuardBypassed, facts(tag, &lasting, Judgement::Bypassed, why, None));
}

/// The same where a superuser has switched the guard off in the session, and nothing else would say so.
pub fn switched_off(tag: &str, action: &Action) -> error::Result<()> {
    if enforcement::mode() == Mode::off && is_installed() && settings::is_active()? {
        let _looking = Looking::enter();
        bypassed(tag, std::slice::from_ref(action), MODE_OFF);
    }
    Ok(())
}

/// The extension's roles that do not exist: renamed, dropped or never created.
pub fn missing_roles() -> error::Result<Vec<&'static str>> {
    let known = relations::roles_of(&ROLES)?;
    Ok(ROLES.into_iter().filter(|role| !known.iter().any(|found| found == role)).collect())
}
