//! Jobs that are interrupted at a random point by whatever can interrupt them, and are whole afterwards.
//!
//! `RUNBOOK_SOAK=1` does it at full size.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use postgres::Client;
use runbook_tests::jobs::{backfill, entries, invalid_indexes, piecemeal};
use runbook_tests::{Server, submit, wait_until};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

fn is_soak() -> bool {
    std::env::var_os("RUNBOOK_SOAK").is_some()
}

/// Numbers that look random and are the same in every run.
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// A connection to a server that may be on its way up again.
fn connect(server: &Server, database: &str, user: &str) -> Client {
    let mut found = None;
    wait_until(60, "the server is back", || {
        found = server.config(database, user).connect(postgres::NoTls).ok();
        found.is_some()
    });
    found.unwrap()
}

/// One value, asked again while the server is down.
fn ask(server: &Server, database: &str, sql: &str) -> String {
    let mut found = None;
    wait_until(120, "the server answers", || {
        let client = server.config(database, "postgres").connect(postgres::NoTls);
        found = client.ok().and_then(|mut client| client.query_one(sql, &[]).ok()).map(|row| row.get::<_, Option<String>>(0));
        found.is_some()
    });
    found.unwrap().unwrap_or_default()
}

/// Writers on a table, who go when the server does.
fn writers(server: &Server, database: &str, rows: u64, script: &std::path::Path) -> Child {
    let sql = format!(
        "\\set id random(1, {rows})\nUPDATE t SET w = w + 1 WHERE id = :id;\nSELECT v FROM t WHERE id = :id;\n\
         INSERT INTO t (v, w) VALUES (:id, 0);\n"
    );
    std::fs::write(script, sql).unwrap();
    let mut command = server.program("pgbench");
    command.args(["-n", "-c", "2", "-T", "600", "-f"]).arg(script).arg(database);
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Blow {
    /// kill -9 of the worker: the whole server restarts.
    Worker,
    /// kill -9 of the postmaster.
    Server,
    /// pg_terminate_backend.
    Terminate,
    /// The client that waits goes; nothing else happens.
    Client,
    /// Cancelled, and resumed.
    Cancel,
}

const BLOWS: [Blow; 5] = [Blow::Worker, Blow::Server, Blow::Terminate, Blow::Client, Blow::Cancel];

fn kill_9(pid: &str) {
    let _ = Command::new("kill").args(["-9", pid]).status();
}

/// Strikes; whether somebody has to resume the job.
fn strike(server: &Server, database: &str, blow: Blow, job: i64, parameters: &[&str], waiting: &mut Option<Child>) -> bool {
    let worker = format!("SELECT worker_pid::text FROM runbook.jobs WHERE job = {job}");
    match blow {
        Blow::Worker => kill_9(&ask(server, database, &worker)),
        Blow::Terminate => {
            ask(
                server,
                database,
                &format!("SELECT pg_terminate_backend(worker_pid)::text FROM runbook.jobs WHERE job = {job}"),
            );
        }
        Blow::Server => {
            let pid = std::fs::read_to_string(server.directory().join("data/postmaster.pid")).unwrap();
            kill_9(pid.lines().next().unwrap());
            // Its children go when they notice, and only then can another one start.
            wait_until(30, "all of it is gone", || {
                std::thread::sleep(Duration::from_millis(100));
                server.program("pg_isready").stdout(Stdio::null()).status().is_ok_and(|status| !status.success())
            });
            let begun = Instant::now();
            while std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| server.launch(parameters))).is_err() {
                assert!(begun.elapsed() < Duration::from_secs(60), "the server does not start again");
                std::thread::sleep(Duration::from_millis(300));
            }
        }
        Blow::Client => {
            if let Some(mut waiting) = waiting.take() {
                let _ = waiting.kill();
                let _ = waiting.wait();
            }
        }
        Blow::Cancel => {
            let mut app = connect(server, database, "app");
            app.query_one("SELECT runbook.cancel($1)", &[&job]).unwrap();
            return true;
        }
    }
    false
}

