//! The sealed ledger: who seals what when, and where it is carried to.
#![allow(clippy::unwrap_used, missing_docs, reason = "a panic is how a test fails")]

use postgres::Client;
use runbook_core::checkpoint::Checkpoint;
use runbook_tests::ledger::fill;
use runbook_tests::{Server, as_server_user, sqlstate, succeed, wait_until};
use std::path::Path;
use std::process::Command;

const PRELOAD: &str = "shared_preload_libraries=pg_runbook";

fn number(client: &mut Client, sql: &str) -> i64 {
    client.query_one(sql, &[]).unwrap().get(0)
}

fn sealed(client: &mut Client) -> i64 {
    number(client, "SELECT size FROM runbook.tree_head()")
}

fn unsealed(client: &mut Client) -> i64 {
    number(client, "SELECT unsealed FROM runbook.tree_head()")
}

fn is_whole(client: &mut Client) {
    let row = client.query_one("SELECT ok, problem FROM runbook.verify_ledger()", &[]).unwrap();
    assert!(row.get::<_, bool>(0), "{:?}", row.get::<_, Option<String>>(1));
    let dense = "SELECT count(*) = COALESCE(max(position) + 1, 0) FROM runbook.entry";
    assert!(client.query_one(dense, &[]).unwrap().get::<_, bool>(0));
}

fn guarded(server: &Server, database: &str) -> Client {
    let mut admin = server.database(database);
    admin.batch_execute("SELECT runbook.configure('environment', 'local')").unwrap();
    admin.batch_execute("SELECT runbook.activate()").unwrap();
    admin
}

fn audit(server: &Server, database: &str, directory: &Path, arguments: &str) -> Command {
    let mut command = server.runbook(database, "postgres", directory);
    command.arg("audit").args(arguments.split(' '));
    command
}

#[test]
fn what_commits_is_sealed_however_the_transaction_was_run_and_nothing_else_is() {
    let server = Server::start_with(&["max_prepared_transactions=4"]);
    let mut admin = guarded(&server, "app");
    let mut other = server.connect("app", "postgres");
    admin.batch_execute("CALL runbook.seal()").unwrap();
    let start = sealed(&mut admin);

    // A transaction that goes on keeps nobody else's entries from being sealed; its own are sealed once it has committed.
    other.batch_execute("BEGIN ISOLATION LEVEL SERIALIZABLE; CREATE TABLE a (); SAVEPOINT s; CREATE TABLE gone (); ROLLBACK TO s; CREATE TABLE b ()").unwrap();
    admin.batch_execute("CREATE TABLE c ()").unwrap();
    admin.batch_execute("CALL runbook.seal()").unwrap();
    assert_eq!(sealed(&mut admin), start + 1);
    other.batch_execute("COMMIT").unwrap();
    admin.batch_execute("CALL runbook.seal()").unwrap();
    assert_eq!(sealed(&mut admin), start + 3);

    // What was prepared is sealed when it is committed, and not when it is not.
    other.batch_execute("BEGIN; CREATE TABLE d (); PREPARE TRANSACTION 'd'").unwrap();
    other.batch_execute("BEGIN; CREATE TABLE e (); PREPARE TRANSACTION 'e'").unwrap();
    admin.batch_execute("CALL runbook.seal()").unwrap();
    assert_eq!(sealed(&mut admin), start + 3);
    other.batch_execute("COMMIT PREPARED 'd'").unwrap();
    other.batch_execute("ROLLBACK PREPARED 'e'").unwrap();
    admin.batch_execute("CALL runbook.seal()").unwrap();
    assert_eq!(sealed(&mut admin), start + 4);

    // Settings that would change what constraints and triggers do, or whether one may write at all.
    other.batch_execute("SET session_replication_role = replica; SET default_transaction_isolation = 'repeatable read'; SET default_transaction_read_only = off").unwrap();
    other.batch_execute("BEGIN; SET CONSTRAINTS ALL DEFERRED; CREATE TABLE f (); COMMIT").unwrap();
    other.batch_execute("SET default_transaction_read_only = on").unwrap();
    other.batch_execute("CALL runbook.seal()").unwrap();
    assert_eq!(unsealed(&mut admin), 0);

    // A snapshot from before does not make a sealer give a position away twice.
    other.batch_execute("RESET ALL").unwrap();
    other.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM runbook.entry").unwrap();
    admin.batch_execute("CREATE TABLE g ()").unwrap();
    admin.batch_execute("CALL runbook.seal()").unwrap();
    admin.batch_execute("CREATE TABLE h ()").unwrap();
    other.batch_execute("CALL runbook.seal()").unwrap();
    other.batch_execute("COMMIT").unwrap();
    assert_eq!(unsealed(&mut admin), 0);
    // Inside a DO block it commits nothing of what that has done.
    let undone = "DO $$ BEGIN CREATE TABLE undone (); CALL runbook.seal(); RAISE EXCEPTION 'no'; END $$";
    assert_eq!(sqlstate(other.batch_execute(undone)), "P0001");
    assert_eq!(sqlstate(other.batch_execute("SELECT FROM undone")), "42P01");
    is_whole(&mut admin);
    assert_eq!(
        number(&mut admin, "SELECT count(*) FROM runbook.ledger WHERE 'gone' = ANY (string_to_array(statement, ' '))"),
        0
    );
}

