//! Runs `pg_regress/`: what psql users see, one file per feature.
#![allow(clippy::unwrap_used, missing_docs, reason = "a panic is how a test fails")]

use runbook_tests::{PORT, Server, as_server_user, hand_over, repository, succeed};
use std::path::Path;
use std::process::Command;

#[test]
fn psql_users_see_what_pg_regress_expects() {
    let server = Server::start_with(&["timezone=UTC"]);
    server.connect("postgres", "postgres").batch_execute("CREATE DATABASE regress").unwrap();
    let work = server.directory().join("regress");
    succeed(Command::new("cp").arg("-r").arg(repository().join("pg_regress")).arg(&work));
    hand_over(&work);
    let mut tests: Vec<String> = std::fs::read_dir(work.join("sql"))
        .unwrap()
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned())
        .filter(|name| name != "setup")
        .collect();
    tests.sort();
    for test in &tests {
        // pg_regress would skip a test without an expected file.
        assert!(work.join(format!("expected/{test}.out")).is_file(), "{test} has no expected output");
    }
    let pg_config = std::env::var("PG_CONFIG").unwrap_or_else(|_| "pg_config".to_owned());
    let output = succeed(Command::new(&pg_config).arg("--pgxs"));
    let makefile = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let program = Path::new(&makefile).parent().unwrap().join("../test/regress/pg_regress");
    let output = succeed(Command::new(&pg_config).arg("--bindir"));
    let bindir = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let output = as_server_user(&program)
        .args(["--use-existing", "--dbname=regress", "--user=postgres"])
        .arg(format!("--host={}", server.socket()))
        .arg(format!("--port={PORT}"))
        .arg(format!("--bindir={bindir}"))
        .arg(format!("--inputdir={}", work.display()))
        .arg(format!("--outputdir={}", work.display()))
        .arg("setup")
        .args(&tests)
        .output()
        .unwrap();
    if let Ok(update) = std::env::var("PG_REGRESS_UPDATE") {
        // Accepting new outputs is deliberate: PG_REGRESS_UPDATE=1 cargo test --test pg_regress, then read the diff.
        assert_eq!(update, "1");
        for test in tests.iter().chain(["setup".to_owned()].iter()) {
            std::fs::copy(
                work.join(format!("results/{test}.out")),
                repository().join(format!("pg_regress/expected/{test}.out")),
            )
            .unwrap();
        }
        return;
    }
    let diffs = std::fs::read_to_string(work.join("regression.diffs")).unwrap_or_default();
    assert!(output.status.success(), "{}\n{diffs}", String::from_utf8_lossy(&output.stdout));
}
