//! What an approver could not know when he approved: it makes nothing that his approval covers, however it came about.
#![allow(clippy::unwrap_used, missing_docs, reason = "a panic is how a test fails")]

use postgres::Client;
use runbook_tests::jobs::{apply, piecemeal};
use runbook_tests::{Server, revision, sqlstate, submit, upgrade};

fn scene(server: &Server, name: &str) -> Client {
    let mut admin = server.database(name);
    admin
        .batch_execute(
            "SET ROLE app_owner; CREATE TABLE notes (id int PRIMARY KEY, note text); INSERT INTO notes VALUES (1, 'keep'), (2, 'keep'); \
             CREATE TABLE doomed (); CREATE TABLE cmds (c text); INSERT INTO cmds VALUES ('SELECT 1'); GRANT ALL ON cmds TO alice; \
             CREATE FUNCTION clean(text) RETURNS text LANGUAGE sql AS 'SELECT $1'; \
             CREATE FUNCTION beside() RETURNS int LANGUAGE sql AS 'SELECT 1'; RESET ROLE; SELECT runbook.activate()",
        )
        .unwrap();
    admin
}

const SWAP: &str = "CREATE OR REPLACE FUNCTION clean(text) RETURNS text LANGUAGE sql AS 'SELECT ''gone'''";

fn kept(admin: &mut Client) -> bool {
    admin.query_one("SELECT bool_and(note = 'keep') FROM notes", &[]).unwrap().get(0)
}

fn told(client: &mut Client) -> bool {
    let sql = "SELECT count(*) FROM runbook.inbox() AS i, unnest(i.would) AS w WHERE w LIKE '%only exists when it runs%'";
    client.query_one(sql, &[]).unwrap().get::<_, i64>(0) > 0
}

#[test]
fn an_ancestor_that_runs_what_nobody_could_read_changes_nothing_that_is_covered() {
    let server = Server::start_with(&["shared_preload_libraries=pg_runbook"]);
    let uses = "ALTER TABLE notes ALTER note TYPE text USING clean(note)";
    // The text comes from a table; and the function that it calls is replaced for a moment.
    for (name, first) in [
        ("by_text", "DO $$ BEGIN PERFORM clean('x'); EXECUTE (SELECT c FROM cmds); END $$"),
        ("by_function", "SELECT beside(), clean('x')"),
    ] {
        let mut admin = scene(&server, name);
        let [mut alice, mut bob, mut app] = ["alice", "bob", "app"].map(|user| server.connect(name, user));
        submit(&mut alice, &revision("r0", &[], first, "")).unwrap();
        submit(&mut alice, &revision("r1", &["r0"], uses, "")).unwrap();
        bob.batch_execute("SELECT runbook.approve('r1')").unwrap();
        alice.execute("UPDATE cmds SET c = $1", &[&SWAP]).unwrap();
        let replace = |body: &str| {
            format!(
                "SET ROLE app_owner; CREATE OR REPLACE FUNCTION beside() RETURNS int LANGUAGE plpgsql AS $f$ BEGIN {body}; RETURN 1; END $f$"
            )
        };
        admin
            .batch_execute(&format!("SET runbook.mode = record; {}; RESET ROLE", replace(&format!("EXECUTE $x${SWAP}$x$"))))
            .unwrap();
        upgrade(&mut app, "r0").unwrap();
        admin
            .batch_execute(
                "SET ROLE app_owner; CREATE OR REPLACE FUNCTION beside() RETURNS int LANGUAGE sql AS 'SELECT 1'; RESET ROLE",
            )
            .unwrap();
        assert_eq!(sqlstate(upgrade(&mut app, "r1")), "42501", "{name}");
        assert!(kept(&mut admin), "{name}");
    }
    // What can be read whole is covered: the usual chain, approved before it is applied.
    let mut admin = scene(&server, "plain");
    let [mut alice, mut bob, mut app] = ["alice", "bob", "app"].map(|user| server.connect("plain", user));
    let first = "CREATE TABLE fresh (id int, note text); INSERT INTO fresh SELECT id, clean(note) FROM notes; \
                 CREATE FUNCTION shorten(text) RETURNS text LANGUAGE sql AS 'SELECT left($1, 2)'";
    submit(&mut alice, &revision("r0", &[], first, "")).unwrap();
    let second = "CREATE OR REPLACE FUNCTION shorten(text) RETURNS text LANGUAGE sql AS 'SELECT left($1, 1)'; UPDATE fresh SET note = shorten(note)";
    submit(&mut alice, &revision("r1", &["r0"], second, "")).unwrap();
    submit(&mut alice, &revision("r2", &["r1"], "UPDATE fresh SET note = shorten(note); ALTER TABLE fresh DROP COLUMN id", ""))
        .unwrap();
    bob.batch_execute("SELECT runbook.approve('r1'), runbook.approve('r2')").unwrap();
    upgrade(&mut app, "r2").unwrap();
    let notes: Vec<String> = admin.query("SELECT note FROM fresh", &[]).unwrap().iter().map(|row| row.get(0)).collect();
    assert_eq!(notes, ["k", "k"]);
}

