//! The command and the deadlines, in a database and a session that somebody else has prepared.
#![allow(clippy::unwrap_used, missing_docs, reason = "a panic is how a test fails")]

use postgres::Client;
use runbook_tests::{Server, revision, sqlstate, submit, wait_until};

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
        "runbook.configure('preset', 'local')",
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

#[test]
fn what_was_found_out_before_a_rollback_does_not_count_after_it() {
    let server = Server::start_with(&["shared_preload_libraries=pg_runbook"]);
    let mut admin = server.database("app");
    admin
        .batch_execute(
            "SELECT lo_from_bytea(4711, 'x'); CREATE TABLE t (); CREATE TABLE prot (id int); INSERT INTO prot SELECT generate_series(1, 50); \
             SELECT runbook.protect_table('prot', 10), runbook.activate(), runbook.set_policy('control', 'require_approval')",
        )
        .unwrap();
    let known = |admin: &mut Client, kind: &str| -> i64 {
        let sql = "SELECT count(*) FROM runbook.ledger WHERE kind = $1";
        admin.query_one(sql, &[&kind]).unwrap().get(0)
    };
    // One message may hold several transactions, and what is taken back in it.
    admin.batch_execute("SET client_min_messages = error").unwrap();
    for message in [
        "BEGIN; SELECT runbook.break_glass('x'), runbook.deactivate('x'); COMMENT ON TABLE t IS 'x'; ROLLBACK; SELECT lo_unlink(4711)",
        "BEGIN; SAVEPOINT s; SELECT runbook.break_glass('x'), runbook.deactivate('x'); COMMENT ON TABLE t IS 'x'; ROLLBACK TO s; \
             SELECT lo_unlink(4711); COMMIT",
        "SELECT runbook.break_glass('x'), runbook.deactivate('x'); COMMENT ON TABLE t IS 'x'; SELECT runbook.activate(), \
             runbook.close_break_glass(); SELECT lo_unlink(4711)",
        "SELECT runbook.break_glass('x'); UPDATE pg_class SET relname = relname WHERE false; SELECT runbook.close_break_glass(); \
             UPDATE pg_class SET relname = relname WHERE false",
    ] {
        let refused = admin.batch_execute(message);
        assert!(refused.is_err(), "{message}");
        assert_eq!(sqlstate(refused), "42501", "{message}");
        admin.batch_execute("ROLLBACK").unwrap();
    }
    // What a superuser does with the guard switched off leaves evidence, whatever it is.
    admin
        .batch_execute("SELECT runbook.break_glass('x'), runbook.set_policy('control', 'default'), runbook.close_break_glass()")
        .unwrap();
    admin.batch_execute("SET runbook.mode = off").unwrap();
    let file = server.directory().join("made").display().to_string();
    for work in [
        "UPDATE pg_class SET relname = relname WHERE false".to_owned(),
        "DELETE FROM prot".to_owned(),
        "TRUNCATE prot".to_owned(),
        "SELECT pg_create_physical_replication_slot('s')".to_owned(),
        "SELECT pg_drop_replication_slot('s')".to_owned(),
        format!("SELECT lo_export(4711, '{file}')"),
        "SELECT lo_unlink(4711)".to_owned(),
    ] {
        let before = known(&mut admin, "guard.bypassed");
        admin.batch_execute(&work).unwrap_or_else(|error| panic!("{work}: {error:?}"));
        assert_eq!(known(&mut admin, "guard.bypassed"), before + 1, "{work}");
    }
}

#[test]
fn the_program_of_a_foreign_table_is_in_the_ledger_although_the_table_is_rolled_back() {
    for parameters in [&[][..], &["shared_preload_libraries=pg_runbook"]] {
        let server = Server::start_with(parameters);
        let mut admin = server.database("app");
        admin
            .batch_execute(
                "CREATE EXTENSION file_fdw; CREATE SERVER files FOREIGN DATA WRAPPER file_fdw; GRANT USAGE ON FOREIGN SERVER files TO app_owner; \
                 GRANT pg_execute_server_program TO app_owner; SELECT runbook.activate()",
            )
            .unwrap();
        let create = "CREATE FOREIGN TABLE f (x text) SERVER files OPTIONS (program 'echo x')";
        admin.batch_execute(&format!("BEGIN; SET ROLE app_owner; {create}; SELECT * FROM f; ROLLBACK")).unwrap();
        admin
            .batch_execute(&format!(
                "BEGIN; SET ROLE app_owner; {}; ALTER FOREIGN TABLE f OPTIONS (SET program 'echo y'); SELECT * FROM f; ROLLBACK",
                create.replace("program 'echo x'", "program 'true'")
            ))
            .unwrap();
        submit(&mut server.connect("app", "alice"), &revision("r1", &[], create, "DROP FOREIGN TABLE f")).unwrap();
        server.connect("app", "bob").batch_execute("SELECT runbook.approve('r1')").unwrap();
        server.connect("app", "app").batch_execute("BEGIN; SELECT runbook.upgrade('r1'); ROLLBACK").unwrap();
        let known = "SELECT count(*) FROM runbook.ledger WHERE kind = 'ddl.executed' AND tag ~ 'FOREIGN TABLE'";
        assert_eq!(admin.query_one(known, &[]).unwrap().get::<_, i64>(0), 4, "{parameters:?}");
        // A yes that is not committed allows nothing that outlasts it.
        admin.batch_execute("GRANT runbook_operator TO eve").unwrap();
        let mut eve = server.connect("app", "eve");
        eve.batch_execute("BEGIN; SELECT runbook.approve('r1')").unwrap();
        assert_eq!(sqlstate(eve.batch_execute("SELECT runbook.upgrade('r1')")), "55000", "{parameters:?}");
    }
}

