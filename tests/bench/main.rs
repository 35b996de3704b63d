//! Benchmarks, each against a baseline in the same run, contenders alternating; `make bench` prints what
//! docs/BENCHMARKS.md quotes. Only ratios within one run mean anything.
#![allow(clippy::unwrap_used, reason = "a panic is how a benchmark fails")]

use runbook_tests::scale::{Scene, Size, compare, median};
use runbook_tests::{Server, python, revision, succeed};
use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

mod apply;
mod guard;
mod ledger;

fn main() {
    let count: usize = std::env::var("RUNBOOK_BENCH_REVISIONS").ok().and_then(|count| count.parse().ok()).unwrap_or(1000);
    let rounds: usize = std::env::var("RUNBOOK_BENCH_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(5);
    let which = std::env::args().nth(1).unwrap_or_default();
    if which.is_empty() || which == "approvals" {
        approvals();
    }
    if which.is_empty() || which == "chain" {
        chain(count, rounds);
    }
    let seconds = std::env::var("RUNBOOK_BENCH_SECONDS").unwrap_or_else(|_| "5".to_owned());
    if which.is_empty() || which == "ddl" {
        guard::ddl(rounds, &seconds);
    }
    if which.is_empty() || which == "ledger" {
        let entries = std::env::var("RUNBOOK_BENCH_ENTRIES").ok().and_then(|entries| entries.parse().ok()).unwrap_or(1_000_000);
        ledger::ledger(entries);
    }
    let number = |name: &str, default: u64| std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default);
    if which.is_empty() || which == "locks" {
        apply::exposure(number("RUNBOOK_BENCH_READER", 30));
    }
    if which.is_empty() || which == "builds" {
        apply::builds(number("RUNBOOK_BENCH_ROWS", 5_000_000));
    }
    if which.is_empty() || which == "backfills" {
        apply::backfills(number("RUNBOOK_BENCH_ROWS", 10_000_000));
    }
    if which.is_empty() || which == "dml" {
        guard::dml(rounds, &seconds);
    }
}

/// Approving and applying one revision among 10,000 with 100,000 approvals, against ten with ten.
fn approvals() {
    let server = Server::start_with(&["shared_buffers=256MB"]);
    let mut scenes = [
        Scene::new(&server, "few", Size { revisions: 10, approvals: 10, steps: 150 }),
        Scene::new(&server, "many", Size { revisions: 10_000, approvals: 100_000, steps: 150 }),
    ];
    println!("approve and apply one revision, median milliseconds: few (10 revisions, 10 approvals), many (10,000, 100,000)");
    println!("{:<34} {:>8} {:>8} {:>8}", "", "few", "many", "ratio");
    for (name, fresh, rounds) in [("sessions that have worked before", false, 100), ("fresh sessions", true, 30)] {
        let [few, many] = compare(&mut scenes, rounds, fresh);
        for (at, what) in ["approve", "apply"].iter().enumerate() {
            println!("{:<34} {:>8.2} {:>8.2} {:>8.2}", format!("{what}, {name}"), few[at], many[at], many[at] / few[at]);
        }
    }
}

/// The statements of revision `at`, and how to undo them: create table, add column, create index, add check.
fn statements(at: usize) -> (String, String) {
    let table = format!("t{}", at / 4);
    match at % 4 {
        0 => (format!("CREATE TABLE {table} (id bigint PRIMARY KEY, name text NOT NULL)"), format!("DROP TABLE {table}")),
        1 => (format!("ALTER TABLE {table} ADD COLUMN note text"), format!("ALTER TABLE {table} DROP COLUMN note")),
        2 => (format!("CREATE INDEX {table}_name ON {table} (name)"), format!("DROP INDEX {table}_name")),
        _ => (
            format!("ALTER TABLE {table} ADD CONSTRAINT {table}_name_short CHECK (length(name) < 100)"),
            format!("ALTER TABLE {table} DROP CONSTRAINT {table}_name_short"),
        ),
    }
}

fn id(at: usize) -> String {
    format!("r{at:05}")
}

/// ext4 gives no inode away that was freed in the last five seconds, and searches the longer the more there are: the database that
/// the contender before has dropped would be paid for by the next.
const SETTLES: Duration = Duration::from_secs(6);

