//! Approvals from outside: the command, a hostile environment for our own functions, and many of them.
#![allow(clippy::unwrap_used, missing_docs, reason = "a panic is how a test fails")]

use postgres::Client;
use runbook_tests::scale::{Scene, Size, compare};
use runbook_tests::{Desk, Server, revision, sqlstate, submit, wait_until};

#[test]
fn an_approved_delete_opens_the_table_for_itself_alone() {
    let desk = Desk::new();
    let mut admin = desk.server.connect("app", "postgres");
    admin
        .batch_execute(
            "CREATE TABLE many (id int); INSERT INTO many SELECT generate_series(1, 100); ALTER TABLE many OWNER TO app_owner; \
             SELECT runbook.protect_table('many', 10)",
        )
        .unwrap();
    for (id, second) in [
        ("a001", "DO $$ BEGIN DELETE FROM many; END $$"),
        ("a002", "CREATE FUNCTION wipe() RETURNS void LANGUAGE sql AS 'DELETE FROM many'; SELECT wipe()"),
    ] {
        let wipes = revision(id, &[], &format!("DELETE FROM many WHERE id <= 20; {second}"), "");
        submit(&mut desk.server.connect("app", "alice"), &wipes).unwrap();
        desk.server.connect("app", "bob").batch_execute(&format!("SELECT runbook.approve('{id}')")).unwrap();
        let error = desk.server.connect("app", "app").batch_execute(&format!("SELECT runbook.upgrade('{id}')")).unwrap_err();
        assert_eq!(error.code().unwrap().code(), "42501", "{second}: {error:?}");
        assert_eq!(admin.query_one("SELECT count(*) FROM many", &[]).unwrap().get::<_, i64>(0), 100, "{second}");
    }
}

#[test]
fn an_approver_finds_reads_and_approves_on_the_command_line() {
    let desk = Desk::new();
    let drop_old = revision("a001", &[], "ALTER TABLE orders DROP COLUMN old", "ALTER TABLE orders ADD COLUMN old text");
    submit(&mut desk.server.connect("app", "alice"), &drop_old).unwrap();
    let refused = desk.ends("app", &["upgrade"], 4);
    for part in ["revision \"a001\"", "destructive", "Who may approve: bob, eve", "runbook approve a001"] {
        assert!(refused.contains(part), "{part}\n{refused}");
    }
    let inbox = desk.ends("bob", &["inbox"], 0);
    let command = inbox.lines().find_map(|line| line.trim().strip_prefix("then  runbook ")).unwrap().to_owned();
    assert!(inbox.contains("would drop column public.orders.old"), "{inbox}");
    assert!(desk.ends("alice", &["inbox"], 0).contains("nothing waits"), "it is her own");
    desk.ends("alice", &["approve", "a001"], 4);
    let words: Vec<&str> = command.split(' ').collect();
    desk.ends("bob", &words, 0);
    assert!(desk.ends("bob", &["inbox"], 0).contains("nothing waits"));
    desk.ends("app", &["upgrade"], 0);
}

#[test]
fn a_permit_goes_from_request_to_use_on_the_command_line() {
    let desk = Desk::new();
    let mut dba = desk.server.connect("app", "dba");
    let id = desk.ends("dba", &["--format", "json", "permit", "request", "DROP TABLE orders", "-m", "archived"], 0);
    let id = serde_json::from_str::<serde_json::Value>(&id).unwrap()["permit"].as_str().unwrap().to_owned();
    assert!(desk.ends("bob", &["permit", "list"], 0).contains("requested"));
    assert!(desk.ends("bob", &["inbox"], 0).contains("drop sequence public.orders_id_seq"), "what goes along is shown");
    desk.ends("dba", &["permit", "approve", &id], 4);
    desk.ends("bob", &["permit", "approve", &id[..5], "-m", "I looked"], 0);
    dba.batch_execute("DROP TABLE orders").unwrap();
    assert!(desk.ends("bob", &["permit", "list"], 0).contains("no open permit"));
    assert!(desk.ends("bob", &["permit", "list", "--all"], 0).contains("used"));
    desk.ends("dba", &["permit", "request", "DROP TABLE nosuch", "-m", "x"], 5);
    desk.ends("dba", &["permit", "request", "DROP TABEL x", "-m", "x"], 3);
    assert!(desk.ends("dba", &["permit", "request", "DROP TABLE x", "-m", "x", "--for", "soon"], 3).contains("'2 hours'"));
    desk.ends("dba", &["permit", "approve", "nosuch"], 4);
}

