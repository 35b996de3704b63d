//! Locks that are not to be had, and the sessions that hold them.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use postgres::Client;
use runbook_tests::jobs::{apply, column, entries, piecemeal, start, wait};
use runbook_tests::{Server, revision, sqlstate, submit, upgrade, wait_until};
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

fn scene(server: &Server, database: &str) -> (Client, Client) {
    let mut admin = server.database(database);
    admin
        .batch_execute(
            "CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t SELECT i FROM generate_series(1, 100) i; \
             CREATE TABLE u (id int PRIMARY KEY); INSERT INTO u VALUES (1); \
             ALTER TABLE t OWNER TO app_owner; ALTER TABLE u OWNER TO app_owner; GRANT ALL ON t, u TO app, dave",
        )
        .unwrap();
    (admin, server.connect(database, "app"))
}

#[test]
fn a_lock_is_tried_for_again_and_the_ledger_knows_who_was_in_the_way() {
    let server = Server::start();
    let (mut admin, mut app) = scene(&server, "retry");
    submit(&mut server.connect("retry", "alice"), &revision("a001", &[], "ALTER TABLE t ADD COLUMN w int", "")).unwrap();
    admin.batch_execute("SELECT runbook.configure('lock_timeout', '500ms')").unwrap();
    let mut reader = server.connect("retry", "dave");
    reader.batch_execute("SET application_name = 'reports'; BEGIN; SELECT count(*) FROM t").unwrap();
    let job = start(&mut app, "head").unwrap();
    wait_until(20, "the view says who is in the way", || {
        column(&mut app, job, "waiting_for").contains("(dave, reports, idle in transaction for")
    });
    wait_until(20, "it has tried twice", || entries(&mut admin, "apply.waited").len() >= 2);
    // Between the attempts nobody waits behind it.
    assert!(column(&mut app, job, "note").contains("in the way: pid"), "{}", column(&mut app, job, "note"));
    reader.batch_execute("COMMIT").unwrap();
    wait(&mut app, job).unwrap();
    let waited = entries(&mut admin, "apply.waited");
    assert_eq!((waited[0]["sqlstate"].as_str(), waited[0]["attempt"].as_i64()), (Some("55P03"), Some(1)));
    assert!(waited[0]["blockers"][0].as_str().unwrap().contains("(dave, reports, idle in transaction"), "{:?}", waited[0]);
    assert_eq!(column(&mut app, job, "note"), "");
}

#[test]
fn an_atomic_call_tries_again_too_and_gives_up_when_the_time_is_spent() {
    let server = Server::start();
    let (mut admin, mut app) = scene(&server, "atomic");
    submit(&mut server.connect("atomic", "alice"), &revision("a001", &[], "ALTER TABLE t ADD COLUMN w int", "")).unwrap();
    admin.batch_execute("SELECT runbook.configure('lock_timeout', '200ms'), runbook.configure('lock_budget', '1s')").unwrap();
    let mut reader = server.connect("atomic", "dave");
    reader.batch_execute("BEGIN; SELECT count(*) FROM t").unwrap();
    assert_eq!(sqlstate(upgrade(&mut app, "head")), "55P03");
    // Inside a block of the caller's own nothing is tried again: what that has locked would stay locked.
    let waited = entries(&mut admin, "apply.waited").len();
    assert!(waited >= 1);
    let mut transaction = app.transaction().unwrap();
    let began = Instant::now();
    assert_eq!(sqlstate(transaction.query_one("SELECT runbook.upgrade()", &[])), "55P03");
    assert!(began.elapsed() < Duration::from_millis(900));
    transaction.rollback().unwrap();
    assert_eq!(entries(&mut admin, "apply.waited").len(), waited);
    let leaving = thread::spawn(move || {
        thread::sleep(Duration::from_millis(500));
        reader.batch_execute("COMMIT").unwrap();
    });
    assert_eq!(upgrade(&mut app, "head").unwrap(), ["a001"]);
    leaving.join().unwrap();
    // A job says how often it was tried.
    submit(&mut server.connect("atomic", "alice"), &revision("a002", &["a001"], "ALTER TABLE t ADD COLUMN x int", "")).unwrap();
    let mut reader = server.connect("atomic", "dave");
    reader.batch_execute("BEGIN; SELECT count(*) FROM t").unwrap();
    let error = apply(&mut app, "head").unwrap_err();
    let error = error.as_db_error().unwrap();
    assert_eq!(error.code().code(), "55P03");
    assert!(error.detail().unwrap().starts_with("It was tried"), "{error:?}");
}

