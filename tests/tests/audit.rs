//! Auditing: exports, archives, epochs, and reading the log.
#![allow(clippy::unwrap_used, missing_docs, reason = "a panic is how a test fails")]

use runbook_core::checkpoint::Checkpoint;
use runbook_tests::ledger::{audit, fill, guarded, is_whole, number};
use runbook_tests::{Server, sqlstate, succeed, wait_until};

const PRELOAD: &str = "shared_preload_libraries=pg_runbook";

#[test]
fn what_is_archived_is_verified_from_its_export_and_the_rest_from_the_database() {
    let server = Server::start();
    let mut admin = guarded(&server, "app");
    fill(&mut admin, 1000);
    let files = tempfile::tempdir().unwrap();
    let directory = files.path();
    succeed(&mut audit(&server, "app", directory, "keygen auditor --out auditor.key"));
    succeed(&mut audit(&server, "app", directory, "checkpoint --key auditor.key --out one.note"));
    let refused = audit(
        &server,
        "app",
        directory,
        "archive --before 2000 --out old.jsonl --checkpoint one.note --key auditor.key.pub -m room",
    );
    let mut refused = refused;
    assert_eq!(refused.output().unwrap().status.code(), Some(3));
    succeed(&mut audit(
        &server,
        "app",
        directory,
        "archive --before 600 --out old.jsonl --checkpoint one.note --key auditor.key.pub -m room",
    ));
    assert_eq!(number(&mut admin, "SELECT min(position) FROM runbook.entry"), 512);
    assert_eq!(std::fs::read_to_string(directory.join("old.jsonl")).unwrap().lines().count(), 512);
    let reason = "SELECT count(*) FROM runbook.ledger WHERE kind = 'ledger.archived' AND reason = 'room'";
    assert_eq!(number(&mut admin, reason), 1);
    let whole = admin.query_one("SELECT ok, problem FROM runbook.verify_ledger()", &[]).unwrap();
    assert!(whole.get::<_, bool>(0), "{:?}", whole.get::<_, Option<String>>(1));
    let verify = "verify --checkpoint one.note --key auditor.key.pub";
    assert_eq!(
        audit(&server, "app", directory, verify).output().unwrap().status.code(),
        Some(9),
        "nobody has said that it is known"
    );
    succeed(&mut audit(&server, "app", directory, &format!("{verify} --accept-archived 512")));
    succeed(&mut audit(&server, "app", directory, "checkpoint --key auditor.key --out two.note"));
    succeed(&mut audit(&server, "app", directory, "export --out new.jsonl --from 512"));
    succeed(&mut audit(
        &server,
        "app",
        directory,
        "verify --export old.jsonl --export new.jsonl --checkpoint one.note --checkpoint two.note --key auditor.key.pub",
    ));
    // A second archive goes on from the first, also where the entry about that one goes along.
    fill(&mut admin, 600);
    succeed(&mut audit(&server, "app", directory, "checkpoint --key auditor.key --out three.note"));
    succeed(&mut audit(
        &server,
        "app",
        directory,
        "archive --before 1280 --out older.jsonl --checkpoint three.note --key auditor.key.pub -m more",
    ));
    succeed(&mut audit(
        &server,
        "app",
        directory,
        "verify --checkpoint three.note --key auditor.key.pub --accept-archived 1280",
    ));
    succeed(&mut audit(&server, "app", directory, "checkpoint --key auditor.key --out four.note"));
    // Whoever has another root in hand has not exported what is here.
    assert_eq!(sqlstate(admin.batch_execute("SELECT runbook.archive_ledger(1536, '\\x00', 'no')")), "22023");
    assert_eq!(sqlstate(admin.batch_execute("DELETE FROM runbook.entry")), "42501");
}

