//! Jobs on a server that was recovered: to an earlier moment, a person decides; after a failover they go on.
#![allow(clippy::unwrap_used, missing_docs, reason = "a panic is how a test fails")]

use postgres::Client;
use runbook_tests::jobs::{column, start, wait, wait_for_state};
use runbook_tests::{PORT, Server, as_server_user, revision, sqlstate, submit, succeed, wait_until};
use std::time::Duration;

const PRELOAD: &[&str] = &["shared_preload_libraries=pg_runbook"];

/// A server made from a base backup of another one, with what `how` says of its recovery.
fn copy(server: &Server, how: &[&str], signal: &str) -> Server {
    let mut parameters = PRELOAD.to_vec();
    parameters.extend(how);
    Server::made(&parameters, |bin, data| {
        let mut command = as_server_user(&bin.join("pg_basebackup"));
        command.args([
            "-h",
            &server.socket(),
            "-p",
            &PORT.to_string(),
            "-U",
            "postgres",
            "-c",
            "fast",
            "-X",
            "stream",
            "-D",
            data,
        ]);
        if signal == "standby.signal" {
            command.arg("-R");
        }
        succeed(&mut command);
        if signal != "standby.signal" {
            succeed(as_server_user(std::path::Path::new("touch")).arg(format!("{data}/{signal}")));
        }
    })
}

fn is_there(client: &mut Client) -> bool {
    client.query_one("SELECT to_regclass('precious') IS NOT NULL", &[]).unwrap().get(0)
}

fn in_recovery(client: &mut Client) -> bool {
    client.query_one("SELECT pg_is_in_recovery()", &[]).unwrap().get(0)
}

#[test]
fn a_job_does_not_repeat_by_itself_what_a_recovery_has_taken_back() {
    let server = Server::start_with(PRELOAD);
    let mut admin = server.database("app");
    admin.batch_execute("SET ROLE app_owner; CREATE TABLE precious (id int)").unwrap();
    let [mut alice, mut app] = ["alice", "app"].map(|user| server.connect("app", user));
    submit(&mut alice, &revision("x001", &[], "SELECT pg_sleep(8)", "")).unwrap();
    submit(&mut alice, &revision("x002", &["x001"], "DROP TABLE precious", "")).unwrap();
    submit(&mut alice, &revision("x003", &["x002"], "CREATE TABLE later ()", "")).unwrap();
    let job = start(&mut app, "x002").unwrap();
    let queued = start(&mut app, "x003").unwrap();
    wait_for_state(&mut app, job, "running");
    let recovered = copy(
        &server,
        &["recovery_target=immediate", "recovery_target_action=promote", "restore_command=false"],
        "recovery.signal",
    );
    let standby = copy(&server, &[], "standby.signal");

    let mut there = recovered.connect("app", "app");
    wait_until(60, "it is recovered", || !in_recovery(&mut there));
    for number in [job, queued] {
        wait_for_state(&mut there, number, "interrupted");
        assert!(column(&mut there, number, "note").contains("recovered to an earlier moment (reached consistency)"));
    }
    std::thread::sleep(Duration::from_secs(3));
    assert!(is_there(&mut there));
    assert_eq!(sqlstate(wait(&mut there, job)), "55000");
    let output = recovered.runbook("app", "app", recovered.directory()).args(["wait", &job.to_string()]).output().unwrap();
    let seen = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && seen.contains("interrupted") && seen.contains("runbook resume"), "{seen}");
    assert!(is_there(&mut there));
    // A person says so.
    there.query_one("SELECT runbook.resume($1)", &[&job]).unwrap();
    wait(&mut there, job).unwrap();
    assert!(!is_there(&mut there));
    there.query_one("SELECT runbook.cancel($1)", &[&queued]).unwrap();
    wait_for_state(&mut there, queued, "cancelled");

    // After a failover, it goes on.
    let mut there = standby.connect("app", "postgres");
    there.batch_execute("SELECT pg_promote()").unwrap();
    wait_for_state(&mut there, queued, "finished");
    assert!(!is_there(&mut there));
}
