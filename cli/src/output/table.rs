//! Rows as a table or as JSON.

use crate::args::Format;
use crate::error::Result;
use crate::output::terminal::width;
use crate::output::values::{text, value};
use comfy_table::{ContentArrangement, Table, presets};
use runbook_core::visible::visible_line;
use serde_json::{Map, Value};
use std::io::Write;
use textwrap::Options;

/// Prints rows, the named columns only (all in JSON).
pub fn rows(format: Format, rows: &[Row], columns: &[&str], nothing: &str) -> Result<()> {
    let out = std::io::stdout();
    match format {
        Format::Json => value(rows)?,
        Format::Table if rows.is_empty() => writeln!(out.lock(), "{nothing}")?,
        Format::Table => writeln!(out.lock(), "{}", render(rows, columns, width(&out)))?,
    }
    Ok(())
}

/// A table. On a terminal of `width` columns, columns without any value are left out; those that do not fit, from the last one, stand below
/// their row, each with its name. No word and no id is broken as long as it fits into a line.
fn render(rows: &[Row], columns: &[&str], width: Option<usize>) -> String {
    let cell = |row: &Row, column: &str| visible_line(&text(row.get(column))).into_owned();
    let Some(width) = width else { return table(rows, columns, cell) };
    let used: Vec<&str> =
        columns.iter().copied().filter(|column| rows.iter().any(|row| !cell(row, column).is_empty())).collect();
    let mut fit = used.len();
    while fit > 1 && widest(&table(rows, &used[..fit], cell)) > width {
        fit -= 1;
    }
    let (beside, below) = used.split_at(fit.min(used.len()));
    let table = table(rows, beside, cell);
    if below.is_empty() {
        return table;
    }
    let mut lines = table.lines();
    let mut out: Vec<String> = lines.next().map(str::to_owned).into_iter().collect();
    for (row, line) in rows.iter().zip(lines) {
        out.push(line.to_owned());
        for column in below {
            let value = cell(row, column);
            if !value.is_empty() {
                let (first, more) = (format!("    {column}: "), " ".repeat(8));
                let options = Options::new(width.max(20)).initial_indent(&first).subsequent_indent(&more).break_words(true);
                out.extend(textwrap::wrap(&value, options).into_iter().map(|line| line.trim_end().to_owned()));
            }
        }
    }
    out.join("\n")
}

fn widest(table: &str) -> usize {
    table.lines().map(textwrap::core::display_width).max().unwrap_or_default()
}

/// Each row in one line.
fn table(rows: &[Row], columns: &[&str], cell: impl Fn(&Row, &str) -> String) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(columns);
    for row in rows {
        table.add_row(columns.iter().map(|column| cell(row, column)));
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
    fn what_does_not_fit_stands_below_and_no_id_is_cut() {
        let row = |id: &str, reason: &str| json!({"id": id, "who": "", "kind": "ddl.blocked", "reason": reason});
        let rows = [row("1c0ffee00aa1", "drop table public.orders is destructive and outside of the manifest"), row("2", "")];
        let rows: Vec<Row> = rows.iter().map(|row| row.as_object().unwrap().clone()).collect();
        let shown = render(&rows, &["id", "who", "kind", "reason"], Some(40));
        let expected = [
            " id            kind",
            " 1c0ffee00aa1  ddl.blocked",
            "    reason: drop table public.orders is",
            "        destructive and outside of the",
            "        manifest",
            " 2             ddl.blocked",
        ];
        assert_eq!(shown.lines().collect::<Vec<_>>(), expected);
        for width in 20..200 {
            let shown = render(&rows, &["id", "who", "kind", "reason"], Some(width));
            assert!(widest(&shown) <= width.max(26) && shown.contains("1c0ffee00aa1"), "{width}: {shown}");
        }
        assert!(render(&rows, &["id", "who", "kind", "reason"], None).contains("who"), "a pipe has all columns");
    }

    #[test]
    fn a_row_stays_one_row() {
        let row = json!({"id": "a", "message": "x\nb  approved\x1b[8m", "ids": ["\u{200b}", "y\rz"]});
        let shown = render(&[row.as_object().unwrap().clone()], &["id", "message", "ids"], None);
        assert_eq!(shown.lines().count(), 2);
        assert!(shown.ends_with("x\\nb  approved\\x1b[8m  <U+200B>, y\\rz"), "{shown}");
    }
}
