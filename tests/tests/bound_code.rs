//! An approval binds the code that the approved statements reach: functions, operators, casts, types, and what tables run by themselves.
#![allow(clippy::unwrap_used, missing_docs, reason = "a panic is how a test fails")]

use postgres::{Client, Error};
use runbook_tests::{Server, revision, sqlstate, submit, upgrade, wait_until};

/// A guarded database with a table of three rows, and `admin`, who has broken the glass.
fn scene(server: &Server, name: &str, setup: &str) -> Client {
    let mut admin = server.database(name);
    admin
        .batch_execute(
            "CREATE TABLE precious (id int PRIMARY KEY, note text, gone int); INSERT INTO precious SELECT i, 'keep' FROM generate_series(1, 3) i; \
             GRANT ALL ON SCHEMA public TO app_owner",
        )
        .unwrap();
    admin.batch_execute(setup).unwrap();
    admin.batch_execute("ALTER TABLE precious OWNER TO app_owner; SELECT runbook.activate()").unwrap();
    admin.batch_execute("SELECT runbook.break_glass('the test meddles', '1 hour')").unwrap();
    admin
}

fn approve(server: &Server, name: &str, id: &str) {
    server.connect(name, "bob").execute("SELECT runbook.approve($1)", &[&id]).unwrap();
}

fn why(error: &Error) -> String {
    let error = error.as_db_error().unwrap_or_else(|| panic!("{error:?}"));
    format!("{} {} {}", error.code().code(), error.message(), error.detail().unwrap_or_default())
}

/// Submits and approves `text`, lets `meddle` happen, and applies it: what it was refused with.
fn outcome(server: &Server, name: &str, setup: &str, text: &str, meddle: &str) -> Option<String> {
    let mut admin = scene(server, name, setup);
    submit(&mut server.connect(name, "alice"), &revision("r1", &[], text, "")).unwrap();
    approve(server, name, "r1");
    admin.batch_execute(meddle).unwrap_or_else(|error| panic!("{name}: {error:?}"));
    upgrade(&mut server.connect(name, "app"), "r1").err().map(|error| why(&error))
}

const CLEAN: &str = "CREATE FUNCTION clean(text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT btrim($1)'";
const SWAP: &str = "CREATE OR REPLACE FUNCTION clean(text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT NULL::text'";
const USING: &str = "ALTER TABLE precious ALTER note TYPE text USING clean(note)";
const TRIGGER: &str = "CREATE FUNCTION fire() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'; \
                       CREATE TRIGGER fires BEFORE UPDATE ON precious FOR EACH ROW EXECUTE FUNCTION fire()";
const FIRE: &str =
    "CREATE OR REPLACE FUNCTION fire() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.note := NULL; RETURN NEW; END'";
const TOUCH: &str = "ALTER TABLE precious DROP COLUMN gone; UPDATE precious SET note = note";

