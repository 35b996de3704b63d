//! The revision file: header comments, then SQL in sections.
//!
//! ```sql
//! -- revision: 3f2a9c1b7d04
//! -- parents: 1c0ffee00aa1
//! -- message: add orders.note
//!
//! -- runbook: upgrade
//! ALTER TABLE orders ADD COLUMN note text;
//!
//! -- runbook: downgrade
//! ALTER TABLE orders DROP COLUMN note;
//! ```
//!
//! A missing downgrade section means that there is no way back; an empty one, that nothing needs undoing.
//! Windows line ends are read as `\n`, and a byte order mark is skipped.

use crate::error::{Error, Result};
use crate::marker::{AlmostMarker, SECTIONS, almost_marker};
use crate::revision::{MAX_BYTES, Phase, Revision, RevisionId};
use crate::visible::visible_line;
use std::fmt::Write as _;

const KEYS: &str = "revision, parents, depends_on, branch_label, message, phase, author, transaction, irreversible_reason, \
                    requires_release, unused_for, backfill";

/// Reads a revision file; `name` stands in errors.
///
/// # Errors
/// [`Error::File`] with file, line and the fix; [`Error::TooLarge`]; [`Error::RevisionId`].
pub fn parse(name: &str, bytes: &[u8]) -> Result<Revision> {
    let size = bytes.len() as u64;
    if size > MAX_BYTES {
        return Err(Error::TooLarge { what: name.to_owned(), bytes: size, limit: MAX_BYTES });
    }
    let at = |line: usize, problem: &str, fix: &str| Error::File {
        file: name.to_owned(),
        line,
        problem: problem.to_owned(),
        fix: fix.to_owned(),
    };
    let line_of = |offset: usize| 1 + bytes[..offset].iter().filter(|byte| **byte == b'\n').count();
    let text = std::str::from_utf8(bytes).map_err(|error| {
        at(
            line_of(error.valid_up_to()),
            "the file is not UTF-8",
            "Save it as UTF-8, for example with iconv -f latin1 -t utf-8.",
        )
    })?;
    if let Some(offset) = text.find('\0') {
        return Err(at(line_of(offset), "the file contains a NUL byte", "PostgreSQL text can't hold NUL; remove it."));
    }
    let text = text.trim_start_matches('\u{feff}').replace("\r\n", "\n");
    Parser { name, headers: Vec::new(), sections: Vec::new() }.read(&text)
}

struct Parser<'a> {
    name: &'a str,
    headers: Vec<(String, String, usize)>,
    sections: Vec<(String, String)>,
}