#[test]
fn a_descendant_that_runs_what_nobody_could_read_changes_nothing_for_the_way_back() {
    let server = Server::start_with(&["shared_preload_libraries=pg_runbook"]);
    let mut admin = scene(&server, "app");
    let [mut alice, mut bob, mut app] = ["alice", "bob", "app"].map(|user| server.connect("app", user));
    let back = "ALTER TABLE notes ALTER note TYPE text USING clean(note)";
    submit(&mut alice, &revision("r1", &[], "CREATE TABLE y ()", back)).unwrap();
    let runs = "DO $$ BEGIN PERFORM clean('x'); EXECUTE (SELECT c FROM cmds); END $$";
    submit(&mut alice, &revision("r2", &["r1"], runs, "SELECT 1")).unwrap();
    bob.batch_execute("SELECT runbook.approve('r1')").unwrap();
    alice.execute("UPDATE cmds SET c = $1", &[&SWAP]).unwrap();
    upgrade(&mut app, "r2").unwrap();
    assert_eq!(sqlstate(app.batch_execute("SELECT runbook.downgrade('base')")), "42501");
    assert!(kept(&mut admin));
}

#[test]
fn an_approval_waits_for_what_is_being_submitted() {
    let server = Server::start();
    let _admin = scene(&server, "app");
    let [mut alice, mut bob, mut app] = ["alice", "bob", "app"].map(|user| server.connect("app", user));
    submit(&mut alice, &revision("r0", &[], "SELECT 1", "")).unwrap();
    submit(&mut alice, &revision("r1", &["r0"], "DROP TABLE doomed", "")).unwrap();
    alice.batch_execute("BEGIN").unwrap();
    submit(&mut alice, &revision("r0", &[], "SELECT 2", "")).unwrap();
    bob.batch_execute("SET lock_timeout = '300ms'").unwrap();
    assert_eq!(sqlstate(bob.batch_execute("SELECT runbook.approve('r1')")), "55P03");
    alice.batch_execute("COMMIT").unwrap();
    // And the other way round.
    bob.batch_execute("BEGIN; SELECT runbook.approve('r1')").unwrap();
    alice.batch_execute("SET lock_timeout = '300ms'").unwrap();
    assert_eq!(sqlstate(submit(&mut alice, &revision("r0", &[], "SELECT 3", ""))), "55P03");
    bob.batch_execute("COMMIT").unwrap();
    submit(&mut alice, &revision("r0", &[], "SELECT 4", "")).unwrap();
    assert_eq!(sqlstate(upgrade(&mut app, "r1")), "42501");
}

