//! Tables `revision`, `applied_head` and `state`.

use crate::error::{Result, from_core, internal};
use crate::pg::execute::transaction;
use crate::pg::session::identity::transaction_id;
use crate::spi::{Row, execute, read, read_as_seen, write};
use pgrx::JsonB;
use pgrx::datum::TimestampWithTimeZone;
use pgrx::pg_sys::Oid;
use runbook_core::Revision;
use runbook_core::action::Action;
use runbook_core::approval::Login;
use runbook_core::graph::{Graph, Vertex};
use runbook_core::plan::Direction;
use runbook_core::vocabulary::status::RevisionStatus;
use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// A stored revision.
#[derive(Clone, Debug)]
pub struct Stored {
    /// What the author submitted.
    pub revision: Revision,
    /// Its digest at submission.
    pub digest: String,
    /// The phase in force: declared, or derived from the actions.
    pub phase: String,
    /// `pending`, `approved`, `rejected`, `applied` or `reverted`.
    pub status: RevisionStatus,
    /// The login that submitted it, with the login roles that it was or could become.
    pub submitter: Login,
    /// That login's OID.
    pub submitter_oid: u32,
    /// Its author, for people.
    pub author: String,
    /// Actions of the upgrade.
    pub upgrade_actions: Vec<Action>,
    /// Actions of the downgrade.
    pub downgrade_actions: Vec<Action>,
}

impl Stored {
    /// The actions of one direction.
    pub fn actions(&self, direction: Direction) -> &[Action] {
        match direction {
            Direction::Upgrade => &self.upgrade_actions,
            Direction::Downgrade => &self.downgrade_actions,
        }
    }
}

thread_local! {
    static GRAPH: RefCell<Option<(String, Rc<Graph>)>> = const { RefCell::new(None) };
    /// How often this session has been content with a part of the graph.
    static FRONTIERS: Cell<u32> = const { Cell::new(0) };
    /// The transaction that last changed the graph here, and the token that it wrote.
    static BUMPED: RefCell<Option<(u64, String)>> = const { RefCell::new(None) };
}

/// The graph of all revisions. Read again only when it has changed.
pub fn graph() -> Result<Rc<Graph>> {
    let token = read("SELECT s.graph_token::pg_catalog.text FROM runbook.graph_version AS s", &[], |row| row.get::<String>(1))?;
    let token = token.into_iter().next().unwrap_or_default();
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
             WHERE r.status OPERATOR(pg_catalog.<>) 'applied' LIMIT 201), \
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
         ORDER BY r.ordinal USING OPERATOR(pg_catalog.<)",
        &[],
        |row| Ok(Vertex { id: row.get(1)?, parents: row.get(2)?, depends_on: row.get(3)?, labels: row.get(4)? }),
    )
}

/// The revision that has `name` as its id or as a label.
pub fn named(name: &str) -> Result<Option<String>> {
    let rows = read(
        "SELECT r.revision FROM runbook.revision AS r WHERE r.revision OPERATOR(pg_catalog.=) $1 UNION ALL \
         SELECT l.revision FROM runbook.branch_label AS l WHERE l.label OPERATOR(pg_catalog.=) $1",
        &[name.into()],
        |row| row.get(1),
    )?;
    Ok(rows.into_iter().next())
}

