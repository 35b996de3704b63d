//! The sealed ledger: who seals what when, and where it is carried to.
#![allow(clippy::unwrap_used, missing_docs, reason = "a panic is how a test fails")]

use postgres::Client;
use runbook_tests::ledger::{audit, fill, guarded, is_whole, number};
use runbook_tests::{Server, as_server_user, sqlstate, succeed, wait_until};
use std::path::Path;
use std::process::Command;

const PRELOAD: &str = "shared_preload_libraries=pg_runbook";

fn sealed(client: &mut Client) -> i64 {
    number(client, "SELECT size FROM runbook.tree_head()")
}

fn unsealed(client: &mut Client) -> i64 {
    number(client, "SELECT unsealed FROM runbook.tree_head()")
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
        session.batch_execute("SELECT runbook.configure('preset', 'local')").unwrap();
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
    assert!(error.message().contains("entries were to be sealed, but 0 were stored"), "{error:?}");
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
    reader.batch_execute("ROLLBACK").unwrap();
    for call in [
        "approve('x')",
        "configure('lock_timeout', '3s')",
        "start_upgrade('head')",
        "upgrade('head')",
        "stamp('head')",
        "submit('{}')",
        "request_permit('DROP TABLE later', 'why')",
        "deactivate('why')",
        "withdraw('x', 'why')",
    ] {
        assert_eq!(sqlstate(reader.batch_execute(&format!("SELECT runbook.{call}"))), "25006", "{call}");
    }
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
