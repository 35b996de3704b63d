//! Revisions with `transaction: off`: what runs by itself, what it leaves behind when it fails, and what is not touched.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use postgres::Client;
use runbook_tests::jobs::{apply, column, entries, invalid_indexes, piecemeal, start, wait};
use runbook_tests::{Server, revision, sqlstate, submit, upgrade, wait_until};

fn scene(server: &Server, database: &str) -> (Client, Client, Client) {
    let mut admin = server.database(database);
    admin
        .batch_execute(
            "CREATE TABLE t (id int PRIMARY KEY, v int, w int); \
             INSERT INTO t SELECT i, i % 10, i FROM generate_series(1, 2000) i; ALTER TABLE t OWNER TO app_owner",
        )
        .unwrap();
    (admin, server.connect(database, "alice"), server.connect(database, "app"))
}

fn status(admin: &mut Client, revision: &str) -> String {
    admin.query_one("SELECT status FROM runbook.revisions WHERE revision = $1", &[&revision]).unwrap().get(0)
}

#[test]
fn what_can_not_be_transactional_is_refused_where_it_is_not_declared() {
    let server = Server::start();
    let (_admin, mut alice, mut app) = scene(&server, "refused");
    for sql in [
        "CREATE INDEX CONCURRENTLY t_v ON t (v)",
        "DROP INDEX CONCURRENTLY t_pkey",
        "REINDEX TABLE CONCURRENTLY t",
        "REINDEX (VERBOSE, CONCURRENTLY) INDEX t_pkey",
        "REINDEX SCHEMA public",
        "VACUUM t",
        "VACUUM (FULL) t",
        "CLUSTER",
        "ALTER SYSTEM SET work_mem = '8MB'",
        "CREATE DATABASE d",
        "DROP DATABASE IF EXISTS d",
        "CREATE TABLESPACE s LOCATION '/nowhere'",
        "DROP TABLESPACE s",
        "ALTER TABLE t DETACH PARTITION u CONCURRENTLY",
        "ALTER DATABASE d SET TABLESPACE s",
        "CREATE SUBSCRIPTION s CONNECTION 'host=nowhere' PUBLICATION p",
        "DROP SUBSCRIPTION s",
        "ALTER SUBSCRIPTION s REFRESH PUBLICATION",
        "ALTER SUBSCRIPTION s SET PUBLICATION p",
    ] {
        let error = submit(&mut alice, &revision("a001", &[], sql, "")).unwrap_err();
        let error = error.as_db_error().unwrap();
        assert_eq!(error.code().code(), "25001", "{sql}: {error:?}");
        assert!(error.hint().unwrap().contains("-- transaction: off"), "{error:?}");
        submit(&mut alice, &piecemeal("b001", &[], sql, "")).unwrap_or_else(|error| panic!("{sql}: {error:?}"));
        assert_eq!(sqlstate(submit(&mut alice, &revision("c001", &[], "", sql))), "25001", "{sql}");
        let mut verified = piecemeal("d001", &[], "", "");
        verified["verify"] = sql.into();
        assert_eq!(sqlstate(submit(&mut alice, &verified)), "25001", "{sql}");
    }
    for sql in [
        "CREATE INDEX t_v ON t (v)",
        "REINDEX TABLE t",
        "ANALYZE t",
        "CLUSTER t USING t_pkey",
        "CREATE SUBSCRIPTION s CONNECTION 'host=nowhere' PUBLICATION p WITH (connect = false)",
        "ALTER DATABASE d SET work_mem = '8MB'",
        "ALTER SUBSCRIPTION s SET PUBLICATION p WITH (refresh = false)",
    ] {
        submit(&mut alice, &revision("e001", &[], sql, "")).unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    }
    // An atomic call says who can.
    let error = upgrade(&mut app, "b001").unwrap_err();
    let error = error.as_db_error().unwrap();
    assert_eq!(error.code().code(), "25001");
    assert!(error.hint().unwrap().contains("runbook.start_upgrade('b001')"), "{error:?}");
}

