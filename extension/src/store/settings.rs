//! Tables `setting`, `policy_rule`, `maintenance_window` and `activation`.

use crate::error::{Result, internal};
use crate::pg::session::identity::{Database, database};
use crate::pg::session::latest::rules_version;
use crate::spi::{execute, latest, read, texts};
use chrono::NaiveDateTime;
use runbook_core::action::Class;
use runbook_core::policy::{Override, Pattern, Policy, Preset, Rule, Verdict};
use runbook_core::window::{Window, parse_days};
use serde::Deserialize;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

thread_local! {
    /// What was read, and under which version of the rules.
    static STORED: RefCell<Option<(u64, Rc<Stored>)>> = const { RefCell::new(None) };
    static ACTIVE: Cell<Option<(u64, bool)>> = const { Cell::new(None) };
    static POLICY: RefCell<Option<(u64, Policy)>> = const { RefCell::new(None) };
}

/// What the tables say.
#[derive(Default)]
struct Stored {
    activation: Option<Database>,
    settings: BTreeMap<String, String>,
    rules: Vec<StoredRule>,
    has_windows: bool,
}

/// All of it, in one query: every DDL statement asks, and where a hundred sessions do DDL, each plans it anew for each of its transactions,
/// since PostgreSQL has it forget what it knows of catalogs. So there is no function and no operator in it, which would be looked up.
fn stored() -> Result<Rc<Stored>> {
    let version = rules_version();
    if let Some(known) =
        STORED.with_borrow(|known| known.as_ref().filter(|known| known.0 == version).map(|known| known.1.clone()))
    {
        return Ok(known);
    }
    let rows = texts(
        "SELECT 'activation', a.system_identifier, a.database_oid::pg_catalog.text, '', '', '' FROM runbook.activation AS a \
         UNION ALL SELECT 'setting', s.key, s.value, '', '', '' FROM runbook.setting AS s \
         UNION ALL SELECT 'rule', p.class, p.objects, p.verdict, p.approvals::pg_catalog.text, p.approver_role FROM runbook.policy_rule AS p \
         UNION ALL SELECT 'window', w.name, '', '', '', '' FROM runbook.maintenance_window AS w",
        &[],
    );
    let mut stored = Stored::default();
    for row in rows {
        stored.take(row).ok_or_else(|| internal("a row of runbook's rules can't be read"))?;
    }
    let stored = Rc::new(stored);
    STORED.set(Some((version, stored.clone())));
    Ok(stored)
}

impl Stored {
    fn take(&mut self, row: Vec<Option<String>>) -> Option<()> {
        let [Some(what), Some(first), Some(second), Some(third), Some(fourth), fifth] = <[_; 6]>::try_from(row).ok()? else {
            return None;
        };
        match what.as_str() {
            "activation" => self.activation = Some(Database { system_identifier: first, oid: second.parse().ok()? }),
            "setting" => drop(self.settings.insert(first, second)),
            "rule" => self.rules.push(StoredRule(first, second, third, fourth.parse().ok()?, fifth)),
            _ => self.has_windows = true,
        }
        Some(())
    }
}

thread_local! {
    /// Whether the transaction at hand has changed what the guard decides by.
    static CHANGED: Cell<bool> = const { Cell::new(false) };
    /// How often this process has changed rules.
    static CHANGES: Cell<u64> = const { Cell::new(0) };
}

/// How often this process has changed rules.
pub fn changes() -> u64 {
    CHANGES.get()
}

/// Whether the guard decides by rules, or by somebody's yes, that are not committed: what no rollback takes back must not be decided by them.
pub fn rules_are_uncommitted() -> bool {
    CHANGED.get()
}

/// Takes note of a change of rules, or of a decision by them; of a guard that is not active, they decide nothing.
pub fn note_change() -> Result<()> {
    CHANGES.set(CHANGES.get() + 1);
    if is_active()? {
        CHANGED.set(true);
    }
    Ok(())
}

/// The transaction has ended.
pub fn over() {
    CHANGED.set(false);
}