#[test]
fn an_export_that_is_more_or_less_than_what_was_exported_is_named() {
    let server = Server::start();
    let mut admin = guarded(&server, "app");
    fill(&mut admin, 300);
    let files = tempfile::tempdir().unwrap();
    let directory = files.path();
    succeed(&mut audit(&server, "app", directory, "keygen auditor --out auditor.key"));
    succeed(&mut audit(&server, "app", directory, "checkpoint --key auditor.key --out one.note"));
    fill(&mut admin, 5);
    admin.batch_execute("CALL runbook.seal()").unwrap();
    succeed(&mut audit(&server, "app", directory, "export --out all.jsonl"));
    let whole = std::fs::read_to_string(directory.join("all.jsonl")).unwrap();
    let lines: Vec<&str> = whole.lines().collect();
    let last = lines.last().unwrap();
    let verify = "verify --export x.jsonl --checkpoint one.note --key auditor.key.pub";
    let verdict = |text: &str| {
        std::fs::write(directory.join("x.jsonl"), text).unwrap();
        let output = audit(&server, "app", directory, verify).output().unwrap();
        (
            output.status.code(),
            format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)),
        )
    };
    let (code, said) = verdict(&whole);
    assert!(code == Some(0) && said.contains("after the last checkpoint"), "{said}");
    for (what, text) in [
        ("junk", format!("{whole}junk\n")),
        ("an entry twice", format!("{whole}{last}\n")),
        ("the file twice", format!("{whole}{whole}")),
        ("the first lines again", format!("{whole}{}\n", lines[0])),
        ("an empty line", format!("{whole}\n")),
        ("a cut line", whole[..whole.len() - 10].to_owned()),
        ("an object of another kind", format!("{whole}{{}}\n")),
        ("another first line", whole.replacen("\"v\":1", "\"v\":2", 1)),
        ("a missing first line", whole.split_once('\n').unwrap().1.to_owned()),
        ("nothing", String::new()),
    ] {
        let (code, said) = verdict(&text);
        assert_eq!(code, Some(9), "{what}: {said}");
    }
    for arguments in ["--since one.note", "--accept-archived 256", "--accept-epoch 2:1"] {
        let refused = audit(&server, "app", directory, &format!("{verify} {arguments}")).output().unwrap();
        assert_eq!(refused.status.code(), Some(2), "{arguments}");
    }
    // A pipe has no end to go on from, and a device must not be replaced by a file.
    succeed(std::process::Command::new("mkfifo").arg(directory.join("pipe")));
    for command in ["export --resume --out pipe", "checkpoint --key auditor.key --out pipe"] {
        assert_eq!(audit(&server, "app", directory, command).output().unwrap().status.code(), Some(3), "{command}");
    }
}

#[test]
fn a_flood_hides_nothing_from_who_follows_the_ledger() {
    let server = Server::start();
    let mut admin = guarded(&server, "app");
    fill(&mut admin, 100);
    admin.batch_execute("CALL runbook.seal()").unwrap();
    let files = tempfile::tempdir().unwrap();
    let printed = files.path().join("printed");
    let mut command = server.runbook("app", "postgres", files.path());
    command.args(["log", "--follow", "--format", "json", "-n", "1"]);
    let mut follower = command.stdout(std::fs::File::create(&printed).unwrap()).spawn().unwrap();
    let lines = || std::fs::read_to_string(&printed).unwrap();
    wait_until(20, "it follows", || !lines().is_empty());
    admin.batch_execute("BEGIN; CREATE TABLE hidden ()").unwrap();
    fill(&mut admin, 25_000);
    admin.batch_execute("COMMIT").unwrap();
    wait_until(60, "all have been printed", || lines().lines().count() > 25_001);
    assert!(lines().contains("public.hidden"));
    follower.kill().unwrap();
    follower.wait().unwrap();
    let text = lines();
    let ids: std::collections::HashSet<&str> =
        text.lines().filter_map(|line| line.split_once("\"entry_id\":\"").map(|(_, id)| &id[..36])).collect();
    assert!(ids.len() > 25_001, "{} are different", ids.len());
}

