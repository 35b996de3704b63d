//! What becomes of a revision besides being applied: withdrawn, submitted by others too, approved in vain; and Alembic's table beside it.
#![allow(clippy::unwrap_used, missing_docs, reason = "a panic is how a test fails")]

use postgres::Client;
use runbook_tests::jobs::{apply, piecemeal, start, wait, wait_for_state};
use runbook_tests::{Server, revision, sqlstate, submit, upgrade};

fn texts(client: &mut Client, sql: &str) -> Vec<String> {
    client.query(sql, &[]).unwrap().iter().map(|row| row.get(0)).collect()
}

fn withdraw(client: &mut Client, id: &str) -> Result<String, postgres::Error> {
    client.query_one("SELECT runbook.withdraw($1, 'replaced')", &[&id]).map(|row| row.get(0))
}

#[test]
fn a_revision_that_is_withdrawn_is_no_head_and_does_not_run() {
    let server = Server::start();
    let mut admin = server.database("app");
    admin.batch_execute("SELECT runbook.activate()").unwrap();
    let [mut alice, mut bob, mut app, mut carol] = ["alice", "bob", "app", "carol"].map(|user| server.connect("app", user));
    let mut labelled = revision("w002", &["w001"], "CREATE TABLE b (id int)", "DROP TABLE b");
    labelled["branch_labels"] = serde_json::json!(["side"]);
    for one in [
        revision("w001", &[], "CREATE TABLE a (id int)", "DROP TABLE a"),
        labelled.clone(),
        revision("w003", &["w001"], "CREATE TABLE c (id int)", "DROP TABLE c"),
        revision("w004", &["w002"], "DROP TABLE b", ""),
    ] {
        submit(&mut alice, &one).unwrap();
    }
    bob.batch_execute("SELECT runbook.approve('w004', 'yes'), runbook.reject('w003')").unwrap();
    // Children first, with a reason, by whom it concerns, and only what there is.
    assert_eq!(sqlstate(withdraw(&mut alice, "w002")), "55000");
    assert_eq!(sqlstate(withdraw(&mut alice, "w009")), "42704");
    assert_eq!(sqlstate(withdraw(&mut alice, "base")), "42704");
    assert_eq!(sqlstate(alice.batch_execute("SELECT runbook.withdraw('w004', ' ')")), "22023");
    assert_eq!(sqlstate(alice.batch_execute("SELECT runbook.withdraw('w004', NULL)")), "22004");
    assert_eq!(sqlstate(withdraw(&mut carol, "w004")), "42501");
    assert_eq!(sqlstate(withdraw(&mut bob, "w004")), "42501");
    assert_eq!(sqlstate(upgrade(&mut app, "head")), "42P08", "two heads");
    assert_eq!(withdraw(&mut alice, "w004").unwrap(), "w004");
    assert_eq!(
        withdraw(&mut alice, "w00").map_err(|error| error.code().map(|code| code.code().to_owned())),
        Err(Some("42P08".into()))
    );
    assert_eq!(sqlstate(withdraw(&mut alice, "w004")), "55000", "twice");
    assert_eq!(sqlstate(bob.batch_execute("SELECT runbook.approve('w004')")), "55000");
    // A rejected one is out of the way, too.
    assert_eq!(withdraw(&mut app, "w003").unwrap(), "w003");
    assert_eq!(texts(&mut app, "SELECT revision FROM runbook.heads()"), ["w002"]);
    assert_eq!(texts(&mut app, "SELECT status FROM runbook.revisions WHERE revision = 'w004'"), ["withdrawn"]);
    let entry = "SELECT payload::jsonb ->> 'reason' FROM runbook.ledger WHERE kind = 'revision.withdrawn' ORDER BY recorded_at";
    assert_eq!(texts(&mut admin, entry), ["replaced", "replaced"]);
    assert_eq!(sqlstate(submit(&mut alice, &revision("w005", &["w004"], "SELECT 1", ""))), "42704");
    upgrade(&mut app, "head").unwrap();
    assert_eq!(sqlstate(withdraw(&mut alice, "w002")), "55000", "applied");
    // Submitted again, it is back, without its approval.
    submit(&mut alice, &revision("w004", &["w002"], "DROP TABLE b", "")).unwrap();
    assert_eq!(sqlstate(upgrade(&mut app, "head")), "42501");
    assert_eq!(withdraw(&mut alice, "w004").unwrap(), "w004");
    bob.batch_execute("SELECT runbook.approve('w002', 'back')").unwrap();
    app.batch_execute("SELECT runbook.downgrade('w001')").unwrap();
    assert_eq!(withdraw(&mut alice, "w002").unwrap(), "w002");
    // A no outlives it: the same content comes back rejected.
    submit(&mut alice, &revision("w003", &["w001"], "CREATE TABLE c (id int)", "DROP TABLE c")).unwrap();
    assert_eq!(texts(&mut app, "SELECT status FROM runbook.revisions WHERE revision = 'w003'"), ["rejected"]);
    assert_eq!(sqlstate(upgrade(&mut app, "w003")), "42501");
    assert_eq!(withdraw(&mut alice, "w003").unwrap(), "w003");
    // Its label is free.
    labelled["revision"] = "w006".into();
    submit(&mut alice, &labelled).unwrap();
    upgrade(&mut app, "side@head").unwrap();
}

