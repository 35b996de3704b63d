//! Bad input: each a clear error with a next step, and nothing changed.
#![allow(clippy::unwrap_used, missing_docs, reason = "a panic is how a test fails")]

use runbook_tests::{Server, revision, submit};
use std::fs;
use std::process::Output;

struct Project {
    server: Server,
    directory: tempfile::TempDir,
}

impl Project {
    fn new() -> Self {
        let server = Server::start();
        server.database("app");
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("revisions")).unwrap();
        Self { server, directory }
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        fs::write(self.directory.path().join("revisions").join(name), bytes).unwrap();
    }

    fn forget_files(&self) {
        fs::remove_dir_all(self.directory.path().join("revisions")).unwrap();
        fs::create_dir(self.directory.path().join("revisions")).unwrap();
    }

    fn run(&self, user: &str, arguments: &[&str]) -> Output {
        self.server.runbook("app", user, self.directory.path()).args(arguments).output().unwrap()
    }

    /// Runs a command that must fail with `code` and say `parts`, hint included; and must change nothing.
    fn refuse(&self, user: &str, arguments: &[&str], code: i32, parts: &[&str]) {
        let before = self.fingerprint();
        let output = self.run(user, arguments);
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {stderr}");
        for part in parts.iter().chain(&["hint:"]) {
            assert!(stderr.contains(part), "{arguments:?} does not say {part:?}: {stderr}");
        }
        assert_eq!(self.fingerprint(), before, "{arguments:?} changed something");
    }

    fn fingerprint(&self) -> String {
        let mut client = self.server.connect("app", "postgres");
        let sql = "SELECT md5(string_agg(x, '' ORDER BY x)) FROM (SELECT r::text AS x FROM runbook.revision AS r UNION ALL \
                   SELECT h::text FROM runbook.applied_head AS h UNION ALL SELECT relname::text FROM pg_class) AS everything";
        client.query_one(sql, &[]).unwrap().get(0)
    }
}

fn file(id: &str, parents: &str, upgrade: &str) -> String {
    format!(
        "-- revision: {id}\n-- parents: {parents}\n-- message: {id}\n\n-- runbook: upgrade\n{upgrade}\n\n-- runbook: downgrade\n"
    )
}

#[test]
fn files_that_cannot_be_revisions_are_refused_with_file_line_and_fix() {
    let project = Project::new();
    let mut latin1 = file("a001", "", "SELECT 1;").into_bytes();
    latin1.extend(b"SELECT 'gr\xfc\xdfe';\n");
    let cases: [(&str, Vec<u8>, i32, &[&str]); 6] = [
        ("latin1.sql", latin1, 3, &["latin1.sql:9: the file is not UTF-8", "iconv"]),
        ("nul.sql", file("a001", "", "SELECT 'a\0b';").into_bytes(), 3, &["nul.sql:6: the file contains a NUL byte"]),
        ("huge.sql", vec![b' '; 50 * 1024 * 1024], 3, &["huge.sql has 52428800 bytes"]),
        ("header.sql", b"-- revision: a001\n-- reviewer: me\n".to_vec(), 3, &["header.sql:2: unknown header \"reviewer\""]),
        ("orphan.sql", file("a001", "nobody", "SELECT 1;").into_bytes(), 3, &["names parent \"nobody\", which does not exist"]),
        (
            "syntax.sql",
            file("a001", "", "SELECT 1;\nALTER TABEL x;").into_bytes(),
            3,
            &["syntax error at or near \"TABEL\"", "LINE 2: ALTER TABEL x;", "              ^"],
        ),
    ];
    for (name, bytes, code, parts) in cases {
        project.write(name, bytes);
        let parts: Vec<&str> = parts.to_vec();
        if name == "syntax.sql" {
            let output = project.run("alice", &["submit"]);
            let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(matches!(output.status.code(), Some(3 | 8)), "{stderr}");
            assert!(parts.iter().all(|part| stderr.contains(part)), "{stderr}");
        } else {
            project.refuse("alice", &["submit"], code, &parts);
        }
        project.forget_files();
    }
}

#[test]
fn graphs_that_cannot_be_are_refused() {
    let project = Project::new();
    project.write("a.sql", file("a001", "b001", "SELECT 1;"));
    project.write("b.sql", file("b001", "a001", "SELECT 1;"));
    project.refuse("alice", &["submit"], 3, &["cycle between revisions", "a001, b001"]);
    project.forget_files();
    project.write("a.sql", file("a001", "", "SELECT 1;"));
    project.write("again.sql", file("a001", "", "SELECT 2;"));
    project.refuse("alice", &["submit"], 3, &["revision \"a001\" is present more than once", "a.sql", "again.sql"]);
}

