//! Jobs: what a worker of the server applies, and what can be asked of it meanwhile.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use postgres::Client;
use runbook_tests::jobs::{apply, backfill, column, entries, piecemeal, start, wait, wait_for_state};
use runbook_tests::{Server, revision, sqlstate, submit, upgrade, wait_until};
use serde_json::json;
use std::time::{Duration, Instant};

fn submitted(server: &Server, database: &str, revisions: &[serde_json::Value]) -> (Client, Client) {
    let admin = server.database(database);
    let mut alice = server.connect(database, "alice");
    for one in revisions {
        submit(&mut alice, one).unwrap();
    }
    (admin, server.connect(database, "app"))
}

fn current(client: &mut Client) -> Vec<String> {
    client.query("SELECT revision FROM runbook.current()", &[]).unwrap().iter().map(|row| row.get(0)).collect()
}

#[test]
fn a_worker_applies_one_transaction_each_and_says_so() {
    let server = Server::start();
    let chain = [
        revision("a001", &[], "CREATE TABLE t (id int)", "DROP TABLE t"),
        revision("a002", &["a001"], "INSERT INTO t SELECT txid_current()", ""),
        revision("a003", &["a002"], "INSERT INTO t SELECT txid_current()", ""),
    ];
    let (mut admin, mut app) = submitted(&server, "one", &chain);
    let job = start(&mut app, "head").unwrap();
    // The client may go.
    drop(app);
    let mut app = server.connect("one", "app");
    wait(&mut app, job).unwrap();
    let [owner, transactions]: [String; 2] = {
        let sql = "SELECT tableowner, (SELECT count(DISTINCT id)::text FROM t) FROM pg_tables WHERE tablename = 't'";
        let row = admin.query_one(sql, &[]).unwrap();
        [row.get(0), row.get(1)]
    };
    assert_eq!((owner.as_str(), transactions.as_str()), ("app_owner", "2"));
    assert_eq!(current(&mut app), ["a003"]);
    assert_eq!(column(&mut app, job, "state"), "finished");
    assert_eq!(column(&mut app, job, "step || '/' || steps"), "3/3");
    let steps: i64 = app.query_one("SELECT count(*) FROM runbook.job_steps WHERE job = $1", &[&job]).unwrap().get(0);
    assert_eq!(steps, 3);
    for kind in ["apply.started", "apply.statement", "revision.applied", "apply.finished"] {
        let found = entries(&mut admin, kind);
        assert!(!found.is_empty() && found.iter().all(|one| one["job"] == job && one["session_role"] == "app"), "{kind}");
    }
    // And back.
    let back: i64 = app.query_one("SELECT runbook.start_downgrade('base')", &[]).unwrap().get(0);
    wait(&mut app, back).unwrap();
    assert_eq!(current(&mut app), Vec::<String>::new());
    // Nothing to do is done at once.
    let none: i64 = app.query_one("SELECT runbook.start_downgrade('base')", &[]).unwrap().get(0);
    assert_eq!(column(&mut app, none, "state"), "finished");
}

#[test]
fn a_job_begins_with_the_commit_of_its_transaction() {
    let server = Server::start();
    let (mut admin, mut app) = submitted(&server, "commit", &[revision("a001", &[], "CREATE TABLE t ()", "DROP TABLE t")]);
    let mut transaction = app.transaction().unwrap();
    transaction.query_one("SELECT runbook.start_upgrade()", &[]).unwrap();
    let refused = transaction.transaction().unwrap().batch_execute("CALL runbook.wait(1)");
    assert_eq!(sqlstate(refused), "25001");
    transaction.rollback().unwrap();
    let jobs: i64 = app.query_one("SELECT count(*) FROM runbook.jobs", &[]).unwrap().get(0);
    assert_eq!(jobs, 0, "what was rolled back was not asked for");
    let mut transaction = app.transaction().unwrap();
    let job: i64 = transaction.query_one("SELECT runbook.start_upgrade()", &[]).unwrap().get(0);
    std::thread::sleep(Duration::from_millis(200));
    let there: bool = admin.query_one("SELECT to_regclass('t') IS NOT NULL", &[]).unwrap().get(0);
    assert!(!there);
    transaction.commit().unwrap();
    wait(&mut app, job).unwrap();
}