#[test]
fn epochs_open_one_after_the_other_and_what_no_auditor_has_signed_is_not_archived() {
    let server = Server::start();
    let mut admin = guarded(&server, "app");
    fill(&mut admin, 600);
    admin.batch_execute("CALL runbook.seal()").unwrap();
    // The view is read by several processes at once, where it is long.
    admin
        .batch_execute("SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0")
        .unwrap();
    let grouped = "SELECT session_role, count(*) FROM runbook.ledger GROUP BY 1";
    let plan = admin.query(&format!("EXPLAIN {grouped}"), &[]).unwrap();
    assert!(
        plan.iter().any(|row| row.get::<_, String>(0).contains("Gather")),
        "it is not read in parallel: this shows nothing"
    );
    assert!(!admin.query(grouped, &[]).unwrap().is_empty());
    admin.batch_execute("RESET ALL").unwrap();
    let root: Vec<u8> = admin.query_one("SELECT (runbook.tree_frontier(512))[1]", &[]).unwrap().get(0);
    let archive = format!(
        "SELECT runbook.archive_ledger(512, '\\x{}', 'room')",
        root.iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    );
    assert_eq!(sqlstate(admin.batch_execute(&archive)), "22023");
    // An admin can make a note up, and the server knows nobody's key: it counts only for others.
    let head = admin.query_one("SELECT origin, size, root FROM runbook.tree_head()", &[]).unwrap();
    let (origin, size, root): (String, i64, Vec<u8>) = (head.get(0), head.get(1), head.get(2));
    let checkpoint = Checkpoint { origin, size: size as u64, root: root.try_into().unwrap() };
    let note = format!("{}\n\u{2014} carol {}\n", checkpoint.text(), "A".repeat(91) + "=");
    let record = "SELECT runbook.record_checkpoint($1)";
    let mut keeper = server.connect("app", "root");
    keeper.execute(record, &[&note]).unwrap_or_else(|error| panic!("{note}: {error:?}"));
    assert_eq!(sqlstate(keeper.batch_execute(&archive)), "22023");
    let files = tempfile::tempdir().unwrap();
    succeed(&mut audit(&server, "app", files.path(), "keygen auditor --out auditor.key"));
    succeed(&mut audit(&server, "app", files.path(), "checkpoint --key auditor.key --out one.note"));
    keeper.batch_execute(&archive).unwrap();

    admin.batch_execute("BEGIN; SELECT runbook.open_epoch('one')").unwrap();
    assert_eq!(sqlstate(admin.batch_execute("SELECT runbook.open_epoch('two')")), "55000");
    admin.batch_execute("ROLLBACK").unwrap();
    admin.batch_execute("BEGIN; SELECT runbook.open_epoch('one')").unwrap();
    let mut other = server.connect("app", "postgres");
    let second =
        std::thread::spawn(move || -> String { other.query_one("SELECT runbook.open_epoch('two')", &[]).unwrap().get(0) });
    wait_until(20, "the second waits", || {
        let waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = 'object'";
        server.connect("app", "postgres").query_one(waiting, &[]).unwrap().get::<_, i64>(0) == 1
    });
    admin.batch_execute("COMMIT").unwrap();
    assert!(second.join().unwrap().starts_with("3:"));
}

#[test]
fn a_restore_on_purpose_goes_on_in_an_epoch_that_the_auditor_accepts() {
    let server = Server::start();
    let mut admin = guarded(&server, "app");
    fill(&mut admin, 100);
    let files = tempfile::tempdir().unwrap();
    let directory = files.path();
    succeed(&mut audit(&server, "app", directory, "keygen auditor --out auditor.key"));
    succeed(&mut audit(&server, "app", directory, "checkpoint --key auditor.key --out one.note"));
    drop(admin);
    let mut root = server.connect("postgres", "postgres");
    root.batch_execute("CREATE DATABASE backup TEMPLATE app").unwrap();
    server.connect("app", "postgres").batch_execute("CREATE TABLE lost ()").unwrap();
    succeed(&mut audit(&server, "app", directory, "checkpoint --key auditor.key --out two.note"));
    // The restore.
    root.batch_execute("ALTER DATABASE app RENAME TO broken").unwrap();
    root.batch_execute("ALTER DATABASE backup RENAME TO app").unwrap();
    let code = |arguments: &str| audit(&server, "app", directory, arguments).output().unwrap().status.code();
    let both = "--checkpoint one.note --checkpoint two.note --key auditor.key.pub";
    assert_eq!(code(&format!("verify {both}")), Some(9));
    assert_eq!(code("checkpoint --key auditor.key --out three.note"), Some(9));
    let output = succeed(&mut audit(&server, "app", directory, "open-epoch -m restored --format json"));
    let opened: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let opened = opened["epoch"].as_str().unwrap();
    assert_eq!(code("checkpoint --key auditor.key --out three.note"), Some(9), "nobody has accepted it");
    assert_eq!(code("checkpoint --key auditor.key --out three.note --accept-epoch 2:99"), Some(9), "another position");
    assert_eq!(code(&format!("checkpoint --key auditor.key --out three.note --accept-epoch {opened}")), Some(0));
    assert_eq!(code(&format!("verify {both} --checkpoint three.note")), Some(9));
    assert_eq!(code(&format!("verify {both} --checkpoint three.note --accept-epoch {opened}")), Some(0));
    assert_eq!(code("checkpoint --key auditor.key --out four.note"), Some(0), "what was accepted is accepted");
    let mut session = server.connect("app", "postgres");
    assert_eq!(number(&mut session, "SELECT epoch::int8 FROM runbook.ledger WHERE kind = 'epoch.opened'"), 2);
    is_whole(&mut session);
}

