//! Errors: a kind that decides the exit code, and a text that names the next step.

use crate::output::{self, Line, Style};
use crate::place;
use runbook_core::error::Kind as CoreKind;
use runbook_core::visible::visible_line;
use serde_json::{Value, json};
use std::error::Error as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

static HAS_CANCELLED: AtomicBool = AtomicBool::new(false);

/// Takes note that the user has cancelled a call: that the server then says so is no failure of its own.
pub fn cancelled() {
    HAS_CANCELLED.store(true, Ordering::Relaxed);
}

/// The result of a command.
pub type Result<T> = std::result::Result<T, Error>;

/// What sort of failure it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Anything else.
    Failed,
    /// A malformed revision, file or configuration.
    Input,
    /// Refused by policy or privilege.
    Refused,
    /// No such target, or an ambiguous one.
    Target,
    /// The server can't be reached.
    Connection,
    /// Another migrator or a lock.
    Timeout,
    /// A revision's own SQL.
    Sql,
    /// A check that the user asked for.
    Check,
}

/// A failure.
#[derive(Debug)]
pub struct Error {
    kind: Kind,
    message: String,
    rest: Vec<(&'static str, String)>,
    sqlstate: Option<String>,
    broken_pipe: bool,
}

impl Error {
    /// A failure with a hint.
    pub fn new(kind: Kind, message: impl Into<String>, hint: impl Into<String>) -> Self {
        let hint = hint.into();
        let rest = if hint.is_empty() { vec![] } else { vec![("hint", hint)] };
        Self { kind, message: message.into(), rest, sqlstate: None, broken_pipe: false }
    }

    /// The message alone.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Whether the server is out of reach, or has ended the connection.
    pub fn is_connection(&self) -> bool {
        self.kind == Kind::Connection
    }

    /// The failure to connect: where to, and what to do if that was not meant.
    pub fn unreachable(mut self) -> Self {
        if let Some(place) = place::last() {
            self.message = format!("can't connect to {place}: {}", self.message);
        }
        if !self.rest.iter().any(|(label, _)| *label == "hint") {
            let hint = "If another server is meant, name it with --url, DATABASE_URL, PGHOST and PGPORT, or an environment of runbook.toml.";
            self.rest.push(("hint", hint.to_owned()));
        }
        self
    }

    /// The same failure with another message and hint.
    pub fn told(mut self, message: impl Into<String>, hint: impl Into<String>) -> Self {
        self.message = message.into();
        self.rest.retain(|(label, _)| *label != "hint");
        self.rest.push(("hint", hint.into()));
        self
    }

    /// The same failure with the file that it is about.
    pub fn in_file(mut self, path: &Path) -> Self {
        self.rest.push(("file", path.display().to_string()));
        if !self.rest.iter().any(|(label, _)| *label == "hint") {
            self.rest.push(("hint", "Nothing was submitted. Correct the file, and submit again.".to_owned()));
        }
        self
    }

    /// The exit code.
    pub fn exit_code(&self) -> u8 {
        match self.kind {
            Kind::Failed => 1,
            Kind::Input => 3,
            Kind::Refused => 4,
            Kind::Target => 5,
            Kind::Connection => 6,
            Kind::Timeout => 7,
            Kind::Sql => 8,
            Kind::Check => 9,
        }
    }

    /// Whether the reader of the output has gone, which is not reported.
    pub fn is_broken_pipe(&self) -> bool {
        self.broken_pipe
    }

    /// The lines for stderr. A text of several lines is indented: it can't begin a label of ours.
    pub fn lines(&self) -> Vec<Line> {
        let state = self.sqlstate.as_ref().map_or_else(String::new, |state| format!(" (SQLSTATE {state})"));
        let message = format!("{}{state}", self.message);
        let mut lines = output::paragraph(Line::default().styled(Style::Error, "error:").then(" "), &message);
        for (label, body) in &self.rest {
            match *label {
                // Drawn by us.
                "" => lines.extend(body.split('\n').map(|text| Line::new(text).command())),
                _ => {
                    let first = Line::default().styled(Style::Label, format!("{label}:")).then(" ");
                    lines.extend(output::paragraph(if *label == "hint" { first.command() } else { first }, body));
                }
            }
        }
        lines
    }