#[test]
fn a_decision_that_is_taken_back_while_a_statement_waits_is_taken_back() {
    let server = Server::start_with(&["shared_preload_libraries=pg_runbook"]);
    for (at, (login, call)) in [
        ("bob", "SELECT runbook.revoke('r1', 'no')"),
        ("eve", "SELECT runbook.reject('r1', 'no')"),
        ("root", "SELECT runbook.set_policy('destructive', 'deny')"),
        ("root", "SELECT runbook.set_policy('destructive', 'require_approval', 2)"),
        ("carol", "SELECT 'and nothing is taken back'"),
    ]
    .into_iter()
    .enumerate()
    {
        for by_job in [false, true] {
            let name = &format!("taken_{at}_{by_job}");
            let mut admin = server.database(name);
            admin
                .batch_execute("SET ROLE app_owner; CREATE TABLE gold (id int); RESET ROLE; SELECT runbook.activate()")
                .unwrap();
            // A line about a role must not lend the others its exception.
            let text = if at == 0 { "ALTER ROLE CURRENT_USER SET work_mem = 4096; DROP TABLE gold" } else { "DROP TABLE gold" };
            submit(&mut server.connect(name, "alice"), &revision("r1", &[], text, "")).unwrap();
            server.connect(name, "bob").batch_execute("SELECT runbook.approve('r1')").unwrap();
            let mut holder = server.connect(name, "postgres");
            holder.batch_execute("BEGIN; LOCK TABLE gold IN ACCESS SHARE MODE").unwrap();
            let mut app = server.connect(name, "app");
            let call_of_app = if by_job { "start_upgrade" } else { "upgrade" };
            let applied = std::thread::spawn(move || {
                app.batch_execute(&format!("SELECT runbook.{call_of_app}('r1')"))?;
                if by_job { app.batch_execute("CALL runbook.wait(1)") } else { Ok(()) }
            });
            let waits = "SELECT count(*) FROM pg_locks WHERE NOT granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
            wait_until(20, "the statement waits", || admin.query_one(waits, &[]).unwrap().get::<_, i64>(0) > 0);
            server.connect(name, login).batch_execute(call).unwrap();
            holder.batch_execute("COMMIT").unwrap();
            let there = "SELECT to_regclass('gold') IS NOT NULL";
            let applied = applied.join().unwrap();
            if login == "carol" {
                applied.unwrap();
                assert!(!admin.query_one(there, &[]).unwrap().get::<_, bool>(0));
                continue;
            }
            assert!(applied.is_err(), "{call}, by a job: {by_job}");
            assert_eq!(sqlstate(applied), "42501", "{call}, by a job: {by_job}");
            assert!(admin.query_one(there, &[]).unwrap().get::<_, bool>(0), "{call}, by a job: {by_job}");
        }
    }
}