#[test]
fn what_nobody_may_do_under_a_name_of_any_length_is_sealed_all_the_same() {
    let server = Server::start_with(&[PRELOAD]);
    let mut admin = guarded(&server, "app");
    let mut nobody = server.connect("app", "app");
    for length in [300, 9_000, 3_000_000] {
        // Not to be compressed: an index takes compressed keys.
        let name: String =
            (0..length).map(|at: u64| char::from(b'a' + (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 59) as u8 % 26)).collect();
        assert!(nobody.batch_execute(&format!("LOAD '{name}'")).is_err());
    }
    admin.batch_execute("CREATE TABLE afterwards ()").unwrap();
    admin.batch_execute("CALL runbook.seal()").unwrap();
    assert_eq!(unsealed(&mut admin), 0);
    assert!(number(&mut admin, "SELECT count(*) FROM runbook.ledger WHERE tag = 'LOAD'") >= 3);
    assert!(number(&mut admin, "SELECT max(length(payload))::int8 FROM runbook.entry") < 20_000);
    is_whole(&mut admin);
}

#[test]
fn several_sealers_at_once_give_no_position_twice() {
    let server = Server::start_with(&[PRELOAD, "runbook.seal_interval=10ms"]);
    let mut admin = guarded(&server, "app");
    std::thread::scope(|scope| {
        for client in 0..4 {
            let server = &server;
            scope.spawn(move || {
                let mut session = server.connect("app", "postgres");
                for at in 0..25 {
                    session.batch_execute(&format!("CREATE TABLE t_{client}_{at} ()")).unwrap();
                    if at % 5 == 0 {
                        session.batch_execute("CALL runbook.seal()").unwrap();
                    }
                }
            });
        }
    });
    wait_until(20, "everything is sealed", || unsealed(&mut admin) == 0);
    assert_eq!(number(&mut admin, "SELECT count(*) FROM runbook.entry WHERE kind = 'ddl.executed'"), 100);
    is_whole(&mut admin);
}

/// One launcher for all, and it stands in nobody's way.
fn many_databases(count: usize) {
    let server = Server::start_with(&[PRELOAD, "fsync=off", "runbook.seal_interval=200ms"]);
    let mut admin = guarded(&server, "template_app");
    admin.batch_execute("SELECT runbook.deactivate('a template')").unwrap();
    admin.batch_execute("CALL runbook.seal()").unwrap();
    drop(admin);
    let mut root = server.connect("postgres", "postgres");
    for at in 0..count {
        root.batch_execute(&format!("CREATE DATABASE app_{at} TEMPLATE template_app")).unwrap();
        let mut session = server.connect(&format!("app_{at}"), "postgres");
        session.batch_execute("SELECT runbook.configure('environment', 'local')").unwrap();
        session.batch_execute("SELECT runbook.activate()").unwrap();
    }
    let start = std::time::Instant::now();
    for at in 0..count {
        let mut session = server.connect(&format!("app_{at}"), "postgres");
        wait_until(60, "a database is sealed", || unsealed(&mut session) == 0);
    }
    println!("{count} databases sealed {:.1} s after the last was made", start.elapsed().as_secs_f64());
    // What is being sealed can be copied and dropped.
    for at in 0..count.min(20) {
        server.connect(&format!("app_{at}"), "postgres").batch_execute("CREATE TABLE t ()").unwrap();
        root.batch_execute(&format!("CREATE DATABASE copy_{at} TEMPLATE app_{at}")).unwrap();
    }
    assert!(
        root.query_one("SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'pg_runbook%'", &[])
            .unwrap()
            .get::<_, i64>(0)
            <= 4
    );
}