#[test]
fn in_production_archiving_and_new_epochs_need_a_permit_and_checkpoints_an_auditor() {
    let server = Server::start();
    let mut admin = server.database("app");
    admin.batch_execute("SELECT runbook.configure('preset', 'production')").unwrap();
    admin.batch_execute("SELECT runbook.activate()").unwrap();
    fill(&mut admin, 600);
    admin.batch_execute("CALL runbook.seal()").unwrap();
    for call in ["runbook.open_epoch('quietly')", "runbook.archive_ledger(256, '\\x00', 'quietly')"] {
        assert_eq!(sqlstate(admin.batch_execute(&format!("SELECT {call}"))), "42501", "{call}");
        let refused =
            format!("SELECT count(*) FROM runbook.ledger WHERE kind = 'call.refused' AND payload LIKE '%{}%'", &call[8..18]);
        assert!(number(&mut admin, &refused) > 0, "{call}");
    }
    let mut author = server.connect("app", "alice");
    assert_eq!(sqlstate(author.batch_execute("SELECT runbook.record_checkpoint('x')")), "42501");
    assert_eq!(sqlstate(author.batch_execute("SELECT * FROM runbook.tree_head()")), "42501");
    assert_eq!(sqlstate(author.batch_execute("SELECT * FROM runbook.entry")), "42501");
    for forged in ["x", "a\nb\n\n— c AAAAAAAA\n"] {
        assert_eq!(sqlstate(admin.query_one("SELECT runbook.record_checkpoint($1)", &[&forged])), "22023");
    }
    // Anybody with a role may have it sealed; that changes nothing that is there.
    author.batch_execute("CALL runbook.seal()").unwrap();
    is_whole(&mut admin);
}

#[test]
fn an_export_goes_on_where_it_was_cut_off() {
    let server = Server::start();
    let mut admin = guarded(&server, "app");
    fill(&mut admin, 900);
    let files = tempfile::tempdir().unwrap();
    let file = files.path().join("ledger.jsonl");
    succeed(&mut audit(&server, "app", files.path(), "export --out ledger.jsonl"));
    let whole = std::fs::read(&file).unwrap();
    for kept in [0, 1, whole.len() / 2, whole.len() - 1, whole.len()] {
        std::fs::write(&file, &whole[..kept]).unwrap();
        succeed(&mut audit(&server, "app", files.path(), "export --out ledger.jsonl --resume"));
        assert!(std::fs::read(&file).unwrap() == whole, "cut off at {kept}");
    }
    assert_eq!(audit(&server, "app", files.path(), "export --out ledger.jsonl").output().unwrap().status.code(), Some(1));
    let payloads: Vec<String> =
        admin.query("SELECT payload FROM runbook.entry ORDER BY position", &[]).unwrap().iter().map(|row| row.get(0)).collect();
    assert!(String::from_utf8(whole).unwrap().lines().eq(payloads.iter().map(String::as_str)));
    for shape in ["cef", "ocsf"] {
        let output = succeed(&mut audit(&server, "app", files.path(), &format!("export --out - --as {shape}")));
        assert_eq!(String::from_utf8_lossy(&output.stdout).lines().count(), payloads.len());
    }
}

