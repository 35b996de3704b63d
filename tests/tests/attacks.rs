//! Ways in that were found by attacking, each closed: a hostile role, with a schema, operators, triggers, temporary tables
//! and settings of its own.
#![allow(clippy::unwrap_used, missing_docs, reason = "a panic is how a test fails")]

use postgres::Client;
use runbook_tests::jobs::{apply, backfill, piecemeal};
use runbook_tests::{Server, revision, sqlstate, submit, upgrade};

fn count(client: &mut Client, sql: &str) -> i64 {
    client.query_one(&format!("SELECT count(*) FROM {sql}"), &[]).unwrap().get(0)
}

/// An active database with a table of the migration role, and mallory, who owns a schema.
fn scene(server: &Server) -> Client {
    let mut admin = server.database("app");
    admin
        .batch_execute(
            "CREATE ROLE mallory LOGIN; CREATE SCHEMA mallory AUTHORIZATION mallory; \
             CREATE TABLE precious (id int PRIMARY KEY, note text); ALTER TABLE precious OWNER TO app_owner; \
             INSERT INTO precious VALUES (1, 'keep'); SELECT runbook.activate()",
        )
        .unwrap();
    admin
}

#[test]
fn hostile_operators_on_the_search_path_never_run_as_the_owner() {
    let server = Server::start();
    let mut admin = scene(&server);
    let mut mallory = server.connect("app", "mallory");
    for (left, right) in [("text", "text"), ("name", "name"), ("oid", "oid")] {
        mallory
            .batch_execute(&format!(
                "CREATE FUNCTION mallory.eq({left}, {right}) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN \
                 IF current_user OPERATOR(pg_catalog.<>) session_user THEN RAISE EXCEPTION 'runs as %', current_user; END IF; \
                 RETURN true; END $$; CREATE OPERATOR mallory.= (LEFTARG = {left}, RIGHTARG = {right}, FUNCTION = mallory.eq)"
            ))
            .unwrap();
    }
    mallory
        .batch_execute("SET search_path = mallory, pg_catalog; CREATE TABLE mallory.t (a int); ALTER TABLE mallory.t ADD b int")
        .unwrap();
    assert_eq!(sqlstate(mallory.batch_execute("DROP TABLE mallory.t")), "42501");
    assert_eq!(count(&mut admin, "pg_roles WHERE rolname = 'mallory' AND rolsuper"), 0);
}

#[test]
fn a_definer_function_or_a_trigger_cannot_borrow_an_identity() {
    let server = Server::start();
    let mut admin = scene(&server);
    admin.batch_execute("GRANT runbook_author, runbook_approver, runbook_operator TO mallory").unwrap();
    let mut mallory = server.connect("app", "mallory");
    submit(&mut mallory, &revision("evil", &[], "DROP TABLE precious", "")).unwrap();
    mallory
        .batch_execute(
            "CREATE FUNCTION mallory.lend() RETURNS text LANGUAGE sql SECURITY DEFINER AS $$ SELECT runbook.approve('evil') $$; \
             CREATE FUNCTION mallory.fire() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM runbook.approve('evil'); RETURN NEW; END $$; \
             CREATE TABLE mallory.book (x text); CREATE TRIGGER t BEFORE INSERT ON mallory.book FOR EACH ROW EXECUTE FUNCTION mallory.fire(); \
             GRANT USAGE ON SCHEMA mallory TO carol, bob; GRANT INSERT ON mallory.book TO carol, bob; GRANT EXECUTE ON FUNCTION mallory.lend() TO carol",
        )
        .unwrap();
    assert_eq!(sqlstate(server.connect("app", "carol").batch_execute("SELECT mallory.lend()")), "42501");
    assert_eq!(sqlstate(server.connect("app", "bob").batch_execute("INSERT INTO mallory.book VALUES ('hi')")), "42501");
    assert_eq!(count(&mut admin, "runbook.approvals"), 0);
    assert_eq!(sqlstate(upgrade(&mut mallory, "head")), "42501");
}

