//! Output: tables for people, JSON for programs. Colour only on a terminal, and never with NO_COLOR.
//!
//! *Architecture invariant: nothing is printed around this module.* Names, messages, comments, SQL and the server's errors are
//! written by others. What cannot be seen in them is written out, and no text can begin a line that the command did not begin:
//! a [`Line`] is one line. A test reads the sources of the command and fails where something is printed elsewhere.

mod progress;
mod table;
mod terminal;
mod values;
mod writer;

pub use crate::line::{Line, Style, code, paragraph};
pub use progress::Progress;
pub use table::{Row, rows};
use terminal::{is_coloured, width};
pub use values::{compact, text, value};
pub use writer::{stderr, stdout};

use crate::args::Format;
use crate::error::Result;
use runbook_core::visible::visible_json;
use serde_json::Value;
use std::io::{IsTerminal, Write};

/// Prints a line to stdout.
pub fn line(line: &Line) -> Result<()> {
    let out = std::io::stdout();
    let text = line.render(is_coloured(&out), width(&out));
    Ok(writeln!(out.lock(), "{text}")?)
}

/// Prints a line to stderr. A failure is ignored: there is no other place to report it.
pub fn diagnostic(line: &Line) {
    let out = std::io::stderr();
    let text = line.render(is_coloured(&out), width(&out));
    let _ = writeln!(out.lock(), "{text}");
}

/// Prints a JSON value to stderr, in one line.
pub fn diagnostic_value(value: &Value) {
    let _ = writeln!(std::io::stderr().lock(), "{}", visible_json(&value.to_string()));
}

/// Prints a text to stderr, with the severity in front of it; more lines are indented.
pub fn notice(severity: &str, text: &str) {
    paragraph(Line::new(severity).then(": "), text).iter().for_each(diagnostic);
}

/// Asks a question on stderr, and waits for the answer on the same line.
pub fn prompt(question: &str) -> std::io::Result<()> {
    let mut out = std::io::stderr().lock();
    write!(out, "{}", Line::new(question).render(false, None))?;
    out.flush()
}

/// Whether a person can be asked.
pub fn is_interactive() -> bool {
    std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
}

/// Whether stdout is a terminal.
pub fn is_terminal() -> bool {
    std::io::stdout().is_terminal()
}

/// Prints a line, or an object with `key` in JSON.
pub fn message(format: Format, key: &str, value: Value, text: &str) -> Result<()> {
    messages(format, key, value, &[text])
}

/// Prints lines, or an object with `key` in JSON.
pub fn messages(format: Format, key: &str, value: Value, lines: &[&str]) -> Result<()> {
    match format {
        Format::Json => compact(&serde_json::json!({ key: value })),
        Format::Table => lines.iter().try_for_each(|text| line(&Line::new(text))),
    }
}

/// Prints an empty line between two tables.
pub fn blank() -> Result<()> {
    line(&Line::default())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    /// What prints by itself.
    const PRINTS: [&str; 8] =
        ["println!", "print!", "stdout()", "stderr()", "io::stdout", "io::stderr", "ProgressBar::", "comfy_table"];

    fn look(directory: &Path, found: &mut Vec<String>) {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                if !path.ends_with("src/output") {
                    look(&path, found);
                }
                continue;
            }
            let text = fs::read_to_string(&path).unwrap();
            for (number, line) in text.lines().enumerate().filter(|_| path.extension().is_some_and(|kind| kind == "rs")) {
                let own = line.replace("output::stdout()", "").replace("output::stderr()", "");
                if PRINTS.iter().any(|word| own.contains(word)) {
                    found.push(format!("{}:{}: {}", path.display(), number + 1, line.trim()));
                }
            }
        }
    }

    #[test]
    fn nothing_is_printed_around_this_module() {
        let mut found = Vec::new();
        look(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut found);
        assert!(found.is_empty(), "print it with crate::output:\n{}", found.join("\n"));
    }
}
