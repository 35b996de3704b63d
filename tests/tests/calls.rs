//! Every function that changes the runbook, called in every way that reading something of somebody else's can call it.
//!
//! A view, a policy, a default or a function belongs to whoever has made it. If it could approve, submit or apply when somebody with
//! the right role reads it, one person would have the roles of all.
#![allow(clippy::unwrap_used, missing_docs, reason = "a panic is how a test fails")]

use postgres::{Client, SimpleQueryMessage};
use runbook_core::changing;
use runbook_tests::Server;

/// A call of each function, with arguments that would do something.
fn call(function: &str) -> &'static str {
    match function {
        "activate" => "runbook.activate()",
        "approve" => "runbook.approve('r1')",
        "approve_permit" => "runbook.approve_permit('none')",
        "archive_ledger" => "runbook.archive_ledger(1, '\\x00'::bytea, 'reason')",
        "break_glass" => "runbook.break_glass('reason')",
        "cancel" => "runbook.cancel(1)",
        "close_break_glass" => "runbook.close_break_glass()",
        "configure" => "runbook.configure('lock_timeout', '9s')",
        "deactivate" => "runbook.deactivate('reason')",
        "downgrade" => "runbook.downgrade('base')",
        "drop_maintenance_window" => "runbook.drop_maintenance_window('night')",
        "open_epoch" => "runbook.open_epoch('reason')",
        "pause" => "runbook.pause(1)",
        "protect_table" => "runbook.protect_table('public.bait'::regclass, 1)",
        "record_checkpoint" => "runbook.record_checkpoint('note')",
        "reject" => "runbook.reject('r1')",
        "reject_permit" => "runbook.reject_permit('none')",
        "request_permit" => "runbook.request_permit('DROP TABLE public.bait', 'reason')",
        "resume" => "runbook.resume(1)",
        "revoke" => "runbook.revoke('r1')",
        "set_maintenance_window" => {
            "runbook.set_maintenance_window('night', ARRAY['destructive'], 'mon-sun', '01:00', '02:00', 'UTC')"
        }
        "set_policy" => "runbook.set_policy('destructive', 'allow')",
        "stamp" => "runbook.stamp('r1')",
        "start_downgrade" => "runbook.start_downgrade('base')",
        "start_upgrade" => "runbook.start_upgrade('head')",
        "submit" => "runbook.submit('{\"revision\": \"evil\", \"upgrade\": \"DROP TABLE public.bait\"}'::jsonb)",
        "unprotect_table" => "runbook.unprotect_table('public.bait'::regclass)",
        "upgrade" => "runbook.upgrade('head')",
        "withdraw" => "runbook.withdraw('r1', 'reason')",
        other => panic!("no call of runbook.{other} is known here: add one"),
    }
}

