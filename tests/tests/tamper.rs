//! Falsifies ledgers, checkpoints, proofs and exports in every way that `tests/tamper.txt` lists, and sees that each is found.
#![allow(clippy::unwrap_used, missing_docs, reason = "a panic is how a test fails")]

use runbook_tests::ledger::fill;
use runbook_tests::tamper::{Tampering, page, parse};
use runbook_tests::{Server, repository, succeed};
use std::fs;
use std::path::Path;
use std::process::Command;

const VERIFY: &str = "audit verify --checkpoint one.note --checkpoint two.note --checkpoint three.note --key auditor.key.pub";

/// What a falsifier does first; and the leaf hash of a payload, for those who compute hashes again.
const PRELUDE: &str = "SET runbook.mode = off; ALTER TABLE runbook.entry DISABLE TRIGGER ALL; ALTER TABLE runbook.tile DISABLE TRIGGER ALL; \
     ALTER TABLE runbook.unsealed DISABLE TRIGGER ALL; \
     CREATE FUNCTION leaf(payload text) RETURNS bytea LANGUAGE sql AS $$ SELECT sha256('\\x00'::bytea || convert_to($1, 'UTF8')) $$; \
     CREATE FUNCTION node(a bytea, b bytea) RETURNS bytea LANGUAGE sql AS $$ SELECT sha256('\\x01'::bytea || $1 || $2) $$;";

/// Takes all entries out, to be sealed again by whoever looks next: every hash and the whole tree are computed anew.
const REBUILD: &str = "INSERT INTO runbook.unsealed SELECT entry_id, recorded_at, kind, payload, leaf(payload) FROM runbook.entry; \
     DELETE FROM runbook.entry; DELETE FROM runbook.tile";

struct Scene {
    server: Server,
    files: tempfile::TempDir,
}

fn runbook(server: &Server, database: &str, directory: &Path, arguments: &str) -> Command {
    let mut command = server.runbook(database, "postgres", directory);
    command.args(arguments.split(' '));
    command
}

fn copy(server: &Server, from: &str, to: &str) {
    server.connect("postgres", "postgres").batch_execute(&format!("CREATE DATABASE {to} TEMPLATE {from}")).unwrap();
}

fn scene() -> Scene {
    // Nothing is sealed behind the falsifier's back, and copies cost no waiting for a disk.
    let server = Server::start_with(&["fsync=off"]);
    let files = tempfile::tempdir().unwrap();
    let directory = files.path();
    for (name, file) in [("auditor", "auditor"), ("stranger", "stranger"), ("auditor", "namesake")] {
        succeed(&mut runbook(&server, "postgres", directory, &format!("audit keygen {name} --out {file}.key")));
    }
    let mut admin = server.database("now");
    // There is one already, about the setting that the database was made with.
    fill(&mut admin, 299);
    for (note, more) in [("one", 399), ("two", 599), ("three", 0)] {
        succeed(&mut runbook(&server, "now", directory, &format!("audit checkpoint --key auditor.key --out {note}.note")));
        if note == "one" {
            admin.batch_execute("CALL runbook.seal()").unwrap();
            drop(admin);
            copy(&server, "now", "old");
            admin = server.connect("now", "postgres");
        }
        // A checkpoint is itself an entry.
        fill(&mut admin, more);
    }
    // Another continuation of the old copy, as long as the real one, and another ledger altogether.
    let mut fork = {
        copy(&server, "old", "fork");
        server.connect("fork", "postgres")
    };
    fill(&mut fork, 399);
    // A second copy of the key knows nothing of what the first has signed.
    let elsewhere = tempfile::tempdir().unwrap();
    fs::copy(directory.join("auditor.key"), elsewhere.path().join("auditor.key")).unwrap();
    succeed(&mut runbook(&server, "fork", elsewhere.path(), "audit checkpoint --key auditor.key --out fork.note"));
    fs::copy(elsewhere.path().join("fork.note"), directory.join("fork.note")).unwrap();
    let mut other = server.database("other");
    fill(&mut other, 1300);
    let verify = |database: &str| runbook(&server, database, directory, VERIFY);
    succeed(&mut verify("now"));
    succeed(&mut runbook(
        &server,
        "now",
        directory,
        "audit prove 400 --checkpoint two.note --key auditor.key.pub --out entry.tlog-proof",
    ));
    succeed(&mut runbook(&server, "now", directory, "audit export --out ledger.jsonl --to 1300"));
    succeed(&mut runbook(&server, "now", directory, &VERIFY.replace("verify", "verify --export ledger.jsonl")));
    drop((admin, fork, other));
    Scene { server, files }
}

