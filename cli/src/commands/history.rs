//! `runbook history`: revisions, newest first.

use crate::args::{Format, History};
use crate::commands::heads::local;
use crate::context::{Context, rows, tell_of_parts};
use crate::error::Result;
use crate::files;
use crate::output::{self, Line, Row};
use runbook_core::plan;

/// Prints the revisions of a range, from the server or from the files.
pub fn run(args: &History, context: &Context) -> Result<()> {
    let (history, current) = if context.is_local() {
        let files = files::load(context)?;
        let nodes = plan::history(&files.graph, &[], &args.rev_range)?;
        (nodes.into_iter().map(|node| local(&files, node)).collect(), vec![])
    } else {
        let mut client = context.connect()?;
        let history = rows(&mut client, "SELECT * FROM runbook.history($1)", &[&args.rev_range])?;
        let current = rows(&mut client, "SELECT * FROM runbook.current()", &[])?;
        tell_of_parts(&mut client)?;
        (history, current.iter().map(|row| output::text(row.get("revision"))).collect())
    };
    if context.format() == Format::Json {
        return output::rows(context.format(), &history, &[], "");
    }
    for row in &history {
        let mark = args.indicate_current && current.contains(&output::text(row.get("revision")));
        output::line(&Line::new(one_line(row, mark)))?;
        if args.verbose {
            for (label, key) in [("status", "status"), ("phase", "phase"), ("applied", "applied_at"), ("file", "file")] {
                let value = output::text(row.get(key));
                if !value.is_empty() {
                    output::line(&Line::new(format!("    {label}: {value}")))?;
                }
            }
        }
    }
    if history.is_empty() {
        output::line(&Line::new("there are no revisions"))?;
    }
    Ok(())
}

/// As Alembic prints it: `parent -> revision (head) (current), message`. What the author wrote comes last.
fn one_line(row: &Row, is_current: bool) -> String {
    let parents = output::text(row.get("parents"));
    let parents = if parents.is_empty() { "<base>".to_owned() } else { parents };
    let flag = |key: &str, word: &str| {
        if row.get(key).and_then(serde_json::Value::as_bool) == Some(true) { format!(" ({word})") } else { String::new() }
    };
    let labels = output::text(row.get("branch_labels"));
    let labels = if labels.is_empty() { labels } else { format!(" ({labels})") };
    format!(
        "{parents} -> {}{labels}{}{}{}{}, {}",
        output::text(row.get("revision")),
        flag("is_head", "head"),
        flag("is_branch_point", "branchpoint"),
        flag("is_merge_point", "mergepoint"),
        if is_current { " (current)" } else { "" },
        output::text(row.get("message"))
    )
}
