//! The command and the deadlines, in a database and a session that somebody else has prepared.
#![allow(clippy::unwrap_used, missing_docs, reason = "a panic is how a test fails")]

use runbook_tests::{Server, revision, sqlstate, submit};

#[test]
fn what_the_command_sends_calls_no_operator_or_function_of_somebody_elses() {
    let server = Server::start();
    let mut admin = server.database("app");
    let types = ["text", "name", "int4", "int8", "bool", "uuid", "timestamptz", "interval", "jsonb", "\"char\"", "oid"];
    let mut script = String::from(
        "CREATE TABLE public.loot (who text, what text); GRANT ALL ON public.loot TO PUBLIC; \
         CREATE FUNCTION public.row_to_json(record) RETURNS json LANGUAGE plpgsql AS \
             'BEGIN INSERT INTO public.loot VALUES (session_user, ''row_to_json''); RETURN ''{}''; END';",
    );
    for (left, right) in types.iter().flat_map(|left| types.iter().map(move |right| (left, right))) {
        for (operator, result) in
            [("=", "boolean"), ("<>", "boolean"), (">=", "boolean"), ("||", "text"), ("->>", "text"), ("-", "text")]
        {
            script.push_str(&format!(
                "CREATE OR REPLACE FUNCTION public.pwn_{result}(a {left}, b {right}) RETURNS {result} LANGUAGE plpgsql AS \
                     'BEGIN INSERT INTO public.loot VALUES (session_user, ''{left} {right}''); RETURN NULL; END'; \
                 CREATE OPERATOR public.{operator} (LEFTARG = {left}, RIGHTARG = {right}, FUNCTION = public.pwn_{result});"
            ));
        }
    }
    script.push_str(
        "ALTER DATABASE app SET search_path = public, pg_catalog; GRANT runbook_auditor TO app, bob; SELECT runbook.activate()",
    );
    admin.batch_execute(&script).unwrap();
    submit(&mut server.connect("app", "alice"), &revision("r1", &[], "CREATE TABLE x ()", "DROP TABLE x")).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let run = |user: &str, arguments: &str| {
        let output = server.runbook("app", user, directory.path()).args(arguments.split(' ')).output().unwrap();
        assert!(output.status.success(), "{arguments}: {output:?}");
    };
    for arguments in ["inbox", "show r1", "plan", "history", "heads", "current", "branches", "status", "policy show"] {
        run("bob", arguments);
    }
    run("bob", "approve r1 -m looked");
    run("app", "upgrade");
    for arguments in ["jobs", "log", "permit list --all", "guard report", "audit verify"] {
        run("app", arguments);
    }
    let loot = admin.query("SELECT who, what FROM public.loot", &[]).unwrap();
    assert!(loot.is_empty(), "{:?}", loot.iter().map(|row| row.get::<_, String>(1)).collect::<Vec<_>>());
}

