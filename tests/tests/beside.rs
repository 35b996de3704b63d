//! Beside other extensions that hook into the same places, in both load orders. Those that are not installed are left out, and it
//! is said so.
#![allow(clippy::unwrap_used, missing_docs, reason = "a panic is how a test fails")]

use runbook_tests::{Server, sqlstate, wait_until};
use std::path::Path;
use std::process::Command;

const OTHERS: [(&str, &str); 4] = [
    ("pgaudit", "pgaudit"),
    ("pg_stat_statements", "pg_stat_statements"),
    ("pg_cron", "pg_cron"),
    ("plpgsql_check", "plpgsql_check"),
];

fn installed() -> Vec<(&'static str, &'static str)> {
    let pg_config = std::env::var("PG_CONFIG").unwrap_or_else(|_| "pg_config".to_owned());
    let output = Command::new(pg_config).arg("--pkglibdir").output().unwrap();
    let directory = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let (there, missing): (Vec<_>, Vec<_>) =
        OTHERS.into_iter().partition(|(library, _)| Path::new(&directory).join(format!("{library}.so")).exists());
    for (library, _) in missing {
        eprintln!("NOT CHECKED beside {library}: it is not installed here");
    }
    there
}

fn check(order: &[&str], others: &[(&str, &str)]) {
    let preload = format!("shared_preload_libraries={}", order.join(","));
    let server = Server::start_with(&[
        &preload,
        "cron.database_name=app",
        "pgaudit.log=ddl",
        "cron.host=",
        "cron.use_background_workers=on",
    ]);
    let mut admin = server.database("app");
    for (_, extension) in others {
        admin.batch_execute(&format!("CREATE EXTENSION {extension}")).unwrap();
    }
    let has = |name: &str| others.iter().any(|(_, extension)| *extension == name);
    admin
        .batch_execute(
            "CREATE TABLE t (id int); INSERT INTO t VALUES (1); \
             CREATE FUNCTION f() RETURNS int LANGUAGE plpgsql AS $$ BEGIN RETURN nothing FROM t; END $$; SELECT runbook.activate()",
        )
        .unwrap();
    admin.batch_execute("CREATE TABLE u (id int); ALTER TABLE u ADD COLUMN x text; CREATE INDEX ON u (x)").unwrap();
    assert_eq!(sqlstate(admin.batch_execute("DROP TABLE t")), "42501", "{order:?}");
    assert_eq!(sqlstate(admin.batch_execute("TRUNCATE t")), "42501", "{order:?}");
    assert_eq!(sqlstate(admin.batch_execute("DROP EXTENSION pg_runbook CASCADE")), "42501", "{order:?}");
    let error = admin.batch_execute("CREATE VIEW v AS SELECT nothing FROM t").unwrap_err();
    assert!(error.as_db_error().unwrap().position().is_some(), "{order:?}: errors keep their position");
    let count = |admin: &mut postgres::Client, sql: &str| admin.query_one(sql, &[]).unwrap().get::<_, i64>(0);
    assert_eq!(count(&mut admin, "SELECT count(*) FROM runbook.ledger WHERE kind = 'ddl.blocked'"), 3, "{order:?}");
    if has("pgaudit") {
        assert!(server.log().contains("AUDIT: SESSION"), "{order:?}: pgaudit writes its lines\n{}", server.log());
    }
    if has("pg_stat_statements") {
        let sql = "SELECT count(*) FROM pg_stat_statements WHERE query LIKE 'CREATE TABLE u%'";
        assert_eq!(count(&mut admin, sql), 1, "{order:?}");
    }
    if has("plpgsql_check") {
        let rows = admin.query("SELECT plpgsql_check_function('f()')", &[]).unwrap();
        assert!(rows.iter().any(|row| row.get::<_, &str>(0).contains("nothing")), "{order:?}");
    }
    if has("pg_cron") && order[0] == "pg_runbook" {
        // A background worker of somebody else's is a session like any other. It runs at the next full minute.
        admin.batch_execute("SELECT cron.schedule('destroy', '* * * * *', 'TRUNCATE public.t')").unwrap();
        wait_until(90, "the job is refused", || {
            count(&mut admin, "SELECT count(*) FROM runbook.ledger WHERE kind = 'ddl.blocked'") > 3
        });
        admin.batch_execute("SELECT cron.unschedule('destroy')").unwrap();
    }
    assert_eq!(count(&mut admin, "SELECT count(*) FROM t"), 1, "{order:?}");
}

#[test]
fn it_works_beside_other_extensions_in_both_load_orders() {
    let others = installed();
    let mut order: Vec<&str> = others.iter().map(|(library, _)| *library).collect();
    order.insert(0, "pg_runbook");
    check(&order, &others);
    order.reverse();
    check(&order, &others);
}
