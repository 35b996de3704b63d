//! What applying costs those who work meanwhile: writers behind an ALTER TABLE, a backfill beside a load, index builds under one.

use runbook_tests::jobs::{apply, backfill, invalid_indexes, piecemeal, start, wait};
use runbook_tests::{Server, python, revision, submit, succeed};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

const PARAMETERS: [&str; 6] = [
    "shared_preload_libraries=pg_runbook",
    "shared_buffers=1GB",
    "max_wal_size=8GB",
    "min_wal_size=4GB",
    "checkpoint_timeout=15min",
    "autovacuum_naptime=10s",
];

/// Sessions that work at a steady rate, with the time of each of their transactions, from the moment when it was due.
struct Load {
    ends: Arc<AtomicBool>,
    sessions: Vec<JoinHandle<Vec<f64>>>,
}

impl Load {
    /// Starts four sessions that send `script` with `:id` from 1 to `ids`, `rate` times a second together, or as fast as they can.
    fn start(server: &Server, database: &str, script: &'static str, ids: u64, rate: Option<u32>) -> Self {
        const SESSIONS: u32 = 4;
        let ends = Arc::new(AtomicBool::new(false));
        let session = |number: u32| {
            let (mut client, ends) = (server.connect(database, "postgres"), ends.clone());
            let gap = rate.map(|rate| Duration::from_secs(u64::from(SESSIONS)) / rate);
            let mut chance = 0x5eed + u64::from(number);
            thread::spawn(move || {
                let mut times = vec![];
                let mut due = Instant::now() + gap.unwrap_or_default() * number / SESSIONS;
                while !ends.load(Ordering::Relaxed) {
                    if gap.is_some() {
                        thread::sleep(due.saturating_duration_since(Instant::now()));
                    } else {
                        due = Instant::now();
                    }
                    chance ^= chance << 13;
                    chance ^= chance >> 7;
                    chance ^= chance << 17;
                    client.batch_execute(&script.replace(":id", &(chance % ids + 1).to_string())).unwrap();
                    times.push(due.elapsed().as_secs_f64() * 1000.0);
                    due += gap.unwrap_or_default();
                }
                times
            })
        };
        let sessions = (0..SESSIONS).map(session).collect();
        Self { ends, sessions }
    }

    /// Ends them: the times of their transactions, in milliseconds, sorted.
    fn stop(self) -> Vec<f64> {
        self.ends.store(true, Ordering::Relaxed);
        let mut times: Vec<f64> = self.sessions.into_iter().flat_map(|session| session.join().unwrap()).collect();
        times.sort_by(f64::total_cmp);
        times
    }
}

fn percentile(times: &[f64], share: f64) -> f64 {
    times[((times.len() - 1) as f64 * share) as usize]
}