#[test]
fn a_session_that_idles_in_the_way_is_ended_only_where_that_is_configured() {
    let server = Server::start();
    let (mut admin, mut app) = scene(&server, "idle");
    let mut alice = server.connect("idle", "alice");
    submit(&mut alice, &revision("a001", &[], "ALTER TABLE t ADD COLUMN w int", "")).unwrap();
    admin.batch_execute("SELECT runbook.configure('terminate_idle_blockers', '1s')").unwrap();
    let mut idle = server.connect("idle", "dave");
    idle.batch_execute("BEGIN; SELECT count(*) FROM t").unwrap();
    apply(&mut app, "head").unwrap();
    assert!(idle.batch_execute("SELECT 1").is_err(), "its session was ended");
    assert_eq!(entries(&mut admin, "blocker.terminated").len(), 1);
    // Whoever is at work is not, and neither is anybody by default.
    admin.batch_execute("SELECT runbook.configure('lock_budget', '0')").unwrap();
    submit(&mut alice, &revision("a002", &["a001"], "ALTER TABLE t ADD COLUMN x int", "")).unwrap();
    let mut busy = server.connect("idle", "dave");
    let working = thread::spawn(move || busy.batch_execute("BEGIN; SELECT count(*) FROM t; SELECT pg_sleep(4); COMMIT"));
    wait_until(20, "it reads", || {
        let sql = "SELECT count(*) FROM pg_locks WHERE relation = 't'::regclass";
        admin.query_one(sql, &[]).unwrap().get::<_, i64>(0) > 0
    });
    assert_eq!(sqlstate(apply(&mut app, "head")), "55P03");
    working.join().unwrap().unwrap();
    admin.batch_execute("SELECT runbook.configure('terminate_idle_blockers', NULL)").unwrap();
    let mut idle = server.connect("idle", "dave");
    idle.batch_execute("BEGIN; SELECT count(*) FROM t").unwrap();
    assert_eq!(sqlstate(apply(&mut app, "head")), "55P03");
    idle.batch_execute("SELECT 1").unwrap();
}

/// The application locks u, then t; the revision t, then u, with work in between.
#[test]
fn in_a_deadlock_the_migration_gives_way() {
    let server = Server::start();
    let (mut admin, mut app) = scene(&server, "deadlock");
    // A function hides what is locked, so that nothing is locked up front.
    let sql = "ALTER TABLE t ADD COLUMN w int; SELECT pg_sleep(0.3); ALTER TABLE u ADD COLUMN w int";
    submit(&mut server.connect("deadlock", "alice"), &revision("a001", &[], sql, "")).unwrap();
    admin.batch_execute("SELECT runbook.configure('lock_timeout', '10s')").unwrap();
    let mut dave = server.connect("deadlock", "dave");
    dave.batch_execute("BEGIN; UPDATE u SET id = 1").unwrap();
    let job = start(&mut app, "head").unwrap();
    wait_until(20, "t is locked", || {
        let sql = "SELECT count(*) FROM pg_locks WHERE relation = 't'::regclass AND mode = 'AccessExclusiveLock' AND granted";
        admin.query_one(sql, &[]).unwrap().get::<_, i64>(0) > 0
    });
    dave.batch_execute("UPDATE t SET v = 2 WHERE id = 1; COMMIT").unwrap();
    wait(&mut app, job).unwrap();
    let waited = entries(&mut admin, "apply.waited");
    assert_eq!(waited.iter().map(|one| one["sqlstate"].as_str().unwrap()).collect::<Vec<_>>(), ["40P01"]);
}

