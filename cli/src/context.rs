//! What every command works with: options resolved against configuration and environment.

use crate::args::{Format, Global};
use crate::config::Config;
use crate::connect;
use crate::error::{Error, Kind, Result};
use crate::output::{self, Line, Row};
use postgres::Client;
use postgres::types::ToSql;
use postgres_openssl::MakeTlsConnector;
use std::path::PathBuf;

/// Options, resolved.
#[derive(Debug)]
pub struct Context {
    global: Global,
    config: Config,
}

impl Context {
    /// Reads the configuration, if the command has any use for it.
    pub fn new(global: Global, wants_configuration: bool) -> Result<Self> {
        let config = if wants_configuration { Config::load(global.config.as_deref())? } else { Config::none() };
        Ok(Self { global, config })
    }

    /// The same options with the configuration read, for a command that goes on without one.
    pub fn configured(&self) -> Result<Self> {
        Self::new(self.global.clone(), true)
    }

    /// The names of the environments, in alphabetical order.
    pub fn environments(&self) -> impl Iterator<Item = &str> {
        self.config.environments()
    }

    /// Shape of the output.
    pub fn format(&self) -> Format {
        self.global.format
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
        let environment_first = self.global.env.is_some() || self.global.url.is_none();
        if environment_first && let Some(url) = self.config.url(self.global.env.as_deref())? {
            return Ok(Some(url));
        }
        Ok(self.global.url.clone())
    }

    /// A connection. What we send means the same everywhere: no schema in the search path of the database or of the role can put functions
    /// and operators of its own in its place.
    pub fn connect(&self) -> Result<Client> {
        let mut client = self.connect_as_is()?;
        client.batch_execute("SET search_path = pg_catalog, pg_temp")?;
        Ok(client)
    }

    /// How its connections are encrypted.
    pub fn tls(&self) -> Result<MakeTlsConnector> {
        connect::tls(self.url()?.as_deref())
    }

    /// A connection with the search path that the user has anywhere else, for SQL of the user's. What we send by it is qualified in full.
    pub fn connect_as_is(&self) -> Result<Client> {
        connect::connect(self.url()?.as_deref())
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
pub fn rows(client: &mut Client, sql: &str, parameters: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>> {
    let wrapped = format!("SELECT pg_catalog.row_to_json(q)::text FROM ({sql}) AS q");
    let rows = client.query(&wrapped, parameters).map_err(|error| Error::from_server(&error, false))?;
    rows.iter().map(|row| serde_json::from_str(row.try_get(0)?).map_err(unreadable)).collect()
}
