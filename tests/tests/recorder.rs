//! Refusals are recorded whatever happens: in a flood, without a free worker slot, when the launcher is ended. `make soak` runs
//! the flood at full size (RUNBOOK_SOAK=1).
#![allow(clippy::unwrap_used, missing_docs, reason = "a panic is how a test fails")]

use postgres::Client;
use runbook_tests::{Server, sqlstate, wait_until};
use std::time::{Duration, Instant};

const PRELOAD: &str = "shared_preload_libraries=pg_runbook";

fn scene(server: &Server, name: &str) -> Client {
    let mut admin = server.database(name);
    admin
        .batch_execute(
            "CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t SELECT generate_series(1, 1000); SELECT runbook.activate()",
        )
        .unwrap();
    admin
}

fn count(client: &mut Client, sql: &str) -> i64 {
    client.query_one(sql, &[]).unwrap().get(0)
}

const BLOCKED: &str = "SELECT count(*) FROM runbook.ledger WHERE kind = 'ddl.blocked'";

/// Resident memory of a process that is its own, in kB.
fn memory(pid: i32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("RssAnon")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn launcher(server: &Server) -> i32 {
    let found = server.processes("pg_runbook launcher");
    assert_eq!(found.len(), 1, "one launcher for the cluster");
    found[0]
}

/// Queries of an innocent session per second, over some time.
fn innocent(client: &mut Client, time: Duration) -> f64 {
    let statement = client.prepare("SELECT id FROM t WHERE id = $1").unwrap();
    let (start, mut done) = (Instant::now(), 0i32);
    while start.elapsed() < time {
        client.query_one(&statement, &[&(done % 1000 + 1)]).unwrap();
        done += 1;
    }
    f64::from(done) / start.elapsed().as_secs_f64()
}

#[test]
fn nothing_of_a_flood_is_lost_and_nobody_else_is_slowed() {
    let soak = std::env::var_os("RUNBOOK_SOAK").is_some();
    let (clients, each) = if soak { (16, 625) } else { (8, 50) };
    let server = Server::start_with(&[PRELOAD]);
    let mut admin = scene(&server, "app");
    let mut other = server.connect("app", "postgres");
    // The first refusal starts the writer.
    assert_eq!(sqlstate(admin.batch_execute("DROP TABLE t")), "42501");
    let alone = innocent(&mut other, Duration::from_secs(2));
    let before = memory(launcher(&server));
    let start = Instant::now();
    let (mut beside, mut load) = (0.0, 0.0);
    std::thread::scope(|scope| {
        let attackers: Vec<_> = (0..clients)
            .map(|_| {
                let mut client = server.connect("app", "postgres");
                scope.spawn(move || {
                    let pid: i32 = client.query_one("SELECT pg_backend_pid()", &[]).unwrap().get(0);
                    let mut after_some = 0;
                    for at in 0..each {
                        assert_eq!(sqlstate(client.batch_execute("DROP TABLE t")), "42501");
                        if at == each / 2 {
                            after_some = memory(pid);
                        }
                    }
                    (after_some, memory(pid))
                })
            })
            .collect();
        beside = innocent(&mut other, Duration::from_secs(2));
        for attacker in attackers {
            let (half, end) = attacker.join().unwrap();
            assert!(end <= half + 1024, "a session's memory grew from {half} to {end} kB in the second half of the flood");
        }
        load = start.elapsed().as_secs_f64();
    });
    let total = i64::from(clients * each);
    assert_eq!(count(&mut admin, BLOCKED), total + 1);
    let after = memory(launcher(&server));
    assert!(after <= before + 1024, "the launcher's memory grew from {before} to {after} kB");
    let ok: bool = admin.query_one("SELECT ok FROM runbook.verify_ledger()", &[]).unwrap().get(0);
    assert!(ok);
    // The same number of clients with harmless failing statements, for comparison: what is lost is the processor's time.
    let harmless = std::sync::atomic::AtomicBool::new(true);
    let mut baseline = 0.0;
    std::thread::scope(|scope| {
        for _ in 0..clients {
            let mut client = server.connect("app", "postgres");
            let harmless = &harmless;
            scope.spawn(move || {
                while harmless.load(std::sync::atomic::Ordering::Relaxed) {
                    assert_eq!(sqlstate(client.batch_execute("DROP TABLE nothing_here")), "42P01");
                }
            });
        }
        baseline = innocent(&mut other, Duration::from_secs(2));
        harmless.store(false, std::sync::atomic::Ordering::Relaxed);
    });
    println!(
        "{total} refusals by {clients} sessions in {load:.1} s ({:.0}/s), all recorded; an innocent session: {alone:.0} queries/s alone, \
         {beside:.0} beside the flood, {baseline:.0} beside as many sessions with ordinary errors; launcher {before} to {after} kB",
        total as f64 / load
    );
    assert!(beside > 0.7 * baseline, "{beside} queries/s beside the flood, {baseline} beside ordinary errors");
}

#[test]
fn without_a_free_worker_slot_the_launcher_writes_itself() {
    // One slot for the launcher, one for PostgreSQL's own logical replication launcher.
    let server = Server::start_with(&[PRELOAD, "max_worker_processes=2"]);
    let mut admin = scene(&server, "app");
    let mut second = scene(&server, "second");
    for _ in 0..3 {
        assert_eq!(sqlstate(admin.batch_execute("DROP TABLE t")), "42501");
        assert_eq!(sqlstate(second.batch_execute("TRUNCATE t")), "42501");
    }
    assert_eq!((count(&mut admin, BLOCKED), count(&mut second, BLOCKED)), (3, 3), "{}", server.log());
}

#[test]
fn the_launcher_comes_back_and_a_database_with_records_can_be_dropped() {
    let server = Server::start_with(&[PRELOAD]);
    let mut admin = scene(&server, "app");
    let first = launcher(&server);
    runbook_tests::succeed(std::process::Command::new("kill").arg(first.to_string()));
    wait_until(10, "the launcher has gone", || !server.processes("pg_runbook launcher").contains(&first));
    assert_eq!(sqlstate(admin.batch_execute("DROP TABLE t")), "42501");
    assert_eq!(count(&mut admin, BLOCKED), 1);
    wait_until(10, "the writer has gone", || {
        count(&mut admin, "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'pg_runbook writer'") == 0
    });
    assert_eq!(sqlstate(admin.batch_execute("DROP TABLE t")), "42501");
    admin.batch_execute("SELECT runbook.deactivate('done')").unwrap();
    drop(admin);
    let mut other = server.connect("postgres", "postgres");
    other.batch_execute("DROP DATABASE app").unwrap();
}

#[test]
fn a_guarded_database_that_lets_nobody_in_is_written_to_all_the_same() {
    let server = Server::start_with(&[PRELOAD]);
    let mut admin = scene(&server, "app");
    let mut other = server.connect("postgres", "postgres");
    other.batch_execute("ALTER DATABASE app ALLOW_CONNECTIONS false").unwrap();
    let start = Instant::now();
    other.batch_execute("CREATE ROLE somebody").unwrap();
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    assert_eq!(
        count(
            &mut admin,
            "SELECT count(*) FROM runbook.ledger WHERE tag = 'CREATE ROLE' AND payload::jsonb ->> 'from_database' = 'postgres'"
        ),
        1
    );
    // One whose extension is gone beside the guard's back: nobody waits long, and no storm of workers breaks loose.
    admin.batch_execute("SET runbook.mode = off; DROP EXTENSION pg_runbook CASCADE").unwrap();
    let start = Instant::now();
    other.batch_execute("CREATE ROLE somebody_else").unwrap();
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    assert!(server.log().matches("the extension is not in this database").count() < 20);
}

#[test]
fn errors_keep_their_position_context_and_fields() {
    let server = Server::start_with(&[PRELOAD]);
    let mut admin = scene(&server, "app");
    let error = admin.batch_execute("CREATE VIEW v AS SELECT nothing FROM t").unwrap_err();
    let error = error.as_db_error().unwrap();
    assert_eq!(error.code().code(), "42703");
    assert!(matches!(error.position(), Some(postgres::error::ErrorPosition::Original(25))), "{:?}", error.position());
    let error = admin.batch_execute("ALTER TABLE t ADD CONSTRAINT small CHECK (id < 10)").unwrap_err();
    let error = error.as_db_error().unwrap();
    assert_eq!(
        (error.code().code(), error.constraint(), error.table(), error.schema()),
        ("23514", Some("small"), Some("t"), Some("public"))
    );
    let error = admin.batch_execute("DO $$ BEGIN EXECUTE 'CREATE TABLE t (x int)'; END $$").unwrap_err();
    let error = error.as_db_error().unwrap();
    assert_eq!(error.code().code(), "42P07");
    assert!(error.where_().is_some_and(|context| context.contains("PL/pgSQL function inline_code_block line 1 at EXECUTE")));
}

#[test]
fn the_first_statement_of_a_repeatable_read_transaction_can_still_be_a_lock() {
    let server = Server::start_with(&[PRELOAD]);
    let mut admin = scene(&server, "app");
    let mut other = server.connect("app", "postgres");
    other.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; LOCK TABLE t").unwrap();
    admin.batch_execute("CREATE TABLE u (x int); INSERT INTO u VALUES (1)").unwrap();
    // The lock has taken no snapshot: what was committed since is seen.
    assert_eq!(count(&mut other, "SELECT count(*) FROM u"), 1);
}
