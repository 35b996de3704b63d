//! What other databases of the cluster can do to a guarded one.
//!
//! Roles, parameters and databases are shared: whoever may not grant himself a role here could do it next door. So activation
//! leaves a mark that every database can read (a setting of the database in `pg_db_role_setting`), with what policy says of
//! control actions; and the preloaded library asks for it wherever the database at hand is not guarded itself.

use crate::catalog::cluster;
use crate::error::{self, refusal};
use crate::guard::enforcement::{self, Mode};
use crate::guard::outcome::facts;
use crate::ledger::recorder;
use crate::pg::callback::log_to_server;
use crate::pg::parse::bind::DATABASES;
use crate::pg::parse::objects::is_shared_catalog;
use crate::pg::session::identity::{database, in_recovery};
use crate::store::settings;
use runbook_core::action::{Action, Class, quote};
use runbook_core::command::Name;
use runbook_core::identity::{Address, Identity};
use runbook_core::inventory::ROLES;
use runbook_core::ledger::Kind;
use runbook_core::policy::{Policy, Verdict};
use runbook_core::vocabulary::judgement::Judgement;
use runbook_core::vocabulary::object_kind::ObjectKind;
use runbook_core::vocabulary::verb::{self, Verb};
use serde_json::Value;

/// Marks this database as guarded, with the verdict on control actions; or takes the mark away.
pub fn mark(active: bool) -> error::Result<()> {
    if !active {
        return cluster::unmark();
    }
    let here = database();
    let verdict = settings::policy()?.class_rule(Class::Control).verdict;
    cluster::mark(&format!("{}/{}/{}", here.system_identifier, here.oid, verdict.as_str()))
}

/// Writes the mark again after a change of policy.
pub fn refresh() -> error::Result<()> {
    if settings::is_active()? { mark(true) } else { Ok(()) }
}

/// Judges a statement about shared objects. `own` is the policy of this database, if it is guarded. The strictest guarded database
/// of the cluster decides: of this one and the others that say the same, this one.
///
/// # Errors
/// 42501.
pub fn judge(tag: &str, actions: &[Action], policy: Option<&Policy>) -> error::Result<()> {
    let shared: Vec<&Action> = actions.iter().filter(|action| is_shared(action)).collect();
    if shared.is_empty() {
        return Ok(());
    }
    let own = database();
    let others = cluster::guarded()?.into_iter().filter(|other| other.oid.to_string() != own.oid.to_string());
    for other in others {
        let itself = Identity::Is(Address { class: DATABASES, object: other.oid, part: 0 });
        let about = |action: &&&Action| action.identity == itself;
        if let Some(action) = shared.iter().find(about) {
            let takes_mark = sets_the_mark(&action.verb);
            let goes =
                takes_mark || matches!(action.verb, Verb::Drop | Verb::Rename) || other.verdict >= Verdict::RequireApproval;
            settle(tag, actions, action, &other, goes)?;
        } else if let Some(action) = shared.iter().find(|action| takes_a_role_of_ours(action)) {
            // Its own guard refuses it here.
            if policy.is_none() {
                settle(tag, actions, action, &other, true)?;
            }
        } else if let Some(action) = shared.iter().find(|action| may_take_the_mark(action))
            && policy.is_none()
        {
            settle(tag, actions, action, &other, true)?;
        } else if let Some(action) = shared.iter().find(|action| is_milder_here(action, &other, policy)) {
            settle(tag, actions, action, &other, other.verdict >= Verdict::RequireApproval)?;
        }
    }
    Ok(())
}

/// Whether it sets the parameter that marks a guarded database, or all.
pub fn sets_the_mark(verb: &Verb) -> bool {
    matches!(verb, Verb::SetParameter(parameter) if parameter.is_about(MARK))
}

/// The parameter that marks a guarded database.
const MARK: &str = "runbook.guarded";

/// Whether a statement takes one of our roles away, or makes another of it, as every guarded database knows them.
fn takes_a_role_of_ours(action: &Action) -> bool {
    matches!(&action.object.path[..], [name] if ROLES.contains(&name.as_str()))
        && action.object.kind == ObjectKind::Role
        && !matches!(action.verb, Verb::Create | Verb::CommentOn)
        && !action.verb.is_membership()
}

/// Whether an action may take the mark of a guarded database away, which is a row of this catalog.
fn may_take_the_mark(action: &Action) -> bool {
    action.object.kind == ObjectKind::SharedCatalog
        && action.object.path.last().is_some_and(|name| name == "pg_db_role_setting")
}

/// Whether the other database says more about an action than this one.
fn is_milder_here(action: &Action, other: &cluster::Guarded, policy: Option<&Policy>) -> bool {
    let is_about_another_database = action.object.kind == ObjectKind::Database;
    match policy {
        None => !is_about_another_database,
        Some(policy) => {
            !is_about_another_database
                && other.verdict >= Verdict::RequireApproval
                && policy.rule(action).verdict < other.verdict
        }
    }
}

/// DML on a catalog that all databases share.
///
/// # Errors
/// 42501.
pub fn judge_write(table: u32, name: &Name, policy: Option<&Policy>) -> error::Result<()> {
    if !is_shared_catalog(table) {
        return Ok(());
    }
    judge("DML", &[Action::on(Verb::WriteTo, Class::Control, ObjectKind::SharedCatalog, name)], policy)
}

/// Whether an action is about what the whole cluster shares. What a role's sessions in this very database begin with is not.
pub fn is_shared(action: &Action) -> bool {
    use ObjectKind::*;
    if let Verb::SetParameter(verb::Parameter { database: Some(database), .. }) = &action.verb
        && **database == *quote(&cluster::this_database())
    {
        return false;
    }
    matches!(action.object.kind, Role | Database | Tablespace | Parameter | SharedCatalog)
        && action.verb != Verb::Set
        && action.class != Class::Additive
}

/// Records in the other database's ledger, and refuses what that would.
fn settle(tag: &str, actions: &[Action], action: &Action, other: &cluster::Guarded, refuse: bool) -> error::Result<()> {
    let detail =
        format!("Database \"{}\" is guarded by pg_runbook, and this statement changes an object that it shares.", other.name);
    let mut facts = facts(tag, actions, if refuse { Judgement::OtherDatabase } else { Judgement::Record }, &detail, None);
    facts["from_database"] = cluster::this_database().into();
    // A standby has nowhere to record it but the server log.
    let record = |kind, facts: Value| match in_recovery() {
        true => log_to_server(&format!("pg_runbook: {} of database \"{}\": {facts}", Kind::as_str(kind), other.name)),
        false => recorder::record_elsewhere(other.oid, kind, facts),
    };
    match (refuse, enforcement::mode()) {
        (true, Mode::enforce) => record(Kind::DdlBlocked, facts),
        (true, Mode::record) => {
            record(Kind::DdlWouldBlock, facts);
            return Ok(());
        }
        _ => {
            record(Kind::DdlExecuted, facts);
            return Ok(());
        }
    }
    let hint = if action.object.kind == ObjectKind::Database {
        format!("Connect to \"{}\" and run: SELECT runbook.deactivate('REASON');", other.name)
    } else {
        format!("Connect to \"{}\" and request a permit there: SELECT runbook.request_permit('…', 'REASON');", other.name)
    };
    Err(refusal("42501", format!("{action} is not allowed from here"), Some(detail), Some(hint)))
}
