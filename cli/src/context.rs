//! What every command works with: options resolved against configuration and environment.

use crate::args::{Format, Global};
use crate::client::{Client, Parameter, Queries};
use crate::config::{self, Config};
use crate::connect;
use crate::error::{Error, Kind, Result};
use crate::output::{self, Line, Row};
use crate::place;
use postgres_openssl::MakeTlsConnector;
use std::cell::Cell;
use std::fmt;
use std::path::PathBuf;

/// Options, resolved.
#[derive(Debug)]
pub struct Context {
    global: Global,
    config: Config,
    /// Whether to say which database it is before anything there is changed; once.
    announces: Cell<bool>,
}

impl Context {
    /// Reads the configuration, if the command has any use for it.
    pub fn new(global: Global, wants_configuration: bool, changes: bool) -> Result<Self> {
        let config = if wants_configuration { Config::load(global.config.as_deref())? } else { Config::none() };
        let announces = changes && !global.quiet && global.format == Format::Table;
        Ok(Self { global, config, announces: Cell::new(announces) })
    }

    /// The same options with the configuration read, for a command that goes on without one.
    pub fn configured(&self) -> Result<Self> {
        Self::new(self.global.clone(), true, false)
    }

    /// The names of the environments, in alphabetical order.
    pub fn environments(&self) -> impl Iterator<Item = &str> {
        self.config.environments()
    }

    /// Shape of the output.
    pub fn format(&self) -> Format {
        self.global.format
    }

    /// Whether only results and errors are printed.
    pub fn is_quiet(&self) -> bool {
        self.global.quiet
    }

    /// Whether to read files instead of the database.
    pub fn is_local(&self) -> bool {
        self.global.local
    }

    /// The directory of revision files.
    pub fn revisions(&self) -> PathBuf {
        self.config.revisions()
    }

    /// The connection string in force: that of --env, else --url or DATABASE_URL, else the default environment; nothing leaves it to PG*.
    pub fn url(&self) -> Result<Option<String>> {
        match self.environment() {
            Some(name) => Ok(Some(self.config.url(name)?)),
            None => Ok(self.global.url.clone()),
        }
    }

    /// The environment that names the server, if one does.
    fn environment(&self) -> Option<&str> {
        let default = || self.config.default_environment().filter(|_| self.global.url.is_none());
        self.global.env.as_deref().or_else(default)
    }

    /// A connection.
    pub fn connect(&self) -> Result<Client> {
        let mut client = connect::connect(self.url()?.as_deref(), !self.global.quiet, None)?;
        self.look_around(&mut client)?;
        Ok(client)
    }

    /// A connection to one backend of the server, for what lives in its session: not through a pooler in transaction mode.
    pub fn connect_session(&self) -> Result<Client> {
        let pooled = |why: &str| {
            let message = format!("this command needs a session of its own, and the connection goes through a pool{why}");
            Error::new(Kind::Connection, message, "Connect to the server itself: --url, or PGHOST and PGPORT.")
        };
        let mark = std::process::id().to_string();
        let opened = connect::connect(self.url()?.as_deref(), !self.global.quiet, Some(&mark));
        let mut client = opened.map_err(|error| {
            let refused = error.message().contains("startup parameter");
            if refused { pooled(&format!(": {}", error.message())) } else { error }
        })?;
        let sql = format!("SELECT pg_catalog.current_setting('{}', true)", connect::MARK);
        if client.query_one(&sql, &[])?.try_get::<_, Option<String>>(0)?.as_deref() != Some(&mark) {
            return Err(pooled(""));
        }
        self.look_around(&mut client)?;
        Ok(client)
    }

    /// Refuses a database that knows itself by another name than the environment has, and says which one it is before it is changed.
    fn look_around(&self, client: &mut Client) -> Result<()> {
        let (wanted, announces) = (self.environment(), self.announces.take());
        if wanted.is_none() && !announces {
            return Ok(());
        }
        let known = Identity::of(client);
        if let (Some(wanted), Some(name)) = (wanted, known.environment.as_deref())
            && wanted != name
        {
            let message = format!("environment \"{wanted}\" of {} leads to {}, which is \"{name}\"", config::NAME, place());
            let hint = format!(
                "Correct the url of [environments.{wanted}]; or, if the database has the wrong name: SELECT runbook.configure('environment', '{wanted}');"
            );
            return Err(Error::new(Kind::Input, message, hint));
        }
        if announces {
            output::diagnostic(&Line::new(format!("on {}{known}", place())));
        }
        Ok(())
    }

    /// How its connections are encrypted.
    pub fn tls(&self) -> Result<MakeTlsConnector> {
        connect::tls(self.url()?.as_deref())
    }

    /// A connection with the search path that the user has anywhere else, for SQL of the user's. What we send by it is qualified in full.
    pub fn connect_as_is(&self) -> Result<Client> {
        Ok(self.connect()?.left_as_it_is())
    }
}

fn place() -> String {
    place::last().map(|place| place.to_string()).unwrap_or_default()
}

/// What a database says of itself.
#[derive(Debug, Default)]
pub struct Identity {
    /// The name that it was given.
    pub environment: Option<String>,
    /// What its policy starts from.
    pub preset: Option<String>,
}

impl Identity {
    /// Nothing is known where the extension is absent, or to a login without any role of it.
    pub fn of(client: &mut Client) -> Self {
        let mut known = Self::default();
        let Ok(settings) = client.query("SELECT s.key, s.value FROM runbook.settings AS s", &[]) else { return known };
        for row in &settings {
            let (Ok(key), Ok(value)) = (row.try_get::<_, String>(0), row.try_get::<_, String>(1)) else { continue };
            match key.as_str() {
                "environment" => known.environment = Some(value).filter(|name| !name.is_empty()),
                "preset" => known.preset = Some(value),
                _ => {}
            }
        }
        known
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.environment, &self.preset) {
            (Some(name), Some(preset)) => write!(f, " (environment {name}, preset {preset})"),
            (None, Some(preset)) => write!(f, " (preset {preset})"),
            _ => Ok(()),
        }
    }
}

/// The server gave what it never gives.
pub fn unreadable(error: serde_json::Error) -> Error {
    Error::new(
        Kind::Failed,
        format!("the server's answer can't be read: {error}"),
        "Check that pg_runbook is installed there and is unchanged.",
    )
}

/// Says on stderr which revisions are applied or reverted in part.
pub fn tell_of_parts(client: &mut Client) -> Result<()> {
    let parts = rows(client, "SELECT v.revision, v.progress FROM runbook.revisions AS v WHERE v.progress IS NOT NULL", &[])?;
    for part in &parts {
        let (id, progress) = (output::text(part.get("revision")), output::text(part.get("progress")));
        output::diagnostic(&Line::new(format!("revision {id} is done in part: {progress}")));
    }
    Ok(())
}

/// Runs a query and returns its rows with their column names.
pub fn rows(client: &mut Client, sql: &str, parameters: &[&dyn Parameter]) -> Result<Vec<Row>> {
    let wrapped = format!("SELECT pg_catalog.row_to_json(q)::text FROM ({sql}) AS q");
    let rows = client.query(&wrapped, parameters).map_err(|error| Error::from_server(&error, false))?;
    rows.iter().map(|row| serde_json::from_str(row.try_get(0)?).map_err(unreadable)).collect()
}