#[test]
fn text_that_runs_behind_a_view_or_a_parsed_body_is_told() {
    let server = Server::start();
    let mut admin = scene(&server, "app");
    admin
        .batch_execute(
            "SET ROLE app_owner; CREATE VIEW shown AS SELECT query_to_xml((SELECT c FROM cmds), true, false, '') AS x; \
             CREATE FUNCTION parsed() RETURNS xml LANGUAGE sql BEGIN ATOMIC SELECT query_to_xml((SELECT c FROM cmds), true, false, ''); END; \
             CREATE TABLE filled (x text DEFAULT query_to_xml('SELECT 1', true, false, '')::text); CREATE TABLE plain (x int DEFAULT 1); RESET ROLE",
        )
        .unwrap();
    let [mut alice, mut bob] = ["alice", "bob"].map(|user| server.connect("app", user));
    for (text, expected) in [
        ("CREATE TABLE r AS SELECT x::text FROM shown", true),
        ("CREATE TABLE r AS SELECT parsed()::text AS x", true),
        ("INSERT INTO filled DEFAULT VALUES", true),
        ("INSERT INTO plain DEFAULT VALUES", false),
    ] {
        submit(&mut alice, &revision("t1", &[], &format!("{text}; DROP TABLE doomed"), "")).unwrap();
        assert_eq!(told(&mut bob), expected, "{text}");
    }
}

#[test]
fn what_a_revision_makes_for_itself_is_not_refused() {
    let server = Server::start_with(&["shared_preload_libraries=pg_runbook"]);
    for (at, index) in [
        "CREATE INDEX CONCURRENTLY ci ON notes ((id + 1))",
        "CREATE UNIQUE INDEX CONCURRENTLY ci ON notes (id) WHERE id > 5",
        "CREATE INDEX CONCURRENTLY ci ON notes (id)",
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("index{at}");
        let _admin = scene(&server, &name);
        let [mut alice, mut bob, mut app] = ["alice", "bob", "app"].map(|user| server.connect(&name, user));
        submit(&mut alice, &piecemeal("i1", &[], index, "")).unwrap();
        submit(&mut alice, &piecemeal("i2", &["i1"], "UPDATE notes SET id = id + 10; DROP TABLE doomed", "")).unwrap();
        bob.batch_execute("SELECT runbook.approve('i2')").unwrap();
        apply(&mut app, "i2").unwrap_or_else(|error| panic!("{index}: {error:?}"));
    }
    let mut admin = scene(&server, "refresh");
    admin
        .batch_execute(
            "SET ROLE app_owner; CREATE MATERIALIZED VIEW m AS SELECT id FROM notes; CREATE UNIQUE INDEX ON m (id); RESET ROLE",
        )
        .unwrap();
    let [mut alice, mut bob, mut app] = ["alice", "bob", "app"].map(|user| server.connect("refresh", user));
    submit(&mut alice, &revision("m1", &[], "REFRESH MATERIALIZED VIEW CONCURRENTLY m; DROP TABLE doomed", "")).unwrap();
    bob.batch_execute("SELECT runbook.approve('m1')").unwrap();
    upgrade(&mut app, "m1").unwrap();
}

#[test]
fn open_cursors_and_triggers_of_others_do_no_harm() {
    let server = Server::start_with(&["shared_preload_libraries=pg_runbook"]);
    let mut admin = scene(&server, "app");
    let [mut alice, mut app] = ["alice", "app"].map(|user| server.connect("app", user));
    let begun = server.starts();
    let mut parents: Vec<String> = vec![];
    for at in 0..130 {
        let id = format!("c{at:03}");
        let upon: Vec<&str> = parents.iter().map(String::as_str).collect();
        submit(&mut alice, &revision(&id, &upon, "DECLARE mine CURSOR FOR SELECT 1", "")).unwrap();
        parents = vec![id];
    }
    app.batch_execute("BEGIN; DECLARE own CURSOR FOR SELECT 1; SELECT runbook.upgrade('head'); FETCH own; COMMIT").unwrap();
    assert_eq!(server.starts(), begun, "the server was restarted");
    // Our trigger function, used by somebody else, writes nothing down.
    admin
        .batch_execute(
            "CREATE TABLE own (); CREATE TRIGGER mine BEFORE INSERT ON own EXECUTE FUNCTION runbook_internal.guard_truncate()",
        )
        .unwrap();
    let entries = "SELECT count(*) FROM runbook.ledger";
    let before: i64 = admin.query_one(entries, &[]).unwrap().get(0);
    admin.batch_execute("INSERT INTO own DEFAULT VALUES").unwrap();
    assert_eq!(admin.query_one(entries, &[]).unwrap().get::<_, i64>(0), before);
    // What other databases do to parameters of the guard is refused here, too.
    admin.batch_execute("SELECT runbook.configure('preset', 'production')").unwrap();
    let mut elsewhere = server.connect("postgres", "postgres");
    assert_eq!(sqlstate(elsewhere.batch_execute("GRANT SET ON PARAMETER runbook.mode TO bob")), "42501");
}

