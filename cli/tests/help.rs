//! The help, the manual pages and the completion of the built command. Nothing here needs a server.
//!
//! `RUNBOOK_UPDATE_HELP=1 cargo test -p runbook --test help` writes the files below `tests/help/` anew.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use runbook_cli::args::manual;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// Runs the command in a directory, without the variables that it reads and without a terminal: help is then 100 columns wide.
fn runbook(directory: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_runbook"));
    for name in ["DATABASE_URL", "RUNBOOK_ENV", "RUNBOOK_CONFIG", "COLUMNS", "LINES", "CLICOLOR_FORCE"] {
        command.env_remove(name);
    }
    command.args(arguments).current_dir(directory).stdin(Stdio::null()).output().unwrap()
}

fn printed(directory: &Path, arguments: &[&str]) -> String {
    let output = runbook(directory, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    assert!(output.stderr.is_empty(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn collect(command: &clap::Command, above: &[String], found: &mut Vec<Vec<String>>) {
    found.push(above.to_vec());
    for below in command.get_subcommands().filter(|below| !below.is_hide_set()) {
        let path: Vec<String> = above.iter().cloned().chain([below.get_name().to_owned()]).collect();
        collect(below, &path, found);
    }
}

/// The words of every command, the main one first, which has none.
fn commands() -> Vec<Vec<String>> {
    let mut found = Vec::new();
    collect(&manual::command(), &[], &mut found);
    assert!(found.len() > 45, "only {} commands", found.len());
    found
}

fn name(words: &[String]) -> String {
    ["runbook".to_owned()].iter().chain(words).cloned().collect::<Vec<_>>().join("-")
}

fn help(words: &[String]) -> String {
    let arguments: Vec<&str> = words.iter().map(String::as_str).chain(["--help"]).collect();
    // Clap leaves blanks on lines between an argument and its default.
    printed(Path::new("."), &arguments).lines().map(|line| line.trim_end().to_owned() + "\n").collect()
}

#[test]
fn the_help_of_every_verb_is_the_one_on_file() {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/help");
    let known: BTreeSet<String> = commands().iter().map(|words| name(words) + ".txt").collect();
    let update = std::env::var_os("RUNBOOK_UPDATE_HELP").is_some_and(|value| value == "1");
    if update {
        fs::create_dir_all(&directory).unwrap();
    }
    let mut wrong = Vec::new();
    for words in commands() {
        let (file, now) = (directory.join(name(&words) + ".txt"), help(&words));
        if update {
            fs::write(&file, &now).unwrap();
        } else if fs::read_to_string(&file).unwrap_or_default() != now {
            wrong.push(file.display().to_string());
        }
    }
    for entry in fs::read_dir(&directory).unwrap() {
        let file = entry.unwrap();
        if !known.contains(&file.file_name().into_string().unwrap()) {
            if update {
                fs::remove_file(file.path()).unwrap();
            } else {
                wrong.push(format!("{} belongs to no verb", file.path().display()));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "to accept the new help: RUNBOOK_UPDATE_HELP=1 cargo test -p runbook --test help\n{}",
        wrong.join("\n")
    );
}

#[test]
fn every_verb_says_what_it_prints_which_role_it_needs_and_gives_an_example() {
    for words in commands().iter().filter(|words| !words.is_empty()) {
        let (text, verb) = (help(words), format!("  runbook {}", words.join(" ")));
        assert!(text.lines().any(|line| line.starts_with("Prints: ")), "{verb}");
        assert!(text.lines().any(|line| line.starts_with("Role: ")), "{verb}");
        let examples = text.lines().skip_while(|line| *line != "Examples:").skip(1);
        assert!(examples.into_iter().next().is_some_and(|line| line.starts_with(&verb)), "{verb}");
    }
}

#[test]
fn every_command_has_a_manual_page() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().join("man1");
    fs::create_dir(&place).unwrap();
    fs::write(place.join("runbook.1"), "old").unwrap();
    let line = printed(directory.path(), &["man", "--out", "man1"]);
    let commands = commands();
    assert_eq!(line, format!("wrote {} pages to man1\n", commands.len()));
    let written: BTreeSet<String> =
        fs::read_dir(&place).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(written, commands.iter().map(|words| name(words) + ".1").collect());
    let all = printed(directory.path(), &["man"]);
    for words in &commands {
        let page = fs::read_to_string(place.join(name(words) + ".1")).unwrap();
        let sections: &[&str] = if words.is_empty() {
            &["EXAMPLES", "FILES", "ENVIRONMENT", "\"EXIT STATUS\""]
        } else {
            &["PRINTS", "ROLE", "EXAMPLES"]
        };
        for section in ["NAME", "SYNOPSIS", "DESCRIPTION"].iter().chain(sections) {
            assert!(page.contains(&format!("\n.SH {section}\n")), "{words:?}: {section}");
        }
        assert!(all.contains(&page), "{words:?} is not among the pages on stdout");
    }
}

#[test]
fn exit_codes_are_those_of_the_docs() {
    let docs = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/cli.md")).unwrap();
    let rows = docs.lines().filter_map(|line| line.strip_prefix("| ")?.split(" | ").next()?.parse().ok());
    assert_eq!(rows.collect::<Vec<u8>>(), manual::EXIT_CODES.map(|(code, _)| code));
}

#[test]
fn candidates_come_from_local_files_and_errors_are_silent() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path();
    assert_eq!(printed(place, &["__complete", "revisions"]), "");
    assert_eq!(printed(place, &["__complete", "environments"]), "");
    printed(place, &["init"]);
    printed(place, &["revision", "-m", "one", "--rev-id", "1c0ffee00aa1"]);
    printed(place, &["revision", "-m", "two", "--rev-id", "2d00"]);
    fs::write(place.join("revisions/broken.sql"), "-- runbook: nonsense\n").unwrap();
    assert_eq!(printed(place, &["__complete", "revisions"]), "1c0ffee00aa1\n2d00\n");
    let environments = "\n[environments.local]\nurl = \"host=127.0.0.1 port=1\"\n[environments.\"$(touch ran)\"]\nurl = \"\"\n";
    let file = place.join("runbook.toml");
    fs::write(&file, fs::read_to_string(&file).unwrap() + environments).unwrap();
    assert_eq!(printed(place, &["__complete", "environments"]), "local\n");
    fs::write(&file, "this is no configuration").unwrap();
    assert_eq!(printed(place, &["__complete", "environments"]), "");
    assert_eq!(printed(Path::new("/"), &["--config", "/nowhere", "__complete", "revisions"]), "");
}
