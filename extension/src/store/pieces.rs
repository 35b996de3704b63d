//! Tables `statement_progress` and `built_relation`, and what interrupted statements leave in the catalog.

use crate::error::Result;
use crate::spi::{Row, execute, read};
use pgrx::pg_sys::Oid;

/// How far one statement has come.
#[derive(Clone, Debug)]
pub struct Progress {
    /// Its number, from 1.
    pub statement: i32,
    /// Hash of its text.
    pub digest: String,
    /// Whether it is done, or has only begun.
    pub done: bool,
    /// Objects that it was to replace or to remove, by OID.
    pub before: Vec<u32>,
}

fn oids(oids: &[u32]) -> Vec<Oid> {
    oids.iter().map(|oid| Oid::from(*oid)).collect()
}

/// The statements of a revision that have begun, in order.
pub fn progress(revision: &str, direction: &str) -> Result<Vec<Progress>> {
    read(
        "SELECT p.statement, p.digest, p.done, p.before FROM runbook.statement_progress AS p \
         WHERE p.revision OPERATOR(pg_catalog.=) $1 AND p.direction OPERATOR(pg_catalog.=) $2 \
         ORDER BY p.statement USING OPERATOR(pg_catalog.<)",
        &[revision.into(), direction.into()],
        |row| {
            let before: Vec<Oid> = row.get(4)?;
            let before = before.into_iter().map(Oid::to_u32).collect();
            Ok(Progress { statement: row.get(1)?, digest: row.get(2)?, done: row.get(3)?, before })
        },
    )
}

/// Notes that a statement has begun, or is done, of so many of its section.
pub fn note(revision: &str, direction: &str, one: &Progress, statements: i32) -> Result<()> {
    execute(
        "INSERT INTO runbook.statement_progress AS p (revision, direction, statement, digest, done, before, started_at, statements) \
         VALUES ($1, $2, $3, $4, $5, $6, pg_catalog.clock_timestamp(), $7) ON CONFLICT (revision, direction, statement) DO UPDATE \
         SET digest = excluded.digest, done = excluded.done, before = excluded.before, statements = excluded.statements",
        &[
            revision.into(),
            direction.into(),
            one.statement.into(),
            one.digest.as_str().into(),
            one.done.into(),
            oids(&one.before).into(),
            statements.into(),
        ],
    )
}

/// A revision that is applied in part, with how much of it is done, in words.
pub fn applied_in_part() -> Result<Option<(String, String)>> {
    let rows = read(
        "SELECT v.revision, v.progress FROM runbook.revisions AS v WHERE v.progress IS NOT NULL AND v.status OPERATOR(pg_catalog.<>) 'applied' LIMIT 1",
        &[],
        |row| Ok((row.get::<String>(1)?, row.get::<String>(2)?)),
    )?;
    Ok(rows.into_iter().next())
}

/// Forgets that a statement was begun.
pub fn take_back(revision: &str, direction: &str, statement: i32) -> Result<()> {
    execute(
        "DELETE FROM runbook.statement_progress AS p WHERE p.revision OPERATOR(pg_catalog.=) $1 \
             AND p.direction OPERATOR(pg_catalog.=) $2 AND p.statement OPERATOR(pg_catalog.=) $3 AND NOT p.done",
        &[revision.into(), direction.into(), statement.into()],
    )
}

/// Forgets what revisions that are applied or reverted had done in part.
pub fn forget(revisions: &[String]) -> Result<()> {
    let all = || revisions.to_vec().into();
    execute("DELETE FROM runbook.statement_progress AS p WHERE p.revision OPERATOR(pg_catalog.=) ANY ($1)", &[all()])?;
    execute("DELETE FROM runbook.built_relation AS b WHERE b.revision OPERATOR(pg_catalog.=) ANY ($1)", &[all()])?;
    execute("DELETE FROM runbook.backfill AS b WHERE b.revision OPERATOR(pg_catalog.=) ANY ($1)", &[all()])
}

/// Whether a revision has been done in part.
pub fn is_begun(revision: &str) -> Result<bool> {
    let sql = "SELECT EXISTS (SELECT FROM runbook.statement_progress AS p WHERE p.revision OPERATOR(pg_catalog.=) $1)";
    Ok(read(sql, &[revision.into()], |row| row.get::<bool>(1))?.into_iter().any(|begun| begun))
}

