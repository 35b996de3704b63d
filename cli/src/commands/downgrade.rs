//! `runbook downgrade`: the way back, all steps in one transaction.

use crate::args::{Downgrade, Format};
use crate::commands::{sql, upgrade};
use crate::context::{Context, rows};
use crate::error::{Error, Result};
use crate::output;
use runbook_core::plan::Direction;
use serde_json::json;

pub fn run(args: &Downgrade, context: &Context) -> Result<()> {
    if args.sql {
        return sql::print(context, &args.target, Direction::Downgrade);
    }
    let mut client = context.connect()?;
    let plan = rows(&mut client, "SELECT * FROM runbook.plan($1, 'downgrade')", &[&args.target])?;
    let row =
        client.query_one("SELECT runbook.downgrade($1)", &[&args.target]).map_err(|error| Error::from_server(&error, true))?;
    let ids: Vec<String> = row.get(0);
    if context.format() == Format::Table {
        for id in &ids {
            let step = plan.iter().find(|step| output::text(step.get("revision")) == *id).cloned().unwrap_or_default();
            upgrade::line("downgrade", id, &step, None)?;
        }
    }
    let line = match ids.len() {
        0 => "nothing to do".to_owned(),
        1 => "1 revision reverted".to_owned(),
        count => format!("{count} revisions reverted"),
    };
    output::message(context.format(), "reverted", json!(ids), &line)
}
