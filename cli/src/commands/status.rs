//! `runbook status`: where the database stands, what is pending, which protections are active.

use crate::args::Format;
use crate::context::{Context, Identity, rows, tell_of_parts};
use crate::error::Result;
use crate::output::{self, Line, Style};
use crate::place;
use serde_json::json;

/// Prints the protections, where the database stands, and what is pending.
pub fn run(context: &Context) -> Result<()> {
    let mut client = context.connect()?;
    let layers = rows(&mut client, "SELECT * FROM runbook.guard_status()", &[])?;
    let current = rows(&mut client, "SELECT * FROM runbook.current()", &[])?;
    let pending = rows(&mut client, "SELECT * FROM runbook.plan('heads')", &[])?;
    let (known, place) = (Identity::of(&mut client), place::last());
    if context.format() == Format::Json {
        let place = place.map(|place| json!({"server": place.server, "database": place.database, "login": place.login}));
        return output::value(&json!({
            "place": place, "environment": known.environment, "preset": known.preset,
            "guard": layers, "current": current, "pending": pending
        }));
    }
    if let Some(place) = place {
        output::line(&Line::new(format!("{place}{known}")))?;
    }
    let heading = |text: &str| output::line(&Line::default().styled(Style::Bold, text));
    heading("guard")?;
    for layer in &layers {
        let active = layer.get("active").and_then(serde_json::Value::as_bool) == Some(true);
        let (style, mark) = if active { (Style::Green, "on ") } else { (Style::Red, "off") };
        let rest = format!(" {:<18} {}", output::text(layer.get("layer")), output::text(layer.get("detail")));
        output::line(&Line::new("  ").styled(style, mark).then(rest))?;
    }
    heading("database")?;
    if current.is_empty() {
        output::line(&Line::new("  at base"))?;
    }
    for row in &current {
        let at = format!("  at {} ({})", output::text(row.get("revision")), output::text(row.get("message")));
        output::line(&Line::new(at))?;
    }
    tell_of_parts(&mut client)?;
    heading("pending")?;
    if pending.is_empty() {
        output::line(&Line::new("  nothing: every submitted revision is applied"))?;
    }
    for step in &pending {
        let needs = output::text(step.get("needs"));
        let line = Line::new(format!("  {} {}", output::text(step.get("revision")), output::text(step.get("message"))));
        let line = if needs.is_empty() { line } else { line.then("  ").styled(Style::Red, format!("needs {needs}")) };
        output::line(&line)?;
    }
    Ok(())
}
