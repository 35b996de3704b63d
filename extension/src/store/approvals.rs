//! Table `approval`.

use super::{Result, Row, execute, read, write};
use crate::pg::identity::Database;
use std::collections::{HashMap, HashSet};

/// A decision that counts.
#[derive(Clone, Debug)]
pub struct Decision {
    /// The revision decided on.
    pub revision: String,
    /// The digest decided on.
    pub digest: String,
    /// Whether it is a yes.
    pub approved: bool,
    /// The login that decided.
    pub approver: String,
}

/// The decisions that count in `database` for these revisions.
pub fn decisions(ids: &[String], database: &Database) -> Result<Vec<Decision>> {
    let decision =
        |row: &Row| Ok(Decision { revision: row.get(1)?, digest: row.get(2)?, approved: row.get(3)?, approver: row.get(4)? });
    let (system, oid) = (database.system_identifier.as_str(), pgrx::pg_sys::Oid::from(database.oid));
    // A statement of its own for one id: it always takes the index, however small the table was when it was planned.
    if let [id] = ids {
        return read(
            "SELECT a.revision, a.digest, a.decision OPERATOR(pg_catalog.=) 'approved', a.approver FROM runbook.approval AS a \
             WHERE a.revision OPERATOR(pg_catalog.=) $1 AND a.void_reason IS NULL \
             AND a.system_identifier OPERATOR(pg_catalog.=) $2 AND a.database_oid OPERATOR(pg_catalog.=) $3",
            &[id.as_str().into(), system.into(), oid.into()],
            decision,
        );
    }
    read(
        "SELECT a.revision, a.digest, a.decision OPERATOR(pg_catalog.=) 'approved', a.approver FROM runbook.approval AS a \
         WHERE a.revision OPERATOR(pg_catalog.=) ANY ($1) AND a.void_reason IS NULL \
         AND a.system_identifier OPERATOR(pg_catalog.=) $2 AND a.database_oid OPERATOR(pg_catalog.=) $3",
        &[ids.to_vec().into(), system.into(), oid.into()],
        decision,
    )
}

/// Who approved what, by revision and digest; a rejected digest has no approvers.
pub fn approvers(decisions: Vec<Decision>) -> HashMap<(String, String), HashSet<String>> {
    let mut approvers: HashMap<(String, String), HashSet<String>> = HashMap::new();
    let rejected: HashSet<(String, String)> =
        decisions.iter().filter(|one| !one.approved).map(|one| (one.revision.clone(), one.digest.clone())).collect();
    for one in decisions.into_iter().filter(|one| one.approved) {
        let key = (one.revision, one.digest);
        if !rejected.contains(&key) {
            approvers.entry(key).or_default().insert(one.approver);
        }
    }
    approvers
}

/// Stores a decision, in place of the same login's earlier one.
pub fn decide(decision: &Decision, comment: Option<&str>, database: &Database) -> Result<()> {
    void(&decision.revision, Some(&decision.approver), "replaced by a later decision of the same login")?;
    execute(
        "INSERT INTO runbook.approval (approval_id, revision, digest, decision, approver, comment, system_identifier, database_oid, \
         decided_at) VALUES (pg_catalog.gen_random_uuid(), $1, $2, $3, $4, $5, $6, $7, pg_catalog.clock_timestamp())",
        &[
            decision.revision.as_str().into(),
            decision.digest.as_str().into(),
            if decision.approved { "approved" } else { "rejected" }.into(),
            decision.approver.as_str().into(),
            comment.map(str::to_owned).into(),
            database.system_identifier.as_str().into(),
            pgrx::pg_sys::Oid::from(database.oid).into(),
        ],
    )
}

/// Makes decisions on a revision void, one login's or all; says how many.
pub fn void(revision: &str, approver: Option<&str>, reason: &str) -> Result<usize> {
    let rows = write(
        "UPDATE runbook.approval AS a SET void_reason = $3 WHERE a.revision OPERATOR(pg_catalog.=) $1 AND a.void_reason IS NULL \
         AND ($2 IS NULL OR a.approver OPERATOR(pg_catalog.=) $2) RETURNING 1",
        &[revision.into(), approver.map(str::to_owned).into(), reason.into()],
        |row| row.get::<i32>(1),
    )?;
    Ok(rows.len())
}
