//! Tables `permit` and `permit_decision`.

use crate::error::{Result, internal};
use crate::pg::session::identity::Database;
use crate::spi::clock::later;
use crate::spi::{Row, execute, read, write};
use crate::store::approvals::oids;
use pgrx::datum::{Interval, TimestampWithTimeZone};
use pgrx::pg_sys::Oid;
use runbook_core::approval::Login;
use runbook_core::code::{Code, Key};
use runbook_core::manifest::Manifest;
use runbook_core::vocabulary::status::Answer;
use std::collections::BTreeMap;

/// A stored permit.
#[derive(Clone, Debug)]
pub struct Permit {
    /// Its id.
    pub permit: String,
    /// The statement as it was requested.
    pub statement: String,
    /// What it covers.
    pub manifest: Manifest,
    /// The schemas that were searched for its names.
    pub resolution: Vec<String>,
    /// The parameters under which its text was read.
    pub parameters: BTreeMap<String, String>,
    /// Why it is wanted.
    pub reason: String,
    /// Who asked.
    pub requester: Login,
    /// That login's OID.
    pub requester_oid: u32,
    /// When it expires, as text.
    pub expires: String,
    /// When it expires.
    pub expires_at: TimestampWithTimeZone,
    /// Whether its time is up.
    pub expired: bool,
    /// Whether it has been used.
    pub used: bool,
    /// Why it was made void.
    pub void: Option<String>,
}

/// One login's decision on a permit.
#[derive(Clone, Debug)]
pub struct PermitDecision {
    /// Whether it is a yes.
    pub approved: bool,
    /// Who decided.
    pub login: Login,
    /// That login's OID.
    pub oid: u32,
    /// When, in microseconds since 1970.
    pub decided_at: i64,
    code: String,
    versions: String,
}

impl PermitDecision {
    /// The transactions that had written that code by then.
    pub fn versions(&self) -> Result<Vec<(Key, u32)>> {
        serde_json::from_str(&self.versions).map_err(|error| internal(format!("runbook.permit_decision: {error}")))
    }

    /// The code that the statement reached then.
    pub fn code(&self) -> Result<Code> {
        serde_json::from_str(&self.code).map_err(|error| internal(format!("runbook.permit_decision: {error}")))
    }
}

fn permit(row: &Row) -> Result<Permit> {
    let identities: Vec<Oid> = row.get(7)?;
    let (manifest, parameters): (String, String) = (row.get(3)?, row.get(14)?);
    let unreadable = |error: serde_json::Error| internal(format!("runbook.permit: {error}"));
    Ok(Permit {
        permit: row.get(1)?,
        statement: row.get(2)?,
        manifest: serde_json::from_str(&manifest).map_err(unreadable)?,
        parameters: serde_json::from_str(&parameters).map_err(unreadable)?,
        resolution: row.get(4)?,
        reason: row.get(5)?,
        requester: Login { name: row.get(6)?, identities: identities.into_iter().map(Oid::to_u32).collect() },
        requester_oid: row.get::<Oid>(8)?.to_u32(),
        expires: row.get(9)?,
        expires_at: row.get(10)?,
        expired: row.get(11)?,
        used: row.get(12)?,
        void: row.maybe(13)?,
    })
}

/// The columns that [`permit`] reads, of the permits of one database.
macro_rules! select_permits {
    ($condition:literal) => {
        concat!(
            "SELECT p.permit, p.statement, p.manifest::pg_catalog.text, p.resolution, p.reason, p.requested_by, p.identities, \
                 p.requester, pg_catalog.to_char(p.expires_at, 'YYYY-MM-DD HH24:MI:SS TZ'), p.expires_at, \
                 p.expires_at OPERATOR(pg_catalog.<=) pg_catalog.clock_timestamp(), p.used_at IS NOT NULL, p.void_reason, p.parameters::pg_catalog.text \
             FROM runbook.permit AS p WHERE p.system_identifier OPERATOR(pg_catalog.=) $1 \
             AND p.database_oid OPERATOR(pg_catalog.=) $2 AND ",
            $condition,
            " ORDER BY p.requested_at USING OPERATOR(pg_catalog.<), p.permit USING OPERATOR(pg_catalog.<)"
        )
    };
}

