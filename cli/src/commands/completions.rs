//! `runbook completions`: generated from the arguments, with the candidates that only files can tell.
//!
//! The scripts of bash, zsh and fish ask `runbook __complete` for revisions and environments; clap's own dynamic completion is unstable.

use crate::args::manual;
use crate::error::Result;
use crate::output;
use clap::{Arg, Command, ValueHint};
use clap_complete::{Shell, generate};
use std::io::Write;

const BASH: &str = include_str!("completions.bash");
const ZSH: &str = include_str!("completions.zsh");

/// Prints the script of a shell.
pub fn run(shell: Shell) -> Result<()> {
    Ok(output::stdout().write_all(script(shell).as_bytes())?)
}

fn script(shell: Shell) -> String {
    let mut command = visible();
    let mut generated = Vec::new();
    generate(shell, &mut command, "runbook", &mut generated);
    let generated = String::from_utf8_lossy(&generated).into_owned();
    match shell {
        Shell::Bash => generated + &bash(&command),
        Shell::Zsh => zsh(&generated),
        Shell::Fish => fish(&command, &generated),
        _ => generated,
    }
}

/// The command line without hidden verbs, which the generators would offer.
fn visible() -> Command {
    let command = manual::command();
    Command::new("runbook")
        .version("")
        .propagate_version(true)
        .args(command.get_arguments().cloned().map(hinted))
        .subcommands(command.get_subcommands().filter(|verb| !verb.is_hide_set()).cloned().map(marked))
}

fn marked(command: Command) -> Command {
    command.mut_args(hinted).mut_subcommands(marked)
}

/// Marks what takes revisions or environments with a hint that no argument has otherwise: the generators put a fixed word there.
fn hinted(argument: Arg) -> Arg {
    let argument = match takes(&argument) {
        Takes::Revisions => argument.value_hint(ValueHint::Username),
        Takes::Environments => argument.value_hint(ValueHint::Hostname),
        Takes::Another | Takes::Nothing => argument,
    };
    // In zsh, a colon ends the name of a value.
    let names: Vec<String> = argument.get_value_names().into_iter().flatten().map(|name| name.replace(':', "-")).collect();
    if names.is_empty() { argument } else { argument.value_names(names) }
}

/// What an argument takes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Takes {
    Revisions,
    Environments,
    Another,
    Nothing,
}

fn takes(argument: &Arg) -> Takes {
    let name = argument.get_value_names().and_then(<[_]>::first).map(|name| name.as_str()).unwrap_or_default();
    match (argument.get_id().as_str(), name) {
        _ if !argument.get_action().takes_values() => Takes::Nothing,
        ("env", _) => Takes::Environments,
        (_, "REVISION" | "REVISIONS" | "TARGET" | "TARGETS") => Takes::Revisions,
        _ => Takes::Another,
    }
}

/// The ways to write an option: `-m`, `--comment`.
fn flags(argument: &Arg) -> Vec<String> {
    let short = argument.get_short().map(|short| format!("-{short}"));
    short.into_iter().chain(argument.get_long().map(|long| format!("--{long}"))).collect()
}

/// The verbs that take revisions without an option in front.
fn with_revisions(command: &Command) -> impl Iterator<Item = &Command> {
    command.get_subcommands().filter(|verb| verb.get_positionals().any(|argument| takes(argument) == Takes::Revisions))
}

fn bash(command: &Command) -> String {
    let (mut revisions, mut others) = (Vec::new(), Vec::new());
    for verb in command.get_subcommands() {
        for argument in verb.get_opts().filter(|argument| !argument.is_global_set()) {
            let cases = flags(argument).into_iter().map(|flag| format!("{},{flag}", verb.get_name()));
            match takes(argument) {
                Takes::Revisions => revisions.extend(cases),
                Takes::Another => others.extend(cases),
                Takes::Environments | Takes::Nothing => {}
            }
        }
    }
    let valued: Vec<String> = command.get_opts().filter(|argument| takes(argument) != Takes::Nothing).flat_map(flags).collect();
    others.extend(valued.iter().filter(|flag| !["-e", "--env"].contains(&flag.as_str())).map(|flag| format!("*,{flag}")));
    let positional: Vec<String> = with_revisions(command).map(|verb| format!("{},*", verb.get_name())).collect();
    BASH.replace("@VALUED@", &valued.join("|"))
        .replace("@REVISIONS@", &revisions.join("|"))
        .replace("@OTHERS@", &others.join("|"))
        .replace("@POSITIONAL@", &positional.join("|"))
}

/// Has the arguments ask for their candidates. The functions stand before the end, which calls the first one.
fn zsh(generated: &str) -> String {
    let text = generated.replace(":_users'", ":_runbook_revisions'").replace(":_hosts'", ":_runbook_environments'");
    let end = text.find("if [ \"$funcstack[1]\"").unwrap_or(text.len());
    format!("{}{ZSH}{}", &text[..end], &text[end..])
}

fn fish(command: &Command, generated: &str) -> String {
    let ask = |kind: &str| format!("(runbook __complete {kind} 2>/dev/null)");
    let options = generated
        .replace("(__fish_complete_user_ids)", &ask("revisions"))
        .replace("(__fish_complete_users)", &ask("revisions"))
        .replace("(__fish_print_hostnames)", &ask("environments"));
    // The generator leaves out positional arguments, and the values of options before the verb.
    let mut words = format!("complete -c runbook -s e -l env -x -a \"{}\"\n", ask("environments"));
    for verb in command.get_subcommands() {
        let using = format!("__fish_runbook_using_subcommand {}", verb.get_name());
        words.extend(verb.get_positionals().filter_map(|argument| fish_words(argument, &using, &ask("revisions"))));
        for below in verb.get_subcommands() {
            let using = format!("{using}; and __fish_seen_subcommand_from {}", below.get_name());
            words.extend(below.get_positionals().filter_map(|argument| fish_words(argument, &using, &ask("revisions"))));
        }
    }
    options + &words
}

/// The line that offers the words of a positional argument, where anything is known of them.
fn fish_words(argument: &Arg, condition: &str, revisions: &str) -> Option<String> {
    let words: Vec<String> = argument.get_possible_values().iter().map(|word| word.get_name().to_owned()).collect();
    let words = match takes(argument) {
        Takes::Revisions => revisions.to_owned(),
        _ if words.is_empty() => return None,
        _ => words.join(" "),
    };
    Some(format!("complete -c runbook -n \"{condition}\" -f -a \"{words}\"\n"))
}

#[cfg(test)]
mod tests;
