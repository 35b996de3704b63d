//! The graph of revisions as a session keeps it, and where the database stands in it. Owns tables `graph_version` and `applied_head`.

use crate::error::{Result, from_core, internal};
use crate::pg::execute::transaction;
use crate::pg::session::identity::transaction_id;
use crate::spi::{execute, read, read_as_seen, write};
use runbook_core::graph::{Graph, Vertex};
use std::cell::{Cell, RefCell};
use std::rc::Rc;

thread_local! {
    static GRAPH: RefCell<Option<(String, Rc<Graph>)>> = const { RefCell::new(None) };
    /// How often this session has been content with a part of the graph.
    static FRONTIERS: Cell<u32> = const { Cell::new(0) };
    /// The transaction that last changed the graph here, and the token that it wrote.
    static BUMPED: RefCell<Option<(u64, String)>> = const { RefCell::new(None) };
}

fn token() -> Result<Option<String>> {
    let sql = "SELECT s.graph_token::pg_catalog.text FROM runbook.graph_version AS s";
    Ok(read(sql, &[], |row| row.get::<String>(1))?.pop())
}

/// The graph of all revisions. Read again only when it has changed.
pub fn graph() -> Result<Rc<Graph>> {
    let token = token()?.unwrap_or_default();
    let known = GRAPH.with_borrow(|cached| cached.as_ref().filter(|(at, _)| *at == token).map(|(_, graph)| graph.clone()));
    if let Some(graph) = known {
        return Ok(graph);
    }
    let graph = Rc::new(Graph::new(vertices()?).map_err(from_core)?);
    GRAPH.set(Some((token, graph.clone())));
    Ok(graph)
}

/// The part of the graph that an upgrade can touch: what is not applied, and the applied revisions that it builds upon or
/// that are heads, as if they were bases.
#[derive(Debug)]
pub struct Frontier {
    /// That part.
    pub graph: Graph,
    /// Ids of its applied revisions.
    pub applied: Vec<String>,
}

/// How many open revisions are looked up one by one; where there are more, the whole graph serves better.
const FEW: usize = 200;

/// The frontier, if it is small and enough to resolve `target`: an id, or `head` where no revision depends on another
/// branch.
///
/// An applied revision's ancestors are applied, so nothing behind the frontier can become a step or stay a head.
pub fn frontier(target: &str) -> Result<Option<Frontier>> {
    let last = "SELECT pg_catalog.max(r.ordinal) FROM runbook.revision AS r";
    let last = read(last, &[], |row| row.maybe::<i64>(1))?.into_iter().flatten().next().unwrap_or_default();
    // A session keeps the graph: a small one is read at once, a large one by sessions that come back.
    if last <= 1000 || FRONTIERS.replace(FRONTIERS.get().saturating_add(1)) >= 10 {
        return Ok(None);
    }
    const SQL: &str = "WITH open AS MATERIALIZED (SELECT r.revision, r.ordinal, r.parents, r.depends_on, r.branch_labels FROM runbook.revision AS r \
             WHERE r.status OPERATOR(pg_catalog.<>) ALL ('{applied,withdrawn}') LIMIT 201), \
         name (it) AS MATERIALIZED (SELECT n.it FROM open AS o \
                 CROSS JOIN LATERAL pg_catalog.unnest(o.parents OPERATOR(pg_catalog.||) o.depends_on) AS n (it) \
             UNION SELECT h.revision FROM runbook.applied_head AS h UNION SELECT $1), \
         id (it) AS MATERIALIZED (SELECT n.it FROM name AS n UNION SELECT l.revision FROM runbook.branch_label AS l \
             WHERE l.label OPERATOR(pg_catalog.=) ANY (ARRAY(SELECT n.it FROM name AS n)) \
             EXCEPT SELECT o.revision FROM open AS o) \
         SELECT f.revision, f.parents, f.depends_on, f.branch_labels, f.applied, \
             $1 OPERATOR(pg_catalog.<>) ALL ('{head,heads}') OR EXISTS (SELECT FROM runbook.revision AS d \
                 WHERE d.depends_on OPERATOR(pg_catalog.<>) '{}') \
         FROM (SELECT o.*, false AS applied FROM open AS o UNION ALL \
             SELECT r.revision, r.ordinal, '{}', '{}', r.branch_labels, true FROM runbook.revision AS r \
             WHERE r.revision OPERATOR(pg_catalog.=) ANY (ARRAY(SELECT i.it FROM id AS i)) \
                 AND r.status OPERATOR(pg_catalog.=) 'applied') AS f \
         ORDER BY f.ordinal USING OPERATOR(pg_catalog.<)";
    let rows = read(SQL, &[target.into()], |row| {
        let vertex = Vertex { id: row.get(1)?, parents: row.get(2)?, depends_on: row.get(3)?, labels: row.get(4)? };
        Ok((vertex, row.get::<bool>(5)?, row.get::<bool>(6)?))
    })?;
    let applied: Vec<String> = rows.iter().filter(|(_, applied, _)| *applied).map(|(one, ..)| one.id.clone()).collect();
    let needs_id = rows.iter().any(|(.., needs_id)| *needs_id);
    let is_id = rows.iter().any(|(vertex, ..)| vertex.id == target);
    if rows.len() - applied.len() > FEW || (needs_id && !is_id) {
        return Ok(None);
    }
    let graph = Graph::new(rows.into_iter().map(|(vertex, ..)| vertex).collect()).map_err(from_core)?;
    Ok(Some(Frontier { graph, applied }))
}

