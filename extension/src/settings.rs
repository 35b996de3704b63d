//! What `configure(key, value)` knows: keys, defaults, checks, and the parameters that every revision runs under.

use crate::catalog::relations;
use crate::error::{self, refusal};
use crate::permission;
use crate::pg::execute::{job, subtransaction};
use crate::pg::session::identity::{session_is_member, session_role};
use crate::pg::session::pinned::Pinned;
use crate::spi::clock;
use crate::store::settings;
use runbook_core::policy::Preset;
use std::collections::BTreeMap;
use std::ffi::CString;
use std::time::Duration;

/// The keys, with their defaults and what they mean.
pub const KEYS: [(&str, &str, &str); 16] = [
    ("alembic_version", "off", "keep Alembic's table of that name in step with runbook.current()"),
    ("approval_valid_for", "30 days", "how long an approval is valid unless it says so itself"),
    ("backfill_max_dead", "0", "percentage of dead rows at which a backfill waits for a running vacuum of its table; 0: never"),
    ("backfill_max_lag", "10s", "lag of a streaming standby at which backfills wait; 0: never"),
    (
        "backfill_max_wal",
        "0",
        "megabytes of write-ahead log per second, of the whole server, above which backfills wait; 0: never",
    ),
    ("break_glass_max", "1 hour", "the longest time for which the glass can be broken"),
    ("data_lock_timeout", "1min", "lock_timeout of INSERT, UPDATE, DELETE and MERGE, behind which no session queues"),
    ("environment", "", "the name of this database, which runbook --env must then give"),
    ("lock_budget", "10min", "how long a lock that is not granted is tried again; 0: one attempt only"),
    ("lock_timeout", "2s", "lock_timeout of all other statements, behind which sessions queue"),
    ("migration_role", "", "the role that revisions run as; empty: the role that calls upgrade()"),
    ("migrator_wait", "60", "seconds that upgrade() waits for another migrator"),
    ("permit_max", "1 day", "the longest time for which a permit can be requested"),
    ("preset", "staging", "what the policy starts from: local, staging or production"),
    ("search_path", "\"$user\", public", "search_path under which revisions run"),
    ("terminate_idle_blockers", "0", "end blocking sessions that have been idle in a transaction for this long; 0: never"),
];

/// PostgreSQL's own `deadlock_timeout` is a second.
const LOOK: Duration = Duration::from_millis(300);

/// Settings of one apply.
#[derive(Debug)]
pub struct Settings {
    configured: BTreeMap<String, String>,
}

impl Settings {
    /// The settings in force.
    pub fn load() -> error::Result<Self> {
        Ok(Self { configured: settings::all()? })
    }

    fn get(&self, key: &str) -> &str {
        let default = KEYS.iter().find(|(known, ..)| *known == key).map_or("", |(_, default, _)| default);
        self.configured.get(key).map_or(default, String::as_str)
    }

    /// The role that revisions run as, if one is configured.
    pub fn migration_role(&self) -> Option<&str> {
        Some(self.get("migration_role")).filter(|role| !role.is_empty())
    }

    /// How long an approval counts, as an interval.
    pub fn approval_valid_for(&self) -> &str {
        self.get("approval_valid_for")
    }

    /// The longest time for which the glass can be broken, as an interval.
    pub fn break_glass_max(&self) -> &str {
        self.get("break_glass_max")
    }

    /// The longest time for which a permit can be requested, as an interval.
    pub fn permit_max(&self) -> &str {
        self.get("permit_max")
    }

    /// `lock_timeout` of DDL.
    pub fn lock_timeout(&self) -> CString {
        text(self.get("lock_timeout"))
    }

    /// How soon who waits for a lock looks for deadlocks and for who is in the way: well before it gives up.
    pub fn poll_interval(&self) -> Duration {
        let timeout = self.duration("lock_timeout");
        if timeout.is_zero() { LOOK } else { LOOK.min(timeout / 3).max(Duration::from_millis(1)) }
    }

    /// `lock_timeout` of statements that wait for rows.
    pub fn data_lock_timeout(&self) -> CString {
        text(self.get("data_lock_timeout"))
    }

    /// How long locks are tried for again.
    pub fn lock_budget(&self) -> Duration {
        self.duration("lock_budget")
    }

    /// How long a session in the way may be idle in a transaction before it is ended.
    pub fn terminate_idle_blockers(&self) -> Option<Duration> {
        Some(self.duration("terminate_idle_blockers")).filter(|limit| !limit.is_zero())
    }

