//! What a statement means may change while it waits for its lock: it is judged by what it finds then.
#![allow(clippy::unwrap_used, missing_docs, reason = "a panic is how a test fails")]

use postgres::Client;
use runbook_tests::{Server, revision, sqlstate, submit, upgrade, wait_until};
use std::thread;

const PRELOAD: [&str; 2] = ["shared_preload_libraries=", "shared_preload_libraries=pg_runbook"];

const SCENE: &str = "GRANT ALL ON SCHEMA public TO app_owner; SET ROLE app_owner; \
     CREATE TABLE small (id int PRIMARY KEY, c int); INSERT INTO small SELECT g, g FROM generate_series(1, 5) AS g; \
     CREATE TABLE precious (id int PRIMARY KEY, c numeric); INSERT INTO precious SELECT g, g + 0.456 FROM generate_series(1, 50) AS g; \
     CREATE VIEW shown AS SELECT 1 AS id; \
     CREATE TABLE parted (k int) PARTITION BY LIST (k); CREATE TABLE part1 PARTITION OF parted FOR VALUES IN (1); \
     CREATE TABLE part2 PARTITION OF parted FOR VALUES IN (2); RESET ROLE; \
     SELECT runbook.set_policy('breaking', 'record'); SELECT runbook.set_policy('destructive', 'require_approval'); \
     SELECT runbook.set_policy('blocking', 'record'); \
     CREATE SCHEMA lax AUTHORIZATION app_owner; SELECT runbook.set_policy('destructive', 'allow', 0, 'lax.*'); \
     SET ROLE app_owner; CREATE TABLE lax.gold (x int); CREATE TABLE gold (x int); CREATE SEQUENCE lax.counter; CREATE SEQUENCE counter; \
     SELECT nextval('counter'), nextval('counter'); CREATE VIEW lax.seen AS SELECT 1 AS id; CREATE TABLE lax.strict (x int); CREATE TABLE lax.entry (x int); RESET ROLE; \
     CREATE SCHEMA strict AUTHORIZATION app_owner; SET ROLE app_owner; CREATE TABLE strict.strict (x int); \
     CREATE SEQUENCE strict.counter; SELECT nextval('strict.counter'), nextval('strict.counter'); RESET ROLE; \
     CREATE EXTENSION hstore; CREATE FUNCTION swallow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$; \
     SELECT runbook.set_policy(c, 'require_approval', 1, 'strict.*') FROM unnest(ARRAY['breaking', 'blocking', 'security', 'additive']) AS c; \
     CREATE TABLE loose (k int) PARTITION BY LIST (k); ALTER TABLE loose OWNER TO app_owner; \
     CREATE TABLE loose1 PARTITION OF loose FOR VALUES IN (1); CREATE TABLE loose2 PARTITION OF loose FOR VALUES IN (2); \
     ALTER TABLE loose1 OWNER TO other_owner; ALTER TABLE loose2 OWNER TO other_owner; GRANT CREATE ON SCHEMA public TO other_owner; \
     SELECT runbook.protect_table('part2', 1), runbook.protect_table('loose2', 1);";

/// Has `waiting` wait for a lock that `change` takes, and go on once that is committed.
fn meanwhile<T: Send + 'static>(
    server: &Server,
    database: &str,
    who: &str,
    change: &str,
    mut session: Client,
    waiting: impl FnOnce(&mut Client) -> T + Send + 'static,
) -> T {
    let pid: i32 = session.query_one("SELECT pg_backend_pid()", &[]).unwrap().get(0);
    let mut other = server.connect(database, who);
    other.batch_execute(&format!("BEGIN; {change}")).unwrap();
    let thread = thread::spawn(move || waiting(&mut session));
    let mut watcher = server.connect(database, "postgres");
    wait_until(20, "it waits for the lock", || {
        let sql = "SELECT wait_event_type IS NOT DISTINCT FROM 'Lock' FROM pg_stat_activity WHERE pid = $1";
        watcher.query_one(sql, &[&pid]).unwrap().get(0)
    });
    other.batch_execute("COMMIT").unwrap();
    thread.join().unwrap()
}

fn start(preload: &str) -> Server {
    let server = Server::start_with(&["fsync=off", preload]);
    let mut scene = server.database("scene");
    scene.batch_execute("CREATE ROLE dba LOGIN IN ROLE app_owner; CREATE ROLE other_owner LOGIN").unwrap();
    scene.batch_execute(SCENE).unwrap();
    server
}

