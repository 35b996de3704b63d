//! Connections as libpq makes them: URL or key=value string, PG* variables for the rest, `sslmode` with all six values.
//!
//! *Architecture invariant: no connection is made with less protection than was asked for.* The library that connects knows fewer
//! options than libpq. So the string is read here (`parameters`), and an option or a mode that can't be kept is an error.

mod files;
mod parameters;
mod tls;

pub use parameters::{Parameters, honoured, ignored, refused_variables};

use crate::client::Client;
use crate::error::{Error, Kind, Result};
use crate::output;
use crate::place::{self, Place};
use postgres::Config;
use postgres::config::Host;
use postgres_openssl::MakeTlsConnector;
use std::env;
use std::error::Error as _;
use std::path::PathBuf;
use tls::Tls;

/// A parameter that marks a session.
pub const MARK: &str = "runbook_command.session";

/// Opens a connection. WARNING messages of the server go to stderr, and its notices if they are wanted.
///
/// With `mark`, the session starts with the parameter [`MARK`] set to it. A pooler does not hand that on.
pub fn connect(url: Option<&str>, wants_notices: bool, mark: Option<&str>) -> Result<Client> {
    let parameters = resolve(url)?;
    let tls = protection(&parameters)?;
    let mut config = configure(&parameters)?;
    config.notice_callback(move |notice| {
        if wants_notices || notice.severity() == "WARNING" {
            output::notice(&notice.severity().to_lowercase(), notice.message());
        }
    });
    if let Some(mark) = mark {
        let mut options = config.get_options().map(str::to_owned).unwrap_or_default();
        options.push_str(&format!(" -c {MARK}={mark}"));
        config.options(options.trim());
    }
    config.ssl_mode(tls.mode.for_library());
    tracing::debug!(mode = ?tls.mode, "connecting");
    place::remember(place_of(&config));
    config.connect(tls.connector()?).map(Client::new).map_err(|error| Error::from_server(&error, false).unreachable())
}

fn place_of(config: &Config) -> Place {
    let mut servers: Vec<String> = config
        .get_hosts()
        .iter()
        .map(|host| match host {
            Host::Tcp(name) => name.clone(),
            Host::Unix(path) => path.display().to_string(),
        })
        .collect();
    if servers.is_empty() {
        servers = config.get_hostaddrs().iter().map(ToString::to_string).collect();
    }
    let ports = config.get_ports();
    let port = |at: usize| ports.get(at).or_else(|| ports.first()).copied().unwrap_or(5432);
    let server: Vec<String> = servers.iter().enumerate().map(|(at, server)| format!("{server}:{}", port(at))).collect();
    Place {
        server: server.join(", "),
        database: config.get_dbname().unwrap_or_default().to_owned(),
        login: config.get_user().unwrap_or_default().to_owned(),
    }
}

/// How connections are encrypted that a cancellation needs.
pub fn tls(url: Option<&str>) -> Result<MakeTlsConnector> {
    protection(&resolve(url)?)?.connector()
}

/// The options of a connection string, and the variables for those that it leaves out.
fn resolve(url: Option<&str>) -> Result<Parameters> {
    let mut parameters = Parameters::parse(url.unwrap_or_default())?;
    // What can't be read must not count as left out.
    if let Some(name) = parameters::variables().find(|name| env::var_os(name).is_some_and(|value| value.to_str().is_none())) {
        return Err(Error::new(Kind::Input, format!("the value of {name} is not UTF-8"), format!("unset {name}")));
    }
    let variable = |name: &str| env::var(name).ok();
    files::apply_service(&mut parameters, variable, home().as_deref())?;
    parameters.complete(variable)?;
    Ok(parameters)
}

fn home() -> Option<PathBuf> {
    env::var_os("HOME").filter(|home| !home.is_empty()).map(PathBuf::from)
}

fn protection(parameters: &Parameters) -> Result<Tls> {
    let default = |name: &str| home().map(|home| home.join(".postgresql").join(name)).filter(|file| file.is_file());
    Tls::new(parameters, default("root.crt"), default("root.crl"))
}

fn configure(parameters: &Parameters) -> Result<Config> {
    let mut config: Config = parameters.for_library().parse().map_err(|error: postgres::Error| {
        // It names the option, and says nothing of its value.
        let why = error.source().map_or_else(|| error.to_string(), ToString::to_string);
        Error::new(Kind::Input, format!("the connection string can't be used: {why}"), parameters::HINT)
    })?;
    if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
        config.host(files::SOCKETS);
    }
    if config.get_user().is_none() {
        // As libpq: the user of the operating system, whatever the environment says.
        let user = whoami::username().map_err(|error| {
            let hint = "Name the login with PGUSER, or as user=… in the connection string.";
            Error::new(Kind::Connection, format!("the user of the operating system has no name: {error}"), hint)
        })?;
        config.user(&user);
    }
    if config.get_dbname().is_none()
        && let Some(user) = config.get_user().map(str::to_owned)
    {
        config.dbname(&user);
    }
    if config.get_application_name().is_none() {
        config.application_name(parameters.get("fallback_application_name").unwrap_or("runbook"));
    }
    if config.get_password().is_none() {
        let (user, database) = (config.get_user().unwrap_or_default(), config.get_dbname().unwrap_or_default());
        let mut with_password = parameters.clone();
        files::apply_password(&mut with_password, user, database, home().as_deref())?;
        if let Some(password) = with_password.get("password") {
            config.password(password);
        }
    }
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_reaches_the_library() {
        let parameters = Parameters::parse("host = h  port=5433 dbname='a b' user=u password='it''s' options='-c a=b'");
        assert!(parameters.is_err(), "a quote ends a value");
        let parameters = Parameters::parse(r"host = h port=5433 dbname='a b' password='it\'s \\' options='-c a=b'").unwrap();
        let config = configure(&parameters).unwrap();
        assert_eq!(config.get_hosts(), [Host::Tcp("h".to_owned())]);
        assert_eq!((config.get_ports(), config.get_dbname()), (&[5433][..], Some("a b")));
        assert_eq!((config.get_password(), config.get_options()), (Some(&br"it's \"[..]), Some("-c a=b")));
        assert_eq!(config.get_application_name(), Some("runbook"));
    }

    #[test]
    fn a_value_that_is_wrong_is_not_told() {
        let parameters = Parameters::parse("port=HUNTER2").unwrap();
        let error = configure(&parameters).unwrap_err();
        assert!(error.message().contains("port") && !error.message().contains("HUNTER2"), "{}", error.message());
    }
}