#[test]
fn each_statement_runs_by_itself_and_once() {
    let server = Server::start();
    let (mut admin, mut alice, mut app) = scene(&server, "each");
    admin
        .batch_execute(
            "CREATE TABLE p (id int) PARTITION BY RANGE (id); CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10); \
             ALTER TABLE p OWNER TO app_owner; ALTER TABLE p1 OWNER TO app_owner; CREATE TYPE mood AS ENUM ('fine'); \
             ALTER TYPE mood OWNER TO app_owner; CREATE TABLE log (note text, at bigint DEFAULT txid_current()); GRANT ALL ON log TO app_owner",
        )
        .unwrap();
    let sql = "INSERT INTO log VALUES ('first');
        CREATE INDEX CONCURRENTLY t_v ON t (v);
        CREATE INDEX CONCURRENTLY ON t (w);
        REINDEX INDEX CONCURRENTLY t_v;
        ALTER TYPE mood ADD VALUE 'better';
        INSERT INTO log SELECT 'better'::mood::text;
        VACUUM (ANALYZE) t;
        ALTER TABLE p DETACH PARTITION p1 CONCURRENTLY;
        DROP INDEX CONCURRENTLY t_w_idx";
    let mut one = piecemeal("a001", &[], sql, "DROP INDEX CONCURRENTLY t_v");
    one["verify"] = "SELECT 1 / count(*) FROM pg_indexes WHERE indexname = 't_v'".into();
    submit(&mut alice, &one).unwrap();
    // 55P04 where it is one transaction, with what to do about it.
    let whole = "ALTER TYPE mood ADD VALUE 'best'; INSERT INTO log SELECT 'best'::mood::text";
    submit(&mut alice, &revision("b001", &[], whole, "")).unwrap();
    let error = apply(&mut app, "b001").unwrap_err();
    let error = error.as_db_error().unwrap();
    assert_eq!(error.code().code(), "55P04");
    assert!(error.hint().unwrap().contains("transaction: off"), "{error:?}");
    apply(&mut app, "a001").unwrap();
    let rows = admin.query("SELECT note FROM log GROUP BY at, note ORDER BY note", &[]).unwrap();
    assert_eq!(rows.iter().map(|row| row.get(0)).collect::<Vec<String>>(), ["better", "first"]);
    let detached: bool = admin.query_one("SELECT NOT relispartition FROM pg_class WHERE relname = 'p1'", &[]).unwrap().get(0);
    let owner: String = admin.query_one("SELECT tableowner FROM pg_tables WHERE tablename = 't'", &[]).unwrap().get(0);
    assert_eq!((detached, owner.as_str()), (true, "app_owner"));
    let statements = entries(&mut admin, "apply.statement");
    let numbers: Vec<i64> = statements
        .iter()
        .filter(|one| one["section"] == "upgrade" && one["revision"] == "a001")
        .map(|one| one["statement_number"].as_i64().unwrap())
        .collect();
    assert_eq!(numbers, (1..=9).collect::<Vec<_>>());
    assert!(statements.iter().all(|one| one["current_role"] == "app_owner"));
    let left: i64 = admin
        .query_one(
            "SELECT (SELECT count(*) FROM runbook.statement_progress) + (SELECT count(*) FROM runbook.built_relation)",
            &[],
        )
        .unwrap()
        .get(0);
    assert_eq!((left, invalid_indexes(&mut admin)), (0, vec![]));
    let back: i64 = app.query_one("SELECT runbook.start_downgrade('-1')", &[]).unwrap().get(0);
    wait(&mut app, back).unwrap();
    assert_eq!(status(&mut admin, "a001"), "reverted");
}

#[test]
fn a_build_that_fails_leaves_no_invalid_index_and_the_next_job_goes_on_there() {
    let server = Server::start();
    let (mut admin, mut alice, mut app) = scene(&server, "fails");
    let sql = "CREATE TABLE first (); CREATE UNIQUE INDEX CONCURRENTLY t_v ON t (v); CREATE TABLE last ()";
    submit(&mut alice, &piecemeal("a001", &[], sql, "")).unwrap();
    let error = apply(&mut app, "head").unwrap_err();
    let error = error.as_db_error().unwrap();
    assert_eq!((error.code().code(), error.constraint()), ("23505", Some("t_v")));
    assert!(error.where_().unwrap().contains("revision a001 (upgrade), statement 2, line 1"), "{:?}", error.where_());
    assert_eq!((invalid_indexes(&mut admin), status(&mut admin, "a001").as_str()), (vec![], "pending"));
    // What is done is not done again; the rows are mended.
    admin.batch_execute("UPDATE t SET v = id").unwrap();
    apply(&mut app, "head").unwrap();
    assert_eq!(status(&mut admin, "a001"), "applied");
    let numbers: Vec<i64> =
        entries(&mut admin, "apply.statement").iter().map(|one| one["statement_number"].as_i64().unwrap()).collect();
    assert_eq!(numbers, [1, 2, 3]);
}