#[test]
fn what_a_block_reaches_is_judged_by_the_rules_of_now_and_a_no_stands() {
    let server = Server::start_with(&["shared_preload_libraries=pg_runbook"]);
    let mut admin = server.database("app");
    let tables =
        "SET ROLE app_owner; CREATE TABLE gold (id int); CREATE TABLE child (id int); INSERT INTO child VALUES (1); RESET ROLE";
    admin.batch_execute(&format!("{tables}; SELECT runbook.activate(), runbook.configure('preset', 'local')")).unwrap();
    let mut alice = server.connect("app", "alice");
    let block = "DO $$ BEGIN PERFORM pg_advisory_xact_lock(7); EXECUTE 'DROP TABLE gold'; END $$";
    submit(&mut alice, &revision("r1", &[], block, "")).unwrap();
    let mut holder = server.connect("app", "postgres");
    holder.batch_execute("BEGIN; SELECT pg_advisory_xact_lock(7)").unwrap();
    let mut app = server.connect("app", "app");
    let applied = std::thread::spawn(move || app.batch_execute("SELECT runbook.upgrade('r1')"));
    let waits = "SELECT count(*) FROM pg_locks WHERE NOT granted";
    wait_until(20, "the block waits", || admin.query_one(waits, &[]).unwrap().get::<_, i64>(0) > 0);
    admin.batch_execute("SELECT runbook.set_policy('destructive', 'deny')").unwrap();
    holder.batch_execute("COMMIT").unwrap();
    assert_eq!(sqlstate(applied.join().unwrap()), "42501");
    assert!(admin.query_one("SELECT to_regclass('gold') IS NOT NULL", &[]).unwrap().get::<_, bool>(0));

    // Nothing in it needs a yes; somebody's no stands all the same, until it is taken back.
    submit(&mut alice, &revision("r2", &["r1"], "DELETE FROM child WHERE true", "")).unwrap();
    admin.batch_execute("SELECT runbook.set_policy('destructive', 'default'), runbook.stamp('r1')").unwrap();
    server.connect("app", "eve").batch_execute("SELECT runbook.reject('r2', 'no')").unwrap();
    server.connect("app", "bob").batch_execute("SELECT runbook.approve('r2')").unwrap();
    let mut app = server.connect("app", "app");
    assert_eq!(sqlstate(app.batch_execute("SELECT runbook.upgrade('r2')")), "42501");
    server.connect("app", "eve").batch_execute("SELECT runbook.revoke('r2', 'yes')").unwrap();
    app.batch_execute("SELECT runbook.upgrade('r2')").unwrap();

    // What is approved is what the approver's transaction shows.
    submit(&mut alice, &revision("r3", &["r2"], "TRUNCATE child", "")).unwrap();
    let mut bob = server.connect("app", "bob");
    bob.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT runbook.show('r3')").unwrap();
    submit(&mut alice, &revision("r3", &["r2"], "DROP TABLE gold", "")).unwrap();
    assert_eq!(sqlstate(bob.batch_execute("SELECT runbook.approve('r3')")), "40001");
}

#[test]
fn a_statement_under_a_permit_that_waits_is_refused_where_policy_comes_to_deny() {
    let server = Server::start_with(&["shared_preload_libraries=pg_runbook"]);
    let mut admin = server.database("app");
    admin
        .batch_execute(
            "SET ROLE app_owner; CREATE TABLE gold (id int); INSERT INTO gold VALUES (1); RESET ROLE; \
             CREATE ROLE dba LOGIN IN ROLE app_owner, runbook_operator; SELECT runbook.activate()",
        )
        .unwrap();
    for (statement, denied) in [("TRUNCATE gold", true), ("DROP TABLE gold", true), ("DROP TABLE gold", false)] {
        let mut dba = server.connect("app", "dba");
        let permit: String = dba.query_one("SELECT runbook.request_permit($1, 'reason')", &[&statement]).unwrap().get(0);
        server.connect("app", "bob").execute("SELECT runbook.approve_permit($1)", &[&permit]).unwrap();
        let mut holder = server.connect("app", "postgres");
        holder.batch_execute("BEGIN; LOCK TABLE gold IN ACCESS SHARE MODE").unwrap();
        let waiting = std::thread::spawn(move || dba.batch_execute(statement));
        let waits = "SELECT count(*) FROM pg_locks WHERE NOT granted";
        wait_until(20, "the statement waits", || admin.query_one(waits, &[]).unwrap().get::<_, i64>(0) > 0);
        if denied {
            admin.batch_execute("SELECT runbook.set_policy('destructive', 'deny')").unwrap();
        }
        holder.batch_execute("COMMIT").unwrap();
        let ended = waiting.join().unwrap();
        let kept: bool = admin.query_one("SELECT to_regclass('gold') IS NOT NULL", &[]).unwrap().get(0);
        assert_eq!(kept, denied, "{statement}");
        if denied {
            let refusal = ended.unwrap_err();
            let refusal = refusal.as_db_error().unwrap();
            assert!(refusal.code().code() == "42501" && refusal.hint().unwrap().contains("set_policy"), "{refusal:?}");
            assert_eq!(admin.query_one("SELECT count(*) FROM gold", &[]).unwrap().get::<_, i64>(0), 1, "{statement}");
            admin.batch_execute("SELECT runbook.set_policy('destructive', 'default')").unwrap();
        } else {
            ended.unwrap();
        }
    }
}
