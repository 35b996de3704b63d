//! Runs every attempt of `tests/attempts.txt` on a database of its own: each is refused, each refusal is in the ledger, and
//! the precious table is as before. `docs/attempts.md` says what was seen; `RUNBOOK_UPDATE_DOCS=1` writes it.
#![allow(clippy::unwrap_used, missing_docs, reason = "a panic is how a test fails")]

use postgres::{Client, SimpleQueryMessage};
use runbook_tests::attempts::{Act, Attempt, Step, parse};
use runbook_tests::{Server, repository, wait_until};
use std::collections::HashMap;
use std::fmt::Write as _;
use std::thread::JoinHandle;

const SCENE: &str = "
DO $$ BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'dba') THEN
        CREATE ROLE dba LOGIN IN ROLE app_owner, runbook_operator;
        CREATE ROLE app_dba LOGIN IN ROLE app_owner;
        CREATE ROLE firefighter LOGIN IN ROLE app_owner, runbook_break_glass;
    END IF;
END $$;
GRANT CREATE ON SCHEMA public TO dba, app_dba;
CREATE TABLE precious (id int PRIMARY KEY, note text); INSERT INTO precious VALUES (1, 'keep');
CREATE TABLE scratch (id int);
ALTER TABLE precious OWNER TO app_owner; ALTER TABLE scratch OWNER TO app_owner;
SELECT runbook.activate();
";

/// What became of the step that had to fail.
#[derive(Debug, Default)]
struct Refusal {
    who: String,
    sql: String,
    code: String,
    message: String,
    kind: String,
}

struct Stage<'a> {
    server: &'a Server,
    database: String,
    sessions: HashMap<String, Client>,
    kept: HashMap<String, String>,
    background: Option<JoinHandle<Result<Vec<SimpleQueryMessage>, postgres::Error>>>,
    last: Refusal,
}

