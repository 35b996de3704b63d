//! Jobs beside one another, beside other migrators, and beside whatever else a database has.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use postgres::Client;
use postgres::fallible_iterator::FallibleIterator;
use runbook_tests::jobs::{apply, backfill, column, entries, piecemeal, start, wait, wait_for_state};
use runbook_tests::{Server, revision, sqlstate, submit, upgrade, wait_until};
use std::process::Stdio;
use std::time::{Duration, Instant};

fn scene(server: &Server, database: &str) -> (Client, Client, Client) {
    let mut admin = server.database(database);
    admin
        .batch_execute(
            "SET ROLE app_owner; CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t SELECT i, i FROM generate_series(1, 1000) i; RESET ROLE",
        )
        .unwrap();
    (admin, server.connect(database, "alice"), server.connect(database, "app"))
}

fn number(client: &mut Client, sql: &str) -> i64 {
    client.query_one(sql, &[]).unwrap().get(0)
}

#[test]
fn a_publication_of_all_tables_is_in_nobodys_way() {
    let server = Server::start();
    let (mut admin, mut alice, mut app) = scene(&server, "published");
    admin.batch_execute("CREATE PUBLICATION p FOR ALL TABLES").unwrap();
    submit(&mut alice, &revision("a001", &[], "CREATE TABLE u ()", "DROP TABLE u")).unwrap();
    submit(&mut alice, &piecemeal("a002", &["a001"], "CREATE INDEX CONCURRENTLY t_v ON t (v); ANALYZE t", "DROP INDEX t_v"))
        .unwrap();
    submit(&mut alice, &backfill("a003", &["a002"], "table t", "UPDATE t SET v = 0 WHERE id BETWEEN :from AND :to")).unwrap();
    upgrade(&mut app, "a001").unwrap();
    apply(&mut app, "head").unwrap();
    let job: i64 = app.query_one("SELECT runbook.start_downgrade('base')", &[]).unwrap().get(0);
    wait(&mut app, job).unwrap();
    assert_eq!(number(&mut admin, "SELECT count(*) FROM runbook.revisions WHERE status = 'reverted'"), 3);
}

#[test]
fn a_job_waits_in_the_queue_however_often_somebody_asks() {
    let server = Server::start();
    let (mut admin, mut alice, mut app) = scene(&server, "queue");
    // However slow the machine is, the first job is at work until it is let go.
    admin.batch_execute("SELECT pg_advisory_lock(7)").unwrap();
    let text = "CREATE TABLE u (); SELECT pg_advisory_xact_lock(7)";
    submit(&mut alice, &revision("a001", &[], text, "DROP TABLE u")).unwrap();
    let mut listener = server.connect("queue", "dave");
    listener.batch_execute("LISTEN runbook_jobs").unwrap();
    let first = start(&mut app, "head").unwrap();
    submit(&mut alice, &revision("a002", &["a001"], "CREATE TABLE w ()", "DROP TABLE w")).unwrap();
    let second = start(&mut app, "head").unwrap();
    wait_until(60, "it waits", || column(&mut app, first, "statement").contains("pg_advisory_xact_lock"));
    for _ in 0..20 {
        assert!(app.query_one("SELECT runbook.resume($1)", &[&second]).unwrap().get::<_, bool>(0));
        assert_eq!(column(&mut app, second, "state"), "queued");
    }
    admin.batch_execute("SELECT pg_advisory_unlock(7)").unwrap();
    wait(&mut app, second).unwrap();
    assert_eq!(column(&mut app, first, "state"), "finished");
    // It had two revisions in its plan, the first of which the other job has applied.
    let shown = ["step", "steps"].map(|name| column(&mut app, second, name));
    assert_eq!(shown, ["2", "2"]);
    let told: Vec<String> = listener
        .notifications()
        .timeout_iter(Duration::from_secs(10))
        .take(2)
        .map(|told| Ok(told.payload().to_owned()))
        .collect()
        .unwrap();
    assert_eq!(told, [first, second].map(|job| format!("{{\"job\" : {job}, \"state\" : \"finished\"}}")));
}