#[test]
fn an_error_reaches_whoever_waits_complete() {
    let server = Server::start();
    let chain = [
        revision("a001", &[], "CREATE TABLE t (id int CONSTRAINT positive CHECK (id > 0))", "DROP TABLE t"),
        revision("a002", &["a001"], "SELECT 1;\nINSERT INTO t VALUES (1), (-1)", ""),
        revision("a003", &["a001"], "SELECT nosuch FROM t", ""),
    ];
    let (mut admin, mut app) = submitted(&server, "errors", &chain);
    let error = apply(&mut app, "a002").unwrap_err();
    let error = error.as_db_error().unwrap();
    assert_eq!(error.code().code(), "23514");
    assert_eq!((error.table(), error.constraint(), error.schema()), (Some("t"), Some("positive"), Some("public")));
    assert!(error.detail().unwrap().contains("(-1)"));
    assert!(error.where_().unwrap().ends_with("revision a002 (upgrade), statement 2, line 2"), "{:?}", error.where_());
    // What came before it stays.
    assert_eq!(current(&mut app), ["a001"]);
    let failed = entries(&mut admin, "apply.failed");
    assert_eq!((&failed[0]["revision"], &failed[0]["statement_number"]), (&json!("a002"), &json!(2)));
    let error = apply(&mut app, "a003").unwrap_err();
    let error = error.as_db_error().unwrap();
    let Some(postgres::error::ErrorPosition::Internal { position, query }) = error.position() else { panic!("{error:?}") };
    assert_eq!((*position, query.as_str()), (8, "SELECT nosuch FROM t"));
}

#[test]
fn what_would_stop_a_later_step_is_said_before_the_first() {
    let server = Server::start();
    let chain = [revision("a001", &[], "CREATE TABLE t ()", "DROP TABLE t"), revision("a002", &["a001"], "DROP TABLE old", "")];
    let (mut admin, mut app) = submitted(&server, "needs", &chain);
    admin.batch_execute("CREATE TABLE old (); ALTER TABLE old OWNER TO app_owner; SELECT runbook.activate()").unwrap();
    assert_eq!(sqlstate(start(&mut app, "head")), "42501");
    let jobs: i64 = app.query_one("SELECT count(*) FROM runbook.jobs", &[]).unwrap().get(0);
    assert_eq!(jobs, 0);
    server.connect("needs", "bob").execute("SELECT runbook.approve('a002')", &[]).unwrap();
    apply(&mut app, "head").unwrap();
    assert_eq!(current(&mut app), ["a002"]);
}

#[test]
fn only_operators_start_and_stop_jobs_and_a_job_ends_with_the_role() {
    let server = Server::start();
    let (mut admin, mut app) =
        submitted(&server, "roles", &[piecemeal("a001", &[], "CREATE TABLE t (); SELECT pg_sleep(2)", "DROP TABLE t")]);
    let mut alice = server.connect("roles", "alice");
    let calls = ["start_upgrade('head')", "start_downgrade('base')", "cancel(1)", "pause(1)", "resume(1)"];
    for call in calls {
        assert_eq!(sqlstate(alice.query(&format!("SELECT runbook.{call}"), &[])), "42501", "{call}");
    }
    assert_eq!(sqlstate(server.connect("roles", "postgres").query("SELECT runbook.cancel(77)", &[])), "42704");
    // The role is looked at before each revision.
    submit(&mut alice, &revision("a002", &["a001"], "CREATE TABLE u ()", "DROP TABLE u")).unwrap();
    let job = start(&mut app, "head").unwrap();
    wait_until(20, "it sleeps", || column(&mut admin, job, "statement").contains("pg_sleep"));
    admin.batch_execute("REVOKE runbook_operator FROM app").unwrap();
    let error = wait(&mut admin, job).unwrap_err();
    assert!(error.as_db_error().unwrap().message().contains("no longer a member of runbook_operator"), "{error}");
    assert_eq!(current(&mut admin), ["a001"]);
    // Whoever resumes it makes it his own.
    admin.query_one("SELECT runbook.resume($1)", &[&job]).unwrap();
    wait(&mut admin, job).unwrap();
    assert_eq!(entries(&mut admin, "revision.applied").last().unwrap()["session_role"], "postgres");
    // A revision can't start one, nor can a function of somebody else's.
    admin.batch_execute("GRANT runbook_operator TO app").unwrap();
    submit(&mut alice, &revision("b001", &[], "SELECT runbook.start_upgrade('a001')", "")).unwrap();
    assert!(upgrade(&mut app, "b001").is_err());
    admin
        .batch_execute(
            "CREATE FUNCTION lend() RETURNS bigint LANGUAGE sql SECURITY DEFINER AS $$ SELECT runbook.start_upgrade('a001') $$",
        )
        .unwrap();
    assert_eq!(sqlstate(app.query("SELECT lend()", &[])), "42501");
}