    /// The lag of a standby at which backfills wait.
    pub fn backfill_max_lag(&self) -> Option<Duration> {
        Some(self.duration("backfill_max_lag")).filter(|limit| !limit.is_zero())
    }

    /// Bytes of write-ahead log per second above which backfills rest.
    pub fn backfill_max_wal(&self) -> Option<u64> {
        self.get("backfill_max_wal").parse().ok().filter(|limit| *limit > 0).map(|megabytes: u64| megabytes << 20)
    }

    /// Percent of dead rows at which a backfill waits for a vacuum.
    pub fn backfill_max_dead(&self) -> Option<u32> {
        self.get("backfill_max_dead").parse().ok().filter(|limit| *limit > 0)
    }

    fn duration(&self, key: &str) -> Duration {
        let value = self.get(key);
        // As PostgreSQL reads a time without a unit.
        runbook_core::backfill::duration(value).or_else(|| value.parse().ok().map(Duration::from_millis)).unwrap_or_default()
    }

    /// Shows a statement in `pg_stat_activity`, where a worker runs it.
    pub fn show(&self, revision: &str, section: &str, number: usize, sql: &str) {
        if let Some(job) = permission::job() {
            job::show(&format!("/* runbook job {job}, revision {revision} ({section}), statement {number} */ {sql}"));
        }
    }

    /// Whether `alembic_version` is kept in step.
    pub fn alembic_version(&self) -> bool {
        self.get("alembic_version") == "on"
    }

    /// How long to wait for another migrator.
    pub fn migrator_wait(&self) -> Duration {
        Duration::from_secs(self.get("migrator_wait").parse().unwrap_or(60))
    }

    /// The parameters that every revision runs under, so that the same text means the same everywhere.
    pub fn pinned(&self) -> Vec<(CString, CString)> {
        let path = temporary_last(self.get("search_path"));
        let look = self.poll_interval().as_millis().to_string();
        let pins = [
            ("search_path", path.as_str()),
            ("lock_timeout", self.get("lock_timeout")),
            // So that a migration finds a deadlock before the application does, and who is in the way is known; see pg/waits.rs.
            ("deadlock_timeout", look.as_str()),
            ("log_lock_waits", "on"),
            ("DateStyle", "ISO, MDY"),
            ("IntervalStyle", "postgres"),
            ("TimeZone", "UTC"),
            ("standard_conforming_strings", "on"),
            ("check_function_bodies", "on"),
            ("transform_null_equals", "off"),
            ("session_replication_role", "origin"),
            // Rows that a policy hides would be left as they are, without a word; so it is an error.
            ("row_security", "off"),
            ("array_nulls", "on"),
            ("extra_float_digits", "1"),
            ("bytea_output", "hex"),
            ("xmloption", "content"),
            ("default_tablespace", ""),
            ("default_table_access_method", "heap"),
            ("default_toast_compression", "pglz"),
            ("temp_tablespaces", ""),
            ("xmlbinary", "base64"),
            ("gin_fuzzy_search_limit", "0"),
            ("quote_all_identifiers", "off"),
            ("backslash_quote", "safe_encoding"),
            ("exit_on_error", "off"),
            ("zero_damaged_pages", "off"),
            ("allow_system_table_mods", "off"),
            ("lo_compat_privileges", "off"),
        ];
        pins.iter().map(|(name, value)| (text(name), text(value))).collect()
    }
}

/// PostgreSQL looks into the temporary schema first unless the path names it; then a caller's temporary table would stand
/// in for a real one.
fn temporary_last(path: &str) -> String {
    let named = path.split(',').any(|schema| schema.trim().trim_matches('"') == "pg_temp");
    if named { path.to_owned() } else { format!("{path}, pg_temp") }
}

fn text(text: &str) -> CString {
    CString::new(text).unwrap_or_default()
}