/// Which database the guard was activated for, if any.
pub fn activation() -> Result<Option<Database>> {
    Ok(stored()?.activation.clone())
}

/// Whether the guard is active here: activated, and not a copy.
pub fn is_active() -> Result<bool> {
    let version = rules_version();
    if let Some((_, known)) = ACTIVE.get().filter(|known| known.0 == version) {
        return Ok(known);
    }
    let active = activation()?.is_some_and(|activated| activated == database());
    ACTIVE.set(Some((version, active)));
    Ok(active)
}

/// Activates the guard for this database.
pub fn activate(by: &str) -> Result<()> {
    note_change()?;
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
    note_change()?;
    execute("DELETE FROM runbook.activation", &[])
}

/// The policy in force, with what the clocks of its maintenance windows show now.
///
/// # Errors
/// XX000 where a row can't be read, so that a damaged policy stops everything instead of nothing.
pub fn policy() -> Result<Policy> {
    let version = rules_version();
    if let Some(known) =
        POLICY.with_borrow(|known| known.as_ref().filter(|known| known.0 == version).map(|known| known.1.clone()))
    {
        return Ok(known);
    }
    let stored = stored()?;
    // Windows are told with the time of day.
    if stored.has_windows {
        return policy_with_windows();
    }
    let of = StoredPolicy { preset: stored.settings.get("preset").cloned(), rules: Some(stored.rules.clone()), windows: None };
    let policy = of.read().ok_or_else(|| internal("a row of runbook.policy_rule can't be read"))?;
    POLICY.set(Some((version, policy.clone())));
    Ok(policy)
}

fn policy_with_windows() -> Result<Policy> {
    let json = latest(
        "SELECT pg_catalog.jsonb_build_object(\
             'preset', (SELECT s.value FROM runbook.setting AS s WHERE s.key OPERATOR(pg_catalog.=) 'preset'), \
             'rules', (SELECT pg_catalog.jsonb_agg(pg_catalog.jsonb_build_array(\
                 p.class, p.objects, p.verdict, p.approvals, p.approver_role)) FROM runbook.policy_rule AS p), \
             'windows', (SELECT pg_catalog.jsonb_agg(pg_catalog.jsonb_build_array(\
                 w.name, w.classes, w.days, w.opens::pg_catalog.text, w.closes::pg_catalog.text, w.time_zone, \
                 pg_catalog.to_char(pg_catalog.timezone(w.time_zone, pg_catalog.clock_timestamp()), \
                                    'YYYY-MM-DD\"T\"HH24:MI:SS'))) FROM runbook.maintenance_window AS w))::pg_catalog.text",
    );
    let json = json.unwrap_or_default();
    let stored: StoredPolicy = serde_json::from_str(&json).map_err(|error| internal(format!("runbook's policy: {error}")))?;
    stored.read().ok_or_else(|| internal("a row of runbook.policy_rule or runbook.maintenance_window can't be read"))
}

#[derive(Deserialize)]
struct StoredPolicy {
    preset: Option<String>,
    rules: Option<Vec<StoredRule>>,
    windows: Option<Vec<StoredWindow>>,
}

#[derive(Clone, Deserialize)]
struct StoredRule(String, String, String, u32, Option<String>);

#[derive(Deserialize)]
struct StoredWindow(String, Vec<String>, String, String, String, String, String);

impl StoredPolicy {
    fn read(self) -> Option<Policy> {
        let preset = match &self.preset {
            Some(text) => Preset::parse(text)?,
            None => Preset::default(),
        };
        let rules = self.rules.unwrap_or_default().into_iter().map(|rule| {
            let StoredRule(class, objects, verdict, approvals, approver_role) = rule;
            let objects = if objects.is_empty() { None } else { Some(Pattern::parse(&objects)?) };
            let rule = Rule { verdict: Verdict::parse(&verdict)?, approvals, approver_role };
            Some(Override { class: Class::parse(&class)?, objects, rule })
        });
        let windows = self.windows.unwrap_or_default().into_iter().map(StoredWindow::read);
        Some(Policy::new(preset, rules.collect::<Option<_>>()?).with_windows(windows.collect::<Option<_>>()?))
    }
}

