//! What other databases of the cluster can do to a guarded one.
//!
//! Roles, parameters and databases are shared: whoever may not grant himself a role here could do it next door. So activation
//! leaves a mark that every database can read (a setting of the database in `pg_db_role_setting`), with what policy says of
//! control actions; and the preloaded library asks for it wherever the database at hand is not guarded itself.

use crate::error::refusal;
use crate::guard::decide::facts;
use crate::guard::enforcement;
use crate::ledger::recorder;
use crate::pg::identity::{database, in_recovery};
use crate::store::{self, cluster, settings};
use runbook_core::action::{Action, Class};
use runbook_core::ledger::Kind;
use runbook_core::policy::Verdict;

/// Marks this database as guarded, with the verdict on control actions; or takes the mark away.
pub fn mark(active: bool) -> store::Result<()> {
    if !active {
        return cluster::unmark();
    }
    let here = database();
    let verdict = settings::policy()?.class_rule(Class::Control).verdict;
    cluster::mark(&format!("{}/{}/{}", here.system_identifier, here.oid, verdict.as_str()))
}

/// Writes the mark anew after a change of policy.
pub fn refresh() -> store::Result<()> {
    if settings::is_active()? { mark(true) } else { Ok(()) }
}

/// Judges a statement about shared objects. `here`: whether this database is guarded, so that its own policy decides about
/// everything but other guarded databases themselves.
///
/// # Errors
/// 42501.
pub fn judge(tag: &str, actions: &[Action], here: bool) -> store::Result<()> {
    let shared: Vec<&Action> = actions.iter().filter(|action| is_shared(action)).collect();
    if shared.is_empty() || in_recovery() {
        return Ok(());
    }
    let own = database();
    let others = cluster::guarded()?.into_iter().filter(|other| other.oid.to_string() != own.oid.to_string());
    for other in others {
        let about = |action: &&&Action| action.object.kind == "database" && action.object.path == [other.name.clone()];
        if let Some(action) = shared.iter().find(about) {
            let takes_mark = action.verb.contains("runbook.guarded") || action.verb.contains("all parameters");
            let goes =
                takes_mark || ["drop", "rename"].contains(&action.verb.as_str()) || other.verdict >= Verdict::RequireApproval;
            settle(tag, actions, action, &other, goes)?;
        } else if !here && let Some(action) = shared.iter().find(|action| action.object.kind != "database") {
            settle(tag, actions, action, &other, other.verdict >= Verdict::RequireApproval)?;
        }
    }
    Ok(())
}

fn is_shared(action: &Action) -> bool {
    ["role", "database", "tablespace", "parameter"].contains(&action.object.kind.as_str()) && action.verb != "set"
}

/// Records in the other database's ledger, and refuses what that would.
fn settle(tag: &str, actions: &[Action], action: &Action, other: &cluster::Guarded, refuse: bool) -> store::Result<()> {
    let detail = format!("Database \"{}\" is guarded by pg_runbook, and shares what this statement changes.", other.name);
    let mut facts = facts(tag, actions, if refuse { "other_database" } else { "record" }, &detail, None);
    facts["from_database"] = cluster::this_database()?.into();
    match (refuse, enforcement::mode()) {
        (true, "enforce") => recorder::record_elsewhere(other.oid, Kind::DdlBlocked, facts),
        (true, "record") => {
            recorder::record_elsewhere(other.oid, Kind::DdlWouldBlock, facts);
            return Ok(());
        }
        _ => {
            recorder::record_elsewhere(other.oid, Kind::DdlExecuted, facts);
            return Ok(());
        }
    }
    let hint = if action.object.kind == "database" {
        format!("Connect to \"{}\" first, and there: SELECT runbook.deactivate('REASON');", other.name)
    } else {
        format!("Connect to \"{}\", where a permit can be asked for: SELECT runbook.request_permit('…', 'REASON');", other.name)
    };
    Err(refusal("42501", format!("{action} is not allowed from here"), Some(detail), Some(hint)))
}
