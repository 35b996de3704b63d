//! The house: no file imports one that stands above it, and no two files import each other.
#![allow(clippy::unwrap_used, missing_docs, reason = "a panic is how a test fails")]

use runbook_tests::house::{Crate, circles, count, read, upward};
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
            "line place",
            "args error",
            "trust key client output",
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

/// What is left to be made smaller, by crate: functions of more than 60 lines, public things without a word, unsafe blocks without a reason
/// directly above. None of it may grow.
const LEFT: [(&str, usize, usize, usize); 3] = [("core", 0, 0, 0), ("extension", 0, 0, 0), ("cli", 0, 0, 0)];

#[test]
fn no_file_holds_two_ideas_and_nothing_else_grows() {
    for (name, functions, undocumented, unsafe_blocks) in LEFT {
        let found = count(&house(name));
        assert!(found.long_files.is_empty(), "{name}: more than 400 lines: {:?}", found.long_files);
        assert!(found.long_functions.len() <= functions, "{name}: more than 60 lines: {:#?}", found.long_functions);
        assert!(found.undocumented.len() <= undocumented, "{name}: {:#?}", found.undocumented);
        assert!(found.unsafe_without_reason.len() <= unsafe_blocks, "{name}: {:#?}", found.unsafe_without_reason);
        let left = (found.long_functions.len(), found.undocumented.len(), found.unsafe_without_reason.len());
        println!("{name}: {left:?}, {} booleans as parameters", found.booleans.len());
    }
}