#[test]
fn what_has_run_in_part_is_not_withdrawn_and_what_is_withdrawn_leaves_a_queue() {
    let server = Server::start();
    let mut admin = server.database("app");
    let [mut alice, mut app] = ["alice", "app"].map(|user| server.connect("app", user));
    submit(&mut alice, &piecemeal("q001", &[], "CREATE TABLE a (id int); SELECT 1 / 0", "")).unwrap();
    assert_eq!(sqlstate(apply(&mut app, "q001")), "22012");
    assert_eq!(sqlstate(withdraw(&mut alice, "q001")), "55000");
    // While revisions are applied, none is taken away.
    submit(&mut alice, &revision("q100", &[], "SELECT pg_sleep(3)", "")).unwrap();
    submit(&mut alice, &revision("q101", &["q100"], "CREATE TABLE b (id int)", "DROP TABLE b")).unwrap();
    admin.batch_execute("SELECT runbook.configure('migrator_wait', '0')").unwrap();
    let job = start(&mut app, "q101").unwrap();
    wait_for_state(&mut app, job, "running");
    assert_eq!(sqlstate(withdraw(&mut alice, "q101")), "55P03");
    admin.batch_execute("SELECT runbook.configure('migrator_wait', '60')").unwrap();
    wait(&mut app, job).unwrap();
    assert_eq!(sqlstate(withdraw(&mut alice, "q101")), "55000", "applied");
    // A job that waits does not apply it any more.
    app.batch_execute("SELECT runbook.downgrade('q100')").unwrap();
    submit(&mut alice, &revision("q102", &["q100"], "SELECT pg_sleep(3)", "")).unwrap();
    let first = start(&mut app, "q102").unwrap();
    let job = start(&mut app, "q101").unwrap();
    app.query_one("SELECT runbook.pause($1)", &[&job]).unwrap();
    wait(&mut app, first).unwrap();
    assert_eq!(withdraw(&mut alice, "q101").unwrap(), "q101");
    app.query_one("SELECT runbook.resume($1)", &[&job]).unwrap();
    assert_eq!(sqlstate(wait(&mut app, job)), "55000");
    assert_eq!(texts(&mut app, "SELECT to_regclass('b')::text WHERE to_regclass('b') IS NOT NULL"), [""; 0]);
}

