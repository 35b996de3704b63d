//! pg_dump carries the runbook and its ledger; what is restored verifies, and is inert.
#![allow(clippy::unwrap_used, missing_docs, reason = "a panic is how a test fails")]

use runbook_tests::{Server, revision, submit, succeed, upgrade};

#[test]
fn a_restored_copy_verifies_and_is_inert_until_it_is_activated() {
    let server = Server::start();
    let mut admin = server.database("app");
    admin.batch_execute("SELECT runbook.activate()").unwrap();
    submit(&mut server.connect("app", "alice"), &revision("a001", &[], "CREATE TABLE t (id int)", "DROP TABLE t")).unwrap();
    upgrade(&mut server.connect("app", "app"), "head").unwrap();
    let file = server.directory().join("app.dump").display().to_string();
    for format in ["custom", "plain"] {
        let restored = format!("restored_{format}");
        admin.batch_execute(&format!("CREATE DATABASE {restored}")).unwrap();
        succeed(server.program("pg_dump").args(["-d", "app", "--format", format, "-f", &file]));
        match format {
            "custom" => succeed(server.program("pg_restore").args(["-d", &restored, "--exit-on-error", &file])),
            _ => succeed(server.program("psql").args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", &restored, "-f", &file])),
        };
        let mut copy = server.connect(&restored, "postgres");
        let row = copy.query_one("SELECT ok, entries FROM runbook.verify_ledger()", &[]).unwrap();
        let original: i64 = admin.query_one("SELECT count(*) FROM runbook.ledger", &[]).unwrap().get(0);
        assert_eq!((row.get::<_, bool>(0), row.get::<_, i64>(1)), (true, original));
        assert_eq!(copy.query_one("SELECT revision FROM runbook.current()", &[]).unwrap().get::<_, &str>(0), "a001");
        let status =
            copy.query_one("SELECT active, detail FROM runbook.guard_status() WHERE layer = 'activation'", &[]).unwrap();
        assert!(!status.get::<_, bool>(0));
        assert!(status.get::<_, &str>(1).contains("INERT"), "{status:?}");
        copy.batch_execute("DROP TABLE t").unwrap();
        copy.batch_execute("SELECT runbook.activate(); CREATE TABLE u ()").unwrap();
        let refused = copy.batch_execute("DROP TABLE u").unwrap_err();
        assert_eq!(refused.as_db_error().unwrap().code().code(), "42501");
    }
}

#[test]
fn protected_tables_are_protected_in_what_is_restored() {
    let server = Server::start();
    let mut admin = server.database("app");
    server.connect("postgres", "postgres").batch_execute("CREATE DATABASE restored").unwrap();
    admin
        .batch_execute(
            "CREATE TABLE t (id int); INSERT INTO t SELECT generate_series(1, 100); CREATE TABLE p (k int) PARTITION BY LIST (k); \
             CREATE TABLE p1 PARTITION OF p FOR VALUES IN (1); CREATE TABLE p2 PARTITION OF p FOR VALUES IN (2); \
             INSERT INTO p SELECT g % 2 + 1 FROM generate_series(1, 16) AS g; \
             SELECT runbook.protect_table('t', 10), runbook.protect_table('p', 10); SELECT runbook.activate()",
        )
        .unwrap();
    let file = server.directory().join("app.dump").display().to_string();
    succeed(server.program("pg_dump").args(["-d", "app", "--format", "custom", "-f", &file]));
    succeed(server.program("pg_restore").args(["-d", "restored", "--exit-on-error", &file]));
    let mut copy = server.connect("restored", "postgres");
    copy.batch_execute("SELECT runbook.activate()").unwrap();
    for (sql, passes) in [
        ("DELETE FROM t", false),
        ("DELETE FROM t WHERE id <= 10", true),
        ("DELETE FROM p", false),
        ("DELETE FROM p1", true),
        ("TRUNCATE t", false),
    ] {
        let result = copy.batch_execute(sql);
        assert_eq!(result.is_ok(), passes, "{sql}: {result:?}");
    }
}

/// It reads every column of type oid, and would need privileges that only the runbook has.
#[test]
fn vacuumlo_runs_for_an_ordinary_login() {
    let server = Server::start();
    let mut admin = server.database("app");
    admin.batch_execute("SELECT runbook.activate()").unwrap();
    let run = || server.program("vacuumlo").args(["-U", "alice", "-n", "app"]).output().unwrap();
    let ran = run();
    assert!(ran.status.success(), "{ran:?}");
    admin.batch_execute("CREATE TABLE private (number oid)").unwrap();
    assert!(String::from_utf8_lossy(&run().stderr).contains("permission denied for table private"), "it reads no columns");
}

#[test]
fn a_changed_ledger_entry_is_found() {
    let server = Server::start();
    let mut admin = server.database("app");
    admin.batch_execute("SELECT runbook.activate()").unwrap();
    admin
        .batch_execute("SET runbook.mode = off; ALTER TABLE runbook.unsealed DISABLE TRIGGER ALL; \
                        UPDATE runbook.unsealed SET payload = replace(payload, 'postgres', 'somebody') WHERE kind = 'guard.activated'")
        .unwrap();
    let row = admin.query_one("SELECT ok, bad, problem FROM runbook.verify_ledger()", &[]).unwrap();
    assert_eq!((row.get::<_, bool>(0), row.get::<_, i64>(1)), (false, 1));
    assert_eq!(row.get::<_, &str>(2), "the payload does not match its leaf hash");
}
