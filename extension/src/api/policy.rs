//! `configure`, `set_policy`, and the function behind view `policy`.

use crate::catalog::relations;
use crate::error::refusal;
use crate::guard::caller::enter;
use crate::guard::control;
use crate::guard::integrity::cluster;
use crate::store::settings as stored;
use crate::{ledger, settings};
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use runbook_core::action::Class;
use runbook_core::changing;
use runbook_core::ledger::Kind;
use runbook_core::policy::{Pattern, Policy, Preset, Rule, Verdict};
use serde_json::{Value, json};

/// Sets a setting, NULL for its default; returns the value it had.
#[pg_extern]
#[search_path(pg_catalog, runbook, pg_temp)]
fn configure(fcinfo: pg_sys::FunctionCallInfo, key: Option<&str>, value: Option<&str>) -> Result<Option<String>, ErrorReport> {
    let call = enter(fcinfo, &changing::CONFIGURE)?;
    let key = call.given(key, "key")?;
    let rules = |policy: &Policy| -> Value {
        Class::ALL.iter().map(|class| (class.as_str().to_owned(), describe(&policy.class_rule(*class)))).collect()
    };
    let before = stored::policy()?;
    let mut facts = json!({"setting": key, "new": value});
    if key == "preset" {
        let preset = value.map_or(Some(Preset::default()), Preset::parse);
        let after = Policy::new(preset.unwrap_or_default(), before.overrides().to_vec());
        if let (Some(_), Some(class)) = (preset, before.weakened_by(&after)) {
            control::decide(&changing::CONFIGURE, None, &format!("weaken the rule for {} actions", class.as_str()))?;
        }
        facts["old_rules"] = rules(&before);
        facts["new_rules"] = rules(&after);
    } else if !["alembic_version", "environment", "lock_timeout", "migrator_wait"].contains(&key) {
        control::decide(&changing::CONFIGURE, None, &format!("change the setting {key}"))?;
    }
    let old = settings::configure(key, value)?;
    facts["old"] = old.clone().into();
    cluster::refresh()?;
    ledger::record(Kind::PolicyChanged, facts)?;
    Ok(old)
}

/// Sets what is done about a class of actions; with `objects`, about those on objects that match the pattern. The verdict
/// `default` takes a rule back.
#[pg_extern]
#[search_path(pg_catalog, runbook, pg_temp)]
fn set_policy(
    fcinfo: pg_sys::FunctionCallInfo,
    class: Option<&str>,
    verdict: Option<&str>,
    approvals: default!(Option<i32>, 1),
    objects: default!(Option<&str>, "NULL"),
    approver_role: default!(Option<&str>, "NULL"),
) -> Result<(), ErrorReport> {
    let call = enter(fcinfo, &changing::SET_POLICY)?;
    let class = call.given(class, "class")?;
    let verdict = call.given(verdict, "verdict")?;
    let approvals = call.given(approvals, "approvals")?;
    let parsed_class = Class::parse(class).ok_or_else(|| {
        let all = Class::ALL.iter().map(|class| class.as_str()).collect();
        unknown("action class", class, all)
    })?;
    let pattern = match objects {
        None => None,
        Some(text) => Some(Pattern::parse(text).ok_or_else(|| {
            let hint = "Write schema, schema.table or schema.table.column; * and ? stand for any characters.";
            refusal("22023", format!("invalid pattern \"{text}\""), None, Some(hint.to_owned()))
        })?),
    };
    let policy = stored::policy()?;
    let old = policy.rule_at(parsed_class, pattern.as_ref());
    let set = if verdict == "default" { None } else { Some(rule(verdict, approvals, approver_role)?) };
    if policy.would_weaken(parsed_class, pattern.as_ref(), set.as_ref()) {
        control::decide(&changing::SET_POLICY, None, &format!("weaken the rule for {class} actions"))?;
    }
    match &set {
        None => stored::drop_rule(parsed_class, pattern.as_ref())?,
        Some(rule) => stored::set_rule(parsed_class, pattern.as_ref(), rule)?,
    }
    if let (Some(pattern), Some(_)) = (&pattern, &set)
        && !relations::any_matches(pattern)?
    {
        pgrx::warning!("no object matches \"{pattern}\" now; the rule is for objects that will");
    }
    cluster::refresh()?;
    let new = stored::policy()?.rule_at(parsed_class, pattern.as_ref());
    let facts = json!({"class": class, "objects_pattern": objects, "old": describe(&old), "new": describe(&new)});
    ledger::record(Kind::PolicyChanged, facts)
}