#[test]
fn refuses_other_code_than_was_approved() {
    let server = Server::start_with(&["fsync=off"]);
    let is_not = "is not what it was when it was approved";
    let cases: [(&str, &str, &str, &str, &str); 19] = [
        ("function", CLEAN, USING, SWAP, "function public.clean(pg_catalog.text) is not what it was"),
        (
            "operator",
            &format!(
                "{CLEAN}; CREATE FUNCTION op(text, int) RETURNS text LANGUAGE sql AS 'SELECT $1'; CREATE OPERATOR ### (LEFTARG = text, RIGHTARG = int, FUNCTION = op)"
            ),
            "ALTER TABLE precious ALTER note TYPE text USING note###1",
            "CREATE OR REPLACE FUNCTION op(text, int) RETURNS text LANGUAGE sql AS 'SELECT NULL::text'",
            is_not,
        ),
        (
            "casts",
            "CREATE TYPE pair AS (a text); CREATE FUNCTION pair(text) RETURNS pair LANGUAGE sql IMMUTABLE AS 'SELECT row($1)::pair'; \
             CREATE FUNCTION made(text) RETURNS pair LANGUAGE sql IMMUTABLE AS 'SELECT row($1)::pair'; \
             CREATE CAST (text AS pair) WITH FUNCTION made(text)",
            "ALTER TABLE precious ALTER note TYPE pair USING note::pair",
            "CREATE OR REPLACE FUNCTION made(text) RETURNS pair LANGUAGE sql IMMUTABLE AS 'SELECT row(NULL)::pair'",
            "function public.made",
        ),
        (
            "domain",
            "CREATE DOMAIN code AS text CHECK (length(value) < 100)",
            "ALTER TABLE precious ALTER note TYPE code USING left(note, 1)",
            "ALTER DOMAIN code DROP CONSTRAINT code_check; ALTER DOMAIN code ADD CHECK (length(value) < 200)",
            "domain constraint code_check on public.code is not what it was",
        ),
        (
            "domain_default",
            "CREATE DOMAIN code AS text DEFAULT 'a'",
            "ALTER TABLE precious DROP COLUMN gone, ADD COLUMN more code",
            "ALTER DOMAIN code SET DEFAULT 'b'",
            "type public.code is not what it was",
        ),
        ("trigger_function", TRIGGER, TOUCH, FIRE, "function public.fire() is not what it was"),
        ("trigger", CLEAN, TOUCH, TRIGGER, "would run too, and was not among what was approved"),
        (
            "trigger_disabled",
            TRIGGER,
            TOUCH,
            "ALTER TABLE precious DISABLE TRIGGER fires",
            "trigger fires on public.precious is not",
        ),
        (
            "nested",
            &format!(
                "{CLEAN}; CREATE FUNCTION outer_one(text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RETURN clean($1); END $$"
            ),
            "ALTER TABLE precious ALTER note TYPE text USING outer_one(note)",
            SWAP,
            is_not,
        ),
        (
            "atomic",
            &format!("{CLEAN}; CREATE FUNCTION outer_one(text) RETURNS text BEGIN ATOMIC SELECT clean($1); END"),
            "ALTER TABLE precious ALTER note TYPE text USING outer_one(note)",
            SWAP,
            is_not,
        ),
        (
            "overload",
            CLEAN,
            "ALTER TABLE precious ALTER note TYPE text USING clean(note::varchar)",
            "CREATE FUNCTION clean(varchar) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT NULL::text'",
            "would run too",
        ),
        ("recreated", CLEAN, USING, &format!("DROP FUNCTION clean(text); {CLEAN}"), is_not),
        (
            "dropped",
            &format!("{CLEAN}; CREATE FUNCTION clean(varchar) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT NULL::text'"),
            "ALTER TABLE precious ALTER note TYPE text USING clean(note::varchar)",
            "DROP FUNCTION clean(varchar)",
            "was dropped since it was approved",
        ),
        (
            "default_value",
            CLEAN,
            "ALTER TABLE precious DROP COLUMN gone; INSERT INTO precious (id) VALUES (4)",
            "ALTER TABLE precious ALTER note SET DEFAULT 'x'",
            "default value for public.precious.note would run too",
        ),
        ("check_function", &format!("{CLEAN}; ALTER TABLE precious ADD CHECK (clean(note) <> '')"), TOUCH, SWAP, is_not),
        (
            "view",
            &format!(
                "{CLEAN}; CREATE VIEW seen AS SELECT id, clean(note) AS note FROM precious; GRANT SELECT ON seen TO app_owner"
            ),
            "ALTER TABLE precious DROP COLUMN gone; UPDATE precious SET note = (SELECT v.note FROM seen v WHERE v.id = precious.id)",
            SWAP,
            is_not,
        ),
        (
            "block",
            CLEAN,
            "ALTER TABLE precious DROP COLUMN gone; DO $$ BEGIN UPDATE precious SET note = \"clean\"(note); END $$",
            SWAP,
            is_not,
        ),
        (
            "cascade",
            "CREATE TABLE child (id int REFERENCES precious ON DELETE CASCADE); CREATE FUNCTION fire() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN OLD; END'; \
             CREATE TRIGGER fires BEFORE DELETE ON child FOR EACH ROW EXECUTE FUNCTION fire()",
            "ALTER TABLE precious DROP COLUMN gone; DELETE FROM precious WHERE id = 1",
            "CREATE OR REPLACE FUNCTION fire() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
            is_not,
        ),
        ("owner", CLEAN, USING, "ALTER FUNCTION clean(text) SECURITY DEFINER", is_not),
    ];
    for (name, setup, text, meddle, part) in cases {
        let refused = outcome(&server, name, setup, text, meddle).unwrap_or_else(|| panic!("{name} was covered"));
        assert!(refused.starts_with("42501") && refused.contains(part), "{name}: {refused}");
        // Another approval is for what is there now.
        approve(&server, name, "r1");
        let again = upgrade(&mut server.connect(name, "app"), "r1");
        assert!(again.as_ref().err().is_none_or(|error| !why(error).starts_with("42501")), "{name}: {again:?}");
    }
}

