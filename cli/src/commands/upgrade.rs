//! `runbook upgrade`: one transaction for each revision, with a line and a time for each.

use crate::args::{Format, Migrate};
use crate::commands::sql;
use crate::context::{Context, Row, rows};
use crate::error::{Error, Result};
use crate::output;
use runbook_core::plan::Direction;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

pub fn run(args: &Migrate, context: &Context) -> Result<()> {
    if args.sql {
        return sql::print(context, &args.target, Direction::Upgrade);
    }
    let mut client = context.connect()?;
    if args.atomic {
        let row = client
            .query_one("SELECT runbook.upgrade($1)", &[&args.target])
            .map_err(|error| Error::from_server(&error, true))?;
        let ids: Vec<String> = row.get(0);
        return summary(context, &ids.iter().map(|id| (id.clone(), None)).collect::<Vec<_>>());
    }
    let plan = rows(&mut client, "SELECT * FROM runbook.plan($1, 'upgrade')", &[&args.target])?;
    refuse_needs(&mut client, &plan)?;
    let upgrade = client.prepare("SELECT runbook.upgrade($1)")?;
    let mut done = Vec::new();
    for step in &plan {
        let id = output::text(step.get("revision"));
        let start = Instant::now();
        let row = client.query_one(&upgrade, &[&id]).map_err(|error| Error::from_server(&error, true))?;
        // Another migrator may have been faster: then there was nothing left to do.
        if !row.get::<_, Vec<String>>(0).is_empty() {
            let elapsed = start.elapsed();
            if context.format() == Format::Table {
                line("upgrade", &id, step, Some(elapsed))?;
            }
            done.push((id, Some(elapsed)));
        }
    }
    summary(context, &done)
}

/// Says before the first step what would stop a later one.
fn refuse_needs(client: &mut postgres::Client, plan: &[Row]) -> Result<()> {
    let Some(needy) = plan.iter().find(|step| step.get("needs").is_some_and(|needs| !needs.is_null())) else { return Ok(()) };
    let id = output::text(needy.get("revision"));
    // The server's own refusal has the whole story; asking for it changes nothing.
    let mut transaction = client.transaction()?;
    let refused = transaction.query_one("SELECT runbook.upgrade($1)", &[&id]);
    match refused {
        Err(error) => Err(Error::from_server(&error, true)),
        Ok(_) => Ok(transaction.rollback()?),
    }
}

/// One line of progress.
pub fn line(verb: &str, id: &str, step: &Row, elapsed: Option<Duration>) -> Result<()> {
    use std::io::Write;
    let (bold, green, off) = if output::stdout_is_coloured() { ("\x1b[1m", "\x1b[32m", "\x1b[0m") } else { ("", "", "") };
    let time = elapsed.map_or_else(String::new, |elapsed| format!("  {green}{:.1} ms{off}", elapsed.as_secs_f64() * 1000.0));
    writeln!(std::io::stdout().lock(), "{verb} {bold}{id}{off}  {}{time}", output::text(step.get("message")))?;
    Ok(())
}

/// What was done, at the end.
pub fn summary(context: &Context, done: &[(String, Option<Duration>)]) -> Result<()> {
    let steps: Vec<Value> = done
        .iter()
        .map(|(id, elapsed)| json!({"revision": id, "milliseconds": elapsed.map(|elapsed| elapsed.as_secs_f64() * 1000.0)}))
        .collect();
    let line = match done.len() {
        0 => "nothing to do".to_owned(),
        1 => "1 revision applied".to_owned(),
        count => format!("{count} revisions applied"),
    };
    output::message(context.format(), "applied", json!(steps), &line)
}
