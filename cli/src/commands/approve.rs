//! `runbook approve`.

use crate::args::{Approve, Format};
use crate::client::{Client, Queries};
use crate::commands::inbox;
use crate::context::{Context, rows};
use crate::error::{Error, Kind, Result};
use crate::output::{self, text};
use runbook_core::vocabulary::status::RevisionStatus;
use serde_json::json;

/// Approves a revision as the login of the connection, and prints the digest that it approved; or all that wait for that login.
pub fn run(args: &Approve, context: &Context) -> Result<()> {
    let mut client = context.connect()?;
    let Some(revision) = &args.revision else { return all(&mut client, args, context) };
    let digest = approve(&mut client, revision, args.digest.as_deref(), args)?;
    let found = client.query_opt(
        "SELECT r.revision, r.status FROM runbook.revisions AS r WHERE r.digest = $1 \
         ORDER BY pg_catalog.starts_with(r.revision, $2) DESC LIMIT 1",
        &[&digest, revision],
    )?;
    let (id, status): (String, String) = match found {
        Some(row) => (row.try_get(0)?, row.try_get(1)?),
        None => (revision.clone(), String::new()),
    };
    let applied = if status == RevisionStatus::Applied.as_str() { "; it is applied already" } else { "" };
    output::message(context.format(), "approve", json!(digest), &format!("approved {id}: digest {digest}{applied}"))
}

/// Approves by digest what was shown, and nothing that was submitted since; all or none.
fn all(client: &mut Client, args: &Approve, context: &Context) -> Result<()> {
    let waiting = rows(client, "SELECT * FROM runbook.inbox() AS i WHERE i.kind = 'revision'", &[])?;
    if context.format() == Format::Table {
        inbox::show(&waiting)?;
    }
    if waiting.is_empty() {
        return if context.format() == Format::Json { output::compact(&json!({"approved": []})) } else { Ok(()) };
    }
    if !args.yes && !is_meant(waiting.len())? {
        return Err(Error::new(Kind::Failed, "nothing was approved", "runbook approve --all --yes does not ask."));
    }
    let mut transaction = client.transaction()?;
    let mut approved = Vec::new();
    for one in &waiting {
        let (id, digest) = (text(one.get("id")), text(one.get("digest")));
        approve(&mut transaction, &id, Some(&digest), args)?;
        approved.push(id);
    }
    transaction.commit()?;
    let line = format!("approved {}", approved.join(", "));
    output::message(context.format(), "approved", json!(approved), &line)
}

fn is_meant(count: usize) -> Result<bool> {
    if !output::is_interactive() {
        let hint = "On a terminal it asks; elsewhere: runbook approve --all --yes -m COMMENT";
        return Err(Error::new(Kind::Input, format!("{count} revisions wait, and no one can be asked here"), hint));
    }
    output::prompt(&format!("Approve all {count}? [y/N] "))?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(["y", "yes"].contains(&answer.trim().to_lowercase().as_str()))
}

fn approve(client: &mut impl Queries, revision: &str, digest: Option<&str>, args: &Approve) -> Result<String> {
    let row = client.query_one(
        "SELECT runbook.approve($1, $2, $3, $4::text::interval, CASE WHEN $5 THEN runbook.fingerprint() END)",
        &[&revision, &args.comment, &digest, &args.valid_for, &args.catalog],
    )?;
    Ok(row.try_get(0)?)
}