fn scene(preload: &str) -> (Server, Client) {
    let server = start(preload);
    let admin = database(&server, "app");
    (server, admin)
}

fn database(server: &Server, name: &str) -> Client {
    server.connect("postgres", "postgres").batch_execute(&format!("CREATE DATABASE {name} TEMPLATE scene")).unwrap();
    let mut admin = server.connect(name, "postgres");
    admin.batch_execute("SELECT runbook.activate()").unwrap();
    admin
}

fn is(admin: &mut Client, sql: &str) -> bool {
    admin.query_one(sql, &[]).unwrap().get(0)
}

const KEPT: &str = "SELECT sum(c) > 1297 FROM ONLY precious";

#[test]
fn a_statement_is_judged_by_what_it_finds_under_its_lock() {
    for preload in PRELOAD {
        let server = start(preload);
        let cases = [
            (
                "ALTER TABLE small RENAME TO away; ALTER TABLE precious RENAME TO small",
                "ALTER TABLE small ALTER c TYPE bigint",
                "SELECT sum(c) > 1297 FROM small",
            ),
            (
                "ALTER TABLE small RENAME c TO away; ALTER TABLE small ADD c numeric; UPDATE small SET c = 1.5",
                "ALTER TABLE small ALTER c TYPE bigint",
                "SELECT sum(c) = 7.5 FROM small",
            ),
            (
                "ALTER TABLE small ALTER c TYPE numeric; UPDATE small SET c = 1.5",
                "ALTER TABLE small ALTER c TYPE bigint",
                "SELECT sum(c) = 7.5 FROM small",
            ),
            (
                "ALTER TABLE small RENAME TO away; ALTER TABLE precious RENAME TO small",
                "ALTER TABLE small ALTER c TYPE bigint, ADD x int",
                "SELECT sum(c) > 1297 FROM small",
            ),
            (
                "ALTER TABLE small RENAME TO away; ALTER TABLE precious RENAME TO small",
                "DO $$ BEGIN EXECUTE 'ALTER TABLE small ALTER c TYPE bigint';END $$",
                "SELECT sum(c) > 1297 FROM small",
            ),
            (
                "ALTER VIEW shown RENAME TO away; ALTER TABLE precious RENAME TO shown",
                "CREATE RULE gone AS ON DELETE TO shown DO INSTEAD NOTHING",
                "SELECT NOT EXISTS (SELECT FROM pg_rules WHERE rulename = 'gone')",
            ),
            (
                "ALTER TABLE part1 RENAME TO away; ALTER TABLE part2 RENAME TO part1",
                "ALTER TABLE parted DETACH PARTITION part1",
                "SELECT relispartition FROM pg_class WHERE relname = 'part1'",
            ),
            (
                "ALTER TABLE lax.gold RENAME TO away",
                "SET search_path = lax, public; ALTER TABLE gold SET SCHEMA lax",
                "SELECT to_regclass('public.gold') IS NOT NULL",
            ),
            (
                "ALTER VIEW lax.seen RENAME TO away; ALTER TABLE gold RENAME TO seen",
                "SET search_path = lax, public; ALTER TABLE seen SET SCHEMA lax",
                "SELECT to_regclass('public.seen') IS NOT NULL",
            ),
            (
                "ALTER SEQUENCE lax.counter RENAME TO away",
                "SET search_path = lax, public; ALTER SEQUENCE counter SET SCHEMA lax",
                "SELECT to_regclass('public.counter') IS NOT NULL",
            ),
            // The guard's own tables, by a superuser.
            (
                "ALTER TABLE lax.entry RENAME TO away",
                "SET search_path = lax, runbook; CREATE TRIGGER t BEFORE INSERT ON entry FOR EACH ROW EXECUTE FUNCTION public.swallow()",
                "SELECT NOT EXISTS (SELECT FROM pg_trigger WHERE tgname = 't')",
            ),
            (
                "ALTER TABLE lax.strict RENAME TO away",
                "SET search_path = lax, strict; CREATE TRIGGER t BEFORE INSERT ON strict FOR EACH ROW EXECUTE FUNCTION public.swallow()",
                "SELECT NOT EXISTS (SELECT FROM pg_trigger WHERE tgname = 't')",
            ),
            (
                "ALTER TABLE lax.strict RENAME TO away",
                "SET search_path = lax, strict; CREATE UNIQUE INDEX i ON strict (x)",
                "SELECT to_regclass('strict.i') IS NULL",
            ),
            (
                "ALTER TABLE lax.strict RENAME TO away",
                "SET search_path = lax, strict; CREATE POLICY p ON strict",
                "SELECT NOT EXISTS (SELECT FROM pg_policy)",
            ),
            (
                "ALTER TABLE lax.strict RENAME TO away",
                "SET search_path = lax, strict; ALTER TABLE strict RENAME x TO y",
                "SELECT EXISTS (SELECT FROM pg_attribute WHERE attrelid = 'strict.strict'::regclass AND attname = 'x')",
            ),
            (
                "ALTER TABLE lax.strict RENAME TO away",
                "SET search_path = lax, strict; ALTER TABLE strict RENAME TO other",
                "SELECT to_regclass('strict.strict') IS NOT NULL",
            ),
            (
                "ALTER TABLE lax.strict RENAME TO away",
                "SET search_path = lax, strict; ALTER TABLE lax.gold INHERIT strict",
                "SELECT NOT EXISTS (SELECT FROM pg_inherits WHERE inhparent = 'strict.strict'::regclass)",
            ),
            (
                "ALTER SEQUENCE lax.counter RENAME TO away",
                "SET search_path = lax, strict; ALTER SEQUENCE counter RESTART",
                "SELECT last_value = 2 FROM strict.counter",
            ),
            (
                "SET LOCAL ROLE other_owner; ALTER TABLE loose1 RENAME TO away; ALTER TABLE loose2 RENAME TO loose1",
                "ALTER TABLE loose DETACH PARTITION loose1",
                "SELECT relispartition FROM pg_class WHERE relname = 'loose1'",
            ),
            (
                "SET LOCAL ROLE other_owner; ALTER TABLE loose1 RENAME TO away; ALTER TABLE loose2 RENAME TO loose1",
                "ALTER TABLE loose DETACH PARTITION loose1 CONCURRENTLY",
                "SELECT relispartition FROM pg_class WHERE relname = 'loose1'",
            ),
            (
                "ALTER TABLE lax.entry RENAME TO away",
                "SET search_path = lax, runbook; ALTER TRIGGER append_only ON entry DEPENDS ON EXTENSION hstore",
                "SELECT NOT EXISTS (SELECT FROM pg_depend WHERE deptype = 'x')",
            ),
            (
                "ALTER TABLE lax.entry RENAME TO away",
                "SET search_path = lax, runbook; CREATE TABLE public.forged () INHERITS (entry)",
                "SELECT to_regclass('public.forged') IS NULL",
            ),
        ];
        for (at, (change, sql, check)) in cases.into_iter().enumerate() {
            let name = format!("app{at}");
            let mut admin = database(&server, &name);
            let role = if sql.contains("runbook") { "postgres" } else { "app_owner" };
            let mut session = server.connect(&name, if role == "postgres" { role } else { "dba" });
            session.batch_execute(&format!("SET ROLE {role}")).unwrap();
            let change =
                if change.contains("ROLE") { change.to_owned() } else { format!("SET LOCAL ROLE app_owner; {change}") };
            let result = meanwhile(&server, &name, "postgres", &change, session, move |one| {
                // One by one: some must stand alone.
                sql.split("; ").try_for_each(|one_of_it| one.batch_execute(one_of_it))
            });
            let error = result.expect_err(sql);
            // Where PostgreSQL waits, and not the guard, it is found out afterwards.
            let expected = if sql.contains("SEQUENCE") || sql.contains("seen") { ["42501", "40001"] } else { ["42501"; 2] };
            assert!(expected.contains(&error.code().unwrap().code()), "{preload} {sql}: {error:?}");
            assert!(is(&mut admin, check), "{preload} {sql}");
        }
    }
}

