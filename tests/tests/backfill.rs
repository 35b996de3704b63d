//! Backfills: batches along a key, once each, whatever happens in between.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use postgres::Client;
use runbook_tests::jobs::{apply, backfill, column, entries, start, wait, wait_for_state};
use runbook_tests::{Server, sqlstate, submit, upgrade, wait_until};
use std::time::Duration;

fn scene(server: &Server, database: &str, tables: &str) -> (Client, Client, Client) {
    let mut admin = server.database(database);
    admin.batch_execute("GRANT CREATE ON SCHEMA public TO app_owner; SET ROLE app_owner").unwrap();
    admin.batch_execute(tables).unwrap();
    admin.batch_execute("RESET ROLE; ANALYZE").unwrap();
    (admin, server.connect(database, "alice"), server.connect(database, "app"))
}

fn number(client: &mut Client, sql: &str) -> i64 {
    client.query_one(sql, &[]).unwrap().get(0)
}

const TABLE: &str = "CREATE TABLE t (id bigint PRIMARY KEY, v int, w int); INSERT INTO t SELECT i * 3, i, NULL FROM generate_series(1, 10000) i";

#[test]
fn every_row_has_its_turn_once() {
    let server = Server::start();
    let (mut admin, mut alice, mut app) = scene(&server, "once", TABLE);
    let sql = "UPDATE t SET w = coalesce(w, 0) + v WHERE id BETWEEN :from AND :to -- :to";
    submit(&mut alice, &backfill("a001", &[], "table t; batch 300; repeatable no", sql)).unwrap();
    apply(&mut app, "head").unwrap();
    assert_eq!(number(&mut admin, "SELECT count(*) FROM t WHERE w = v"), 10_000);
    let applied = &entries(&mut admin, "revision.applied")[0];
    assert_eq!(applied["backfill"]["rows"], 10_000);
    assert_eq!(applied["backfill"]["batches"], 34);
    assert_eq!(number(&mut admin, "SELECT count(*) FROM runbook.backfill"), 0);
    assert_eq!(number(&mut admin, "SELECT count(DISTINCT xmin::text) FROM t"), 34);
    // A second application begins anew.
    app.query_one("SELECT runbook.downgrade('base')", &[]).unwrap();
    apply(&mut app, "head").unwrap();
    assert_eq!(number(&mut admin, "SELECT count(*) FROM t WHERE w = 2 * v"), 10_000);
    // It is no transaction of the caller's.
    app.query_one("SELECT runbook.downgrade('base')", &[]).unwrap();
    let error = upgrade(&mut app, "head").unwrap_err();
    assert_eq!(error.as_db_error().unwrap().code().code(), "25001");
}

#[test]
fn keys_of_several_columns_and_of_any_type() {
    let server = Server::start();
    let tables = "CREATE TABLE pair (tenant int, \"No\" text, w int, PRIMARY KEY (tenant, \"No\"));
        INSERT INTO pair SELECT i % 7, 'n ''' || i, 0 FROM generate_series(1, 3000) i;
        CREATE TABLE ids (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), w int);
        INSERT INTO ids SELECT FROM generate_series(1, 3000);
        CREATE TABLE times (at timestamptz NOT NULL, price numeric NOT NULL, w int); CREATE INDEX ON times (at, price);
        INSERT INTO times SELECT '2026-11-27 12:00+01'::timestamptz + i / 10 * interval '1 ms', i % 5 / 3.0, 0 FROM generate_series(1, 3000) i;
        CREATE TABLE part (id int, w int, PRIMARY KEY (id)) PARTITION BY HASH (id);
        CREATE TABLE part0 PARTITION OF part FOR VALUES WITH (MODULUS 2, REMAINDER 0);
        CREATE TABLE part1 PARTITION OF part FOR VALUES WITH (MODULUS 2, REMAINDER 1);
        INSERT INTO part SELECT i FROM generate_series(1, 3000) i";
    let (mut admin, mut alice, mut app) = scene(&server, "keys", tables);
    let cases = [
        ("pair", "table public.pair", "UPDATE pair SET w = w + 1 WHERE (tenant, \"No\") BETWEEN :from AND :to"),
        ("ids", "table ids; key id", "UPDATE ids SET w = coalesce(w, 0) + 1 WHERE id BETWEEN :from AND :to"),
        ("times", "table times; key at, price", "UPDATE times SET w = w + 1 WHERE (at, price) >= :from AND (at, price) <= :to"),
        ("part", "table part", "UPDATE part SET w = coalesce(w, 0) + 1 WHERE id BETWEEN :from AND :to"),
    ];
    for (at, (table, header, sql)) in cases.iter().enumerate() {
        let id = format!("a00{at}");
        let parent = format!("a00{}", at.wrapping_sub(1));
        let parents: &[&str] = if at == 0 { &[] } else { &[&parent] };
        submit(&mut alice, &backfill(&id, parents, &format!("{header}; batch 97; repeatable no"), sql)).unwrap();
        apply(&mut app, &id).unwrap_or_else(|error| panic!("{table}: {error:?}"));
        assert_eq!(number(&mut admin, &format!("SELECT count(*) FROM {table} WHERE w = 1")), 3000, "{table}");
    }
}

