//! Connections as libpq makes them: URL or key=value string, PG* variables for the rest, `sslmode` with all six values.

use crate::error::{Error, Kind, Result};
use crate::output;
use openssl::ssl::{SslConnector, SslFiletype, SslMethod, SslVerifyMode};
use postgres::{Client, Config};
use postgres_openssl::MakeTlsConnector;
use std::collections::BTreeMap;
use std::env;

const TLS_KEYS: [&str; 4] = ["sslmode", "sslrootcert", "sslcert", "sslkey"];

/// Opens a connection. NOTICE and WARNING messages of the server go to stderr.
pub fn connect(url: Option<&str>) -> Result<Client> {
    let (mut config, tls) = configure(url)?;
    config.notice_callback(|notice| output::notice(&notice.severity().to_lowercase(), notice.message()));
    if config.get_application_name().is_none() {
        config.application_name("runbook");
    }
    let mode = mode_of(&tls);
    config.ssl_mode(match mode {
        "disable" => postgres::config::SslMode::Disable,
        "allow" | "prefer" => postgres::config::SslMode::Prefer,
        "require" | "verify-ca" | "verify-full" => postgres::config::SslMode::Require,
        other => {
            let hint = "The values are disable, allow, prefer, require, verify-ca and verify-full.";
            return Err(Error::new(Kind::Input, format!("unknown sslmode \"{other}\""), hint));
        }
    });
    tracing::debug!(?mode, "connecting");
    Ok(config.connect(connector(mode, &tls)?)?)
}

/// How connections are encrypted that a cancellation needs.
pub fn tls(url: Option<&str>) -> Result<MakeTlsConnector> {
    let (_, tls) = configure(url)?;
    connector(mode_of(&tls), &tls)
}

fn mode_of(tls: &BTreeMap<String, String>) -> &str {
    tls.get("sslmode").map_or("prefer", String::as_str)
}

fn connector(mode: &str, tls: &BTreeMap<String, String>) -> Result<MakeTlsConnector> {
    let bad = |error: openssl::error::ErrorStack| {
        Error::new(Kind::Connection, format!("TLS set-up failed: {error}"), "Check sslrootcert, sslcert and sslkey.")
    };
    let mut builder = SslConnector::builder(SslMethod::tls()).map_err(bad)?;
    if let Some(file) = tls.get("sslrootcert").filter(|file| *file != "system") {
        builder.set_ca_file(file).map_err(bad)?;
    }
    if let (Some(certificate), Some(key)) = (tls.get("sslcert"), tls.get("sslkey")) {
        builder.set_certificate_chain_file(certificate).map_err(bad)?;
        builder.set_private_key_file(key, SslFiletype::PEM).map_err(bad)?;
    }
    // As libpq: "require" with a root certificate behaves like verify-ca.
    let verifies = mode.starts_with("verify-") || (mode == "require" && tls.contains_key("sslrootcert"));
    if !verifies {
        builder.set_verify(SslVerifyMode::NONE);
    }
    let mut connector = MakeTlsConnector::new(builder.build());
    let checks_name = mode == "verify-full";
    connector.set_callback(move |connect, _| {
        connect.set_verify_hostname(checks_name);
        Ok(())
    });
    Ok(connector)
}

fn configure(url: Option<&str>) -> Result<(Config, BTreeMap<String, String>)> {
    let (text, mut tls) = split_tls(url.unwrap_or_default());
    let mut config: Config = text.parse().map_err(|error: postgres::Error| {
        Error::new(
            Kind::Input,
            format!("the connection string can't be read: {error}"),
            "Write postgresql://user@host:port/database.",
        )
    })?;
    let variable = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
    for key in TLS_KEYS {
        if let Some(value) = variable(&format!("PG{}", key.to_uppercase())) {
            tls.entry(key.to_owned()).or_insert(value);
        }
    }
    if config.get_hosts().is_empty() {
        config.host(&variable("PGHOST").unwrap_or_else(|| "/var/run/postgresql".to_owned()));
    }
    if config.get_ports().is_empty()
        && let Some(port) = variable("PGPORT").and_then(|port| port.parse().ok())
    {
        config.port(port);
    }
    if config.get_user().is_none() {
        config.user(&variable("PGUSER").or_else(|| variable("USER")).unwrap_or_else(|| "postgres".to_owned()));
    }
    if config.get_password().is_none()
        && let Some(password) = variable("PGPASSWORD")
    {
        config.password(password);
    }
    if config.get_dbname().is_none()
        && let Some(name) = variable("PGDATABASE").or_else(|| config.get_user().map(str::to_owned))
    {
        config.dbname(&name);
    }
    if config.get_options().is_none()
        && let Some(options) = variable("PGOPTIONS")
    {
        config.options(&options);
    }
    if let Some(name) = variable("PGAPPNAME") {
        config.application_name(&name);
    }
    Ok((config, tls))
}

/// Takes the TLS keys out of a connection string: the library knows fewer values than libpq.
fn split_tls(text: &str) -> (String, BTreeMap<String, String>) {
    let mut tls = BTreeMap::new();
    let mut keep = |pair: &str| match pair.split_once('=') {
        Some((key, value)) if TLS_KEYS.contains(&key) => {
            tls.insert(key.to_owned(), value.trim_matches('\'').to_owned());
            false
        }
        _ => true,
    };
    let rest = if text.starts_with("postgres://") || text.starts_with("postgresql://") {
        match text.split_once('?') {
            None => text.to_owned(),
            Some((base, query)) => {
                let kept: Vec<&str> = query.split('&').filter(|pair| keep(pair)).collect();
                if kept.is_empty() { base.to_owned() } else { format!("{base}?{}", kept.join("&")) }
            }
        }
    } else {
        text.split_whitespace().filter(|pair| keep(pair)).collect::<Vec<_>>().join(" ")
    };
    (rest, tls)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tls_keys_are_taken_out_of_both_forms() {
        let (rest, tls) = split_tls("postgresql://u@h/db?sslmode=verify-full&connect_timeout=3&sslrootcert=/ca.pem");
        assert_eq!(rest, "postgresql://u@h/db?connect_timeout=3");
        assert_eq!(tls["sslmode"], "verify-full");
        assert_eq!(tls["sslrootcert"], "/ca.pem");
        assert_eq!(split_tls("host=h sslmode=require dbname=d").0, "host=h dbname=d");
    }
}