/// Checks and stores a setting; returns the old value.
///
/// # Errors
/// 22023 for an unknown key or a value that it can't have; 42704 for a role that doesn't exist.
pub fn configure(key: &str, value: Option<&str>) -> error::Result<Option<String>> {
    if !KEYS.iter().any(|(known, ..)| *known == key) {
        let keys: Vec<&str> = KEYS.iter().map(|(known, ..)| *known).collect();
        return Err(refusal(
            "22023",
            format!("unknown setting \"{key}\""),
            None,
            Some(format!("The settings are {}.", keys.join(", "))),
        ));
    }
    let mut all = settings::all()?;
    let old = all.get(key).cloned();
    match value {
        Some(value) => {
            check(key, value)?;
            if key == "environment" {
                check_name(value, all.get("preset").map(String::as_str))?;
            }
            all.insert(key.to_owned(), value.to_owned());
        }
        None => drop(all.remove(key)),
    }
    // PostgreSQL itself says whether revisions can run under these settings.
    let settings = Settings { configured: all };
    drop(Pinned::enter(&settings.pinned(), settings.migration_role()).map_err(|error| {
        let hint = Some("Revisions could not run with it; nothing was changed.".to_owned());
        refusal(&error.sqlstate(), format!("invalid value for setting \"{key}\": {}", error.message()), None, hint)
    })?);
    settings::set(key, value)?;
    Ok(old)
}

/// The name of a database. Setting `environment` was once the preset: what is written for that must not pass as a name.
fn check_name(name: &str, preset: Option<&str>) -> error::Result<()> {
    if name.is_empty() || name.chars().count() > 63 || !name.chars().all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c)) {
        let fix = "A name has 1 to 63 letters, digits, dots, hyphens and underscores of ASCII.".to_owned();
        return Err(refusal("22023", format!("invalid value for setting \"environment\": \"{name}\""), None, Some(fix)));
    }
    let in_force = preset.and_then(Preset::parse).unwrap_or_default();
    if Preset::parse(name).is_none_or(|meant| meant == in_force) {
        return Ok(());
    }
    Err(refusal(
        "22023",
        format!("\"{name}\" is a preset, and setting \"environment\" is the name of this database"),
        Some(format!(
            "The preset in force is {}. A database takes the name of a preset only where that is in force.",
            in_force.as_str()
        )),
        Some(format!("For the preset: SELECT runbook.configure('preset', '{name}');")),
    ))
}

fn check(key: &str, value: &str) -> error::Result<()> {
    let wrong = |fix: &str| {
        Err(refusal("22023", format!("invalid value for setting \"{key}\": \"{value}\""), None, Some(fix.to_owned())))
    };
    match key {
        "alembic_version" if !["on", "off"].contains(&value) => wrong("The values are on and off."),
        "preset" if Preset::parse(value).is_none() => wrong("The values are local, staging and production."),
        "approval_valid_for" | "break_glass_max" | "permit_max" if !is_interval(value) => {
            wrong("Give a time as PostgreSQL writes intervals, such as 30 days or 1 hour.")
        }
        "migrator_wait" if value.parse::<u32>().is_err() => wrong("Give a number of seconds."),
        "lock_timeout" | "data_lock_timeout" if !is_duration(value) => {
            wrong("Give a number with ms, s, min or h, such as 2s; 0 waits for ever.")
        }
        "lock_budget" | "terminate_idle_blockers" | "backfill_max_lag" if !is_duration(value) => {
            wrong("Give a number with ms, s, min or h, such as 10min; 0 turns it off.")
        }
        "backfill_max_dead" | "backfill_max_wal" if value.parse::<u32>().is_err() => {
            wrong("Give a whole number; 0 turns it off.")
        }
        "migration_role" if !value.is_empty() && !relations::role_exists(value)? => Err(refusal(
            "42704",
            format!("role \"{value}\" does not exist"),
            None,
            Some(format!("Create it first: CREATE ROLE {} NOLOGIN;", runbook_core::action::quote(value))),
        )),
        "migration_role" if !value.is_empty() && !session_is_member(value) => Err(refusal(
            "42501",
            format!("login \"{}\" can't let revisions run as \"{value}\"", session_role()),
            Some("It is not a member of that role, and would gain its privileges.".to_owned()),
            Some("Let a member of the role, or a superuser, configure it.".to_owned()),
        )),
        _ => Ok(()),
    }
}

/// Whether PostgreSQL takes the value for a positive interval; an error of its own is a no, and so is a number without a unit: it would be
/// seconds, and who wrote `30` for 30 days would never learn it.
fn is_interval(value: &str) -> bool {
    if !value.contains(|c: char| c.is_ascii_alphabetic() || c == ':') {
        return false;
    }
    let asked = subtransaction::within(|| Ok(clock::is_positive_interval(value)?));
    matches!(asked, Ok(true))
}

fn is_duration(value: &str) -> bool {
    let digits = value.trim_end_matches(char::is_alphabetic);
    let unit = &value[digits.len()..];
    value == "0" || (digits.parse::<u32>().is_ok() && ["ms", "s", "min", "h"].contains(&unit))
}
