//! Runs every way around the guard of `tests/escapes.txt` on a server that preloads the library and on one that does not. Each
//! has the outcome that the data says, and `docs/escapes.md` says what was seen; `RUNBOOK_UPDATE_DOCS=1` writes it.
#![allow(clippy::unwrap_used, missing_docs, reason = "a panic is how a test fails")]

use postgres::Client;
use runbook_tests::escapes::{Escape, Outcome, Step, Way, parse};
use runbook_tests::{Server, repository, sqlstate};
use std::collections::HashMap;
use std::fmt::Write as _;

const ROLES: &str = "
CREATE ROLE dba LOGIN REPLICATION IN ROLE app_owner;
CREATE ROLE mallory LOGIN;
CREATE ROLE boss LOGIN CREATEROLE CREATEDB;
CREATE ROLE other_admin LOGIN SUPERUSER;
";

const SCENE: &str = "
CREATE EXTENSION dblink; CREATE EXTENSION hstore;
GRANT ALL ON SCHEMA public TO app_owner, mallory;
GRANT EXECUTE ON FUNCTION dblink_exec(text, text) TO app_owner;
SET ROLE app_owner;
CREATE TABLE precious (id int PRIMARY KEY, note text, amount numeric(10,4) DEFAULT 1.2345, seen timestamptz DEFAULT now());
INSERT INTO precious VALUES (1, 'keep'), (2, 'keep'), (3, 'keep');
CREATE TABLE child (id int REFERENCES precious ON DELETE CASCADE, x int); INSERT INTO child VALUES (1, 1), (2, 2);
CREATE TABLE parted (k int, v int) PARTITION BY LIST (k);
CREATE TABLE parted1 PARTITION OF parted FOR VALUES IN (1); INSERT INTO parted VALUES (1, 1);
CREATE TABLE heir () INHERITS (precious); INSERT INTO heir VALUES (9, 'keep');
CREATE SEQUENCE counter; SELECT nextval('counter'); SELECT nextval('counter');
CREATE MATERIALIZED VIEW summary AS SELECT count(*) FROM child;
CREATE VIEW shown AS SELECT id FROM precious;
CREATE TYPE mood AS ENUM ('good', 'bad'); CREATE DOMAIN small AS int CHECK (VALUE < 100);
CREATE TYPE pair AS (a int, b int);
CREATE TABLE typed (m mood, s small, p pair); INSERT INTO typed VALUES ('good', 1, (1, 2));
CREATE FUNCTION helper() RETURNS int LANGUAGE sql AS 'SELECT 1';
RESET ROLE;
CREATE SCHEMA vault AUTHORIZATION app_owner; SET ROLE app_owner; CREATE TABLE vault.gold (id int); INSERT INTO vault.gold VALUES (1);
RESET ROLE;
SELECT lo_create(4711); ALTER LARGE OBJECT 4711 OWNER TO app_owner;
";

/// What must still be there when nothing is gone.
const INTACT: &str = "SELECT (SELECT count(*) FROM precious WHERE note = 'keep' AND amount = 1.2345) = 4 \
     AND (SELECT count(*) FROM ONLY precious WHERE seen IS NOT NULL) = 3 AND (SELECT count(*) FROM child) = 2 \
     AND (SELECT count(*) FROM parted) = 1 AND (SELECT last_value FROM counter) = 2 AND (SELECT count(*) FROM summary) = 1 \
     AND (SELECT count(*) FROM vault.gold) = 1 AND (SELECT count(*) FROM typed WHERE m = 'good' AND s = 1 AND (p).b = 2) = 1 \
     AND EXISTS (SELECT FROM pg_largeobject_metadata WHERE oid = 4711) \
     AND (SELECT relpersistence FROM pg_class WHERE relname = 'precious') = 'p' \
     AND NOT EXISTS (SELECT FROM pg_rules WHERE rulename = 'gone')";

const REFUSALS: &str = "SELECT count(*) FROM runbook.ledger WHERE kind IN ('ddl.blocked', 'call.refused')";
const ENTRIES: &str = "SELECT count(*) FROM runbook.ledger WHERE kind IN ('ddl.executed', 'guard.bypassed', 'ddl.would_block')";

struct Stage<'a> {
    server: &'a Server,
    database: String,
    sessions: HashMap<String, Client>,
}