#[test]
fn covers_what_no_approved_statement_reaches() {
    let server = Server::start_with(&["fsync=off"]);
    let other = format!("{CLEAN}; CREATE FUNCTION other(text) RETURNS text LANGUAGE sql AS 'SELECT clean($1)'");
    let cases: [(&str, &str, &str, &str); 6] = [
        ("unrelated", &other, USING, "CREATE OR REPLACE FUNCTION other(text) RETURNS text LANGUAGE sql AS 'SELECT 1::text'"),
        (
            "grants",
            CLEAN,
            USING,
            "GRANT EXECUTE ON FUNCTION clean(text) TO PUBLIC; ALTER FUNCTION clean(text) COST 7; ANALYZE precious",
        ),
        ("new_column", CLEAN, USING, "ALTER TABLE precious ADD COLUMN later int; CREATE INDEX ON precious (note)"),
        ("dropping", TRIGGER, "ALTER TABLE precious DROP COLUMN gone", FIRE),
        ("same_body", CLEAN, USING, &CLEAN.replace("CREATE", "CREATE OR REPLACE")),
        ("protected", CLEAN, USING, "SELECT runbook.protect_table('precious', 1000)"),
    ];
    for (name, setup, text, meddle) in cases {
        assert_eq!(outcome(&server, name, setup, text, meddle), None, "{name}");
    }
}

/// Applies a chain that was approved as a whole; `meddle` happens before its second revision.
fn chain(server: &Server, name: &str, setup: &str, texts: [&str; 2], meddle: &str) -> Option<String> {
    let mut admin = scene(server, name, setup);
    let mut alice = server.connect(name, "alice");
    submit(&mut alice, &revision("r1", &[], texts[0], "")).unwrap();
    submit(&mut alice, &revision("r2", &["r1"], texts[1], "")).unwrap();
    approve(server, name, "r2");
    let mut app = server.connect(name, "app");
    if meddle.is_empty() {
        return upgrade(&mut app, "r2").err().map(|error| why(&error));
    }
    upgrade(&mut app, "r1").unwrap();
    admin.batch_execute(meddle).unwrap();
    upgrade(&mut app, "r2").err().map(|error| why(&error))
}

