//! Calls that weaken the guard, where policy asks for an approval of that: each is refused, and a permit for its text lets it through.
#![allow(clippy::unwrap_used, missing_docs, reason = "a panic is how a test fails")]

use postgres::Client;
use runbook_core::changing::{self, Weakens};
use runbook_core::merkle;
use runbook_tests::{Server, repository, sqlstate, succeed, wait_until};

/// A call that weakens something, and what shows that it was made. `{root}` stands for the tree's root over 256 entries.
fn call(function: &str) -> (&'static str, &'static str) {
    match function {
        "archive_ledger" => (
            "runbook.archive_ledger(256, '\\x{root}', 'room')",
            "SELECT min(position) = 256 FROM runbook.ledger WHERE position >= 0",
        ),
        "configure" => (
            "runbook.configure('permit_max', '2 days')",
            "SELECT EXISTS (SELECT FROM runbook.ledger WHERE payload::jsonb ->> 'setting' = 'permit_max')",
        ),
        "deactivate" => {
            ("runbook.deactivate('maintenance')", "SELECT EXISTS (SELECT FROM runbook.ledger WHERE kind = 'guard.deactivated')")
        }
        "drop_maintenance_window" => (
            "runbook.drop_maintenance_window('night')",
            "SELECT NOT EXISTS (SELECT FROM runbook.maintenance_windows WHERE name = 'night')",
        ),
        "open_epoch" => {
            ("runbook.open_epoch('restored')", "SELECT EXISTS (SELECT FROM runbook.ledger WHERE kind = 'epoch.opened')")
        }
        "protect_table" => (
            "runbook.protect_table('public.orders', 1000)",
            "SELECT bool_or((payload::jsonb ->> 'max_rows') = '1000') FROM runbook.ledger",
        ),
        "set_maintenance_window" => (
            "runbook.set_maintenance_window('evening', ARRAY['blocking'], 'mon-fri', '18:00', '19:00', 'UTC')",
            "SELECT EXISTS (SELECT FROM runbook.maintenance_windows WHERE name = 'evening')",
        ),
        "set_policy" => (
            "runbook.set_policy('blocking', 'record')",
            "SELECT verdict = 'record' FROM runbook.policy WHERE class = 'blocking'",
        ),
        "unprotect_table" => (
            "runbook.unprotect_table(\"table\" => 'public.orders')",
            "SELECT NOT EXISTS (SELECT FROM pg_trigger WHERE tgname ~ '^a_runbook' AND tgrelid = 'public.orders'::regclass)",
        ),
        other => panic!("no call of runbook.{other} is known here: add one"),
    }
}

/// A guarded database under the rules of production, with something to weaken.
fn set_scene(admin: &mut Client) {
    runbook_tests::ledger::fill(admin, 300);
    admin
        .batch_execute(
            "CREATE TABLE orders (id int); CREATE SCHEMA mal; GRANT USAGE ON SCHEMA mal TO PUBLIC; CREATE TABLE mal.orders (id int); \
             SELECT runbook.protect_table('public.orders', 10), runbook.protect_table('mal.orders', 10), \
                 runbook.set_maintenance_window('night', ARRAY['blocking'], 'daily', '01:00', '02:00', 'UTC'), \
                 runbook.activate(), runbook.configure('preset', 'production'); \
             CALL runbook.seal()",
        )
        .unwrap();
}

