//! The marks of guarded databases in `pg_db_role_setting`.

use crate::error::Result;
use crate::pg::session::identity::{database, name_of_database};
use crate::spi::{execute, read};
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
    execute("SELECT runbook_internal.mark_guarded($1)", &[value.into()])
}

/// Takes this database's mark away.
pub fn unmark() -> Result<()> {
    execute("SELECT runbook_internal.mark_guarded(NULL)", &[])
}

/// Name of this database.
pub fn this_database() -> String {
    name_of_database(database().oid)
}

/// The databases that are marked as guarded. A mark that was copied with a database names another one and does not count.
pub fn guarded() -> Result<Vec<Guarded>> {
    let system = database().system_identifier;
    let rows = read(
        "SELECT d.oid, pg_catalog.substr(c.line, pg_catalog.length('runbook.guarded=') OPERATOR(pg_catalog.+) 1) \
         FROM pg_catalog.pg_db_role_setting AS s \
         JOIN pg_catalog.pg_database AS d ON d.oid OPERATOR(pg_catalog.=) s.setdatabase \
         CROSS JOIN LATERAL pg_catalog.unnest(s.setconfig) AS c (line) \
         WHERE s.setrole OPERATOR(pg_catalog.=) 0::pg_catalog.oid AND pg_catalog.starts_with(c.line, 'runbook.guarded=')",
        &[],
        |row| Ok((row.get::<Oid>(1)?.to_u32(), row.get::<String>(2)?)),
    )?;
    let read = |(oid, value): (u32, String)| {
        let mut parts = value.split('/');
        let (marked_system, marked_oid, verdict) = (parts.next()?, parts.next()?, parts.next()?);
        let known = marked_system == system && marked_oid == oid.to_string();
        known.then(|| Guarded { oid, name: name_of_database(oid), verdict: Verdict::parse(verdict).unwrap_or(Verdict::Deny) })
    };
    Ok(rows.into_iter().filter_map(read).collect())
}

/// The transactions of this database that are prepared, by name and owner.
pub fn prepared_transactions() -> Result<Vec<String>> {
    read(
        "SELECT pg_catalog.format('%L (%s, %s)', p.gid, p.owner, p.prepared) FROM pg_catalog.pg_prepared_xacts AS p \
         WHERE p.database OPERATOR(pg_catalog.=) pg_catalog.current_database() ORDER BY p.prepared USING OPERATOR(pg_catalog.<)",
        &[],
        |row| row.get(1),
    )
}