#[test]
fn covers_what_revisions_did_since_and_nothing_else() {
    let server = Server::start_with(&["fsync=off"]);
    let owned = format!("{CLEAN}; ALTER FUNCTION clean(text) OWNER TO app_owner");
    let deep = "CREATE FUNCTION deep(text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT $1'";
    let calls = "CREATE FUNCTION clean(text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT deep($1)'";
    let replaces = "CREATE OR REPLACE FUNCTION clean(text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT upper($1)'";
    let table = "CREATE TABLE made (id int, c code DEFAULT 'a', CHECK (id > 0))";
    let alters = "ALTER TABLE made ALTER c TYPE code USING left(c, 1)";
    let domain = "CREATE DOMAIN code AS text CHECK (length(value) < 100)";
    let wait = "SELECT 1";
    assert_eq!(chain(&server, "created", deep, [calls, USING], ""), None);
    assert_eq!(chain(&server, "created_before", deep, [calls, USING], wait), None);
    assert_eq!(chain(&server, "replaced", &owned, [replaces, USING], ""), None);
    assert_eq!(chain(&server, "replaced_before", &owned, [replaces, USING], wait), None);
    assert_eq!(chain(&server, "table_made", domain, [table, alters], ""), None);
    assert_eq!(chain(&server, "table_made_before", domain, [table, alters], wait), None);
    for (name, setup, texts, meddle) in [
        ("swapped_after", deep, [calls, USING], SWAP),
        (
            "deep_swapped",
            deep,
            [calls, USING],
            "CREATE OR REPLACE FUNCTION deep(text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT NULL::text'",
        ),
        ("replaced_again", &owned, [replaces, USING], SWAP),
        ("default_after", domain, [table, alters], "ALTER TABLE made ALTER c SET DEFAULT 'b'"),
        (
            "trigger_after",
            domain,
            [table, alters],
            "CREATE FUNCTION fire() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'; \
             CREATE TRIGGER fires BEFORE UPDATE ON made FOR EACH ROW EXECUTE FUNCTION fire()",
        ),
    ] {
        let refused = chain(&server, name, setup, texts, meddle).unwrap_or_else(|| panic!("{name} was covered"));
        assert!(refused.contains("approved") && refused.starts_with("42501"), "{name}: {refused}");
    }
    // What somebody meddled with before the first revision does not become good by that revision.
    let mut admin = scene(&server, "laundered", &format!("{owned}; {TRIGGER}; DROP TRIGGER fires ON precious"));
    let mut alice = server.connect("laundered", "alice");
    submit(&mut alice, &revision("r1", &[], "ALTER TABLE precious ADD COLUMN harmless int", "")).unwrap();
    submit(&mut alice, &revision("r2", &["r1"], TOUCH, "")).unwrap();
    approve(&server, "laundered", "r2");
    admin.batch_execute("CREATE TRIGGER fires BEFORE UPDATE ON precious FOR EACH ROW EXECUTE FUNCTION fire()").unwrap();
    assert_eq!(sqlstate(upgrade(&mut server.connect("laundered", "app"), "r2")), "42501");
}

#[test]
fn a_revision_may_replace_what_it_calls() {
    let server = Server::start_with(&["fsync=off"]);
    let owned = format!("{CLEAN}; ALTER FUNCTION clean(text) OWNER TO app_owner");
    let text = format!("{}; {USING}; DROP FUNCTION clean(text)", SWAP.replace("NULL::text", "upper($1)"));
    assert_eq!(outcome(&server, "own", &owned, &text, "SELECT 1"), None);
    let note: String = server.connect("own", "postgres").query_one("SELECT note FROM precious LIMIT 1", &[]).unwrap().get(0);
    assert_eq!(note, "KEEP");
}

#[test]
fn a_job_looks_before_and_after_each_statement() {
    let server = Server::start_with(&["fsync=off"]);
    let mut admin = scene(&server, "app", &format!("{CLEAN}; ALTER FUNCTION clean(text) OWNER TO app_owner"));
    let text = format!("{}; {USING}", SWAP.replace("NULL::text", "upper($1)"));
    let mut off = revision("r1", &[], &text, "");
    off["transaction"] = false.into();
    submit(&mut server.connect("app", "alice"), &off).unwrap();
    approve(&server, "app", "r1");
    let mut app = server.connect("app", "app");
    let job: i64 = app.query_one("SELECT runbook.start_upgrade('r1')", &[]).unwrap().get(0);
    wait_until(30, "the job has ended", || {
        let state: String = admin.query_one("SELECT state FROM runbook.jobs WHERE job = $1", &[&job]).unwrap().get(0);
        ["finished", "failed"].contains(&state.as_str())
    });
    let row = admin.query_one("SELECT state, error::text FROM runbook.jobs WHERE job = $1", &[&job]).unwrap();
    assert_eq!(row.get::<_, String>(0), "finished", "{:?}", row.get::<_, Option<String>>(1));
}

#[test]
fn code_replaced_while_a_revision_runs_takes_it_back() {
    let server = Server::start_with(&["fsync=off"]);
    let mut admin = scene(&server, "app", CLEAN);
    let text = format!("SELECT pg_sleep(2); {USING}");
    submit(&mut server.connect("app", "alice"), &revision("r1", &[], &text, "")).unwrap();
    approve(&server, "app", "r1");
    let mut app = server.connect("app", "app");
    let applying = std::thread::spawn(move || upgrade(&mut app, "r1"));
    wait_until(10, "it sleeps", || {
        admin.query_one("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'", &[]).unwrap().get::<_, i64>(0)
            == 1
    });
    admin.batch_execute(SWAP).unwrap();
    let refused = why(&applying.join().unwrap().unwrap_err());
    assert!(refused.contains("was replaced while revision \"r1\" (upgrade) ran"), "{refused}");
    assert_eq!(admin.query_one("SELECT count(note) FROM precious", &[]).unwrap().get::<_, i64>(0), 3);
}

