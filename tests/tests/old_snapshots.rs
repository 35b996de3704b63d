//! Under REPEATABLE READ and SERIALIZABLE a transaction sees what was there when it began, and PostgreSQL acts on what is there now: so
//! does the guard. `tests/escapes.rs` runs its whole list so; here is what needs more than one session to prepare.
#![allow(clippy::unwrap_used, missing_docs, reason = "a panic is how a test fails")]

use postgres::Client;
use runbook_tests::{Server, revision, sqlstate, submit, upgrade};

const LEVELS: [&str; 2] = ["REPEATABLE READ", "SERIALIZABLE"];
const PRELOAD: [&str; 2] = ["shared_preload_libraries=", "shared_preload_libraries=pg_runbook"];

const SCENE: &str = "CREATE ROLE dba LOGIN IN ROLE app_owner; GRANT ALL ON SCHEMA public TO app_owner; SET ROLE app_owner; \
     CREATE TABLE precious (id int PRIMARY KEY, note text); INSERT INTO precious SELECT g, 'keep' FROM generate_series(1, 10) AS g; \
     CREATE TABLE child (id int, note text); INSERT INTO child SELECT g, 'keep' FROM generate_series(1, 10) AS g; \
     CREATE TABLE parted (k int, v int) PARTITION BY LIST (k); CREATE TABLE later (k int, v int); \
     INSERT INTO later SELECT 1, g FROM generate_series(1, 10) AS g; RESET ROLE; SELECT runbook.activate()";

/// A session in a transaction with a snapshot of now.
fn begin(server: &Server, user: &str, level: &str) -> Client {
    let mut client = server.connect("app", user);
    client.batch_execute(&format!("BEGIN ISOLATION LEVEL {level}; SELECT count(*) FROM pg_class")).unwrap();
    client
}

fn refuses(old: &mut Client, sql: &str) {
    old.batch_execute("SAVEPOINT before").unwrap();
    assert_eq!(sqlstate(old.batch_execute(sql).and_then(|()| old.batch_execute("COMMIT"))), "42501", "{sql}");
    old.batch_execute("ROLLBACK TO before").unwrap();
}

fn count(client: &mut Client, table: &str) -> i64 {
    client.query_one(&format!("SELECT count(*) FROM {table}"), &[]).unwrap().get(0)
}

#[test]
fn what_another_session_has_made_since_is_judged() {
    for (preload, level) in PRELOAD.into_iter().zip(LEVELS) {
        let server = Server::start_with(&["fsync=off", preload]);
        let mut admin = server.database("app");
        admin.batch_execute(SCENE).unwrap();
        let mut own = begin(&server, "postgres", level);
        let mut other = server.connect("app", "postgres");
        other
            .batch_execute(
                "CREATE TYPE pg_temp.ty AS (id int, note text); CREATE TYPE pg_temp.en AS ENUM ('a'); \
                 CREATE FUNCTION pg_temp.one() RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT 'a' $$; \
                 CREATE FUNCTION pg_temp.tr() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$",
            )
            .unwrap();
        let schema: String = other.query_one("SELECT pg_my_temp_schema()::regnamespace::text", &[]).unwrap().get(0);
        for sql in [
            "ALTER TABLE child OF {}.ty",
            "ALTER TABLE child ADD COLUMN goes {}.en",
            "ALTER TABLE child ADD COLUMN goes text GENERATED ALWAYS AS ({}.one()) STORED",
            "CREATE TRIGGER goes BEFORE INSERT ON child FOR EACH ROW EXECUTE FUNCTION {}.tr()",
            "CREATE VIEW goes AS SELECT {}.one()",
            "DO $$ BEGIN EXECUTE 'ALTER TABLE child OF {}.ty'; END $$",
        ] {
            refuses(&mut own, &sql.replace("{}", &schema));
        }
        assert_eq!(count(&mut admin, "child"), 10);
    }
}

#[test]
fn what_is_protected_since_is_protected() {
    for (preload, level) in PRELOAD.into_iter().zip(LEVELS) {
        let server = Server::start_with(&["fsync=off", preload]);
        let mut admin = server.database("app");
        admin.batch_execute(SCENE).unwrap();
        let mut old = begin(&server, "dba", level);
        admin
            .batch_execute(
                "SELECT runbook.protect_table('child', 3); SELECT runbook.protect_table('parted', 3); \
                 ALTER TABLE parted ATTACH PARTITION later FOR VALUES IN (1)",
            )
            .unwrap();
        for sql in [
            "ALTER TABLE child DISABLE TRIGGER ALL",
            "ALTER TABLE child DISABLE TRIGGER USER",
            "ALTER TABLE child ENABLE REPLICA TRIGGER a_runbook_rows",
            "DROP TABLE child",
            "DELETE FROM child",
            "UPDATE child SET note = ''",
            "TRUNCATE child",
            "ALTER TABLE parted DETACH PARTITION later",
            "DELETE FROM later",
            "DELETE FROM parted",
            "UPDATE parted SET v = 0",
        ] {
            refuses(&mut old, sql);
        }
        assert_eq!((count(&mut admin, "child"), count(&mut admin, "later")), (10, 10));
    }
}