impl Stage<'_> {
    fn session(&mut self, who: &str) -> &mut Client {
        let login = who.split(['@', '/']).next().unwrap().to_owned();
        let database = who.split_once('@').map_or(self.database.as_str(), |(_, rest)| rest).replace("{db}", &self.database);
        let server = self.server;
        self.sessions.entry(who.to_owned()).or_insert_with(|| server.connect(&database, &login))
    }

    fn send(&mut self, step: &Step) -> Result<(), String> {
        let sql = step
            .sql
            .replace("{db}", &self.database)
            .replace("{socket}", &self.server.socket())
            .replace("{port}", &runbook_tests::PORT.to_string());
        let text = |error: postgres::Error| match error.as_db_error() {
            Some(error) => format!("{} {}", error.code().code(), error.message()),
            None => format!("{error:?}"),
        };
        match step.way {
            Way::Prepares | Way::Simple | Way::Swallowing | Way::Finally => {
                self.session(&step.who).batch_execute(&sql).map_err(text)
            }
            Way::Extended => self.session(&step.who).execute(sql.as_str(), &[]).map(|_| ()).map_err(text),
            Way::Replication => {
                let mut psql = self.server.program("psql");
                psql.args(["-X", "-q", "-v", "VERBOSITY=sqlstate", "-v", "ON_ERROR_STOP=1", "-c", &sql]);
                psql.arg(format!("dbname={} user={} replication=database", self.database, step.who));
                let output = psql.output().unwrap();
                let message = String::from_utf8_lossy(&output.stderr).into_owned();
                if output.status.success() {
                    Ok(())
                } else {
                    Err(message.split("ERROR:").nth(1).unwrap_or(&message).trim().to_owned())
                }
            }
            Way::Checks => {
                let mut admin = self.server.connect(&self.database, "postgres");
                match admin.query_one(&sql, &[]) {
                    Ok(row) if row.get::<_, Option<bool>>(0) == Some(true) => Ok(()),
                    Ok(_) => Err(format!("is not true: {sql}")),
                    Err(error) => Err(text(error)),
                }
            }
        }
    }
}

/// One server, and how far its databases got.
struct Site {
    server: Server,
    preloaded: bool,
    made: usize,
    /// A database in which nothing has happened that would disturb the next attempt.
    clean: Option<String>,
}

/// What was seen of an attempt in a transaction with a snapshot from before the guard was activated.
enum Old {
    /// Nothing that it must not do.
    Safe,
    /// It can't be made so: why.
    Impossible(String),
    /// It got through.
    Passed(String),
}

impl Site {
    fn start(preloaded: bool, more: &[&str]) -> Self {
        let preload = if preloaded { "shared_preload_libraries=pg_runbook" } else { "shared_preload_libraries=" };
        let mut parameters = vec!["fsync=off", "max_prepared_transactions=20", "wal_level=logical", preload];
        parameters.extend(more);
        let server = Server::start_with(&parameters);
        let mut admin = server.database("scene");
        admin.batch_execute(ROLES).unwrap();
        admin.batch_execute(SCENE).unwrap();
        Self { server, preloaded, made: 0, clean: None }
    }

    fn database(&mut self) -> String {
        if let Some(clean) = self.clean.take() {
            return clean;
        }
        let name = self.unguarded_database();
        self.server.connect(&name, "postgres").batch_execute("SELECT runbook.activate()").unwrap();
        name
    }

    fn unguarded_database(&mut self) -> String {
        self.made += 1;
        let name = format!("escape_{}", self.made);
        self.server.connect("postgres", "postgres").batch_execute(&format!("CREATE DATABASE {name} TEMPLATE scene")).unwrap();
        name
    }

