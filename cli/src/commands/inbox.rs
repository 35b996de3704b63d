//! `runbook inbox`: what waits for this login to decide, what it would do, and the command that approves it.

use crate::args::Format;
use crate::context::{Context, rows};
use crate::error::Result;
use crate::output;
use std::io::Write;

pub fn run(context: &Context) -> Result<()> {
    let waiting = rows(&mut context.connect()?, "SELECT * FROM runbook.inbox()", &[])?;
    let mut out = std::io::stdout().lock();
    if context.format() == Format::Json {
        writeln!(out, "{}", serde_json::to_string_pretty(&waiting).unwrap_or_default())?;
        return Ok(());
    }
    if waiting.is_empty() {
        writeln!(out, "nothing waits for you")?;
    }
    let (bold, red, off) = if output::stdout_is_coloured() { ("\x1b[1m", "\x1b[31m", "\x1b[0m") } else { ("", "", "") };
    for one in &waiting {
        let text = |key: &str| output::text(one.get(key));
        writeln!(out, "{} {bold}{}{off}  {}  ({})", text("kind"), text("id"), text("message"), text("requested_by"))?;
        for action in one.get("would").and_then(serde_json::Value::as_array).into_iter().flatten() {
            writeln!(out, "    would {red}{}{off}", output::text(Some(action)))?;
        }
        writeln!(out, "    needs {}", text("needs"))?;
        // With the digest, it approves what was read and nothing that was submitted since.
        let command = match text("kind").as_str() {
            "permit" => format!("runbook permit approve {} -m COMMENT", text("id")),
            _ => format!("runbook approve {} --digest {} -m COMMENT", text("id"), text("digest")),
        };
        writeln!(
            out,
            "    read  {}",
            if text("kind") == "permit" { "runbook permit list".to_owned() } else { format!("runbook show {}", text("id")) }
        )?;
        writeln!(out, "    then  {bold}{command}{off}")?;
    }
    Ok(())
}
