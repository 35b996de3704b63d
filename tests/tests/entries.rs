//! Makes an entry of every kind, and compares what it says with what is documented.
#![allow(clippy::unwrap_used, missing_docs, reason = "a panic is how a test fails")]

use postgres::Client;
use runbook_tests::entries::{page, parse, problems, schema};
use runbook_tests::jobs::{apply, backfill, column, piecemeal, start, wait, wait_for_state};
use runbook_tests::ledger::fill;
use runbook_tests::older::{self, OLDER};
use runbook_tests::{Server, repository, revision, submit, succeed, upgrade, wait_until};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::fs;

fn run(client: &mut Client, statements: &[&str]) {
    for statement in statements {
        client.batch_execute(statement).unwrap_or_else(|error| panic!("{statement}: {error:?}"));
    }
}

/// A database in which everything has happened once.
fn scene(server: &Server) -> Client {
    let mut postgres = server.database("app");
    run(
        &mut postgres,
        &[
            "DROP EXTENSION pg_runbook",
            &format!("CREATE EXTENSION pg_runbook VERSION '{OLDER}'"),
            "ALTER EXTENSION pg_runbook UPDATE",
            "SELECT runbook.configure('migration_role', 'app_owner')",
        ],
    );
    run(
        &mut postgres,
        &[
            "GRANT runbook_break_glass TO postgres",
            "CREATE TABLE orders (id int, note text)",
            "ALTER TABLE orders OWNER TO app_owner",
        ],
    );
    let connect = |user: &str| server.connect("app", user);
    let (mut alice, mut bob, mut app, mut root) = (connect("alice"), connect("bob"), connect("app"), connect("root"));
    run(&mut root, &["SELECT runbook.activate()", "SELECT runbook.set_policy('blocking', 'record')"]);
    run(&mut root, &["SELECT runbook.set_maintenance_window('night', ARRAY['breaking'], 'daily', '00:00', '00:00', 'UTC')"]);
    run(&mut root, &["SELECT runbook.drop_maintenance_window('night')", "SELECT runbook.protect_table('orders', 10)"]);
    run(&mut root, &["SELECT runbook.unprotect_table('orders')"]);
    run(&mut postgres, &["CREATE TABLE plain (id int, note text)", "CREATE TABLE gone (id int)"]);
    assert!(postgres.batch_execute("DROP TABLE plain").is_err());
    run(&mut postgres, &["SET runbook.mode = record", "DROP TABLE gone", "RESET runbook.mode"]);

    submit(
        &mut alice,
        &revision("a001", &[], "ALTER TABLE orders ADD COLUMN more text", "ALTER TABLE orders DROP COLUMN more"),
    )
    .unwrap();
    submit(
        &mut alice,
        &revision("a002", &["a001"], "ALTER TABLE orders DROP COLUMN note", "ALTER TABLE orders ADD COLUMN note text"),
    )
    .unwrap();
    assert!(upgrade(&mut app, "a002").is_err());
    run(
        &mut bob,
        &["SELECT runbook.reject('a002', 'not yet')", "SELECT runbook.revoke('a002', 'now')", "SELECT runbook.approve('a001')"],
    );
    run(&mut bob, &["SELECT runbook.approve('a002', 'as discussed')"]);
    upgrade(&mut app, "a002").unwrap();
    app.query_one("SELECT runbook.downgrade('a001')", &[]).unwrap();
    submit(&mut alice, &revision("a003", &["a002"], "ALTER TABLE nothing ADD COLUMN x int", "")).unwrap();
    run(&mut bob, &["SELECT runbook.approve('a002', 'again')"]);
    assert!(upgrade(&mut app, "a003").is_err());
    run(&mut app, &["SELECT runbook.stamp('a002')"]);
    run(&mut alice, &["SELECT runbook.withdraw('a003', 'there is no such table')"]);

    let permit = |client: &mut Client, statement: &str| -> String {
        client.query_one(&format!("SELECT runbook.request_permit('{statement}', 'not needed any more')"), &[]).unwrap().get(0)
    };
    let first = permit(&mut alice, "DROP TABLE orders");
    let second = permit(&mut postgres, "DROP TABLE plain");
    run(
        &mut bob,
        &[
            &format!("SELECT runbook.reject_permit('{first}', 'no')"),
            &format!("SELECT runbook.approve_permit('{second}', 'yes')"),
        ],
    );
    run(&mut postgres, &["DROP TABLE plain"]);
    assert!(alice.batch_execute("SELECT runbook.approve('a003')").is_err());
    run(&mut postgres, &["CREATE TABLE burning ()", "SELECT runbook.break_glass('fire', '5 minutes')", "DROP TABLE burning"]);
    run(
        &mut postgres,
        &["SELECT runbook.close_break_glass()", "SET runbook.mode = off", "CREATE TABLE unseen ()", "RESET runbook.mode"],
    );

    jobs(server, &mut postgres);
    fill(&mut postgres, 300);
    let files = tempfile::tempdir().unwrap();
    let audit = |user: &str, arguments: &str| {
        succeed(server.runbook("app", user, files.path()).arg("audit").args(arguments.split(' ')));
    };
    audit("carol", "keygen auditor --out auditor.key");
    audit("carol", "checkpoint --key auditor.key --out one.note");
    audit("root", "archive --before 256 --out old.jsonl --checkpoint one.note --key auditor.key.pub -m retention");
    audit("root", "open-epoch -m restored");
    run(&mut root, &["SELECT runbook.configure('preset', 'local')", "SELECT runbook.deactivate('the end')"]);
    // What was archived is looked at, too.
    for line in fs::read_to_string(files.path().join("old.jsonl")).unwrap().lines() {
        postgres.execute("CREATE TABLE IF NOT EXISTS archived (payload text)", &[]).unwrap();
        postgres.execute("INSERT INTO archived VALUES ($1)", &[&line]).unwrap();
    }
    postgres
}