#[test]
fn an_old_snapshot_hides_nothing() {
    let server = Server::start_with(&["fsync=off"]);
    let mut admin = scene(&server, "app", CLEAN);
    submit(&mut server.connect("app", "alice"), &revision("r1", &[], USING, "")).unwrap();
    approve(&server, "app", "r1");
    let mut app = server.connect("app", "app");
    app.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM pg_proc").unwrap();
    admin.batch_execute(SWAP).unwrap();
    let refused = why(&upgrade(&mut app, "r1").unwrap_err());
    assert!(refused.contains("is not what it was when it was approved"), "{refused}");
}

#[test]
fn a_permit_binds_code_too() {
    let server = Server::start_with(&["fsync=off"]);
    let mut admin = scene(&server, "app", CLEAN);
    admin.batch_execute("CREATE ROLE dba LOGIN IN ROLE app_owner, runbook_operator; SELECT runbook.set_policy('blocking', 'require_approval')").unwrap();
    let mut dba = server.connect("app", "dba");
    let mut bob = server.connect("app", "bob");
    let mut permit = |dba: &mut Client| {
        let id: String = dba.query_one("SELECT runbook.request_permit($1, 'why', '1 hour')", &[&USING]).unwrap().get(0);
        let would: Vec<String> = bob.query_one("SELECT would FROM runbook.inbox() WHERE id = $1", &[&id]).unwrap().get(0);
        assert!(
            would.iter().any(|line| line == "run code that the approval binds: function public.clean(pg_catalog.text)"),
            "{would:?}"
        );
        bob.execute("SELECT runbook.approve_permit($1)", &[&id]).unwrap();
    };
    permit(&mut dba);
    admin.batch_execute(SWAP).unwrap();
    let refused = why(&dba.batch_execute(USING).unwrap_err());
    assert!(refused.contains("is not what it was when it was approved"), "{refused}");
    permit(&mut dba);
    admin.batch_execute("CREATE FUNCTION unrelated() RETURNS int LANGUAGE sql AS 'SELECT 1'").unwrap();
    dba.batch_execute(USING).unwrap();
}

#[test]
fn the_inbox_says_what_is_bound_and_what_cannot_be_known() {
    let server = Server::start_with(&["fsync=off"]);
    let setup = format!(
        "{CLEAN}; CREATE FUNCTION hidden(text) RETURNS text LANGUAGE plpgsql AS $$ DECLARE r text; \
         BEGIN EXECUTE 'SELECT ' || $1 INTO r; RETURN r; END $$"
    );
    scene(&server, "app", &setup);
    let text = "ALTER TABLE precious ALTER note TYPE text USING hidden(clean(note)); DO $$ BEGIN EXECUTE 'SELECT 1'; END $$";
    submit(&mut server.connect("app", "alice"), &revision("r1", &[], text, "")).unwrap();
    let mut bob = server.connect("app", "bob");
    let would: Vec<String> = bob.query_one("SELECT would FROM runbook.inbox()", &[]).unwrap().get(0);
    for line in [
        "run code that the approval binds: function public.clean(pg_catalog.text), function public.hidden(pg_catalog.text)",
        "run text that only exists when it runs: EXECUTE in function public.hidden(pg_catalog.text)",
        "run text that only exists when it runs: EXECUTE in its own text",
    ] {
        assert!(would.iter().any(|known| known == line), "{line}\n{would:#?}");
    }
    approve(&server, "app", "r1");
    let bound: Vec<String> = bob
        .query("SELECT x ->> 'name' FROM runbook.approvals AS a, jsonb_array_elements(a.upgrade_code -> 'objects') AS x WHERE (x -> 'class')::int < 100000000", &[])
        .unwrap()
        .iter()
        .map(|row| row.get(0))
        .collect();
    assert_eq!(bound, ["function public.clean(pg_catalog.text)", "function public.hidden(pg_catalog.text)"]);
}