#[test]
fn temporary_tables_neither_hide_a_drop_from_policy_nor_stand_in_for_a_real_table() {
    let server = Server::start();
    let mut admin = scene(&server);
    let mut alice = server.connect("app", "alice");
    alice.batch_execute("CREATE TEMP TABLE precious ()").unwrap();
    submit(&mut alice, &revision("a001", &[], "DROP TABLE precious", "")).unwrap();
    assert_eq!(sqlstate(upgrade(&mut server.connect("app", "app"), "head")), "42501");
    assert_eq!(count(&mut admin, "precious"), 1);

    submit(&mut alice, &revision("a001", &[], "UPDATE precious SET note = 'changed'", "")).unwrap();
    let mut app = server.connect("app", "app");
    app.batch_execute("CREATE TEMP TABLE precious (id int, note text); INSERT INTO precious VALUES (1, 'decoy')").unwrap();
    upgrade(&mut app, "head").unwrap();
    assert_eq!(count(&mut admin, "public.precious WHERE note = 'changed'"), 1);
}

#[test]
fn what_a_caller_has_pending_runs_as_the_caller() {
    let server = Server::start();
    let mut admin = scene(&server);
    submit(&mut server.connect("app", "alice"), &revision("a001", &[], "SELECT 1", "")).unwrap();
    let mut app = server.connect("app", "app");
    app.batch_execute(
        "CREATE TEMP TABLE q (id int); CREATE FUNCTION pg_temp.f() RETURNS trigger LANGUAGE plpgsql AS \
         $$ BEGIN EXECUTE 'CREATE TABLE public.stolen ()'; RETURN NULL; END $$; \
         CREATE CONSTRAINT TRIGGER x AFTER INSERT ON q DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION pg_temp.f()",
    )
    .unwrap();
    app.batch_execute("BEGIN; INSERT INTO q VALUES (1)").unwrap();
    assert_eq!(sqlstate(upgrade(&mut app, "head")), "42501");
    app.batch_execute("ROLLBACK").unwrap();
    assert_eq!(count(&mut admin, "pg_class WHERE relname = 'stolen'"), 0);
}

#[test]
fn a_revision_leaves_nothing_behind_that_runs_as_its_caller() {
    let server = Server::start();
    scene(&server);
    let mut alice = server.connect("app", "alice");
    let mut app = server.connect("app", "app");
    submit(&mut alice, &revision("a001", &[], "DECLARE c CURSOR WITH HOLD FOR SELECT 1", "")).unwrap();
    assert_eq!(sqlstate(upgrade(&mut app, "head")), "0A000");
    submit(&mut alice, &revision("a001", &[], "DO $$ BEGIN EXECUTE 'DECLARE c CURSOR WITH HOLD FOR SELECT 1'; END $$", ""))
        .unwrap();
    assert_eq!(sqlstate(upgrade(&mut app, "head")), "0A000");
    submit(&mut alice, &revision("a001", &[], "SELECT 1", "")).unwrap();
    let mut holder = server.connect("app", "app");
    holder.batch_execute("BEGIN; DECLARE mine CURSOR WITH HOLD FOR SELECT 1; COMMIT").unwrap();
    assert_eq!(upgrade(&mut holder, "head").unwrap(), ["a001"], "what the caller has open is the caller's business");
    submit(&mut alice, &revision("a002", &["a001"], "SELECT 1", "")).unwrap();
    for sql in ["SET standard_conforming_strings = off", "SET session_replication_role = replica", "RESET ROLE"] {
        assert_eq!(sqlstate(submit(&mut alice, &revision("a002", &["a001"], sql, ""))), "0A000", "{sql}");
    }
    let sql = "SELECT set_config('standard_conforming_strings', 'off', false); SELECT '\\', '; CREATE TABLE hidden () --'";
    submit(&mut alice, &revision("a002", &["a001"], sql, "")).unwrap();
    assert_eq!(sqlstate(upgrade(&mut app, "head")), "42501");
}

