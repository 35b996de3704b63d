//! `runbook reject`, `revoke`.

use crate::args::Decide;
use crate::client::Queries;
use crate::context::Context;
use crate::error::Result;
use crate::output;
use serde_json::json;

/// Calls `runbook.reject` or `runbook.revoke`, as `verb` says, and prints what became of the decision.
pub fn run(verb: &str, args: &Decide, context: &Context) -> Result<()> {
    let mut client = context.connect()?;
    let row = client.query_one(&format!("SELECT runbook.{verb}($1, $2)::text"), &[&args.revision, &args.comment])?;
    let answer: String = row.try_get(0)?;
    let line = match verb {
        "reject" => format!("rejected {}: digest {answer}", args.revision),
        _ if answer == "true" => format!("revoked your decision on {}", args.revision),
        _ => format!("you had made no decision on {}", args.revision),
    };
    output::message(context.format(), verb, json!(answer), &line)
}