fn rule(verdict: &str, approvals: i32, approver_role: Option<&str>) -> Result<Rule, ErrorReport> {
    let parsed = Verdict::parse(verdict).ok_or_else(|| {
        let all = Verdict::ALL.iter().map(|verdict| verdict.as_str()).chain(["default"]).collect();
        unknown("verdict", verdict, all)
    })?;
    let count = u32::try_from(approvals).ok().filter(|count| *count <= 100).ok_or_else(|| {
        let hint = "Give a number from 0 to 100.".to_owned();
        refusal("22023", format!("invalid number of approvals: {approvals}"), None, Some(hint))
    })?;
    if let Some(role) = approver_role
        && !relations::role_exists(role)?
    {
        let hint = format!("Create it first: CREATE ROLE {} NOLOGIN;", runbook_core::action::quote(role));
        return Err(refusal("42704", format!("role \"{role}\" does not exist"), None, Some(hint)));
    }
    Ok(Rule { verdict: parsed, approvals: count, approver_role: approver_role.map(str::to_owned) })
}

fn unknown(what: &str, value: &str, all: Vec<&str>) -> ErrorReport {
    refusal("22023", format!("unknown {what} \"{value}\""), None, Some(format!("The values are {}.", all.join(", "))))
}

fn describe(rule: &Rule) -> Value {
    let mut value = json!({"verdict": rule.verdict.as_str(), "approvals": rule.approvals});
    if let Some(role) = &rule.approver_role {
        value["approver_role"] = role.as_str().into();
    }
    value
}

/// The settings in force, with what each is for.
#[pg_extern(security_definer)]
#[search_path(pg_catalog, runbook, pg_temp)]
#[allow(clippy::type_complexity, reason = "the columns of the result, which pgrx reads from here")]
fn settings_in_force() -> Result<
    TableIterator<'static, (name!(key, String), name!(value, String), name!(source, String), name!(description, String))>,
    ErrorReport,
> {
    let set = stored::all()?;
    let rows = settings::KEYS.iter().map(move |(key, default, description)| {
        let (value, source) = set.get(*key).map_or((*default, "default"), |value| (value.as_str(), "set"));
        ((*key).to_owned(), value.to_owned(), source.to_owned(), (*description).to_owned())
    });
    Ok(TableIterator::new(rows.collect::<Vec<_>>()))
}

/// The rules in force: one for each class, then those for patterns of objects.
#[pg_extern(security_definer)]
#[search_path(pg_catalog, runbook, pg_temp)]
#[allow(clippy::type_complexity, reason = "the columns of the result, which pgrx reads from here")]
fn policy_in_force() -> Result<
    TableIterator<
        'static,
        (
            name!(class, String),
            name!(verdict, String),
            name!(approvals, i32),
            name!(objects, Option<String>),
            name!(approver_role, Option<String>),
            name!(source, String),
        ),
    >,
    ErrorReport,
> {
    let policy = stored::policy()?;
    let row = |class: Class, objects: Option<String>, rule: Rule, source: String| {
        let approvals = i32::try_from(rule.approvals).unwrap_or(i32::MAX);
        (class.as_str().to_owned(), rule.verdict.as_str().to_owned(), approvals, objects, rule.approver_role, source)
    };
    let mut rows = Vec::new();
    for class in Class::ALL {
        let set = policy.overrides().iter().any(|one| one.class == class && one.objects.is_none());
        let source = if set { "set".to_owned() } else { format!("preset {}", policy.preset().as_str()) };
        rows.push(row(class, None, policy.class_rule(class), source));
        let patterns = policy.overrides().iter().filter(|one| one.class == class);
        let mut patterns: Vec<_> = patterns.filter_map(|one| Some((one.objects.clone()?, one.rule.clone()))).collect();
        patterns.sort_by(|one, other| one.0.cmp(&other.0));
        rows.extend(patterns.into_iter().map(|(objects, rule)| row(class, Some(objects.to_string()), rule, "set".to_owned())));
    }
    Ok(TableIterator::new(rows))
}
