//! Revisions as they are stored. Owns table `revision`.

use crate::error::{Result, internal};
use crate::spi::{Row, execute, read, write};
use pgrx::JsonB;
use pgrx::datum::TimestampWithTimeZone;
use pgrx::pg_sys::Oid;
use runbook_core::action::Action;
use runbook_core::approval::Login;
use runbook_core::plan::Direction;
use runbook_core::vocabulary::status::RevisionStatus;
use runbook_core::{Phase, Revision};

/// A stored revision.
#[derive(Clone, Debug)]
pub struct Stored {
    /// What the author submitted.
    pub revision: Revision,
    /// Its digest at submission.
    pub digest: String,
    /// The phase in force: declared, or derived from the actions.
    pub phase: Phase,
    /// `pending`, `approved`, `rejected`, `applied`, `reverted` or `withdrawn`.
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

/// The revision that has `name` as its id or as a label.
pub fn named(name: &str) -> Result<Option<String>> {
    let rows = read(
        "SELECT r.revision FROM runbook.revision AS r WHERE r.revision OPERATOR(pg_catalog.=) $1 \
             AND r.status OPERATOR(pg_catalog.<>) 'withdrawn' UNION ALL \
         SELECT l.revision FROM runbook.branch_label AS l WHERE l.label OPERATOR(pg_catalog.=) $1",
        &[name.into()],
        |row| row.get(1),
    )?;
    Ok(rows.into_iter().next())
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
        phase: read_phase(&row.get::<String>(3)?)?,
        status: read_status(&row.get::<String>(4)?)?,
        submitter: Login { name: row.get(5)?, identities: row.get::<Vec<Oid>>(10)?.into_iter().map(Oid::to_u32).collect() },
        submitter_oid: row.get::<Oid>(9)?.to_u32(),
        author: row.get(6)?,
        upgrade_actions: parse(&row.get::<String>(7)?)?,
        downgrade_actions: parse(&row.get::<String>(8)?)?,
    })
}

fn read_phase(text: &str) -> Result<Phase> {
    Phase::parse(text).ok_or_else(|| internal(format!("runbook.revision has the unknown phase {text}")))
}

/// The phases of revisions, in their order.
pub fn phases(stored: &[Stored]) -> Vec<Phase> {
    stored.iter().map(|one| one.phase).collect()
}

/// The latest phase of what the first of these steps builds upon.
pub fn phase_before(steps: &[Stored]) -> Result<Option<Phase>> {
    let Some(first) = steps.first() else { return Ok(None) };
    let parents: Vec<String> = first.revision.parents.iter().map(|parent| parent.as_str().to_owned()).collect();
    Ok(phases(&load(&parents)?).into_iter().max())
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
             WHERE r.status OPERATOR(pg_catalog.<>) ALL ('{applied,withdrawn}')) \
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

/// Counts a login, too, as one that has submitted a revision.
pub fn add_submitter(id: &str, login: &Login) -> Result<()> {
    execute(
        "UPDATE runbook.revision AS r SET submitter_identities = r.submitter_identities OPERATOR(pg_catalog.||) $2 \
         WHERE r.revision OPERATOR(pg_catalog.=) $1",
        &[id.into(), super::approvals::oids(login).into()],
    )
}

/// Takes a revision out of the graph.
pub fn withdraw(id: &str) -> Result<()> {
    execute("DELETE FROM runbook.branch_label AS l WHERE l.revision OPERATOR(pg_catalog.=) $1", &[id.into()])?;
    set_status(id, RevisionStatus::Withdrawn)
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