/// PostgreSQL refuses DROP INDEX CONCURRENTLY in a transaction that has written anything, an entry or the use of a permit included.
#[test]
fn a_permit_says_at_once_what_of_a_cascade_it_does_not_cover() {
    let desk = Desk::new();
    let mut admin = desk.server.connect("app", "postgres");
    admin
        .batch_execute(
            "CREATE SCHEMA s; CREATE TABLE s.a (id int PRIMARY KEY, x serial); CREATE TABLE s.b (id int REFERENCES s.a); \
             CREATE TYPE s.e AS ENUM ('x'); CREATE TABLE u (e s.e); CREATE TABLE s.alone (id int); CREATE VIEW v AS SELECT * FROM s.alone",
        )
        .unwrap();
    let ask =
        |admin: &mut Client, statement: &str| admin.query_one("SELECT runbook.request_permit($1, 'clean up')", &[&statement]);
    let refused = ask(&mut admin, "DROP SCHEMA s CASCADE").unwrap_err();
    let refused = refused.as_db_error().unwrap();
    assert_eq!(
        (refused.code().code(), refused.message().starts_with("a permit does not cover what CASCADE reaches")),
        ("22023", true)
    );
    for part in ["table s.a", "table s.b", "column public.u.e", "table s.alone", "view public.v"] {
        assert!(refused.detail().unwrap().contains(part), "{part}: {refused:?}");
    }
    // What goes along is no decision of its own, and what policy allows is none either.
    for statement in ["DROP TABLE s.b CASCADE", "DROP TABLE s.alone CASCADE", "DROP SCHEMA s"] {
        ask(&mut admin, statement).unwrap_or_else(|error| panic!("{statement}: {error}"));
    }
    let permit: String = ask(&mut admin, "DROP TABLE s.alone CASCADE").unwrap().get(0);
    desk.server.connect("app", "bob").batch_execute(&format!("SELECT runbook.approve_permit('{permit}')")).unwrap();
    admin.batch_execute("DROP TABLE s.alone CASCADE").unwrap();
}

#[test]
fn windows_and_protected_tables_are_set_on_the_command_line() {
    let desk = Desk::new();
    let window = ["policy", "window", "nights", "--classes", "blocking,breaking", "--opens", "22:00", "--closes", "04:00"];
    assert!(desk.ends("root", &window, 0).contains("window nights: set"));
    assert!(
        desk.ends("root", &["policy", "protect", "public.orders", "--max-rows", "10"], 0).contains("public.orders: protected")
    );
    let shown = desk.ends("bob", &["policy", "show"], 0);
    assert!(shown.contains("nights") && shown.contains("blocking, breaking") && shown.contains("orders"), "{shown}");
    desk.ends("bob", &window, 4);
    for (wrong, code) in [
        (&["policy", "window", "x", "--classes", "odd", "--opens", "22:00", "--closes", "04:00"][..], 3),
        (&["policy", "window", "x", "--classes", "blocking", "--opens", "25:00", "--closes", "04:00"], 3),
        (&["policy", "window", "x", "--opens", "22:00", "--closes", "04:00"], 2),
        (&["policy", "protect", "public.nosuch"], 1),
        (&["policy", "protect", "public.orders", "--max-rows", "-1"], 2),
    ] {
        desk.ends("root", wrong, code);
    }
    let rule = |objects: &'static str| ["policy", "set", "breaking", "require_approval", "--objects", objects];
    for (objects, warns) in
        [("inv", true), ("public.order?", false), ("public.orders.old", false), ("public.nosuch", true), ("pub*", false)]
    {
        let told = desk.ends("root", &rule(objects), 0);
        assert_eq!(told.contains(&format!("warning: no object matches \"{objects}\" now")), warns, "{told}");
    }
    for (arguments, first, second) in [
        (&["policy", "drop-window", "nights"][..], "window nights: removed", "there was no window nights"),
        (&["policy", "unprotect", "public.orders"], "public.orders: no longer protected", "public.orders was not protected"),
    ] {
        assert!(desk.ends("root", arguments, 0).contains(first));
        assert!(desk.ends("root", arguments, 0).contains(second));
    }
}