#[test]
fn a_job_is_cancelled_in_the_middle_of_a_statement() {
    let server = Server::start();
    let chain = [
        revision("a001", &[], "CREATE TABLE t ()", "DROP TABLE t"),
        revision("a002", &["a001"], "CREATE TABLE u (); SELECT pg_sleep(60)", "DROP TABLE u"),
    ];
    let (mut admin, mut app) = submitted(&server, "cancel", &chain);
    let job = start(&mut app, "head").unwrap();
    wait_until(20, "it sleeps", || column(&mut app, job, "statement").contains("pg_sleep"));
    assert!(column(&mut app, job, "statement").starts_with("/* runbook job 1, revision a002 (upgrade), statement 2 */"));
    let began = Instant::now();
    assert!(app.query_one("SELECT runbook.cancel($1)", &[&job]).unwrap().get::<_, bool>(0));
    assert_eq!(sqlstate(wait(&mut app, job)), "57014");
    assert!(began.elapsed() < Duration::from_secs(5));
    assert_eq!(current(&mut app), ["a001"]);
    assert_eq!(entries(&mut admin, "apply.cancelled").len(), 1);
    assert!(!app.query_one("SELECT runbook.cancel($1)", &[&job]).unwrap().get::<_, bool>(0));
    // A DBA who cancels the worker's statement means the job.
    let again = start(&mut app, "head").unwrap();
    wait_until(20, "it sleeps", || column(&mut app, again, "statement").contains("pg_sleep"));
    admin.execute("SELECT pg_cancel_backend(worker_pid) FROM runbook.jobs WHERE job = $1", &[&again]).unwrap();
    assert_eq!(sqlstate(wait(&mut app, again)), "57014");
}

#[test]
fn a_request_that_is_not_committed_does_not_stop_the_work() {
    let server = Server::start();
    let chain = [
        revision("a001", &[], "SELECT pg_sleep(1)", ""),
        revision("a002", &["a001"], "CREATE TABLE t ()", "DROP TABLE t"),
        piecemeal("a003", &["a002"], "CREATE TABLE u (); VACUUM u", "DROP TABLE u"),
    ];
    let (mut admin, mut app) = submitted(&server, "open", &chain);
    let job = start(&mut app, "head").unwrap();
    wait_until(20, "it sleeps", || column(&mut app, job, "statement").contains("pg_sleep"));
    let mut other = server.connect("open", "app");
    let mut open = other.transaction().unwrap();
    open.query_one("SELECT runbook.pause($1)", &[&job]).unwrap();
    let steps = |admin: &mut Client| -> i64 { admin.query_one("SELECT count(*) FROM runbook.job_steps", &[]).unwrap().get(0) };
    wait_until(20, "all is done", || steps(&mut admin) == 3);
    // Its end is not: that waits for what becomes of the request.
    assert_eq!(column(&mut app, job, "state"), "running");
    open.rollback().unwrap();
    wait(&mut app, job).unwrap();
}

