//! Values: as people read them, and as JSON.

use crate::error::Result;
use runbook_core::visible::visible_json;
use serde_json::Value;
use std::io::Write;

/// A value as a person reads it; not yet fit for a terminal, which is what a [`Line`](crate::line::Line) is for.
pub fn text(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => time(text).unwrap_or_else(|| text.clone()),
        Some(Value::Bool(value)) => if *value { "yes" } else { "no" }.to_owned(),
        Some(Value::Array(items)) => items.iter().map(|item| text(Some(item))).collect::<Vec<_>>().join(", "),
        Some(other) => other.to_string(),
    }
}

/// Time stamps in local time, to the second, with its distance from UTC.
fn time(text: &str) -> Option<String> {
    let looks_like = text.len() > 19 && text.as_bytes()[4] == b'-' && text.as_bytes()[10] == b'T';
    let parsed = looks_like.then(|| chrono::DateTime::parse_from_rfc3339(text).ok()).flatten()?;
    Some(parsed.with_timezone(&chrono::Local).format("%Y-%m-%d %H:%M:%S%:::z").to_string())
}

/// Prints a JSON document.
pub fn value<T: serde::Serialize + ?Sized>(value: &T) -> Result<()> {
    json(&serde_json::to_string_pretty(value).unwrap_or_default())
}

/// Prints a JSON value in one line.
pub fn compact(value: &Value) -> Result<()> {
    json(&value.to_string())
}

fn json(text: &str) -> Result<()> {
    Ok(writeln!(std::io::stdout().lock(), "{}", visible_json(text))?)
}