/// The permits that a login has asked for, for the statement with this digest.
pub fn for_statement(digest: &str, requester: u32, database: &Database) -> Result<Vec<Permit>> {
    read(
        select_permits!("p.digest OPERATOR(pg_catalog.=) $3 AND p.requester OPERATOR(pg_catalog.=) $4"),
        &[
            database.system_identifier.as_str().into(),
            Oid::from(database.oid).into(),
            digest.into(),
            Oid::from(requester).into(),
        ],
        permit,
    )
}

/// The permits whose id starts like this.
pub fn named(prefix: &str, database: &Database) -> Result<Vec<Permit>> {
    read(
        select_permits!("pg_catalog.starts_with(p.permit, $3)"),
        &[database.system_identifier.as_str().into(), Oid::from(database.oid).into(), prefix.into()],
        permit,
    )
}

/// All permits of this database; with `open_only`, those that may still be used.
pub fn all(open_only: bool, database: &Database) -> Result<Vec<Permit>> {
    read(
        select_permits!(
            "(NOT $3 OR (p.used_at IS NULL AND p.void_reason IS NULL \
              AND p.expires_at OPERATOR(pg_catalog.>) pg_catalog.clock_timestamp()))"
        ),
        &[database.system_identifier.as_str().into(), Oid::from(database.oid).into(), open_only.into()],
        permit,
    )
}

/// The decisions on a permit, in the order of decision.
pub fn decisions(permit: &str) -> Result<Vec<PermitDecision>> {
    read(
        "SELECT d.decision OPERATOR(pg_catalog.=) 'approved', d.approver, d.identities, d.approver_oid, \
             (EXTRACT(epoch FROM d.decided_at) OPERATOR(pg_catalog.*) 1000000)::pg_catalog.int8, d.code::pg_catalog.text, \
             d.versions::pg_catalog.text \
         FROM runbook.permit_decision AS d WHERE d.permit OPERATOR(pg_catalog.=) $1 \
         ORDER BY d.decided_at USING OPERATOR(pg_catalog.<)",
        &[permit.into()],
        |row| {
            let identities: Vec<Oid> = row.get(3)?;
            Ok(PermitDecision {
                approved: row.get(1)?,
                login: Login { name: row.get(2)?, identities: identities.into_iter().map(Oid::to_u32).collect() },
                oid: row.get::<Oid>(4)?.to_u32(),
                decided_at: row.get(5)?,
                code: row.get(6)?,
                versions: row.get(7)?,
            })
        },
    )
}

/// A request for a permit.
#[derive(Debug)]
pub struct Request<'a> {
    /// Its id.
    pub permit: &'a str,
    /// The statement.
    pub statement: &'a str,
    /// Digest of its normal form.
    pub digest: &'a str,
    /// What it would cover.
    pub manifest: &'a Manifest,
    /// The schemas that were searched for its names.
    pub resolution: Vec<String>,
    /// The parameters under which its text was read.
    pub parameters: &'a BTreeMap<String, String>,
    /// Why it is wanted.
    pub reason: &'a str,
    /// Who asks.
    pub login: &'a Login,
    /// That login's OID.
    pub oid: u32,
}