#[test]
fn a_job_that_is_paused_goes_on_where_it_stopped() {
    let server = Server::start();
    let statements = "CREATE TABLE a (); SELECT pg_sleep(0.5); CREATE TABLE b ()";
    let (mut admin, mut app) = submitted(&server, "pause", &[piecemeal("a001", &[], statements, "DROP TABLE a, b")]);
    let job = start(&mut app, "head").unwrap();
    wait_until(20, "it sleeps", || column(&mut app, job, "statement").contains("pg_sleep"));
    assert!(app.query_one("SELECT runbook.pause($1)", &[&job]).unwrap().get::<_, bool>(0));
    wait_for_state(&mut app, job, "paused");
    assert_eq!(sqlstate(wait(&mut app, job)), "55000");
    let tables = |admin: &mut Client| -> Vec<bool> {
        let row = admin.query_one("SELECT to_regclass('a') IS NOT NULL, to_regclass('b') IS NOT NULL", &[]).unwrap();
        vec![row.get(0), row.get(1)]
    };
    assert_eq!(tables(&mut admin), [true, false]);
    assert!(app.query_one("SELECT runbook.resume($1)", &[&job]).unwrap().get::<_, bool>(0));
    wait(&mut app, job).unwrap();
    assert_eq!(tables(&mut admin), [true, true]);
    assert_eq!(entries(&mut admin, "apply.statement").iter().filter(|one| one["tag"] == "CREATE TABLE").count(), 2);
    assert_eq!((entries(&mut admin, "apply.paused").len(), entries(&mut admin, "apply.resumed").is_empty()), (1, false));
}

#[test]
fn a_revision_that_changes_while_the_job_waits_does_not_run() {
    let server = Server::start();
    let chain = [
        piecemeal("a001", &[], "SELECT pg_sleep(1)", ""),
        revision("a002", &["a001"], "CREATE TABLE was_looked_at ()", "DROP TABLE was_looked_at"),
    ];
    let (mut admin, mut app) = submitted(&server, "changed", &chain);
    let job = start(&mut app, "head").unwrap();
    let mut alice = server.connect("changed", "alice");
    submit(&mut alice, &revision("a002", &["a001"], "CREATE TABLE was_not ()", "DROP TABLE was_not")).unwrap();
    let error = wait(&mut app, job).unwrap_err();
    assert!(error.as_db_error().unwrap().message().contains("submitted again since the job was planned"), "{error}");
    assert!(!admin.query_one("SELECT to_regclass('was_not') IS NOT NULL", &[]).unwrap().get::<_, bool>(0));
}

#[test]
fn a_revision_can_not_give_the_migrators_lock_away() {
    let server = Server::start();
    let chain = [
        piecemeal("a001", &[], "SELECT pg_advisory_unlock_all(); SELECT pg_sleep(1)", ""),
        revision("a002", &["a001"], "CREATE TABLE t ()", "DROP TABLE t"),
    ];
    let (_admin, mut app) = submitted(&server, "unlock", &chain);
    let job = start(&mut app, "head").unwrap();
    wait_until(20, "it sleeps", || column(&mut app, job, "statement").contains("pg_sleep"));
    let mut other = server.connect("unlock", "app");
    other.batch_execute("SET statement_timeout = '300ms'").unwrap();
    assert_eq!(sqlstate(upgrade(&mut other, "a002")), "57014", "the other one waits");
    wait(&mut app, job).unwrap();
    assert_eq!(current(&mut app), ["a002"]);
}

#[test]
fn a_worker_without_a_slot_is_started_by_whoever_waits() {
    let server = Server::start_with(&["max_worker_processes=1", "max_parallel_workers=0", "max_logical_replication_workers=0"]);
    let (mut admin, mut app) = submitted(&server, "slots", &[revision("a001", &[], "CREATE TABLE t ()", "DROP TABLE t")]);
    let mut other = server.database("other");
    submit(&mut server.connect("other", "alice"), &piecemeal("b001", &[], "SELECT pg_sleep(3)", "")).unwrap();
    let busy = start(&mut server.connect("other", "app"), "head").unwrap();
    wait_until(20, "it sleeps", || column(&mut other, busy, "statement").contains("pg_sleep"));
    let job = start(&mut app, "head").unwrap();
    // Workers that could not be started are none that have got nowhere.
    for _ in 0..15 {
        app.query_one("SELECT runbook.resume($1)", &[&job]).unwrap();
        assert_eq!(column(&mut app, job, "state"), "queued");
    }
    wait(&mut app, job).unwrap();
    assert!(admin.query_one("SELECT to_regclass('t') IS NOT NULL", &[]).unwrap().get::<_, bool>(0));
}

