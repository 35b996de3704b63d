//! Checkpoints and proofs, checked by another implementation: `golang.org/x/mod/sumdb`, from Debian's packages.
#![allow(clippy::unwrap_used, missing_docs, reason = "a panic is how a test fails")]

use runbook_tests::ledger::fill;
use runbook_tests::{Server, repository, succeed};
use std::process::Command;

#[test]
fn another_implementation_accepts_our_checkpoints_and_proofs_and_refuses_changed_ones() {
    let server = Server::start();
    let files = tempfile::tempdir().unwrap();
    let directory = files.path();
    let checker = directory.join("check");
    let mut go = Command::new("go");
    go.args(["build", "-o"]).arg(&checker).arg("main.go").current_dir(repository().join("tests/interop"));
    let cache = directory.join("cache");
    go.env("GO111MODULE", "off").env("GOPATH", "/usr/share/gocode").env("GOCACHE", &cache).env("GOFLAGS", "");
    succeed(&mut go);
    let mut admin = server.database("app");
    let audit = |arguments: &str| {
        let mut command = server.runbook("app", "postgres", directory);
        succeed(command.arg("audit").args(arguments.split(' ')));
    };
    audit("keygen auditor.example.com --out auditor.key");
    for (older, newer, position) in [(1, 1, 0), (1, 1, 1), (255, 1, 200), (300, 700, 3), (5, 1300, 1700)] {
        fill(&mut admin, older);
        audit("checkpoint --key auditor.key --out older.note");
        fill(&mut admin, newer);
        audit("checkpoint --key auditor.key --out newer.note");
        let proof = directory.join("entry.tlog-proof");
        audit(&format!("prove {position} --checkpoint newer.note --key auditor.key.pub --out entry.tlog-proof"));
        let size = |note: &str| {
            let text = std::fs::read_to_string(directory.join(note)).unwrap();
            text.lines().nth(1).unwrap().parse::<i64>().unwrap()
        };
        let hashes: Vec<String> = admin
            .query(
                "SELECT encode(h, 'base64') FROM unnest(runbook.consistency_proof($1, $2)) WITH ORDINALITY AS p (h, n) ORDER BY n",
                &[&size("older.note"), &size("newer.note")],
            )
            .unwrap()
            .iter()
            .map(|row| row.get(0))
            .collect();
        std::fs::write(directory.join("hashes"), hashes.join("\n")).unwrap();
        let check = || {
            let mut command = Command::new(&checker);
            command.args(["auditor.key.pub", "entry.tlog-proof", "older.note", "newer.note", "hashes"]).current_dir(directory);
            command.output().unwrap()
        };
        let output = check();
        assert!(output.status.success(), "{older} {newer} {position}: {output:?}");
        let honest = std::fs::read_to_string(&proof).unwrap();
        std::fs::write(&proof, honest.replacen(&format!("index {position}"), &format!("index {}", position + 1), 1)).unwrap();
        let refused = check();
        assert!(!refused.status.success() && String::from_utf8_lossy(&refused.stderr).contains("inclusion"), "{refused:?}");
        std::fs::write(&proof, honest).unwrap();
        std::fs::write(directory.join("hashes"), hashes.iter().skip(1).cloned().collect::<Vec<_>>().join("\n")).unwrap();
        if !hashes.is_empty() {
            assert!(!check().status.success());
        }
    }
}
