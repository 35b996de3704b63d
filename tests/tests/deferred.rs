//! Deferred constraints: they wait within a revision, speak at its end, and wait again afterwards.
#![allow(clippy::unwrap_used, missing_docs, reason = "a panic is how a test fails")]

use runbook_tests::{Server, revision, sqlstate, submit, upgrade};

const TABLES: &str = "CREATE TABLE parent (id int PRIMARY KEY); \
                      CREATE TABLE child (id int REFERENCES parent DEFERRABLE INITIALLY DEFERRED)";

fn orphan_first(id: i32) -> String {
    format!("INSERT INTO child VALUES ({id}); INSERT INTO parent VALUES ({id})")
}

#[test]
fn deferred_constraints_wait_within_every_revision_and_for_the_caller_afterwards() {
    let server = Server::start();
    let mut admin = server.database("app");
    let mut alice = server.connect("app", "alice");
    submit(&mut alice, &revision("a001", &[], TABLES, "")).unwrap();
    submit(&mut alice, &revision("a002", &["a001"], &orphan_first(1), "")).unwrap();
    submit(&mut alice, &revision("a003", &["a002"], &orphan_first(2), "")).unwrap();
    submit(&mut alice, &revision("a004", &["a003"], "SELECT 1", "")).unwrap();
    submit(&mut alice, &revision("a005", &["a004"], "INSERT INTO child VALUES (99)", "")).unwrap();
    upgrade(&mut server.connect("app", "app"), "a001").unwrap();
    assert_eq!(upgrade(&mut server.connect("app", "app"), "a003").unwrap(), ["a002", "a003"]);
    admin.batch_execute("BEGIN").unwrap();
    admin.query_one("SELECT runbook.upgrade('a004')", &[]).unwrap();
    admin.batch_execute(&orphan_first(3)).unwrap();
    admin.batch_execute("COMMIT").unwrap();
    let error = upgrade(&mut server.connect("app", "app"), "a005").unwrap_err();
    let db = error.as_db_error().unwrap();
    assert_eq!((db.code().code(), db.constraint(), db.table()), ("23503", Some("child_id_fkey"), Some("child")));
    assert!(db.where_().unwrap().contains("end of revision a005"), "{db:?}");
    assert_eq!(sqlstate(upgrade(&mut server.connect("app", "app"), "head")), "23503");
}