fn attempt(scene: &Scene, at: usize, tampering: &Tampering) -> Result<(), String> {
    let directory = tempfile::tempdir().unwrap();
    for file in fs::read_dir(scene.files.path()).unwrap() {
        let file = file.unwrap().path();
        fs::copy(&file, directory.path().join(file.file_name().unwrap())).unwrap();
    }
    let mut database = tampering.from.clone();
    if !tampering.sql.is_empty() {
        database = format!("tamper_{at}");
        copy(&scene.server, &tampering.from, &database);
        let mut admin = scene.server.connect(&database, "postgres");
        admin.batch_execute(PRELUDE).unwrap();
        for sql in &tampering.sql {
            admin.batch_execute(&sql.replace("{rebuild}", REBUILD)).map_err(|error| format!("{sql}: {error}"))?;
        }
    }
    let oid = |name: &str| -> u32 {
        scene
            .server
            .connect("postgres", "postgres")
            .query_one("SELECT oid FROM pg_database WHERE datname = $1", &[&name])
            .unwrap()
            .get(0)
    };
    for command in &tampering.sh {
        let command = &command.replace("{database}", &oid(&database).to_string());
        let status =
            Command::new("bash").args(["-euo", "pipefail", "-c", command]).current_dir(directory.path()).status().unwrap();
        if !status.success() {
            return Err(format!("{command}: {status}"));
        }
    }
    let arguments = tampering.run.replace("{verify}", VERIFY);
    let output = runbook(&scene.server, &database, directory.path(), &arguments).output().unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if !tampering.sql.is_empty() {
        scene.server.connect("postgres", "postgres").batch_execute(&format!("DROP DATABASE {database}")).unwrap();
    }
    let found = output.status.code() == Some(9) && !tampering.finds.is_empty() && text.contains(&tampering.finds);
    if found { Ok(()) } else { Err(format!("{:?}: {text}", output.status.code())) }
}

#[test]
fn every_falsification_is_found_and_the_position_named() {
    let all = parse(&fs::read_to_string(repository().join("tests/tamper.txt")).unwrap());
    let only = std::env::var("RUNBOOK_TAMPER").unwrap_or_default();
    let chosen: Vec<&Tampering> = all.iter().filter(|one| format!("{} {}", one.group, one.title).contains(&only)).collect();
    assert!(!only.is_empty() || chosen.len() >= 60, "{} falsifications", chosen.len());
    let scene = scene();
    let failures: Vec<String> = chosen
        .iter()
        .enumerate()
        .filter_map(|(at, one)| attempt(&scene, at, one).err().map(|why| format!("{} / {}: {why}", one.group, one.title)))
        .collect();
    assert!(failures.is_empty(), "{} of {} not found:\n{}", failures.len(), chosen.len(), failures.join("\n"));
    let (file, page) = (repository().join("docs/tampering.md"), page(&all));
    if std::env::var_os("RUNBOOK_UPDATE_DOCS").is_some() {
        fs::write(&file, &page).unwrap();
    }
    assert_eq!(
        fs::read_to_string(&file).unwrap_or_default(),
        page,
        "docs/tampering.md is old: RUNBOOK_UPDATE_DOCS=1 writes it"
    );
}

#[test]
fn a_byte_changed_in_the_data_file_is_found() {
    let server = Server::start();
    let directory = tempfile::tempdir().unwrap();
    let mut admin = server.database("app");
    fill(&mut admin, 500);
    succeed(&mut runbook(&server, "app", directory.path(), "audit keygen auditor --out auditor.key"));
    succeed(&mut runbook(&server, "app", directory.path(), "audit checkpoint --key auditor.key --out one.note"));
    let path: String = admin.query_one("SELECT pg_relation_filepath('runbook.entry')", &[]).unwrap().get(0);
    let payload: String = admin.query_one("SELECT payload FROM runbook.entry WHERE position = 123", &[]).unwrap().get(0);
    drop(admin);
    server.stop("fast");
    let file = server.directory().join("data").join(path);
    let mut bytes = fs::read(&file).unwrap();
    let at = bytes.windows(payload.len()).position(|window| window == payload.as_bytes()).unwrap();
    let word = payload.find("ALTER TABLE").unwrap();
    bytes[at + word..at + word + 5].copy_from_slice(b"OTHER");
    fs::write(&file, bytes).unwrap();
    server.launch(&[]);
    let output =
        runbook(&server, "app", directory.path(), "audit verify --checkpoint one.note --key auditor.key.pub").output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.code() == Some(9) && text.contains("position 123: the payload does not match its leaf hash"),
        "{text}"
    );
}
