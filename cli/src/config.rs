//! `runbook.toml`: where revisions are, and the named environments.

use crate::error::{Error, Kind, Result};
use crate::trust;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// The name of the configuration file.
pub const NAME: &str = "runbook.toml";

/// What `init` writes.
pub const TEMPLATE: &str = "\
# Configuration of the runbook command.

# Directory of revision files, relative to this file.
revisions = \"DIRECTORY\"

# The environment that is used when neither --env nor RUNBOOK_ENV names one. Without an environment, and without --url
# and DATABASE_URL, the PG* variables decide.
# default_environment = \"local\"

# [environments.local]
# url = \"postgresql:///app\"

# [environments.production]
# url = \"postgresql://deploy@db.example.com/app?sslmode=verify-full&sslrootcert=system\"
";

/// The file's contents.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    #[serde(default)]
    revisions: Option<PathBuf>,
    #[serde(default)]
    default_environment: Option<String>,
    #[serde(default)]
    environments: BTreeMap<String, Environment>,
    #[serde(skip)]
    directory: PathBuf,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Environment {
    url: String,
}

/// What the TOML reader says, without what it found. It repeats keys and values, which are ours to keep.
fn without_values(message: &str) -> String {
    let is_key = |key: &str| key.len() <= 30 && key.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c));
    let unknown = message.strip_prefix("unknown field `").and_then(|rest| rest.split('`').next());
    if let Some(key) = unknown {
        return if is_key(key) { format!("unknown key \"{key}\"") } else { "unknown key".to_owned() };
    }
    if message.starts_with("invalid type: ") || message.starts_with("invalid value: ") {
        let expected = message.rsplit(", expected ").next().unwrap_or_default();
        return match expected {
            "a string" | "a map" | "path string" => format!("this is not {}", expected.replace("a map", "a table")),
            _ => "this is not a value of the right type".to_owned(),
        };
    }
    match message {
        "missing field `url`" => "the environment has no url".to_owned(),
        "duplicate key" => "the key is given twice".to_owned(),
        _ => "this is not TOML".to_owned(),
    }
}

impl Config {
    /// Reads `explicit`, or the nearest runbook.toml at or above the working directory, or nothing. One that is found must be the
    /// caller's own, or root's (`trust`).
    pub fn load(explicit: Option<&Path>) -> Result<Self> {
        let found = match explicit {
            Some(path) => Some(path.to_owned()),
            None => std::env::current_dir()?.ancestors().map(|directory| directory.join(NAME)).find(|path| path.is_file()),
        };
        let Some(path) = found else { return Ok(Self::none()) };
        let unreadable = |error: std::io::Error| {
            Error::new(Kind::Input, format!("{}: {error}", path.display()), "\"runbook init\" writes a configuration file.")
        };
        let mut file = File::open(&path).map_err(unreadable)?;
        if explicit.is_none() {
            trust::check(&path, &file)?;
        }
        let mut text = String::new();
        file.read_to_string(&mut text).map_err(unreadable)?;
        let mut config = Self::parse(&path, &text)?;
        config.directory = path.parent().map_or_else(|| PathBuf::from("."), Path::to_owned);
        Ok(config)
    }

    /// No configuration.
    pub fn none() -> Self {
        Self { directory: PathBuf::from("."), ..Self::default() }
    }

    /// Reads the text of a file. An error says where, and tells nothing of what stands there: it may be a password.
    fn parse(path: &Path, text: &str) -> Result<Self> {
        toml::from_str(text).map_err(|error| {
            let before = text.get(..error.span().map_or(0, |span| span.start)).unwrap_or_default();
            let (line, column) =
                (before.matches('\n').count() + 1, before.chars().rev().take_while(|c| *c != '\n').count() + 1);
            let problem = without_values(error.message());
            let hint = "The keys are revisions, default_environment and environments.NAME.url; strings stand in quotes.";
            Error::new(Kind::Input, format!("{}:{line}:{column}: {problem}", path.display()), hint)
        })
    }

    /// The directory of revision files.
    pub fn revisions(&self) -> PathBuf {
        self.directory.join(self.revisions.as_deref().unwrap_or(Path::new("revisions")))
    }

    /// The names of the environments, in alphabetical order.
    pub fn environments(&self) -> impl Iterator<Item = &str> {
        self.environments.keys().map(String::as_str)
    }

    /// The environment that is used where none is named.
    pub fn default_environment(&self) -> Option<&str> {
        self.default_environment.as_deref()
    }

    /// The URL of an environment.
    pub fn url(&self, name: &str) -> Result<String> {
        let known: Vec<&str> = self.environments.keys().map(String::as_str).collect();
        let environment = self.environments.get(name).ok_or_else(|| {
            let hint = if known.is_empty() {
                format!("Add [environments.{name}] to {NAME}.")
            } else {
                format!("There are {}.", known.join(", "))
            };
            Error::new(Kind::Input, format!("no environment \"{name}\" in {NAME}"), hint)
        })?;
        Ok(environment.url.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_says_where_and_tells_no_password() {
        let url = "postgresql://deploy:HUNTER2@db.example.com/app";
        for (text, place, problem) in [
            (format!("[environments.production]\nurll = \"{url}\"\n"), "2:1", "unknown key \"urll\""),
            (format!("[environments.production]\nurl = {url}\n"), "2:7", "not TOML"),
            (format!("[environments.production]\n  url = \"{url}\n"), "2:", "not TOML"),
            (format!("[environments]\nproduction = \"{url}\"\n"), "2:14", "this is not"),
            (format!("[environments.production]\nurl = [\"{url}\"]\n"), "2:7", "this is not a string"),
            (format!("[environments.production]\n\"{url}\" = 1\n"), "2:1", "unknown key"),
            (format!("revisions = \"a\"\nrevisions = \"{url}\"\n"), "2:1", "the key is given twice"),
            ("[environments.production]\n".to_owned(), "1:1", "the environment has no url"),
            (format!("x = \"{url}\""), "1:1", "unknown key \"x\""),
        ] {
            let error = Config::parse(Path::new("runbook.toml"), &text).unwrap_err();
            let told: String = error.lines().iter().map(|line| line.render(false, None) + "\n").collect();
            assert!(!told.contains("HUNTER2") && !told.contains("deploy"), "{told}");
            assert!(told.contains(&format!("runbook.toml:{place}")) && told.contains(problem), "{text}: {told}");
            assert_eq!(error.exit_code(), 3);
        }
    }
}