impl Parser<'_> {
    fn error(&self, line: usize, problem: impl Into<String>, fix: impl Into<String>) -> Error {
        Error::File { file: self.name.to_owned(), line, problem: problem.into(), fix: fix.into() }
    }

    fn read(mut self, text: &str) -> Result<Revision> {
        for (index, line) in text.lines().enumerate() {
            let number = index + 1;
            if let Some(section) = line.strip_prefix("-- runbook:") {
                self.open_section(section.trim(), number)?;
            } else if let Some(almost) = almost_marker(line) {
                return Err(self.misspelt(almost, line, number));
            } else if let Some((_, sql)) = self.sections.last_mut() {
                sql.push_str(line);
                sql.push('\n');
            } else {
                self.header(line, number)?;
            }
        }
        self.build()
    }

    fn open_section(&mut self, section: &str, line: usize) -> Result<()> {
        if !SECTIONS.contains(&section) {
            return Err(self.error(
                line,
                format!("unknown section \"{}\"", visible_line(section)),
                "The sections are \"-- runbook: upgrade\", \"-- runbook: downgrade\" and \"-- runbook: verify\".",
            ));
        }
        if self.sections.iter().any(|(name, _)| name == section) {
            return Err(self.error(line, format!("section \"{section}\" is given twice"), "Join the two sections."));
        }
        self.sections.push((section.to_owned(), String::new()));
        Ok(())
    }

    fn misspelt(&self, almost: AlmostMarker, line: &str, number: usize) -> Error {
        let line = visible_line(line);
        let problem = match almost.tool {
            Some(tool) => format!(
                "\"{line}\" is a section marker of {tool}: here it would be a comment, and the SQL after it would run too"
            ),
            None => format!("\"{line}\" is almost a section marker: it would be a comment, and the SQL after it would run too"),
        };
        let fix = match almost.section {
            Some(section) => format!("Replace the line with this one, without spaces before it: -- runbook: {section}"),
            None => {
                "Remove the line, or replace it with one of these: -- runbook: upgrade, -- runbook: downgrade, -- runbook: \
                 verify"
                    .to_owned()
            }
        };
        self.error(number, problem, fix)
    }

    fn header(&mut self, line: &str, number: usize) -> Result<()> {
        let line = line.trim();
        if line.is_empty() || line == "--" {
            return Ok(());
        }
        let Some(comment) = line.strip_prefix("--") else {
            return Err(self.error(
                number,
                "SQL before the first section",
                "Write \"-- runbook: upgrade\" on a line of its own above it.",
            ));
        };
        let Some((key, value)) = comment.split_once(':') else {
            return Err(self.error(
                number,
                "a header line without \"key: value\"",
                "Move free comments below \"-- runbook: upgrade\".",
            ));
        };
        let (key, value) = (key.trim().to_owned(), value.trim().to_owned());
        if !KEYS.split(", ").any(|known| known == key) {
            return Err(self.error(number, format!("unknown header \"{key}\""), format!("The headers are {KEYS}.")));
        }
        if self.headers.iter().any(|(other, ..)| *other == key) {
            return Err(self.error(
                number,
                format!("header \"{key}\" is given twice"),
                "Keep one; lists are separated by commas.",
            ));
        }
        self.headers.push((key, value, number));
        Ok(())
    }

    fn value(&self, key: &str) -> Option<(&str, usize)> {
        let (_, value, line) = self.headers.iter().find(|(other, value, _)| other == key && !value.is_empty())?;
        Some((value, *line))
    }

    fn list(&self, key: &str) -> Vec<String> {
        let (value, _) = self.value(key).unwrap_or_default();
        value.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect()
    }

    fn section(&self, name: &str) -> Option<String> {
        let (_, sql) = self.sections.iter().find(|(other, _)| other == name)?;
        Some(trimmed_section(sql))
    }

    fn id(&self, id: &str, line: usize) -> Result<RevisionId> {
        RevisionId::new(id).map_err(|error| self.error(line, error.to_string(), error.hint().unwrap_or_default()))
    }

    fn build(self) -> Result<Revision> {
        let Some((id, id_line)) = self.value("revision") else {
            let fix = "Start the file with \"-- revision: ID\"; \"runbook revision -m MESSAGE\" writes one.";
            return Err(self.error(1, "no revision id", fix));
        };
        let revision = self.id(id, id_line)?;
        let parents_line = self.value("parents").map_or(1, |(_, line)| line);
        let parents: Result<Vec<_>> = self.list("parents").iter().map(|parent| self.id(parent, parents_line)).collect();
        let phase = match self.value("phase") {
            None => None,
            Some((text, line)) => Some(Phase::parse(text).ok_or_else(|| {
                self.error(line, format!("unknown phase \"{text}\""), "The phases are expand, migrate and contract.")
            })?),
        };
        let transaction = match self.value("transaction") {
            None | Some(("on", _)) => true,
            Some(("off", _)) => false,
            Some((text, line)) => {
                return Err(self.error(line, format!("unknown transaction mode \"{text}\""), "Write \"on\" or \"off\"."));
            }
        };
        let Some(upgrade) = self.section("upgrade") else {
            return Err(self.error(1, "no upgrade section", "Write \"-- runbook: upgrade\" above the SQL."));
        };
        let text = |key: &str| self.value(key).map(|(value, _)| value.to_owned());
        Revision {
            revision,
            parents: parents?,
            depends_on: self.list("depends_on"),
            branch_labels: self.list("branch_label"),
            message: text("message").unwrap_or_default(),
            phase,
            author: text("author"),
            transaction,
            upgrade,
            downgrade: self.section("downgrade"),
            irreversible_reason: text("irreversible_reason"),
            verify: self.section("verify").filter(|sql| !sql.is_empty()),
            requires_release: text("requires_release"),
            unused_for: text("unused_for"),
            backfill: text("backfill"),
        }
        .checked()
    }
}

