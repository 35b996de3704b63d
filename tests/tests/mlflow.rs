//! A real Alembic project, end to end: MLflow's chain is imported, submitted, approved and applied by SQL call, and the
//! schema equals the one that Alembic itself makes, on the way up, one step down, and up again.
#![allow(clippy::unwrap_used, missing_docs, reason = "a panic is how a test fails")]

use runbook_tests::{Server, python, succeed};
use std::process::Command;

const INITIAL: &str = "mlflow.store.db.utils:InitialBase.metadata.create_all";

fn script(server: &Server, code: &str) -> String {
    let mut command = Command::new(python());
    server.point(&mut command);
    let output = succeed(command.args(["-c", &format!("{PRELUDE}\n{code}")]));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

const PRELUDE: &str = "
import logging; logging.disable(logging.CRITICAL)
from alembic import command
from sqlalchemy import create_engine
from mlflow.store.db.utils import InitialBase, _get_alembic_config, _upgrade_db, _verify_schema
theirs, ours = 'postgresql+psycopg2:///theirs', 'postgresql+psycopg2:///ours'
";

fn schema(server: &Server, database: &str) -> String {
    let output = succeed(server.program("pg_dump").args(["--schema-only", "--schema=public", "--no-owner", "-d", database]));
    // pg_dump's \restrict lines hold a random token.
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().filter(|line| !line.starts_with('\\')).map(|line| format!("{line}\n")).collect()
}

/// Compares two dumps and shows the first line that differs: the dumps themselves fill a screen a hundred times.
fn assert_same_schema(server: &Server) {
    let (ours, theirs) = (schema(server, "ours"), schema(server, "theirs"));
    assert!(ours.lines().count() > 1000, "the dump is not empty");
    if let Some((at, (ours, theirs))) = ours.lines().zip(theirs.lines()).enumerate().find(|(_, (ours, theirs))| ours != theirs)
    {
        panic!("line {at} differs\n  ours:   {ours}\n  theirs: {theirs}");
    }
    assert_eq!(ours.len(), theirs.len());
}

#[test]
fn mlflow_migrates_by_sql_call_to_the_schema_that_alembic_makes() {
    let server = Server::start();
    let mut admin = server.database("ours");
    admin.batch_execute("CREATE DATABASE theirs").unwrap();
    server.connect("theirs", "postgres").batch_execute("GRANT CREATE ON SCHEMA public TO app_owner").unwrap();
    admin
        .batch_execute("SELECT runbook.configure('migration_role', NULL); SELECT runbook.configure('alembic_version', 'on'); SELECT runbook.activate()")
        .unwrap();

    let directory = tempfile::tempdir().unwrap();
    let location = script(&server, "import mlflow.store.db_migrations as m; print(list(m.__path__)[0])");
    let output = succeed(
        server.runbook("postgres", "postgres", directory.path()).args(["import", "alembic", "--initial", INITIAL]).args([
            "--ini",
            &format!("{location}/alembic.ini"),
            "--script-location",
            &location,
            "--python",
            &python().display().to_string(),
        ]),
    );
    let report = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(report.contains("imported 67 revisions"), "{report}");
    assert!(report.contains("2b4d017a5e9b: no way back: the downgrade fails under Alembic"), "{report}");
    assert!(report.contains("90e64c465722: read rows"), "{report}");

    succeed(server.runbook("ours", "alice", directory.path()).arg("submit"));
    let refused = admin.query_one("SELECT runbook.upgrade('head')", &[]).unwrap_err();
    assert_eq!(refused.as_db_error().unwrap().code().code(), "42501", "destructive revisions need an approval: {refused}");
    let mut bob = server.connect("ours", "bob");
    bob.query("SELECT runbook.approve(revision, 'imported') FROM runbook.revisions", &[]).unwrap();

    let applied: Vec<String> = admin.query_one("SELECT runbook.upgrade('head')", &[]).unwrap().get(0);
    assert_eq!(applied.len(), 67);
    script(&server, "e = create_engine(theirs); InitialBase.metadata.create_all(e); _upgrade_db(e)");
    assert_same_schema(&server);
    assert_eq!(script(&server, "_verify_schema(create_engine(ours)); print('accepted')"), "accepted");

    let head = applied.last().unwrap();
    let reverted: Vec<String> = admin.query_one("SELECT runbook.downgrade('-1')", &[]).unwrap().get(0);
    assert_eq!(&reverted, std::slice::from_ref(head));
    script(&server, "command.downgrade(_get_alembic_config(theirs), '-1')");
    assert_same_schema(&server);

    let again: Vec<String> = admin.query_one("SELECT runbook.upgrade('head')", &[]).unwrap().get(0);
    assert_eq!(&again, std::slice::from_ref(head));
    script(&server, "command.upgrade(_get_alembic_config(theirs), 'head')");
    assert_same_schema(&server);
    assert_eq!(script(&server, "_verify_schema(create_engine(ours)); print('accepted')"), "accepted");

    let row = admin.query_one("SELECT ok, entries FROM runbook.verify_ledger()", &[]).unwrap();
    assert!(row.get::<_, bool>(0));
    assert!(row.get::<_, i64>(1) > 400, "every statement is in the ledger");
}