/// A trap that mallory sets, and how the victim steps into it; `{call}` stands for the call.
const WAYS: [(&str, &str, &str); 15] = [
    ("a view", "CREATE VIEW mallory.trap AS SELECT {call}::text AS x", "SELECT * FROM mallory.trap"),
    (
        "a view, beside the very call",
        "CREATE VIEW mallory.trap AS SELECT {call}::text AS x",
        "SELECT 1 AS \"{name}(\" FROM mallory.trap",
    ),
    (
        "a view that is copied",
        "CREATE VIEW mallory.trap AS SELECT {call}::text AS x",
        "CREATE TEMP TABLE copy AS SELECT * FROM mallory.trap",
    ),
    (
        "a view that is explained",
        "CREATE VIEW mallory.trap AS SELECT {call}::text AS x",
        "EXPLAIN ANALYZE SELECT * FROM mallory.trap",
    ),
    (
        "a view under a cursor",
        "CREATE VIEW mallory.trap AS SELECT {call}::text AS x",
        "BEGIN; DECLARE c CURSOR FOR SELECT * FROM mallory.trap; FETCH ALL FROM c",
    ),
    (
        "a view, prepared",
        "CREATE VIEW mallory.trap AS SELECT {call}::text AS x",
        "PREPARE p AS SELECT * FROM mallory.trap; EXECUTE p",
    ),
    (
        "a row security policy",
        "CREATE TABLE mallory.trap (x int); INSERT INTO mallory.trap VALUES (1); ALTER TABLE mallory.trap ENABLE ROW LEVEL SECURITY; \
         CREATE POLICY p ON mallory.trap USING (({call})::text IS NOT NULL)",
        "SELECT * FROM mallory.trap",
    ),
    ("a default", "CREATE TABLE mallory.trap (x int, y text DEFAULT {call}::text)", "INSERT INTO mallory.trap (x) VALUES (1)"),
    (
        "a check",
        "CREATE TABLE mallory.trap (x int CHECK (({call})::text IS NOT NULL))",
        "INSERT INTO mallory.trap (x) VALUES (1)",
    ),
    ("a domain", "CREATE DOMAIN mallory.trap AS int CHECK (({call})::text IS NOT NULL)", "SELECT 1::mallory.trap"),
    (
        "a rule",
        "CREATE TABLE mallory.trap (x int); CREATE RULE r AS ON INSERT TO mallory.trap DO ALSO SELECT {call}::text",
        "INSERT INTO mallory.trap VALUES (1)",
    ),
    (
        "a trigger",
        "CREATE TABLE mallory.trap (x int); CREATE FUNCTION mallory.fire() RETURNS trigger LANGUAGE plpgsql AS $f$ BEGIN PERFORM {call}; \
         RETURN NEW; END $f$; CREATE TRIGGER t BEFORE INSERT ON mallory.trap FOR EACH ROW EXECUTE FUNCTION mallory.fire()",
        "INSERT INTO mallory.trap VALUES (1)",
    ),
    (
        "a function in SQL, which is inlined",
        "CREATE FUNCTION mallory.trap() RETURNS text LANGUAGE sql AS $f$ SELECT {call}::text $f$",
        "SELECT mallory.trap()",
    ),
    (
        "a function in PL/pgSQL",
        "CREATE FUNCTION mallory.trap() RETURNS text LANGUAGE plpgsql AS $f$ BEGIN RETURN {call}::text; END $f$",
        "SELECT mallory.trap()",
    ),
    (
        "an operator",
        "CREATE FUNCTION mallory.eq(int, int) RETURNS boolean LANGUAGE plpgsql AS $f$ BEGIN PERFORM {call}; RETURN true; END $f$; \
         CREATE OPERATOR mallory.=== (LEFTARG = int, RIGHTARG = int, FUNCTION = mallory.eq)",
        "SELECT 1 OPERATOR(mallory.===) 1",
    ),
];

/// The guard's refusal of the call, or what came instead.
fn step_into(victim: &mut Client, sql: &str) -> String {
    let came = match victim.simple_query(sql) {
        Ok(messages) => {
            let rows = messages.iter().filter(|one| matches!(one, SimpleQueryMessage::Row(_))).count();
            format!("it passed, with {rows} row(s)")
        }
        Err(error) => {
            let error = error.as_db_error().unwrap();
            format!("{} {}", error.code().code(), error.message())
        }
    };
    let _ = victim.simple_query("ROLLBACK");
    let _ = victim.simple_query("DEALLOCATE ALL");
    came
}

