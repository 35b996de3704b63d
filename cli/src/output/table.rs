//! Rows as a table or as JSON.

use crate::args::Format;
use crate::error::Result;
use crate::output::values::{text, value};
use comfy_table::{ContentArrangement, Table, presets};
use runbook_core::visible::visible_line;
use serde_json::{Map, Value};
use std::io::{IsTerminal, Write};

/// Prints rows, the named columns only (all in JSON).
pub fn rows(format: Format, rows: &[Row], columns: &[&str], nothing: &str) -> Result<()> {
    let out = std::io::stdout();
    match format {
        Format::Json => value(rows)?,
        Format::Table if rows.is_empty() => writeln!(out.lock(), "{nothing}")?,
        Format::Table => writeln!(out.lock(), "{}", render(rows, columns, out.is_terminal()))?,
    }
    Ok(())
}

fn render(rows: &[Row], columns: &[&str], is_terminal: bool) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    if !is_terminal {
        table.set_content_arrangement(ContentArrangement::Disabled);
    }
    table.set_header(columns);
    for row in rows {
        table.add_row(columns.iter().map(|column| visible_line(&text(row.get(*column))).into_owned()));
    }
    table.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>().join("\n")
}

/// One row of a result: column names in order, with their values.
pub type Row = Map<String, Value>;

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_row_stays_one_row() {
        let row = json!({"id": "a", "message": "x\nb  approved\x1b[8m", "ids": ["\u{200b}", "y\rz"]});
        let shown = render(&[row.as_object().unwrap().clone()], &["id", "message", "ids"], false);
        assert_eq!(shown.lines().count(), 2);
        assert!(shown.ends_with("x\\nb  approved\\x1b[8m  <U+200B>, y\\rz"), "{shown}");
    }
}