#[test]
fn ambiguous_targets_and_changed_applied_revisions_are_refused() {
    let project = Project::new();
    project.write("a.sql", file("abcd01", "", "SELECT 1;"));
    project.write("b.sql", file("abcd02", "abcd01", "SELECT 1;"));
    project.write("c.sql", file("cccc01", "abcd01", "SELECT 1;"));
    assert!(project.run("alice", &["submit"]).status.success());
    project.refuse("app", &["upgrade", "head"], 5, &["target \"head\" is ambiguous", "abcd02", "cccc01", "runbook merge"]);
    project.refuse("app", &["upgrade", "abcd"], 5, &["several revisions start with \"abcd\"", "abcd01, abcd02"]);
    project.refuse("app", &["upgrade", "nosuch"], 5, &["no such revision or branch \"nosuch\""]);
    project.refuse("app", &["downgrade", "-1"], 5, &["walks past the end"]);
    assert!(project.run("app", &["upgrade", "heads"]).status.success());
    project.write("a.sql", file("abcd01", "", "SELECT 2;"));
    project.refuse("alice", &["submit"], 1, &["revision \"abcd01\" is applied and can't change", "runbook revision"]);
    project.write("a.sql", file("abcd01", "", "SELECT 1;"));
    let output = project.run("app", &["submit"]);
    assert_eq!(output.status.code(), Some(4), "an operator is no author: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn ten_thousand_revisions_are_planned_within_a_second_and_the_command_stays_under_100_mb() {
    let project = Project::new();
    let mut alice = project.server.connect("app", "alice");
    let mut transaction = alice.transaction().unwrap();
    let statement = transaction.prepare("SELECT runbook.submit($1)").unwrap();
    for at in 0..10_000 {
        let parent = format!("r{:05}", at - 1);
        let parents: &[&str] = if at == 0 { &[] } else { &[&parent] };
        transaction.query_one(&statement, &[&revision(&format!("r{at:05}"), parents, "SELECT 1", "")]).unwrap();
    }
    transaction.commit().unwrap();
    // The first call of a session reads the graph; the second is what a step costs.
    let mut app = project.server.connect("app", "app");
    let mut best = f64::MAX;
    for _ in 0..5 {
        let start = std::time::Instant::now();
        let count: i64 = app.query_one("SELECT count(*) FROM runbook.plan('head')", &[]).unwrap().get(0);
        best = best.min(start.elapsed().as_secs_f64());
        assert_eq!(count, 10_000);
    }
    println!("plan('head') of 10,000 revisions: {:.1} ms", best * 1000.0);
    let output = std::process::Command::new("/usr/bin/env")
        .args([
            "bash",
            "-c",
            "\"$0\" plan head >/dev/null & pid=$!; peak=0; while [ -e /proc/$pid/status ]; do \
               now=$(awk '/VmHWM/ {print $2}' /proc/$pid/status 2>/dev/null); [ -n \"$now\" ] && peak=$now; done; echo $peak",
        ])
        .arg(runbook_tests::runbook_binary())
        .envs([("PGHOST", project.server.socket()), ("PGPORT", runbook_tests::PORT.to_string())])
        .envs([("PGDATABASE", "app"), ("PGUSER", "app")])
        .output()
        .unwrap();
    let peak: u64 = String::from_utf8_lossy(&output.stdout).trim().parse().unwrap();
    println!("runbook plan of 10,000 revisions: {} MB", peak / 1024);
    assert!(peak > 0 && peak < 100 * 1024, "{peak} kB");
    assert!(best < 1.0, "planning 10,000 revisions took {best} s even on a busy machine");
    let _ = submit(&mut project.server.connect("app", "alice"), &revision("last", &["r09999"], "SELECT 1", "")).unwrap();
}

#[test]
fn null_is_refused_by_whatever_changes_something_or_vouches_for_it() {
    let server = Server::start();
    let mut admin = server.database("app");
    let sql = "SELECT p.proname::text, CASE p.prokind WHEN 'p' THEN 'CALL ' ELSE 'SELECT ' END, \
               ARRAY(SELECT format_type(t, NULL) FROM unnest(p.proargtypes) AS t), p.pronargdefaults::int \
               FROM pg_proc AS p WHERE p.pronamespace = 'runbook'::regnamespace AND p.pronargs > 0";
    let functions = admin.query(sql, &[]).unwrap();
    let (mut refused, mut wrong) = (0, vec![]);
    for row in &functions {
        let (name, verb, types, defaults): (String, String, Vec<String>, i32) =
            (row.get(0), row.get(1), row.get(2), row.get(3));
        let speaks = name == "wait" || name == "require" || runbook_core::changing::ALL.iter().any(|known| known.name == name);
        for given in types.len() - usize::try_from(defaults).unwrap()..=types.len() {
            let arguments: Vec<String> = types[..given].iter().map(|name| format!("NULL::{name}")).collect();
            let call = format!("{verb} runbook.{name}({})", arguments.join(", "));
            let code = admin.simple_query(&call).err().map(|error| error.code().unwrap().code().to_owned());
            match code.as_deref() {
                Some("22004") => refused += 1,
                // Nothing is given, or what is given has a default.
                _ if given == 0 => {}
                None if !speaks => {}
                Some(code) if !speaks && !code.starts_with("XX") => {}
                code => wrong.push(format!("{call}: {code:?}")),
            }
        }
    }
    for time in ["23:59:60", "24:00", "24:00:00", "12:00:60", "-1:00", "", "noon"] {
        for (opens, closes) in [(time, "03:00"), ("22:00", time)] {
            let sql = format!(
                "SELECT runbook.set_maintenance_window('w', ARRAY['destructive'], 'daily', '{opens}', '{closes}', 'UTC')"
            );
            assert_eq!(runbook_tests::sqlstate(admin.batch_execute(&sql)), "22023", "{sql}");
        }
    }
    let window = "SELECT runbook.set_maintenance_window('night', ARRAY[NULL], 'daily', '01:00', '02:00', 'UTC')";
    assert_eq!(runbook_tests::sqlstate(admin.simple_query(window)), "22004");
    for revision in ["'{\"revision\": 1e999}'", "('{\"a\":' || repeat('[', 9000) || repeat(']', 9000) || '}')"] {
        let submitted = admin.simple_query(&format!("SELECT runbook.submit({revision}::jsonb)"));
        assert_eq!(runbook_tests::sqlstate(submitted), "22023", "{revision}");
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(refused > 40, "{refused}");
}