/// The longest that a writer waits while a column is added behind a reader that takes `reader` seconds.
pub fn exposure(reader: u64) {
    let server = Server::start_with(&PARAMETERS);
    let mut admin = server.database("app");
    admin
        .batch_execute(
            "CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t SELECT i, 0 FROM generate_series(1, 100000) i; \
             ALTER TABLE t OWNER TO app_owner; SELECT runbook.activate(); ANALYZE t",
        )
        .unwrap_or_else(|error| panic!("{error:?}"));
    let work = tempfile::tempdir().unwrap();
    runbook_tests::hand_over(work.path());
    let add = |column: &str| format!("ALTER TABLE t ADD COLUMN {column} int");
    submit(&mut server.connect("app", "alice"), &revision("a001", &[], &add("ours"), "")).unwrap();
    let alembic = work.path().join("alembic");
    std::fs::create_dir_all(alembic.join("versions")).unwrap();
    std::fs::write(work.path().join("alembic.ini"), "[alembic]\nscript_location = alembic\n").unwrap();
    std::fs::write(
        alembic.join("env.py"),
        "from alembic import context\nfrom sqlalchemy import create_engine\n\
         with create_engine('postgresql+psycopg2://').connect() as connection:\n    \
         context.configure(connection=connection)\n    with context.begin_transaction():\n        context.run_migrations()\n",
    )
    .unwrap();
    std::fs::write(
        alembic.join("versions/a1.py"),
        "from alembic import op\nimport sqlalchemy as sa\nrevision = 'a1'\ndown_revision = None\n\
         def upgrade():\n    op.add_column('t', sa.Column('theirs', sa.Integer()))\n",
    )
    .unwrap();
    println!("longest stall of a writer, in seconds, while a column is added behind a reader of {reader} s (lock_timeout 2 s)");
    println!("{:<20} {:>10} {:>10} {:>14}", "", "longest", "p99", "applied after");
    for contender in ["runbook upgrade", "psql", "alembic"] {
        let load = Load::start(&server, "app", "UPDATE t SET v = v + 1 WHERE id = :id", 100_000, Some(200));
        let mut long = server.connect("app", "postgres");
        long.batch_execute("BEGIN; SELECT count(*) FROM t").unwrap();
        let reading = thread::spawn(move || {
            thread::sleep(Duration::from_secs(reader));
            long.batch_execute("COMMIT").unwrap();
        });
        thread::sleep(Duration::from_secs(1));
        let begun = Instant::now();
        match contender {
            "psql" => {
                // The guard stands aside for the one that has no revision.
                let mut command = server.program("psql");
                command.args(["-X", "-q", "-d", "app", "-c", &add("by_psql")]);
                drop(succeed(&mut command));
            }
            "alembic" => {
                let mut command = std::process::Command::new(python());
                server.point(&mut command);
                command.env("PGDATABASE", "app").current_dir(work.path()).args(["-m", "alembic", "-q", "upgrade", "head"]);
                drop(succeed(&mut command));
            }
            _ => drop(succeed(server.runbook("app", "app", work.path()).args(["upgrade", "a001"]))),
        }
        let applied = begun.elapsed().as_secs_f64();
        reading.join().unwrap();
        thread::sleep(Duration::from_secs(2));
        let times = load.stop();
        let longest = times.last().unwrap() / 1000.0;
        println!("{contender:<20} {longest:>10.2} {:>10.3} {applied:>14.1}", percentile(&times, 0.99) / 1000.0);
    }
}

/// A backfill of `rows` rows beside a load, against one UPDATE of them all.
pub fn backfills(rows: u64) {
    let server = Server::start_with(&PARAMETERS);
    let mut admin = server.database("app");
    admin
        .batch_execute(
            "CREATE TABLE hot (id int PRIMARY KEY, v int) WITH (fillfactor = 50); INSERT INTO hot SELECT i, 0 FROM generate_series(1, 100000) i",
        )
        .unwrap();
    let fill = |admin: &mut postgres::Client| {
        admin
            .batch_execute(&format!(
                "DROP TABLE IF EXISTS t; CREATE TABLE t (id bigint, v int, w int); INSERT INTO t SELECT i, i % 1000 FROM generate_series(1, {rows}) i; \
                 ALTER TABLE t ADD PRIMARY KEY (id); ALTER TABLE t OWNER TO app_owner"
            ))
            .unwrap();
        admin.batch_execute("VACUUM ANALYZE").unwrap();
        admin.batch_execute("CHECKPOINT").unwrap();
    };
    const SCRIPT: &str = "UPDATE hot SET v = v + 1 WHERE id = :id % 100000 + 1; SELECT v FROM t WHERE id = :id; \
                          UPDATE t SET v = v + 1 WHERE id = :id";
    let load = |server: &Server| Load::start(server, "app", SCRIPT, rows, Some(100));
    println!("{rows} rows, beside 100 small write transactions a second");
    println!("{:<34} {:>9} {:>10} {:>9} {:>9} {:>9}", "", "seconds", "rows/s", "p50 ms", "p99 ms", "longest");
    let show = |name: &str, seconds: f64, times: &[f64]| {
        let rate = if seconds > 0.0 { rows as f64 / seconds } else { 0.0 };
        println!(
            "{name:<34} {seconds:>9.1} {rate:>10.0} {:>9.2} {:>9.2} {:>9.0}",
            percentile(times, 0.5),
            percentile(times, 0.99),
            times.last().unwrap()
        );
    };
    // Segments of the log are made once, and then used again.
    fill(&mut admin);
    admin.batch_execute("UPDATE t SET w = 0; UPDATE t SET w = 1").unwrap();
    fill(&mut admin);
    let idle = load(&server);
    thread::sleep(Duration::from_secs(20));
    let idle = idle.stop();
    show("nothing else", 0.0, &idle);

    let running = load(&server);
    let begun = Instant::now();
    admin.batch_execute("UPDATE t SET w = v * 2").unwrap();
    let plain = begun.elapsed().as_secs_f64();
    show("one UPDATE", plain, &running.stop());

    let mut app = server.connect("app", "app");
    let mut parents: Vec<String> = vec![];
    for (name, header) in [
        ("backfill", "table t"),
        ("backfill, again", "table t"),
        ("backfill, third time", "table t"),
        ("backfill, pause 10ms", "table t; pause 10ms"),
    ] {
        fill(&mut admin);
        let id = format!("b{}", parents.len());
        let above: Vec<&str> = parents.last().map(String::as_str).into_iter().collect();
        let one = backfill(&id, &above, header, "UPDATE t SET w = v * 2 WHERE id BETWEEN :from AND :to");
        submit(&mut server.connect("app", "alice"), &one).unwrap();
        let running = load(&server);
        let begun = Instant::now();
        apply(&mut app, &id).unwrap_or_else(|error| panic!("{error:?}"));
        let seconds = begun.elapsed().as_secs_f64();
        show(name, seconds, &running.stop());
        println!("{:<34} {:>9.2} of one UPDATE's rate", "", plain / seconds);
        let missed: i64 = admin.query_one("SELECT count(*) FROM t WHERE w IS NULL", &[]).unwrap().get(0);
        assert_eq!(missed, 0);
        parents.push(id);
    }
}

