//! Ledgers of any length, made without the statements that they speak of.

use crate::Server;
use postgres::Client;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// Writes `count` unsealed entries of the size of ordinary ones, past the guard.
pub fn fill(client: &mut Client, count: u64) {
    client.batch_execute("SET runbook.mode = off").unwrap();
    let mut left = count;
    while left > 0 {
        let some = left.min(100_000);
        left -= some;
        client
            .batch_execute(&format!(
                "INSERT INTO runbook.unsealed SELECT id, moment, 'ddl.executed', payload, \
                     sha256('\\x00'::bytea || convert_to(payload, 'UTF8')) \
                 FROM (SELECT id, moment, format('{{\"application\":\"psql\",\"client_addr\":\"10.0.0.7\",\"current_role\":\"app_owner\",\
                     \"entry_id\":\"%s\",\"kind\":\"ddl.executed\",\"objects\":[{{\"action\":\"alter\",\"class\":\"additive\",\
                     \"identity\":\"public.orders_%s\",\"kind\":\"table\",\"oid\":%s}}],\"objects_total\":1,\"reason\":\"\",\
                     \"recorded_at\":\"%s\",\"session_role\":\"app%s\",\"statement\":\"ALTER TABLE public.orders_%s ADD COLUMN \
                     note_%s text -- with a comment that makes it as long as such statements are\",\"tag\":\"ALTER TABLE\",\"v\":1,\
                     \"verdict\":\"record\",\"xid\":\"%s\"}}', id, n % 100000, n, \
                     to_char(moment AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'), n % 20, n % 100000, n, n) AS payload \
                     FROM (SELECT n, moment, (lpad(to_hex((EXTRACT(epoch FROM moment) * 1000)::int8), 12, '0') || '7' || \
                         substr(md5(random()::text), 1, 19))::uuid AS id \
                         FROM (SELECT n, clock_timestamp() AS moment FROM generate_series(1, {some}) AS n) AS t) AS a) AS b"
            ))
            .unwrap();
    }
    client.batch_execute("RESET runbook.mode").unwrap();
}

/// Runs a command to its end; how long it took, and the most memory that it had, in kB.
pub fn measure(command: &mut Command) -> (Duration, u64) {
    let start = Instant::now();
    let mut child = command.spawn().unwrap();
    let mut most = 0;
    loop {
        if let Ok(status) = std::fs::read_to_string(format!("/proc/{}/status", child.id())) {
            let line = status.lines().find(|line| line.starts_with("VmHWM"));
            let size = line.and_then(|line| line.split_whitespace().nth(1)).and_then(|size| size.parse().ok());
            most = most.max(size.unwrap_or(0));
        }
        if let Some(status) = child.try_wait().unwrap() {
            assert!(status.success(), "{command:?} ended with {status}");
            return (start.elapsed(), most);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The number that a query gives.
pub fn number(client: &mut Client, sql: &str) -> i64 {
    client.query_one(sql, &[]).unwrap().get(0)
}

/// Asserts that the ledger is whole, and its positions without a gap.
pub fn is_whole(client: &mut Client) {
    let row = client.query_one("SELECT ok, problem FROM runbook.verify_ledger()", &[]).unwrap();
    assert!(row.get::<_, bool>(0), "{:?}", row.get::<_, Option<String>>(1));
    let dense = "SELECT count(*) = COALESCE(max(position) + 1, 0) FROM runbook.entry";
    assert!(client.query_one(dense, &[]).unwrap().get::<_, bool>(0));
}

/// A database that is guarded under the rules of `local`.
pub fn guarded(server: &Server, database: &str) -> Client {
    let mut admin = server.database(database);
    admin.batch_execute("SELECT runbook.configure('preset', 'local')").unwrap();
    admin.batch_execute("SELECT runbook.activate()").unwrap();
    admin
}

/// `runbook audit` with arguments, which are parted by blanks, as a superuser.
pub fn audit(server: &Server, database: &str, directory: &Path, arguments: &str) -> Command {
    let mut command = server.runbook(database, "postgres", directory);
    command.arg("audit").args(arguments.split(' '));
    command
}