    /// Runs an attempt; what was seen instead of what must be.
    fn run(&mut self, escape: &Escape) -> Result<(), String> {
        let database = self.database();
        let expected = if self.preloaded { &escape.preloaded } else { &escape.plain };
        let mut stage = Stage { server: &self.server, database: database.clone(), sessions: HashMap::new() };
        let mut watch = self.server.connect(&database, "postgres");
        let mut outcome: Result<(), String> = Ok(());
        let (mut refusals, mut entries) = (0, 0);
        let mut swallows = false;
        for step in escape.steps.iter().filter(|step| !matches!(step.way, Way::Checks | Way::Finally)) {
            if step.way == Way::Prepares {
                stage.send(step).map_err(|error| format!("preparation failed: {}: {error}", step.sql))?;
                continue;
            }
            let count = |watch: &mut Client, sql: &str| watch.query_one(sql, &[]).map_or(-1, |row| row.get::<_, i64>(0));
            let before = (count(&mut watch, REFUSALS), count(&mut watch, ENTRIES));
            outcome = stage.send(step);
            let after = (count(&mut watch, REFUSALS), count(&mut watch, ENTRIES));
            // The database itself may be gone.
            (refusals, entries) = if after.0 < 0 { (0, 0) } else { (after.0 - before.0, after.1 - before.1) };
            swallows = step.way == Way::Swallowing;
        }
        drop(watch);
        let said = format!("{outcome:?}, {refusals} refusals, {entries} entries");
        let refused = matches!(&outcome, Err(error) if error.starts_with("42501") && refusals > 0);
        let holds = match expected {
            Outcome::Blocked => refused || (swallows && outcome.is_ok() && refusals > 0),
            Outcome::Recorded => outcome.is_ok() && entries > 0,
            Outcome::Denied(_) => outcome.is_err() && refusals == 0,
            Outcome::Harmless | Outcome::Detectable(_) | Outcome::Uncovered(_) => outcome.is_ok() && refusals == 0,
        };
        if !holds {
            return Err(said);
        }
        // Whoever passes unseen where the data says "harmless" has destroyed nothing, and where it says "uncovered", left no entry.
        let carried = escape.steps.iter().any(|step| step.way != Way::Prepares && step.sql.contains("CREATE FUNCTION"));
        if matches!(expected, Outcome::Uncovered(_)) && entries > 0 && !carried {
            return Err(format!("it is covered: {said}"));
        }
        let checks: Vec<&Step> = escape.steps.iter().filter(|step| step.way == Way::Checks).collect();
        for check in checks {
            stage.send(check).map_err(|error| format!("{error}; {said}"))?;
        }
        for last in escape.steps.iter().filter(|step| step.way == Way::Finally) {
            stage.send(last)?;
        }
        drop(stage);
        if matches!(expected, Outcome::Blocked | Outcome::Denied(_) | Outcome::Harmless) {
            let mut admin = self.server.connect(&database, "postgres");
            let intact = admin.query_one(INTACT, &[]).map_err(|error| format!("something is gone: {error:?}"))?;
            if intact.get::<_, Option<bool>>(0) != Some(true) {
                return Err(format!("something is gone; {said}"));
            }
            // Without preparations, a refusal leaves everything as it was.
            let only = escape.steps.iter().all(|step| step.way != Way::Prepares);
            if *expected == Outcome::Blocked && only {
                self.clean = Some(database);
            }
        }
        Ok(())
    }
}

