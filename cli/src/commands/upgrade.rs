//! `runbook upgrade`: a job of the server, one transaction for each revision, with a line and a time for each.

use crate::args::Migrate;
use crate::commands::{job, sql};
use crate::context::Context;
use crate::error::{Error, Result};
use crate::{interrupt, output};
use runbook_core::plan::Direction;
use serde_json::json;

/// Starts a job and follows it; with `--atomic` applies all in one call, with `--sql` prints the SQL of the files.
pub fn run(args: &Migrate, context: &Context) -> Result<()> {
    if args.sql {
        return sql::print(context, &args.target, Direction::Upgrade);
    }
    let mut client = context.connect()?;
    if args.atomic {
        let row = interrupt::cancelling(&mut client, context, |client| {
            client.query_one("SELECT runbook.upgrade($1)", &[&args.target])
        })?
        .map_err(|error| Error::from_server(&error, true))?;
        let ids: Vec<String> = row.try_get(0)?;
        let steps: Vec<_> = ids.iter().map(|id| json!({"revision": id, "milliseconds": null})).collect();
        let line = match ids.len() {
            0 => "nothing to do".to_owned(),
            1 => "1 revision applied".to_owned(),
            count => format!("{count} revisions applied"),
        };
        return output::message(context.format(), "applied", json!(steps), &line);
    }
    let row = client
        .query_one("SELECT runbook.start_upgrade($1)", &[&args.target])
        .map_err(|error| Error::from_server(&error, true))?;
    if args.detach {
        job::detached(&mut client, context, row.try_get(0)?)
    } else {
        job::watch(&mut client, context, row.try_get(0)?, "upgrade")
    }
}