#[test]
fn what_changes_the_runbook_must_stand_in_the_text_of_whoever_calls_it() {
    let server = Server::start();
    let mut admin = server.database("app");
    admin
        .batch_execute(
            "CREATE ROLE mallory LOGIN; CREATE SCHEMA mallory AUTHORIZATION mallory; GRANT USAGE ON SCHEMA mallory TO PUBLIC; \
             CREATE ROLE victor LOGIN; GRANT runbook_author, runbook_approver, runbook_operator, runbook_auditor, runbook_admin, \
                 runbook_break_glass TO victor, mallory; \
             CREATE TABLE public.bait (x int); SELECT runbook.activate()",
        )
        .unwrap();
    let mut alice = server.connect("app", "alice");
    runbook_tests::submit(&mut alice, &runbook_tests::revision("r1", &[], "DROP TABLE public.bait", "")).unwrap();
    let mut mallory = server.connect("app", "mallory");
    let mut victor = server.connect("app", "victor");
    let mut ledger = || -> String {
        admin.query_one("SELECT count(*)::text || ' ' || (SELECT string_agg(s::text, ',') FROM runbook.settings AS s) FROM runbook.revisions", &[]).unwrap().get(0)
    };
    let before = ledger();
    let mut failures = vec![];
    for function in changing::ALL {
        for (way, trap, step) in WAYS {
            let fill = |text: &str| text.replace("{call}", call(function.name)).replace("{name}", function.name);
            mallory.batch_execute(&fill(trap)).unwrap_or_else(|error| panic!("{way}: {error:?}: {}", fill(trap)));
            mallory
                .batch_execute("GRANT ALL ON ALL TABLES IN SCHEMA mallory TO PUBLIC; GRANT ALL ON ALL ROUTINES IN SCHEMA mallory TO PUBLIC")
                .unwrap();
            let came = step_into(&mut victor, &fill(step));
            if came != format!("42501 runbook.{} can't be called here", function.name) {
                failures.push(format!("runbook.{} by {way}: {came}", function.name));
            }
            server.connect("app", "postgres").batch_execute("SET runbook.mode = off; DROP SCHEMA mallory CASCADE; CREATE SCHEMA mallory AUTHORIZATION mallory; GRANT USAGE ON SCHEMA mallory TO PUBLIC").unwrap();
        }
    }
    assert!(failures.is_empty(), "{} of {}:\n{}", failures.len(), changing::ALL.len() * WAYS.len(), failures.join("\n"));
    assert_eq!(ledger(), before, "something was submitted or configured");
    println!("{} functions, {} ways to be called by reading, 0 passed", changing::ALL.len(), WAYS.len());
}

