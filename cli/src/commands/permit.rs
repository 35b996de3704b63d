//! `runbook permit request`, `approve`, `reject`, `list`.

use crate::args::{DecidePermit, Permit};
use crate::client::Queries;
use crate::context::{Context, rows};
use crate::error::Result;
use crate::output;
use serde_json::json;

/// Requests, decides or lists permits.
pub fn run(args: &Permit, context: &Context) -> Result<()> {
    match args {
        Permit::Request { statement, reason, valid_for } => {
            let sql = "SELECT runbook.request_permit($1, $2, $3::pg_catalog.text::pg_catalog.interval)";
            let row = context.connect_as_is()?.query_one(sql, &[statement, reason, valid_for])?;
            let id: String = row.try_get(0)?;
            let line = format!("requested permit {id}; an approver runs: runbook permit approve {id}");
            output::message(context.format(), "permit", json!(id), &line)
        }
        Permit::Approve(args) => decide("approve", "approved", args, context),
        Permit::Reject(args) => decide("reject", "rejected", args, context),
        Permit::List { all } => {
            let sql = "SELECT * FROM runbook.permits AS p WHERE $1 OR p.status IN ('requested', 'approved')";
            let permits = rows(&mut context.connect()?, sql, &[all])?;
            let columns = ["permit", "status", "requested_by", "statement", "reason", "needs", "expires_at", "parameters"];
            output::rows(context.format(), &permits, &columns, "there is no open permit")
        }
    }
}

fn decide(verb: &str, done: &str, args: &DecidePermit, context: &Context) -> Result<()> {
    let sql = format!("SELECT runbook.{verb}_permit($1, $2)");
    let row = context.connect()?.query_one(&sql, &[&args.permit, &args.comment])?;
    let statement: String = row.try_get(0)?;
    output::message(context.format(), verb, json!(statement), &format!("{done} permit {}: {statement}", args.permit))
}