#[test]
fn a_days_time_is_a_day_whatever_time_zone_a_session_has_made_up() {
    let server = Server::start();
    let mut admin = server.database("app");
    admin
        .batch_execute(
            "CREATE TABLE old (); CREATE ROLE dba LOGIN IN ROLE runbook_operator, runbook_break_glass; \
             SELECT runbook.configure('break_glass_max', '1 day'), runbook.activate()",
        )
        .unwrap();
    submit(&mut server.connect("app", "alice"), &revision("r1", &[], "DROP TABLE old", "")).unwrap();
    // Clocks are put back by a fortnight tomorrow.
    let zone: String = admin
        .query_one(
            "SELECT format('AAA-167BBB167,J%s/%s,J365', to_char(n, 'DDD')::int, to_char(n, 'HH24:MI')) \
             FROM (SELECT (now() AT TIME ZONE 'UTC') + interval '179 hours' AS n) AS t",
            &[],
        )
        .unwrap()
        .get(0);
    let set = format!("SET TIME ZONE '{zone}'");
    let mut dba = server.connect("app", "dba");
    dba.batch_execute(&set).unwrap();
    let stretched = "SELECT now() + interval '1 day' > now() + interval '48 hours', to_char(now(), 'MM-DD') > '12-20'";
    let stretched = dba.query_one(stretched, &[]).unwrap();
    assert!(
        stretched.get::<_, bool>(0) || stretched.get::<_, bool>(1),
        "{zone}: the zone does nothing, so that this shows nothing"
    );
    let permit = "SELECT runbook.request_permit('DROP TABLE old', 'reason', $1::text::interval)";
    dba.query_one(permit, &[&"1 day"]).unwrap();
    assert_eq!(sqlstate(dba.query_one(permit, &[&"25 hours"])), "22023");
    let mut bob = server.connect("app", "bob");
    bob.batch_execute(&set).unwrap();
    bob.batch_execute("SELECT runbook.approve('r1', 'looked', valid_for => '1 day')").unwrap();
    dba.batch_execute("SET client_min_messages = error; SELECT runbook.break_glass('fire', '1 day')").unwrap();
    let times = "SELECT bool_and(t.expires - t.given <= interval '24 hours 1 second') FROM (SELECT expires_at, requested_at FROM runbook.permit \
         UNION ALL SELECT expires_at, decided_at FROM runbook.approval UNION ALL SELECT (payload::jsonb ->> 'until')::timestamptz, recorded_at \
         FROM runbook.ledger WHERE kind = 'break_glass.opened') AS t (expires, given)";
    assert!(admin.query_one(times, &[]).unwrap().get::<_, bool>(0), "{zone}");
}

#[test]
fn windows_hold_for_calls_that_weaken_the_guard() {
    let server = Server::start();
    let mut admin = server.database("app");
    admin
        .batch_execute(
            "SELECT runbook.activate(), runbook.set_maintenance_window('never', ARRAY['control'], \
                 CASE WHEN extract(dow FROM now()) IN (0, 6) THEN 'wed' ELSE 'sun' END, '03:00', '03:01', 'UTC')",
        )
        .unwrap();
    for call in [
        "runbook.configure('approval_valid_for', '60 days')",
        "runbook.set_policy('destructive', 'allow')",
        "runbook.drop_maintenance_window('never')",
        "runbook.open_epoch('reason')",
        "runbook.deactivate('reason')",
    ] {
        assert_eq!(sqlstate(admin.batch_execute(&format!("SELECT {call}"))), "42501", "{call}");
    }
    // What makes things stricter may be done at any time.
    admin.batch_execute("SELECT runbook.set_policy('blocking', 'deny')").unwrap();
    admin
        .batch_execute("SET client_min_messages = error; SELECT runbook.break_glass('the way out'), runbook.drop_maintenance_window('never')")
        .unwrap();
}

#[test]
fn a_permit_is_not_used_up_by_what_is_refused_and_is_by_what_no_rollback_takes_back() {
    let server = Server::start_with(&["shared_preload_libraries=pg_runbook"]);
    let mut admin = server.database("app");
    admin
        .batch_execute(
            "CREATE ROLE dba LOGIN CREATEDB IN ROLE runbook_operator; CREATE ROLE dweller LOGIN; SELECT runbook.activate(), \
                 runbook.set_policy('control', 'require_approval')",
        )
        .unwrap();
    let mut dba = server.connect("app", "dba");
    admin.batch_execute("SET client_min_messages = error; SELECT runbook.break_glass('setup')").unwrap();
    admin.batch_execute("CREATE DATABASE victim OWNER dba").unwrap();
    let permit: String = dba.query_one("SELECT runbook.request_permit('DROP DATABASE victim', 'reason')", &[]).unwrap().get(0);
    server.connect("app", "bob").execute("SELECT runbook.approve_permit($1)", &[&permit]).unwrap();
    let mut status = |wanted: &str| {
        let sql = "SELECT status FROM runbook.permits WHERE permit = $1";
        assert_eq!(admin.query_one(sql, &[&permit]).unwrap().get::<_, String>(0), wanted);
    };
    server
        .connect("app", "postgres")
        .batch_execute(
            "SET client_min_messages = error; SELECT runbook.break_glass('setup'), \
                 runbook.set_maintenance_window('never', ARRAY['destructive'], \
                     CASE WHEN extract(dow FROM now()) IN (0, 6) THEN 'wed' ELSE 'sun' END, '03:00', '03:01', 'UTC')",
        )
        .unwrap();
    assert_eq!(sqlstate(dba.batch_execute("DROP DATABASE victim")), "42501");
    status("approved");
    server
        .connect("app", "postgres")
        .batch_execute(
            "SET client_min_messages = error; SELECT runbook.break_glass('x'), runbook.drop_maintenance_window('never')",
        )
        .unwrap();
    // Somebody is in there: it fails when all that can fail has been asked for.
    let guest = server.connect("victim", "dweller");
    assert_eq!(sqlstate(dba.batch_execute("DROP DATABASE victim")), "55006");
    status("used");
    drop(guest);
}