impl Stage<'_> {
    fn database_of(&self, who: &str) -> String {
        let name = who.split_once('@').map(|(_, rest)| rest.split('/').next().unwrap_or(rest));
        name.map_or_else(|| self.database.clone(), str::to_owned)
    }

    fn session(&mut self, who: &str) -> &mut Client {
        let login = who.split(['@', '/']).next().unwrap().to_owned();
        let (server, database) = (self.server, self.database_of(who));
        self.sessions.entry(who.to_owned()).or_insert_with(|| server.connect(&database, &login))
    }

    /// The newest refusal in the ledger of a database, by kind, and how many there are.
    fn refusals(&self, database: &str) -> (i64, String) {
        let mut admin = self.server.connect(database, "postgres");
        let row = admin
            .query_one(
                "SELECT count(*), coalesce((array_agg(kind ORDER BY recorded_at DESC))[1], '') FROM runbook.ledger \
                 WHERE kind IN ('call.refused', 'ddl.blocked', 'apply.failed')",
                &[],
            )
            .unwrap();
        (row.get(0), row.get(1))
    }

    fn step(&mut self, step: &Step) {
        let mut sql = step.text.clone();
        for (name, value) in &self.kept {
            sql = sql.replace(&format!("{{{name}}}"), value);
        }
        let who = step.who.as_str();
        match &step.act {
            Act::Runs => self.session(who).batch_execute(&sql).unwrap_or_else(|error| panic!("{who}: {sql}\n{error:?}")),
            Act::Keeps(name) => {
                let value: String =
                    self.session(who).query_one(&sql, &[]).unwrap_or_else(|error| panic!("{who}: {sql}\n{error:?}")).get(0);
                self.kept.insert(name.clone(), value);
            }
            Act::Submits(id, parents) => {
                let (upgrade, downgrade) = sql.split_once("||").unwrap_or((&sql, ""));
                let revision = serde_json::json!({"revision": id, "parents": parents, "upgrade": upgrade.trim(), "downgrade": downgrade.trim()});
                let result = self.session(who).query("SELECT runbook.submit($1)", &[&revision]);
                result.unwrap_or_else(|error| panic!("{who} submits {revision}\n{error:?}"));
            }
            Act::Refused(code) => {
                let database = self.database_of(who);
                let before = self.refusals(&database).0;
                let result = self.session(who).batch_execute(&sql);
                self.refused(who, &sql, code, result);
                let (after, kind) = self.refusals(&database);
                assert!(after > before, "{who}: {sql}\nthe refusal is not in the ledger");
                self.last.kind = kind;
            }
            Act::Recorded => {
                let database = self.database_of(who);
                let before = self.refusals(&database).0;
                let error = self.session(who).batch_execute(&sql).expect_err("it must fail");
                let code = error.as_db_error().unwrap().code().code().to_owned();
                self.refused(who, &sql, &code, Err(error));
                let (after, kind) = self.refusals(&database);
                assert!(after > before, "{who}: {sql}\nthe refusal is not in the ledger");
                // Which error the client sees depends on the moment.
                let message = "(recorded, whichever error the client sees)".to_owned();
                self.last = Refusal { kind, code: "57014".to_owned(), message, ..std::mem::take(&mut self.last) };
            }
            Act::Denied(code) => {
                let result = self.session(who).batch_execute(&sql);
                self.refused(who, &sql, code, result);
                self.last.kind = "(before the runbook is reached)".to_owned();
            }
            Act::Starts => {
                let mut client = self.sessions.remove(who).unwrap_or_else(|| {
                    let login = who.split(['@', '/']).next().unwrap();
                    self.server.connect(&self.database_of(who), login)
                });
                let text = sql.clone();
                self.last = Refusal { who: who.to_owned(), sql, ..Refusal::default() };
                self.background = Some(std::thread::spawn(move || client.simple_query(&text)));
                let mut admin = self.server.connect(&self.database, "postgres");
                wait_until(10, "the statement waits for its lock", || {
                    let sql =
                        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()";
                    admin.query_one(sql, &[]).unwrap().get::<_, i64>(0) > 0
                });
            }
            Act::Ends(code) => {
                let result = self.background.take().expect("something was started").join().unwrap().map(|_| ());
                let sql = std::mem::take(&mut self.last.sql);
                self.refused(who, &sql, code, result);
                let (count, kind) = self.refusals(&self.database);
                assert!(count > 0, "{who}: {sql}\nthe refusal is not in the ledger");
                self.last.kind = kind;
            }
            Act::Copies => {
                self.sessions.clear();
                let mut admin = self.server.connect("postgres", "postgres");
                wait_until(10, "the sessions are gone", || {
                    let count = "SELECT count(*) FROM pg_stat_activity WHERE datname = $1";
                    admin.query_one(count, &[&self.database]).unwrap().get::<_, i64>(0) == 0
                });
                admin.batch_execute(&format!("CREATE DATABASE {sql} TEMPLATE {}", self.database)).unwrap();
            }
            Act::Checks => {
                let mut admin = self.server.connect(&self.database, "postgres");
                assert!(admin.query_one(&sql, &[]).unwrap().get::<_, bool>(0), "{sql}");
            }
        }
    }

    fn refused(&mut self, who: &str, sql: &str, code: &str, result: Result<(), postgres::Error>) {
        let Err(error) = result else { panic!("{who}: {sql}\nwas not refused") };
        let error = error.as_db_error().unwrap_or_else(|| panic!("{who}: {sql}\n{error:?}"));
        assert_eq!(error.code().code(), code, "{who}: {sql}\n{error:?}");
        self.last = Refusal {
            who: who.to_owned(),
            sql: sql.to_owned(),
            code: code.to_owned(),
            message: match error.detail().and_then(|detail| detail.split_once("Permit ")) {
                Some((_, why)) => format!("{}; permit {why}", error.message()),
                None => error.message().to_owned(),
            },
            kind: String::new(),
        };
    }
}

