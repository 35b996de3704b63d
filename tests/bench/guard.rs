//! What the guard costs: DDL transactions with guard and ledger against none and against pgaudit; pgbench's own scripts against
//! none.

use runbook_tests::Server;
use runbook_tests::scale::median;
use std::path::Path;

/// A contender: a server of its own, and the database in it.
struct Contender {
    name: &'static str,
    server: Server,
}

fn contender(name: &'static str, preload: &str, setup: &str) -> Contender {
    let preload = format!("shared_preload_libraries={preload}");
    let server = Server::start_with(&[&preload, "shared_buffers=256MB", "max_wal_size=4GB", "max_connections=150"]);
    server.connect("postgres", "postgres").batch_execute("CREATE DATABASE bench").unwrap();
    server.connect("bench", "postgres").batch_execute(setup).unwrap();
    Contender { name, server }
}

const GUARDED: &str = "CREATE EXTENSION pg_runbook; SELECT runbook.configure('preset', 'local'); SELECT runbook.activate()";

/// Transactions per second of a pgbench run.
fn pgbench(server: &Server, arguments: &[&str]) -> f64 {
    let output = server.program("pgbench").args(["-n", "-U", "postgres"]).args(arguments).arg("bench").output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = text.lines().find(|line| line.starts_with("tps")).unwrap_or_else(|| {
        panic!("{text}{}", String::from_utf8_lossy(&output.stderr));
    });
    line.split_whitespace().nth(2).unwrap().parse().unwrap()
}

/// Runs every contender in turn, several times, and prints medians, and the median ratio to the first in the same round.
fn compare(title: &str, contenders: &[Contender], rounds: usize, arguments: &[&str]) {
    let mut results: Vec<Vec<f64>> = vec![Vec::new(); contenders.len()];
    for round in 0..=rounds {
        for (at, contender) in contenders.iter().enumerate() {
            let tps = pgbench(&contender.server, arguments);
            // The first round warms up.
            if round > 0 {
                results[at].push(tps);
            }
        }
    }
    for (contender, tps) in contenders.iter().zip(&results) {
        // Of the rounds, not of the medians: what disturbs a round disturbs all contenders alike.
        let ratios: Vec<f64> = tps.iter().zip(&results[0]).map(|(own, base)| own / base).collect();
        let (low, high) = (tps.iter().copied().fold(f64::MAX, f64::min), tps.iter().copied().fold(0.0, f64::max));
        println!("{title:<26} {:<10} {:>9.0} {low:>9.0} {high:>9.0} {:>7.3}", contender.name, median(tps), median(&ratios));
    }
}

fn header(what: &str) {
    println!("{what}, transactions per second");
    println!("{:<26} {:<10} {:>9} {:>9} {:>9} {:>7}", "", "", "median", "min", "max", "ratio");
}

/// DDL transactions (create, alter, index, drop) at 1, 4, 16 and 100 clients.
pub fn ddl(rounds: usize, seconds: &str) {
    let script = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(
        script.path(),
        "\\set id random(1, 1000000000) * 100 + :client_id\nBEGIN;\nCREATE TABLE bench_:id (a int PRIMARY KEY, b text);\n\
         ALTER TABLE bench_:id ADD COLUMN c int;\nCREATE INDEX ON bench_:id (b);\nDROP TABLE bench_:id;\nCOMMIT;\n",
    )
    .unwrap();
    let mut contenders = vec![contender("none", "", "SELECT 1"), contender("pg_runbook", "pg_runbook", GUARDED)];
    let library = std::env::var("PG_CONFIG").unwrap_or_else(|_| "pg_config".to_owned());
    let library = std::process::Command::new(library).arg("--pkglibdir").output().unwrap();
    if Path::new(String::from_utf8_lossy(&library.stdout).trim()).join("pgaudit.so").exists() {
        let setup = "CREATE EXTENSION pgaudit; ALTER DATABASE bench SET pgaudit.log = 'ddl'";
        contenders.push(contender("pgaudit", "pgaudit", setup));
    } else {
        println!("pgaudit is not installed here");
    }
    header("DDL transactions: CREATE TABLE, ALTER TABLE, CREATE INDEX, DROP TABLE");
    for clients in ["1", "4", "16", "100"] {
        let script = script.path().display().to_string();
        let arguments = ["-c", clients, "-j", "2", "-T", seconds, "-f", &script];
        compare(&format!("{clients} clients"), &contenders, rounds, &arguments);
    }
}

/// pgbench's select-only and TPC-B scripts.
pub fn dml(rounds: usize, seconds: &str) {
    let contenders = [contender("none", "", "SELECT 1"), contender("pg_runbook", "pg_runbook", GUARDED)];
    for contender in &contenders {
        let output = contender.server.program("pgbench").args(["-i", "-q", "-s", "10", "-U", "postgres", "bench"]).output();
        assert!(output.unwrap().status.success());
    }
    header("pgbench, scale 10, 4 clients");
    for (title, script) in [("select-only, prepared", "select-only"), ("TPC-B, prepared", "tpcb-like")] {
        let arguments = ["-c", "4", "-j", "2", "-T", seconds, "-M", "prepared", "-b", script];
        compare(title, &contenders, rounds, &arguments);
    }
    let arguments = ["-c", "4", "-j", "2", "-T", seconds, "-b", "select-only"];
    compare("select-only, simple", &contenders, rounds, &arguments);
}