impl Site {
    /// Activates the guard and prepares an attempt while its session is in a transaction with a snapshot from before.
    fn run_old(&mut self, escape: &Escape, isolation: &str) -> Old {
        let tries = |step: &&Step| !matches!(step.way, Way::Prepares | Way::Checks | Way::Finally);
        let prepares = |step: &&Step| step.way == Way::Prepares;
        let Some(who) = escape.steps.iter().rfind(tries).map(|step| step.who.clone()) else {
            return Old::Impossible("no attempt".to_owned());
        };
        // What the session itself has prepared belongs to it alone.
        let own = |step: &Step| {
            step.who == who
                && ["SET ", "TEMP", "PREPARE", "DECLARE", "set_config", "LISTEN"].iter().any(|word| step.sql.contains(word))
        };
        if escape.steps.iter().filter(prepares).any(own) {
            return Old::Impossible("its own session prepares it".to_owned());
        }
        if escape.steps.iter().filter(tries).any(|step| step.who != who || step.way == Way::Replication) {
            return Old::Impossible("several sessions, or replication".to_owned());
        }
        let table = |step: &Step| step.sql.strip_prefix("DELETE FROM ").map(|rest| format!("CREATE TABLE {rest} "));
        let made: Vec<String> = escape.steps.iter().filter(tries).filter_map(table).collect();
        if escape.steps.iter().filter(prepares).any(|step| made.iter().any(|table| step.sql.contains(table))) {
            return Old::Impossible("it sees no rows of that table".to_owned());
        }
        let expected = if self.preloaded { &escape.preloaded } else { &escape.plain };
        if matches!(expected, Outcome::Detectable(_) | Outcome::Uncovered(_)) {
            return Old::Impossible("it passes anyhow".to_owned());
        }
        let database = self.unguarded_database();
        let mut stage = Stage { server: &self.server, database: database.clone(), sessions: HashMap::new() };
        let mut watch = self.server.connect(&database, "postgres");
        let old = who.split_once('@').map_or_else(|| format!("{who}/old"), |(login, place)| format!("{login}/old@{place}"));
        let begin = format!("BEGIN ISOLATION LEVEL {isolation}; SELECT count(*) FROM pg_class");
        let login = who.split(['@', '/']).next().unwrap().to_owned();
        let place = who.split_once('@').map_or(database.as_str(), |(_, rest)| rest).replace("{db}", &database);
        let Ok(session) = self.server.config(&place, &login).connect(postgres::NoTls) else {
            return Old::Impossible("the session or its database comes of the preparations".to_owned());
        };
        stage.sessions.insert(old.clone(), session);
        stage.session(&old).batch_execute(&begin).unwrap();
        watch.batch_execute("SELECT runbook.activate()").unwrap();
        for step in escape.steps.iter().filter(prepares) {
            if let Err(error) = stage.send(step) {
                return Old::Impossible(format!("the preparation waits for it: {error}"));
            }
        }
        let count = |watch: &mut Client, sql: &str| watch.query_one(sql, &[]).map_or(-1, |row| row.get::<_, i64>(0));
        let before = (count(&mut watch, REFUSALS), count(&mut watch, ENTRIES));
        let mut outcome = Ok(());
        for step in escape.steps.iter().filter(tries) {
            outcome = stage.send(&Step { who: old.clone(), ..step.clone() });
            // After a commit in between, the session has no old snapshot any more.
            if outcome.is_err() {
                let _ = stage.session(&old).batch_execute("ROLLBACK");
            }
        }
        if outcome.is_ok() {
            let error = |error: postgres::Error| format!("{} at the commit", sqlstate(Err::<(), _>(error)));
            outcome = stage.session(&old).batch_execute("COMMIT").map_err(error);
        }
        let after = (count(&mut watch, REFUSALS), count(&mut watch, ENTRIES));
        let (refusals, entries) = (after.0 - before.0, after.1 - before.1);
        let said = format!("{outcome:?}, {refusals} refusals, {entries} entries");
        drop(watch);
        let passed = match expected {
            Outcome::Blocked | Outcome::Denied(_) => outcome.is_ok() && refusals == 0,
            Outcome::Recorded => outcome.is_ok() && entries == 0,
            _ => false,
        };
        if passed {
            return Old::Passed(said);
        }
        if let Err(error) = &outcome
            && ["25001", "2D000", "0A000"].iter().any(|state| error.starts_with(state))
        {
            return Old::Impossible("not in a transaction block".to_owned());
        }
        for last in escape.steps.iter().filter(|step| step.way == Way::Finally) {
            let _ = stage.send(last);
        }
        drop(stage);
        if matches!(expected, Outcome::Blocked | Outcome::Denied(_) | Outcome::Harmless) {
            let mut admin = self.server.connect(&database, "postgres");
            if admin.query_one(INTACT, &[]).is_ok_and(|row| row.get::<_, Option<bool>>(0) != Some(true)) {
                return Old::Passed(format!("something is gone; {said}"));
            }
        }
        Old::Safe
    }
}