#[test]
fn verification_is_judged_like_the_rest() {
    let server = Server::start();
    let mut admin = scene(&server);
    let mut sneaky = revision("a001", &[], "SELECT 1", "");
    sneaky["verify"] = "TRUNCATE precious".into();
    submit(&mut server.connect("app", "alice"), &sneaky).unwrap();
    assert_eq!(sqlstate(upgrade(&mut server.connect("app", "app"), "head")), "42501");
    assert_eq!(count(&mut admin, "precious"), 1);
}

#[test]
fn an_error_in_our_own_sql_leaves_a_usable_session() {
    let server = Server::start();
    let mut admin = scene(&server);
    let mut alice = server.connect("app", "alice");
    submit(&mut alice, &revision("a001", &[], "ALTER TABLE secret.t ADD b int", "")).unwrap();
    admin.batch_execute("CREATE SCHEMA secret; CREATE TABLE secret.t (a int)").unwrap();
    let mut app = server.connect("app", "app");
    assert_eq!(sqlstate(upgrade(&mut app, "head")), "42501");
    app.batch_execute("CREATE TEMP TABLE log (m text)").unwrap();
    app.batch_execute("DO $$ BEGIN INSERT INTO log VALUES ('before'); BEGIN PERFORM runbook.upgrade('head'); EXCEPTION WHEN OTHERS THEN NULL; END; END $$").unwrap();
    assert_eq!(count(&mut app, "log"), 1);
    // A lock that our own bookkeeping waits for, and a timeout in the middle of it.
    submit(&mut alice, &revision("a001", &[], "SELECT 1", "")).unwrap();
    let mut blocker = server.connect("app", "postgres");
    blocker.batch_execute("BEGIN; LOCK TABLE runbook.applied_head IN ACCESS EXCLUSIVE MODE").unwrap();
    app.batch_execute("SET statement_timeout = '300ms'").unwrap();
    assert_eq!(sqlstate(upgrade(&mut app, "head")), "57014");
    blocker.batch_execute("ROLLBACK").unwrap();
    assert_eq!(upgrade(&mut app, "head").unwrap(), ["a001"]);
    assert!(!server.log().contains("unexpected"), "{}", server.log());
}

#[test]
fn poisoned_labels_settings_and_schemas_are_refused() {
    let server = Server::start();
    let mut admin = scene(&server);
    let mut alice = server.connect("app", "alice");
    let mut poisoned = revision("lab", &[], "SELECT 1", "");
    for labels in [serde_json::json!(["lab"]), serde_json::json!(["l", "l"])] {
        poisoned["branch_labels"] = labels;
        assert_eq!(sqlstate(submit(&mut alice, &poisoned)), "22023");
    }
    for (key, value) in [("lock_timeout", "4294967295h"), ("search_path", "\"unclosed")] {
        let result = admin.query("SELECT runbook.configure($1, $2)", &[&key, &value]);
        assert_eq!(sqlstate(result), "22023", "{key}");
    }
    let mut root = server.connect("app", "root");
    assert_eq!(sqlstate(root.batch_execute("SELECT runbook.configure('migration_role', 'postgres')")), "42501");

    admin.batch_execute("CREATE DATABASE other").unwrap();
    let mut other = server.connect("other", "postgres");
    other.batch_execute("CREATE SCHEMA runbook AUTHORIZATION mallory").unwrap();
    assert_eq!(sqlstate(other.batch_execute("CREATE EXTENSION pg_runbook")), "3F000");
}

