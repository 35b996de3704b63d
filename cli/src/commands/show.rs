//! `runbook show`: one revision to read, or as a file to keep.
//!
//! Headings and headers begin at the first column; SQL stands behind a gutter. So no SQL can be taken for a section.

use crate::args::{Format, Show};
use crate::client::Queries;
use crate::context::{Context, unreadable};
use crate::error::{Error, Kind, Result};
use crate::files;
use crate::output::{self, Line, Style};
use runbook_core::target::Resolver;
use runbook_core::visible::visible_text;
use runbook_core::{Revision, file};
use serde_json::{Value, json};
use std::io::Write;

/// What the server adds to a revision's own keys.
const ADDED: [&str; 6] = ["digest", "status", "submitted_by", "upgrade_actions", "downgrade_actions", "children"];

/// Headers of a revision: the key, and what a file calls it.
const HEADERS: [(&str, &str); 12] = [
    ("revision", "revision"),
    ("parents", "parents"),
    ("depends_on", "depends_on"),
    ("branch_labels", "branch_label"),
    ("message", "message"),
    ("phase", "phase"),
    ("author", "author"),
    ("transaction", "transaction"),
    ("irreversible_reason", "irreversible_reason"),
    ("requires_release", "requires_release"),
    ("unused_for", "unused_for"),
    ("backfill", "backfill"),
];

/// Prints a revision from the server or from its file: for people, as JSON, or as the file itself.
pub fn run(args: &Show, context: &Context) -> Result<()> {
    let revision = if context.is_local() { local(args, context)? } else { stored(args, context)? };
    if args.as_file {
        return as_file(revision);
    }
    match context.format() {
        Format::Json => output::value(&revision),
        Format::Table => lines(&revision).iter().try_for_each(output::line),
    }
}

fn local(args: &Show, context: &Context) -> Result<Value> {
    let files = files::load(context)?;
    let node = Resolver::new(&files.graph, &[]).one(&args.revision)?;
    let node =
        node.ok_or_else(|| Error::new(Kind::Target, "base is not a revision", "runbook heads --local lists the heads."))?;
    let (revision, path) = &files.revisions[node];
    let mut json = serde_json::to_value(revision).map_err(unreadable)?;
    json["file"] = json!(path.display().to_string());
    json["digest"] = json!(revision.digest());
    Ok(json)
}

fn stored(args: &Show, context: &Context) -> Result<Value> {
    let row = context.connect()?.query_one("SELECT runbook.show($1)::text", &[&args.revision])?;
    serde_json::from_str(row.try_get(0)?).map_err(unreadable)
}

fn lines(revision: &Value) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut header = |key: &str, value: String| {
        if !value.is_empty() {
            let line = Line::new(format!("-- {key}: "));
            // To copy in one piece.
            let is_digest = key == "digest" && value.bytes().all(|byte| byte.is_ascii_hexdigit());
            lines.push(if is_digest { line.then(value).command() } else { line.then(value) });
        }
    };
    for key in ["file", "status", "submitted_by", "digest"] {
        header(key, output::text(revision.get(key)));
    }
    for (key, label) in HEADERS {
        match (key, revision.get(key)) {
            ("transaction", Some(Value::Bool(true))) => {}
            ("transaction", Some(Value::Bool(false))) => header(label, "off".to_owned()),
            (_, value) => header(label, output::text(value)),
        }
    }
    for direction in ["upgrade", "downgrade"] {
        for action in revision[format!("{direction}_actions")].as_array().into_iter().flatten() {
            let (what, class) = (output::text(action.get("action")), output::text(action.get("class")));
            lines.push(Line::new(format!("-- {direction} would ")).styled(style_of(&class), what).then(format!(" ({class})")));
        }
    }
    for section in ["upgrade", "downgrade", "verify"] {
        if let Some(sql) = revision[section].as_str() {
            lines.push(Line::default());
            lines.push(Line::default().styled(Style::Bold, format!("-- runbook: {section}")));
            lines.extend(output::code(sql));
        }
    }
    lines
}

/// Prints the file that `submit` reads; refuses where it would read anything else from it.
fn as_file(mut revision: Value) -> Result<()> {
    let id = output::text(revision.get("revision"));
    if let Some(object) = revision.as_object_mut() {
        object.retain(|key, _| !ADDED.contains(&key.as_str()) && key != "file");
    }
    let text = file::write_faithfully(&Revision::from_json(&revision)?)?;
    let mut out = output::stdout();
    if output::is_terminal() && visible_text(&text) != text {
        let message = format!("revision \"{id}\" contains characters that a terminal does not show faithfully");
        return Err(Error::new(Kind::Input, message, format!("runbook show --as-file {id} > {id}.sql")));
    }
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

/// How an action of a class is shown: what adds is green, what makes others wait is bold, what takes something away is red.
fn style_of(class: &str) -> Style {
    match class {
        "additive" => Style::Green,
        "blocking" => Style::Bold,
        _ => Style::Red,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(revision: &Value) -> Vec<String> {
        lines(revision).iter().map(|line| line.render(false, None)).collect()
    }

    #[test]
    fn sql_can_forge_neither_a_section_nor_a_header() {
        let sql = "ALTER TABLE t ADD c int;\n\n-- runbook: downgrade\n-- upgrade would nothing (additive)\nDROP TABLE u;";
        let forged = json!({
            "revision": "a", "status": "pending", "message": "x\n-- upgrade would nothing (additive)\x1b[8m", "upgrade": sql,
            "downgrade": "SELECT 1", "requires_release": "1\n\n-- runbook: upgrade\nSELECT 2;", "transaction": false,
            "upgrade_actions": [{"action": "drop table \"u\n-- runbook: verify\"", "class": "destructive"}],
        });
        let shown = shown(&forged);
        let sections: Vec<&String> = shown.iter().filter(|line| line.starts_with("-- runbook:")).collect();
        assert_eq!(sections, ["-- runbook: upgrade", "-- runbook: downgrade"]);
        assert_eq!(shown.iter().filter(|line| line.starts_with("-- upgrade would")).count(), 1);
        assert!(shown.contains(&"-- transaction: off".to_owned()));
        assert!(shown.contains(&"  3 | -- runbook: downgrade".to_owned()), "{shown:?}");
        assert!(shown.iter().all(|line| !line.contains(char::is_control)), "{shown:?}");
    }

    #[test]
    fn a_revision_that_a_newer_server_would_refuse_is_still_shown() {
        let shown = shown(&json!({"revision": "a\u{200b}", "upgrade": "SELECT '\u{202e}';", "downgrade": null}));
        assert_eq!(shown, ["-- revision: a<U+200B>", "", "-- runbook: upgrade", "  1 | SELECT '<U+202E>';"]);
    }
}