#[test]
fn a_table_without_a_key_is_refused_with_advice_and_a_limit_needs_none() {
    let server = Server::start();
    let tables = "CREATE TABLE bare (v int, w int); INSERT INTO bare SELECT i FROM generate_series(1, 2000) i; CREATE TABLE loose (id int, w int)";
    let (mut admin, mut alice, mut app) = scene(&server, "bare", tables);
    let range = "UPDATE bare SET w = 1 WHERE v BETWEEN :from AND :to";
    for (header, problem) in [
        ("table bare", "table public.bare has no primary key, and the backfill names no key"),
        ("table bare; key v", "column \"v\" of table public.bare may be NULL"),
        ("table bare; key nosuch", "table public.bare has no column \"nosuch\""),
        ("table loose; key id", "column \"id\" of table public.loose may be NULL"),
    ] {
        let error = submit(&mut alice, &backfill("a001", &[], header, range)).unwrap_err();
        let error = error.as_db_error().unwrap();
        assert_eq!((error.code().code(), error.message()), ("42P16", problem));
        assert!(error.hint().unwrap().contains(":limit"), "{error:?}");
    }
    admin.batch_execute("ALTER TABLE loose ALTER id SET NOT NULL").unwrap();
    let error = submit(&mut alice, &backfill("a001", &[], "table loose; key id", range)).unwrap_err();
    assert!(error.as_db_error().unwrap().message().contains("no index of table public.loose begins with (id)"), "{error}");
    for (header, sql) in [
        ("table bare; batch 10", "UPDATE bare SET w = 1"),
        ("table bare; batch 10", "UPDATE bare SET w = 1 WHERE v > :from"),
        ("batch 10", range),
        ("table bare; batch 0", range),
        ("table bare; batch 10", "SELECT 1; UPDATE bare SET w = 1 WHERE v BETWEEN :from AND :to"),
        ("table bare; batch 10", "CREATE TABLE x AS SELECT :from, :to"),
    ] {
        assert_eq!(sqlstate(submit(&mut alice, &backfill("a001", &[], header, sql))), "22023", "{header}: {sql}");
    }
    let limited = "UPDATE bare SET w = 1 WHERE ctid = ANY (ARRAY(SELECT ctid FROM bare WHERE w IS NULL LIMIT :limit))";
    submit(&mut alice, &backfill("a001", &[], "table bare; batch 300", limited)).unwrap();
    apply(&mut app, "head").unwrap();
    assert_eq!(number(&mut admin, "SELECT count(*) FROM bare WHERE w = 1"), 2000);
    // A table that a revision before it makes is looked at when it is there.
    submit(&mut alice, &runbook_tests::revision("b001", &["a001"], "CREATE TABLE later (id int)", "DROP TABLE later")).unwrap();
    submit(&mut alice, &backfill("b002", &["b001"], "table later", "UPDATE later SET id = 1 WHERE id BETWEEN :from AND :to"))
        .unwrap();
    assert_eq!(sqlstate(apply(&mut app, "b002")), "42P16");
}

