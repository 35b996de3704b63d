//! The manual: what each verb does and prints, the role that it needs, and examples.
//!
//! Owns the long help of every verb, and the page of verbs by user that `runbook --help` prints. Each file below this module is one group of
//! users. A verb stands in the file of the people who use it; its one line in the page is the one that its arguments declare. Roles are
//! taken from the list of functions in `runbook_core::changing`, so that the manual cannot name another role than the server asks for.

mod approver;
mod auditor;
mod author;
mod dba;
mod local;
mod operator;
mod page;

pub use page::{Group, Page, Role};

use crate::args::Args;
use clap::builder::StyledStr;
use clap::{Command, CommandFactory};

/// All groups, in the order of a revision's life.
pub const GROUPS: [&Group; 6] =
    [&author::GROUP, &approver::GROUP, &operator::GROUP, &dba::GROUP, &auditor::GROUP, &local::GROUP];

/// The exit codes, with what each means.
pub const EXIT_CODES: [(u8, &str); 10] = [
    (0, "done"),
    (1, "failed, or cancelled"),
    (2, "wrong usage"),
    (3, "malformed revision, file or configuration"),
    (4, "refused by policy or privilege"),
    (5, "no such target, or ambiguous"),
    (6, "no connection"),
    (7, "timed out waiting for a lock or another migrator"),
    (8, "a revision's own SQL failed"),
    (9, "a check failed"),
];

/// The page of a verb.
pub fn page(verb: &str) -> Option<&'static Page> {
    GROUPS.iter().flat_map(|group| group.pages).find(|page| page.verb == verb)
}

/// The command line with the whole manual.
pub fn command() -> Command {
    let command = described(Args::command().max_term_width(100), "");
    let template = template(&command);
    command.help_template(template).after_help(ending())
}

/// Gives a command, and all below it, what their pages say.
fn described(command: Command, verb: &str) -> Command {
    let names: Vec<String> = command.get_subcommands().map(|below| below.get_name().to_owned()).collect();
    let command = names.into_iter().fold(command, |command, name| {
        let path = if verb.is_empty() { name.clone() } else { format!("{verb} {name}") };
        command.mut_subcommand(name, |below| described(below, &path))
    });
    match page(verb) {
        Some(page) => {
            let after = sections(&command, page);
            command.long_about(page.does).after_long_help(after)
        }
        None => command,
    }
}

fn sections(command: &Command, page: &Page) -> StyledStr {
    let header = command.get_styles().get_header();
    let examples: Vec<String> = page.examples.iter().map(|example| format!("\n  {}", example.replace('\n', "\n  "))).collect();
    // Where a style begins, clap does not see that a line does; so the ends of lines stand inside the styles.
    StyledStr::from(format!(
        "{header}Prints:{header:#} {}{header}\n\nRole:{header:#} {}{header}\n\nExamples:{header:#}{}",
        page.prints,
        page.role.text(),
        examples.concat()
    ))
}

/// What `runbook --help` prints: clap has no groups of subcommands.
fn template(command: &Command) -> String {
    let styles = command.get_styles();
    let (header, literal) = (styles.get_header(), styles.get_literal());
    let longest = command.get_subcommands().map(|verb| verb.get_name().len()).max().unwrap_or_default();
    let mut text = "{about-with-newline}\n{usage-heading} {usage}\n\n".to_owned();
    for group in GROUPS {
        text.push_str(&format!("{header}{}:{header:#}\n", group.title));
        for verb in group.pages.iter().filter_map(|page| command.find_subcommand(page.verb)) {
            let (name, about) = (verb.get_name(), verb.get_about().map(ToString::to_string).unwrap_or_default());
            text.push_str(&format!("  {literal}{name:longest$}{literal:#}  {about}\n"));
        }
        text.push('\n');
    }
    // The same options on a command without verbs: only so does clap print them under their headings.
    let mut options = Command::new("runbook")
        .version("")
        .max_term_width(100)
        .args(command.get_arguments().cloned())
        .help_template("{all-args}");
    text.push_str(options.render_help().ansi().to_string().trim_end());
    text + "{after-help}"
}

fn ending() -> String {
    let codes: Vec<String> = EXIT_CODES.iter().map(|(code, meaning)| format!("{code} {meaning}")).collect();
    format!(
        "\"runbook VERB --help\" says what a verb does and prints, which role it needs, and gives examples.\n\nExit codes: {}.",
        codes.join("; ")
    )
}

#[cfg(test)]
mod tests;