/// PostgreSQL keeps the place of a call when it inlines a function, so a body can be laid out to stand where the client's own call does.
#[test]
fn a_call_that_is_inlined_at_the_place_of_another_needs_its_very_arguments() {
    let server = Server::start();
    let mut admin = server.database("app");
    admin
        .batch_execute(
            "CREATE SCHEMA mallory; CREATE ROLE victor LOGIN; GRANT runbook_admin TO victor; GRANT USAGE ON SCHEMA mallory TO PUBLIC; \
             SELECT runbook.activate()",
        )
        .unwrap();
    let mut victor = server.connect("app", "victor");
    let mut failures = vec![];
    for (inner, outer) in [
        ("'lock_timeout', '9s'", "'lock_timeout', '8s'"),
        ("'lock_timeout', '9s'", "'statement_timeout', '9s'"),
        ("'lock_timeout', '9s'", "'9s', 'lock_timeout'"),
        ("'lock_timeout', '9s'", "key => '9s', value => 'lock_timeout'"),
        ("'lock_timeout', '9s'", "value => 'lock_timeout', key => '9s'"),
        ("'lock_timeout', '9s'", "key := '9s', value := 'lock_timeout'"),
        ("'lock_timeout', '9s'", "'lock_timeout', value => '8s'"),
        ("key => 'lock_timeout', value => '9s'", "value => '8s', key => 'lock_timeout'"),
        ("'lock_timeout', NULL", "'lock_timeout', ''"),
        ("'lock_timeout', ''", "'lock_timeout', NULL"),
    ] {
        let client = format!("SELECT mallory.trap() WHERE false AND length(runbook.configure({outer})) > 0 OR true");
        let body = format!(
            "SELECT {:width$}runbook.configure({inner})",
            "",
            width = client.find("runbook.").unwrap() - "SELECT ".len()
        );
        admin
            .batch_execute(&format!("CREATE OR REPLACE FUNCTION mallory.trap() RETURNS text LANGUAGE sql AS $f${body}$f$"))
            .unwrap();
        let came = step_into(&mut victor, &client);
        if !came.starts_with("42501 runbook.configure can't be called here") {
            failures.push(format!("{inner} for {outer}: {came}"));
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
    for own in ["value => '8s', key => 'lock_timeout'", "key := 'lock_timeout', value := '7s'", "'lock_timeout', value => NULL"]
    {
        victor.batch_execute(&format!("SELECT runbook.configure({own})")).unwrap_or_else(|error| panic!("{own}: {error:?}"));
    }
}

#[test]
fn every_function_that_roles_may_call_either_changes_nothing_or_is_listed() {
    /// Volatile, since they look at what is committed by now; they change nothing.
    const READERS: [&str; 18] = [
        "approval_void",
        "branches",
        "consistency_proof",
        "current",
        "fingerprint",
        "guard_status",
        "heads",
        "history",
        "inbox",
        "inclusion_proof",
        "jobs_in_force",
        "permits_in_force",
        "plan",
        "policy_in_force",
        "require",
        "settings_in_force",
        "show",
        "verify_ledger",
    ];
    /// They read one row each of the tree.
    const OF_THE_TREE: [&str; 2] = ["tree_frontier", "tree_head"];
    let server = Server::start();
    let mut admin = server.database("app");
    let rows = admin
        .query(
            "SELECT DISTINCT p.proname::text FROM pg_proc AS p, aclexplode(p.proacl) AS a WHERE p.pronamespace = 'runbook'::regnamespace \
             AND p.provolatile = 'v' AND p.prokind = 'f' AND a.privilege_type = 'EXECUTE' AND a.grantee::regrole::text LIKE 'runbook_%' ORDER BY 1",
            &[],
        )
        .unwrap();
    let granted: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    let is_known = |name: &String| {
        changing::ALL.iter().any(|known| known.name == name)
            || READERS.contains(&name.as_str())
            || OF_THE_TREE.contains(&name.as_str())
    };
    let unknown: Vec<&String> = granted.iter().filter(|name| !is_known(name)).collect();
    assert!(unknown.is_empty(), "neither in core::changing nor known to change nothing: {unknown:?}");
    let missing: Vec<&str> =
        changing::ALL.iter().map(|known| known.name).filter(|name| !granted.iter().any(|granted| granted == name)).collect();
    assert!(missing.is_empty(), "listed, and not there: {missing:?}");
}

#[test]
fn the_clients_own_text_may_call_in_any_protocol() {
    let server = Server::start();
    let mut admin = server.database("app");
    admin.batch_execute("SELECT runbook.activate()").unwrap();
    let mut alice = server.connect("app", "alice");
    let json = |id: &str| format!("{{\"revision\": \"{id}\", \"upgrade\": \"SELECT 1\"}}");
    alice.batch_execute(&format!("SELECT runbook.submit('{}')", json("r1"))).unwrap();
    alice.query("SELECT runbook.submit($1::text::jsonb)", &[&json("r2")]).unwrap();
    alice.batch_execute(&format!("SELECT 1; /* a comment */ SELECT \"runbook\" . \"submit\" ('{}')", json("r3"))).unwrap();
    alice.batch_execute(&format!("SELECT * FROM runbook.submit('{}') AS s", json("r4"))).unwrap();
    alice.batch_execute(&format!("SET search_path = public, runbook; SELECT submit('{}')", json("r5"))).unwrap();
    alice.batch_execute(&format!("SELECT runbook.submit(j) FROM jsonb_array_elements('[{}]') AS j", json("r6"))).unwrap();
    alice.batch_execute(&format!("DO $$ BEGIN PERFORM runbook.submit('{}'); END $$", json("r7"))).unwrap();
    alice
        .batch_execute(&format!("WITH s AS MATERIALIZED (SELECT runbook.submit('{}') AS id) SELECT * FROM s", json("r8")))
        .unwrap();
    let count: i64 = admin.query_one("SELECT count(*) FROM runbook.revisions", &[]).unwrap().get(0);
    assert_eq!(count, 8);
}
