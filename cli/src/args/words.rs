//! Arguments that take a word of a closed set.
//!
//! Help and completion offer the words. A word that is not among them is accepted all the same: the server or the command refuses it, with
//! an error of its own and an exit code of its own.

use clap::builder::{PossibleValue, StringValueParser, TypedValueParser};
use clap::{Arg, Command};
use runbook_core::Phase;
use runbook_core::action::Class;
use runbook_core::policy::{Preset, Verdict};
use std::ffi::OsStr;

/// Offers words, and accepts any text.
#[derive(Clone, Debug)]
pub struct Words(Vec<&'static str>);

impl TypedValueParser for Words {
    type Value = String;

    fn parse_ref(&self, command: &Command, argument: Option<&Arg>, value: &OsStr) -> Result<String, clap::Error> {
        StringValueParser::new().parse_ref(command, argument, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(self.0.iter().copied().map(PossibleValue::new)))
    }
}

/// Where a verb goes. What begins with two hyphens is an option that was mistyped, and no number of steps.
pub fn target(text: &str) -> Result<String, String> {
    if text.starts_with("--") { Err("there is no such option".to_owned()) } else { Ok(text.to_owned()) }
}

/// The classes of actions.
pub fn classes() -> Words {
    Words(Class::ALL.into_iter().map(Class::as_str).collect())
}

/// The verdicts, and the word that removes a rule.
pub fn verdicts() -> Words {
    Words(Verdict::ALL.into_iter().map(Verdict::as_str).chain(["default"]).collect())
}

/// The presets of the policy.
pub fn presets() -> Words {
    Words(Preset::ALL.into_iter().map(Preset::as_str).collect())
}

/// The phases of a rollout.
pub fn phases() -> Words {
    Words([Phase::Expand, Phase::Migrate, Phase::Contract].into_iter().map(Phase::as_str).collect())
}