#[test]
fn an_index_is_dropped_concurrently_under_a_permit_and_in_record_mode() {
    const DROP: &str = "DROP INDEX CONCURRENTLY orders_old";
    for parameters in [&["fsync=off"][..], &["fsync=off", "shared_preload_libraries=pg_runbook"]] {
        let server = Server::start_with(parameters);
        let mut admin = server.database("app");
        admin.batch_execute("CREATE TABLE orders (old text); CREATE INDEX orders_old ON orders (old)").unwrap();
        admin
            .batch_execute("ALTER TABLE orders OWNER TO app_owner; CREATE ROLE dba LOGIN IN ROLE app_owner, runbook_operator")
            .unwrap();
        admin.batch_execute("SELECT runbook.set_policy('breaking', 'require_approval', 1), runbook.activate()").unwrap();
        let mut dba = server.connect("app", "dba");
        let refused = dba.batch_execute(DROP).unwrap_err();
        assert_eq!(refused.code().unwrap().code(), "42501");
        let permit: String = dba.query_one("SELECT runbook.request_permit($1, 'unused')", &[&DROP]).unwrap().get(0);
        server.connect("app", "bob").execute("SELECT runbook.approve_permit($1)", &[&permit]).unwrap();
        // The first of two statements takes the permit at its first commit, even if it then waits for a reader.
        let mut holder = server.connect("app", "dba");
        let mut reader = holder.transaction().unwrap();
        reader.execute("SELECT FROM orders", &[]).unwrap();
        let mut late = server.connect("app", "dba");
        let waiting = std::thread::spawn(move || late.batch_execute(DROP));
        wait_until(30, "the statement to wait for the reader", || {
            let sql = "SELECT count(*) FROM pg_stat_activity WHERE query = $1 AND wait_event_type = 'Lock'";
            admin.query_one(sql, &[&DROP]).unwrap().get::<_, i64>(0) > 0
        });
        assert_eq!(sqlstate(dba.batch_execute(DROP)), "42501", "it is used");
        reader.rollback().unwrap();
        waiting.join().unwrap().unwrap();
        assert_eq!(sqlstate(dba.batch_execute(DROP)), "42704", "it is gone");
        // What could not run at all leaves nothing behind for the statements after it.
        const EMPTY: &str = "ALTER TABLE orders ALTER old TYPE text USING NULL";
        let again: String = dba.query_one("SELECT runbook.request_permit($1, 'unused')", &[&EMPTY]).unwrap().get(0);
        server.connect("app", "bob").execute("SELECT runbook.approve_permit($1)", &[&again]).unwrap();
        let mut work = dba.transaction().unwrap();
        assert_eq!(sqlstate(work.transaction().unwrap().batch_execute(DROP)), "25001");
        work.batch_execute(EMPTY).unwrap();
        assert_eq!(sqlstate(work.batch_execute(EMPTY)), "42501", "a permit is good for once");
        work.rollback().unwrap();
        let used = "SELECT count(*) FROM runbook.ledger WHERE kind = 'permit.used' AND payload::jsonb ->> 'permit' = $1";
        assert_eq!(admin.query_one(used, &[&permit]).unwrap().get::<_, i64>(0), 1);
        admin.batch_execute("SET runbook.mode = record; CREATE INDEX orders_old ON orders (old)").unwrap();
        admin.batch_execute(DROP).unwrap();
        let would = "SELECT count(*) FROM runbook.ledger WHERE kind = 'ddl.would_block'";
        assert_eq!(admin.query_one(would, &[]).unwrap().get::<_, i64>(0), 1);
        assert!(!server.log().contains("still active"), "{}", server.log());
    }
}

