//! Code is bound by an approval whatever way its name is written, and what is not bound does not run under it.
#![allow(clippy::unwrap_used, missing_docs, reason = "a panic is how a test fails")]

use postgres::Client;
use runbook_tests::{Server, revision, sqlstate, submit};

fn scene(server: &Server, name: &str) -> Client {
    let mut admin = server.database(name);
    admin
        .batch_execute(
            "SET ROLE app_owner; CREATE TABLE gold (id int PRIMARY KEY); INSERT INTO gold SELECT g FROM generate_series(1, 100) AS g; \
             RESET ROLE; \
             DO $$ BEGIN CREATE ROLE dba LOGIN IN ROLE app_owner, runbook_operator; EXCEPTION WHEN duplicate_object THEN NULL; END $$; \
             SELECT runbook.activate(), runbook.protect_table('gold', 5)",
        )
        .unwrap();
    admin
}

fn rows(admin: &mut Client) -> i64 {
    admin.query_one("SELECT count(*) FROM gold", &[]).unwrap().get(0)
}

/// A permit of dba's, approved by bob.
fn permit(server: &Server, name: &str, statement: &str) {
    let mut dba = server.connect(name, "dba");
    let permit: String = dba.query_one("SELECT runbook.request_permit($1, 'reason')", &[&statement]).unwrap().get(0);
    server.connect(name, "bob").execute("SELECT runbook.approve_permit($1)", &[&permit]).unwrap();
}

fn approved_revision(server: &Server, name: &str, id: &str, parents: &[&str], text: &str) {
    submit(&mut server.connect(name, "alice"), &revision(id, parents, text, "")).unwrap();
    server.connect(name, "bob").batch_execute(&format!("SELECT runbook.approve('{id}')")).unwrap();
}