/// Writes `revision` as a file that [`parse`] reads back to the same digest.
pub fn write(revision: &Revision) -> String {
    let mut out = format!("-- revision: {}\n", revision.revision);
    let one_line = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut header = |key: &str, value: String| {
        if !value.is_empty() {
            let _ = writeln!(out, "-- {key}: {value}");
        }
    };
    header("parents", revision.parents.iter().map(RevisionId::as_str).collect::<Vec<_>>().join(", "));
    header("depends_on", revision.depends_on.join(", "));
    header("branch_label", revision.branch_labels.join(", "));
    header("message", one_line(&revision.message));
    header("phase", revision.phase.map_or(String::new(), |phase| phase.as_str().to_owned()));
    header("author", one_line(revision.author.as_deref().unwrap_or_default()));
    header("transaction", if revision.transaction { String::new() } else { "off".to_owned() });
    header("irreversible_reason", one_line(revision.irreversible_reason.as_deref().unwrap_or_default()));
    header("requires_release", revision.requires_release.clone().unwrap_or_default());
    header("unused_for", revision.unused_for.clone().unwrap_or_default());
    header("backfill", revision.backfill.clone().unwrap_or_default());
    let sections = [
        ("upgrade", Some(&revision.upgrade)),
        ("downgrade", revision.downgrade.as_ref()),
        ("verify", revision.verify.as_ref()),
    ];
    for (name, sql) in sections {
        if let Some(sql) = sql {
            let _ = write!(out, "\n-- runbook: {name}\n{}", sql.trim_matches('\n'));
            if !sql.trim().is_empty() {
                out.push('\n');
            }
        }
    }
    out
}

/// Writes `revision` as a file, and refuses where [`parse`] would read something else from it.
///
/// Blank lines around a section and blanks around a header are no difference.
///
/// # Errors
/// [`Error::Unwritable`].
pub fn write_faithfully(revision: &Revision) -> Result<String> {
    let text = write(revision);
    let unwritable = |difference: String| Error::Unwritable { revision: revision.revision.to_string(), difference };
    let read = parse(revision.revision.as_str(), text.as_bytes()).map_err(|error| unwritable(error.to_string()))?;
    let (read, meant) = (serde_json::to_value(&read), serde_json::to_value(trimmed(revision)));
    let (Ok(serde_json::Value::Object(read)), Ok(serde_json::Value::Object(meant))) = (read, meant) else {
        return Err(unwritable("it is not a JSON object".to_owned()));
    };
    match meant.iter().find(|(key, value)| read.get(*key) != Some(value)).map(|(key, _)| key) {
        Some(key) => Err(unwritable(format!("the value of {key} would differ"))),
        None if read.len() != meant.len() => Err(unwritable("there would be other headers or sections".to_owned())),
        None => Ok(text),
    }
}

/// The revision as a file holds it.
fn trimmed(revision: &Revision) -> Revision {
    let prose = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let prose_of = |text: &Option<String>| text.as_deref().map(prose).filter(|text| !text.is_empty());
    let term = |text: &Option<String>| text.as_deref().map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
    Revision {
        message: prose(&revision.message),
        author: prose_of(&revision.author),
        irreversible_reason: prose_of(&revision.irreversible_reason),
        requires_release: term(&revision.requires_release),
        unused_for: term(&revision.unused_for),
        backfill: term(&revision.backfill),
        upgrade: trimmed_section(&revision.upgrade),
        downgrade: revision.downgrade.as_deref().map(trimmed_section),
        verify: revision.verify.as_deref().map(trimmed_section).filter(|sql| !sql.is_empty()),
        ..revision.clone()
    }
}

/// A section's SQL without the blank lines around it.
fn trimmed_section(sql: &str) -> String {
    if sql.trim().is_empty() { String::new() } else { format!("{}\n", sql.trim_matches('\n').trim_end()) }
}

#[cfg(test)]
mod tests;
