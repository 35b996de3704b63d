//! `configure`, `set_policy`, and the function behind view `policy`.

use crate::apply::settings;
use crate::caller::must_be_the_login;
use crate::error::refusal;
use crate::ledger;
use crate::store::settings as stored;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use runbook_core::action::Class;
use runbook_core::ledger::Kind;
use runbook_core::policy::{Rule, Verdict};
use serde_json::json;

/// Sets a setting, NULL for its default; returns the value it had.
#[pg_extern]
#[search_path(pg_catalog, runbook, pg_temp)]
fn configure(key: &str, value: Option<&str>) -> Result<Option<String>, ErrorReport> {
    must_be_the_login("configure", "runbook_admin")?;
    let old = settings::configure(key, value)?;
    ledger::record(Kind::PolicyChanged, json!({"setting": key, "old": old, "new": value}))?;
    Ok(old)
}

/// Sets what is done about a class of actions.
#[pg_extern]
#[search_path(pg_catalog, runbook, pg_temp)]
fn set_policy(class: &str, verdict: &str, approvals: default!(i32, 1)) -> Result<(), ErrorReport> {
    must_be_the_login("set_policy", "runbook_admin")?;
    let names = |names: Vec<&str>| Some(format!("The values are {}.", names.join(", ")));
    let parsed_class = Class::parse(class).ok_or_else(|| {
        let all = Class::ALL.iter().map(|class| class.as_str()).collect();
        refusal("22023", format!("unknown action class \"{class}\""), None, names(all))
    })?;
    let parsed_verdict = Verdict::parse(verdict).ok_or_else(|| {
        let all = Verdict::ALL.iter().map(|verdict| verdict.as_str()).collect();
        refusal("22023", format!("unknown verdict \"{verdict}\""), None, names(all))
    })?;
    let count = u32::try_from(approvals).ok().filter(|count| *count <= 100).ok_or_else(|| {
        refusal(
            "22023",
            format!("invalid number of approvals: {approvals}"),
            None,
            Some("Give a number from 0 to 100.".to_owned()),
        )
    })?;
    let old = stored::policy()?.rule(parsed_class);
    stored::set_rule(parsed_class, Rule { verdict: parsed_verdict, approvals: count })?;
    let facts = json!({
        "class": class, "old": {"verdict": old.verdict.as_str(), "approvals": old.approvals},
        "new": {"verdict": verdict, "approvals": count},
    });
    ledger::record(Kind::PolicyChanged, facts)
}

/// What is done about each class of actions.
#[pg_extern(security_definer)]
#[search_path(pg_catalog, runbook, pg_temp)]
fn policy_in_force()
-> Result<TableIterator<'static, (name!(class, String), name!(verdict, String), name!(approvals, i32))>, ErrorReport> {
    let policy = stored::policy()?;
    let row = |class: Class| {
        let rule = policy.rule(class);
        (class.as_str().to_owned(), rule.verdict.as_str().to_owned(), i32::try_from(rule.approvals).unwrap_or(i32::MAX))
    };
    Ok(TableIterator::new(Class::ALL.into_iter().map(row).collect::<Vec<_>>()))
}