impl StoredWindow {
    fn read(self) -> Option<(Window, NaiveDateTime)> {
        let Self(name, classes, days, opens, closes, time_zone, now) = self;
        let classes = classes.iter().map(|class| Class::parse(class)).collect::<Option<_>>()?;
        let (days, opens, closes) = (parse_days(&days)?, opens.parse().ok()?, closes.parse().ok()?);
        Some((Window { name, classes, days, opens, closes, time_zone }, now.parse().ok()?))
    }
}

/// Sets the rule of a class, on all objects or on those that match.
pub fn set_rule(class: Class, objects: Option<&Pattern>, rule: &Rule) -> Result<()> {
    note_change()?;
    execute(
        "INSERT INTO runbook.policy_rule (class, objects, verdict, approvals, approver_role) VALUES ($1, $2, $3, $4, $5) \
         ON CONFLICT (class, objects) DO UPDATE SET verdict = excluded.verdict, approvals = excluded.approvals, \
         approver_role = excluded.approver_role",
        &[
            class.as_str().into(),
            objects.map(Pattern::to_string).unwrap_or_default().into(),
            rule.verdict.as_str().into(),
            i32::try_from(rule.approvals).unwrap_or(i32::MAX).into(),
            rule.approver_role.clone().into(),
        ],
    )
}

/// Takes a rule back.
pub fn drop_rule(class: Class, objects: Option<&Pattern>) -> Result<()> {
    note_change()?;
    execute(
        "DELETE FROM runbook.policy_rule AS p WHERE p.class OPERATOR(pg_catalog.=) $1 AND p.objects OPERATOR(pg_catalog.=) $2",
        &[class.as_str().into(), objects.map(Pattern::to_string).unwrap_or_default().into()],
    )
}

/// Stores a maintenance window, in place of one with the same name.
pub fn set_window(window: &Window, days: &str) -> Result<()> {
    note_change()?;
    execute(
        "INSERT INTO runbook.maintenance_window (name, classes, days, opens, closes, time_zone) \
         VALUES ($1, $2, $3, $4::pg_catalog.time, $5::pg_catalog.time, $6) ON CONFLICT (name) DO UPDATE SET \
         classes = excluded.classes, days = excluded.days, opens = excluded.opens, closes = excluded.closes, \
         time_zone = excluded.time_zone",
        &[
            window.name.as_str().into(),
            window.classes.iter().map(|class| class.as_str().to_owned()).collect::<Vec<_>>().into(),
            days.into(),
            window.opens.to_string().into(),
            window.closes.to_string().into(),
            window.time_zone.as_str().into(),
        ],
    )
}

/// A maintenance window as JSON, if there is one of that name. It need not be readable as a policy.
pub fn window(name: &str) -> Result<Option<String>> {
    let rows = read(
        "SELECT pg_catalog.row_to_json(w)::pg_catalog.text FROM runbook.maintenance_window AS w \
         WHERE w.name OPERATOR(pg_catalog.=) $1",
        &[name.into()],
        |row| row.get(1),
    )?;
    Ok(rows.into_iter().next())
}

/// Removes a maintenance window.
pub fn drop_window(name: &str) -> Result<()> {
    note_change()?;
    execute("DELETE FROM runbook.maintenance_window AS w WHERE w.name OPERATOR(pg_catalog.=) $1", &[name.into()])
}

/// All settings that were configured. Every step of an upgrade asks.
pub fn all() -> Result<BTreeMap<String, String>> {
    Ok(stored()?.settings.clone())
}

/// Sets a setting; `None` takes it back to its default.
pub fn set(key: &str, value: Option<&str>) -> Result<()> {
    note_change()?;
    match value {
        Some(value) => execute(
            "INSERT INTO runbook.setting (key, value) VALUES ($1, $2) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
            &[key.into(), value.into()],
        ),
        None => execute("DELETE FROM runbook.setting AS s WHERE s.key OPERATOR(pg_catalog.=) $1", &[key.into()]),
    }
}