#[test]
fn the_glass_is_broken_for_one_command_and_loud_meanwhile() {
    let desk = Desk::new();
    desk.ends("bob", &["break-glass", "-m", "fire", "--sql", "DROP TABLE orders"], 4);
    desk.ends("dba", &["break-glass", "-m", "fire", "--sql", "DROP TABLE nosuch"], 1);
    desk.ends("dba", &["break-glass", "-m", "fire", "--sql", "DROP TABLE orders"], 0);
    let log = desk.ends("dba", &["log"], 0);
    assert!(log.lines().any(|line| line.contains("ddl.executed") && line.contains("BROKEN")), "{log}");
    let mut dba = desk.server.connect("app", "dba");
    dba.batch_execute("SELECT runbook.break_glass('fire')").unwrap();
    assert!(desk.ends("bob", &["status"], 0).contains("THE GLASS IS BROKEN: dba"));
    drop(dba);
    wait_until(10, "the session is gone", || !desk.ends("bob", &["status"], 0).contains("THE GLASS IS BROKEN"));
    desk.ends("root", &["policy", "set", "breaking", "perhaps"], 3);
    desk.ends("root", &["policy", "set", "breaking", "require_approval", "--objects", "public.orders"], 0);
    assert!(desk.ends("bob", &["policy", "show"], 0).contains("public.orders"));
    desk.ends("bob", &["policy", "preset", "local"], 4);
    // In production a permit lets the very command through that was refused.
    desk.ends("root", &["policy", "preset", "production"], 0);
    let refused = desk.ends("root", &["policy", "set", "blocking", "record"], 4);
    let ask = refused.split_once("request_permit(").unwrap().1.split_once(", 'REASON'").unwrap().0;
    let statement = ask.trim_matches('\'').replace("''", "'");
    let id = desk.ends("root", &["--format", "json", "permit", "request", &statement, "-m", "index builds"], 0);
    let id = serde_json::from_str::<serde_json::Value>(&id).unwrap()["permit"].as_str().unwrap().to_owned();
    desk.ends("bob", &["permit", "approve", &id], 0);
    desk.ends("root", &["policy", "set", "blocking", "record"], 0);
    desk.ends("root", &["policy", "set", "breaking", "record"], 4);
}

/// Every function of ours that runs with its owner's privileges, called as `carol`.
fn definer_results(client: &mut Client) -> Vec<(String, String)> {
    let calls = [
        "guard_status()",
        "policy_in_force()",
        "settings_in_force()",
        "permits_in_force()",
        "jobs_in_force()",
        "show('a001')",
        "plan('head', 'upgrade')",
        "heads()",
        "current()",
        "history('base:heads')",
        "branches()",
        "fingerprint()",
        "verify_ledger()",
        "tree_head()",
        "tree_frontier()",
        "inclusion_proof(0)",
        "consistency_proof(1)",
    ];
    let answer = |call: &str, client: &mut Client| {
        let schema = if call.contains("_in_force") { "runbook_internal" } else { "runbook" };
        let sql = format!("SELECT pg_catalog.string_agg(r::pg_catalog.text, ';') FROM {schema}.{call} AS r");
        let text: Option<String> = client.query_one(&sql, &[]).unwrap_or_else(|error| panic!("{call}: {error:?}")).get(0);
        text.unwrap_or_default()
    };
    calls.iter().map(|call| ((*call).to_owned(), answer(call, client))).collect()
}