#[test]
fn code_is_bound_however_its_name_is_written() {
    let server = Server::start_with(&["shared_preload_libraries=pg_runbook"]);
    let mut admin = scene(&server, "app");
    let long = "<".repeat(33);
    let hidden = |call: &str| format!("'x' <> E'a'\n'\\' -- ' AND {call}\n");
    let cases = [
        (r#""g g""#, hidden(r#""g g"(id)"#)),
        (r#""g.g""#, hidden(r#""g.g"(id)"#)),
        ("g$g", hidden("g$g(id)")),
        (r#""g g""#, hidden(r#"id OPERATOR(public.<->) 1"#)),
        ("gg", r#"U&"!0067g" UESCAPE '!' (id)"#.to_owned()),
        ("gg", r#"U&"\0067g"(id)"#.to_owned()),
        ("gg", format!("id {long}-20")),
    ];
    for (function, condition) in cases {
        let define = |body: &str| {
            format!(
                "SET ROLE app_owner; CREATE OR REPLACE FUNCTION {function}(int) RETURNS bool LANGUAGE sql AS 'SELECT $1 {body}'; \
                 CREATE OR REPLACE FUNCTION {function}(int, int) RETURNS bool LANGUAGE sql AS 'SELECT $1 {body}'"
            )
        };
        admin
            .batch_execute(&format!(
                "{}; CREATE OPERATOR public.<-> (FUNCTION = {function}, LEFTARG = int, RIGHTARG = int); \
                 CREATE OPERATOR public.{long} (FUNCTION = {function}, LEFTARG = int, RIGHTARG = int); RESET ROLE",
                define("<= 20")
            ))
            .unwrap();
        let text = format!("DELETE FROM gold WHERE {condition}");
        approved_revision(&server, "app", "r1", &[], &text);
        // Of a text that may be read in two ways no permit is given.
        let asked = server.connect("app", "dba").query_one("SELECT runbook.request_permit($1, 'reason')", &[&text]);
        if let Ok(row) = asked {
            server.connect("app", "bob").execute("SELECT runbook.approve_permit($1)", &[&row.get::<_, String>(0)]).unwrap();
        }
        server.connect("app", "dba").batch_execute(&define("<= 1000")).unwrap();
        assert_eq!(sqlstate(server.connect("app", "dba").batch_execute(&text)), "42501", "{text}");
        assert_eq!(sqlstate(server.connect("app", "app").batch_execute("SELECT runbook.upgrade('r1')")), "42501", "{text}");
        assert_eq!(rows(&mut admin), 100, "{text}");
        admin
            .batch_execute(&format!(
                "SELECT runbook.stamp('r1'), runbook.stamp('base'), runbook.break_glass('next'); \
                 DROP OPERATOR public.<-> (int, int); DROP OPERATOR public.{long} (int, int)"
            ))
            .unwrap();
    }
}

#[test]
fn code_in_a_string_with_escapes_is_bound() {
    let server = Server::start_with(&["shared_preload_libraries=pg_runbook"]);
    let mut admin = scene(&server, "app");
    let define = |body: &str| {
        format!("SET ROLE app_owner; CREATE OR REPLACE FUNCTION gg(int) RETURNS bool LANGUAGE sql AS 'SELECT $1 {body}'")
    };
    let cases = [r"E'BEGIN DELETE FROM gold WHERE\rgg(id); END'", r"E'BEGIN DELETE FROM gold WHERE \x67\147(id); END'"];
    for text in cases.map(|block| format!("DO {block}; DELETE FROM gold WHERE id = 1")) {
        admin.batch_execute(&format!("{}; RESET ROLE", define("<= 20"))).unwrap();
        approved_revision(&server, "app", "r1", &[], &text);
        server.connect("app", "dba").batch_execute(&define("<= 1000")).unwrap();
        assert_eq!(sqlstate(server.connect("app", "app").batch_execute("SELECT runbook.upgrade('r1')")), "42501", "{text}");
        assert_eq!(rows(&mut admin), 100, "{text}");
        admin.batch_execute("SELECT runbook.stamp('r1'), runbook.stamp('base')").unwrap();
    }
}

/// A function of PostgreSQL's that calls what an index is defined by, and is told the index by a name that is put together.
const BY_INDEX: &str = "DELETE FROM gold WHERE id <= 20 AND brin_summarize_new_values(('oth'||'er_f')::regclass) >= 0";

#[test]
fn what_no_word_names_does_not_run() {
    for preload in ["shared_preload_libraries=pg_runbook", "shared_preload_libraries="] {
        let server = Server::start_with(&[preload]);
        let mut admin = scene(&server, "app");
        let scene = "SET ROLE app_owner; CREATE FUNCTION f(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN $1; END'; \
                     CREATE TABLE other (id int); CREATE INDEX other_f ON other USING brin (f(id)) WITH (pages_per_range = 1); \
                     INSERT INTO other SELECT g FROM generate_series(1, 1000) AS g; RESET ROLE";
        admin.batch_execute(scene).unwrap();
        approved_revision(&server, "app", "r1", &[], BY_INDEX);
        permit(&server, "app", BY_INDEX);
        let refused = server.connect("app", "app").batch_execute("SELECT runbook.upgrade('r1')").unwrap_err();
        let error = refused.as_db_error().unwrap();
        assert_eq!(error.code().code(), "42501", "{preload}: {error}");
        assert_eq!(error.message(), "function public.f(integer) would run too, and the approval does not bind it");
        assert!(error.hint().unwrap().contains("SELECT runbook.approve('r1')"), "{error:?}");
        // What it had begun to do to the index, no rollback takes back.
        admin.batch_execute("REINDEX INDEX other_f").unwrap();
        admin.batch_execute("INSERT INTO other SELECT g FROM generate_series(1, 1000) AS g").unwrap();
        let mut dba = server.connect("app", "dba");
        // Where nothing is preloaded, what a statement enters is seen from when the library is loaded.
        dba.batch_execute("SELECT runbook.guard_status()").unwrap();
        let refused = dba.batch_execute(BY_INDEX).unwrap_err();
        assert!(refused.as_db_error().unwrap().message().contains("does not bind it"), "{preload}: {refused:?}");
        assert_eq!(rows(&mut admin), 100);
        // Named plainly it is bound.
        let plain = format!("{BY_INDEX} AND 'other_f' <> ''");
        permit(&server, "app", &plain);
        server.connect("app", "dba").batch_execute(&plain).unwrap();
        assert_eq!(rows(&mut admin), 80);
        assert!(admin.query_one("SELECT runbook.verify_ledger()::text NOT LIKE '(f%'", &[]).unwrap().get::<_, bool>(0));
    }
}

#[test]
fn a_cursor_that_somebody_else_has_opened_is_told() {
    let server = Server::start_with(&["shared_preload_libraries=pg_runbook"]);
    let mut admin = scene(&server, "app");
    admin
        .batch_execute(
            "SET ROLE app_owner; CREATE FUNCTION next_one() RETURNS int LANGUAGE plpgsql AS \
             $$ DECLARE c refcursor := 'theirs'; r int; BEGIN FETCH c INTO r; RETURN r; END $$; RESET ROLE",
        )
        .unwrap();
    submit(&mut server.connect("app", "alice"), &revision("r1", &[], "DELETE FROM gold WHERE id = next_one()", "")).unwrap();
    let sql = "SELECT string_agg(i::text, ' ') FROM runbook.inbox() AS i";
    let inbox: String = server.connect("app", "bob").query_one(sql, &[]).unwrap().get(0);
    assert!(inbox.contains("refcursor"), "{inbox}");
}

/// What statements reach by all the ways that there are.
const WIDE: &str = "\
    CREATE DOMAIN small AS int CHECK (is_small(VALUE)); \
    CREATE TABLE parts (id small, at date, n int GENERATED ALWAYS AS (twice(id)) STORED, t text DEFAULT word(), PRIMARY KEY (id, at)) PARTITION BY RANGE (at); \
    CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM ('2026-01-01') TO ('2027-01-01'); \
    CREATE TABLE parts_2 PARTITION OF parts DEFAULT; \
    CREATE TABLE child (gold int REFERENCES gold ON DELETE CASCADE, keep int REFERENCES keep, at date, p int, FOREIGN KEY (p, at) REFERENCES parts); \
    CREATE TABLE grandchild (gold int, FOREIGN KEY (gold) REFERENCES gold) PARTITION BY LIST (gold); \
    CREATE TABLE grandchild_1 PARTITION OF grandchild DEFAULT; \
    CREATE FUNCTION noted() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO log VALUES (word()); RETURN NULL; END $$; \
    CREATE TRIGGER noted AFTER DELETE OR INSERT ON gold FOR EACH ROW EXECUTE FUNCTION noted(); \
    CREATE CONSTRAINT TRIGGER late AFTER INSERT ON parts DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION noted(); \
    CREATE INDEX child_f ON child (twice(gold)); \
    CREATE STATISTICS child_s ON (twice(gold)) FROM child; \
    CREATE VIEW seen AS SELECT *, twice(id) FROM gold WHERE is_small(id); \
    CREATE MATERIALIZED VIEW kept AS SELECT count(*) FROM seen; \
    CREATE VIEW target AS SELECT id FROM gold; \
    CREATE RULE away AS ON INSERT TO target DO INSTEAD INSERT INTO log VALUES (word())";

#[test]
fn what_is_reached_by_dependencies_runs() {
    for preload in ["shared_preload_libraries=pg_runbook", "shared_preload_libraries="] {
        let server = Server::start_with(&[preload]);
        let mut admin = scene(&server, "app");
        let functions = "CREATE TABLE keep (id int PRIMARY KEY); CREATE TABLE log (w text); \
             CREATE FUNCTION is_small(int) RETURNS bool LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN $1 < 1000; END'; \
             CREATE FUNCTION twice(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN 2 * $1; END'; \
             CREATE FUNCTION word() RETURNS text LANGUAGE plpgsql AS $$ BEGIN RETURN 'w'; END $$";
        admin
            .batch_execute(&format!(
                "SELECT runbook.break_glass('scene'); CREATE EXTENSION citext SCHEMA public; SET ROLE app_owner; {functions}; {WIDE}; RESET ROLE; \
                 CREATE FUNCTION seen_ddl() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO log VALUES (word()); END $$; \
                 CREATE EVENT TRIGGER seen_ddl ON ddl_command_end EXECUTE FUNCTION seen_ddl()"
            ))
            .unwrap();
        let text = "\
            INSERT INTO keep SELECT g FROM generate_series(1, 10) AS g; \
            INSERT INTO parts (id, at) SELECT g, '2026-05-05' FROM generate_series(1, 10) AS g; \
            INSERT INTO child SELECT g, g, '2026-05-05', g FROM generate_series(1, 10) AS g; \
            CREATE TEMP TABLE mine AS SELECT id FROM seen; \
            DO $$ BEGIN CREATE TEMP TABLE inner_one (id int); INSERT INTO inner_one SELECT id FROM mine; UPDATE inner_one SET id = id; END $$; \
            CREATE FUNCTION fresh(int) RETURNS bool LANGUAGE plpgsql AS 'BEGIN RETURN $1 <= 20; END'; \
            CREATE TABLE extra (c citext PRIMARY KEY, v int CHECK (fresh(v))); INSERT INTO extra VALUES ('A', 1); \
            INSERT INTO target VALUES (5); REFRESH MATERIALIZED VIEW kept; ANALYZE child, parts; \
            UPDATE child SET keep = 1 WHERE gold IN (SELECT id FROM seen); \
            DELETE FROM gold WHERE fresh(id) AND id NOT IN (SELECT v FROM extra WHERE c = 'b'); \
            ALTER TABLE child ALTER keep TYPE bigint USING twice(keep); \
            DROP MATERIALIZED VIEW kept";
        approved_revision(&server, "app", "r1", &[], text);
        let done = server.connect("app", "app").batch_execute("SELECT runbook.upgrade('r1')");
        done.unwrap_or_else(|error| panic!("{preload}: {error:?}"));
        assert_eq!(rows(&mut admin), 80);
        for statement in [
            "DELETE FROM gold WHERE id IN (SELECT id FROM seen) AND id <= 40",
            "WITH x AS (INSERT INTO target VALUES (1)) DELETE FROM gold WHERE id <= 60",
            "DROP TABLE child, grandchild",
        ] {
            permit(&server, "app", statement);
            let done = server.connect("app", "dba").batch_execute(statement);
            done.unwrap_or_else(|error| panic!("{preload}: {statement}: {error:?}"));
        }
        assert_eq!(rows(&mut admin), 40);
    }
}

/// An additive revision needs nobody: what it makes may not be what an approval of another one has let through.
#[test]
fn a_revision_that_the_approver_did_not_know_does_not_change_what_is_bound() {
    let server = Server::start_with(&["shared_preload_libraries=pg_runbook"]);
    let overload = "CREATE FUNCTION is_old(int) RETURNS bool LANGUAGE sql AS 'SELECT true'";
    for (name, submitted_before, parents) in
        [("later", false, &[] as &[&str]), ("aside", true, &[]), ("sibling", false, &["r1"])]
    {
        let mut admin = scene(&server, name);
        let case = format!("submitted before: {submitted_before}, parents: {parents:?}");
        admin
            .batch_execute(
                "SET ROLE app_owner; \
                 CREATE FUNCTION is_old(bigint) RETURNS bool LANGUAGE sql AS 'SELECT $1 <= 2'; RESET ROLE",
            )
            .unwrap();
        let mut alice = server.connect(name, "alice");
        submit(&mut alice, &revision("r1", &[], "CREATE TABLE r (id int)", "DROP TABLE r")).unwrap();
        let deletes = "DELETE FROM gold WHERE is_old(id)";
        let child = revision("r2", &["r1"], deletes, "");
        let added = revision("a9", parents, overload, "");
        let mut app = server.connect(name, "app");
        if submitted_before {
            submit(&mut alice, &added).unwrap();
        }
        submit(&mut alice, &child).unwrap();
        server.connect(name, "bob").batch_execute("SELECT runbook.approve('r2')").unwrap();
        if !submitted_before {
            submit(&mut alice, &added).unwrap();
        }
        app.batch_execute("SELECT runbook.upgrade('a9')").expect(&case);
        assert_eq!(sqlstate(app.batch_execute("SELECT runbook.upgrade('r2')")), "42501", "{case}");
        assert_eq!(rows(&mut admin), 100, "{case}");
    }
}