/// A chain of small revisions, one transaction each: psql, the runbook command, one SQL call, Alembic.
fn chain(count: usize, rounds: usize) {
    let work = tempfile::tempdir().unwrap();
    let mut script = String::new();
    for at in 0..count {
        let _ = writeln!(script, "BEGIN;\n{};\nCOMMIT;", statements(at).0);
    }
    let file = work.path().join("chain.sql");
    std::fs::write(&file, script).unwrap();
    alembic_project(work.path(), count);

    let server = Server::start_with(&["shared_buffers=256MB"]);
    let mut times: Vec<(&str, Vec<f64>)> =
        ["psql", "runbook upgrade", "SELECT runbook.upgrade('head')", "alembic"].map(|name| (name, vec![])).to_vec();
    let mut spent: [Vec<[f64; 3]>; 2] = [vec![], vec![]];
    for round in 0..rounds {
        for (contender, (name, seconds)) in times.iter_mut().enumerate() {
            let database = format!("chain_{contender}_{round}");
            let mut client = prepare(&server, &database, count, contender == 1 || contender == 2);
            client.batch_execute("CHECKPOINT").unwrap();
            std::thread::sleep(SETTLES);
            let start = Instant::now();
            match contender {
                0 => drop(succeed(
                    server.program("psql").args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", &database, "-f"]).arg(&file),
                )),
                1 => drop(succeed(server.runbook(&database, "postgres", work.path()).args(["upgrade", "head"]))),
                2 => drop(client.query_one("SELECT runbook.upgrade('head')", &[]).unwrap()),
                _ => {
                    let mut command = std::process::Command::new(python());
                    server.point(&mut command);
                    command
                        .env("PGDATABASE", &database)
                        .current_dir(work.path())
                        .args(["-m", "alembic", "-q", "upgrade", "head"]);
                    drop(succeed(&mut command));
                }
            }
            seconds.push(start.elapsed().as_secs_f64());
            let tables: i64 = client
                .query_one("SELECT count(*) FROM pg_class WHERE relname ~ '^t[0-9]+$' AND relkind = 'r'", &[])
                .unwrap()
                .get(0);
            assert_eq!(tables as usize, count.div_ceil(4), "{name} did the work");
            if contender == 1 || contender == 2 {
                spent[contender - 1].push(breakdown(&mut client, *seconds.last().unwrap()));
            }
            drop(client);
            server.connect("postgres", "postgres").batch_execute(&format!("DROP DATABASE {database}")).unwrap();
        }
    }
    println!("chain of {count} revisions, one transaction each (one call: all in one), {rounds} rounds, median seconds");
    println!("{:<34} {:>8} {:>8} {:>8} {:>8}", "", "median", "min", "max", "ratio");
    let baseline = median(&times[0].1);
    for (name, seconds) in &times {
        let (low, high) = (seconds.iter().copied().fold(f64::MAX, f64::min), seconds.iter().copied().fold(0.0, f64::max));
        println!("{name:<34} {:>8.3} {low:>8.3} {high:>8.3} {:>8.2}", median(seconds), median(seconds) / baseline);
    }
    println!(
        "where the time goes, median seconds: the statements themselves; the rest of a revision (pinning, parsing, guard,"
    );
    println!("constraints); the rest of the call (plan, approvals, ledger, commit, network)");
    for ((name, _), parts) in times[1..3].iter().zip(&spent) {
        let part = |at: usize| median(&parts.iter().map(|parts| parts[at]).collect::<Vec<_>>());
        println!("{name:<34} {:>8.3} {:>8.3} {:>8.3}", part(0), part(1), part(2));
    }
}

/// Seconds in statements, in the rest of revisions, and elsewhere; the first two as the ledger has them.
fn breakdown(client: &mut postgres::Client, total: f64) -> [f64; 3] {
    let sum = |client: &mut postgres::Client, kind: &str| -> f64 {
        let sql =
            "SELECT COALESCE(sum((payload::jsonb ->> 'duration_us')::bigint), 0)::bigint FROM runbook.ledger WHERE kind = $1";
        client.query_one(sql, &[&kind]).unwrap().get::<_, i64>(0) as f64 / 1e6
    };
    let (statements, revisions) = (sum(client, "apply.statement"), sum(client, "revision.applied"));
    [statements, revisions - statements, total - revisions]
}

fn prepare(server: &Server, database: &str, count: usize, ours: bool) -> postgres::Client {
    if !ours {
        server.connect("postgres", "postgres").batch_execute(&format!("CREATE DATABASE {database}")).unwrap();
        return server.connect(database, "postgres");
    }
    let mut client = server.database(database);
    let mut transaction = client.transaction().unwrap();
    let submit = transaction.prepare("SELECT runbook.submit($1)").unwrap();
    for at in 0..count {
        let (up, down) = statements(at);
        let parents: Vec<String> = (at > 0).then(|| id(at - 1)).into_iter().collect();
        let parents: Vec<&str> = parents.iter().map(String::as_str).collect();
        transaction.query_one(&submit, &[&revision(&id(at), &parents, &up, &down)]).unwrap();
    }
    transaction.commit().unwrap();
    client.batch_execute("SELECT runbook.configure('migration_role', NULL); SELECT runbook.activate(); ANALYZE").unwrap();
    client
}

fn alembic_project(directory: &Path, count: usize) {
    let versions = directory.join("alembic/versions");
    std::fs::create_dir_all(&versions).unwrap();
    std::fs::write(directory.join("alembic.ini"), "[alembic]\nscript_location = alembic\n").unwrap();
    std::fs::write(
        directory.join("alembic/env.py"),
        "from alembic import context\nfrom sqlalchemy import create_engine\n\
         with create_engine('postgresql+psycopg2://').connect() as connection:\n    \
         context.configure(connection=connection, transaction_per_migration=True)\n    \
         with context.begin_transaction():\n        context.run_migrations()\n",
    )
    .unwrap();
    for at in 0..count {
        let (up, down) = statements(at);
        let parent = if at == 0 { "None".to_owned() } else { format!("'{}'", id(at - 1)) };
        let text = format!(
            "from alembic import op\nrevision = '{}'\ndown_revision = {parent}\ndef upgrade():\n    op.execute('{up}')\n\
             def downgrade():\n    op.execute('{down}')\n",
            id(at)
        );
        std::fs::write(versions.join(format!("{}.py", id(at))), text).unwrap();
    }
}