#[test]
fn rows_that_come_behind_have_their_turn_where_a_condition_tells_them() {
    let server = Server::start();
    let tables = "CREATE TABLE ids (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), w int); INSERT INTO ids SELECT FROM generate_series(1, 5000)";
    let (mut admin, mut alice, mut app) = scene(&server, "behind", tables);
    let sql = "UPDATE ids SET w = 1 WHERE id BETWEEN :from AND :to AND w IS NULL";
    submit(&mut alice, &backfill("a001", &[], "table ids; where w IS NULL; batch 100; pause 5ms", sql)).unwrap();
    let job = start(&mut app, "head").unwrap();
    // Some of their keys lie behind the last batch. However slow the machine is, they come to an end.
    for _ in 0..30 {
        if number(&mut admin, "SELECT count(*) FROM ids WHERE w IS NULL") > 500 {
            admin.batch_execute("INSERT INTO ids SELECT FROM generate_series(1, 20)").unwrap();
        }
    }
    wait(&mut app, job).unwrap();
    assert_eq!(number(&mut admin, "SELECT count(*) FROM ids WHERE w IS NULL"), 0);
    assert!(entries(&mut admin, "revision.applied")[0]["backfill"]["passes"].as_i64().unwrap() > 1);
    // A condition that stays true has no end.
    submit(&mut alice, &backfill("a002", &["a001"], "table ids; where w = 1; batch 5000", &sql.replace("IS NULL", "= 1")))
        .unwrap();
    let error = apply(&mut app, "head").unwrap_err();
    assert!(error.as_db_error().unwrap().message().contains("does not come to an end"), "{error}");
}

#[test]
fn a_statement_that_is_not_repeatable_is_found_out_by_its_first_batch() {
    let server = Server::start();
    let (mut admin, mut alice, mut app) = scene(&server, "repeat", &format!("{TABLE}; CREATE TABLE copies (id bigint)"));
    for (id, sql) in [
        ("a001", "UPDATE t SET w = coalesce(w, 0) + 1 WHERE id BETWEEN :from AND :to"),
        ("b001", "INSERT INTO copies SELECT id FROM t WHERE id BETWEEN :from AND :to"),
    ] {
        submit(&mut alice, &backfill(id, &[], "table t", sql)).unwrap();
        let error = apply(&mut app, id).unwrap_err();
        let error = error.as_db_error().unwrap();
        assert_eq!((error.code().code(), error.message()), ("55000", "the backfill's statement is not repeatable"));
        assert!(error.hint().unwrap().contains("repeatable no"), "{error:?}");
    }
    assert_eq!(number(&mut admin, "SELECT count(*) FROM t WHERE w IS NOT NULL"), 0);
    assert_eq!(number(&mut admin, "SELECT count(*) FROM copies"), 0);
}

#[test]
fn what_a_trigger_counts_does_not_make_a_statement_unrepeatable() {
    let server = Server::start();
    let counting = "ALTER TABLE t ADD COLUMN version int NOT NULL DEFAULT 0; CREATE FUNCTION count_version() RETURNS trigger \
                    LANGUAGE plpgsql AS 'BEGIN NEW.version = OLD.version + 1; RETURN NEW; END'; \
                    CREATE TRIGGER count BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION count_version()";
    let (mut admin, mut alice, mut app) = scene(&server, "counting", &format!("{TABLE}; {counting}"));
    submit(&mut alice, &backfill("a001", &[], "table t", "UPDATE t SET w = id * 2 WHERE id BETWEEN :from AND :to")).unwrap();
    apply(&mut app, "a001").unwrap();
    assert_eq!(number(&mut admin, "SELECT count(*) FROM t WHERE w IS DISTINCT FROM id * 2 OR version <> 1"), 0);
    for (id, parent, sets) in
        [("a002", "a001", "w = w * 2"), ("a003", "a001", "(v, w) = (v, w + 1)"), ("a004", "a001", "version = version + 1")]
    {
        submit(&mut alice, &backfill(id, &[parent], "table t", &format!("UPDATE t SET {sets} WHERE id BETWEEN :from AND :to")))
            .unwrap();
        let error = apply(&mut app, id).unwrap_err();
        let column = if sets.starts_with("version") { "version" } else { "w" };
        let detail = error.as_db_error().unwrap().detail().unwrap_or_default().to_owned();
        assert!(detail.starts_with(&format!("The first batch changes {column} again")), "{sets}: {detail}");
    }
}

