//! What the sources must be like: of the extension, so that an error can't abort the server; of the command, so that a hostile server or
//! database gets nothing out of it.
#![allow(clippy::unwrap_used, missing_docs, reason = "a panic is how a test fails")]

use runbook_tests::repository;
use std::path::{Path, PathBuf};

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = vec![];
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

/// The lines of the extension's sources, comments left out: file, number, text.
fn lines() -> Vec<(String, usize, String)> {
    let root = repository().join("extension/src");
    let mut all = vec![];
    for file in files(&root) {
        let name = file.strip_prefix(&root).unwrap().display().to_string();
        for (at, line) in std::fs::read_to_string(&file).unwrap().lines().enumerate() {
            let code = line.split_once("//").map_or(line, |(code, _)| code);
            all.push((name.clone(), at + 1, code.to_owned()));
        }
    }
    assert!(all.len() > 5000, "the sources were not found");
    all
}

/// Names in lower case that a line calls by way of `pg_sys`: the wrappers of pgrx, which turn errors into panics.
fn wrappers(line: &str) -> Vec<&str> {
    line.split("pg_sys::")
        .skip(1)
        .filter_map(|rest| {
            let name = &rest[..rest.find(|c: char| !c.is_alphanumeric() && c != '_')?];
            let is_function = rest[name.len()..].starts_with('(');
            (is_function && name.starts_with(|c: char| c.is_lowercase() || c.is_uppercase())).then_some(name)
        })
        .collect()
}

#[test]
fn functions_of_c_are_declared_in_one_place() {
    let strays: Vec<String> = lines()
        .into_iter()
        .filter(|(file, _, line)| file != "pg/ffi.rs" && line.contains("extern \"C-unwind\" {"))
        .map(|(file, number, _)| format!("{file}:{number}"))
        .collect();
    assert!(strays.is_empty(), "declare them in pg/ffi.rs: {strays:?}");
}

#[test]
fn what_is_trapped_calls_no_wrapper_that_would_panic() {
    let strays: Vec<String> = lines()
        .into_iter()
        .filter(|(file, _, _)| file == "pg/ffi.rs")
        .flat_map(|(file, number, line)| {
            wrappers(&line).into_iter().map(|name| format!("{file}:{number}: {name}")).collect::<Vec<_>>()
        })
        .collect();
    assert!(strays.is_empty(), "a wrapper of pgrx under trap aborts the server when it raises: {strays:?}");
}

#[test]
fn only_declared_functions_are_trapped() {
    let strays: Vec<String> = lines()
        .into_iter()
        .filter(|(file, _, line)| {
            file != "pg/pg_error.rs" && (line.contains("trapped(") || line.contains("trap!(") && !line.contains("trap!(ffi::"))
        })
        .map(|(file, number, _)| format!("{file}:{number}"))
        .collect();
    assert!(strays.is_empty(), "trap! takes functions of pg/ffi.rs: {strays:?}");
}

#[test]
fn wrappers_are_found_where_they_are_called() {
    assert_eq!(wrappers("let x = pg_sys::defGetBoolean(option);"), ["defGetBoolean"]);
    assert!(wrappers("pg_sys::CurrentMemoryContext = context; portal: pg_sys::Portal").is_empty());
}

/// Lines of the command's sources with `text` in them, as `file:number`.
fn in_the_command(text: &str) -> Vec<String> {
    let root = repository().join("cli/src");
    let mut found = vec![];
    for file in files(&root) {
        let name = file.strip_prefix(&root).unwrap().display().to_string();
        for (at, line) in std::fs::read_to_string(&file).unwrap().lines().enumerate() {
            if line.contains(text) {
                found.push(format!("{name}:{}", at + 1));
            }
        }
    }
    found
}

#[test]
fn what_a_server_gives_is_read_without_a_panic() {
    let strays: Vec<String> =
        ["row.get(0", "row.get(1", "row.get(2", "row.get::", ")?.get("].into_iter().flat_map(in_the_command).collect();
    assert!(strays.is_empty(), "a column may be of another type, and `get` panics; use `try_get`: {strays:?}");
    assert!(in_the_command("row.try_get(").len() > 10, "the sources were not found");
}

#[test]
fn the_command_leaves_the_search_path_alone_only_for_sql_of_the_users() {
    let found = [in_the_command(".connect_as_is()"), in_the_command(".left_as_it_is()")].concat();
    let strays: Vec<&String> = found
        .iter()
        .filter(|line| {
            !["commands/permit.rs", "commands/break_glass.rs", "context.rs"].iter().any(|file| line.starts_with(file))
        })
        .collect();
    assert!(strays.is_empty() && found.len() == 3, "{strays:?} {found:?}");
}