/// Whether any revision has been done in part.
pub fn any() -> Result<bool> {
    let rows =
        read("SELECT EXISTS (SELECT FROM runbook.statement_progress) OR EXISTS (SELECT FROM runbook.backfill)", &[], |row| {
            row.get::<bool>(1)
        })?;
    Ok(rows.into_iter().next().unwrap_or(true))
}

/// An index, as the catalog has it.
#[derive(Clone, Debug)]
pub struct Index {
    /// Its OID.
    pub oid: u32,
    /// Schema and name, quoted.
    pub name: String,
    /// Whether it can be used and is kept up to date.
    pub valid: bool,
    /// OID of its table's owner.
    pub owner: u32,
}

/// The indexes that a statement of a revision has built and that are still there. Those of what is stored out of line are left out: their tables'
/// owners can't drop them.
pub fn built(revision: &str, direction: &str, statement: i32) -> Result<Vec<Index>> {
    read(
        "SELECT i.indexrelid, pg_catalog.format('%I.%I', n.nspname, c.relname), i.indisvalid AND i.indisready AND i.indislive, c.relowner \
         FROM runbook.built_relation AS b JOIN pg_catalog.pg_index AS i ON i.indexrelid OPERATOR(pg_catalog.=) b.object \
         JOIN pg_catalog.pg_class AS c ON c.oid OPERATOR(pg_catalog.=) i.indexrelid \
         JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace \
         WHERE b.revision OPERATOR(pg_catalog.=) $1 AND b.direction OPERATOR(pg_catalog.=) $2 \
             AND b.statement OPERATOR(pg_catalog.=) $3 AND n.nspname OPERATOR(pg_catalog.<>) 'pg_toast'",
        &[revision.into(), direction.into(), statement.into()],
        index,
    )
}

/// Invalid indexes among these that REINDEX has put aside.
pub fn put_aside(among: &[u32]) -> Result<Vec<Index>> {
    read(
        "SELECT i.indexrelid, pg_catalog.format('%I.%I', n.nspname, c.relname), false, c.relowner \
         FROM pg_catalog.pg_index AS i JOIN pg_catalog.pg_class AS c ON c.oid OPERATOR(pg_catalog.=) i.indexrelid \
         JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace \
         WHERE i.indexrelid OPERATOR(pg_catalog.=) ANY ($1) AND NOT i.indisvalid \
             AND c.relname::pg_catalog.text OPERATOR(pg_catalog.~) '_ccold[0-9]*$'",
        &[oids(among).into()],
        index,
    )
}

fn index(row: &Row) -> Result<Index> {
    let oid = |at: usize| row.get::<Oid>(at).map(Oid::to_u32);
    Ok(Index { oid: oid(1)?, name: row.get(2)?, valid: row.get(3)?, owner: oid(4)? })
}

/// Indexes of a table that are not valid: OID and name.
pub fn invalid_indexes(table: u32) -> Result<Vec<Index>> {
    read(
        "SELECT i.indexrelid, pg_catalog.format('%I.%I', n.nspname, c.relname), false, c.relowner \
         FROM pg_catalog.pg_index AS i JOIN pg_catalog.pg_class AS c ON c.oid OPERATOR(pg_catalog.=) i.indexrelid \
         JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace \
         WHERE i.indrelid OPERATOR(pg_catalog.=) $1 AND NOT i.indisvalid AND c.relkind OPERATOR(pg_catalog.=) 'i'",
        &[Oid::from(table).into()],
        index,
    )
}

/// Whether a statement of some revision has built this relation.
pub fn is_built_by_us(oid: u32) -> Result<bool> {
    let rows = read(
        "SELECT true FROM runbook.built_relation AS b WHERE b.object OPERATOR(pg_catalog.=) $1 LIMIT 1",
        &[Oid::from(oid).into()],
        |row| row.get::<bool>(1),
    )?;
    Ok(!rows.is_empty())
}

/// The index of that name in the schema of a table, where PostgreSQL would make it.
pub fn index_beside(table: u32, name: &str) -> Result<Option<Index>> {
    let rows = read(
        "SELECT i.indexrelid, pg_catalog.format('%I.%I', n.nspname, c.relname), i.indisvalid, c.relowner \
         FROM pg_catalog.pg_class AS t JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) t.relnamespace \
         JOIN pg_catalog.pg_class AS c ON c.relnamespace OPERATOR(pg_catalog.=) n.oid \
         JOIN pg_catalog.pg_index AS i ON i.indexrelid OPERATOR(pg_catalog.=) c.oid \
         WHERE t.oid OPERATOR(pg_catalog.=) $1 AND c.relname OPERATOR(pg_catalog.=) $2::pg_catalog.name",
        &[Oid::from(table).into(), name.into()],
        index,
    )?;
    Ok(rows.into_iter().next())
}