#[test]
fn the_ledger_cannot_be_changed_through_a_parent_table() {
    let server = Server::start();
    let mut admin = scene(&server);
    admin.batch_execute("CALL runbook.seal()").unwrap();
    admin.batch_execute("CREATE TABLE parent (LIKE runbook.entry)").unwrap();
    assert_eq!(sqlstate(admin.batch_execute("ALTER TABLE runbook.entry INHERIT parent")), "42501");
    admin.batch_execute("SET runbook.mode = off; ALTER TABLE runbook.entry INHERIT parent; RESET runbook.mode").unwrap();
    assert_eq!(sqlstate(admin.batch_execute("DELETE FROM parent")), "42501");
    assert_eq!(sqlstate(admin.batch_execute("UPDATE parent SET kind = 'forged'")), "42501");
    admin.batch_execute("SET runbook.mode = off; INSERT INTO runbook.unsealed VALUES (gen_random_uuid(), now(), 'x', 'no json', sha256('\\x00'::bytea || 'no json'::bytea))").unwrap();
    let row = admin.query_one("SELECT ok, problem FROM runbook.verify_ledger()", &[]).unwrap();
    assert_eq!((row.get::<_, bool>(0), row.get::<_, &str>(1)), (false, "the payload is not JSON"));
}

#[test]
fn inherited_columns_go_with_their_parent_and_what_is_missing_is_left_to_postgresql() {
    let server = Server::start();
    let mut admin = scene(&server);
    admin.batch_execute("SET ROLE app_owner; CREATE TABLE par (a int, b int) PARTITION BY LIST (a); CREATE TABLE par1 PARTITION OF par FOR VALUES IN (1); RESET ROLE").unwrap();
    submit(&mut server.connect("app", "alice"), &revision("a001", &[], "ALTER TABLE par DROP COLUMN b", "")).unwrap();
    server.connect("app", "bob").batch_execute("SELECT runbook.approve('a001')").unwrap();
    assert_eq!(upgrade(&mut server.connect("app", "app"), "head").unwrap(), ["a001"]);
    admin.batch_execute("DROP TABLE IF EXISTS nothing_here; DROP SCHEMA IF EXISTS nowhere").unwrap();
    assert_eq!(sqlstate(admin.batch_execute("DROP TABLE nothing_here")), "42P01");
}

#[test]
fn a_revision_cannot_change_the_runbook_while_it_is_applied() {
    let server = Server::start();
    let mut admin = scene(&server);
    admin.batch_execute("GRANT runbook_operator, runbook_author, runbook_approver, runbook_admin TO app_owner").unwrap();
    let mut alice = server.connect("app", "alice");
    let mut app = server.connect("app", "app");
    for call in [
        "upgrade('head')",
        "stamp('base', true)",
        "approve('a001')",
        "deactivate('please')",
        "set_policy('destructive', 'allow')",
    ] {
        submit(&mut alice, &revision("a001", &[], &format!("SELECT runbook.{call}"), "")).unwrap();
        assert_eq!(sqlstate(upgrade(&mut app, "head")), "55000", "{call}");
    }
    assert_eq!(count(&mut admin, "runbook.applied_head"), 0);
}

#[test]
fn nobody_can_hold_migrations_up_with_a_lock_on_the_extension() {
    let server = Server::start();
    let mut admin = scene(&server);
    admin.batch_execute("SELECT runbook.configure('migrator_wait', '0')").unwrap();
    submit(&mut server.connect("app", "alice"), &revision("a001", &[], "SELECT 1", "")).unwrap();
    let mut mallory = server.connect("app", "mallory");
    mallory
        .batch_execute(
            "CREATE FUNCTION mallory.f() RETURNS int LANGUAGE sql AS 'SELECT 1'; \
             BEGIN; ALTER FUNCTION mallory.f() DEPENDS ON EXTENSION pg_runbook",
        )
        .unwrap();
    assert_eq!(upgrade(&mut server.connect("app", "app"), "head").unwrap(), ["a001"]);
}