/// Two concurrent builds on a table of `rows` rows, under load, with a long reader and a session that idles in its transaction.
pub fn builds(rows: u64) {
    let server = Server::start_with(&PARAMETERS);
    let mut admin = server.database("app");
    admin
        .batch_execute(&format!(
            "CREATE TABLE t (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, v int, w int); \
             INSERT INTO t (v, w) SELECT i % 1000, i FROM generate_series(1, {rows}) i; ALTER TABLE t OWNER TO app_owner; \
             CREATE TABLE other (id int); ANALYZE"
        ))
        .unwrap();
    let sql = "CREATE INDEX CONCURRENTLY t_v ON t (v); CREATE INDEX CONCURRENTLY t_w ON t (w, v)";
    submit(&mut server.connect("app", "alice"), &piecemeal("a001", &[], sql, "")).unwrap();
    let script = "UPDATE t SET w = w + 1 WHERE id = :id; INSERT INTO t (v, w) VALUES (:id % 1000, :id)";
    let load = Load::start(&server, "app", script, rows, None);
    let (mut reader, mut idle) = (server.connect("app", "postgres"), server.connect("app", "postgres"));
    let reading =
        thread::spawn(move || reader.batch_execute("SELECT pg_sleep(15) FROM (SELECT count(*) FROM t) AS all_of_it").unwrap());
    idle.batch_execute("BEGIN; UPDATE t SET w = w WHERE id = 1; INSERT INTO other VALUES (1)").unwrap();
    let mut app = server.connect("app", "app");
    let begun = Instant::now();
    let job = start(&mut app, "head").unwrap();
    thread::sleep(Duration::from_secs(10));
    idle.batch_execute("COMMIT").unwrap();
    wait(&mut app, job).unwrap_or_else(|error| panic!("{error:?}"));
    let seconds = begun.elapsed().as_secs_f64();
    reading.join().unwrap();
    let times = load.stop();
    assert_eq!(invalid_indexes(&mut admin), Vec::<String>::new());
    assert!(!server.log().contains("deadlock detected"));
    let built: i64 = admin.query_one("SELECT count(*) FROM pg_indexes WHERE tablename = 't'", &[]).unwrap().get(0);
    assert_eq!(built, 3);
    println!(
        "two concurrent builds on {rows} rows, a reader of 15 s and a writer idle for 10 s in the way: {seconds:.1} s; {} write transactions \
         meanwhile, p99 {:.1} ms, longest {:.0} ms; no deadlock, nothing INVALID",
        times.len(),
        percentile(&times, 0.99),
        times.last().unwrap()
    );
}
