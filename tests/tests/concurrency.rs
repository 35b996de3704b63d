//! Two migrators, and a migrator that dies.
#![allow(clippy::unwrap_used, missing_docs, reason = "a panic is how a test fails")]

use runbook_tests::{Server, revision, sqlstate, submit, upgrade, wait_until};
use std::thread;

fn applied(server: &Server) -> i64 {
    let mut client = server.connect("app", "postgres");
    client.query_one("SELECT count(*) FROM runbook.revisions WHERE status = 'applied'", &[]).unwrap().get(0)
}

#[test]
fn of_two_upgrades_at_once_one_applies_and_the_other_finds_nothing_to_do() {
    let server = Server::start();
    server.database("app");
    let mut alice = server.connect("app", "alice");
    submit(&mut alice, &revision("a001", &[], "CREATE TABLE t (id int); SELECT pg_sleep(0.5)", "DROP TABLE t")).unwrap();
    submit(&mut alice, &revision("a002", &["a001"], "INSERT INTO t VALUES (1)", "")).unwrap();
    let start = std::sync::Arc::new(std::sync::Barrier::new(4));
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let (mut client, start) = (server.connect("app", "app"), start.clone());
            thread::spawn(move || {
                start.wait();
                upgrade(&mut client, "head").unwrap().len()
            })
        })
        .collect();
    let mut counts: Vec<usize> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    counts.sort_unstable();
    assert_eq!(counts, [0, 0, 0, 2]);
    let rows: i64 = server.connect("app", "postgres").query_one("SELECT count(*) FROM t", &[]).unwrap().get(0);
    assert_eq!(rows, 1);
}

#[test]
fn a_migrator_that_must_not_wait_is_told_who_is_at_work() {
    let server = Server::start();
    let mut admin = server.database("app");
    submit(&mut server.connect("app", "alice"), &revision("a001", &[], "SELECT 1", "")).unwrap();
    admin.batch_execute("SELECT runbook.configure('migrator_wait', '0')").unwrap();
    let mut first = server.connect("app", "app");
    let mut transaction = first.transaction().unwrap();
    transaction.query_one("SELECT runbook.upgrade('head')", &[]).unwrap();
    let error = upgrade(&mut server.connect("app", "app"), "head").unwrap_err();
    let error = error.as_db_error().unwrap();
    assert_eq!(error.code().code(), "55P03");
    assert!(error.detail().unwrap().contains("(app,"), "{error:?}");
    transaction.rollback().unwrap();
    assert_eq!(upgrade(&mut server.connect("app", "app"), "head").unwrap(), ["a001"]);
}

#[test]
fn a_caller_with_an_old_snapshot_applies_nothing_twice() {
    let server = Server::start();
    server.database("app");
    submit(&mut server.connect("app", "alice"), &revision("a001", &[], "CREATE TABLE t (id int)", "DROP TABLE t")).unwrap();
    let mut old = server.connect("app", "app");
    old.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM runbook.revisions").unwrap();
    upgrade(&mut server.connect("app", "app"), "head").unwrap();
    // What is applied is read as it is now; the table isn't there for the old snapshot.
    assert_eq!(upgrade(&mut old, "head").unwrap(), Vec::<String>::new());
    let mut alice = server.connect("app", "alice");
    submit(&mut alice, &revision("a002", &["a001"], "ALTER TABLE t ADD COLUMN note text", "")).unwrap();
    let error = upgrade(&mut old, "head").unwrap_err();
    let error = error.as_db_error().unwrap();
    assert_eq!(error.code().code(), "40001");
    assert!(error.hint().unwrap().contains("SELECT runbook.upgrade('head')"), "{error:?}");
    old.batch_execute("ROLLBACK").unwrap();
    assert_eq!(upgrade(&mut old, "head").unwrap(), ["a002"]);
    assert_eq!(upgrade(&mut old, "head").unwrap(), Vec::<String>::new());
}

#[test]
fn kill_9_in_the_middle_leaves_all_or_nothing_and_the_next_upgrade_succeeds() {
    let server = Server::start();
    server.database("app");
    let mut alice = server.connect("app", "alice");
    submit(&mut alice, &revision("a001", &[], "CREATE TABLE t (id int)", "DROP TABLE t")).unwrap();
    submit(&mut alice, &revision("a002", &["a001"], "ALTER TABLE t ADD COLUMN note text; SELECT pg_sleep(30)", "")).unwrap();
    drop(alice);
    let mut victim = server.connect("app", "app");
    let pid: i32 = victim.query_one("SELECT pg_backend_pid()", &[]).unwrap().get(0);
    let thread = thread::spawn(move || upgrade(&mut victim, "head").is_err());
    let mut watcher = server.connect("app", "postgres");
    wait_until(20, "the upgrade sleeps", || {
        let sql = "SELECT wait_event IS NOT DISTINCT FROM 'PgSleep' FROM pg_stat_activity WHERE pid = $1";
        watcher.query_opt(sql, &[&pid]).unwrap().is_some_and(|row| row.get::<_, bool>(0))
    });
    drop(watcher);
    runbook_tests::succeed(runbook_tests::as_server_user(std::path::Path::new("/bin/kill")).args(["-9", &pid.to_string()]));
    assert!(thread.join().unwrap(), "the client sees its connection die");
    wait_until(30, "the server has recovered", || server.config("app", "postgres").connect(postgres::NoTls).is_ok());
    assert_eq!(applied(&server), 0);
    let mut alice = server.connect("app", "alice");
    submit(&mut alice, &revision("a002", &["a001"], "ALTER TABLE t ADD COLUMN note text", "")).unwrap();
    assert_eq!(upgrade(&mut server.connect("app", "app"), "head").unwrap(), ["a001", "a002"]);
    assert_eq!(applied(&server), 2);
}

#[test]
fn a_failed_upgrade_changes_nothing_and_is_in_the_ledger() {
    let server = Server::start();
    let mut admin = server.database("app");
    let mut alice = server.connect("app", "alice");
    submit(&mut alice, &revision("a001", &[], "CREATE TABLE t (id int)", "DROP TABLE t")).unwrap();
    submit(&mut alice, &revision("a002", &["a001"], "SELECT 1;\n\nSELECT 1/0", "")).unwrap();
    let mut app = server.connect("app", "app");
    assert_eq!(sqlstate(upgrade(&mut app, "head")), "22012");
    assert_eq!(applied(&server), 0);
    let row = admin
        .query_one("SELECT revision, session_role, payload::jsonb ->> 'line', payload::jsonb ->> 'sqlstate' FROM runbook.ledger WHERE kind = 'apply.failed'", &[])
        .unwrap();
    let values: Vec<&str> = (0..4).map(|at| row.get(at)).collect();
    assert_eq!(values, ["a002", "app", "3", "22012"]);
    // The same session goes on as if nothing had happened.
    assert_eq!(upgrade(&mut app, "a001").unwrap(), ["a001"]);
}