fn run(server: &Server, at: usize, attempt: &Attempt) -> Refusal {
    let database = format!("attempt_{at}");
    server.database(&database).batch_execute(SCENE).unwrap();
    let mut stage = Stage {
        server,
        database: database.clone(),
        sessions: HashMap::new(),
        kept: HashMap::new(),
        background: None,
        last: Refusal::default(),
    };
    for step in &attempt.steps {
        stage.step(step);
    }
    let mut admin = server.connect(&database, "postgres");
    let kept: i64 = admin.query_one("SELECT count(*) FROM precious WHERE note = 'keep'", &[]).unwrap().get(0);
    assert_eq!(kept, 1, "the precious row is gone");
    stage.last
}

fn page(rows: &[(&Attempt, Refusal)]) -> String {
    let mut text = format!(
        "# Attempts\n\n{} ways to get unapproved work through. The test `attempts` runs each of them on a database of its own, as \
         ordinary logins through real connections; checks that it is refused, that the refusal is in the ledger (where \
         PostgreSQL's own privileges refuse before the runbook is reached, the server log has it), and that the precious table is \
         as before. The steps are in `tests/attempts.txt`; this page is generated.\n",
        rows.len()
    );
    let mut group = "";
    for (at, (attempt, refusal)) in rows.iter().enumerate() {
        if attempt.group != group {
            group = &attempt.group;
            let _ = write!(text, "\n## {group}\n\n| | attempt | refused to | with | as |\n|---|---|---|---|---|\n");
        }
        let outcome = if refusal.code.is_empty() { "passes without harm" } else { refusal.code.as_str() };
        let _ = writeln!(
            text,
            "| {} | {} | `{}` | {outcome}: {} | {} |",
            at + 1,
            escaped(&attempt.title),
            refusal.who,
            escaped(&refusal.message),
            escaped(&refusal.kind),
        );
    }
    text
}

/// For a cell of a table, without what differs from run to run.
fn escaped(text: &str) -> String {
    let text = text.replace('|', "\\|").replace('\n', " ");
    text.split_inclusive(|c: char| !c.is_ascii_alphanumeric() && c != '-' && c != ':')
        .map(|word| {
            let (body, end) = word.split_at(word.trim_end_matches(|c: char| !c.is_ascii_alphanumeric()).len());
            let varies = body.len() >= 5 && body.chars().all(|c| c.is_ascii_digit() || c == '-' || c == ':')
                || ["Sun", "Wed"].contains(&body)
                || body.len() == 12 && body.chars().all(|c| c.is_ascii_hexdigit());
            format!("{}{end}", if varies { "…" } else { body })
        })
        .collect()
}

#[test]
fn every_attempt_is_refused_and_every_refusal_is_in_the_ledger() {
    let attempts = parse(&std::fs::read_to_string(repository().join("tests/attempts.txt")).unwrap());
    assert!(attempts.len() >= 60);
    let only = std::env::var("RUNBOOK_ATTEMPT").ok();
    let server = Server::start_with(&["fsync=off"]);
    let mut rows = Vec::new();
    let mut failures = Vec::new();
    for (at, attempt) in attempts.iter().enumerate() {
        if only.as_ref().is_some_and(|only| !attempt.title.contains(only.as_str())) {
            continue;
        }
        match std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(&server, at, attempt))) {
            Ok(refusal) => rows.push((attempt, refusal)),
            Err(_) => failures.push(attempt.title.clone()),
        }
    }
    assert!(failures.is_empty(), "{} of {} failed:\n{}", failures.len(), attempts.len(), failures.join("\n"));
    if only.is_some() {
        return;
    }
    let (page, file) = (page(&rows), repository().join("docs/attempts.md"));
    if std::env::var_os("RUNBOOK_UPDATE_DOCS").is_some() {
        std::fs::write(&file, &page).unwrap();
    }
    let known = std::fs::read_to_string(&file).unwrap_or_default();
    let changed = page.lines().find(|line| !known.lines().any(|other| other == *line));
    assert!(known == page, "docs/attempts.md is not what was seen; run again with RUNBOOK_UPDATE_DOCS=1; {changed:?}");
}