#[test]
fn the_log_is_read_by_object_role_time_and_kind_and_followed() {
    let server = Server::start_with(&[PRELOAD]);
    let mut admin = guarded(&server, "app");
    admin.batch_execute("CREATE SCHEMA shop; CREATE TABLE shop.orders (id int, note text)").unwrap();
    admin.batch_execute("GRANT ALL ON SCHEMA shop, public TO app; CREATE TABLE other (id int)").unwrap();
    admin.batch_execute("CALL runbook.seal()").unwrap();
    admin.batch_execute("ALTER TABLE shop.orders ADD COLUMN extra text").unwrap();
    server.connect("app", "app").batch_execute("CREATE TABLE mine ()").unwrap();
    let files = tempfile::tempdir().unwrap();
    let log = |arguments: &str| -> Vec<String> {
        let mut command = server.runbook("app", "postgres", files.path());
        let output = command.args(["log", "--format", "json"]).args(arguments.split(' ')).output().unwrap();
        let entries: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(i32::from(entries.is_empty())), "{arguments}");
        entries
            .iter()
            .map(|entry| entry["tag"].as_str().unwrap_or_else(|| entry["kind"].as_str().unwrap()).to_owned())
            .collect()
    };
    // Sealed and unsealed entries, and those about a part of the object.
    assert_eq!(log("--object shop.orders"), ["CREATE TABLE", "ALTER TABLE"]);
    assert_eq!(log("--role app"), ["CREATE TABLE"]);
    assert_eq!(log("--object shop.orders --kind ddl --since yesterday -n 1"), ["ALTER TABLE"]);
    assert!(log("--object shop.orders --until yesterday").is_empty());
    assert!(log("--object shop.order").is_empty());
    let near = |arguments: &str| -> String {
        let mut command = server.runbook("app", "postgres", files.path());
        let output = command.arg("log").args(arguments.split(' ')).output().unwrap();
        assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{arguments}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    assert!(near("--object orders").contains("There is shop.orders"), "{}", near("--object orders"));
    assert!(near("--role ap").contains("app") && near("--kind ddl.odd").contains("ddl.blocked"));
    assert!(near("--object nowhere").contains("shows the newest"));
    let mut wrong = server.runbook("app", "postgres", files.path());
    let output = wrong.args(["log", "--since", "whenever"]).output().unwrap();
    assert_eq!(output.status.code(), Some(3), "{output:?}");

    let mut follow = server.runbook("app", "postgres", files.path());
    follow.args(["log", "--follow", "--format", "json", "--object", "shop.orders"]).stdout(std::process::Stdio::piped());
    let mut follow = follow.spawn().unwrap();
    let lines = std::io::BufReader::new(follow.stdout.take().unwrap());
    let (sender, receiver) = std::sync::mpsc::channel();
    let reader = std::thread::spawn(move || {
        for line in std::io::BufRead::lines(lines).map_while(Result::ok) {
            let entry: serde_json::Value = serde_json::from_str(&line).unwrap();
            sender.send(entry["statement"].as_str().unwrap_or_default().to_owned()).unwrap();
        }
    });
    let next = || receiver.recv_timeout(std::time::Duration::from_secs(20)).unwrap();
    assert!(next().contains("CREATE TABLE shop.orders"));
    assert!(next().contains("ADD COLUMN extra"));
    for number in 0..5 {
        // Entries are seen before they are sealed and afterwards, and printed once.
        admin.batch_execute(&format!("ALTER TABLE shop.orders ADD COLUMN c{number} int")).unwrap();
        assert!(next().contains(&format!("c{number} int")));
        std::thread::sleep(std::time::Duration::from_millis(400));
    }
    follow.kill().unwrap();
    follow.wait().unwrap();
    reader.join().unwrap();
    assert!(receiver.try_recv().is_err());
}