#[test]
fn our_own_statements_take_nobody_elses_operators() {
    let server = Server::start();
    let mut admin = scene(&server);
    admin
        .batch_execute(
            "GRANT CREATE ON SCHEMA public TO mallory; SELECT runbook.configure('alembic_version', 'on'); SET ROLE app_owner; \
             CREATE TABLE keyed (k varchar(10) PRIMARY KEY, v int); INSERT INTO keyed SELECT 'k' || g, 0 FROM generate_series(1, 3000) AS g; \
             RESET ROLE; ANALYZE keyed",
        )
        .unwrap();
    let [mut mallory, mut alice, mut app] = ["mallory", "alice", "app"].map(|user| server.connect("app", user));
    for (name, operator) in [("eq", "="), ("gt", ">"), ("ge", ">="), ("le", "<=")] {
        mallory
            .batch_execute(&format!(
                "CREATE FUNCTION mallory.{name}(varchar, varchar) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN \
                 RAISE EXCEPTION 'runs as %', current_user; END $$; \
                 CREATE OPERATOR public.{operator} (LEFTARG = varchar, RIGHTARG = varchar, FUNCTION = mallory.{name}); \
                 GRANT USAGE ON SCHEMA mallory TO PUBLIC"
            ))
            .unwrap();
    }
    submit(&mut alice, &revision("o001", &[], "SELECT 1", "SELECT 1")).unwrap();
    submit(&mut alice, &revision("o002", &["o001"], "SELECT 1", "SELECT 1")).unwrap();
    upgrade(&mut app, "o002").unwrap();
    app.batch_execute("SELECT runbook.downgrade('o001'), runbook.stamp('o002'), runbook.stamp('o001')").unwrap();
    let text = "UPDATE keyed SET v = 1 WHERE k::text OPERATOR(pg_catalog.>=) :from::text AND k::text OPERATOR(pg_catalog.<=) :to::text";
    let mut filled = revision("o003", &["o001"], text, "");
    filled["backfill"] = "table keyed; batch 1000".into();
    submit(&mut alice, &filled).unwrap();
    runbook_tests::jobs::apply(&mut app, "o003").unwrap();
    assert_eq!(count(&mut admin, "keyed WHERE v = 1"), 3000);
}

/// A table with a limit of five rows, and a hundred of them.
fn limited(admin: &mut Client) {
    admin
        .batch_execute(
            "CREATE TABLE kept (id int PRIMARY KEY, note text); INSERT INTO kept SELECT g, 'keep' FROM generate_series(1, 100) g; \
             CREATE TABLE other (id int PRIMARY KEY, n int); INSERT INTO other SELECT g, 0 FROM generate_series(1, 100) g; \
             ALTER TABLE kept OWNER TO app_owner; ALTER TABLE other OWNER TO app_owner; SELECT runbook.protect_table('kept', 5)",
        )
        .unwrap();
}

#[test]
fn all_transactions_of_a_revision_count_together() {
    for preload in [&["shared_preload_libraries=pg_runbook"][..], &[]] {
        let server = Server::start_with(preload);
        let mut admin = scene(&server);
        limited(&mut admin);
        let (mut alice, mut app) = (server.connect("app", "alice"), server.connect("app", "app"));
        let header = "table other; batch 4; repeatable no";
        let delete = "WITH gone AS (DELETE FROM kept WHERE id BETWEEN :from AND :to) UPDATE other SET n = 1 WHERE id BETWEEN :from AND :to";
        submit(&mut alice, &backfill("b1", &[], header, delete)).unwrap();
        let error = apply(&mut app, "b1").unwrap_err();
        let error = error.as_db_error().unwrap();
        assert!(error.code().code() == "42501" && error.detail().unwrap().contains("a transaction or a revision"), "{error:?}");
        assert_eq!(count(&mut admin, "kept"), 96);
        // Each revision begins with a count of its own, in the same job too.
        for (id, parent) in [("c1", None), ("c2", Some("c1"))] {
            let parents: Vec<&str> = parent.into_iter().collect();
            let block =
                "DO $$BEGIN FOR i IN 1..3 LOOP DELETE FROM kept WHERE id = (SELECT min(id) FROM kept); COMMIT; END LOOP; END$$";
            submit(&mut alice, &piecemeal(id, &parents, block, "")).unwrap();
        }
        apply(&mut app, "c2").unwrap();
        assert_eq!(count(&mut admin, "kept"), 90);
        let block =
            "DO $$BEGIN FOR i IN 1..6 LOOP DELETE FROM kept WHERE id = (SELECT min(id) FROM kept); COMMIT; END LOOP; END$$";
        submit(&mut alice, &piecemeal("c3", &["c2"], block, "")).unwrap();
        assert!(apply(&mut app, "c3").is_err());
        assert_eq!(count(&mut admin, "kept"), 85);
    }
}

