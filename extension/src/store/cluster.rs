//! The marks of guarded databases in `pg_db_role_setting`.

use super::{Result, execute, read};
use crate::pg::identity::database;
use pgrx::pg_sys::Oid;
use runbook_core::policy::Verdict;

/// Another guarded database of the cluster, or this one.
#[derive(Debug)]
pub struct Guarded {
    /// Its OID.
    pub oid: u32,
    /// Its name.
    pub name: String,
    /// What its policy says of control actions.
    pub verdict: Verdict,
}

/// Marks this database.
pub fn mark(value: &str) -> Result<()> {
    execute("SELECT runbook.mark_guarded($1)", &[value.into()])
}

/// Takes this database's mark away.
pub fn unmark() -> Result<()> {
    execute("SELECT runbook.mark_guarded(NULL)", &[])
}

/// Name of this database.
pub fn this_database() -> Result<String> {
    let rows = read("SELECT pg_catalog.current_database()::pg_catalog.text", &[], |row| row.get::<String>(1))?;
    Ok(rows.into_iter().next().unwrap_or_default())
}

/// The databases that are marked as guarded. A mark that was copied with a database names another one and does not count.
pub fn guarded() -> Result<Vec<Guarded>> {
    let system = database().system_identifier;
    let rows = read(
        "SELECT d.oid, d.datname::pg_catalog.text, pg_catalog.substr(c.line, pg_catalog.length('runbook.guarded=') OPERATOR(pg_catalog.+) 1) \
         FROM pg_catalog.pg_db_role_setting AS s \
         JOIN pg_catalog.pg_database AS d ON d.oid OPERATOR(pg_catalog.=) s.setdatabase \
         CROSS JOIN LATERAL pg_catalog.unnest(s.setconfig) AS c (line) \
         WHERE s.setrole OPERATOR(pg_catalog.=) 0::pg_catalog.oid AND pg_catalog.starts_with(c.line, 'runbook.guarded=')",
        &[],
        |row| Ok((row.get::<Oid>(1)?.to_u32(), row.get::<String>(2)?, row.get::<String>(3)?)),
    )?;
    let read = |(oid, name, value): (u32, String, String)| {
        let mut parts = value.split('/');
        let (marked_system, marked_oid, verdict) = (parts.next()?, parts.next()?, parts.next()?);
        let known = marked_system == system && marked_oid == oid.to_string();
        known.then(|| Guarded { oid, name, verdict: Verdict::parse(verdict).unwrap_or(Verdict::Deny) })
    };
    Ok(rows.into_iter().filter_map(read).collect())
}
