//! `runbook withdraw`.

use crate::args::Withdraw;
use crate::client::Queries;
use crate::context::Context;
use crate::error::Result;
use crate::output;
use serde_json::json;

/// Withdraws a revision, and prints its id.
pub fn run(args: &Withdraw, context: &Context) -> Result<()> {
    let mut client = context.connect()?;
    let id: String = client.query_one("SELECT runbook.withdraw($1, $2)", &[&args.revision, &args.reason])?.try_get(0)?;
    output::message(context.format(), "withdrawn", json!(id), &format!("withdrew {id}"))
}