#[test]
fn rows_count_under_the_table_that_was_protected_first() {
    let server = Server::start();
    let mut admin = scene(&server);
    admin
        .batch_execute(
            "CREATE TABLE p (x int); CREATE TABLE c1 () INHERITS (p); CREATE TABLE c2 () INHERITS (p); CREATE TABLE q (x int); \
             CREATE TABLE part (x int) PARTITION BY LIST (x); CREATE TABLE part_1 PARTITION OF part FOR VALUES IN (1); \
             INSERT INTO c1 SELECT g FROM generate_series(1, 4) g; INSERT INTO c2 SELECT * FROM c1; \
             SELECT runbook.protect_table('c2', 3); SELECT runbook.protect_table('p', 3); SELECT runbook.protect_table('part', 3)",
        )
        .unwrap();
    for (table, parent) in [("c1", "p"), ("c2", "p"), ("part_1", "part")] {
        let error = admin.batch_execute(&format!("SELECT runbook.protect_table('{table}', 3)")).unwrap_err();
        let error = error.as_db_error().unwrap();
        assert_eq!(error.code().code(), "55000", "{error:?}");
        assert!(error.hint().unwrap().contains(&format!("protect_table('public.{parent}', ROWS)")), "{error:?}");
    }
    // An heir of two.
    admin.batch_execute("ALTER TABLE c1 INHERIT q").unwrap();
    let error = admin.batch_execute("SELECT runbook.protect_table('q', 3)").unwrap_err();
    assert!(error.as_db_error().unwrap().detail().unwrap().contains("rows of public.c1"), "{error:?}");
    assert_eq!(sqlstate(admin.batch_execute("DELETE FROM p WHERE x <= 2")), "42501");
    // What has left its parent is a table of its own, and its parent's limit can still be lowered.
    admin.batch_execute("SELECT runbook.protect_table('p', 2)").unwrap();
    admin
        .batch_execute(
            "SELECT runbook.configure('preset', 'local'); SELECT runbook.unprotect_table('p'); ALTER TABLE c1 NO INHERIT p; \
             SELECT runbook.protect_table('c1', 3)",
        )
        .unwrap();
}

#[test]
fn a_large_object_that_a_revision_opens_is_closed_with_it() {
    let server = Server::start();
    let mut admin = scene(&server);
    admin.batch_execute("SELECT lo_from_bytea(77001, 'kept'); ALTER LARGE OBJECT 77001 OWNER TO app_owner").unwrap();
    let (mut alice, mut app) = (server.connect("app", "alice"), server.connect("app", "app"));
    submit(&mut alice, &revision("l1", &[], "SELECT lo_open(77001, 393216)", "")).unwrap();
    assert_eq!(sqlstate(app.batch_execute("SELECT lo_get(77001)")), "42501");
    app.batch_execute("BEGIN; SELECT runbook.upgrade('l1')").unwrap();
    assert_eq!(sqlstate(app.batch_execute("SELECT loread(0, 100)")), "42704");
    app.batch_execute("ROLLBACK").unwrap();
    // One's own is of no use to a revision, and can be opened again.
    submit(&mut alice, &revision("l2", &["l1"], "SELECT loread(0, 100)", "")).unwrap();
    app.batch_execute("BEGIN; SELECT lo_from_bytea(77003, 'mine'); SELECT lo_open(77003, 393216)").unwrap();
    assert_eq!(sqlstate(app.batch_execute("SELECT runbook.upgrade('l2')")), "42704");
    app.batch_execute("ROLLBACK").unwrap();
    app.batch_execute(
        "BEGIN; SELECT lo_from_bytea(77002, 'mine'); SELECT lo_open(77002, 393216); SELECT runbook.upgrade('l1')",
    )
    .unwrap();
    app.batch_execute("SELECT loread(lo_open(77002, 393216), 100); COMMIT").unwrap();
}