/// Says that the graph has changed; serialises submitters. Returns the number of the next revision.
///
/// A transaction says so once: ten thousand updates of one row in one transaction make a chain of ten thousand versions,
/// which every one of them would have to walk.
pub fn bump_graph() -> Result<i64> {
    let transaction = transaction_id();
    let token =
        read("SELECT s.graph_token::pg_catalog.text FROM runbook.graph_version AS s", &[], |row| row.get::<String>(1))?.pop();
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

/// The revisions with these ids, in their order.
pub fn load(ids: &[String]) -> Result<Vec<Stored>> {
    // A statement of its own for one id: it always takes the index, however small the table was when it was planned.
    if let [id] = ids {
        return read(
            "SELECT r.source, r.digest, r.phase, r.status, r.submitted_by, r.author, r.upgrade_actions::pg_catalog.text, \
                 r.downgrade_actions::pg_catalog.text, r.submitter, r.submitter_identities FROM runbook.revision AS r WHERE r.revision OPERATOR(pg_catalog.=) $1",
            &[id.as_str().into()],
            stored,
        );
    }
    read(
        "SELECT r.source, r.digest, r.phase, r.status, r.submitted_by, r.author, r.upgrade_actions::pg_catalog.text, \
             r.downgrade_actions::pg_catalog.text, r.submitter, r.submitter_identities \
         FROM pg_catalog.unnest($1) WITH ORDINALITY AS wanted (id, place) \
         JOIN runbook.revision AS r ON r.revision OPERATOR(pg_catalog.=) wanted.id \
         ORDER BY wanted.place USING OPERATOR(pg_catalog.<)",
        &[ids.to_vec().into()],
        stored,
    )
}

fn stored(row: &Row) -> Result<Stored> {
    Ok(Stored {
        revision: parse(&row.get::<String>(1)?)?,
        digest: row.get(2)?,
        phase: row.get(3)?,
        status: read_status(&row.get::<String>(4)?)?,
        submitter: Login { name: row.get(5)?, identities: row.get::<Vec<Oid>>(10)?.into_iter().map(Oid::to_u32).collect() },
        submitter_oid: row.get::<Oid>(9)?.to_u32(),
        author: row.get(6)?,
        upgrade_actions: parse(&row.get::<String>(7)?)?,
        downgrade_actions: parse(&row.get::<String>(8)?)?,
    })
}

fn parse<T: serde::de::DeserializeOwned>(json: &str) -> Result<T> {
    serde_json::from_str(json).map_err(|error| internal(format!("runbook.revision: {error}")))
}

/// Stores a revision, in place of the one with the same id if there is one that is not applied; false if it is applied.
pub fn save(stored: &Stored, ordinal: i64) -> Result<bool> {
    let revision = &stored.revision;
    let ids = |ids: &[runbook_core::RevisionId]| ids.iter().map(|id| id.as_str().to_owned()).collect::<Vec<_>>();
    let json = |actions: &[Action]| JsonB(serde_json::to_value(actions).unwrap_or_default());
    let source = serde_json::to_value(revision).map_err(|error| internal(error.to_string()))?;
    execute(
        "DELETE FROM runbook.branch_label AS l WHERE l.revision OPERATOR(pg_catalog.=) $1",
        &[revision.revision.as_str().into()],
    )?;
    for label in &revision.branch_labels {
        execute(
            "INSERT INTO runbook.branch_label (label, revision) VALUES ($1, $2)",
            &[label.as_str().into(), revision.revision.as_str().into()],
        )?;
    }
    let rows = write(
        "INSERT INTO runbook.revision AS r (revision, ordinal, parents, depends_on, branch_labels, message, phase, author, digest, \
             source, upgrade_actions, downgrade_actions, status, submitted_by, submitter, submitter_identities, submitted_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, 'pending', $13, $14, $15, pg_catalog.clock_timestamp()) \
         ON CONFLICT (revision) DO UPDATE SET parents = excluded.parents, depends_on = excluded.depends_on, \
             branch_labels = excluded.branch_labels, message = excluded.message, phase = excluded.phase, author = excluded.author, \
             digest = excluded.digest, source = excluded.source, upgrade_actions = excluded.upgrade_actions, \
             downgrade_actions = excluded.downgrade_actions, status = excluded.status, submitted_by = excluded.submitted_by, \
             submitter = excluded.submitter, submitter_identities = excluded.submitter_identities, \
             submitted_at = excluded.submitted_at WHERE r.status OPERATOR(pg_catalog.<>) 'applied' RETURNING 1",
        &[
            revision.revision.as_str().into(),
            ordinal.into(),
            ids(&revision.parents).into(),
            revision.depends_on.clone().into(),
            revision.branch_labels.clone().into(),
            revision.message.as_str().into(),
            stored.phase.as_str().into(),
            stored.author.as_str().into(),
            stored.digest.as_str().into(),
            runbook_core::canonical::canonical(&source).into(),
            json(&stored.upgrade_actions).into(),
            json(&stored.downgrade_actions).into(),
            stored.submitter.name.as_str().into(),
            Oid::from(stored.submitter_oid).into(),
            super::approvals::oids(&stored.submitter).into(),
        ],
        |row| row.get::<i32>(1),
    )?;
    Ok(!rows.is_empty())
}

/// Marks a revision as applied or reverted, now; with a digest, only that content. False if it was not there.
pub fn mark(id: &str, direction: Direction, digest: Option<&str>) -> Result<bool> {
    let sql = match direction {
        Direction::Upgrade => {
            "UPDATE runbook.revision AS r SET status = 'applied', applied_at = pg_catalog.clock_timestamp(), reverted_at = NULL \
             WHERE r.revision OPERATOR(pg_catalog.=) $1 AND ($2 IS NULL OR r.digest OPERATOR(pg_catalog.=) $2) RETURNING 1"
        }
        Direction::Downgrade => {
            "UPDATE runbook.revision AS r SET status = 'reverted', applied_at = NULL, reverted_at = pg_catalog.clock_timestamp() \
             WHERE r.revision OPERATOR(pg_catalog.=) $1 AND ($2 IS NULL OR r.digest OPERATOR(pg_catalog.=) $2) RETURNING 1"
        }
    };
    Ok(!write(sql, &[id.into(), digest.map(str::to_owned).into()], |row| row.get::<i32>(1))?.is_empty())
}

/// The status of a revision.
pub fn status(id: &str) -> Result<Option<RevisionStatus>> {
    let rows =
        read("SELECT r.status FROM runbook.revision AS r WHERE r.revision OPERATOR(pg_catalog.=) $1", &[id.into()], |row| {
            read_status(&row.get::<String>(1)?)
        })?;
    Ok(rows.into_iter().next())
}

fn read_status(text: &str) -> Result<RevisionStatus> {
    RevisionStatus::parse(text).ok_or_else(|| internal("a revision has no status"))
}

/// Ids of the revisions that build upon this one, directly or not, as parents or dependencies.
pub fn descendants(id: &str) -> Result<Vec<String>> {
    read(
        "WITH RECURSIVE above (revision) AS (SELECT $1 UNION \
             SELECT r.revision FROM above AS a \
             LEFT JOIN runbook.branch_label AS l ON l.revision OPERATOR(pg_catalog.=) a.revision \
             JOIN runbook.revision AS r ON a.revision OPERATOR(pg_catalog.=) ANY (r.parents OPERATOR(pg_catalog.||) r.depends_on) \
                 OR l.label OPERATOR(pg_catalog.=) ANY (r.depends_on) \
             WHERE r.status OPERATOR(pg_catalog.<>) 'applied') \
         SELECT a.revision FROM above AS a WHERE a.revision OPERATOR(pg_catalog.<>) $1",
        &[id.into()],
        |row| row.get::<String>(1),
    )
}

/// Ids of the revisions that wait for decisions, in order of submission.
pub fn waiting() -> Result<Vec<String>> {
    read(
        "SELECT r.revision FROM runbook.revision AS r WHERE r.status OPERATOR(pg_catalog.=) ANY ('{pending,approved,reverted}') \
         ORDER BY r.ordinal USING OPERATOR(pg_catalog.<)",
        &[],
        |row| row.get(1),
    )
}

/// Sets the status of a revision that is not applied.
pub fn set_status(id: &str, status: RevisionStatus) -> Result<()> {
    execute(
        "UPDATE runbook.revision AS r SET status = $2 WHERE r.revision OPERATOR(pg_catalog.=) $1 \
         AND r.status OPERATOR(pg_catalog.<>) 'applied'",
        &[id.into(), status.as_str().into()],
    )
}

/// What lists show of a revision.
#[derive(Clone, Debug)]
pub struct Summary {
    /// Its id.
    pub revision: String,
    /// Its parents.
    pub parents: Vec<String>,
    /// Labels that it starts.
    pub branch_labels: Vec<String>,
    /// Phase in force.
    pub phase: String,
    /// One line.
    pub message: String,
    /// Status.
    pub status: RevisionStatus,
    /// When it was last applied.
    pub applied_at: Option<TimestampWithTimeZone>,
}

/// Summaries of these revisions, in their order.
pub fn summaries(ids: &[String]) -> Result<Vec<Summary>> {
    read(
        "SELECT r.revision, r.parents, r.branch_labels, r.phase, r.message, r.status, r.applied_at \
         FROM pg_catalog.unnest($1) WITH ORDINALITY AS wanted (id, place) \
         JOIN runbook.revision AS r ON r.revision OPERATOR(pg_catalog.=) wanted.id \
         ORDER BY wanted.place USING OPERATOR(pg_catalog.<)",
        &[ids.to_vec().into()],
        |row| {
            Ok(Summary {
                revision: row.get(1)?,
                parents: row.get(2)?,
                branch_labels: row.get(3)?,
                phase: row.get(4)?,
                message: row.get(5)?,
                status: read_status(&row.get::<String>(6)?)?,
                applied_at: row.maybe(7)?,
            })
        },
    )
}