#[test]
fn whoever_has_submitted_the_content_does_not_approve_it() {
    let server = Server::start();
    let mut admin = server.database("app");
    admin.batch_execute("GRANT runbook_approver TO alice; GRANT runbook_author TO bob; SELECT runbook.activate()").unwrap();
    let [mut alice, mut bob, mut app, mut eve] = ["alice", "bob", "app", "eve"].map(|user| server.connect("app", user));
    let made = revision("s001", &[], "CREATE TABLE a (id int)", "");
    let dropped = revision("s002", &["s001"], "DROP TABLE a", "");
    // The author's file goes in with somebody else's.
    submit(&mut bob, &made).unwrap();
    submit(&mut bob, &dropped).unwrap();
    submit(&mut alice, &dropped).unwrap();
    upgrade(&mut app, "s001").unwrap();
    assert_eq!(sqlstate(alice.batch_execute("SELECT runbook.approve('s002')")), "42501");
    assert_eq!(sqlstate(bob.batch_execute("SELECT runbook.approve('s002')")), "42501");
    assert_eq!(sqlstate(upgrade(&mut app, "s002")), "42501");
    let entries = "SELECT payload::jsonb ->> 'session_role' FROM runbook.ledger WHERE kind = 'revision.submitted' \
                   AND payload::jsonb ->> 'revision' = 's002' ORDER BY recorded_at";
    assert_eq!(texts(&mut admin, entries), ["bob", "alice"]);
    // A yes that was given before does not count either, once its giver has sent the same.
    eve.batch_execute("SELECT runbook.approve('s002')").unwrap();
    admin.batch_execute("GRANT runbook_author TO eve").unwrap();
    submit(&mut eve, &dropped).unwrap();
    assert_eq!(sqlstate(upgrade(&mut app, "s002")), "42501");
}

#[test]
fn an_approval_that_stopped_counting_is_in_the_inbox_and_in_the_plan() {
    let server = Server::start();
    let mut admin = server.database("app");
    admin.batch_execute("SELECT runbook.activate(); SELECT runbook.set_policy('breaking', 'record')").unwrap();
    let [mut alice, mut bob, mut app, mut eve] = ["alice", "bob", "app", "eve"].map(|user| server.connect("app", user));
    for one in [
        revision("i001", &[], "CREATE TABLE a (x int, y int)", ""),
        revision("i002", &["i001"], "ALTER TABLE a RENAME TO b", ""),
        revision("i003", &["i002"], "ALTER TABLE b DROP COLUMN x", ""),
    ] {
        submit(&mut alice, &one).unwrap();
    }
    let inbox = "SELECT id FROM runbook.inbox()";
    let needs = "SELECT coalesce(needs, '') FROM runbook.plan() WHERE revision = 'i003'";
    bob.batch_execute("SELECT runbook.approve('i003', 'ok')").unwrap();
    assert_eq!(texts(&mut bob, inbox), [""; 0]);
    upgrade(&mut app, "i002").unwrap();
    assert_eq!(sqlstate(upgrade(&mut app, "head")), "42501");
    assert_eq!(texts(&mut bob, inbox), ["i003"]);
    assert_eq!(texts(&mut eve, inbox), ["i003"]);
    assert!(texts(&mut app, needs)[0].starts_with("approval (0 of 1)"));
    bob.batch_execute("SELECT runbook.approve('i003', 'again')").unwrap();
    assert_eq!((texts(&mut bob, inbox), texts(&mut app, needs)), (vec![], vec![String::new()]));
    upgrade(&mut app, "head").unwrap();
}