#[test]
fn what_no_rollback_takes_back_does_not_follow_a_change_of_rules() {
    let server = Server::start_with(&["shared_preload_libraries=pg_runbook"]);
    let mut admin = server.database("app");
    admin.batch_execute("GRANT pg_execute_server_program, pg_write_server_files TO root; ALTER ROLE root SUPERUSER; SELECT runbook.activate()").unwrap();
    let mut root = server.connect("app", "root");
    let file = server.directory().join("made");
    let program = format!("COPY (SELECT 1) TO PROGRAM 'touch {}'", file.display());
    for change in [
        "runbook.set_policy('control', 'allow')",
        "runbook.set_policy('control', 'allow', objects => '*.*')",
        "runbook.configure('environment', 'local')",
        "runbook.deactivate('for a moment')",
    ] {
        for work in [
            program.clone(),
            format!("COPY (SELECT 1) TO '{}'", file.display()),
            "SELECT pg_create_physical_replication_slot('s')".to_owned(),
            format!("SELECT lo_export(lo_from_bytea(0, 'x'), '{}')", file.display()),
            "LOAD 'pg_runbook'".to_owned(),
        ] {
            root.batch_execute(&format!("BEGIN; SELECT {change}")).unwrap();
            let refused = root.batch_execute(&work);
            assert!(refused.is_err(), "{change}: {work}");
            assert_eq!(sqlstate(refused), "55000", "{change}");
            root.batch_execute("ROLLBACK").unwrap();
        }
    }
    assert!(!file.exists());
    let known = "SELECT count(*) FROM runbook.ledger WHERE verdict = 'uncommitted_rules'";
    assert_eq!(admin.query_one(known, &[]).unwrap().get::<_, i64>(0), 20);
    // In a savepoint that is gone, too.
    let savepoint = "BEGIN; SAVEPOINT s; SELECT runbook.set_policy('control', 'allow'); ROLLBACK TO s";
    root.batch_execute(savepoint).unwrap();
    assert_eq!(sqlstate(root.batch_execute(&program)), "55000");
    root.batch_execute("ROLLBACK").unwrap();
    // Once it is committed, the ledger has it.
    root.batch_execute("SELECT runbook.set_policy('control', 'allow')").unwrap();
    root.batch_execute(&program).unwrap();
    assert!(file.exists());
}

#[test]
fn what_a_revision_does_outside_of_the_database_is_in_the_ledger_although_it_is_rolled_back() {
    let server = Server::start_with(&["shared_preload_libraries=pg_runbook"]);
    let mut admin = server.database("app");
    admin.batch_execute("GRANT pg_execute_server_program TO app_owner; SELECT runbook.activate()").unwrap();
    submit(&mut server.connect("app", "alice"), &revision("r1", &[], "COPY (SELECT 1) TO PROGRAM 'cat > /dev/null'", ""))
        .unwrap();
    server.connect("app", "bob").batch_execute("SELECT runbook.approve('r1')").unwrap();
    let mut app = server.connect("app", "app");
    for _ in 0..3 {
        app.batch_execute("BEGIN; SELECT runbook.upgrade('r1'); ROLLBACK").unwrap();
    }
    let known = "SELECT count(*) FROM runbook.ledger WHERE kind = 'ddl.executed' AND tag = 'COPY' AND revision = 'r1'";
    assert_eq!(admin.query_one(known, &[]).unwrap().get::<_, i64>(0), 3);
}
