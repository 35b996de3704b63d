//! Self-protection: while the guard is active, nothing takes it apart. Only `deactivate(reason)` does, with the approvals that
//! policy asks for.
//!
//! Neither policy nor break-glass can allow it: a person who can drop the ledger can drop the evidence of doing so.

use crate::catalog::cluster::this_database;
use crate::catalog::objects;
use crate::error;
use crate::guard::enforcement::Enforcement;
use crate::guard::integrity::{cluster, wholeness};
use crate::guard::outcome::{Blocked, facts};
use crate::guard::protection;
use crate::ledger::{self, recorder};
use crate::permission;
use crate::pg::parse::objects::{is_view, relation_path};
use crate::pg::session::extension_members;
use crate::store::settings;
use runbook_core::action::{Action, Class};
use runbook_core::command::{Command, Name};
use runbook_core::identity::{Address, Identity};
use runbook_core::inventory::{EVENT_TRIGGERS, ROLES, SCHEMAS};
use runbook_core::ledger::Kind;
use runbook_core::vocabulary::judgement::Judgement;
use runbook_core::vocabulary::object_kind::ObjectKind;
use runbook_core::vocabulary::verb::Verb;

/// Refuses a statement that would damage the guard.
///
/// # Errors
/// 42501.
pub fn check(tag: &str, command: &Command, actions: &[Action], enforcement: Enforcement) -> error::Result<()> {
    if let Some(action) = actions.iter().find(|action| is_damage(action)) {
        return refuse(tag, std::slice::from_ref(action), &action.to_string(), enforcement);
    }
    if let Some(action) = actions.iter().find(|action| matches!(action.verb, Verb::DisableTriggers | Verb::EnableTriggers))
        && protection::is_protected(action)?
    {
        return refuse(tag, std::slice::from_ref(action), &action.to_string(), enforcement);
    }
    let reaches = match command {
        Command::Drop { cascade: true, .. } => objects::reaches_own(&roots(actions))?,
        Command::DropOwned { roles, .. } => objects::is_held_by(&names(roles))?,
        Command::Reassign { roles } => objects::is_owned_by(&names(roles))?,
        Command::Lock { names, .. } => {
            // Only for views, of which the catalog must be asked: a LOCK may have to come before the transaction's snapshot.
            let view = |name: &Name| match name.identity {
                Identity::Is(found) if is_view(found) => Some(found),
                _ => None,
            };
            let views: Vec<Address> = names.iter().filter_map(view).collect();
            !views.is_empty() && objects::reaches_own_by_lock(&views)?
        }
        _ => false,
    };
    if reaches {
        let what = actions.first().map(Action::to_string).unwrap_or_default();
        return refuse(tag, actions, &what, enforcement);
    }
    Ok(())
}

fn names(roles: &[Name]) -> Vec<String> {
    roles.iter().map(|role| role.name.clone()).collect()
}

fn roots(actions: &[Action]) -> Vec<Address> {
    let found = |action: &Action| if let Identity::Is(found) = action.identity { Some(found) } else { None };
    actions.iter().filter_map(found).collect()
}

/// Whether a REINDEX or CLUSTER of a table of ours does not happen: it would hold its lock as long as the transaction, and nothing could be
/// recorded meanwhile. As for other maintenance that can't be done, there is a warning, and the transaction goes on.
///
/// # Errors
/// Of the ledger.
pub fn skips(tag: &str, actions: &[Action], enforcement: Enforcement) -> error::Result<bool> {
    let locks = |action: &&Action| {
        let path: Vec<&str> = action.object.path.iter().map(String::as_str).collect();
        matches!(action.verb, Verb::Cluster | Verb::Reindex) && is_own(action, &path)
    };
    let Some(action) = actions.iter().find(locks) else { return Ok(false) };
    let detail = "It would lock a table of pg_runbook until the transaction ends, and nothing could be recorded until then.";
    let facts = facts(tag, std::slice::from_ref(action), Judgement::SelfProtection, detail, None);
    if enforcement == Enforcement::Record {
        ledger::record(Kind::DdlWouldBlock, facts)?;
        return Ok(false);
    }
    recorder::record(Kind::DdlBlocked, facts);
    pgrx::warning!(
        "skipping {tag} of {}: it would keep the ledger locked; use REINDEX TABLE CONCURRENTLY or VACUUM FULL",
        action.object
    );
    Ok(true)
}

