//! `runbook break-glass`: policy set aside for this one session, and put back before it ends.

use crate::args::BreakGlass;
use crate::client::{Client, Queries};
use crate::context::Context;
use crate::error::{Error, Kind, Result};
use crate::output;
use serde_json::{Value, json};
use std::io::Read;
use std::path::Path;

/// Opens break-glass, runs the SQL or the upgrade in that session, and closes it again whatever came of it.
pub fn run(args: &BreakGlass, context: &Context) -> Result<()> {
    let sql = match (&args.sql, &args.file) {
        (Some(sql), _) => Some(sql.clone()),
        (None, Some(file)) => Some(read(file)?),
        (None, None) => None,
    };
    let mut client = context.connect_session()?.left_as_it_is();
    // The server's warning says until when.
    client.query_one(
        "SELECT runbook.break_glass($1, $2::pg_catalog.text::pg_catalog.interval)",
        &[&args.reason, &args.valid_for],
    )?;
    let outcome = under_it(&mut client, sql.as_deref(), args.upgrade.as_deref());
    // Put back first, whatever came of it; a session that is gone has put it back itself.
    let closed = client.query_one("SELECT runbook.close_break_glass()", &[]);
    let done = outcome?;
    closed?;
    let line = match done.as_array() {
        Some(ids) => format!("applied {}; policy is in force again", output::text(Some(&json!(ids)))),
        None => "done; policy is in force again".to_owned(),
    };
    output::message(context.format(), "done", done, &line)
}

fn under_it(client: &mut Client, sql: Option<&str>, target: Option<&str>) -> Result<Value> {
    if let Some(sql) = sql {
        client.batch_execute(sql).map_err(|error| Error::from_server(&error, false))?;
        return Ok(json!(true));
    }
    let target = target.unwrap_or("head");
    let row = client.query_one("SELECT runbook.upgrade($1)", &[&target]).map_err(|error| Error::from_server(&error, true))?;
    Ok(json!(row.try_get::<_, Vec<String>>(0)?))
}

fn read(file: &Path) -> Result<String> {
    let mut text = String::new();
    if file == Path::new("-") {
        std::io::stdin().read_to_string(&mut text)?;
        return Ok(text);
    }
    std::fs::read_to_string(file).map_err(|error| {
        Error::new(Kind::Input, format!("{}: {error}", file.display()), "Name a file of SQL, or - for standard input.")
    })
}