#[test]
fn what_others_write_meanwhile_does_not_make_it_unrepeatable() {
    let server = Server::start();
    let slow = "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(1); RETURN NULL; END $$";
    let trigger = "CREATE TRIGGER slow AFTER UPDATE ON t FOR EACH STATEMENT EXECUTE FUNCTION slow()";
    let (mut admin, mut alice, mut app) = scene(&server, "meanwhile", &format!("{TABLE}; {slow}; {trigger}"));
    let sql = "UPDATE t SET w = v WHERE id BETWEEN :from AND :to AND w IS NULL";
    submit(&mut alice, &backfill("a001", &[], "table t; where w IS NULL; batch 10000", sql)).unwrap();
    let job = start(&mut app, "head").unwrap();
    // Between the batch and its second run: rows of its range that it has not seen.
    let sleeps = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
    wait_until(30, "the batch has run", || number(&mut admin, sleeps) == 1);
    admin.batch_execute("INSERT INTO t SELECT i * 3 + 1, i FROM generate_series(1, 100) i").unwrap();
    wait(&mut app, job).unwrap();
    assert_eq!(number(&mut admin, "SELECT count(*) FROM t WHERE w = v"), 10_100);
}

#[test]
fn what_runs_after_its_own_rows_comes_to_an_end_and_a_table_without_statistics_does_too() {
    let server = Server::start();
    let big = "CREATE TABLE big (v int, w int) WITH (autovacuum_enabled = off); INSERT INTO big SELECT i FROM generate_series(1, 250000) i";
    let (mut admin, mut alice, mut app) = scene(&server, "ends", TABLE);
    admin.batch_execute(&format!("SET ROLE app_owner; {big}; RESET ROLE")).unwrap();
    let limited = "UPDATE big SET w = 1 WHERE ctid = ANY (ARRAY(SELECT ctid FROM big WHERE w IS NULL LIMIT :limit))";
    submit(&mut alice, &backfill("a001", &[], "table big; batch 50000", limited)).unwrap();
    apply(&mut app, "a001").unwrap();
    assert_eq!(number(&mut admin, "SELECT count(*) FROM big WHERE w = 1"), 250_000);
    let chase = "UPDATE t SET id = id + 1000000 WHERE id BETWEEN :from AND :to";
    submit(&mut alice, &backfill("b001", &[], "table t; batch 10000; repeatable no", chase)).unwrap();
    let error = apply(&mut app, "b001").unwrap_err();
    assert!(error.as_db_error().unwrap().message().contains("does not come to an end"), "{error}");
}

#[test]
fn a_key_that_is_compared_otherwise_than_it_is_ordered_is_refused() {
    let server = Server::start();
    let (mut admin, mut alice, mut app) = scene(&server, "citext", "SELECT 1");
    admin
        .batch_execute(
            "CREATE SCHEMA extensions; CREATE EXTENSION citext SCHEMA extensions; GRANT USAGE ON SCHEMA extensions TO app_owner; \
             SET ROLE app_owner; CREATE TABLE names (name extensions.citext PRIMARY KEY, w int); \
             INSERT INTO names VALUES ('apple'), ('Banana'), ('cherry'); RESET ROLE",
        )
        .unwrap();
    let one = backfill("a001", &[], "table names; batch 2", "UPDATE names SET w = 1 WHERE name BETWEEN :from AND :to");
    assert_eq!(sqlstate(submit(&mut alice, &one)), "42P16");
    admin.batch_execute("SELECT runbook.configure('search_path', 'public, extensions')").unwrap();
    submit(&mut alice, &one).unwrap();
    apply(&mut app, "head").unwrap();
    assert_eq!(number(&mut admin, "SELECT count(*) FROM names WHERE w = 1"), 3);
}

