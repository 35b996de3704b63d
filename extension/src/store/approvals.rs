//! Table `approval`.

use crate::error::{Result, internal};
use crate::pg::session::identity::Database;
use crate::spi::clock::later;
use crate::spi::{Row, execute, read, write};
use pgrx::datum::Interval;
use pgrx::pg_sys::Oid;
use runbook_core::approval::Login;
use runbook_core::code::Code;
use runbook_core::manifest::Manifest;
use runbook_core::plan::Direction;
use runbook_core::vocabulary::status::Answer;

/// A decision, with what is known of whether it counts.
#[derive(Clone, Debug)]
pub struct Given {
    /// The revision decided on.
    pub revision: String,
    /// Whether it is a yes.
    pub approved: bool,
    /// The login that decided, with the login roles that it was or could become then.
    pub login: Login,
    /// That login's OID.
    pub oid: u32,
    /// Why it does not count; `None` if it may.
    pub void: Option<String>,
    /// When, in microseconds since 1970.
    pub decided_at: i64,
    /// Until when it counts, in microseconds since 1970.
    pub expires_at: i64,
    /// The catalog fingerprint that it is bound to.
    pub fingerprint: Option<String>,
    upgrade: String,
    downgrade: String,
    upgrade_code: String,
    downgrade_code: String,
    used_for: Vec<String>,
}

/// Why a decision does not count that its login has taken back.
pub const REVOKED: &str = "it was revoked";

impl Given {
    /// Whether it has been used for a direction, for which it counts once. What has been done in part goes on by it.
    pub fn is_used(&self, direction: Direction) -> bool {
        self.used_for.iter().any(|used| used == direction.as_str())
    }

    /// What was approved of one direction.
    pub fn manifest(&self, direction: Direction) -> Result<Manifest> {
        let text = if direction == Direction::Upgrade { &self.upgrade } else { &self.downgrade };
        serde_json::from_str(text).map_err(|error| internal(format!("runbook.approval: {error}")))
    }

    /// The code that the approved statements of one direction reached.
    pub fn code(&self, direction: Direction) -> Result<Code> {
        let text = if direction == Direction::Upgrade { &self.upgrade_code } else { &self.downgrade_code };
        serde_json::from_str(text).map_err(|error| internal(format!("runbook.approval: {error}")))
    }
}

/// A decision to be stored.
#[derive(Debug)]
pub struct Decision<'a> {
    /// The revision decided on.
    pub revision: &'a str,
    /// The digest decided on.
    pub digest: &'a str,
    /// Whether it is a yes.
    pub approved: bool,
    /// The login that decides.
    pub login: &'a Login,
    /// That login's OID.
    pub oid: u32,
    /// What the login says about it.
    pub comment: Option<&'a str>,
    /// What it covers, upgrade first.
    pub manifests: [&'a Manifest; 2],
    /// The code that it binds, upgrade first, as JSON.
    pub code: &'a [String; 2],
    /// Whether its statements run any code by themselves.
    pub binds: bool,
    /// The catalog fingerprint that it is bound to.
    pub fingerprint: Option<&'a str>,
}

fn given(row: &Row) -> Result<Given> {
    let oids: Vec<Oid> = row.get(5)?;
    Ok(Given {
        revision: row.get(1)?,
        approved: row.get(2)?,
        login: Login { name: row.get(3)?, identities: oids.into_iter().map(Oid::to_u32).collect() },
        oid: row.get::<Oid>(4)?.to_u32(),
        void: row.maybe(6)?,
        decided_at: row.get(7)?,
        expires_at: row.get(11)?,
        fingerprint: row.maybe(8)?,
        upgrade: row.get(9)?,
        downgrade: row.get(10)?,
        upgrade_code: row.get(12)?,
        downgrade_code: row.get(13)?,
        used_for: row.get(14)?,
    })
}

/// The columns that [`given`] reads, of the decisions on some revisions; those that a later one replaced left out.
macro_rules! select_given {
    ($revisions:literal) => {
        concat!(
            "SELECT a.revision, a.decision OPERATOR(pg_catalog.=) 'approved', a.approver, a.approver_oid, a.identities, \
                 runbook_internal.approval_void(a.void_reason, a.digest, r.digest, a.system_identifier, a.database_oid, a.expires_at, \
                                       a.approver, a.approver_oid), \
                 (EXTRACT(epoch FROM a.decided_at) OPERATOR(pg_catalog.*) 1000000)::pg_catalog.int8, a.fingerprint, \
                 a.upgrade_manifest::pg_catalog.text, a.downgrade_manifest::pg_catalog.text, \
                 (EXTRACT(epoch FROM a.expires_at) OPERATOR(pg_catalog.*) 1000000)::pg_catalog.int8, \
                 a.upgrade_code::pg_catalog.text, a.downgrade_code::pg_catalog.text, \
                 ARRAY(SELECT u.direction FROM pg_catalog.unnest(a.used_for) AS u (direction) \
                     WHERE NOT EXISTS (SELECT FROM runbook.statement_progress AS p WHERE p.revision OPERATOR(pg_catalog.=) a.revision \
                             AND p.direction OPERATOR(pg_catalog.=) u.direction) \
                         AND NOT (u.direction OPERATOR(pg_catalog.=) 'upgrade' AND EXISTS (SELECT FROM runbook.backfill AS b \
                             WHERE b.revision OPERATOR(pg_catalog.=) a.revision))) \
             FROM runbook.approval AS a JOIN runbook.revision AS r ON r.revision OPERATOR(pg_catalog.=) a.revision \
             WHERE a.revision OPERATOR(pg_catalog.=) ",
            $revisions,
            " AND a.void_reason IS DISTINCT FROM 'replaced' \
             ORDER BY a.decided_at USING OPERATOR(pg_catalog.<), a.approval_id USING OPERATOR(pg_catalog.<)"
        )
    };
}

