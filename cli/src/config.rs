//! `runbook.toml`: where revisions are, and the named environments.

use crate::error::{Error, Kind, Result};
use serde::Deserialize;
use std::collections::BTreeMap;
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

impl Config {
    /// Reads `explicit`, or the nearest runbook.toml at or above the working directory, or nothing.
    pub fn load(explicit: Option<&Path>) -> Result<Self> {
        let found = match explicit {
            Some(path) => Some(path.to_owned()),
            None => std::env::current_dir()?.ancestors().map(|directory| directory.join(NAME)).find(|path| path.is_file()),
        };
        let Some(path) = found else { return Ok(Self { directory: PathBuf::from("."), ..Self::default() }) };
        let text = std::fs::read_to_string(&path).map_err(|error| {
            Error::new(Kind::Input, format!("{}: {error}", path.display()), "\"runbook init\" writes a configuration file.")
        })?;
        let parsed: std::result::Result<Self, _> = toml::from_str(&text);
        let mut config = parsed.map_err(|error| {
            Error::new(
                Kind::Input,
                format!("{}: {error}", path.display()),
                "The keys are revisions, default_environment and environments.NAME.url.",
            )
        })?;
        config.directory = path.parent().map_or_else(|| PathBuf::from("."), Path::to_owned);
        Ok(config)
    }

    /// The directory of revision files.
    pub fn revisions(&self) -> PathBuf {
        self.directory.join(self.revisions.as_deref().unwrap_or(Path::new("revisions")))
    }

    /// The URL of an environment: the one named, or the default one, if there is one.
    pub fn url(&self, name: Option<&str>) -> Result<Option<String>> {
        let Some(name) = name.or(self.default_environment.as_deref()) else { return Ok(None) };
        let known: Vec<&str> = self.environments.keys().map(String::as_str).collect();
        let environment = self.environments.get(name).ok_or_else(|| {
            let hint = if known.is_empty() {
                format!("Add [environments.{name}] to {NAME}.")
            } else {
                format!("There are {}.", known.join(", "))
            };
            Error::new(Kind::Input, format!("no environment \"{name}\" in {NAME}"), hint)
        })?;
        Ok(Some(environment.url.clone()))
    }
}