#[test]
fn tables_of_one_revision_are_locked_before_its_first_statement() {
    let server = Server::start();
    let (mut admin, mut app) = scene(&server, "upfront");
    let sql = "ALTER TABLE t ADD COLUMN w int; ALTER TABLE u ADD COLUMN w int";
    submit(&mut server.connect("upfront", "alice"), &revision("a001", &[], sql, "")).unwrap();
    admin.batch_execute("SELECT runbook.configure('lock_timeout', '300ms'), runbook.configure('lock_budget', '0')").unwrap();
    let mut dave = server.connect("upfront", "dave");
    dave.batch_execute("BEGIN; SELECT count(*) FROM u").unwrap();
    let error = apply(&mut app, "head").unwrap_err();
    let context = error.as_db_error().unwrap().where_().unwrap().to_owned();
    assert!(context.ends_with("revision a001 (upgrade), before its first statement"), "{context}");
    // Somebody else's table is not locked, whoever asks: ALTER is refused.
    admin.batch_execute("CREATE TABLE foreign_one (); SELECT runbook.configure('lock_budget', NULL)").unwrap();
    dave.batch_execute("COMMIT").unwrap();
    let sql = "ALTER TABLE t ADD COLUMN x int; ALTER TABLE foreign_one ADD COLUMN x int";
    submit(&mut server.connect("upfront", "alice"), &revision("b001", &[], sql, "")).unwrap();
    assert_eq!(sqlstate(apply(&mut app, "b001")), "42501");
}

/// What waits inside a function holds a snapshot, and a concurrent index build waits for that.
#[test]
fn an_upgrade_that_waits_gives_way_to_an_index_build() {
    let server = Server::start();
    let (mut admin, mut app) = scene(&server, "way");
    let sql = "CREATE INDEX CONCURRENTLY t_v ON t (v)";
    submit(&mut server.connect("way", "alice"), &piecemeal("a001", &[], sql, "DROP INDEX CONCURRENTLY t_v")).unwrap();
    // Holds the build up until the other one waits.
    let mut writer = server.connect("way", "dave");
    writer.batch_execute("BEGIN; UPDATE t SET v = 1 WHERE id = 1").unwrap();
    let job = start(&mut app, "head").unwrap();
    wait_until(20, "it builds", || column(&mut app, job, "statement").contains("CREATE INDEX"));
    let mut other = server.connect("way", "app");
    let waiting = thread::spawn(move || upgrade(&mut other, "head").map_err(|error| error.as_db_error().unwrap().clone()));
    wait_until(20, "the other one waits", || {
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT runbook.upgrade%' AND state = 'active'";
        admin.query_one(sql, &[]).unwrap().get::<_, i64>(0) == 1
    });
    thread::sleep(Duration::from_millis(300));
    writer.batch_execute("COMMIT").unwrap();
    wait(&mut app, job).unwrap();
    match waiting.join().unwrap() {
        // It was fast enough to find the lock free.
        Ok(applied) => assert_eq!(applied, Vec::<String>::new()),
        Err(error) => {
            assert_eq!(error.code().code(), "55P03");
            assert!(error.detail().unwrap().contains("waits for this session's snapshot"), "{error:?}");
        }
    }
    // `wait` holds none.
    let valid: bool =
        admin.query_one("SELECT indisvalid FROM pg_index WHERE indexrelid = 't_v'::regclass", &[]).unwrap().get(0);
    assert!(valid);
}

#[test]
fn of_twenty_migrators_one_applies_and_nineteen_say_so() {
    let server = Server::start();
    let (_admin, mut app) = scene(&server, "twenty");
    let mut alice = server.connect("twenty", "alice");
    submit(&mut alice, &revision("a001", &[], "CREATE TABLE once (id int); SELECT pg_sleep(0.3)", "DROP TABLE once")).unwrap();
    submit(&mut alice, &revision("a002", &["a001"], "INSERT INTO once VALUES (1)", "")).unwrap();
    let work = tempfile::tempdir().unwrap();
    let began = Instant::now();
    let spawn = || -> Child {
        let mut command = server.runbook("twenty", "app", work.path());
        command.args(["upgrade", "head"]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let children: Vec<Child> = (0..20).map(|_| spawn()).collect();
    let mut applied = 0;
    for child in children {
        let output = child.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
        match text.trim_end().lines().last().unwrap() {
            "2 revisions applied" => applied += 1,
            "nothing to do" => {}
            other => panic!("{other}"),
        }
    }
    assert_eq!(applied, 1);
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
    let rows: i64 = app.query_one("SELECT count(*) FROM runbook.jobs WHERE state <> 'finished'", &[]).unwrap().get(0);
    assert_eq!(rows, 0);
}
