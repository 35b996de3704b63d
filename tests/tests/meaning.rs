//! A revision means what its text says: temporary tables, rows behind policies, procedures that commit, queries that must be true.
#![allow(clippy::unwrap_used, missing_docs, reason = "a panic is how a test fails")]

use postgres::Client;
use runbook_tests::jobs::{apply, backfill, column, piecemeal, start, wait, wait_for_state};
use runbook_tests::{Server, revision, sqlstate, submit, upgrade, wait_until};

fn scene(server: &Server, name: &str) -> (Client, Client, Client) {
    let mut admin = server.database(name);
    admin
        .batch_execute(
            "SET ROLE app_owner; CREATE TABLE orders (id int PRIMARY KEY, done bool); \
         INSERT INTO orders SELECT g, false FROM generate_series(1, 10) AS g; RESET ROLE",
        )
        .unwrap();
    let (alice, app) = (server.connect(name, "alice"), server.connect(name, "app"));
    (admin, alice, app)
}

fn count(client: &mut Client, sql: &str) -> i64 {
    client.query_one(&format!("SELECT count(*) FROM {sql}"), &[]).unwrap().get(0)
}

#[test]
fn a_temporary_relation_does_not_hide_behind_a_lasting_one() {
    let server = Server::start();
    for (active, name) in [(false, "inert"), (true, "active")] {
        let (mut admin, mut alice, mut app) = scene(&server, name);
        admin.batch_execute("SET ROLE app_owner; CREATE VIEW shown AS SELECT 1 AS x; CREATE DOMAIN positive AS int").unwrap();
        if active {
            admin.batch_execute("RESET ROLE; SELECT runbook.activate()").unwrap();
        }
        let temporary = [
            "CREATE TEMP TABLE orders (id int); DELETE FROM orders",
            "CREATE TEMPORARY TABLE orders AS SELECT 1 AS id; DELETE FROM orders WHERE id > 0",
            "SELECT 1 AS id INTO TEMP orders; UPDATE orders SET id = 2",
            "CREATE TABLE pg_temp.orders (id int); DELETE FROM orders",
            "CREATE TEMP VIEW shown AS SELECT 2 AS x; SELECT * FROM shown",
            "CREATE TEMP SEQUENCE orders",
        ];
        for text in temporary {
            assert_eq!(sqlstate(submit(&mut alice, &revision("t001", &[], text, ""))), "42P07", "{text}");
            assert_eq!(sqlstate(submit(&mut alice, &revision("t001", &[], "", text))), "42P07", "{text}, on the way back");
        }
        // What is found out only when it runs.
        let late = [
            "DO $$ BEGIN EXECUTE 'CREATE TEMP TABLE orders (id int)'; DELETE FROM orders; END $$",
            "CREATE TEMP TABLE fresh (id int); CREATE TABLE fresh (id int); DELETE FROM fresh",
            "CREATE TABLE fresh (id int); CREATE TEMP TABLE fresh (id int)",
            "CREATE TEMP TABLE mine (id int); ALTER TABLE mine RENAME TO orders; DELETE FROM orders",
            "CREATE DOMAIN pg_temp.positive AS text",
        ];
        for text in late {
            submit(&mut alice, &revision("t002", &[], text, "")).unwrap();
            let refused = if active { upgrade(&mut app, "t002") } else { Err(apply(&mut app, "t002").unwrap_err()) };
            let state = sqlstate(refused);
            assert!(["42P07", "42501"].contains(&state.as_str()), "{text}: {state}");
        }
        assert_eq!(count(&mut admin, "orders"), 10);
        // A name of its own, or one that the login has in its own session.
        app.batch_execute("CREATE TEMP TABLE orders (id int)").unwrap();
        let fine = "CREATE TEMP TABLE own AS SELECT 1 AS id; DELETE FROM own; TRUNCATE pg_temp.own; CREATE INDEX ON own (id); \
                    ALTER TABLE own ADD COLUMN x int; ALTER TABLE own DROP COLUMN x; DROP TABLE own; DELETE FROM orders WHERE id = 1";
        submit(&mut alice, &revision("t003", &[], fine, "")).unwrap();
        upgrade(&mut app, "t003").unwrap();
        assert_eq!(count(&mut admin, "orders"), 9, "{name}");
    }
}

#[test]
fn rows_behind_a_policy_are_not_left_out_without_a_word() {
    let server = Server::start();
    let (mut admin, mut alice, mut app) = scene(&server, "app");
    admin
        .batch_execute(
            "SET ROLE app_owner; ALTER TABLE orders ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY; \
         CREATE POLICY few ON orders USING (id <= 3); RESET ROLE",
        )
        .unwrap();
    let all = "UPDATE orders SET done = true WHERE NOT done";
    submit(&mut alice, &revision("p001", &[], all, "")).unwrap();
    for refused in [upgrade(&mut app, "p001").unwrap_err(), apply(&mut app, "p001").unwrap_err()] {
        let db = refused.as_db_error().unwrap();
        assert!(db.code().code() == "42501" && db.hint().unwrap().contains("BYPASSRLS"), "{db:?}");
    }
    let batches = "UPDATE orders SET done = true WHERE id BETWEEN :from AND :to AND NOT done";
    submit(&mut alice, &backfill("p002", &[], "table orders; where NOT done", batches)).unwrap();
    assert_eq!(sqlstate(apply(&mut app, "p002")), "42501");
    assert_eq!(count(&mut admin, "orders WHERE done"), 0);
    // The policy may be meant.
    submit(&mut alice, &revision("p001", &[], &format!("SET LOCAL row_security = on; {all}"), "")).unwrap();
    upgrade(&mut app, "p001").unwrap();
    assert_eq!(count(&mut admin, "orders WHERE done"), 3);
    admin.batch_execute("ALTER ROLE app_owner BYPASSRLS").unwrap();
    apply(&mut app, "p002").unwrap();
    assert_eq!(count(&mut admin, "orders WHERE done"), 10);
}