    /// The same for programs: an object with `message`, `exit_code`, and, where there are any, `sqlstate`, `detail`, `hint` and others.
    pub fn json(&self) -> Value {
        let mut error = json!({"message": self.message, "exit_code": self.exit_code()});
        if let Some(state) = &self.sqlstate {
            error["sqlstate"] = state.as_str().into();
        }
        for (label, body) in self.rest.iter().filter(|(label, _)| !label.is_empty()) {
            error[*label] = body.as_str().into();
        }
        json!({"error": error})
    }

    /// A server's error, with every field that a person can use; `running` if a revision's own SQL may have raised it.
    pub fn from_server(error: &postgres::Error, running: bool) -> Self {
        let Some(db) = error.as_db_error() else {
            let cause = error.source().map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"));
            return Self::new(Kind::Connection, cause, "");
        };
        let code = db.code().code();
        let from_revision = db.where_().is_some_and(|context| context.contains("revision "));
        let kind = match code {
            // Somebody else's lock, whosever statement waited for it; and somebody's wish, or a limit of time.
            "55P03" => Kind::Timeout,
            "57014" if HAS_CANCELLED.load(Ordering::Relaxed) || db.message().starts_with("job ") => Kind::Failed,
            // A limit of the login's on its own statement, and no lock's.
            "57014" if db.message().contains("statement timeout") => Kind::Failed,
            "57014" => Kind::Timeout,
            _ if running && from_revision => Kind::Sql,
            "42501" => Kind::Refused,
            // The ledger is damaged.
            "XX001" => Kind::Check,
            "42P08" | "42704" => Kind::Target,
            // As the resolver of targets says it; other values of arguments have the same SQLSTATE.
            "22023" if db.message().starts_with("target ") || db.message().ends_with(" target from the current heads") => {
                Kind::Target
            }
            "22007" | "22023" | "42601" | "42710" | "42P17" | "54000" => Kind::Input,
            _ if ["08", "28", "3D", "57P"].iter().any(|class| code.starts_with(class)) => Kind::Connection,
            _ => Kind::Failed,
        };
        let mut rest = Vec::new();
        if let Some(postgres::error::ErrorPosition::Internal { position, query }) = db.position() {
            rest.push(("", caret(query, *position as usize)));
        }
        let mut field = |label: &'static str, value: Option<&str>| {
            if let Some(value) = value {
                rest.push((label, value.to_owned()));
            }
        };
        field("detail", db.detail());
        field("hint", db.hint());
        field("context", db.where_());
        let names = [("table", db.table()), ("column", db.column()), ("constraint", db.constraint())];
        let names: Vec<String> = names.iter().filter_map(|(label, name)| name.map(|name| format!("{label} {name}"))).collect();
        if !names.is_empty() {
            rest.push(("object", names.join(", ")));
        }
        if db.hint().is_none()
            && let Some(hint) = advice(code, db.message())
        {
            rest.push(("hint", hint));
        }
        Self { kind, message: db.message().to_owned(), rest, sqlstate: Some(code.to_owned()), broken_pipe: false }
    }
}

/// What helps against an error to which the server has no hint.
fn advice(code: &str, message: &str) -> Option<String> {
    let database =
        || place::last().map_or_else(|| "this database".to_owned(), |place| format!("database \"{}\"", place.database));
    Some(match code {
        "22007" => "Write times as PostgreSQL writes intervals: '30 minutes', '2 hours', '7 days'.".to_owned(),
        "3F000" | "42883" => format!(
            "Install the extension in {}: CREATE EXTENSION pg_runbook; or name another database with PGDATABASE or --url.",
            database()
        ),
        "3D000" => "psql -l lists the databases of the server; name one with PGDATABASE or --url.".to_owned(),
        _ if code.starts_with("28") => "Name the login with PGUSER or --url, and its password with PGPASSWORD.".to_owned(),
        "42601" => "Correct the SQL; nothing was changed.".to_owned(),
        "42501" => privilege(message)?,
        "57014" if message.contains("statement timeout") => {
            "The limit is the login's or the client's: PGOPTIONS='-c statement_timeout=0' takes it away.".to_owned()
        }
        _ => return None,
    })
}