#[test]
fn a_job_fails_as_soon_as_the_other_migrator_has_kept_it_waiting() {
    let server = Server::start();
    let (mut admin, mut alice, mut app) = scene(&server, "kept");
    submit(&mut alice, &revision("a001", &[], "CREATE TABLE u ()", "DROP TABLE u")).unwrap();
    submit(&mut alice, &revision("a002", &["a001"], "CREATE TABLE w ()", "DROP TABLE w")).unwrap();
    admin.batch_execute("SELECT runbook.configure('migrator_wait', '1')").unwrap();
    let mut other = server.connect("kept", "app");
    let mut open = other.transaction().unwrap();
    open.query_one("SELECT runbook.upgrade('a001')", &[]).unwrap();
    let begun = Instant::now();
    let error = apply(&mut app, "head").unwrap_err();
    let error = error.as_db_error().unwrap();
    assert_eq!((error.code().code(), error.message()), ("55P03", "another migrator is at work in this database"));
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
    // Whoever cancels a job that waits has cancelled it.
    admin.batch_execute("SELECT runbook.configure('migrator_wait', '60')").unwrap();
    app.query_one("SELECT runbook.resume(1)", &[]).unwrap();
    wait_until(20, "it waits", || column(&mut app, 1, "note").contains("waits for pid"));
    app.query_one("SELECT runbook.cancel(1)", &[]).unwrap();
    wait_for_state(&mut app, 1, "cancelled");
    open.commit().unwrap();
    app.query_one("SELECT runbook.resume(1)", &[]).unwrap();
    wait(&mut app, 1).unwrap();
    assert_eq!(number(&mut admin, "SELECT count(*) FROM runbook.revisions WHERE status = 'applied'"), 2);
}

#[test]
fn time_for_locks_begins_with_the_first_that_is_not_to_be_had() {
    let server = Server::start();
    let (mut admin, mut alice, mut app) = scene(&server, "budget");
    admin
        .batch_execute("SELECT runbook.configure('lock_budget', '2s'), runbook.configure('data_lock_timeout', '200ms')")
        .unwrap();
    let sql = "UPDATE t SET v = 0 WHERE id BETWEEN :from AND :to";
    submit(&mut alice, &backfill("a001", &[], "table t; batch 10; pause 40ms", sql)).unwrap();
    let job = start(&mut app, "head").unwrap();
    std::thread::sleep(Duration::from_millis(2500));
    admin.batch_execute("BEGIN; SELECT FROM t WHERE v > 0 FOR UPDATE").unwrap();
    wait_until(20, "it waits", || column(&mut app, job, "note").contains("attempt"));
    admin.batch_execute("COMMIT").unwrap();
    wait(&mut app, job).unwrap();
    assert!(!entries(&mut admin, "apply.waited").is_empty());
}

#[test]
fn what_is_dropped_after_a_failure_is_dropped_as_its_owner_and_in_the_pinned_session() {
    let server = Server::start_with(&["shared_preload_libraries=pg_runbook"]);
    let (mut admin, mut alice, mut app) = scene(&server, "leftover");
    admin
        .batch_execute(
            "CREATE SCHEMA trap; \
             CREATE FUNCTION watch() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN \
                 RAISE LOG 'dropped by % under %', current_user, current_setting('search_path'); END $$; \
             CREATE EVENT TRIGGER watch ON ddl_command_start WHEN TAG IN ('DROP INDEX') EXECUTE FUNCTION watch(); \
             ALTER ROLE app SET search_path = trap, pg_catalog; UPDATE t SET v = 1; SELECT runbook.activate()",
        )
        .unwrap();
    submit(&mut alice, &piecemeal("a001", &[], "CREATE UNIQUE INDEX CONCURRENTLY t_v ON t (v)", "")).unwrap();
    assert_eq!(sqlstate(apply(&mut app, "head")), "23505");
    let log = server.log();
    let line = log.lines().find(|line| line.contains("dropped by ")).unwrap_or_else(|| panic!("{log}"));
    assert!(line.contains("dropped by app_owner under ") && !line.contains("trap"), "{line}");
    assert_eq!(number(&mut admin, "SELECT count(*) FROM pg_index WHERE NOT indisvalid"), 0);
}