/// What an approved revision may try, once it runs in a worker whose login can do more than it.
#[test]
fn a_hostile_revision_stays_in_its_role_and_in_its_transaction() {
    let server = Server::start();
    let mut admin = server.database("hostile");
    admin
        .batch_execute(
            "GRANT runbook_operator TO postgres; SET ROLE app_owner; CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t VALUES (1, 1), (2, 2); \
             CREATE TABLE q (id int); CREATE TABLE seen (who text); \
             CREATE FUNCTION evil(int) RETURNS bool LANGUAGE plpgsql AS $f$ BEGIN \
                 PERFORM set_config('application_name', 'not the job', false); PERFORM set_config('role', 'none', false); \
                 INSERT INTO seen SELECT current_user; RETURN true; END $f$; \
             CREATE DOMAIN d AS int CHECK (evil(VALUE)); \
             CREATE FUNCTION payload() RETURNS text LANGUAGE sql AS $f$ SELECT current_user::text $f$; \
             CREATE FUNCTION opens(int) RETURNS int LANGUAGE plpgsql AS $f$ BEGIN \
                 IF $1 = 1 THEN EXECUTE 'DECLARE c CURSOR WITH HOLD FOR SELECT public.payload()'; END IF; RETURN $1; END $f$; \
             CREATE FUNCTION noted() RETURNS trigger LANGUAGE plpgsql AS $f$ BEGIN INSERT INTO seen SELECT current_user; RETURN NULL; END $f$; \
             CREATE CONSTRAINT TRIGGER late AFTER INSERT ON q DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION noted(); \
             CREATE FUNCTION side(int) RETURNS bool LANGUAGE plpgsql AS $f$ BEGIN INSERT INTO q VALUES (1); RETURN false; END $f$; RESET ROLE",
        )
        .unwrap();
    let mut alice = server.connect("hostile", "alice");
    let mut fails = |admin: &mut Client, revision: &serde_json::Value, sqlstate: &str| {
        submit(&mut alice, revision).unwrap();
        let error = apply(admin, revision["revision"].as_str().unwrap()).unwrap_err();
        assert_eq!(error.as_db_error().unwrap().code().code(), sqlstate, "{error:?}");
    };
    // Parse analysis of a statement at top level calls what it likes, as the migration role.
    let sql = "CREATE INDEX CONCURRENTLY t_i ON t ((id + ('{1}'::d[])[1]))";
    fails(&mut admin, &piecemeal("a001", &[], sql, ""), "42501");
    let sql = "UPDATE t SET v = opens(id) WHERE id BETWEEN :from AND :to";
    fails(&mut admin, &backfill("b001", &[], "table t; repeatable no", sql), "0A000");
    // What a condition has deferred happens in its role.
    let one = backfill("c001", &[], "table t; where side(id)", "UPDATE t SET v = 1 WHERE id BETWEEN :from AND :to");
    submit(&mut alice, &one).unwrap();
    apply(&mut admin, "c001").unwrap();
    let seen: Vec<String> = admin.query("SELECT DISTINCT who FROM seen", &[]).unwrap().iter().map(|row| row.get(0)).collect();
    assert_eq!(seen, ["app_owner"]);
    // A condition is one expression.
    for filter in ["true) OR (true", "true) LIMIT 1; DELETE FROM q; SELECT (1", "true) UNION SELECT (1", "1), (2"] {
        let one =
            backfill("d001", &[], &format!("table t; where {filter}"), "UPDATE t SET v = 1 WHERE id BETWEEN :from AND :to");
        let outcome = submit(&mut alice, &one);
        assert_eq!(sqlstate(outcome), "22023", "{filter}");
    }
    // An author's own 57014 is an error like any other.
    let sql = "DO $x$ BEGIN RAISE EXCEPTION 'important' USING ERRCODE = '57014'; END $x$";
    submit(&mut alice, &revision("e001", &[], sql, "")).unwrap();
    let error = apply(&mut admin, "e001").unwrap_err();
    assert_eq!(error.as_db_error().unwrap().message(), "important");
    // Locks that a statement at top level gives away let no second worker in.
    admin
        .batch_execute(
            "SET ROLE app_owner; CREATE FUNCTION unlocks(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $f$ BEGIN \
                 PERFORM pg_advisory_unlock_all(); PERFORM pg_sleep(0.7); RETURN $1; END $f$; RESET ROLE",
        )
        .unwrap();
    let sql = "CREATE TABLE once (); CREATE INDEX CONCURRENTLY t_u ON t (unlocks(v)); CREATE TABLE twice ()";
    submit(&mut alice, &piecemeal("f001", &[], sql, "")).unwrap();
    let job = start(&mut admin, "f001").unwrap();
    let mut other = server.connect("hostile", "app");
    wait_until(20, "it builds", || column(&mut other, job, "statement").contains("t_u"));
    for _ in 0..5 {
        let _ = other.query_one("SELECT runbook.resume($1)", &[&job]);
        std::thread::sleep(Duration::from_millis(150));
    }
    wait(&mut admin, job).unwrap();
    let ran = entries(&mut admin, "apply.statement").iter().filter(|one| one["revision"] == "f001").count();
    assert_eq!(ran, 3);
    // What an operator only reads starts nothing.
    admin
        .batch_execute(
            "CREATE FUNCTION tick() RETURNS bigint LANGUAGE sql AS $f$ SELECT runbook.start_downgrade('base') $f$; \
             CREATE VIEW harmless AS SELECT tick(); GRANT SELECT ON harmless TO app",
        )
        .unwrap();
    assert_eq!(sqlstate(other.query("SELECT * FROM harmless", &[])), "42501");
}

