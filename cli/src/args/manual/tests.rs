use super::page::READERS;
use super::*;
use crate::args::Args;
use clap::FromArgMatches;
use std::collections::BTreeSet;

/// All commands but the main one, each with its verbs.
fn verbs(command: &Command, above: &str, found: &mut Vec<(String, Command)>) {
    for below in command.get_subcommands().filter(|below| !below.is_hide_set()) {
        let path = if above.is_empty() { below.get_name().to_owned() } else { format!("{above} {}", below.get_name()) };
        verbs(below, &path, found);
        found.push((path, below.clone()));
    }
}

fn all() -> Vec<(String, Command)> {
    let mut found = Vec::new();
    verbs(&command(), "", &mut found);
    found
}

/// The words of a command up to a pipe or a redirection, as a shell reads them.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quoted) = (Vec::new(), String::new(), false);
    for c in line.replace("\\\n", " ").chars().chain([' ']) {
        match c {
            '\'' => quoted = !quoted,
            ' ' if !quoted => words.extend(Some(std::mem::take(&mut word)).filter(|word| !word.is_empty())),
            _ => word.push(c),
        }
    }
    assert!(!quoted, "{line}");
    words.into_iter().take_while(|word| ![">", "|"].contains(&word.as_str())).collect()
}

#[test]
fn every_verb_has_one_page_in_one_group() {
    let pages: Vec<&str> = GROUPS.iter().flat_map(|group| group.pages).map(|page| page.verb).collect();
    let unique: BTreeSet<&str> = pages.iter().copied().collect();
    assert_eq!(unique.len(), pages.len(), "a verb has two pages");
    let verbs = all();
    assert_eq!(unique, verbs.iter().map(|(path, _)| path.as_str()).collect());
}

#[test]
fn the_main_help_has_each_verb_once_with_its_own_line() {
    let command = command();
    let help = command.clone().render_long_help().to_string();
    for verb in command.get_subcommands() {
        let (name, about) = (verb.get_name(), verb.get_about().map(ToString::to_string).unwrap_or_default());
        let lines: Vec<&str> = help.lines().filter(|line| line.starts_with(&format!("  {name} "))).collect();
        if verb.is_hide_set() {
            assert!(lines.is_empty(), "{lines:?}");
            continue;
        }
        assert_eq!(lines.len(), 1, "{name}");
        assert_eq!(lines[0].trim().strip_prefix(name).map(str::trim), Some(about.as_str()));
    }
    for heading in GROUPS.iter().map(|group| group.title).chain(["Connection", "Output"]) {
        assert_eq!(help.lines().filter(|line| *line == format!("{heading}:")).count(), 1, "{heading}");
    }
}

#[test]
fn a_line_about_a_verb_is_short_and_has_no_full_stop() {
    for (path, verb) in all() {
        let about = verb.get_about().unwrap().to_string();
        assert!(about.chars().count() <= 72 && !about.ends_with('.') && !about.contains('\n'), "{path}: {about}");
        assert!(about.starts_with(char::is_uppercase), "{path}: {about}");
    }
}

#[test]
fn sentences_are_short_and_plain() {
    for page in GROUPS.iter().flat_map(|group| group.pages) {
        for text in [page.does.to_owned(), page.prints.to_owned(), page.role.text()] {
            assert!(text.ends_with('.'), "{}: {text}", page.verb);
            for sentence in text.split(". ") {
                assert!(sentence.split_whitespace().count() <= 25, "{}: {sentence}", page.verb);
            }
            for word in ["whoever", "somebody", "at hand", "nobody", "  "] {
                assert!(!text.contains(word), "{}: {text}", page.verb);
            }
        }
        assert!(page.does.matches(". ").count() <= 1, "{}: more than two sentences", page.verb);
    }
}

#[test]
fn every_example_is_a_command_of_its_verb() {
    for page in GROUPS.iter().flat_map(|group| group.pages) {
        assert!(!page.examples.is_empty(), "{}", page.verb);
        for example in page.examples {
            let words = words(example);
            assert!(example.lines().all(|line| line.len() <= 78), "{example}: clap would break it on a terminal of 80 columns");
            assert!(example.starts_with(&format!("runbook {}", page.verb)), "{example}");
            let parsed = command().try_get_matches_from(&words).and_then(|found| Args::from_arg_matches(&found));
            assert!(parsed.is_ok(), "{example}: {}", parsed.unwrap_err());
        }
    }
}

#[test]
fn readers_of_the_ledger_are_those_of_the_grants() {
    let grants = include_str!("../../../../sql/grants.sql");
    assert!(
        grants.contains(&format!("runbook.ledger, runbook.entry, runbook.unsealed, runbook.tile TO {};", READERS.join(", ")))
    );
}

#[test]
fn a_role_is_the_one_that_the_server_asks_for() {
    let role = |verb: &str| page(verb).unwrap().role.text();
    assert_eq!(role("submit"), "runbook_author.");
    assert_eq!(role("audit verify"), "runbook_auditor or runbook_admin. With --export: none.");
    assert_eq!(role("init"), "none: works on files.");
}