/// Refuses to drop an object of the extension, however it would be dropped.
///
/// # Errors
/// 42501.
pub fn refuse_drop(tag: &str, action: &Action, enforcement: Enforcement) -> error::Result<()> {
    refuse(tag, std::slice::from_ref(action), &action.to_string(), enforcement)
}

fn refuse(tag: &str, actions: &[Action], what: &str, enforcement: Enforcement) -> error::Result<()> {
    let detail = "While the guard is active, no one can drop, replace, rename, disable, give away or write to any part of \
                  pg_runbook, or take it out of the extension.";
    let revision = permission::revision_in_progress();
    let hint =
        "To do it all the same, deactivate the guard first, which may need an approval: SELECT runbook.deactivate('REASON');";
    let blocked = Blocked {
        tag,
        actions,
        judgement: Judgement::SelfProtection,
        revision: revision.as_deref(),
        sqlstate: "42501",
        message: format!("{what} would damage the guard"),
        detail: detail.to_owned(),
        hint: hint.to_owned(),
    };
    blocked.settle(enforcement)
}

/// Refuses DML on a table of the extension that the extension did not send.
///
/// # Errors
/// 42501.
pub fn refuse_write(table: u32) -> error::Result<()> {
    if extension_members::is_in_own_script() {
        return Ok(());
    }
    let enforcement = Enforcement::current()?;
    if enforcement == Enforcement::Off && !settings::is_active()? {
        return Ok(());
    }
    let found = Address::relation(table);
    let path = relation_path(table).unwrap_or_default();
    let name = Name {
        schema: path.first().cloned(),
        identity: Identity::Is(found),
        ..Name::bare(path.last().cloned().unwrap_or_default())
    };
    let action = Action::on(Verb::WriteTo, Class::Control, ObjectKind::Table, &name);
    if enforcement == Enforcement::Off {
        wholeness::bypassed("DML", std::slice::from_ref(&action), wholeness::MODE_OFF);
        return Ok(());
    }
    refuse_drop("DML", &action, enforcement)
}

/// Whether an action removes a part of the extension, or changes what that part does.
fn is_damage(action: &Action) -> bool {
    use ObjectKind::{Database, EventTrigger, Role, Trigger};
    let verb = &action.verb;
    let path: Vec<&str> = action.object.path.iter().map(String::as_str).collect();
    match (&action.object.kind, &path[..]) {
        // Calls of ours are judged by policy.
        _ if action.is_by_call() => false,
        (Role, [name]) => ROLES.contains(name) && !verb.is_membership(),
        // The mark that other databases read; see `cluster`.
        (Database, [name]) if cluster::sets_the_mark(verb) => this_database() == *name,
        (EventTrigger, [name]) => *verb != Verb::Create && EVENT_TRIGGERS.iter().any(|(own, _)| own == name),
        // Policy decides; see `update`. A revision is no place for it: what it is applied by would change under it.
        (ObjectKind::Extension, ["pg_runbook"]) if *verb == Verb::Update => permission::is_applying(),
        // A function of somebody else's among ours would be taken for one of them.
        _ if *verb == Verb::Move && action.to.as_deref().is_some_and(|to| SCHEMAS.contains(&to)) => true,
        // Triggers of protected tables; the extension makes them itself.
        (Trigger, [.., name]) if name.starts_with(OWN_TRIGGERS) => true,
        (Trigger, _) if action.to.as_ref().is_some_and(|to| to.starts_with(OWN_TRIGGERS)) => true,
        // What keeps tables in shape and leaves them what they are; for the rest of it see `skips`.
        _ if matches!(verb, Verb::VacuumFull | Verb::Cluster | Verb::Reindex | Verb::ReindexConcurrently) => false,
        _ => is_own(action, &path) && !matches!(verb, Verb::Revoke(_)) && !verb.grants_reading(),
    }
}

/// The reserved prefix of the names of the extension's triggers.
const OWN_TRIGGERS: &str = "a_runbook_";

fn is_own(action: &Action, path: &[&str]) -> bool {
    match (&action.object.kind, path) {
        (ObjectKind::Schema | ObjectKind::EveryInSchema(_), [schema]) if SCHEMAS.contains(schema) => true,
        (ObjectKind::Extension, ["pg_runbook"]) => true,
        (_, [schema, _, ..]) if action.object.qualified && SCHEMAS.contains(schema) => true,
        _ => matches!(action.identity, Identity::Is(found) if extension_members::is_own(found)),
    }
}
