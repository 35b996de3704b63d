//! `runbook status`: where the database stands, what is pending, which protections are live.

use crate::args::Format;
use crate::context::{Context, rows};
use crate::error::Result;
use crate::output;
use serde_json::json;
use std::io::Write;

pub fn run(context: &Context) -> Result<()> {
    let mut client = context.connect_to_read()?;
    let layers = rows(&mut client, "SELECT * FROM runbook.guard_status()", &[])?;
    let current = rows(&mut client, "SELECT * FROM runbook.current()", &[])?;
    let pending = rows(&mut client, "SELECT * FROM runbook.plan('heads')", &[])?;
    let mut out = std::io::stdout().lock();
    if context.format() == Format::Json {
        let json = json!({"guard": layers, "current": current, "pending": pending});
        writeln!(out, "{}", serde_json::to_string_pretty(&json).unwrap_or_default())?;
        return Ok(());
    }
    let (bold, red, green, off) =
        if output::stdout_is_coloured() { ("\x1b[1m", "\x1b[31m", "\x1b[32m", "\x1b[0m") } else { ("", "", "", "") };
    writeln!(out, "{bold}guard{off}")?;
    for layer in &layers {
        let active = layer.get("active").and_then(serde_json::Value::as_bool) == Some(true);
        let mark = if active { format!("{green}on {off}") } else { format!("{red}off{off}") };
        writeln!(out, "  {mark} {:<18} {}", output::text(layer.get("layer")), output::text(layer.get("detail")))?;
    }
    let at: Vec<String> = current
        .iter()
        .map(|row| format!("{} ({})", output::text(row.get("revision")), output::text(row.get("message"))))
        .collect();
    writeln!(out, "{bold}database{off}\n  at {}", if at.is_empty() { "base".to_owned() } else { at.join(", ") })?;
    writeln!(out, "{bold}pending{off}")?;
    if pending.is_empty() {
        writeln!(out, "  nothing: every submitted revision is applied")?;
    }
    for step in &pending {
        let needs = output::text(step.get("needs"));
        let needs = if needs.is_empty() { String::new() } else { format!("  {red}needs {needs}{off}") };
        writeln!(out, "  {} {}{needs}", output::text(step.get("revision")), output::text(step.get("message")))?;
    }
    Ok(())
}