#[test]
fn alembics_table_is_brought_to_where_the_runbook_is_in_every_order() {
    let server = Server::start();
    let theirs = "SET ROLE app_owner; CREATE TABLE alembic_version (version_num varchar(32) NOT NULL, \
                  CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)); INSERT INTO alembic_version VALUES ('v001'), ('other'); RESET ROLE";
    let on = "SELECT runbook.configure('alembic_version', 'on')";
    let stamp = "SELECT runbook.stamp('v001')";
    for (name, order) in [
        ("stamped_by_alembic", [theirs, on, stamp]),
        ("stamped_by_both", [theirs, stamp, on]),
        ("turned_on_last", [stamp, theirs, on]),
    ] {
        let mut admin = server.database(name);
        let [mut alice, mut app] = ["alice", "app"].map(|user| server.connect(name, user));
        submit(&mut alice, &revision("v001", &[], "SELECT 1", "")).unwrap();
        submit(&mut alice, &revision("v002", &["v001"], "SELECT 1", "")).unwrap();
        for step in order {
            admin.batch_execute(step).unwrap();
        }
        let versions = "SELECT version_num FROM alembic_version ORDER BY 1";
        // Rows that the runbook knows nothing of are another project's.
        upgrade(&mut app, "head").unwrap();
        assert_eq!(texts(&mut admin, versions), ["other", "v002"], "{name}");
        app.batch_execute("SELECT runbook.downgrade('-1')").unwrap();
        assert_eq!(texts(&mut admin, versions), ["other", "v001"], "{name}");
        apply(&mut app, "head").unwrap();
        assert_eq!(texts(&mut admin, versions), ["other", "v002"], "{name}");
        app.batch_execute("SELECT runbook.stamp('head', true)").unwrap();
        assert_eq!(texts(&mut admin, versions), ["v002"], "{name}, purged");
    }
    // Built by the runbook alone.
    let mut admin = server.database("built");
    let [mut alice, mut app] = ["alice", "app"].map(|user| server.connect("built", user));
    submit(&mut alice, &revision("v001", &[], "SELECT 1", "")).unwrap();
    upgrade(&mut app, "head").unwrap();
    admin.batch_execute(on).unwrap();
    app.batch_execute("SELECT runbook.stamp('head', true)").unwrap();
    assert_eq!(texts(&mut admin, "SELECT version_num FROM alembic_version"), ["v001"]);
    // Code of others behind the table is refused, whatever way it is there.
    for behind in [
        "CREATE DOMAIN number AS varchar(32) CHECK (length(VALUE) > 0); DROP TABLE alembic_version; \
         CREATE TABLE alembic_version (version_num number PRIMARY KEY)",
        "DROP TABLE alembic_version; CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY); \
         CREATE FUNCTION mine() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'; \
         CREATE TRIGGER a_runbook_mine BEFORE INSERT ON alembic_version FOR EACH ROW EXECUTE FUNCTION mine()",
    ] {
        admin.batch_execute(&format!("SET ROLE app_owner; {behind}; RESET ROLE")).unwrap();
        assert_eq!(sqlstate(app.batch_execute("SELECT runbook.stamp('base')")), "42501", "{behind}");
    }
}

#[test]
fn the_phase_is_what_the_statements_do_to_others() {
    let server = Server::start();
    let mut admin = server.database("app");
    admin
        .batch_execute("SET ROLE app_owner; CREATE TABLE t (id int PRIMARY KEY, n int, old text, new text); RESET ROLE")
        .unwrap();
    let mut alice = server.connect("app", "alice");
    let sync = "CREATE FUNCTION sync() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.new := NEW.old; RETURN NEW; END'; \
                CREATE TRIGGER sync BEFORE INSERT OR UPDATE ON t FOR EACH ROW EXECUTE FUNCTION sync()";
    for (text, phase, class) in [
        (sync, "expand", "breaking"),
        ("CREATE UNIQUE INDEX ON t (n)", "expand", "breaking"),
        ("UPDATE t SET new = old", "migrate", ""),
        ("ALTER TABLE t RENAME COLUMN old TO older", "contract", "breaking"),
        ("DROP TRIGGER sync ON t", "contract", "breaking"),
        ("ALTER TABLE t DROP COLUMN old", "contract", "destructive"),
        ("ALTER TABLE t ALTER n TYPE numeric(5, 2)", "contract", "breaking"),
        ("ALTER TABLE t ALTER n TYPE numeric(5, -2)", "contract", "destructive"),
    ] {
        submit(&mut alice, &revision("p001", &[], text, "")).unwrap();
        let sql =
            "SELECT phase, coalesce(upgrade_actions -> -1 ->> 'class', '') FROM runbook.revisions WHERE revision = 'p001'";
        let row = admin.query_one(sql, &[]).unwrap();
        assert_eq!((row.get::<_, &str>(0), row.get::<_, &str>(1)), (phase, class), "{text}");
    }
}

