//! `runbook downgrade`: the way back, all steps in one transaction where that is possible.

use crate::args::{Downgrade, Format};
use crate::client::Queries;
use crate::commands::{job, plan, sql};
use crate::context::{Context, rows};
use crate::error::{Error, Result};
use crate::interrupt;
use crate::output::{self, Line, Style};
use postgres::error::SqlState;
use runbook_core::plan::Direction;
use serde_json::json;

/// Reverts in one transaction, or by a job where a revision runs outside of transactions; with `--sql` prints the SQL of the files.
pub fn run(args: &Downgrade, context: &Context) -> Result<()> {
    if args.sql {
        return sql::print(context, &args.target, Direction::Downgrade);
    }
    if args.dry_run {
        return plan::downgrade(&args.target, context);
    }
    let mut client = context.connect()?;
    let plan = rows(&mut client, "SELECT * FROM runbook.plan($1, 'downgrade')", &[&args.target])?;
    let called = interrupt::cancelling(&mut client, context, |client| {
        client.query_one("SELECT runbook.downgrade($1)", &[&args.target])
    })?;
    let row = match called {
        // A revision of it runs outside of transactions: a worker does it, one by one.
        Err(error) if error.code() == Some(&SqlState::ACTIVE_SQL_TRANSACTION) => {
            let row = client
                .query_one("SELECT runbook.start_downgrade($1)", &[&args.target])
                .map_err(|error| Error::from_server(&error, true))?;
            return job::watch(&mut client, context, row.try_get(0)?, "downgrade");
        }
        other => other.map_err(|error| Error::from_server(&error, true))?,
    };
    let ids: Vec<String> = row.try_get(0)?;
    if context.format() == Format::Table {
        for id in &ids {
            let step = plan.iter().find(|step| output::text(step.get("revision")) == *id);
            let message = step.map_or_else(String::new, |step| output::text(step.get("message")));
            output::line(&Line::new("downgrade ").styled(Style::Bold, id).then("  ").then(message))?;
        }
    }
    let line = match ids.len() {
        0 => "nothing to do".to_owned(),
        1 => "1 revision reverted".to_owned(),
        count => format!("{count} revisions reverted"),
    };
    output::message(context.format(), "reverted", json!(ids), &line)
}
