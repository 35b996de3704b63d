//! `runbook upgrade`: a job of the server, one transaction for each revision, with a line and a time for each.

use crate::args::{Format, Migrate};
use crate::client::{Client, Queries};
use crate::commands::{job, plan, sql};
use crate::context::Context;
use crate::error::{Error, Result};
use crate::interrupt;
use crate::output::{self, Line, Style};
use runbook_core::plan::Direction;
use serde_json::json;

/// Starts a job and follows it; with `--atomic` applies all in one call, with `--sql` prints the SQL of the files.
pub fn run(args: &Migrate, context: &Context) -> Result<()> {
    if args.sql {
        return sql::print(context, target(args), Direction::Upgrade);
    }
    if args.dry_run {
        return plan::upgrade(args.target.as_deref(), args.through.as_deref(), context);
    }
    let mut client = context.connect()?;
    if args.atomic {
        return atomic(&mut client, args, context);
    }
    let row = client
        .query_one("SELECT runbook.start_upgrade($1, $2)", &[&given(&args.target), &given(&args.through)])
        .map_err(|error| Error::from_server(&error, true))?;
    if args.detach {
        job::detached(&mut client, context, row.try_get(0)?)
    } else {
        job::watch(&mut client, context, row.try_get(0)?, "upgrade")
    }
}

/// What the function takes for an argument that was left out.
fn given(text: &Option<String>) -> &str {
    text.as_deref().unwrap_or_default()
}

fn target(args: &Migrate) -> &str {
    args.target.as_deref().unwrap_or("head")
}

/// All in one transaction of this session; up to the border of a phase as a job would, too.
fn atomic(client: &mut Client, args: &Migrate, context: &Context) -> Result<()> {
    let steps = plan::steps(client, target(args), "upgrade")?;
    let stop = plan::stop(&steps, args.target.as_deref(), args.through.as_deref());
    let going = &steps[..stop.unwrap_or(steps.len())];
    if context.format() == Format::Table && !context.is_quiet() && !going.is_empty() {
        let ids: Vec<String> = going.iter().map(|step| output::text(step.get("revision"))).collect();
        let revisions = if ids.len() == 1 { "revision" } else { "revisions" };
        output::diagnostic(&Line::new(format!("applies {} {revisions} in one transaction: {}", ids.len(), ids.join(", "))));
    }
    let called = interrupt::cancelling(client, context, |client| {
        let Some(stop) = stop else {
            return client.query_one("SELECT runbook.upgrade($1)", &[&target(args)])?.try_get(0);
        };
        let mut transaction = client.transaction()?;
        let mut applied: Vec<String> = Vec::new();
        for step in &steps[..stop] {
            let one = output::text(step.get("revision"));
            applied.extend(transaction.query_one("SELECT runbook.upgrade($1)", &[&one])?.try_get::<_, Vec<String>>(0)?);
        }
        transaction.commit()?;
        Ok(applied)
    })?;
    let ids = called.map_err(|error| Error::from_server(&error, true))?;
    if context.format() == Format::Table {
        for id in &ids {
            let step = steps.iter().find(|step| output::text(step.get("revision")) == *id);
            let message = step.map_or_else(String::new, |step| output::text(step.get("message")));
            output::line(&Line::new("upgrade ").styled(Style::Bold, id).then("  ").then(message))?;
        }
    }
    if let Some(stop) = stop.filter(|_| !context.is_quiet()) {
        output::diagnostic(&plan::stops_before(&steps[stop]));
    }
    let steps: Vec<_> = ids.iter().map(|id| json!({"revision": id, "milliseconds": null})).collect();
    let line = match ids.len() {
        0 => "nothing to do".to_owned(),
        1 => "1 revision applied".to_owned(),
        count => format!("{count} revisions applied"),
    };
    output::message(context.format(), "applied", json!(steps), &line)
}
