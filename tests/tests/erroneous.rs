//! Erroneous statements by the thousand: the server does not restart, and a client reads what a bare server says.
#![allow(clippy::unwrap_used, missing_docs, reason = "a panic is how a test fails")]

use runbook_tests::erroneous::booth::Booth;
use runbook_tests::erroneous::breakage::Breaker;
use runbook_tests::erroneous::grammar::Grammar;
use runbook_tests::erroneous::report::{Outcome, Report};
use runbook_tests::erroneous::{examples, scene};
use runbook_tests::{PORT, Server, repository};
use std::process::Command;
use std::time::Instant;

/// Statements that one booth gets at a time.
const TURN: usize = 50;

/// One in so many turns goes on with statements outside of a transaction.
const ALONE: usize = 10;

fn number(variable: &str, default: usize) -> usize {
    std::env::var(variable).map_or(default, |text| text.parse().unwrap())
}

fn crashes(server: &Server) -> Vec<String> {
    let signs = ["terminated by signal", "was terminated", "PANIC", "TRAP", "exited with exit code 2"];
    let log = server.log();
    log.lines().filter(|line| signs.iter().any(|sign| line.contains(sign))).map(str::to_owned).collect()
}

#[test]
fn erroneous_statements_restart_nothing_and_read_as_on_a_bare_server() {
    let soak = std::env::var_os("RUNBOOK_SOAK").is_some();
    let wanted = number("RUNBOOK_ERRONEOUS", if soak { 1_000_000 } else { 20_000 });
    let seed = u64::try_from(number("RUNBOOK_SEED", 20_260_501)).unwrap();
    let read = |file: &str| std::fs::read_to_string(repository().join("tests").join(file)).unwrap();
    let examples = examples(&read("statements.txt"));
    assert!(examples.len() > 150, "{} examples", examples.len());
    let breaker = Breaker::new(&examples, Grammar::parse(&read("erroneous.txt")));
    let (bare, preloaded, plain) = (scene::bare(), scene::guarded(true), scene::guarded(false));
    let servers = [&bare, &preloaded, &plain];
    let before = servers.map(Server::starts);
    let mut booths = Booth::all(&preloaded, &bare, true);
    booths.extend(Booth::all(&plain, &bare, false));
    let places = booths.len();
    let (mut report, start) = (Report::default(), Instant::now());
    let mut turn = 0;
    while report.tried() < wanted {
        turn += 1;
        if turn % 50 == 0 {
            println!("{:.0} s: {}", start.elapsed().as_secs_f64(), report.sum());
        }
        for (place, booth) in booths.iter_mut().enumerate() {
            booth.run(&breaker, seed, (place, places), TURN, &mut report);
            if turn % ALONE == 0 {
                booth.run_alone(&breaker, seed, place, 10, &mut report);
            }
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    println!("{report}");
    let speed = f64::from(u32::try_from(report.tried()).unwrap()) / seconds;
    println!("RUNBOOK_SEED={seed}; {seconds:.0} s, {speed:.0} statements a second");
    let restarts = servers.iter().zip(&before).filter(|(server, before)| server.starts() != **before).count();
    let signs: Vec<String> = servers.iter().flat_map(|server| crashes(server)).collect();
    println!("restarts: {restarts}");
    assert_eq!(report.total(Outcome::Crashed), 0, "RUNBOOK_SEED={seed}: see above");
    assert_eq!(restarts, 0, "RUNBOOK_SEED={seed}: {signs:#?}");
    assert!(signs.is_empty(), "RUNBOOK_SEED={seed}: {signs:#?}");
    assert_eq!(report.total(Outcome::Different), 0, "RUNBOOK_SEED={seed}: see above");
    assert!(report.total(Outcome::Late) * 1000 < wanted, "too many timeouts to say anything");
    assert!(report.total(Outcome::Refused) > 0, "the guard refuses nothing");
    assert!(wanted < 20_000 || report.codes.len() >= 55, "too few kinds of errors: {:?}", report.codes);
}

#[test]
fn random_queries_of_sqlsmith_restart_nothing() {
    let soak = std::env::var_os("RUNBOOK_SOAK").is_some();
    if Command::new("sqlsmith").arg("--version").output().is_err() {
        eprintln!("NOT CHECKED with sqlsmith: it is not installed here");
        return;
    }
    let server = scene::guarded(true);
    let before = server.starts();
    let seconds = if soak { 60 } else { 5 };
    for user in ["gina", "mallory"] {
        let target =
            format!("host={} port={PORT} dbname=active user={user} options='-c statement_timeout=2s'", server.socket());
        let mut command = Command::new("timeout");
        command.arg(seconds.to_string()).arg("sqlsmith").arg(format!("--target={target}")).arg("--seed=1");
        let output = command.args(["--verbose", "--max-queries=100000"]).output().unwrap();
        // A letter for each query: `.` for success, `e` and `S` for errors, `t` for a timeout, `C` for a lost connection.
        let said = String::from_utf8_lossy(&output.stderr);
        let is_progress = |line: &&str| line.bytes().all(|byte| b".eStC".contains(&byte));
        let letters: String = said.lines().filter(is_progress).collect();
        println!("sqlsmith, as {user}: {} queries, {} without an error", letters.len(), letters.matches('.').count());
        assert!(letters.len() > 20, "sqlsmith sent too little as {user}: {output:?}");
        assert!(!letters.contains('C'), "sqlsmith lost its connection as {user}: {said}");
        assert_eq!(server.starts(), before, "{:#?}", crashes(&server));
    }
    assert_eq!(crashes(&server), Vec::<String>::new());
}