#[test]
fn a_batch_that_others_wait_for_is_followed_by_smaller_ones() {
    let server = Server::start();
    let slow = "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.8); RETURN NULL; END $$";
    let trigger = "CREATE TRIGGER slow AFTER UPDATE OF w ON t FOR EACH STATEMENT EXECUTE FUNCTION slow()";
    let (mut admin, mut alice, mut app) = scene(&server, "polite", &format!("{TABLE}; {slow}; {trigger}"));
    let sql = "UPDATE t SET w = v WHERE id BETWEEN :from AND :to";
    submit(&mut alice, &backfill("a001", &[], "table t; batch 3000; target 1s; repeatable no", sql)).unwrap();
    let job = start(&mut app, "head").unwrap();
    let sleeps = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
    wait_until(30, "a batch is under way", || number(&mut admin, sleeps) == 1);
    // This row is of the first batch: the writer waits until it has committed.
    admin.batch_execute("UPDATE t SET v = v WHERE id = 3").unwrap();
    let rows = "SELECT coalesce(max(batch_rows), 0) FROM runbook.backfill WHERE batches > 0";
    wait_until(30, "it is noted", || number(&mut admin, rows) > 0);
    let rows = number(&mut admin, rows);
    assert!((1500..1800).contains(&rows), "{rows}");
    wait(&mut app, job).unwrap();
}

#[test]
fn a_backfill_is_paused_resumed_and_goes_on_with_the_next_key() {
    let server = Server::start();
    let (mut admin, mut alice, mut app) = scene(&server, "paused", TABLE);
    let sql = "UPDATE t SET w = coalesce(w, 0) + 1 WHERE id BETWEEN :from AND :to";
    submit(&mut alice, &backfill("a001", &[], "table t; batch 100; pause 20ms; repeatable no", sql)).unwrap();
    let job = start(&mut app, "head").unwrap();
    for round in 0..3 {
        wait_until(30, "it moves", || number(&mut admin, "SELECT count(*) FROM t WHERE w = 1") > 1000 * round + 500);
        assert!(column(&mut app, job, "percent").parse::<f64>().unwrap() > 0.0);
        app.query_one("SELECT runbook.pause($1)", &[&job]).unwrap();
        wait_for_state(&mut app, job, "paused");
        let there = number(&mut admin, "SELECT count(*) FROM t WHERE w = 1");
        std::thread::sleep(Duration::from_millis(100));
        assert_eq!(number(&mut admin, "SELECT count(*) FROM t WHERE w = 1"), there);
        app.query_one("SELECT runbook.resume($1)", &[&job]).unwrap();
    }
    app.query_one("SELECT runbook.cancel($1)", &[&job]).unwrap();
    assert_eq!(sqlstate(wait(&mut app, job)), "57014");
    // Another job goes on as well.
    apply(&mut app, "head").unwrap();
    assert_eq!(number(&mut admin, "SELECT count(*) FROM t WHERE w = 1"), 10_000);
}

#[test]
fn another_table_under_the_name_stops_the_job() {
    let server = Server::start();
    let tables = format!(
        "{TABLE}; CREATE TABLE other (id bigint PRIMARY KEY, v int, w int); INSERT INTO other SELECT i, i FROM generate_series(1, 30000) i"
    );
    let (mut admin, mut alice, mut app) = scene(&server, "swapped", &tables);
    let sql = "UPDATE t SET w = coalesce(w, 0) + 1 WHERE id BETWEEN :from AND :to";
    submit(&mut alice, &backfill("a001", &[], "table t; batch 100; pause 60ms; repeatable no", sql)).unwrap();
    let job = start(&mut app, "head").unwrap();
    wait_until(30, "it moves", || number(&mut admin, "SELECT count(*) FROM t WHERE w = 1") > 500);
    admin.batch_execute("BEGIN; ALTER TABLE t RENAME TO away; ALTER TABLE other RENAME TO t; COMMIT").unwrap();
    assert_eq!(sqlstate(wait(&mut app, job)), "55000");
    assert_eq!(number(&mut admin, "SELECT count(w) FROM t"), 0);
    admin.batch_execute("BEGIN; ALTER TABLE t RENAME TO other; ALTER TABLE away RENAME TO t; COMMIT").unwrap();
    app.query_one("SELECT runbook.resume($1)", &[&job]).unwrap();
    wait(&mut app, job).unwrap();
    assert_eq!(number(&mut admin, "SELECT count(*) FROM t WHERE w = 1"), 10_000);
}