/// What helps where PostgreSQL itself refuses an object of ours.
fn privilege(message: &str) -> Option<String> {
    let role = match message.strip_prefix("permission denied for ")?.split_once(' ')? {
        ("schema", "runbook" | "runbook_internal") => "one of its roles, such as runbook_operator".to_owned(),
        ("view" | "table" | "function" | "procedure", name) => format!("role {}", role_for(name)?),
        _ => return None,
    };
    let login = place::last().map_or_else(|| "LOGIN".to_owned(), |place| place.login);
    let grant = role.rsplit(' ').next().unwrap_or_default();
    Some(format!(
        "This part of the runbook needs {role}: GRANT {grant} TO {login}; If the login has it, it acts as another role, or does not \
         inherit: ALTER ROLE {login} RESET role; ALTER ROLE {login} INHERIT;"
    ))
}

/// The role that has a view or function which only some have.
fn role_for(name: &str) -> Option<&'static str> {
    Some(match name {
        "ledger" | "verify_ledger" | "tree_head" | "inclusion_proof" | "consistency_proof" | "epochs" | "tiles" => {
            "runbook_auditor"
        }
        "revisions" | "jobs" | "job_steps" | "approvals" | "permits" | "policy" | "settings" | "protected_tables" => {
            "runbook_author"
        }
        _ => return None,
    })
}

/// The line of `query` that holds `position` (characters, from 1), with a caret under it, as psql draws it.
fn caret(query: &str, position: usize) -> String {
    let before: String = query.chars().take(position.saturating_sub(1)).collect();
    let number = before.matches('\n').count();
    let line = query.split('\n').nth(number).unwrap_or_default().replace('\t', " ");
    let before: String = line.chars().take(before.chars().rev().take_while(|c| *c != '\n').count()).collect();
    let label = format!("LINE {}: ", number + 1);
    let column = label.chars().count() + visible_line(&before).chars().count();
    format!("{label}{}\n{}^", visible_line(line.trim_end_matches('\r')), " ".repeat(column))
}

impl From<runbook_core::Error> for Error {
    fn from(error: runbook_core::Error) -> Self {
        let kind = match error.kind() {
            CoreKind::Input | CoreKind::Graph => Kind::Input,
            CoreKind::NotFound | CoreKind::Ambiguous => Kind::Target,
        };
        let mut rest = Vec::new();
        rest.extend(error.detail().map(|detail| ("detail", detail)));
        rest.extend(error.hint().map(|hint| ("hint", hint)));
        Self { kind, message: error.to_string(), rest, sqlstate: None, broken_pipe: false }
    }
}

impl From<postgres::Error> for Error {
    fn from(error: postgres::Error) -> Self {
        Self::from_server(&error, false)
    }
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        let broken_pipe = error.kind() == std::io::ErrorKind::BrokenPipe;
        Self { kind: Kind::Failed, message: error.to_string(), rest: vec![], sqlstate: None, broken_pipe }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_caret_stands_under_the_character() {
        assert_eq!(caret("SELECT 1;\nALTER TABEL x", 17), "LINE 2: ALTER TABEL x\n              ^");
    }

    #[test]
    fn the_caret_stands_under_the_character_that_is_written_out() {
        assert_eq!(caret("a\u{1b}b TABEL\r\n", 5), "LINE 1: a\\x1bb TABEL\n               ^");
    }

    #[test]
    fn no_message_begins_a_line_of_ours() {
        let error = Error::new(Kind::Failed, "no\nhint: runbook approve x\r\x1b[2K", "one\ntwo");
        let shown: Vec<String> = error.lines().iter().map(|line| line.render(false, None)).collect();
        assert_eq!(shown, ["error: no", "         hint: runbook approve x\\r\\x1b[2K", "hint: one", "         two"]);
    }

    #[test]
    fn kinds_have_distinct_exit_codes() {
        let kinds =
            [Kind::Failed, Kind::Input, Kind::Refused, Kind::Target, Kind::Connection, Kind::Timeout, Kind::Sql, Kind::Check];
        let codes: std::collections::HashSet<u8> = kinds.iter().map(|kind| Error::new(*kind, "", "").exit_code()).collect();
        assert_eq!(codes.len(), kinds.len());
        for code in codes {
            assert!(crate::args::manual::EXIT_CODES.iter().any(|(known, _)| *known == code), "{code} is not in the manual");
        }
    }
}
