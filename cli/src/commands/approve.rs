//! `runbook approve`.

use crate::args::Approve;
use crate::context::Context;
use crate::error::Result;
use crate::output;
use serde_json::json;

/// Approves a revision as the login of the connection, and prints the digest that it approved.
pub fn run(args: &Approve, context: &Context) -> Result<()> {
    let mut client = context.connect()?;
    let row = client.query_one(
        "SELECT runbook.approve($1, $2, $3, $4::text::interval, CASE WHEN $5 THEN runbook.fingerprint() END)",
        &[&args.revision, &args.comment, &args.digest, &args.valid_for, &args.catalog],
    )?;
    let digest: String = row.try_get(0)?;
    output::message(context.format(), "approve", json!(digest), &format!("approved {}: digest {digest}", args.revision))
}
