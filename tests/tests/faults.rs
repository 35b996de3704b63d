//! What goes wrong at a place where C calls the library ends in an error, or in the end of that one process: never in a restart.
//!
//! The library is built with the feature `faults` for it, which nobody installs; see `extension/src/pg/fault.rs`. It is put into a copy of
//! PostgreSQL's programs, which find their own files relative to themselves.
#![allow(clippy::unwrap_used, missing_docs, reason = "a panic is how a test fails")]

use postgres::{Client, NoTls};
use runbook_tests::{Server, copy_of_postgresql, hand_over, repository, succeed};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// Where what can go wrong: the place, who meets it (a session, or a worker), and how it is reached.
const PLACES: [(&str, Met, &str); 18] = [
    ("utility", Met::Session, "CREATE TABLE u (i int)"),
    ("ddl_command_start", Met::Session, "CREATE TABLE s (i int)"),
    ("ddl_command_end", Met::Session, "CREATE TABLE e (i int)"),
    ("sql_drop", Met::Session, "CREATE TEMP TABLE d (i int); DROP TABLE d"),
    ("table_rewrite", Met::Session, "CREATE TEMP TABLE r (i int); ALTER TABLE r ALTER i TYPE text"),
    ("dropped", Met::Session, "CREATE TEMP TABLE o (i int); DROP TABLE o"),
    ("check", Met::Session, "INSERT INTO kept VALUES (1)"),
    ("row", Met::Session, "UPDATE kept SET i = i"),
    ("truncate", Met::Session, "SET runbook.mode = off; TRUNCATE kept"),
    ("call", Met::Session, "SELECT runbook.upgrade()"),
    ("before_commit", Met::Session, "CREATE TABLE b (i int)"),
    ("commit", Met::Session, "CREATE TABLE c (i int)"),
    ("abort", Met::Session, "BEGIN; CREATE TABLE a (i int); ROLLBACK"),
    ("merged", Met::Session, "BEGIN; CREATE TABLE m1 (i int); SAVEPOINT s; CREATE TABLE m2 (i int); RELEASE s; COMMIT"),
    (
        "rolled_back",
        Met::Session,
        "BEGIN; CREATE TABLE n1 (i int); SAVEPOINT s; CREATE TABLE n2 (i int); ROLLBACK TO s; COMMIT",
    ),
    ("writer", Met::Worker, "DROP TABLE kept"),
    ("writer_exit", Met::Worker, "DROP TABLE kept"),
    ("job", Met::Worker, "SELECT runbook.start_upgrade()"),
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Met {
    Session,
    Worker,
}

const KINDS: [&str; 5] = ["panic", "error", "cancel", "memory", "stack"];

/// A copy of PostgreSQL with the library built for faults; its `pg_config`.
fn copy(directory: &Path) -> PathBuf {
    let copy = copy_of_postgresql(directory);
    succeed(
        Command::new("cargo")
            .args(["build", "--quiet", "--release", "--package", "pg_runbook", "--features", "faults"])
            .current_dir(repository()),
    );
    let library = copy.libraries.join("pg_runbook.so");
    std::fs::remove_file(&library).unwrap();
    std::fs::copy(repository().join("target/release/libpg_runbook.so"), &library).unwrap();
    copy.pg_config
}

fn started(client: &mut Client) -> String {
    client.query_one("SELECT pg_postmaster_start_time()::text", &[]).unwrap().get(0)
}

#[test]
fn no_fault_at_a_callback_restarts_the_server() {
    let directory = tempfile::Builder::new().prefix("runbook-faults-").tempdir_in("/tmp").unwrap();
    let pg_config = copy(directory.path());
    hand_over(directory.path());
    let server = Server::start_from(&pg_config, &["shared_preload_libraries=pg_runbook", "restart_after_crash=on"]);
    let mut admin = server.database("app");
    admin
        .batch_execute(
            "CREATE TABLE kept (i int); INSERT INTO kept VALUES (1); SELECT runbook.protect_table('kept', 0); SELECT runbook.activate()",
        )
        .unwrap();
    let mut alice = server.connect("app", "alice");
    runbook_tests::submit(&mut alice, &runbook_tests::revision("r1", &[], "SELECT 1", "")).unwrap();
    let (before, mut tried, mut reached) = (started(&mut admin), 0, 0);
    for (place, met, sql) in PLACES {
        for kind in KINDS {
            let said = server.log().matches(&format!("pg_runbook fault: {kind} at {place}")).count();
            let fault = format!("SET runbook.fault = '{place}:{kind}'");
            match met {
                Met::Session => {
                    if let Ok(mut session) = server.config("app", "postgres").connect(NoTls) {
                        let _ = session.batch_execute(&fault);
                        let _ = session.batch_execute(sql);
                    }
                }
                Met::Worker => {
                    admin.batch_execute(&format!("ALTER DATABASE app SET runbook.fault = '{place}:{kind}'")).unwrap();
                    if let Ok(mut session) = server.config("app", "postgres").connect(NoTls) {
                        let _ = session.batch_execute(sql);
                    }
                    let deadline = Instant::now() + Duration::from_secs(3);
                    while Instant::now() < deadline
                        && server.log().matches(&format!("pg_runbook fault: {kind} at {place}")).count() == said
                    {
                        std::thread::sleep(Duration::from_millis(50));
                    }
                    admin.batch_execute("ALTER DATABASE app RESET runbook.fault").unwrap();
                }
            }
            tried += 1;
            reached += usize::from(server.log().matches(&format!("pg_runbook fault: {kind} at {place}")).count() > said);
            let log = server.log();
            for word in ["terminated by signal", "PANIC:", "crash of another server process"] {
                assert!(!log.contains(word), "{kind} at {place}: {word}\n{}", &log[log.len().saturating_sub(3000)..]);
            }
            admin.batch_execute("DROP TABLE IF EXISTS nothing; SELECT 1").unwrap();
            for table in ["u", "s", "e", "b", "c", "a", "m1", "m2", "n1", "n2"] {
                let mut cleaner = server.connect("app", "postgres");
                cleaner.batch_execute(&format!("SET runbook.mode = off; DROP TABLE IF EXISTS {table}")).unwrap();
            }
        }
    }
    assert_eq!(started(&mut admin), before);
    println!("{tried} faults, {reached} reached, 0 restarts");
    assert!(reached * 10 >= tried * 9, "only {reached} of {tried} faults were reached");
}
