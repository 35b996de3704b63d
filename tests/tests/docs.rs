//! Every SQL and shell block of the docs runs, in order, each page on a server of its own. A block names its user with
//! `as NAME`, and says `fails` if it must.
#![allow(clippy::unwrap_used, missing_docs, reason = "a panic is how a test fails")]

use runbook_tests::{Server, repository};
use std::fs;
use std::path::Path;
use std::process::Command;

struct Block {
    line: usize,
    language: String,
    user: String,
    fails: bool,
    text: String,
}

fn blocks(page: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut open = false;
    for (at, line) in page.lines().enumerate() {
        match (line.strip_prefix("```"), open) {
            (Some(_), true) => open = false,
            (Some(info), false) => {
                open = true;
                let words: Vec<&str> = info.split_whitespace().collect();
                let user = words.iter().position(|word| *word == "as").and_then(|at| words.get(at + 1)).unwrap_or(&"postgres");
                let language = words.first().copied().unwrap_or_default().to_owned();
                assert!(["sql", "sh", "text"].contains(&language.as_str()), "line {}: a block of an unknown kind", at + 1);
                let fails = words.contains(&"fails");
                blocks.push(Block { line: at + 2, language, user: (*user).to_owned(), fails, text: String::new() });
            }
            (None, true) => {
                let block = blocks.last_mut().unwrap();
                block.text.push_str(line);
                block.text.push('\n');
            }
            (None, false) => {}
        }
    }
    assert!(!open, "a block does not end");
    blocks
}

fn run(server: &Server, block: &Block, directory: &Path) -> (bool, String) {
    let mut command = if block.language == "sql" {
        // A file and not -c, which would make one transaction of the block.
        let file = directory.join("block.sql");
        fs::write(&file, &block.text).unwrap();
        let mut command = server.program("psql");
        command.args(["-X", "-v", "ON_ERROR_STOP=1", "-f"]).arg(file);
        command
    } else {
        let mut command = Command::new("bash");
        server.point(&mut command);
        command.args(["-euo", "pipefail", "-c", &block.text]);
        let binaries = runbook_tests::runbook_binary().parent().unwrap().display().to_string();
        command.env("PATH", format!("{binaries}:{}", std::env::var("PATH").unwrap()));
        command
    };
    let output = command.env("PGUSER", &block.user).env("PGDATABASE", "docs").current_dir(directory).output().unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status.success(), text)
}

fn page(path: &Path) -> usize {
    let blocks = blocks(&fs::read_to_string(path).unwrap());
    let runnable: Vec<&Block> = blocks.iter().filter(|block| block.language != "text").collect();
    if runnable.is_empty() {
        return 0;
    }
    let server = Server::start();
    let mut admin = server.connect("postgres", "postgres");
    admin.batch_execute("CREATE DATABASE docs").unwrap();
    if !runnable.iter().any(|block| block.text.contains("CREATE EXTENSION pg_runbook")) {
        server.connect("docs", "postgres").batch_execute("CREATE EXTENSION pg_runbook").unwrap();
    }
    let directory = tempfile::tempdir().unwrap();
    for block in &runnable {
        let (succeeded, output) = run(&server, block, directory.path());
        assert_eq!(succeeded, !block.fails, "{}:{}\n{}{output}", path.display(), block.line, block.text);
    }
    runnable.len()
}

#[test]
fn every_block_of_the_docs_does_what_it_says() {
    let root = repository();
    let mut pages = vec![root.join("README.md"), root.join("ARCHITECTURE.md"), root.join("CONTRIBUTING.md")];
    pages.extend(
        fs::read_dir(root.join("docs"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|x| x == "md")),
    );
    pages.sort();
    let count: usize = pages.iter().map(|path| page(path)).sum();
    assert!(count >= 30, "only {count} blocks were found");
    println!("{count} blocks of {} pages", pages.len());
}

#[test]
fn the_demo_shows_what_it_says() {
    let output = Command::new("bash").arg("tests/demo.sh").current_dir(repository()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("Done."), "{text}{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn links_between_pages_lead_somewhere() {
    let root = repository();
    for page in ["README.md", "ARCHITECTURE.md", "docs/cli.md"] {
        let text = fs::read_to_string(root.join(page)).unwrap();
        for target in
            text.split("](").skip(1).filter_map(|rest| rest.split(')').next()).filter(|target| !target.contains("://"))
        {
            let path = root.join(page).parent().unwrap().join(target.split('#').next().unwrap());
            assert!(path.exists(), "{page} links to {target}");
        }
    }
}