#[test]
fn the_launcher_seals_every_database_and_disturbs_none() {
    many_databases(if std::env::var_os("RUNBOOK_SOAK").is_some() { 200 } else { 8 });
}

#[test]
fn a_standby_reads_and_proves_and_its_promotion_goes_on_with_the_tree() {
    let server = Server::start_with(&["max_wal_senders=4", "wal_level=replica"]);
    let mut admin = guarded(&server, "app");
    fill(&mut admin, 600);
    let files = tempfile::tempdir().unwrap();
    succeed(&mut audit(&server, "app", files.path(), "keygen auditor --out auditor.key"));
    succeed(&mut audit(&server, "app", files.path(), "checkpoint --key auditor.key --out one.note"));
    let standby = server.standby();
    admin.batch_execute("CREATE TABLE later ()").unwrap();
    admin.batch_execute("CALL runbook.seal()").unwrap();
    let size = sealed(&mut admin);
    let mut reader = standby.connect("app", "postgres");
    wait_until(20, "the standby has caught up", || sealed(&mut reader) == size);
    is_whole(&mut reader);
    assert_eq!(sqlstate(reader.batch_execute("CALL runbook.seal()")), "25006");
    succeed(&mut audit(&standby, "app", files.path(), "verify --checkpoint one.note --key auditor.key.pub"));
    succeed(&mut audit(
        &standby,
        "app",
        files.path(),
        "prove 5 --checkpoint one.note --key auditor.key.pub --out five.tlog-proof",
    ));
    succeed(&mut audit(&standby, "app", files.path(), "check-proof five.tlog-proof --key auditor.key.pub"));
    server.stop("immediate");
    reader.batch_execute("SELECT pg_promote()").unwrap();
    reader.batch_execute("CREATE TABLE later_still ()").unwrap();
    succeed(&mut audit(&standby, "app", files.path(), "checkpoint --key auditor.key --out two.note"));
    succeed(&mut audit(
        &standby,
        "app",
        files.path(),
        "verify --checkpoint one.note --checkpoint two.note --key auditor.key.pub",
    ));
    assert!(sealed(&mut reader) > size);
}

#[test]
fn an_entry_that_does_not_arrive_is_not_given_up() {
    let server = Server::start();
    let mut admin = guarded(&server, "app");
    admin
        .batch_execute(
            "CREATE FUNCTION swallow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$; \
             SET runbook.mode = off; CREATE TRIGGER swallow BEFORE INSERT ON runbook.entry FOR EACH ROW EXECUTE FUNCTION swallow(); \
             RESET runbook.mode; CREATE TABLE t ()",
        )
        .unwrap();
    let waiting = "SELECT count(*) FROM runbook.unsealed";
    let before: i64 = admin.query_one(waiting, &[]).unwrap().get(0);
    let error = admin.batch_execute("CALL runbook.seal()").unwrap_err();
    let error = error.as_db_error().unwrap();
    assert!(error.message().contains("entries were to be sealed, and 0 have arrived"), "{error:?}");
    assert_eq!(admin.query_one(waiting, &[]).unwrap().get::<_, i64>(0), before);
    admin.batch_execute("SET runbook.mode = off; DROP TRIGGER swallow ON runbook.entry; RESET runbook.mode").unwrap();
    admin.batch_execute("CALL runbook.seal()").unwrap();
    is_whole(&mut admin);
}

#[test]
fn what_passes_on_a_standby_is_in_its_log() {
    let preload = "shared_preload_libraries=pg_runbook";
    let server = Server::start_with(&["max_wal_senders=4", "wal_level=replica", preload]);
    let mut admin = guarded(&server, "app");
    admin.batch_execute("CALL runbook.seal()").unwrap();
    let standby = server.standby();
    standby.stop("fast");
    standby.launch(&[preload]);
    let mut reader = standby.connect("app", "postgres");
    for sql in ["ALTER SYSTEM SET work_mem = '5MB'", "COPY (SELECT 1) TO PROGRAM 'cat >/dev/null'"] {
        reader.batch_execute(sql).unwrap();
        let word = sql.split(' ').next().unwrap();
        let is_entry =
            |line: &&str| line.contains("could not record in the ledger (the server is a standby)") && line.contains(word);
        assert!(standby.log().lines().any(|line| is_entry(&line)), "{sql}\n{}", standby.log());
    }
    // An old snapshot on a standby, too.
    reader.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM pg_class").unwrap();
    admin.batch_execute("CREATE TABLE later ()").unwrap();
    assert_eq!(sqlstate(reader.batch_execute("DROP TABLE later")), "25006");
}