#[test]
fn what_is_done_in_part_is_seen_and_not_stepped_over() {
    let server = Server::start();
    let _admin = server.database("app");
    let [mut alice, mut app] = ["alice", "app"].map(|user| server.connect("app", user));
    submit(&mut alice, &revision("h001", &[], "CREATE TABLE a (id int)", "DROP TABLE a")).unwrap();
    submit(&mut alice, &piecemeal("h002", &["h001"], "CREATE TABLE b (id int); SELECT 1 / 0; SELECT 2", "DROP TABLE b"))
        .unwrap();
    let progress = "SELECT progress FROM runbook.revisions WHERE progress IS NOT NULL";
    assert_eq!(sqlstate(apply(&mut app, "h002")), "22012");
    assert_eq!(texts(&mut app, progress), ["1 of 3 statements of its upgrade are done"]);
    for (verb, extra) in [("status", None), ("plan", None), ("current", None), ("history", None), ("downgrade", Some("-1"))] {
        let output = server.runbook("app", "app", server.directory()).arg(verb).args(extra).output().unwrap();
        let seen = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(seen.contains("h002") && seen.contains("1 of 3 statements"), "{verb}: {seen}");
    }
    assert_eq!(sqlstate(app.batch_execute("SELECT runbook.downgrade('-1')")), "55000");
    assert_eq!(sqlstate(app.batch_execute("SELECT runbook.start_downgrade('-1')")), "55000");
    submit(&mut alice, &piecemeal("h002", &["h001"], "CREATE TABLE b (id int); SELECT 1; SELECT 2", "DROP TABLE b")).unwrap();
    apply(&mut app, "h002").unwrap();
    assert_eq!(texts(&mut app, progress), [""; 0]);
}

#[test]
fn what_functions_and_triggers_do_by_the_way_is_in_the_ledger() {
    let server = Server::start();
    let mut admin = server.database("app");
    admin
        .batch_execute(
            "SET ROLE app_owner; CREATE TABLE precious (id int PRIMARY KEY, n int); INSERT INTO precious VALUES (1, 0); \
             CREATE FUNCTION gives() RETURNS int LANGUAGE plpgsql AS $$ BEGIN GRANT SELECT ON precious TO carol; RETURN 1; END $$; \
             CREATE FUNCTION gives_later() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM gives(); RETURN NULL; END $$; \
             CREATE TABLE deferring (id int); CREATE CONSTRAINT TRIGGER late AFTER INSERT ON deferring DEFERRABLE INITIALLY DEFERRED \
             FOR EACH ROW EXECUTE FUNCTION gives_later(); \
             CREATE TABLE batched (id int PRIMARY KEY, n int); INSERT INTO batched VALUES (1, 0); \
             CREATE TRIGGER now AFTER UPDATE ON batched FOR EACH ROW EXECUTE FUNCTION gives_later(); \
             RESET ROLE; SELECT runbook.activate()",
        )
        .unwrap();
    let [mut alice, mut app] = ["alice", "app"].map(|user| server.connect("app", user));
    let mut batches = revision("e003", &[], "UPDATE batched SET n = 1 WHERE id BETWEEN :from AND :to AND n = 0", "");
    batches["backfill"] = "table batched".into();
    for one in [
        revision("e001", &[], "CREATE TABLE report AS SELECT gives() AS x", ""),
        revision("e002", &[], "INSERT INTO deferring VALUES (1)", ""),
        batches,
    ] {
        submit(&mut alice, &one).unwrap();
        let id = one["revision"].as_str().unwrap();
        apply(&mut app, id).unwrap();
        let grants = format!(
            "SELECT DISTINCT o ->> 'identity' FROM runbook.ledger, jsonb_array_elements(payload::jsonb -> 'objects') AS o \
             WHERE kind IN ('apply.statement', 'ddl.executed') AND payload::jsonb ->> 'revision' = '{id}' AND o ->> 'action' LIKE 'grant%'"
        );
        assert_eq!(texts(&mut admin, &grants), ["public.precious"], "{id}");
    }
}