#[test]
fn a_lock_is_judged_by_what_it_has_locked() {
    let server = start(PRELOAD[1]);
    let _admin = database(&server, "app");
    let change = "SET LOCAL ROLE app_owner; ALTER TABLE lax.entry RENAME TO away";
    let mut session = server.connect("app", "postgres");
    session.batch_execute("SET search_path = lax, runbook").unwrap();
    let result =
        meanwhile(&server, "app", "dba", change, session, |one| one.batch_execute("BEGIN; LOCK TABLE entry IN SHARE MODE"));
    assert_eq!(sqlstate(result), "42501");
}

#[test]
fn a_revision_is_judged_by_what_it_finds_under_its_lock() {
    for preload in PRELOAD {
        let (server, mut admin) = scene(preload);
        submit(&mut server.connect("app", "alice"), &revision("a001", &[], "ALTER TABLE small ALTER c TYPE bigint", ""))
            .unwrap();
        let change = "ALTER TABLE small RENAME TO away; ALTER TABLE precious RENAME TO small";
        let result = meanwhile(
            &server,
            "app",
            "dba",
            &format!("SET LOCAL ROLE app_owner; {change}"),
            server.connect("app", "app"),
            |app| upgrade(app, "head"),
        );
        assert_eq!(sqlstate(result), "42501", "{preload}");
        assert!(is(&mut admin, "SELECT sum(c) > 1297 FROM small"), "{preload}");
        admin.batch_execute("ALTER TABLE small RENAME TO precious; ALTER TABLE away RENAME TO small").unwrap();
        assert_eq!(upgrade(&mut server.connect("app", "app"), "head").unwrap(), ["a001"]);
    }
}