/// The decisions on these revisions, in the order of decision; those that a later one of the same login replaced left out.
pub fn given_for(ids: &[String]) -> Result<Vec<Given>> {
    // A statement of its own for one id: it always takes the index, however small the table was when it was planned.
    match ids {
        [id] => read(select_given!("$1"), &[id.as_str().into()], given),
        _ => read(select_given!("ANY ($1)"), &[ids.to_vec().into()], given),
    }
}

/// Notes that a revision, or a part of it, has been applied or reverted by its approvals.
pub fn use_up(revision: &str, direction: Direction) -> Result<()> {
    execute(
        "UPDATE runbook.approval AS a SET used_for = pg_catalog.array_append(a.used_for, $2) \
         WHERE a.revision OPERATOR(pg_catalog.=) $1 AND a.void_reason IS NULL AND a.decision OPERATOR(pg_catalog.=) 'approved' \
             AND $2 OPERATOR(pg_catalog.<>) ALL (a.used_for)",
        &[revision.into(), direction.as_str().into()],
    )
}

/// Stores a decision, in place of the same login's earlier one. It expires after `valid_for`, or else after `default`.
/// Returns when.
pub fn decide(decision: &Decision, valid_for: Option<Interval>, default: &str, database: &Database) -> Result<String> {
    void(decision.revision, Some(decision.oid), "replaced")?;
    let json = |manifest: &Manifest| serde_json::to_string(manifest).map_err(|error| internal(error.to_string()));
    let rows = write(
        concat!(
            "INSERT INTO runbook.approval AS a (approval_id, revision, digest, decision, approver, approver_oid, identities, comment, \
                 system_identifier, database_oid, decided_at, expires_at, upgrade_manifest, downgrade_manifest, fingerprint, \
                 upgrade_code, downgrade_code, binds) \
             VALUES (pg_catalog.gen_random_uuid(), $1, $2, $3, $4, $5, $6, $7, $8, $9, pg_catalog.clock_timestamp(), ",
            later!("pg_catalog.clock_timestamp()", "COALESCE($10, $11::pg_catalog.interval)"),
            ", $12::pg_catalog.jsonb, $13::pg_catalog.jsonb, $14, $15::pg_catalog.jsonb, $16::pg_catalog.jsonb, $17) \
             RETURNING a.expires_at::pg_catalog.text"
        ),
        &[
            decision.revision.into(),
            decision.digest.into(),
            Answer::of(decision.approved).as_str().into(),
            decision.login.name.as_str().into(),
            Oid::from(decision.oid).into(),
            oids(decision.login).into(),
            decision.comment.map(str::to_owned).into(),
            database.system_identifier.as_str().into(),
            Oid::from(database.oid).into(),
            valid_for.into(),
            default.into(),
            json(decision.manifests[0])?.into(),
            json(decision.manifests[1])?.into(),
            decision.fingerprint.map(str::to_owned).into(),
            decision.code[0].as_str().into(),
            decision.code[1].as_str().into(),
            decision.binds.into(),
        ],
        |row| row.get(1),
    )?;
    rows.into_iter().next().ok_or_else(|| internal("INSERT returned no row"))
}

/// The identities of a login as `oid[]`.
pub fn oids(login: &Login) -> Vec<Oid> {
    login.identities.iter().copied().map(Oid::from).collect()
}

/// Makes approvals of a revision void; rejections stand.
pub fn void_yes(revision: &str, reason: &str) -> Result<()> {
    execute(
        "UPDATE runbook.approval AS a SET void_reason = $2 WHERE a.revision OPERATOR(pg_catalog.=) $1 AND a.void_reason IS NULL \
             AND a.decision OPERATOR(pg_catalog.=) 'approved'",
        &[revision.into(), reason.into()],
    )
}

/// Makes decisions on a revision void, one login's or all; says how many.
pub fn void(revision: &str, approver: Option<u32>, reason: &str) -> Result<usize> {
    let rows = write(
        "UPDATE runbook.approval AS a SET void_reason = $3 WHERE a.revision OPERATOR(pg_catalog.=) $1 AND a.void_reason IS NULL \
         AND ($2 IS NULL OR a.approver_oid OPERATOR(pg_catalog.=) $2) RETURNING 1",
        &[revision.into(), approver.map(Oid::from).into(), reason.into()],
        |row| row.get::<i32>(1),
    )?;
    Ok(rows.len())
}