fn page(escapes: &[Escape]) -> String {
    let count = |layer: fn(&Escape) -> &Outcome, wanted: fn(&Outcome) -> bool| {
        escapes.iter().filter(|escape| wanted(layer(escape))).count()
    };
    let mut text = format!(
        "# Ways around the guard\n\nThe test `escapes` runs each of {} attempts through a real connection, on a server that preloads the \
         library and on one that does not, under the policy of `staging`; the data is `tests/escapes.txt`, and this page is generated. \
         **Blocked**: refused with SQLSTATE 42501, in the ledger, and nothing is gone. **Recorded**: policy lets it pass, and the ledger has \
         it. **Only detectable**: passes unseen; what tells is checked. **Not covered**: passes unseen, as `guard_status()` says.\n\n\
         | | preloaded | not preloaded |\n|---|---|---|\n",
        escapes.len()
    );
    type Is = fn(&Outcome) -> bool;
    let kinds: [(&str, Is); 6] = [
        ("blocked", |outcome| *outcome == Outcome::Blocked),
        ("recorded", |outcome| *outcome == Outcome::Recorded),
        ("denied", |outcome| matches!(outcome, Outcome::Denied(_))),
        ("harmless", |outcome| *outcome == Outcome::Harmless),
        ("only detectable", |outcome| matches!(outcome, Outcome::Detectable(_))),
        ("not covered", |outcome| matches!(outcome, Outcome::Uncovered(_))),
    ];
    for (name, is) in kinds {
        let (preloaded, plain) = (count(|escape| &escape.preloaded, is), count(|escape| &escape.plain, is));
        let _ = writeln!(text, "| {name} | {preloaded} | {plain} |");
    }
    let mut group = "";
    for (at, escape) in escapes.iter().enumerate() {
        if escape.group != group {
            group = &escape.group;
            let _ = write!(text, "\n## {group}\n\n| | attempt | by | preloaded | not preloaded |\n|---|---|---|---|---|\n");
        }
        let who = escape
            .steps
            .iter()
            .rfind(|step| !matches!(step.way, Way::Checks | Way::Finally))
            .map_or("", |step| step.who.as_str());
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} |",
            at + 1,
            escape.title.replace('|', "\\|"),
            who.split(['@', '/']).next().unwrap_or(who),
            escape.preloaded.describe(),
            escape.plain.describe(),
        );
    }
    text
}

#[test]
fn every_way_around_the_guard_has_the_outcome_that_the_data_says() {
    let escapes = parse(&std::fs::read_to_string(repository().join("tests/escapes.txt")).unwrap());
    assert!(escapes.len() >= 250, "{}", escapes.len());
    let only = std::env::var("RUNBOOK_ESCAPE").ok();
    let mut failures = Vec::new();
    for preloaded in [true, false] {
        let mut site = Site::start(preloaded, &[]);
        for escape in &escapes {
            if only.as_ref().is_some_and(|only| !format!("{} {}", escape.group, escape.title).contains(only.as_str())) {
                continue;
            }
            if let Err(seen) = site.run(escape) {
                let layer = if preloaded { "preloaded" } else { "plain" };
                failures.push(format!("{layer}: {} / {}: {seen}", escape.group, escape.title));
            }
        }
    }
    assert!(failures.is_empty(), "{} failed:\n{}", failures.len(), failures.join("\n"));
    if only.is_some() {
        return;
    }
    let (page, file) = (page(&escapes), repository().join("docs/escapes.md"));
    if std::env::var_os("RUNBOOK_UPDATE_DOCS").is_some() {
        std::fs::write(&file, &page).unwrap();
    }
    assert!(
        std::fs::read_to_string(&file).unwrap_or_default() == page,
        "docs/escapes.md is not what the data says; run again with RUNBOOK_UPDATE_DOCS=1"
    );
}

#[test]
fn no_snapshot_is_old_enough_to_get_around_the_guard() {
    let escapes = parse(&std::fs::read_to_string(repository().join("tests/escapes.txt")).unwrap());
    let only = std::env::var("RUNBOOK_ESCAPE").ok();
    let everything = only.is_some() || std::env::var_os("RUNBOOK_SOAK").is_some();
    let (mut safe, mut failures) = (0, Vec::new());
    for (preloaded, isolation) in [(true, "REPEATABLE READ"), (false, "SERIALIZABLE")] {
        // A preparation that would wait for the old transaction gives up.
        let mut site = Site::start(preloaded, &["lock_timeout=2s"]);
        for (at, escape) in escapes.iter().enumerate() {
            // Without preparations only the activation is younger than the snapshot: some of these stand for the others.
            if !everything && at % 8 != 0 && escape.steps.iter().all(|step| step.way != Way::Prepares) {
                continue;
            }
            if only.as_ref().is_some_and(|only| !format!("{} {}", escape.group, escape.title).contains(only.as_str())) {
                continue;
            }
            match site.run_old(escape, isolation) {
                Old::Safe => safe += 1,
                Old::Impossible(why) => println!("left out: {isolation}: {}: {why}", escape.title),
                Old::Passed(seen) => failures.push(format!("{isolation}: {} / {}: {seen}", escape.group, escape.title)),
            }
        }
    }
    println!("{safe} attempts from older transactions");
    assert!(failures.is_empty(), "{} passed:\n{}", failures.len(), failures.join("\n"));
    assert!(only.is_some() || safe >= 180, "{safe}");
}

