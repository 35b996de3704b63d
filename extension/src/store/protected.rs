//! The triggers of protected tables.

use super::{Result, execute, read};
use pgrx::pg_sys::Oid;

/// The limit of a protected table: `None` if it isn't protected, `Some(None)` if against TRUNCATE alone.
pub fn limit(table: u32) -> Result<Option<Option<i64>>> {
    let rows = read(
        "SELECT (SELECT pg_catalog.split_part(pg_catalog.encode(t.tgargs, 'escape'), E'\\\\000', 1) \
             FROM pg_catalog.pg_trigger AS t JOIN pg_catalog.pg_proc AS p ON p.oid OPERATOR(pg_catalog.=) t.tgfoid \
             WHERE t.tgrelid OPERATOR(pg_catalog.=) $1 AND t.tgname OPERATOR(pg_catalog.=) 'a_runbook_rows' \
                 AND p.prosrc OPERATOR(pg_catalog.=) 'runbook_guard_rows') \
         FROM pg_catalog.pg_trigger AS e WHERE e.tgrelid OPERATOR(pg_catalog.=) $1 \
             AND e.tgname OPERATOR(pg_catalog.=) 'a_runbook_truncate'",
        &[Oid::from(table).into()],
        |row| row.maybe::<String>(1),
    )?;
    Ok(rows.into_iter().next().map(|limit| limit.and_then(|limit| limit.parse().ok())))
}

/// Creates the triggers, in place of earlier ones.
pub fn protect(table: u32, max_rows: Option<i64>) -> Result<()> {
    execute("SELECT runbook.make_triggers($1, $2)", &[Oid::from(table).into(), max_rows.into()])
}

/// Protects what has come to belong to a table, if that is protected.
pub fn extend(parent: u32) -> Result<()> {
    execute("SELECT runbook.extend_protection($1)", &[Oid::from(parent).into()])
}

/// Drops the triggers.
pub fn unprotect(table: u32) -> Result<()> {
    execute("SELECT runbook.drop_triggers($1)", &[Oid::from(table).into()])
}

/// Protected tables as people read them, and whether their triggers are whole.
pub fn all() -> Result<Vec<(String, bool)>> {
    read(
        "SELECT pg_catalog.format('%s%s', v.\"table\", CASE WHEN v.max_rows IS NULL THEN ' (TRUNCATE)' \
             ELSE pg_catalog.format(' (%s rows)', v.max_rows) END), v.enabled FROM runbook.protected_tables AS v",
        &[],
        |row| Ok((row.get(1)?, row.get(2)?)),
    )
}
