//! What the ledger costs, by its length: appending, sealing, verifying, proving, exporting, finding.

use runbook_tests::Server;
use runbook_tests::ledger::{fill, measure};
use runbook_tests::scale::median;
use sha2::{Digest, Sha256};
use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::Instant;

/// A ledger of `count` entries, against one of 10,000 where that says something.
pub fn ledger(count: u64) {
    let server = Server::start_with(&[
        "shared_preload_libraries=pg_runbook",
        "runbook.seal_interval=1h",
        "shared_buffers=1GB",
        "max_wal_size=8GB",
        "autovacuum=off",
    ]);
    println!("ledger of {count} entries");
    let mut sessions: Vec<_> = [("short", 10_000), ("long", count)]
        .into_iter()
        .map(|(name, entries)| {
            server.connect("postgres", "postgres").batch_execute(&format!("CREATE DATABASE {name}")).unwrap();
            let mut session = server.connect(name, "postgres");
            session.batch_execute("CREATE EXTENSION pg_runbook; CREATE TABLE t (id int)").unwrap();
            let start = Instant::now();
            fill(&mut session, entries);
            let filled = start.elapsed().as_secs_f64();
            let start = Instant::now();
            session.batch_execute("CALL runbook.seal()").unwrap();
            let sealed = start.elapsed().as_secs_f64();
            println!(
                "  {name}: {entries} entries made in {filled:.1} s, sealed in {sealed:.1} s: {:.0} entries/s",
                entries as f64 / sealed
            );
            session.batch_execute("SELECT runbook.configure('preset', 'local'); SELECT runbook.activate()").unwrap();
            for statement in ["VACUUM ANALYZE runbook.entry", "VACUUM runbook.unsealed", "SET synchronous_commit = off"] {
                session.batch_execute(statement).unwrap();
            }
            session
        })
        .collect();

    let mut times = [Vec::new(), Vec::new()];
    for round in 0..11 {
        for (at, session) in sessions.iter_mut().enumerate() {
            let start = Instant::now();
            for number in 0..500 {
                session.batch_execute(&format!("COMMENT ON TABLE t IS '{round} {number}'")).unwrap();
            }
            if round > 0 {
                times[at].push(start.elapsed().as_secs_f64() / 500.0 * 1e6);
            }
        }
    }
    let (short, long) = (median(&times[0]), median(&times[1]));
    println!(
        "  a statement that appends an entry, µs: {short:.0} behind 10,000, {long:.0} behind {count}, ratio {:.2}",
        long / short
    );

    let session = &mut sessions[1];
    session.batch_execute("CALL runbook.seal()").unwrap();
    let mut proofs = Vec::new();
    for number in 0..300u64 {
        let position = (number * 7_919_777 % count) as i64;
        let start = Instant::now();
        session.query_one("SELECT runbook.inclusion_proof($1)", &[&position]).unwrap();
        proofs.push(start.elapsed().as_secs_f64() * 1000.0);
    }
    let slowest = proofs.iter().copied().fold(0.0, f64::max);
    println!("  inclusion proof, ms: median {:.2}, slowest of 300 {slowest:.2}", median(&proofs));
    let mut finds = Vec::new();
    for number in 0..50 {
        let start = Instant::now();
        let sql = "SELECT count(*) FROM runbook.ledger WHERE runbook.ledger_terms(payload) @> ARRAY[$1::text]";
        session.query_one(sql, &[&format!("object:public.orders_{number}")]).unwrap();
        finds.push(start.elapsed().as_secs_f64() * 1000.0);
    }
    println!("  everything that touched one of 100,000 tables, ms: median {:.2}", median(&finds));

    let directory = tempfile::tempdir().unwrap();
    let export = directory.path().join("ledger.jsonl");
    let runbook = |arguments: &[&str]| {
        let mut command = server.runbook("long", "postgres", directory.path());
        command.args(arguments).stdout(Stdio::null()).stderr(Stdio::null());
        measure(&mut command)
    };
    let (time, memory) = runbook(&["audit", "export", "--out", "ledger.jsonl"]);
    let bytes = std::fs::metadata(&export).unwrap().len() as f64;
    let entries = BufReader::new(std::fs::File::open(&export).unwrap()).lines().count() as f64;
    let seconds = time.as_secs_f64();
    println!("  export: {seconds:.1} s, {:.0} MB/s, {:.0} entries/s, {memory} kB", bytes / seconds / 1e6, entries / seconds);
    let (time, memory) = runbook(&["audit", "verify"]);
    let seconds = time.as_secs_f64();
    println!("  verification from the database: {seconds:.1} s, {:.0} entries/s, {memory} kB", entries / seconds);

    // The same bytes, hashed as one, by one thread; and by the command, which hashes lines, builds the tree, and uses all cores.
    let mut hashing = Vec::new();
    let mut verifying = Vec::new();
    let mut most = 0;
    for _ in 0..5 {
        let start = Instant::now();
        let mut hasher = Sha256::new();
        let mut reader = BufReader::with_capacity(1 << 20, std::fs::File::open(&export).unwrap());
        while let Ok(buffer) = reader.fill_buf()
            && !buffer.is_empty()
        {
            hasher.update(buffer);
            let length = buffer.len();
            reader.consume(length);
        }
        std::hint::black_box(hasher.finalize());
        hashing.push(start.elapsed().as_secs_f64());
        let (time, memory) = runbook(&["audit", "verify", "--export", "ledger.jsonl"]);
        verifying.push(time.as_secs_f64());
        most = most.max(memory);
    }
    let (hashing, verifying) = (median(&hashing), median(&verifying));
    println!(
        "  verification of the export: {verifying:.2} s, {:.0} entries/s, {most} kB; plain SHA-256 of its {:.0} MB by one thread: {hashing:.2} s, ratio of speeds {:.2}",
        entries / verifying,
        bytes / 1e6,
        hashing / verifying
    );
}
