//! Tables `setting`, `policy_rule` and `activation`.

use super::{Result, execute, read};
use crate::pg::identity::{Database, database};
use runbook_core::action::Class;
use runbook_core::policy::{Policy, Rule, Verdict};
use std::collections::BTreeMap;

/// Which database the guard was activated for, if any.
pub fn activation() -> Result<Option<Database>> {
    let rows = read("SELECT a.system_identifier, a.database_oid FROM runbook.activation AS a", &[], |row| {
        Ok(Database { system_identifier: row.get(1)?, oid: row.get::<pgrx::pg_sys::Oid>(2)?.to_u32() })
    })?;
    Ok(rows.into_iter().next())
}

/// Whether the guard is active here: activated, and not a copy.
pub fn is_active() -> Result<bool> {
    Ok(activation()?.is_some_and(|activated| activated == database()))
}

/// Activates the guard for this database.
pub fn activate(by: &str) -> Result<()> {
    let here = database();
    execute(
        "INSERT INTO runbook.activation (only_row, system_identifier, database_oid, activated_by, activated_at) \
         VALUES (true, $1, $2, $3, pg_catalog.clock_timestamp()) ON CONFLICT (only_row) DO UPDATE SET \
         system_identifier = excluded.system_identifier, database_oid = excluded.database_oid, \
         activated_by = excluded.activated_by, activated_at = excluded.activated_at",
        &[here.system_identifier.as_str().into(), pgrx::pg_sys::Oid::from(here.oid).into(), by.into()],
    )
}

/// Deactivates the guard.
pub fn deactivate() -> Result<()> {
    execute("DELETE FROM runbook.activation", &[])
}

/// The policy in force.
pub fn policy() -> Result<Policy> {
    let rows = read("SELECT p.class, p.verdict, p.approvals FROM runbook.policy_rule AS p", &[], |row| {
        let (class, verdict, approvals) = (row.get::<String>(1)?, row.get::<String>(2)?, row.get::<i32>(3)?);
        Ok(Class::parse(&class)
            .zip(Verdict::parse(&verdict))
            .map(|(class, verdict)| (class, Rule { verdict, approvals: u32::try_from(approvals).unwrap_or(0) })))
    })?;
    Ok(Policy::new(rows.into_iter().flatten()))
}

/// Sets the rule of a class.
pub fn set_rule(class: Class, rule: Rule) -> Result<()> {
    execute(
        "INSERT INTO runbook.policy_rule (class, verdict, approvals) VALUES ($1, $2, $3) ON CONFLICT (class) DO UPDATE \
         SET verdict = excluded.verdict, approvals = excluded.approvals",
        &[class.as_str().into(), rule.verdict.as_str().into(), i32::try_from(rule.approvals).unwrap_or(i32::MAX).into()],
    )
}

/// All settings that were configured.
pub fn all() -> Result<BTreeMap<String, String>> {
    let rows = read("SELECT s.key, s.value FROM runbook.setting AS s", &[], |row| Ok((row.get(1)?, row.get(2)?)))?;
    Ok(rows.into_iter().collect())
}

/// Sets a setting; `None` takes it back to its default.
pub fn set(key: &str, value: Option<&str>) -> Result<()> {
    match value {
        Some(value) => execute(
            "INSERT INTO runbook.setting (key, value) VALUES ($1, $2) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
            &[key.into(), value.into()],
        ),
        None => execute("DELETE FROM runbook.setting AS s WHERE s.key OPERATOR(pg_catalog.=) $1", &[key.into()]),
    }
}
