//! `runbook approve`.

use crate::args::Approve;
use crate::context::Context;
use crate::error::Result;
use crate::output;
use runbook_core::vocabulary::status::RevisionStatus;
use serde_json::json;

/// Approves a revision as the login of the connection, and prints the digest that it approved.
pub fn run(args: &Approve, context: &Context) -> Result<()> {
    let mut client = context.connect()?;
    let row = client.query_one(
        "SELECT runbook.approve($1, $2, $3, $4::text::interval, CASE WHEN $5 THEN runbook.fingerprint() END)",
        &[&args.revision, &args.comment, &args.digest, &args.valid_for, &args.catalog],
    )?;
    let digest: String = row.try_get(0)?;
    let found = client.query_opt(
        "SELECT r.revision, r.status FROM runbook.revisions AS r WHERE r.digest = $1 \
         ORDER BY pg_catalog.starts_with(r.revision, $2) DESC LIMIT 1",
        &[&digest, &args.revision],
    )?;
    let (id, status): (String, String) = match found {
        Some(row) => (row.try_get(0)?, row.try_get(1)?),
        None => (args.revision.clone(), String::new()),
    };
    let applied = if status == RevisionStatus::Applied.as_str() { "; it is applied already" } else { "" };
    output::message(context.format(), "approve", json!(digest), &format!("approved {id}: digest {digest}{applied}"))
}