#[test]
fn what_a_revision_makes_is_its_own_only_while_it_is_there() {
    let server = Server::start_with(&["shared_preload_libraries=pg_runbook"]);
    let mut admin = scene(&server, "app");
    let [mut alice, mut app] = ["alice", "app"].map(|user| server.connect("app", user));
    // Between the two halves, another session adds a column of its own: it gets the number that was given back.
    let halves = |end: &str| {
        format!(
            "DO $$ BEGIN BEGIN ALTER TABLE notes ADD COLUMN mine int; RAISE division_by_zero; EXCEPTION WHEN division_by_zero THEN NULL; END; \
             {end} END $$"
        )
    };
    let waits = "PERFORM pg_sleep(4); EXECUTE 'ALTER TABLE notes DROP COLUMN theirs';";
    submit(&mut alice, &revision("o1", &[], &halves(waits), "")).unwrap();
    let other = std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_secs(1));
        // It waits until the lock of the half that was taken back is free.
        admin.batch_execute("SET runbook.mode = record; ALTER TABLE notes ADD COLUMN theirs text DEFAULT 'data'").unwrap();
        admin
    });
    assert_eq!(sqlstate(upgrade(&mut app, "o1")), "42501");
    let mut admin = other.join().unwrap();
    assert_eq!(admin.query_one("SELECT count(theirs) FROM notes", &[]).unwrap().get::<_, i64>(0), 2);
    // What it has made itself, and keeps, it may drop.
    let own = halves(
        "ALTER TABLE notes ADD COLUMN own int; BEGIN PERFORM 1 / 0; EXCEPTION WHEN division_by_zero THEN NULL; END; \
         ALTER TABLE notes DROP COLUMN own;",
    );
    submit(&mut alice, &revision("o1", &[], &own, "")).unwrap();
    upgrade(&mut app, "o1").unwrap();
}

#[test]
fn the_way_forth_makes_nothing_that_the_way_back_may_run_unread() {
    let server = Server::start_with(&["shared_preload_libraries=pg_runbook"]);
    let mut admin = scene(&server, "app");
    let [mut alice, mut bob, mut app] = ["alice", "bob", "app"].map(|user| server.connect("app", user));
    let back = "ALTER TABLE notes ALTER note TYPE text USING clean(note)";
    submit(&mut alice, &revision("b1", &[], "SELECT beside(), clean('x')", back)).unwrap();
    bob.batch_execute("SELECT runbook.approve('b1')").unwrap();
    admin
        .batch_execute(&format!(
            "SET runbook.mode = record; SET ROLE app_owner; \
             CREATE OR REPLACE FUNCTION beside() RETURNS int LANGUAGE plpgsql AS $f$ BEGIN EXECUTE $x${SWAP}$x$; RETURN 1; END $f$"
        ))
        .unwrap();
    let _ = upgrade(&mut app, "b1");
    assert_eq!(sqlstate(app.batch_execute("SELECT runbook.downgrade('base')")), "42501");
    assert!(kept(&mut admin));
}