/// Index builds under load, until `blows` of them have been hit at a random moment; with or without preloading.
fn index_builds(preloaded: bool, blows: u64, rows: u64) {
    let parameters: &[&str] = if preloaded {
        &["shared_preload_libraries=pg_runbook", "shared_buffers=256MB", "restart_after_crash=on"]
    } else {
        &["shared_buffers=256MB", "restart_after_crash=on"]
    };
    let server = Server::start_with(parameters);
    let mut admin = server.database("app");
    admin
        .batch_execute(&format!(
            "CREATE TABLE t (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, v int, w int); \
             INSERT INTO t (v, w) SELECT i % 1000, 0 FROM generate_series(1, {rows}) i; CREATE TABLE other (id int); \
             ALTER TABLE t OWNER TO app_owner; SELECT runbook.configure('lock_timeout', '500ms'); SELECT runbook.activate(); ANALYZE"
        ))
        .unwrap();
    let sql = "ALTER TABLE t ADD COLUMN x int; CREATE INDEX CONCURRENTLY t_v ON t (v); CREATE INDEX CONCURRENTLY t_w ON t (w, v); \
               REINDEX INDEX CONCURRENTLY t_v; ANALYZE t";
    let back = "DROP INDEX CONCURRENTLY t_w; DROP INDEX CONCURRENTLY t_v; ALTER TABLE t DROP COLUMN x";
    submit(&mut connect(&server, "app", "alice"), &piecemeal("a001", &[], sql, back)).unwrap();
    drop(admin);
    let script = server.directory().join("writers.sql");
    let mut chance = Chance(0x5eed_0000 + blows + u64::from(preloaded));
    let mut counts = [0u64; BLOWS.len()];
    let longest = if rows > 100_000 { 10_000 } else { 900 };
    let mut run = 0;
    // Some have ended before the blow comes.
    while counts.iter().sum::<u64>() < blows && run < 4 * blows {
        let up = run % 2 == 0;
        // Both ways, whatever policy thinks of the way back; an approval counts once.
        connect(&server, "app", "bob").execute("SELECT runbook.approve('a001')", &[]).unwrap();
        let mut load = writers(&server, "app", rows, &script);
        let mut idle = connect(&server, "app", "postgres");
        // Holds up the ALTER TABLE and the first half of builds; or the end of builds; or nothing.
        let (hold, way) = [
            ("BEGIN; UPDATE t SET w = w WHERE id = 1", "writer"),
            ("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM other", "reader"),
            ("BEGIN", "nobody"),
        ][usize::try_from(chance.below(3)).unwrap()];
        idle.batch_execute(hold).unwrap();
        let mut app = connect(&server, "app", "app");
        let call = if up { "SELECT runbook.start_upgrade('head')" } else { "SELECT runbook.start_downgrade('base')" };
        let job: i64 = app.query_one(call, &[]).unwrap().get(0);
        let work = server.directory().to_owned();
        let mut follow = server.runbook("app", "app", &work);
        follow.args(["wait", &job.to_string()]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut waiting = Some(follow.spawn().unwrap());
        let (strikes, leaves) = (chance.below(longest), chance.below(longest * 3 / 2));
        std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(leaves));
            let _ = idle.batch_execute("COMMIT");
        });
        // Where nobody is in the way it is over soon.
        std::thread::sleep(Duration::from_millis(if way == "nobody" { strikes / 5 } else { strikes }));
        let state = ask(&server, "app", &format!("SELECT state FROM runbook.jobs WHERE job = {job}"));
        if state == "running" {
            let at = usize::try_from(chance.below(BLOWS.len() as u64)).unwrap();
            counts[at] += 1;
            let resumes = strike(&server, "app", BLOWS[at], job, parameters, &mut waiting);
            if resumes {
                wait_until(60, "it is cancelled", || {
                    let state = ask(&server, "app", &format!("SELECT state FROM runbook.jobs WHERE job = {job}"));
                    ["cancelled", "finished"].contains(&state.as_str())
                });
            }
            let stopped = ask(&server, "app", &format!("SELECT state FROM runbook.jobs WHERE job = {job}"));
            if stopped == "cancelled" || (!preloaded && stopped == "interrupted") {
                let _ = connect(&server, "app", "app").query_one("SELECT runbook.resume($1)", &[&job]);
            }
        }
        let begun = Instant::now();
        loop {
            let state = ask(
                &server,
                "app",
                &format!("SELECT state || coalesce(': ' || (error ->> 'message'), '') FROM runbook.jobs WHERE job = {job}"),
            );
            if state == "finished" {
                break;
            }
            assert!(!state.starts_with("failed"), "run {run}: {state}\n{}", server.log());
            if !preloaded && state == "interrupted" {
                let _ = connect(&server, "app", "app").query_one("SELECT runbook.resume($1)", &[&job]);
            }
            assert!(begun.elapsed() < Duration::from_secs(600), "run {run}: {state} since {:?}", begun.elapsed());
            std::thread::sleep(Duration::from_millis(50));
        }
        if let Some(mut waiting) = waiting {
            let _ = waiting.kill();
            let _ = waiting.wait();
        }
        let _ = load.kill();
        let _ = load.wait();
        let mut admin = connect(&server, "app", "postgres");
        assert_eq!(invalid_indexes(&mut admin), Vec::<String>::new(), "run {run}");
        let indexes: Vec<String> = admin
            .query("SELECT indexdef FROM pg_indexes WHERE tablename = 't' ORDER BY 1", &[])
            .unwrap()
            .iter()
            .map(|row| row.get(0))
            .collect();
        let own = "CREATE UNIQUE INDEX t_pkey ON public.t USING btree (id)";
        let expected: &[&str] = if up {
            &["CREATE INDEX t_v ON public.t USING btree (v)", "CREATE INDEX t_w ON public.t USING btree (w, v)", own]
        } else {
            &[own]
        };
        assert_eq!(indexes, expected, "run {run}");
        let left = "SELECT (SELECT count(*) FROM runbook.statement_progress) + (SELECT count(*) FROM runbook.built_relation)";
        assert_eq!(admin.query_one(left, &[]).unwrap().get::<_, i64>(0), 0, "run {run}");
        // Every statement is in the ledger once for each run.
        let statements = if up { 5 } else { 3 };
        let sql = "SELECT count(*), count(DISTINCT payload::jsonb ->> 'statement_number') FROM runbook.ledger \
                   WHERE kind = 'apply.statement' AND (payload::jsonb ->> 'job')::bigint = $1";
        let row = admin.query_one(sql, &[&job]).unwrap();
        assert_eq!((row.get::<_, i64>(0), row.get::<_, i64>(1)), (statements, statements), "run {run}");
        run += 1;
    }
    assert!(!server.log().contains("deadlock detected"), "{}", server.log());
    println!("{run} runs over {rows} rows, {}: {BLOWS:?} {counts:?}", if preloaded { "preloaded" } else { "not preloaded" });
}