#[test]
fn what_logical_replication_applies_meets_the_triggers_of_protected_tables() {
    let server = Server::start_with(&["fsync=off", "wal_level=logical", "max_replication_slots=10", "max_wal_senders=10"]);
    let mut source = server.connect("postgres", "postgres");
    source.batch_execute("CREATE DATABASE source").unwrap();
    let mut source = server.connect("source", "postgres");
    let table = "CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t SELECT generate_series(1, 100);";
    let other = "CREATE TABLE u (id int PRIMARY KEY); INSERT INTO u VALUES (1);";
    source.batch_execute(&format!("{table} {other} CREATE PUBLICATION p FOR TABLE t, u")).unwrap();
    source.query_one("SELECT pg_create_logical_replication_slot('s', 'pgoutput')", &[]).unwrap();
    let mut target = server.database("target");
    target.batch_execute(&format!("{table} {other} SELECT runbook.activate(); SELECT runbook.protect_table('t', 10)")).unwrap();
    let subscription = format!(
        "CREATE SUBSCRIPTION s CONNECTION 'host={} port={} dbname=source user=postgres' PUBLICATION p \
         WITH (create_slot = false, copy_data = false, slot_name = 's')",
        server.socket(),
        runbook_tests::PORT
    );
    target.batch_execute(&subscription).unwrap();
    source.batch_execute("DELETE FROM t WHERE id <= 3").unwrap();
    let count = |target: &mut Client, sql: &str| target.query_one(sql, &[]).unwrap().get::<_, i64>(0);
    runbook_tests::wait_until(30, "a small change is applied", || count(&mut target, "SELECT count(*) FROM t") == 97);
    // What guard.md says that it does not do.
    let entries = "SELECT count(*) FROM runbook.ledger";
    let before = count(&mut target, entries);
    source.batch_execute("TRUNCATE u").unwrap();
    runbook_tests::wait_until(30, "u is emptied", || count(&mut target, "SELECT count(*) FROM u") == 0);
    assert_eq!(count(&mut target, entries), before);
    source.batch_execute("TRUNCATE t").unwrap();
    let blocked = "SELECT count(*) FROM runbook.ledger WHERE kind = 'ddl.blocked'";
    runbook_tests::wait_until(30, "the TRUNCATE is refused", || count(&mut target, blocked) > 0);
    assert_eq!(count(&mut target, "SELECT count(*) FROM t"), 97);
    target.batch_execute("ALTER SUBSCRIPTION s DISABLE").unwrap();
    assert_eq!(sqlstate(target.batch_execute("TRUNCATE t")), "42501");
}

#[test]
fn logical_replication_writes_nothing_to_the_tables_of_the_runbook() {
    let server = Server::start_with(&["fsync=off", "wal_level=logical"]);
    let mut source = server.database("source");
    source
        .batch_execute("SELECT runbook.activate(); SET runbook.mode = off; CREATE TABLE t (id int); CREATE PUBLICATION p FOR TABLE runbook.activation, t")
        .unwrap();
    source.query_one("SELECT pg_create_logical_replication_slot('s', 'pgoutput')", &[]).unwrap();
    let mut target = server.database("target");
    target.batch_execute("SELECT runbook.activate(); CREATE TABLE t (id int)").unwrap();
    let subscription = format!(
        "CREATE SUBSCRIPTION s CONNECTION 'host={} port={} dbname=source user=postgres' PUBLICATION p \
         WITH (create_slot = false, copy_data = false, slot_name = 's')",
        server.socket(),
        runbook_tests::PORT
    );
    target.batch_execute(&subscription).unwrap();
    source.batch_execute("DELETE FROM runbook.activation; INSERT INTO t VALUES (1)").unwrap();
    let count = |target: &mut Client, sql: &str| target.query_one(sql, &[]).unwrap().get::<_, i64>(0);
    let blocked = "SELECT count(*) FROM runbook.ledger WHERE kind = 'ddl.blocked' AND tag = 'DML'";
    // The rows of others go on.
    runbook_tests::wait_until(30, "the next row arrives", || count(&mut target, "SELECT count(*) FROM t") > 0);
    runbook_tests::wait_until(30, "the change is recorded", || count(&mut target, blocked) > 0);
    assert_eq!(count(&mut target, "SELECT count(*) FROM runbook.activation"), 1);
    target.batch_execute("ALTER SUBSCRIPTION s DISABLE").unwrap();
}