/// Turns the labels of an enum round.
const RELABEL: &str =
    "ALTER TYPE e RENAME VALUE 'a' TO 'z'; ALTER TYPE e RENAME VALUE 'd' TO 'a'; ALTER TYPE e RENAME VALUE 'z' TO 'd'";

/// Runs a backfill, does something to its table while a batch waits for the lock, and lets it go on.
fn meddled(server: &Server, name: &str, header: &str, sql: &str, meddle: &str) -> (Client, Result<(), postgres::Error>) {
    meddled_in(server, name, TABLE, header, sql, meddle)
}

fn meddled_in(
    server: &Server,
    name: &str,
    tables: &str,
    header: &str,
    sql: &str,
    meddle: &str,
) -> (Client, Result<(), postgres::Error>) {
    let (mut admin, mut alice, mut app) = scene(server, name, tables);
    submit(&mut alice, &backfill("a001", &[], &format!("table t; batch 100; pause 20ms; {header}"), sql)).unwrap();
    let job = start(&mut app, "head").unwrap();
    wait_until(30, "it moves", || number(&mut admin, "SELECT count(*) FROM t WHERE w IS NOT NULL") > 500);
    admin.batch_execute("BEGIN; LOCK TABLE t IN ACCESS EXCLUSIVE MODE").unwrap();
    let waits = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 't'::regclass";
    wait_until(30, "a batch waits", || number(&mut admin, waits) > 0);
    admin.batch_execute(&format!("{meddle}; COMMIT")).unwrap();
    (admin, wait(&mut app, job))
}

