//! Output: tables for people, JSON for programs. Colour only on a terminal, and never with NO_COLOR.

use crate::args::Format;
use crate::context::Row;
use crate::error::Result;
use comfy_table::{ContentArrangement, Table, presets};
use serde_json::Value;
use std::io::{IsTerminal, Write};

/// Whether stdout may carry colour.
pub fn stdout_is_coloured() -> bool {
    std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none()
}

/// Whether stderr may carry colour.
pub fn stderr_is_coloured() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none()
}

/// Prints rows, the named columns only (all in JSON).
pub fn rows(format: Format, rows: &[Row], columns: &[&str], nothing: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    match format {
        Format::Json => writeln!(out, "{}", serde_json::to_string_pretty(rows).unwrap_or_default())?,
        Format::Table if rows.is_empty() => writeln!(out, "{nothing}")?,
        Format::Table => {
            let mut table = Table::new();
            table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
            if !std::io::stdout().is_terminal() {
                table.set_content_arrangement(ContentArrangement::Disabled);
            }
            table.set_header(columns);
            for row in rows {
                table.add_row(columns.iter().map(|column| text(row.get(*column))));
            }
            for line in table.lines() {
                writeln!(out, "{}", line.trim_end())?;
            }
        }
    }
    Ok(())
}

/// A value as a person reads it.
pub fn text(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => time(text).unwrap_or_else(|| text.clone()),
        Some(Value::Bool(value)) => if *value { "yes" } else { "no" }.to_owned(),
        Some(Value::Array(items)) => items.iter().map(|item| text(Some(item))).collect::<Vec<_>>().join(", "),
        Some(other) => other.to_string(),
    }
}

/// Time stamps in local time, to the second.
fn time(text: &str) -> Option<String> {
    let looks_like = text.len() > 19 && text.as_bytes()[4] == b'-' && text.as_bytes()[10] == b'T';
    let parsed = looks_like.then(|| chrono::DateTime::parse_from_rfc3339(text).ok()).flatten()?;
    Some(parsed.with_timezone(&chrono::Local).format("%Y-%m-%d %H:%M:%S").to_string())
}

/// Prints a line, or an object with `key` in JSON.
pub fn message(format: Format, key: &str, value: Value, line: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    match format {
        Format::Json => writeln!(out, "{}", serde_json::json!({ key: value }))?,
        Format::Table => writeln!(out, "{line}")?,
    }
    Ok(())
}

/// Prints a JSON document.
pub fn value(value: &Value) -> Result<()> {
    writeln!(std::io::stdout().lock(), "{}", serde_json::to_string_pretty(value).unwrap_or_default())?;
    Ok(())
}

/// Prints a JSON value in one line.
pub fn line(value: &Value) -> Result<()> {
    writeln!(std::io::stdout().lock(), "{value}")?;
    Ok(())
}

/// Prints an empty line between two tables.
pub fn blank() -> Result<()> {
    writeln!(std::io::stdout().lock())?;
    Ok(())
}