/// The indexes that REINDEX of these relations builds anew: themselves, or those of tables, with their partitions'.
pub fn indexes_of(relations: &[u32]) -> Result<Vec<u32>> {
    let rows = read(
        "WITH RECURSIVE part (oid) AS (SELECT r.oid FROM pg_catalog.unnest($1) AS r (oid) \
             UNION SELECT i.inhrelid FROM part AS p JOIN pg_catalog.pg_inherits AS i ON i.inhparent OPERATOR(pg_catalog.=) p.oid) \
         SELECT i.indexrelid FROM pg_catalog.pg_index AS i JOIN part AS p \
             ON p.oid OPERATOR(pg_catalog.=) i.indexrelid OR p.oid OPERATOR(pg_catalog.=) i.indrelid WHERE i.indisvalid",
        &[oids(relations).into()],
        |row| row.get::<Oid>(1),
    )?;
    Ok(rows.into_iter().map(Oid::to_u32).collect())
}

/// Whether any of these relations is still there.
pub fn any_relation(relations: &[u32]) -> Result<bool> {
    let rows = read(
        "SELECT true FROM pg_catalog.pg_class AS c WHERE c.oid OPERATOR(pg_catalog.=) ANY ($1) LIMIT 1",
        &[oids(relations).into()],
        |row| row.get::<bool>(1),
    )?;
    Ok(!rows.is_empty())
}

/// A database, tablespace or subscription of that name.
pub fn shared_object(kind: &str, name: &str) -> Result<Option<u32>> {
    let rows = read(
        "SELECT d.oid FROM pg_catalog.pg_database AS d WHERE $1 OPERATOR(pg_catalog.=) 'database' \
             AND d.datname OPERATOR(pg_catalog.=) $2::pg_catalog.name \
         UNION ALL SELECT t.oid FROM pg_catalog.pg_tablespace AS t WHERE $1 OPERATOR(pg_catalog.=) 'tablespace' \
             AND t.spcname OPERATOR(pg_catalog.=) $2::pg_catalog.name \
         UNION ALL SELECT s.oid FROM pg_catalog.pg_subscription AS s WHERE $1 OPERATOR(pg_catalog.=) 'subscription' \
             AND s.subname OPERATOR(pg_catalog.=) $2::pg_catalog.name AND s.subdbid OPERATOR(pg_catalog.=) (SELECT d.oid \
                 FROM pg_catalog.pg_database AS d WHERE d.datname OPERATOR(pg_catalog.=) pg_catalog.current_database())",
        &[kind.into(), name.into()],
        |row| row.get::<Oid>(1),
    )?;
    Ok(rows.into_iter().next().map(Oid::to_u32))
}

/// Whether a partition is being detached, by a statement that was interrupted; `None` if it is no partition any more. With its name and
/// that of its table, quoted.
pub fn detaching(partition: u32) -> Result<Option<(bool, String, String)>> {
    let rows = read(
        "SELECT i.inhdetachpending, pg_catalog.format('%I.%I', pn.nspname, p.relname), pg_catalog.format('%I.%I', tn.nspname, t.relname) \
         FROM pg_catalog.pg_inherits AS i JOIN pg_catalog.pg_class AS p ON p.oid OPERATOR(pg_catalog.=) i.inhrelid \
         JOIN pg_catalog.pg_namespace AS pn ON pn.oid OPERATOR(pg_catalog.=) p.relnamespace \
         JOIN pg_catalog.pg_class AS t ON t.oid OPERATOR(pg_catalog.=) i.inhparent \
         JOIN pg_catalog.pg_namespace AS tn ON tn.oid OPERATOR(pg_catalog.=) t.relnamespace \
         WHERE i.inhrelid OPERATOR(pg_catalog.=) $1 AND p.relispartition",
        &[Oid::from(partition).into()],
        |row| Ok((row.get(1)?, row.get(2)?, row.get(3)?)),
    )?;
    Ok(rows.into_iter().next())
}