#[test]
fn what_changes_nothing_of_it_is_no_hindrance() {
    for preload in PRELOAD {
        let (server, mut admin) = scene(preload);
        for (change, sql) in [
            ("ALTER TABLE small ADD x int", "ALTER TABLE small ALTER c TYPE bigint"),
            (
                "LOCK TABLE small",
                "ALTER TABLE small ADD PRIMARY KEY (id), ADD y serial, ADD z int REFERENCES precious, ADD CHECK (c > 0)",
            ),
            ("LOCK TABLE parted", "ALTER TABLE parted ADD COLUMN w int, ALTER k SET NOT NULL"),
            ("LOCK TABLE parted", "ALTER TABLE parted DETACH PARTITION part1"),
            ("LOCK TABLE parted", "ALTER TABLE parted ATTACH PARTITION part1 FOR VALUES IN (1)"),
            ("LOCK TABLE small", "ALTER TABLE small INHERIT precious; ALTER TABLE small NO INHERIT precious"),
        ] {
            if sql.contains("ADD PRIMARY KEY") {
                admin.batch_execute("ALTER TABLE small DROP CONSTRAINT small_pkey").unwrap_or_default();
            }
            if sql.contains("INHERIT precious") {
                admin
                    .batch_execute("SET runbook.mode = off; ALTER TABLE small ALTER c TYPE numeric; RESET runbook.mode")
                    .unwrap();
            }
            let session = server.connect("app", "dba");
            let result =
                meanwhile(&server, "app", "dba", &format!("SET LOCAL ROLE app_owner; {change}"), session, move |dba| {
                    dba.batch_execute(&format!("SET ROLE app_owner; {sql}"))
                });
            assert!(result.is_ok(), "{preload} {sql}: {result:?}");
        }
        assert!(is(&mut admin, KEPT));
    }
}

#[test]
fn rules_that_change_twice_are_read_twice() {
    for preload in PRELOAD {
        let (server, mut admin) = scene(preload);
        let mut dba = server.connect("app", "dba");
        admin
            .batch_execute(
                "GRANT runbook_auditor TO dba; CREATE TABLE plain (x int, y int); ALTER TABLE plain OWNER TO app_owner",
            )
            .unwrap();
        let sql = "SELECT verdict FROM runbook_internal.policy_in_force() WHERE class = 'destructive' AND objects IS NULL";
        dba.batch_execute("SET ROLE app_owner; CREATE TABLE warm (); RESET ROLE; BEGIN; SELECT 1").unwrap();
        for verdict in ["allow", "deny", "allow", "require_approval", "allow", "deny"] {
            let _: String = dba.query_one(sql, &[]).unwrap().get(0);
            admin.batch_execute(&format!("SELECT runbook.set_policy('destructive', '{verdict}')")).unwrap();
            for _ in 0..2 {
                let seen: String = dba.query_one(sql, &[]).unwrap().get(0);
                assert_eq!(seen, verdict, "{preload}");
            }
        }
        admin.batch_execute("SELECT runbook.set_policy('destructive', 'allow')").unwrap();
        let seen: String = dba.query_one(sql, &[]).unwrap().get(0);
        assert_eq!(seen, "allow");
        admin.batch_execute("SELECT runbook.set_policy('destructive', 'deny')").unwrap();
        // Whatever makes the session hear of it before it asks.
        dba.batch_execute("COMMIT; SET ROLE app_owner; CREATE TABLE other ()").unwrap();
        assert_eq!(sqlstate(dba.batch_execute("ALTER TABLE plain DROP COLUMN y")), "42501", "{preload}");
    }
}