#[test]
fn an_entry_is_proved_by_position_or_id_and_what_is_neither_is_no_entry() {
    let server = Server::start();
    let mut admin = guarded(&server, "app");
    let files = tempfile::tempdir().unwrap();
    succeed(&mut audit(&server, "app", files.path(), "keygen auditor --out auditor.key"));
    succeed(&mut audit(&server, "app", files.path(), "checkpoint --key auditor.key --out one.note"));
    let id: String = admin.query_one("SELECT entry_id::text FROM runbook.entry WHERE position = 1", &[]).unwrap().get(0);
    let prove = |entry: &str| {
        let arguments = format!("prove {entry} --checkpoint one.note --key auditor.key.pub --out entry.tlog-proof");
        audit(&server, "app", files.path(), &arguments).output().unwrap()
    };
    assert_eq!(prove("1").status.code(), Some(0));
    let by_position = std::fs::read_to_string(files.path().join("entry.tlog-proof")).unwrap();
    assert_eq!(prove(&id).status.code(), Some(0));
    assert_eq!(by_position, std::fs::read_to_string(files.path().join("entry.tlog-proof")).unwrap());
    for entry in ["xyz", "1000", "00000000-0000-0000-0000-000000000000"] {
        let output = prove(entry);
        assert_eq!(output.status.code(), Some(5), "{output:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains(&format!("there is no entry {entry}")), "{output:?}");
    }
}

#[test]
fn dumps_and_upgrades_carry_the_ledger_and_checkpoints_still_hold() {
    let server = Server::start();
    let mut admin = guarded(&server, "app");
    fill(&mut admin, 700);
    let files = tempfile::tempdir().unwrap();
    let directory = files.path();
    succeed(&mut audit(&server, "app", directory, "keygen auditor --out auditor.key"));
    succeed(&mut audit(&server, "app", directory, "checkpoint --key auditor.key --out one.note"));
    let dump = server.directory().join("app.dump");
    succeed(server.program("pg_dump").args(["-U", "postgres", "-Fc", "-d", "app", "-f"]).arg(&dump));
    server.connect("postgres", "postgres").batch_execute("CREATE DATABASE restored").unwrap();
    succeed(server.program("pg_restore").args(["-U", "postgres", "-d", "restored"]).arg(&dump));
    let verify = "verify --checkpoint one.note --key auditor.key.pub";
    let output = succeed(&mut audit(&server, "restored", directory, verify));
    assert!(String::from_utf8_lossy(&output.stderr).contains("the ledger has moved"), "{output:?}");
    // The key that has signed the one signs the other, since that goes on from it; then not the first any more.
    fill(&mut server.connect("restored", "postgres"), 3);
    succeed(&mut audit(&server, "restored", directory, "checkpoint --key auditor.key --out two.note"));
    admin.batch_execute("CREATE TABLE elsewhere ()").unwrap();
    admin.batch_execute("CREATE TABLE elsewhere_2 ()").unwrap();
    let output = audit(&server, "app", directory, "checkpoint --key auditor.key --out three.note").output().unwrap();
    assert_eq!(output.status.code(), Some(9), "{output:?}");

    drop(admin);
    let upgraded = server.upgraded();
    let mut session = upgraded.connect("app", "postgres");
    is_whole(&mut session);
    succeed(&mut audit(&upgraded, "app", directory, verify));
    assert!(unsealed(&mut session) == 0 && sealed(&mut session) > 700);
}

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
    assert!(code == Some(0) && said.contains("behind the last checkpoint"), "{said}");
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
    admin.batch_execute("SELECT runbook.configure('environment', 'production')").unwrap();
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
        let output = succeed(command.args(["log", "--format", "json"]).args(arguments.split(' ')));
        let entries: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout).unwrap();
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

