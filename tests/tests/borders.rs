//! How far an upgrade goes, which database it is, and who is asked before the way back is needed.
#![allow(clippy::unwrap_used, missing_docs, reason = "a panic is how a test fails")]

use postgres::Client;
use runbook_tests::{Desk, revision, sqlstate, submit, upgrade};
use std::fs;

/// Expand, migrate, contract, and the expand of the next change.
fn chain(desk: &Desk) {
    let mut alice = desk.server.connect("app", "alice");
    for one in [
        revision("e001", &[], "ALTER TABLE orders ADD COLUMN new text", "ALTER TABLE orders DROP COLUMN new"),
        revision("m001", &["e001"], "UPDATE orders SET new = old", ""),
        revision("c001", &["m001"], "ALTER TABLE orders RENAME COLUMN old TO older", ""),
        revision("e002", &["c001"], "CREATE TABLE more (id int)", "DROP TABLE more"),
    ] {
        submit(&mut alice, &one).unwrap();
    }
}

fn applied(client: &mut Client) -> Vec<String> {
    let rows =
        client.query("SELECT revision FROM runbook.revisions WHERE status = 'applied' ORDER BY submitted_at", &[]).unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

#[test]
fn an_upgrade_stops_where_a_later_phase_begins() {
    for atomic in [&[][..], &["--atomic"]] {
        let desk = Desk::new();
        chain(&desk);
        let mut admin = desk.server.connect("app", "postgres");
        let up = |more: &[&str]| desk.ends("app", &[&["upgrade"], more, atomic].concat(), 0);
        // The second call does not go where the first has stopped: it may come from a pod that started at the same time.
        for _ in 0..2 {
            let told = up(&[]);
            assert!(told.contains("stops before revision \"m001\", where phase migrate begins"), "{told}");
            assert!(told.contains("runbook upgrade --through migrate"), "{told}");
            assert_eq!(applied(&mut admin), ["e001"]);
        }
        assert!(up(&["--through", "migrate"]).contains("stops before revision \"c001\", where phase contract begins"));
        assert_eq!(applied(&mut admin), ["e001", "m001"]);
        // An earlier phase is no border: the next change begins.
        assert!(!up(&["c001"]).contains("stops"));
        assert!(!up(&[]).contains("stops"));
        assert_eq!(applied(&mut admin), ["e001", "m001", "c001", "e002"]);
        assert!(up(&[]).contains("nothing to do"));
    }
}

#[test]
fn an_upgrade_goes_as_far_as_it_is_told() {
    let desk = Desk::new();
    chain(&desk);
    let mut admin = desk.server.connect("app", "postgres");
    for (arguments, count) in [
        (&["upgrade", "--through", "expand"][..], 1),
        (&["upgrade", "--through", "expand"], 1),
        (&["upgrade", "--through", "migrate", "--atomic"], 2),
        (&["upgrade", "+1"], 3),
        (&["upgrade", "--through", "contract"], 4),
    ] {
        desk.ends("app", arguments, 0);
        assert_eq!(applied(&mut admin).len(), count, "{arguments:?}");
    }
    let desk = Desk::new();
    chain(&desk);
    let mut app = desk.server.connect("app", "app");
    assert_eq!(sqlstate(app.batch_execute("SELECT runbook.start_upgrade('head', 'later')")), "22023");
    for null in ["NULL", "'head', NULL"] {
        assert_eq!(sqlstate(app.batch_execute(&format!("SELECT runbook.start_upgrade({null})"))), "22004", "{null}");
    }
    let before = app.query_one("SELECT runbook.start_upgrade()", &[]).unwrap().get::<_, i64>(0);
    app.batch_execute(&format!("CALL runbook.wait({before})")).unwrap();
    assert_eq!(applied(&mut app), ["e001"], "without a target it stops at the border");
    assert!(desk.ends("app", &["upgrade", "--through", "later"], 3).contains("expand, migrate and contract"));
    desk.ends("app", &["upgrade", "c001"], 0);
    assert_eq!(applied(&mut app).len(), 3, "a revision that is named says so itself");
    let desk = Desk::new();
    chain(&desk);
    desk.ends("app", &["upgrade", "head"], 0);
    assert_eq!(applied(&mut desk.server.connect("app", "app")).len(), 4, "and so does head, as in Alembic");
}

#[test]
fn a_call_in_sql_is_one_transaction_to_its_target() {
    let desk = Desk::new();
    chain(&desk);
    assert_eq!(upgrade(&mut desk.server.connect("app", "app"), "head").unwrap(), ["e001", "m001", "c001", "e002"]);
}

#[test]
fn the_plan_shows_the_border_and_a_dry_run_changes_nothing() {
    let desk = Desk::new();
    chain(&desk);
    let mut app = desk.server.connect("app", "app");
    for arguments in [&["plan"][..], &["upgrade", "--dry-run"]] {
        let plan = desk.ends("app", arguments, 0);
        let at = |word: &str| plan.find(word).unwrap_or_else(|| panic!("{word}: {plan}"));
        assert!(at("e001") < at("upgrade stops here: phase migrate begins") && at("stops here") < at("m001"), "{plan}");
    }
    let plan = desk.ends("app", &["upgrade", "--dry-run", "--through", "migrate"], 0);
    assert!(plan.contains("upgrade stops here: phase contract begins") && !plan.contains("phase migrate begins"), "{plan}");
    assert!(!desk.ends("app", &["plan", "c001"], 0).contains("stops here"));
    desk.ends("app", &["upgrade", "--dry-run", "--detach"], 2);
    assert!(applied(&mut app).is_empty());
    let borders: Vec<bool> =
        app.query("SELECT border FROM runbook.plan() ORDER BY step", &[]).unwrap().iter().map(|row| row.get(0)).collect();
    assert_eq!(borders, [false, true, true, false]);
    desk.ends("app", &["upgrade", "m001"], 0);
    assert!(desk.ends("app", &["downgrade", "-1", "--dry-run"], 0).contains("m001"));
    assert_eq!(applied(&mut app).len(), 2);
}

#[test]
fn a_database_knows_its_name_and_a_command_for_another_is_refused() {
    let desk = Desk::new();
    let mut root = desk.server.connect("app", "root");
    let name =
        |root: &mut Client, name: &str| root.batch_execute(&format!("SELECT runbook.configure('environment', '{name}')"));
    for wrong in ["", "a b", "Stra\u{df}e", "a'', ''b", &"x".repeat(64), "production", "local"] {
        assert_eq!(sqlstate(name(&mut root, wrong)), "22023", "{wrong}");
    }
    let told = name(&mut root, "production").unwrap_err();
    assert!(told.as_db_error().unwrap().hint().unwrap().contains("runbook.configure('preset', 'production')"));
    name(&mut root, "shop-dev").unwrap();
    let url = format!("host={} dbname=app", desk.server.socket());
    let toml = format!("[environments.shop-dev]\nurl = \"{url}\"\n[environments.shop]\nurl = \"{url}\"\n");
    fs::write(desk.directory.path().join("runbook.toml"), toml).unwrap();
    for verb in ["current", "upgrade", "status"] {
        desk.ends("app", &["-e", "shop-dev", verb], 0);
        let refused = desk.ends("app", &["-e", "shop", verb], 3);
        assert!(refused.contains("environment \"shop\" of runbook.toml leads to database \"app\""), "{refused}");
        assert!(refused.contains("which is \"shop-dev\""), "{refused}");
    }
    let here = "(environment shop-dev, preset staging)";
    assert!(desk.ends("app", &["status"], 0).lines().next().unwrap().ends_with(here));
    assert!(desk.ends("app", &["upgrade"], 0).contains(here));
    assert!(!desk.ends("app", &["--quiet", "upgrade"], 0).contains(here));
    assert!(!desk.ends("app", &["current"], 0).contains(here), "what changes nothing needs no such line");
    let json = desk.run("app", &["--format", "json", "upgrade"]);
    assert!(json.stderr.is_empty(), "{}", String::from_utf8_lossy(&json.stderr));
    // A name that a preset has is for databases with that preset.
    root.batch_execute("SELECT runbook.configure('preset', 'production')").unwrap();
    name(&mut root, "production").unwrap();
    root.batch_execute("SELECT runbook.configure('environment', NULL)").unwrap();
    desk.ends("app", &["-e", "shop", "current"], 0);
}

#[test]
fn settings_have_their_defaults_and_times_have_units() {
    let desk = Desk::new();
    let mut root = desk.server.connect("app", "root");
    let row = |root: &mut Client, key: &str| -> (String, String) {
        let row = root.query_one("SELECT value, source FROM runbook.settings WHERE key = $1", &[&key]).unwrap();
        (row.get(0), row.get(1))
    };
    assert_eq!(row(&mut root, "lock_timeout"), ("2s".to_owned(), "default".to_owned()));
    root.batch_execute("SELECT runbook.configure('lock_timeout', '5s')").unwrap();
    assert_eq!(row(&mut root, "lock_timeout"), ("5s".to_owned(), "set".to_owned()));
    for (key, value) in [
        ("lock_timeout", "5"),
        ("lock_timeout", "5 parsecs"),
        ("lock_budget", "600"),
        ("approval_valid_for", "30"),
        ("approval_valid_for", "-1 day"),
        ("permit_max", "1.5"),
        ("break_glass_max", ""),
    ] {
        assert_eq!(
            sqlstate(root.batch_execute(&format!("SELECT runbook.configure('{key}', '{value}')"))),
            "22023",
            "{key} = {value}"
        );
    }
    for (key, value) in [("lock_timeout", "0"), ("lock_budget", "0"), ("approval_valid_for", "01:30"), ("permit_max", "P1D")] {
        root.batch_execute(&format!("SELECT runbook.configure('{key}', '{value}')")).unwrap();
    }
}

#[test]
fn whoever_approves_is_asked_for_the_way_back_before_it_is_needed() {
    let desk = Desk::new();
    chain(&desk);
    let [mut bob, mut app] = ["bob", "app"].map(|user| desk.server.connect("app", user));
    let inbox = desk.ends("bob", &["inbox"], 0);
    assert!(inbox.contains("would drop table public.more, on the way back"), "{inbox}");
    assert!(inbox.contains("needs for the way back: approval (0 of 1)"), "{inbox}");
    assert!(desk.ends("alice", &["inbox"], 0).contains("nothing waits"), "her own");
    let plan = desk.ends("app", &["plan"], 0);
    assert!(plan.contains("the way back of e002 will need approval (0 of 1): drop table public.more is destructive"), "{plan}");
    // It is asked for, and not waited for.
    let needs: i64 = app.query_one("SELECT count(needs) FROM runbook.plan()", &[]).unwrap().get(0);
    assert_eq!(needs, 0);
    desk.ends("app", &["upgrade", "head"], 0);
    assert_eq!(sqlstate(app.batch_execute("SELECT runbook.downgrade('-1')")), "42501");
    bob.batch_execute("SELECT runbook.approve('e002')").unwrap();
    app.batch_execute("SELECT runbook.downgrade('-1')").unwrap();
}

#[test]
fn one_call_approves_all_that_was_shown() {
    let desk = Desk::new();
    chain(&desk);
    let mut app = desk.server.connect("app", "app");
    for wrong in
        [&["approve"][..], &["approve", "--yes"], &["approve", "--all", "e001"], &["approve", "--all", "--digest", "x"]]
    {
        desk.ends("bob", wrong, 2);
    }
    let asked = desk.ends("bob", &["approve", "--all"], 3);
    assert!(asked.contains("e001") && asked.contains("runbook approve --all --yes"), "{asked}");
    assert!(desk.ends("alice", &["approve", "--all", "--yes"], 0).contains("nothing waits"), "they are her own");
    let approved = desk.ends("bob", &["approve", "--all", "--yes", "-m", "read"], 0);
    assert!(approved.contains("approved e001, e002"), "{approved}");
    assert!(desk.ends("bob", &["approve", "--all", "--yes"], 0).contains("nothing waits"));
    upgrade(&mut app, "head").unwrap();
    app.batch_execute("SELECT runbook.downgrade('base')").unwrap();
    let json = desk.ends("eve", &["--format", "json", "approve", "--all", "--yes"], 0);
    assert!(json.starts_with("{\"approved\":["), "{json}");
}

#[test]
fn an_approval_of_the_way_back_counts_though_the_table_has_another_name() {
    let desk = Desk::new();
    let [mut alice, mut bob, mut app] = ["alice", "bob", "app"].map(|user| desk.server.connect("app", user));
    submit(&mut alice, &revision("n001", &[], "CREATE TABLE a (id int)", "DROP TABLE a")).unwrap();
    submit(&mut alice, &revision("n002", &["n001"], "ALTER TABLE a RENAME TO b", "ALTER TABLE b RENAME TO a")).unwrap();
    upgrade(&mut app, "head").unwrap();
    bob.batch_execute("SELECT runbook.approve('n001')").unwrap();
    app.batch_execute("SELECT runbook.downgrade('base')").unwrap();
    // Another table has come under the name: it is not the one that the revision made.
    upgrade(&mut app, "head").unwrap();
    bob.batch_execute("SELECT runbook.approve('n001')").unwrap();
    app.batch_execute("SELECT runbook.downgrade('-1')").unwrap();
    desk.server
        .connect("app", "dba")
        .batch_execute("SET ROLE app_owner; ALTER TABLE a RENAME TO gone; CREATE TABLE a (precious int)")
        .unwrap();
    assert_eq!(sqlstate(app.batch_execute("SELECT runbook.downgrade('base')")), "42501");
}

#[test]
fn a_withdrawn_revision_comes_back_when_its_file_is_named() {
    let desk = Desk::new();
    let file = desk.directory.path().join("revisions/w1_later.sql");
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(&file, "-- revision: w1\n-- message: later\n\n-- runbook: upgrade\nCREATE TABLE later (id int);\n\n-- runbook: downgrade\nDROP TABLE later;\n")
        .unwrap();
    desk.ends("alice", &["submit"], 0);
    desk.ends("alice", &["withdraw", "w1", "--reason", "not now"], 0);
    // Whoever submits everything has not asked for it.
    let told = desk.ends("alice", &["submit"], 0);
    assert!(told.contains("revision \"w1\" was withdrawn") && told.contains("runbook submit "), "{told}");
    assert!(told.contains("nothing to submit: what there is was withdrawn") && !told.contains("no revision files"), "{told}");
    let told = desk.ends("alice", &["submit", "revisions/w1_later.sql"], 0);
    assert!(told.contains("submitted w1"), "{told}");
    assert!(desk.ends("alice", &["submit"], 0).contains("there already, unchanged"));
}