#[test]
fn definer_functions_answer_the_same_in_a_hostile_session() {
    let server = Server::start();
    let mut admin = server.database("app");
    admin.batch_execute("CREATE SCHEMA hostile AUTHORIZATION carol; CREATE TABLE orders (id int)").unwrap();
    submit(&mut server.connect("app", "alice"), &revision("a001", &[], "DROP TABLE orders", "")).unwrap();
    admin.batch_execute("SELECT runbook.activate()").unwrap();
    admin.batch_execute("CALL runbook.seal()").unwrap();
    // All of them are in the list.
    let definers: Vec<String> = admin
        .query(
            "SELECT p.proname::text FROM pg_proc AS p WHERE p.pronamespace = 'runbook'::regnamespace AND p.prosecdef AND p.proname <> 'require'",
            &[],
        )
        .unwrap()
        .iter()
        .map(|row| row.get(0))
        .collect();
    let mut carol = server.connect("app", "carol");
    let known = definer_results(&mut carol);
    for name in &definers {
        assert!(known.iter().any(|(call, _)| call.starts_with(&format!("{name}("))), "{name} is not called here");
    }

    let mut hostile = server.connect("app", "carol");
    let mut script = String::from("SET client_min_messages = error;");
    for (left, right) in [
        ("text", "text"),
        ("name", "name"),
        ("oid", "oid"),
        ("\"char\"", "\"char\""),
        ("int4", "int4"),
        ("int8", "int8"),
        ("int2", "int2"),
        ("bool", "bool"),
        ("text[]", "text[]"),
        ("timestamptz", "timestamptz"),
        ("bytea", "bytea"),
        ("uuid", "uuid"),
        ("anyelement", "anyarray"),
    ] {
        for schema in ["hostile", "pg_temp"] {
            script.push_str(&format!(
                "CREATE FUNCTION {schema}.lie(a {left}, b {right}) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN \
                 IF current_user OPERATOR(pg_catalog.<>) session_user THEN RAISE EXCEPTION 'runs as %', current_user; END IF; RETURN true; END $$;"
            ));
        }
        for operator in ["=", "<>", "<", ">", "<=", ">="] {
            script.push_str(&format!(
                "CREATE OPERATOR hostile.{operator} (LEFTARG = {left}, RIGHTARG = {right}, FUNCTION = hostile.lie);"
            ));
        }
    }
    for function in
        ["format(text, text, text)", "current_database()", "clock_timestamp()", "sha256(bytea)", "to_regclass(text)"]
    {
        for schema in ["hostile", "pg_temp"] {
            script.push_str(&format!(
                "CREATE FUNCTION {schema}.{function} RETURNS text LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'called'; END $$;"
            ));
        }
    }
    for table in [
        "revision",
        "approval",
        "entry",
        "unsealed",
        "tile",
        "setting",
        "activation",
        "policy_rule",
        "permit",
        "pg_class",
        "pg_roles",
        "pg_proc",
    ] {
        script.push_str(&format!("CREATE TEMP TABLE {table} (x int); CREATE TABLE hostile.{table} (x int);"));
    }
    script.push_str(
        "SET search_path = pg_temp, hostile, runbook, pg_catalog; SET DateStyle = 'SQL, DMY'; SET extra_float_digits = 3",
    );
    hostile.batch_execute(&script).unwrap();
    // The hostile objects and their ledger entries are in the answers, so that a fresh session is asked now.
    admin.batch_execute("CALL runbook.seal()").unwrap();
    let known = definer_results(&mut server.connect("app", "carol"));
    for ((call, before), (_, after)) in known.iter().zip(definer_results(&mut hostile)) {
        assert_eq!(*before, after, "{call}");
    }
    let required = hostile.query_one("SELECT runbook.require('a001')", &[]);
    assert_eq!(required.unwrap_err().as_db_error().unwrap().code().code(), "55000");
}

#[test]
fn many_revisions_and_approvals_cost_an_upgrade_little() {
    let server = Server::start_with(&["fsync=off"]);
    let mut scenes = [
        Scene::new(&server, "few", Size { revisions: 10, approvals: 10, steps: 30 }),
        Scene::new(&server, "many", Size { revisions: 2_000, approvals: 20_000, steps: 30 }),
    ];
    let [few, many] = compare(&mut scenes, 15, true);
    println!("milliseconds to approve and to apply: few {few:?}, many {many:?}");
    // make bench measures 10,000 and 100,000; here a scan of either table would be enough to fail.
    for (few, many) in few.iter().zip(many) {
        assert!(many < few * 2.0, "{many} ms against {few} ms");
    }
}