/// Stores a request.
pub fn request(request: &Request, valid_for: Interval, database: &Database) -> Result<()> {
    execute(
        concat!(
            "INSERT INTO runbook.permit (permit, statement, digest, manifest, resolution, reason, requested_by, requester, identities, \
                 requested_at, expires_at, system_identifier, database_oid, parameters) \
             VALUES ($1, $2, $3, $4::pg_catalog.jsonb, $5, $6, $7, $8, $9, pg_catalog.clock_timestamp(), ",
            later!("pg_catalog.clock_timestamp()", "$10"),
            ", $11, $12, $13::pg_catalog.jsonb)"
        ),
        &[
            request.permit.into(),
            request.statement.into(),
            request.digest.into(),
            serde_json::to_string(request.manifest).map_err(|error| internal(error.to_string()))?.into(),
            request.resolution.clone().into(),
            request.reason.into(),
            request.login.name.as_str().into(),
            Oid::from(request.oid).into(),
            oids(request.login).into(),
            valid_for.into(),
            database.system_identifier.as_str().into(),
            Oid::from(database.oid).into(),
            serde_json::to_string(request.parameters).map_err(|error| internal(error.to_string()))?.into(),
        ],
    )
}

/// Makes a permit void; false if it has been used or made void meanwhile.
pub fn reject(permit: &str, login: &Login) -> Result<bool> {
    let rows = write(
        "UPDATE runbook.permit AS p SET void_reason = pg_catalog.format('rejected by %s', $2) \
         WHERE p.permit OPERATOR(pg_catalog.=) $1 AND p.void_reason IS NULL AND p.used_at IS NULL RETURNING 1",
        &[permit.into(), login.name.as_str().into()],
        |row| row.get::<i32>(1),
    )?;
    Ok(!rows.is_empty())
}

/// Stores a login's decision in place of its earlier one: a yes with the code that the statement reaches.
pub fn decide(
    permit: &str,
    code: Option<(&Code, &[(Key, u32)])>,
    login: &Login,
    oid: u32,
    comment: Option<&str>,
) -> Result<()> {
    let approved = code.is_some();
    let unwritable = |error: serde_json::Error| internal(error.to_string());
    let none = Code::default();
    let (code, versions) = code.unwrap_or((&none, &[]));
    let (code, versions) =
        (serde_json::to_string(code).map_err(unwritable)?, serde_json::to_string(versions).map_err(unwritable)?);
    execute(
        "INSERT INTO runbook.permit_decision AS d (permit, decision, approver, approver_oid, identities, comment, decided_at, code, versions) \
         VALUES ($1, $2, $3, $4, $5, $6, pg_catalog.clock_timestamp(), $7::pg_catalog.jsonb, $8::pg_catalog.jsonb) ON CONFLICT (permit, approver_oid) DO UPDATE SET \
         decision = excluded.decision, approver = excluded.approver, identities = excluded.identities, \
         comment = excluded.comment, decided_at = excluded.decided_at, code = excluded.code, \
         versions = excluded.versions",
        &[
            permit.into(),
            Answer::of(approved).as_str().into(),
            login.name.as_str().into(),
            Oid::from(oid).into(),
            oids(login).into(),
            comment.map(str::to_owned).into(),
            code.into(),
            versions.into(),
        ],
    )
}

/// Uses a permit up; false if it is used, expired, void, or being used by another session at this moment. The row stays
/// locked until the transaction ends; if that rolls back, so did the statement, and the permit is as before.
pub fn take(permit: &str) -> Result<bool> {
    let rows = write(
        "WITH free AS (SELECT p.permit FROM runbook.permit AS p WHERE p.permit OPERATOR(pg_catalog.=) $1 \
             AND p.used_at IS NULL AND p.void_reason IS NULL \
             AND p.expires_at OPERATOR(pg_catalog.>) pg_catalog.clock_timestamp() FOR UPDATE SKIP LOCKED) \
         UPDATE runbook.permit AS p SET used_at = pg_catalog.clock_timestamp() FROM free AS f \
         WHERE p.permit OPERATOR(pg_catalog.=) f.permit RETURNING 1",
        &[permit.into()],
        |row| row.get::<i32>(1),
    )?;
    Ok(!rows.is_empty())
}
