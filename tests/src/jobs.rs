//! Jobs: upgrades that a worker of the server applies.

use crate::wait_until;
use postgres::Client;
use serde_json::Value;

/// Starts an upgrade; the job's number.
pub fn start(client: &mut Client, target: &str) -> Result<i64, postgres::Error> {
    client.query_one("SELECT runbook.start_upgrade($1)", &[&target]).map(|row| row.get(0))
}

/// Waits for a job's end, and raises its error.
pub fn wait(client: &mut Client, job: i64) -> Result<(), postgres::Error> {
    client.batch_execute(&format!("CALL runbook.wait({job})"))
}

/// Starts an upgrade and waits for its end.
pub fn apply(client: &mut Client, target: &str) -> Result<(), postgres::Error> {
    let job = start(client, target)?;
    wait(client, job)
}

/// A column of a job's row in view `jobs`, as text; empty if NULL.
pub fn column(client: &mut Client, job: i64, name: &str) -> String {
    let sql = format!("SELECT {name}::text FROM runbook.jobs WHERE job = $1");
    client.query_opt(&sql, &[&job]).unwrap().and_then(|row| row.get::<_, Option<String>>(0)).unwrap_or_default()
}

/// Waits until a job is in a state.
pub fn wait_for_state(client: &mut Client, job: i64, state: &str) {
    wait_until(60, &format!("job {job} is {state}"), || column(client, job, "state") == state);
}

/// A revision with `transaction: off`.
pub fn piecemeal(id: &str, parents: &[&str], upgrade: &str, downgrade: &str) -> Value {
    let mut revision = crate::revision(id, parents, upgrade, downgrade);
    revision["transaction"] = false.into();
    revision
}

/// A backfill.
pub fn backfill(id: &str, parents: &[&str], header: &str, upgrade: &str) -> Value {
    let mut revision = crate::revision(id, parents, upgrade, "");
    revision["backfill"] = header.into();
    revision
}

/// Payloads of the ledger's entries of a kind, oldest first.
pub fn entries(client: &mut Client, kind: &str) -> Vec<Value> {
    let rows = client
        .query("SELECT payload::jsonb FROM runbook.ledger WHERE kind = $1 ORDER BY recorded_at, entry_id", &[&kind])
        .unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

/// Names of indexes that are not valid.
pub fn invalid_indexes(client: &mut Client) -> Vec<String> {
    let rows = client.query("SELECT indexrelid::regclass::text FROM pg_index WHERE NOT indisvalid ORDER BY 1", &[]).unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}