fn root(admin: &mut Client) -> String {
    let payloads = admin.query("SELECT payload FROM runbook.ledger WHERE position < 256 ORDER BY position", &[]).unwrap();
    let mut frontier = merkle::Frontier::from_roots(0, vec![]).unwrap();
    payloads.iter().for_each(|row| frontier.push(runbook_core::ledger::leaf_hash(row.get(0))));
    frontier.root().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn each_call_that_weakens_is_refused_and_goes_through_by_the_permit_that_its_refusal_proposes() {
    let server = Server::start_with(&["shared_preload_libraries=pg_runbook"]);
    let weakening: Vec<&str> = changing::ALL.iter().filter(|one| one.weakens != Weakens::Nothing).map(|one| one.name).collect();
    // All databases first: once one is guarded, its rules hold for what the roles of the others are granted.
    let mut admins: Vec<Client> = weakening.iter().map(|function| server.database(&format!("for_{function}"))).collect();
    let docs = std::fs::read_to_string(repository().join("docs/permits.md")).unwrap();
    for (function, admin) in weakening.into_iter().zip(&mut admins) {
        let name = &format!("for_{function}");
        set_scene(admin);
        if function == "archive_ledger" {
            let files = tempfile::tempdir().unwrap();
            for command in ["keygen auditor --out a.key", "checkpoint --key a.key --out a.note"] {
                let mut audit = server.runbook(name, "postgres", files.path());
                succeed(audit.arg("audit").args(command.split(' ')));
            }
        }
        let (call, shows) = call(function);
        let call = format!("SELECT {}", call.replace("{root}", &root(admin)));
        let mut root = server.connect(name, "root");
        let refusal = root.batch_execute(&call).unwrap_err();
        let refusal = refusal.as_db_error().unwrap();
        assert_eq!(refusal.code().code(), "42501", "{function}: {refusal}");
        let hint = refusal.hint().unwrap();
        let ask = hint.split_once(": ").unwrap().1;
        let permit: String =
            root.query_one(ask.trim_end_matches(';'), &[]).unwrap_or_else(|error| panic!("{ask}: {error:?}")).get(0);
        assert_eq!(sqlstate(root.batch_execute(&call)), "42501", "{function}: nobody has approved it yet");
        server.connect(name, "bob").execute("SELECT runbook.approve_permit($1)", &[&permit]).unwrap();
        let other = call.replacen("SELECT ", "SELECT 1, ", 1);
        assert_eq!(sqlstate(root.batch_execute(&other)), "42501", "{function}: it is for this text alone");
        root.batch_execute(&call).unwrap_or_else(|error| panic!("{call}: {error:?}"));
        assert!(admin.query_one(shows, &[]).unwrap().get::<_, bool>(0), "{function} did nothing");
        assert!(docs.contains(&format!("`{function}`")), "docs/permits.md does not name {function}");
    }
}

#[test]
fn a_permit_to_change_a_tables_protection_is_for_that_table() {
    let server = Server::start_with(&["shared_preload_libraries=pg_runbook"]);
    let mut admin = server.database("app");
    set_scene(&mut admin);
    let mut root = server.connect("app", "root");
    let mut bob = server.connect("app", "bob");
    let mut granted = |root: &mut Client, call: &str| {
        let permit: String = root.query_one("SELECT runbook.request_permit($1, 'reason')", &[&call]).unwrap().get(0);
        bob.execute("SELECT runbook.approve_permit($1)", &[&permit]).unwrap();
    };
    let is_protected = |admin: &mut Client, table: &str| -> bool {
        let sql = "SELECT EXISTS (SELECT FROM pg_trigger WHERE tgname ~ '^a_runbook' AND tgrelid = $1::text::regclass)";
        admin.query_one(sql, &[&table]).unwrap().get(0)
    };
    const CALL: &str = "SELECT runbook.unprotect_table('orders')";
    // Another table under the same name, by the search path.
    root.batch_execute("SET search_path = mal").unwrap();
    granted(&mut root, CALL);
    root.batch_execute("SET search_path = public").unwrap();
    assert_eq!(sqlstate(root.batch_execute(CALL)), "42501");
    assert!(is_protected(&mut admin, "public.orders"));
    root.batch_execute("SET search_path = mal").unwrap();
    root.batch_execute(CALL).unwrap();
    assert!(!is_protected(&mut admin, "mal.orders"));
    // By its number.
    root.batch_execute("RESET search_path").unwrap();
    let number: u32 = admin.query_one("SELECT 'public.orders'::regclass::oid", &[]).unwrap().get(0);
    for written in [format!("{number}"), format!("'{number}'")] {
        let call = format!("SELECT runbook.unprotect_table({written})");
        granted(&mut root, &call);
        root.batch_execute(&call).unwrap();
        assert!(!is_protected(&mut admin, "public.orders"));
        root.batch_execute("SELECT runbook.protect_table('public.orders', 10)").unwrap();
    }
    // Another table under the same name, by renaming.
    granted(&mut root, "SELECT runbook.unprotect_table('public.orders')");
    admin
        .batch_execute(
            "SET client_min_messages = error; SELECT runbook.break_glass('the test meddles', '1 hour'); \
             ALTER TABLE orders RENAME TO old_orders; CREATE TABLE orders (id int); SELECT runbook.protect_table('orders', 10)",
        )
        .unwrap();
    assert_eq!(sqlstate(root.batch_execute("SELECT runbook.unprotect_table('public.orders')")), "42501");
    assert!(is_protected(&mut admin, "public.orders"));
    // What is not there, and what can't be read from the text.
    for (call, code) in [
        ("SELECT runbook.unprotect_table('nosuch')", "42704"),
        ("SELECT runbook.unprotect_table('4000000000')", "42704"),
        ("SELECT runbook.unprotect_table('a.b.c.d')", "42704"),
        ("SELECT runbook.unprotect_table('public.orders'::regclass)", "22023"),
        ("SELECT runbook.unprotect_table(1.5)", "22023"),
        ("SELECT runbook.unprotect_table(NULL)", "22023"),
        ("SELECT runbook.unprotect_table()", "22023"),
    ] {
        let request = root.execute("SELECT runbook.request_permit($1, 'reason')", &[&call]);
        assert!(request.is_err(), "{call}");
        assert_eq!(sqlstate(request), code, "{call}");
    }
}

/// Makes a call that must wait for another session to end its transaction, and ends that; what came of the call.
fn after(server: &Server, holder: &mut Client, login: &str, call: &str) -> Result<(), postgres::Error> {
    let mut other = server.connect("app", login);
    let call = call.to_owned();
    let made = std::thread::spawn(move || other.batch_execute(&call));
    let waits = "SELECT count(*) FROM pg_locks WHERE NOT granted";
    let mut watch = server.connect("app", "postgres");
    wait_until(20, "the call waits", || watch.query_one(waits, &[]).unwrap().get::<_, i64>(0) == 1);
    holder.batch_execute("COMMIT").unwrap();
    made.join().unwrap()
}

#[test]
fn a_change_of_rules_is_judged_by_those_that_the_one_before_has_left() {
    let server = Server::start_with(&["shared_preload_libraries=pg_runbook"]);
    let mut admin = server.database("app");
    admin
        .batch_execute("CREATE TABLE orders (id int); SELECT runbook.activate(), runbook.configure('preset', 'production')")
        .unwrap();
    let mut root = server.connect("app", "root");
    // Each rule of production's, written down: nothing is weaker for it, and from here on the environment decides nothing.
    let rules = "SELECT class, verdict, approvals FROM runbook.policy WHERE objects IS NULL";
    for rule in admin.query(rules, &[]).unwrap() {
        let (class, verdict, approvals): (String, String, i32) = (rule.get(0), rule.get(1), rule.get(2));
        root.batch_execute(&format!("SELECT runbook.set_policy('{class}', '{verdict}', {approvals})")).unwrap();
    }
    root.batch_execute(
        "BEGIN; SELECT runbook.set_policy('destructive', 'require_approval', 3); SELECT runbook.configure('preset', 'local')",
    )
    .unwrap();
    let weakened = after(&server, &mut root, "root", "SELECT runbook.set_policy('destructive', 'default')");
    assert_eq!(sqlstate(weakened), "42501");
    let verdict = "SELECT verdict FROM runbook.policy WHERE class = 'destructive' AND objects IS NULL";
    assert_eq!(admin.query_one(verdict, &[]).unwrap().get::<_, String>(0), "require_approval");
    // A stricter rule that is on its way counts for a milder one.
    root.batch_execute("BEGIN; SELECT runbook.set_policy('blocking', 'deny')").unwrap();
    let milder = after(&server, &mut root, "root", "SELECT runbook.set_policy('blocking', 'require_approval', 2)");
    assert_eq!(sqlstate(milder), "42501");
    root.batch_execute("BEGIN; SELECT runbook.protect_table('orders', 10)").unwrap();
    let weaker = after(&server, &mut root, "root", "SELECT runbook.protect_table('orders', 1000)");
    assert_eq!(sqlstate(weaker), "42501");
    // A permit that is being used can't be rejected any more when it has been.
    let off = "SELECT runbook.deactivate('maintenance')";
    let permit: String = root.query_one("SELECT runbook.request_permit($1, 'reason')", &[&off]).unwrap().get(0);
    server.connect("app", "bob").execute("SELECT runbook.approve_permit($1)", &[&permit]).unwrap();
    root.batch_execute("BEGIN").unwrap();
    root.batch_execute(off).unwrap();
    let rejected = after(&server, &mut root, "eve", &format!("SELECT runbook.reject_permit('{permit}')"));
    assert_eq!(sqlstate(rejected), "55000");
    assert_eq!(
        admin.query_one("SELECT count(*) FROM runbook.ledger WHERE kind = 'permit.rejected'", &[]).unwrap().get::<_, i64>(0),
        0
    );
}
