//! `runbook __complete`: what a completion script offers, one candidate a line.
//!
//! Reads local files only, and never connects. Says nothing about errors: a person who presses Tab has asked for no message.

use crate::args::Candidates;
use crate::context::Context;
use crate::error::Result;
use crate::files;
use crate::output::{self, Line};

/// Prints the candidates of a kind, and succeeds without any if the files cannot be read.
pub fn run(kind: Candidates, context: &Context) -> Result<()> {
    let found = find(kind, context).unwrap_or_default();
    found.iter().filter(|text| is_plain(text)).try_for_each(|text| output::line(&Line::new(text)))
}

fn find(kind: Candidates, context: &Context) -> Result<Vec<String>> {
    let context = context.configured()?;
    match kind {
        Candidates::Revisions => Ok(files::ids(&context)?.iter().map(ToString::to_string).collect()),
        Candidates::Environments => Ok(context.environments().map(str::to_owned).collect()),
    }
}

/// Whether every shell reads the text as one word that stands for itself. Files may come from other people.
fn is_plain(text: &str) -> bool {
    let first = text.chars().next();
    first.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_a_shell_would_run_is_not_offered() {
        assert!(["1c0ffee00aa1", "local", "eu-west.1", "_x"].into_iter().all(is_plain));
        assert!(["", "$(id)", "a b", "a;b", "-c", "`id`", "a'b", "ä", "a\nb", "*"].into_iter().all(|text| !is_plain(text)));
    }
}