#[test]
fn what_was_done_in_part_counts_no_more_once_the_revision_was_applied() {
    let server = Server::start();
    let first = piecemeal("a001", &[], "CREATE TABLE x (a int); SELECT 1 / 0", "DROP TABLE x");
    let (mut admin, mut app) = submitted(&server, "stale", &[first]);
    let mut alice = server.connect("stale", "alice");
    assert!(apply(&mut app, "head").is_err());
    submit(&mut alice, &revision("a001", &[], "CREATE TABLE IF NOT EXISTS x (a int)", "DROP TABLE x")).unwrap();
    assert_eq!(upgrade(&mut app, "head").unwrap(), ["a001"]);
    app.query_one("SELECT runbook.downgrade('base')", &[]).unwrap();
    submit(&mut alice, &piecemeal("a001", &[], "CREATE TABLE x (a int); SELECT 1", "DROP TABLE x")).unwrap();
    apply(&mut app, "head").unwrap();
    assert!(admin.query_one("SELECT to_regclass('x') IS NOT NULL", &[]).unwrap().get::<_, bool>(0));
}

#[test]
fn a_job_that_is_cancelled_before_it_begins_does_not_begin() {
    let server = Server::start();
    let (mut admin, mut app) = submitted(&server, "early", &[revision("a001", &[], "CREATE TABLE t ()", "DROP TABLE t")]);
    let mut other = server.connect("early", "app");
    let mut transaction = other.transaction().unwrap();
    transaction.query_one("SELECT runbook.upgrade('head')", &[]).unwrap();
    let job = start(&mut app, "head").unwrap();
    wait_until(20, "it waits for the other one", || column(&mut app, job, "note").starts_with("waits for pid"));
    assert!(app.query_one("SELECT runbook.cancel($1)", &[&job]).unwrap().get::<_, bool>(0));
    transaction.rollback().unwrap();
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(column(&mut app, job, "state"), "cancelled");
    assert!(!admin.query_one("SELECT to_regclass('t') IS NOT NULL", &[]).unwrap().get::<_, bool>(0));
    // One whose login can't log in any more is in nobody's way.
    admin.batch_execute("CREATE ROLE leaver LOGIN; GRANT runbook_operator TO leaver").unwrap();
    let mut leaver = server.connect("early", "leaver");
    let mut transaction = leaver.transaction().unwrap();
    let lost: i64 = transaction.query_one("SELECT runbook.start_upgrade()", &[]).unwrap().get(0);
    admin.batch_execute("ALTER ROLE leaver NOLOGIN").unwrap();
    transaction.commit().unwrap();
    let job = start(&mut app, "head").unwrap();
    wait(&mut app, job).unwrap();
    let error = wait(&mut app, lost).unwrap_err();
    assert!(error.as_db_error().unwrap().message().contains("\"leaver\" does not exist or can't log in"), "{error}");
}