/// A job whose locks are not to be had at first, one that is paused and goes on, and one that is cancelled.
fn jobs(server: &Server, postgres: &mut Client) {
    let (mut alice, mut app) = (server.connect("app", "alice"), server.connect("app", "app"));
    let settings = [("lock_timeout", "300ms"), ("terminate_idle_blockers", "1s")];
    for (key, value) in settings {
        run(postgres, &[&format!("SELECT runbook.configure('{key}', '{value}')")]);
    }
    submit(&mut alice, &revision("b001", &["a002"], "ALTER TABLE orders ADD COLUMN late text", "")).unwrap();
    submit(&mut alice, &piecemeal("b002", &["b001"], "SELECT pg_sleep(0.5); SELECT pg_sleep(0.5)", "")).unwrap();
    let mut header =
        backfill("b003", &["b002"], "table keyed; batch 2", "UPDATE keyed SET w = 1 WHERE id BETWEEN :from AND :to");
    header["verify"] = "SELECT 1".into();
    run(postgres, &["CREATE TABLE keyed (id int PRIMARY KEY, w int)", "INSERT INTO keyed VALUES (1), (2), (3)"]);
    run(postgres, &["ALTER TABLE keyed OWNER TO app_owner"]);
    submit(&mut alice, &header).unwrap();
    let mut idle = server.connect("app", "postgres");
    idle.batch_execute("BEGIN; SELECT count(*) FROM orders").unwrap();
    apply(&mut app, "b001").unwrap();
    let job = start(&mut app, "b002").unwrap();
    wait_until(20, "it sleeps", || column(&mut app, job, "statement").contains("pg_sleep"));
    run(&mut app, &[&format!("SELECT runbook.pause({job})")]);
    wait_for_state(&mut app, job, "paused");
    run(&mut app, &[&format!("SELECT runbook.resume({job})"), &format!("CALL runbook.wait({job})")]);
    apply(&mut app, "b003").unwrap();
    submit(&mut alice, &piecemeal("b004", &["b003"], "SELECT pg_sleep(60)", "")).unwrap();
    let job = start(&mut app, "b004").unwrap();
    wait_until(20, "it sleeps", || column(&mut app, job, "statement").contains("pg_sleep"));
    run(&mut app, &[&format!("SELECT runbook.cancel({job})")]);
    assert!(wait(&mut app, job).is_err());
}

#[test]
fn every_kind_of_entry_says_what_is_documented() {
    let kinds = parse(&fs::read_to_string(repository().join("tests/entries.txt")).unwrap());
    let directory = tempfile::Builder::new().prefix("runbook-entries-").tempdir_in("/tmp").unwrap();
    let server = older::server(directory.path(), &[], &[]);
    let mut admin = scene(&server);
    let mut found: BTreeMap<String, String> = BTreeMap::new();
    let mut wrong = Vec::new();
    for row in admin.query("SELECT payload FROM archived UNION ALL SELECT payload FROM runbook.ledger", &[]).unwrap() {
        let payload: String = row.get(0);
        let object: Map<String, Value> = serde_json::from_str(&payload).unwrap();
        wrong.extend(problems(&kinds, &object));
        let kind = object["kind"].as_str().unwrap().to_owned();
        found.entry(kind).or_insert(payload);
    }
    wrong.sort();
    wrong.dedup();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let missing: Vec<&str> =
        kinds.iter().map(|kind| kind.name.as_str()).filter(|kind| *kind != "*" && !found.contains_key(*kind)).collect();
    assert!(missing.is_empty(), "no entry of kind {}", missing.join(", "));

    let (schema_file, page_file) = (repository().join("docs/entry.schema.json"), repository().join("docs/entries.md"));
    if std::env::var_os("RUNBOOK_UPDATE_DOCS").is_some() {
        fs::write(&schema_file, schema(&kinds)).unwrap();
        fs::write(&page_file, page(&kinds, &found)).unwrap();
    }
    let hint = "RUNBOOK_UPDATE_DOCS=1 writes it";
    // The order of members is a feature of serde_json, which any crate of a build can switch on.
    let value = |text: &str| -> Value { serde_json::from_str(text).unwrap() };
    let known = fs::read_to_string(&schema_file).unwrap();
    assert_eq!(value(&known), value(&schema(&kinds)), "docs/entry.schema.json is old: {hint}");
    // Examples differ from run to run; everything else must not.
    let without =
        |page: &str| -> Vec<String> { page.lines().filter(|line| !line.starts_with("{\"")).map(str::to_owned).collect() };
    let known = fs::read_to_string(&page_file).unwrap();
    assert_eq!(without(&known), without(&page(&kinds, &found)), "docs/entries.md is old: {hint}");
    for line in known.lines().filter(|line| line.starts_with("{\"")) {
        let example: Map<String, Value> = serde_json::from_str(line).unwrap();
        assert!(problems(&kinds, &example).is_empty(), "the example {line} is old: {hint}");
    }
}