#[test]
fn what_commits_itself_runs_at_top_level() {
    let server = Server::start_with(&["shared_preload_libraries=pg_runbook"]);
    let (mut admin, mut alice, mut app) = scene(&server, "app");
    admin
        .batch_execute(
            "SET ROLE app_owner; CREATE PROCEDURE fill(pause float DEFAULT 0, bad int DEFAULT 0) LANGUAGE plpgsql AS $$ \
         BEGIN FOR i IN 1..10 LOOP UPDATE orders SET done = true WHERE id = i; COMMIT; \
         PERFORM pg_sleep(pause), 1 / (i - bad); END LOOP; END $$; RESET ROLE",
        )
        .unwrap();
    let done = |admin: &mut Client| count(admin, "orders WHERE done");
    // In a transaction PostgreSQL refuses it; the hint names the way.
    submit(&mut alice, &revision("c001", &[], "CALL fill()", "")).unwrap();
    let refused = upgrade(&mut app, "c001").unwrap_err();
    let db = refused.as_db_error().unwrap();
    assert!(db.code().code() == "2D000" && db.hint().unwrap().contains("transaction: off"), "{db:?}");
    for call in ["CALL fill()", "DO $$ BEGIN CALL fill(); END $$", "DO $$ BEGIN UPDATE orders SET done = true; COMMIT; END $$"]
    {
        admin.batch_execute("UPDATE orders SET done = false").unwrap();
        submit(&mut alice, &piecemeal("c001", &[], call, "SELECT 1")).unwrap();
        apply(&mut app, "c001").unwrap();
        assert_eq!(done(&mut admin), 10, "{call}");
        app.batch_execute("SELECT runbook.stamp('base')").unwrap();
    }
    // What it has committed stays when it fails, and it is said how to go on.
    admin.batch_execute("UPDATE orders SET done = false").unwrap();
    submit(&mut alice, &piecemeal("c002", &[], "CALL fill(0, 4)", "")).unwrap();
    let refused = apply(&mut app, "c002").unwrap_err();
    let db = refused.as_db_error().unwrap();
    assert!(db.code().code() == "22012" && db.hint().unwrap().contains("runbook.resume("), "{db:?}");
    assert_eq!(done(&mut admin), 4);
    let entry = "SELECT count(*) FROM runbook.ledger WHERE kind = 'apply.statement' AND payload::jsonb ->> 'revision' = 'c002'";
    assert_eq!(admin.query_one(entry, &[]).unwrap().get::<_, i64>(0), 1, "what it has committed is in the ledger");
    // Killed half-way: nobody knows how far it has come, so a person decides.
    admin.batch_execute("UPDATE orders SET done = false").unwrap();
    submit(&mut alice, &piecemeal("c003", &[], "CALL fill(0.3)", "")).unwrap();
    let job = start(&mut app, "c003").unwrap();
    wait_until(60, "three rows are done", || done(&mut admin) >= 3);
    let pid: i32 = column(&mut app, job, "worker_pid").parse().unwrap();
    admin.query_one("SELECT pg_terminate_backend($1)", &[&pid]).unwrap();
    wait_for_state(&mut app, job, "failed");
    let refused = wait(&mut app, job).unwrap_err();
    assert!(refused.as_db_error().unwrap().message().contains("was interrupted"), "{refused:?}");
    app.query_one("SELECT runbook.resume($1)", &[&job]).unwrap();
    wait(&mut app, job).unwrap();
    assert_eq!(done(&mut admin), 10);
}

#[test]
fn a_query_of_the_verify_section_must_be_true() {
    let server = Server::start();
    let (mut admin, mut alice, mut app) = scene(&server, "app");
    admin.batch_execute("CREATE DOMAIN answer AS boolean").unwrap();
    let with = |verify: &str| {
        let mut one = revision("v001", &[], "CREATE TABLE made (id int)", "DROP TABLE made");
        one["verify"] = verify.into();
        one
    };
    for verify in [
        "SELECT false",
        "SELECT NULL::bool",
        "SELECT false::answer",
        "SELECT id < 10 FROM orders ORDER BY id",
        "VALUES (true), (false)",
    ] {
        submit(&mut alice, &with("SELECT 1")).unwrap();
        submit(&mut alice, &with(verify)).unwrap();
        assert_eq!(sqlstate(upgrade(&mut app, "v001")), "P0004", "{verify}");
    }
    let refused = upgrade(&mut app, "v001").unwrap_err();
    assert!(refused.as_db_error().unwrap().message().contains("statement 1 of its verify section"), "{refused:?}");
    submit(
        &mut alice,
        &with("SELECT id > 0 FROM orders; SELECT true WHERE false; SELECT 0, false; SELECT count(*) FROM orders"),
    )
    .unwrap();
    upgrade(&mut app, "v001").unwrap();
}