#[test]
fn a_revision_that_is_submitted_again_keeps_the_statements_whose_text_stays() {
    let server = Server::start();
    let (mut admin, mut alice, mut app) = scene(&server, "again");
    submit(&mut alice, &piecemeal("a001", &[], "CREATE TABLE first (); SELECT 1 / 0", "")).unwrap();
    assert_eq!(sqlstate(apply(&mut app, "head")), "22012");
    submit(&mut alice, &piecemeal("a001", &[], "CREATE TABLE first (); CREATE TABLE second ()", "")).unwrap();
    apply(&mut app, "head").unwrap();
    assert_eq!(status(&mut admin, "a001"), "applied");
}

#[test]
fn an_invalid_index_that_is_not_ours_is_reported_and_stays() {
    let server = Server::start();
    let (mut admin, mut alice, mut app) = scene(&server, "stranger");
    assert_eq!(sqlstate(admin.batch_execute("CREATE UNIQUE INDEX CONCURRENTLY t_v ON t (v)")), "23505");
    assert_eq!(invalid_indexes(&mut admin), ["t_v"]);
    // IF NOT EXISTS would take it for the index that is wanted.
    let sql = "CREATE INDEX CONCURRENTLY IF NOT EXISTS t_v ON t (v)";
    submit(&mut alice, &piecemeal("a001", &[], sql, "")).unwrap();
    let error = apply(&mut app, "head").unwrap_err();
    let error = error.as_db_error().unwrap();
    assert_eq!((error.code().code(), error.message()), ("55000", "index public.t_v exists and is INVALID"));
    assert!(error.hint().unwrap().contains("DROP INDEX CONCURRENTLY public.t_v"), "{error:?}");
    assert_eq!(invalid_indexes(&mut admin), ["t_v"]);
    // Another one on the same table is in nobody's way.
    submit(&mut alice, &piecemeal("b001", &[], "CREATE INDEX CONCURRENTLY t_w ON t (w); SELECT pg_sleep(1)", "")).unwrap();
    let job = start(&mut app, "b001").unwrap();
    wait_until(20, "it is reported", || column(&mut app, job, "note").contains("public.t_v (INVALID)"));
    wait(&mut app, job).unwrap();
    assert_eq!(invalid_indexes(&mut admin), ["t_v"]);
}

#[test]
fn a_cancelled_build_is_cleaned_up() {
    let server = Server::start();
    let (mut admin, mut alice, mut app) = scene(&server, "cancelled");
    submit(&mut alice, &piecemeal("a001", &[], "CREATE INDEX CONCURRENTLY t_v ON t (v)", "")).unwrap();
    let mut writer = server.connect("cancelled", "postgres");
    writer.batch_execute("BEGIN; UPDATE t SET v = 1 WHERE id = 1").unwrap();
    let job = start(&mut app, "head").unwrap();
    wait_until(20, "it waits for the writer", || column(&mut app, job, "waiting_for").contains("idle in transaction"));
    assert_eq!(invalid_indexes(&mut admin), ["t_v"]);
    app.query_one("SELECT runbook.cancel($1)", &[&job]).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(300));
    writer.batch_execute("COMMIT").unwrap();
    assert_eq!(sqlstate(wait(&mut app, job)), "57014");
    assert_eq!(invalid_indexes(&mut admin), Vec::<String>::new());
}

#[test]
fn what_outlasts_a_transaction_is_judged_and_covered_like_everything_else() {
    let server = Server::start_with(&["shared_preload_libraries=pg_runbook"]);
    let (mut admin, mut alice, mut app) = scene(&server, "judged");
    admin
        .batch_execute(
            "CREATE INDEX t_w ON t (w); GRANT ALTER SYSTEM ON PARAMETER work_mem TO app_owner; \
             SELECT runbook.configure('preset', 'production'); SELECT runbook.activate()",
        )
        .unwrap();
    submit(&mut alice, &piecemeal("a001", &[], "DROP INDEX CONCURRENTLY t_w; ALTER SYSTEM SET work_mem = '5MB'", "")).unwrap();
    assert_eq!(sqlstate(start(&mut app, "head")), "42501");
    server.connect("judged", "bob").execute("SELECT runbook.approve('a001')", &[]).unwrap();
    let started = start(&mut app, "head");
    if started.is_err() {
        server.connect("judged", "eve").execute("SELECT runbook.approve('a001')", &[]).unwrap();
    }
    let job = start(&mut app, "head").unwrap();
    wait(&mut app, job).unwrap();
    assert_eq!(status(&mut admin, "a001"), "applied");
    assert!(admin.query_one("SELECT to_regclass('t_w') IS NULL", &[]).unwrap().get::<_, bool>(0));
}
