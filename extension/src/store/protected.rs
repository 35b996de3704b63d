//! The triggers of protected tables.

use crate::error::Result;
use crate::pg::hooks::protect::{self, Guard};
use crate::pg::session::identity::AsOwner;
use crate::spi::read;
use pgrx::pg_sys::Oid;

/// The limit of a protected table: `None` if it isn't protected, `Some(None)` if against TRUNCATE alone.
pub fn limit(table: u32) -> Result<Option<Option<i64>>> {
    let rows = read(
        "SELECT v.max_rows FROM runbook.protected_tables AS v WHERE v.\"table\"::pg_catalog.oid OPERATOR(pg_catalog.=) $1",
        &[Oid::from(table).into()],
        |row| row.maybe::<i64>(1),
    )?;
    // A partition may have the trigger for rows alone, from its parent.
    if let Some(limit) = rows.into_iter().next() {
        return Ok(Some(limit));
    }
    let rows = read(
        "SELECT pg_catalog.split_part(pg_catalog.encode(t.tgargs, 'escape'), E'\\\\000', 1)::pg_catalog.int8 \
         FROM pg_catalog.pg_trigger AS t WHERE t.tgrelid OPERATOR(pg_catalog.=) $1 \
             AND t.tgfoid OPERATOR(pg_catalog.=) 'runbook_internal.guard_rows()'::pg_catalog.regprocedure::pg_catalog.oid",
        &[Oid::from(table).into()],
        |row| row.maybe::<i64>(1),
    )?;
    Ok(rows.into_iter().next())
}

/// A table of a tree: a table with its partitions and heirs, temporary ones left out.
#[derive(Debug)]
pub struct Member {
    /// Its OID.
    pub table: u32,
    /// Whether it is a partition of another member, and gets the trigger for rows from that.
    pub is_partition: bool,
    /// Its limit, as of [`limit`].
    pub limit: Option<Option<i64>>,
}

/// The table, its partitions and its heirs.
pub fn tree(table: u32) -> Result<Vec<Member>> {
    let rows = read(
        "WITH RECURSIVE tree (id) AS (SELECT $1 UNION SELECT i.inhrelid FROM pg_catalog.pg_inherits AS i \
             JOIN tree AS t ON t.id OPERATOR(pg_catalog.=) i.inhparent) \
         SELECT c.oid, c.relispartition AND c.oid OPERATOR(pg_catalog.<>) $1 FROM tree AS t \
         JOIN pg_catalog.pg_class AS c ON c.oid OPERATOR(pg_catalog.=) t.id \
         WHERE c.relkind OPERATOR(pg_catalog.=) ANY ('{r,p}'::pg_catalog.\"char\"[]) \
             AND c.relpersistence OPERATOR(pg_catalog.<>) 't' ORDER BY c.oid USING OPERATOR(pg_catalog.<)",
        &[Oid::from(table).into()],
        |row| Ok((row.get::<Oid>(1)?.to_u32(), row.get::<bool>(2)?)),
    )?;
    rows.into_iter().map(|(table, is_partition)| Ok(Member { table, is_partition, limit: limit(table)? })).collect()
}

/// The first of a tree's tables whose rows count under a table outside of the tree that it still belongs to, and that table.
pub fn counted_elsewhere(members: &[Member]) -> Result<Option<(u32, u32)>> {
    let tables: Vec<Oid> = members.iter().map(|member| Oid::from(member.table)).collect();
    let rows = read(
        "WITH RECURSIVE counted (id, root) AS ( \
             SELECT t.tgrelid, pg_catalog.split_part(pg_catalog.encode(t.tgargs, 'escape'), E'\\\\000', 2)::pg_catalog.oid \
             FROM pg_catalog.pg_trigger AS t WHERE t.tgrelid OPERATOR(pg_catalog.=) ANY ($1) \
                 AND t.tgfoid OPERATOR(pg_catalog.=) 'runbook_internal.guard_rows()'::pg_catalog.regprocedure::pg_catalog.oid), \
         above (id, root, ancestor) AS ( \
             SELECT c.id, c.root, c.id FROM counted AS c WHERE c.root OPERATOR(pg_catalog.<>) ALL ($1) \
             UNION SELECT a.id, a.root, i.inhparent FROM above AS a \
             JOIN pg_catalog.pg_inherits AS i ON i.inhrelid OPERATOR(pg_catalog.=) a.ancestor) \
         SELECT a.id, a.root FROM above AS a WHERE a.ancestor OPERATOR(pg_catalog.=) a.root ORDER BY 1 USING OPERATOR(pg_catalog.<) LIMIT 1",
        &[tables.into()],
        |row| Ok((row.get::<Oid>(1)?.to_u32(), row.get::<Oid>(2)?.to_u32())),
    )?;
    Ok(rows.into_iter().next())
}

/// Creates the triggers of a tree, in place of earlier ones.
pub fn protect(table: u32, members: &[Member], max_rows: Option<i64>) -> Result<()> {
    unprotect(members)?;
    let _owner = AsOwner::enter();
    for member in members {
        protect::create(member.table, Guard::Truncate);
        if let (Some(limit), false) = (max_rows, member.is_partition) {
            protect::create(member.table, Guard::Rows(limit, table));
        }
    }
    Ok(())
}

/// Drops the triggers of a tree.
pub fn unprotect(members: &[Member]) -> Result<()> {
    let tables: Vec<Oid> = members.iter().map(|member| Oid::from(member.table)).collect();
    let triggers = read(
        "SELECT t.oid FROM pg_catalog.pg_trigger AS t WHERE t.tgrelid OPERATOR(pg_catalog.=) ANY ($1) \
             AND t.tgparentid OPERATOR(pg_catalog.=) 0::pg_catalog.oid AND t.tgfoid OPERATOR(pg_catalog.=) ANY (ARRAY[ \
                 'runbook_internal.guard_rows()'::pg_catalog.regprocedure, 'runbook_internal.guard_truncate()'::pg_catalog.regprocedure]::pg_catalog.oid[])",
        &[tables.into()],
        |row| Ok(row.get::<Oid>(1)?.to_u32()),
    )?;
    let _owner = AsOwner::enter();
    triggers.into_iter().for_each(protect::drop);
    Ok(())
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