#[test]
fn index_builds_go_on_by_themselves_after_any_blow() {
    index_builds(true, if is_soak() { 70 } else { 4 }, if is_soak() { 5_000_000 } else { 20_000 });
}

#[test]
fn index_builds_go_on_when_somebody_resumes_them() {
    index_builds(false, if is_soak() { 40 } else { 3 }, if is_soak() { 5_000_000 } else { 20_000 });
}

/// A backfill that adds one to every row, under load, killed and resumed again and again.
#[test]
fn a_backfill_that_is_killed_again_and_again_misses_no_row_and_does_none_twice() {
    let rows: u64 = if is_soak() { 10_000_000 } else { 100_000 };
    let blows = if is_soak() { 12 } else { 4 };
    let parameters = ["shared_preload_libraries=pg_runbook", "shared_buffers=256MB", "restart_after_crash=on"];
    let server = Server::start_with(&parameters);
    let mut admin = server.database("app");
    admin
        .batch_execute(&format!(
            "CREATE TABLE t (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, v int, w int DEFAULT 0, x int DEFAULT 0); \
             INSERT INTO t (v) SELECT i % 1000 FROM generate_series(1, {rows}) i; \
             ALTER TABLE t OWNER TO app_owner; SELECT runbook.activate(); ANALYZE"
        ))
        .unwrap();
    let header = if is_soak() { "table t; repeatable no" } else { "table t; batch 2000; pause 5ms; repeatable no" };
    let sql = format!("UPDATE t SET x = x + 1 WHERE id BETWEEN :from AND :to AND id <= {rows}");
    submit(&mut connect(&server, "app", "alice"), &backfill("a001", &[], header, &sql)).unwrap();
    drop(admin);
    let script = server.directory().join("writers.sql");
    let mut chance = Chance(0xbac_f111);
    let job: i64 = connect(&server, "app", "app").query_one("SELECT runbook.start_upgrade()", &[]).unwrap().get(0);
    let mut counts = [0; BLOWS.len()];
    let mut hit = 0;
    while hit < blows {
        let mut load = writers(&server, "app", rows, &script);
        std::thread::sleep(Duration::from_millis(100 + chance.below(if is_soak() { 8000 } else { 200 })));
        let state = ask(&server, "app", &format!("SELECT state FROM runbook.jobs WHERE job = {job}"));
        if state == "finished" {
            let _ = load.kill();
            break;
        }
        if state == "running" {
            let at = usize::try_from(chance.below(BLOWS.len() as u64)).unwrap();
            counts[at] += 1;
            hit += 1;
            if strike(&server, "app", BLOWS[at], job, &parameters, &mut None) {
                wait_until(60, "it is cancelled", || {
                    ask(&server, "app", &format!("SELECT state FROM runbook.jobs WHERE job = {job}")) != "cancelling"
                });
                let _ = connect(&server, "app", "app").query_one("SELECT runbook.resume($1)", &[&job]);
            }
        }
        let _ = load.kill();
        let _ = load.wait();
    }
    wait_until(600, "it has finished", || {
        let state =
            ask(&server, "app", &format!("SELECT state || coalesce(error::text, '') FROM runbook.jobs WHERE job = {job}"));
        assert!(!state.starts_with("failed"), "{state}");
        std::thread::sleep(Duration::from_millis(100));
        state == "finished"
    });
    let mut admin = connect(&server, "app", "postgres");
    let wrong: i64 = admin.query_one(&format!("SELECT count(*) FROM t WHERE x <> (id <= {rows})::int"), &[]).unwrap().get(0);
    assert_eq!(wrong, 0);
    assert_eq!(entries(&mut admin, "revision.applied").len(), 1);
    println!("{hit} blows over {rows} rows: {BLOWS:?} {counts:?}");
}
