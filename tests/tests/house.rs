//! The house: no file imports one that stands above it, and no two files import each other.
#![allow(clippy::unwrap_used, missing_docs, reason = "a panic is how a test fails")]

use runbook_tests::house::{Counts, Crate, circles, count, read, upward};
use runbook_tests::repository;

/// The rooms of each crate, from the ground up. Rooms on one floor do not import each other.
const FLOORS: [(&str, &[&str]); 2] = [
    (
        "extension",
        &[
            "error",
            "pg",
            "spi",
            "catalog",
            "store",
            "code",
            "permission",
            "ledger",
            "approval",
            "guard",
            "settings",
            "apply",
            "request",
            "api",
            "install",
            "lib",
        ],
    ),
    (
        "cli",
        &[
            "line",
            "args error",
            "trust key output",
            "config connect",
            "context",
            "files",
            "interrupt",
            "follow audit",
            "commands",
            "lib main",
        ],
    ),
];

fn house(name: &str) -> Crate {
    read(&repository().join(name).join("src"))
}

#[test]
fn no_two_files_import_each_other() {
    for name in ["core", "extension", "cli"] {
        let house = house(name);
        let imports: usize = house.files.iter().map(|file| file.imports.len()).sum();
        assert!(house.files.len() > 25 && imports > 40, "{name}: the sources were not read");
        let found = circles(&house);
        assert!(found.is_empty(), "{name}: {found:#?}");
    }
}

#[test]
fn no_room_imports_one_above_it() {
    for (name, floors) in FLOORS {
        let found = upward(&house(name), floors);
        assert!(found.is_empty(), "{name}:\n{}", found.join("\n"));
    }
}

/// What is printed by `cargo test --test house -- --nocapture counts`.
#[test]
fn counts() {
    for name in ["core", "extension", "cli"] {
        let Counts { long_files, long_functions, booleans, undocumented, unsafe_without_reason, .. } = count(&house(name), &[]);
        println!(
            "{name}: {} files over 400 lines {long_files:?}\n  {} functions over 60 {long_functions:?}\n  {} booleans\n  {} undocumented {undocumented:?}\n  {} unsafe without a reason {unsafe_without_reason:?}",
            long_files.len(),
            long_functions.len(),
            booleans.len(),
            undocumented.len(),
            unsafe_without_reason.len()
        );
    }
}