#[test]
fn a_cancelled_build_does_not_wait_for_what_it_was_cancelled_over() {
    let server = Server::start();
    let (mut admin, mut alice, mut app) = scene(&server, "blocked");
    submit(&mut alice, &piecemeal("a001", &[], "CREATE INDEX CONCURRENTLY t_v ON t (v)", "DROP INDEX t_v")).unwrap();
    let mut writer = server.connect("blocked", "postgres");
    writer.batch_execute("BEGIN; UPDATE t SET v = 1 WHERE id = 1").unwrap();
    let job = start(&mut app, "head").unwrap();
    wait_until(20, "it waits for the writer", || column(&mut app, job, "waiting_for").contains("idle in transaction"));
    app.query_one("SELECT runbook.cancel($1)", &[&job]).unwrap();
    let begun = Instant::now();
    assert_eq!(sqlstate(wait(&mut app, job)), "57014");
    assert!(begun.elapsed() < Duration::from_secs(25), "{:?}", begun.elapsed());
    writer.batch_execute("COMMIT").unwrap();
    // What stays is known to be ours.
    app.query_one("SELECT runbook.resume($1)", &[&job]).unwrap();
    wait(&mut app, job).unwrap();
    assert_eq!(number(&mut admin, "SELECT count(*) FROM pg_index WHERE NOT indisvalid"), 0);
}

#[test]
fn partitioned_tables_are_reindexed_and_clustered_and_parameters_that_do_not_last_are_refused() {
    let server = Server::start();
    let (mut admin, mut alice, mut app) = scene(&server, "parts");
    admin
        .batch_execute(
            "SET ROLE app_owner; CREATE TABLE p (id int PRIMARY KEY) PARTITION BY RANGE (id); \
             CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10); RESET ROLE",
        )
        .unwrap();
    for sql in ["REINDEX TABLE p", "REINDEX INDEX p_pkey", "CLUSTER p USING p_pkey"] {
        assert_eq!(sqlstate(submit(&mut alice, &revision("a001", &[], sql, ""))), "25001", "{sql}");
    }
    let all = "REINDEX TABLE p; REINDEX INDEX p_pkey; CLUSTER p USING p_pkey";
    submit(&mut alice, &piecemeal("a001", &[], all, "")).unwrap();
    apply(&mut app, "head").unwrap();
    for sql in ["SET maintenance_work_mem = '1GB'; REINDEX TABLE p", "RESET ALL; REINDEX TABLE p"] {
        let error = submit(&mut alice, &piecemeal("a002", &["a001"], sql, "")).unwrap_err();
        let error = error.as_db_error().unwrap();
        assert_eq!(error.code().code(), "0A000");
        assert!(error.hint().unwrap().contains("ALTER ROLE"), "{error:?}");
    }
}

/// Ctrl-C has the server cancel the call; and exit codes tell locks and wishes from revisions that fail.
#[test]
fn the_command_cancels_what_is_one_call() {
    let server = Server::start();
    let (mut admin, mut alice, mut app) = scene(&server, "interrupt");
    submit(&mut alice, &revision("a001", &[], "CREATE TABLE u (); SELECT pg_sleep(60)", "SELECT pg_sleep(60); DROP TABLE u"))
        .unwrap();
    let work = tempfile::tempdir().unwrap();
    runbook_tests::hand_over(work.path());
    let sleeps = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
    let interrupt = |arguments: &[&str], admin: &mut Client| {
        let mut command = server.runbook("interrupt", "app", work.path());
        let mut child = command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        wait_until(20, "it sleeps", || number(admin, sleeps) == 1);
        let pid = child.id().to_string();
        assert!(std::process::Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
        let code = child.wait().unwrap().code();
        wait_until(20, "it is over", || number(admin, sleeps) == 0);
        code
    };
    assert_eq!(interrupt(&["upgrade", "--atomic"], &mut admin), Some(1));
    assert_eq!(number(&mut admin, "SELECT count(*) FROM runbook.applied_head"), 0);
    app.query_one("SELECT runbook.stamp('head')", &[]).unwrap();
    assert_eq!(interrupt(&["downgrade", "base"], &mut admin), Some(1));
    assert_eq!(number(&mut admin, "SELECT count(*) FROM runbook.applied_head"), 1);
    // A lock that is not to be had.
    admin.batch_execute("SELECT runbook.configure('lock_budget', '1s'), runbook.configure('lock_timeout', '300ms')").unwrap();
    admin.batch_execute("BEGIN; SELECT FROM t").unwrap();
    submit(&mut alice, &revision("a002", &["a001"], "ALTER TABLE t ADD COLUMN x int", "")).unwrap();
    let code = server.runbook("interrupt", "app", work.path()).arg("upgrade").status().unwrap().code();
    assert_eq!(code, Some(7));
}