#[test]
fn rows_of_a_table_that_is_rewritten_emptied_or_exchanged_meanwhile_are_not_left_out() {
    let server = Server::start();
    let repeatable = "UPDATE t SET w = v WHERE id BETWEEN :from AND :to";
    let reload = "CREATE TEMP TABLE kept AS SELECT * FROM t; TRUNCATE t; INSERT INTO t SELECT id, v FROM kept";
    for (at, (header, meddle)) in [
        ("repeatable yes", "ALTER TABLE t ALTER v TYPE bigint"),
        ("where w IS NULL", "ALTER TABLE t ALTER v TYPE bigint"),
        ("repeatable yes", reload),
        ("where w IS NULL", reload),
        ("repeatable yes", "ALTER TABLE t ALTER id TYPE numeric"),
        (
            "repeatable yes",
            "ALTER TABLE t RENAME id TO number; ALTER TABLE t RENAME v TO id; ALTER TABLE t ADD COLUMN v int; \
             UPDATE t SET v = id; ALTER TABLE t DROP CONSTRAINT t_pkey, ADD PRIMARY KEY (id)",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let (mut admin, done) = meddled(&server, &format!("meddled_{at}"), header, repeatable, meddle);
        done.unwrap_or_else(|error| panic!("{header}: {meddle}: {error:?}"));
        assert_eq!(number(&mut admin, "SELECT count(*) FROM t WHERE w = v"), 10_000, "{header}: {meddle}");
    }
    // What the order of keys depends on may change without a new file.
    let keyed = "CREATE TYPE e AS ENUM ('a', 'b', 'c', 'd'); CREATE TYPE co AS (x e, y int); \
        CREATE TABLE t (k text PRIMARY KEY, en e NOT NULL, es e[] NOT NULL, co co NOT NULL, a int NOT NULL, b int NOT NULL, v int, w int); \
        CREATE UNIQUE INDEX ON t (en, a); CREATE INDEX ON t (es); CREATE INDEX ON t (co); CREATE UNIQUE INDEX ON t (a); CREATE UNIQUE INDEX ON t (b); \
        INSERT INTO t SELECT CASE WHEN i % 2 = 0 THEN 'x' ELSE 'X' END || i, (enum_range(NULL::e))[1 + i % 4], ARRAY[(enum_range(NULL::e))[1 + i % 4], (enum_range(NULL::e))[1 + i / 4 % 4]], \
            ROW((enum_range(NULL::e))[1 + i % 4], i)::co, i, 10001 - i, i FROM generate_series(1, 10000) i";
    for (at, (key, bounds, meddle)) in [
        ("k", "k", "ALTER TABLE t ALTER k TYPE text COLLATE \"C\""),
        ("en, a", "(en, a)", RELABEL),
        ("es", "es", RELABEL),
        ("co", "co", RELABEL),
        ("a", "a", "ALTER TABLE t RENAME a TO z; ALTER TABLE t RENAME b TO a; ALTER TABLE t RENAME z TO b"),
    ]
    .into_iter()
    .enumerate()
    {
        let sql = format!("UPDATE t SET w = v WHERE {bounds} BETWEEN :from AND :to");
        let header = format!("key {key}; repeatable yes");
        let (mut admin, done) = meddled_in(&server, &format!("keyed_{at}"), keyed, &header, &sql, meddle);
        done.unwrap_or_else(|error| panic!("{meddle}: {error:?}"));
        assert_eq!(number(&mut admin, "SELECT count(*) FROM t WHERE w = v"), 10_000, "{meddle}");
    }
    let once = "UPDATE t SET w = coalesce(w, 0) + 1 WHERE id BETWEEN :from AND :to";
    for (at, (meddle, code)) in [
        ("ALTER TABLE t ALTER v TYPE bigint", "55000"),
        ("CREATE TABLE u (LIKE t INCLUDING ALL); INSERT INTO u SELECT id, v FROM t; ALTER TABLE t RENAME TO away; ALTER TABLE u RENAME TO t", "55000"),
        ("ALTER TABLE t DROP CONSTRAINT t_pkey", "55000"),
    ]
    .into_iter()
    .enumerate()
    {
        let (mut admin, ended) = meddled(&server, &format!("stopped_{at}"), "repeatable no", once, meddle);
        assert_eq!(sqlstate(ended), code, "{meddle}");
        assert_eq!(number(&mut admin, "SELECT count(*) FROM t WHERE w > 1"), 0, "{meddle}");
    }
}

#[test]
fn a_backfill_rests_where_it_writes_too_much() {
    let server = Server::start();
    let (mut admin, mut alice, mut app) = scene(
        &server,
        "rests",
        "CREATE TABLE t (id int PRIMARY KEY, w text); INSERT INTO t SELECT i, repeat('x', 500) FROM generate_series(1, 20000) i",
    );
    admin.batch_execute("SELECT runbook.configure('backfill_max_wal', '4'); CHECKPOINT").unwrap();
    let sql = "UPDATE t SET w = repeat('y', 500) WHERE id BETWEEN :from AND :to";
    submit(&mut alice, &backfill("a001", &[], "table t; batch 500", sql)).unwrap();
    let from: String = admin.query_one("SELECT pg_current_wal_insert_lsn()::text", &[]).unwrap().get(0);
    let began = std::time::Instant::now();
    let job = start(&mut app, "head").unwrap();
    wait_until(30, "it says so", || column(&mut app, job, "note").contains("MB of write-ahead log per second"));
    wait(&mut app, job).unwrap();
    let sql = "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), $1::text::pg_lsn)::bigint";
    let written: i64 = admin.query_one(sql, &[&from]).unwrap().get(0);
    let rate = written as f64 / began.elapsed().as_secs_f64() / 1_048_576.0;
    // The first look has nothing to compare with, and a batch is not cut short.
    assert!(rate < 8.0, "{rate} MB/s");
}