/// What the graph is built from, in order of submission.
pub fn vertices() -> Result<Vec<Vertex>> {
    read(
        "SELECT r.revision, r.parents, r.depends_on, r.branch_labels FROM runbook.revision AS r \
         WHERE r.status OPERATOR(pg_catalog.<>) 'withdrawn' ORDER BY r.ordinal USING OPERATOR(pg_catalog.<)",
        &[],
        |row| Ok(Vertex { id: row.get(1)?, parents: row.get(2)?, depends_on: row.get(3)?, labels: row.get(4)? }),
    )
}

/// Waits for submissions that are not committed yet, and lets none begin before the transaction ends: an approval must not miss what was
/// written before it and shows only afterwards.
pub fn hold() -> Result<()> {
    write("SELECT true FROM runbook.graph_version AS s FOR SHARE", &[], |_| Ok(())).map(|_| ())
}

/// Says that the graph has changed; serialises submitters. Returns the number of the next revision.
///
/// A transaction says so once: ten thousand updates of one row in one transaction make a chain of ten thousand versions,
/// which every one of them would have to walk.
pub fn bump_graph() -> Result<i64> {
    let transaction = transaction_id();
    let token = token()?;
    if token.is_none()
        || BUMPED.with_borrow(|bumped| bumped.as_ref() != token.as_ref().map(|token| (transaction, token.clone())).as_ref())
    {
        let token = write(
            "INSERT INTO runbook.graph_version AS s (only_row, graph_token) VALUES (true, pg_catalog.gen_random_uuid()) \
             ON CONFLICT (only_row) DO UPDATE SET graph_token = excluded.graph_token RETURNING s.graph_token::pg_catalog.text",
            &[],
            |row| row.get::<String>(1),
        )?;
        BUMPED.set(token.into_iter().next().map(|token| (transaction, token)));
    }
    GRAPH.set(None);
    let next = read(
        "SELECT COALESCE(pg_catalog.max(r.ordinal), 0) OPERATOR(pg_catalog.+) 1::bigint FROM runbook.revision AS r",
        &[],
        |row| row.get::<i64>(1),
    )?;
    next.first().copied().ok_or_else(|| internal("max() returned no row"))
}

/// Ids of the applied heads, as they are now.
pub fn heads() -> Result<Vec<String>> {
    read("SELECT h.revision FROM runbook.applied_head AS h ORDER BY h.revision USING OPERATOR(pg_catalog.<)", &[], |row| {
        row.get(1)
    })
}

/// Whether revisions were submitted or applied after the snapshot that the transaction keeps.
pub fn has_moved_on() -> Result<bool> {
    const SQL: &str = "SELECT pg_catalog.concat( \
         (SELECT pg_catalog.string_agg(h.revision, ' ' ORDER BY h.revision USING OPERATOR(pg_catalog.<)) FROM runbook.applied_head AS h), \
         ' ', (SELECT s.graph_token FROM runbook.graph_version AS s))";
    if !transaction::keeps_its_snapshot() {
        return Ok(false);
    }
    let [seen, there] = [read_as_seen(SQL, &[], |row| row.get::<String>(1))?, read(SQL, &[], |row| row.get(1))?];
    Ok(seen != there)
}

/// Replaces the heads `gone` by `come`.
pub fn move_heads(gone: &[String], come: &[String]) -> Result<()> {
    if let ([from], [to]) = (gone, come) {
        return execute(
            "UPDATE runbook.applied_head AS h SET revision = $2 WHERE h.revision OPERATOR(pg_catalog.=) $1",
            &[from.as_str().into(), to.as_str().into()],
        );
    }
    for one in gone {
        execute("DELETE FROM runbook.applied_head AS h WHERE h.revision OPERATOR(pg_catalog.=) $1", &[one.as_str().into()])?;
    }
    for one in come {
        execute("INSERT INTO runbook.applied_head (revision) VALUES ($1)", &[one.as_str().into()])?;
    }
    Ok(())
}
