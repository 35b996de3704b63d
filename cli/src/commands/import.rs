//! `runbook import alembic`: runs an Alembic environment on a scratch database and writes down what it sent.
//!
//! The Python helper does the running; here are the scratch database, the files and the report.

use crate::args::Format;
use crate::args::import::Alembic;
use crate::connect::{self, Parameters};
use crate::context::Context;
use crate::error::{Error, Kind, Result};
use crate::files;
use crate::output::{self, Line};
use runbook_core::visible::comment;
use runbook_core::{Revision, RevisionId, file};
use serde::Deserialize;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

const HELPER: &str = include_str!("import_alembic.py");

/// The variable that hands the settings to the helper; among them is the password of the scratch server.
const SETTINGS: &str = "RUNBOOK_IMPORT_SETTINGS";

/// One line of the helper.
#[derive(Debug, Deserialize)]
struct Recorded {
    revision: String,
    parents: Vec<String>,
    depends_on: Vec<String>,
    branch_labels: Vec<String>,
    message: String,
    transaction: bool,
    upgrade: Vec<String>,
    downgrade: Option<Vec<String>>,
    irreversible_reason: Option<String>,
    reads: Vec<String>,
    notes: Vec<String>,
}

/// Makes a scratch database, records each revision there, drops it, and writes all revision files or none.
pub fn alembic(args: &Alembic, context: &Context) -> Result<()> {
    let scratch_server = args.scratch.clone().or(context.url()?);
    let directory = args.out.clone().unwrap_or_else(|| context.revisions());
    let mut admin = connect::connect(scratch_server.as_deref(), true, None)?;
    let name = format!("runbook_import_{}", std::process::id());
    admin.batch_execute(&format!("CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8'"))?;
    let result = record(args, scratch_server.as_deref(), &name);
    admin.batch_execute(&format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"))?;
    let recorded = result?;

    let mut written = Vec::new();
    for one in &recorded {
        let (revision, body) = render(one)?;
        written.push((revision, body));
    }
    files::arrange(written.iter().map(|(revision, _)| (revision.clone(), directory.clone())).collect())?;
    for (revision, body) in &written {
        files::write(&directory, revision, body)?;
    }
    report(context, &recorded, &directory.display().to_string())
}

fn record(args: &Alembic, server: Option<&str>, database: &str) -> Result<Vec<Recorded>> {
    let script = tempfile::Builder::new().suffix(".py").tempfile()?;
    script.as_file().write_all(HELPER.as_bytes())?;
    let settings = json!({
        "ini": args.ini, "script_location": args.script_location, "initial": args.initial,
        "server": server_of(server)?, "database": database,
    });
    let mut child =
        // Everybody can read the arguments of a process; its environment is for its own user.
        Command::new(&args.python).arg(script.path()).env(SETTINGS, settings.to_string()).stdout(Stdio::piped()).spawn().map_err(
            |error| {
                let hint = "Name a Python that has alembic and the project's packages with --python.";
                Error::new(Kind::Failed, format!("{}: {error}", args.python.display()), hint)
            },
        )?;
    let mut recorded = Vec::new();
    if let Some(lines) = child.stdout.take() {
        for line in BufReader::new(lines).lines() {
            let line = line?;
            // A project's own code may print; our lines say so.
            if let Some(json) = line.strip_prefix("runbook-import ") {
                let one: Recorded =
                    serde_json::from_str(json).map_err(|error| Error::new(Kind::Failed, error.to_string(), ""))?;
                output::diagnostic(&Line::new(format!("recorded {} {}", one.revision, one.message)));
                recorded.push(one);
            }
        }
    }
    let status = child.wait()?;
    if !status.success() {
        let hint = "The traceback is above. Run the same command with alembic itself on an empty database.";
        return Err(Error::new(Kind::Failed, "the Alembic environment could not be run", hint));
    }
    Ok(recorded)
}

/// What the helper connects to: a URL as it is, or the options of a key=value string.
fn server_of(server: Option<&str>) -> Result<Value> {
    let text = server.unwrap_or_default();
    if text.contains("://") { Ok(json!(text)) } else { Ok(json!(Parameters::parse(text)?.all())) }
}

fn render(one: &Recorded) -> Result<(Revision, String)> {
    let mut upgrade = String::new();
    for note in &one.notes {
        upgrade.push_str(&comment(note));
    }
    for read in &one.reads {
        upgrade.push_str(&comment(&format!("CHECK: the Python code read rows here and may have acted on them: {read}")));
    }
    upgrade.push_str(&script(&one.upgrade));
    let parents: runbook_core::Result<Vec<RevisionId>> = one.parents.iter().map(|id| RevisionId::new(id.as_str())).collect();
    let revision = Revision {
        revision: RevisionId::new(one.revision.as_str())?,
        parents: parents?,
        depends_on: one.depends_on.clone(),
        branch_labels: one.branch_labels.clone(),
        message: one.message.clone(),
        phase: None,
        author: None,
        transaction: one.transaction,
        upgrade,
        downgrade: one.downgrade.as_deref().map(script),
        irreversible_reason: one.irreversible_reason.clone(),
        verify: None,
        requires_release: None,
        unused_for: None,
        backfill: None,
    };
    let body = file::write_faithfully(&revision.checked()?)?;
    Ok((file::parse(&one.revision, body.as_bytes())?, body))
}

fn script(statements: &[String]) -> String {
    let ended = |statement: &String| {
        let sql = statement.trim().trim_end_matches(';').trim_end();
        // A semicolon behind a comment would be part of it, and two statements one.
        let last = sql.rsplit(['\n', '\r']).next().unwrap_or_default();
        format!("{sql}{};\n\n", if last.contains("--") { "\n" } else { "" })
    };
    statements.iter().map(ended).collect()
}

fn report(context: &Context, recorded: &[Recorded], directory: &str) -> Result<()> {
    if context.format() == Format::Json {
        let rows: Vec<_> = recorded
            .iter()
            .map(|one| {
                json!({"revision": one.revision, "statements": one.upgrade.len(), "irreversible_reason": one.irreversible_reason,
                       "reads": one.reads, "notes": one.notes, "transaction": one.transaction})
            })
            .collect();
        return output::message(context.format(), "imported", json!(rows), "");
    }
    let say = |text: String| output::line(&Line::new(text));
    say(format!("imported {} revisions into {directory}", recorded.len()))?;
    for one in recorded.iter().filter(|one| one.irreversible_reason.is_some()) {
        let reason = one.irreversible_reason.as_deref().unwrap_or_default();
        say(format!("  {}: no way back: {}", one.revision, reason.lines().next().unwrap_or_default()))?;
    }
    for one in recorded.iter().filter(|one| !one.reads.is_empty()) {
        say(format!("  {}: read rows that a scratch database doesn't have; look for CHECK in the file", one.revision))?;
    }
    for one in recorded.iter().filter(|one| !one.transaction) {
        say(format!("  {}: has statements outside a transaction (transaction: off)", one.revision))?;
    }
    say("next: runbook submit".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_helper_gets_a_url_as_it_is_and_options_one_by_one() {
        assert_eq!(server_of(Some("postgresql://u:p@h/d")).unwrap(), json!("postgresql://u:p@h/d"));
        let options = server_of(Some("host=h password='two words' sslmode = require")).unwrap();
        assert_eq!(options, json!({"host": "h", "password": "two words", "sslmode": "require"}));
        assert_eq!(server_of(None).unwrap(), json!({}));
    }

    #[test]
    fn the_helper_takes_its_settings_from_the_environment_alone() {
        assert!(HELPER.contains(SETTINGS) && !HELPER.contains("sys.argv"));
    }

    fn recorded() -> Recorded {
        Recorded {
            revision: "a".to_owned(),
            parents: vec![],
            depends_on: vec![],
            branch_labels: vec![],
            message: "m".to_owned(),
            transaction: true,
            upgrade: vec!["CREATE TABLE t ()".to_owned()],
            downgrade: None,
            irreversible_reason: None,
            reads: vec![],
            notes: vec![],
        }
    }

    #[test]
    fn what_a_migration_reads_stays_a_comment() {
        for end in ["\r\n", "\r", "\n", "\u{c}", "\u{b}", "\u{85}", "\u{2028}"] {
            let text = format!("SELECT 1 /* x {end}DROP TABLE injected; -- */");
            let (revision, _) = render(&Recorded { reads: vec![text.clone()], notes: vec![text], ..recorded() }).unwrap();
            let is_sql = |line: &&str| !line.starts_with("-- ") && !line.is_empty();
            let sql: Vec<&str> = revision.upgrade.split(['\n', '\r']).filter(is_sql).collect();
            assert_eq!(sql, ["CREATE TABLE t ();"], "{end:?}");
        }
    }

    #[test]
    fn a_comment_at_the_end_of_a_statement_does_not_join_it_with_the_next() {
        let statements = ["SELECT 1 -- one".to_owned(), "SELECT 2;".to_owned()];
        assert_eq!(script(&statements), "SELECT 1 -- one\n;\n\nSELECT 2;\n\n");
    }
}