/// Kills the server, a sealer or the command at random moments under load; what has committed is never lost, no position is given twice,
/// and the last checkpoint stays true.
fn killed(times: u32) {
    let server = Server::start_with(&[PRELOAD, "runbook.seal_interval=10ms"]);
    let mut admin = guarded(&server, "app");
    let files = tempfile::tempdir().unwrap();
    let directory = files.path();
    succeed(&mut audit(&server, "app", directory, "keygen auditor --out auditor.key"));
    succeed(&mut audit(&server, "app", directory, "checkpoint --key auditor.key --out last.note"));
    admin.batch_execute("CREATE TABLE done (id bigint PRIMARY KEY)").unwrap();
    drop(admin);
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move |below: u64| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed % below
    };
    let mut kills = [0; 3];
    for round in 0..times {
        let what = random(3) as usize;
        kills[what] += 1;
        let delay = random(150);
        let stop = std::sync::atomic::AtomicBool::new(false);
        let committed = std::sync::Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for client in 0..3 {
                let (server, stop, committed) = (&server, &stop, &committed);
                scope.spawn(move || {
                    let Ok(mut session) = server.config("app", "postgres").connect(postgres::NoTls) else { return };
                    for at in 0.. {
                        let name = format!("t_{round}_{client}_{at}");
                        if stop.load(std::sync::atomic::Ordering::Relaxed)
                            || session.batch_execute(&format!("CREATE TABLE {name} (); DROP TABLE {name}")).is_err()
                        {
                            return;
                        }
                        committed.lock().unwrap().push(name);
                    }
                });
            }
            let mut command = audit(&server, "app", directory, "checkpoint --key auditor.key --out last.note");
            let mut signing = command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn().unwrap();
            std::thread::sleep(std::time::Duration::from_millis(delay));
            match what {
                0 => server.stop("immediate"),
                1 => {
                    for pid in server.processes("pg_runbook writer").into_iter().chain(server.processes("pg_runbook launcher"))
                    {
                        let _ = Command::new("kill").args(["-9", &pid.to_string()]).status();
                    }
                }
                _ => {
                    let _ = signing.kill();
                }
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
            let _ = signing.wait();
        });
        if what == 0 {
            server.launch(&[PRELOAD, "runbook.seal_interval=10ms"]);
        }
        // After a process was killed the server restarts by itself.
        wait_until(30, "the server is back", || server.config("app", "postgres").connect(postgres::NoTls).is_ok());
        let mut session = server.connect("app", "postgres");
        session.batch_execute("CALL runbook.seal()").unwrap();
        for name in committed.into_inner().unwrap() {
            let sql = "SELECT count(*) FROM runbook.ledger WHERE runbook.ledger_terms(payload) @> ARRAY['object:public.' || $1::text]";
            let entries: i64 = session.query_one(sql, &[&name]).unwrap().get(0);
            assert_eq!(entries, 2, "round {round}: {name} was created and dropped");
        }
        is_whole(&mut session);
        succeed(&mut audit(&server, "app", directory, "verify --checkpoint last.note --key auditor.key.pub"));
    }
    println!("{times} kills: {} of the server, {} of its workers, {} of the command", kills[0], kills[1], kills[2]);
}

#[test]
fn kill_9_of_server_sealer_or_command_loses_nothing_and_repeats_nothing() {
    killed(if std::env::var_os("RUNBOOK_SOAK").is_some() { 200 } else { 8 });
}

/// The standby and the upgraded cluster are servers of their own, made from this one.
trait Made {
    fn standby(&self) -> Server;
    fn upgraded(&self) -> Server;
}

impl Made for Server {
    fn standby(&self) -> Server {
        Server::made(&[], |bin, data| {
            let mut command = as_server_user(&bin.join("pg_basebackup"));
            command.args([
                "-h",
                &self.socket(),
                "-p",
                &runbook_tests::PORT.to_string(),
                "-U",
                "postgres",
                "-R",
                "-c",
                "fast",
                "-D",
                data,
            ]);
            succeed(&mut command);
        })
    }

    fn upgraded(&self) -> Server {
        self.stop("fast");
        Server::made(&[], |bin, data| {
            succeed(as_server_user(&bin.join("initdb")).args([
                "-A",
                "trust",
                "-U",
                "postgres",
                "--no-sync",
                "-E",
                "UTF8",
                "--locale=C.UTF-8",
                "-D",
                data,
            ]));
            let bin = bin.display().to_string();
            let mut command = as_server_user(Path::new("bash"));
            let old = self.directory().join("data").display().to_string();
            command.args([
                "-c",
                "cd \"$5\" && \"$1/pg_upgrade\" -b \"$1\" -B \"$1\" -d \"$2\" -D \"$3\" -U postgres -s \"$4\"",
                "-",
            ]);
            let parent = Path::new(data).parent().unwrap().display().to_string();
            succeed(command.args([&bin, &old, &data.to_owned(), &parent, &parent]));
        })
    }
}