#[test]
fn an_approval_covers_nothing_that_hangs_on_it_since() {
    for (preload, level) in PRELOAD.into_iter().zip(LEVELS) {
        let server = Server::start_with(&["fsync=off", preload]);
        let mut admin = server.database("app");
        admin.batch_execute(SCENE).unwrap();
        let mut alice = server.connect("app", "alice");
        submit(&mut alice, &revision("a001", &[], "DELETE FROM precious", "")).unwrap();
        submit(&mut alice, &revision("a002", &["a001"], "TRUNCATE precious CASCADE", "")).unwrap();
        let mut bob = server.connect("app", "bob");
        for id in ["a001", "a002"] {
            bob.batch_execute(&format!(
                "SELECT runbook.approve(r.revision, r.digest) FROM runbook.revisions AS r WHERE r.revision = '{id}'"
            ))
            .unwrap();
        }
        for target in ["a001", "a002"] {
            let mut old = begin(&server, "app", level);
            admin
                .batch_execute("ALTER TABLE child ADD CONSTRAINT key FOREIGN KEY (id) REFERENCES precious ON DELETE CASCADE")
                .unwrap();
            assert_eq!(sqlstate(upgrade(&mut old, target)), "42501", "{preload} {target}");
            drop(old);
            assert_eq!((count(&mut admin, "precious"), count(&mut admin, "child")), (10, 10), "{preload} {target}");
            admin.batch_execute("ALTER TABLE child DROP CONSTRAINT key").unwrap();
            upgrade(&mut server.connect("app", "app"), target).unwrap();
            admin.batch_execute("INSERT INTO precious SELECT g, 'keep' FROM generate_series(1, 10) AS g").unwrap();
        }
    }
}

#[test]
fn a_neighbour_is_guarded_from_its_activation_on() {
    for level in LEVELS {
        let server = Server::start_with(&["fsync=off", PRELOAD[1]]);
        let mut admin = server.database("app");
        let mut next = server.database("next");
        admin.batch_execute("CREATE ROLE service LOGIN").unwrap();
        admin.batch_execute("CREATE DATABASE plain").unwrap();
        let mut old = begin(&server, "postgres", level);
        next.batch_execute("SELECT runbook.activate()").unwrap();
        drop(next);
        let mut new = begin(&server, "postgres", "READ COMMITTED");
        let tries = |session: &mut Client, sql: &str| {
            session.batch_execute("SAVEPOINT before").unwrap();
            let result = session.batch_execute(sql);
            session.batch_execute("ROLLBACK TO before").unwrap();
            result.err().map(|error| error.as_db_error().unwrap().message().to_owned())
        };
        let mut refused = 0;
        for sql in [
            "ALTER DATABASE next RESET ALL",
            "ALTER DATABASE next RESET runbook.guarded",
            "ALTER DATABASE next RENAME TO gone",
            "ALTER DATABASE next OWNER TO service",
            "ALTER ROLE ALL IN DATABASE next RESET ALL",
            "ALTER ROLE service SUPERUSER",
            "ALTER ROLE runbook_approver RENAME TO someone",
            "GRANT runbook_approver TO service",
            "DROP ROLE service",
            "DELETE FROM pg_db_role_setting",
        ] {
            let said = tries(&mut new, sql);
            assert_eq!(tries(&mut old, sql), said, "{sql}");
            refused += i32::from(said.is_some());
        }
        assert!(refused >= 5, "{refused}");
        // Statements about a database that is not guarded pass.
        old.batch_execute("ALTER DATABASE plain SET work_mem = '8MB'; COMMIT").unwrap();
    }
}

#[test]
fn a_view_made_since_locks_nothing_of_ours() {
    for level in LEVELS {
        let server = Server::start_with(&["fsync=off", PRELOAD[1]]);
        let mut admin = server.database("app");
        admin.batch_execute(SCENE).unwrap();
        let mut old = begin(&server, "postgres", level);
        admin.batch_execute("CREATE VIEW through AS SELECT * FROM runbook.unsealed").unwrap();
        refuses(&mut old, "LOCK TABLE through IN ACCESS EXCLUSIVE MODE");
    }
}
