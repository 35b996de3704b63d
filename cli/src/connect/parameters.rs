//! A connection string, read as libpq reads it (`conninfo_parse` and `conninfo_uri_parse` in `fe-connect.c`).
//!
//! Errors name options, and tell nothing of what else is in the string: it may be a password.

use crate::error::{Error, Kind, Result};
use std::collections::BTreeMap;

/// What to do about a string that can't be read.
pub const HINT: &str = "Write postgresql://user@host:port/database?sslmode=verify-full&sslrootcert=FILE, or host=… dbname=….";

/// An option, as libpq calls it.
struct Keyword {
    name: &'static str,
    /// The variable that stands for it where it is left out.
    variable: Option<&'static str>,
    /// What the library that connects calls it; `None` for those that are kept here.
    library: Option<&'static str>,
}

const fn keyword(name: &'static str, variable: Option<&'static str>, library: Option<&'static str>) -> Keyword {
    Keyword { name, variable, library }
}

const KEYWORDS: [Keyword; 29] = [
    keyword("host", Some("PGHOST"), Some("host")),
    keyword("hostaddr", Some("PGHOSTADDR"), Some("hostaddr")),
    keyword("port", Some("PGPORT"), Some("port")),
    keyword("dbname", Some("PGDATABASE"), Some("dbname")),
    keyword("user", Some("PGUSER"), Some("user")),
    keyword("password", Some("PGPASSWORD"), Some("password")),
    keyword("options", Some("PGOPTIONS"), Some("options")),
    keyword("application_name", Some("PGAPPNAME"), Some("application_name")),
    keyword("connect_timeout", Some("PGCONNECT_TIMEOUT"), Some("connect_timeout")),
    keyword("target_session_attrs", Some("PGTARGETSESSIONATTRS"), Some("target_session_attrs")),
    keyword("channel_binding", Some("PGCHANNELBINDING"), Some("channel_binding")),
    keyword("load_balance_hosts", Some("PGLOADBALANCEHOSTS"), Some("load_balance_hosts")),
    keyword("keepalives", None, Some("keepalives")),
    keyword("keepalives_idle", None, Some("keepalives_idle")),
    keyword("keepalives_interval", None, Some("keepalives_interval")),
    keyword("keepalives_count", None, Some("keepalives_retries")),
    keyword("tcp_user_timeout", None, Some("tcp_user_timeout")),
    keyword("sslmode", Some("PGSSLMODE"), None),
    keyword("sslrootcert", Some("PGSSLROOTCERT"), None),
    keyword("sslcert", Some("PGSSLCERT"), None),
    keyword("sslkey", Some("PGSSLKEY"), None),
    keyword("sslsni", Some("PGSSLSNI"), None),
    keyword("ssl_min_protocol_version", Some("PGSSLMINPROTOCOLVERSION"), None),
    keyword("ssl_max_protocol_version", Some("PGSSLMAXPROTOCOLVERSION"), None),
    keyword("sslcrl", Some("PGSSLCRL"), None),
    keyword("passfile", Some("PGPASSFILE"), None),
    keyword("service", Some("PGSERVICE"), None),
    keyword("servicefile", Some("PGSERVICEFILE"), None),
    keyword("fallback_application_name", None, None),
];

/// Options of libpq that are not supported. Their names may be told: they are not part of a value.
const UNSUPPORTED: [&str; 23] = [
    "client_encoding",
    "gssdelegation",
    "gssencmode",
    "gsslib",
    "krbsrvname",
    "max_protocol_version",
    "min_protocol_version",
    "oauth_ca_file",
    "oauth_client_id",
    "oauth_client_secret",
    "oauth_issuer",
    "oauth_scope",
    "replication",
    "require_auth",
    "requirepeer",
    "scram_client_key",
    "scram_server_key",
    "sslcertmode",
    "sslcompression",
    "sslcrldir",
    "sslkeylogfile",
    "sslnegotiation",
    "sslpassword",
];

/// A variable that asks for a protection or a server that can't be had, with the values that ask for neither.
struct Refused {
    variable: &'static str,
    fine: &'static [&'static str],
}

const fn refused(variable: &'static str, fine: &'static [&'static str]) -> Refused {
    Refused { variable, fine }
}

const REFUSED: [Refused; 7] = [
    // Without it, libpq connects by GSS where it can, and by TLS otherwise.
    refused("PGGSSENCMODE", &["disable", "prefer"]),
    refused("PGMINPROTOCOLVERSION", &["3.0"]),
    refused("PGREQUIREAUTH", &[]),
    refused("PGREQUIREPEER", &[]),
    refused("PGSSLCERTMODE", &["allow"]),
    refused("PGSSLCRLDIR", &[]),
    refused("PGSSLNEGOTIATION", &["postgres"]),
];

/// Variables that are not read, each with the reason why a connection without it is neither weaker nor another one.
const HARMLESS: [(&str, &str); 13] = [
    ("PGCLIENTENCODING", "all texts are UTF-8"),
    ("PGDATESTYLE", "revisions run with a DateStyle of their own"),
    ("PGGEQO", "it changes the speed of a query alone"),
    ("PGGSSDELEGATION", "there are no logins by GSSAPI"),
    ("PGGSSLIB", "there are no logins by GSSAPI"),
    ("PGKRBSRVNAME", "there are no logins by GSSAPI"),
    ("PGLOCALEDIR", "it is for the language of libpq's messages"),
    ("PGMAXPROTOCOLVERSION", "3.0 is spoken, the least of its values"),
    ("PGOAUTHCAFILE", "there are no logins by OAuth"),
    ("PGOAUTHDEBUG", "there are no logins by OAuth"),
    ("PGREALM", "libpq has not read it since PostgreSQL 9.4"),
    ("PGSSLCOMPRESSION", "compression protects nothing"),
    ("PGTZ", "revisions run with a TimeZone of their own"),
];

/// Options that are understood as far as they ask for what is done anyway.
const FINE: [(&str, &[&str]); 2] =
    [("gssencmode", &["disable", "prefer"]), ("client_encoding", &["auto", "utf8", "utf-8", "unicode"])];

/// The directory of the machine's service file.
const SYSTEM: &str = "PGSYSCONFDIR";

/// libpq's older word for `sslmode=require`.
const REQUIRE_SSL: &str = "PGREQUIRESSL";

/// All variables that libpq reads.
pub fn variables() -> impl Iterator<Item = &'static str> {
    honoured().chain(refused_variables()).chain(ignored())
}

/// Those that are read, each for an option that a connection string leaves out.
pub fn honoured() -> impl Iterator<Item = &'static str> {
    KEYWORDS.iter().filter_map(|keyword| keyword.variable).chain([REQUIRE_SSL, SYSTEM])
}

/// Those that are an error, unless they have a value that asks for nothing.
pub fn refused_variables() -> impl Iterator<Item = &'static str> {
    REFUSED.iter().map(|one| one.variable)
}

/// Those that are not read.
pub fn ignored() -> impl Iterator<Item = &'static str> {
    HARMLESS.iter().map(|(name, _)| *name)
}

/// Options with their values; of one that is repeated, the last value counts.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Parameters(BTreeMap<&'static str, String>);

fn unreadable(why: &str) -> Error {
    Error::new(Kind::Input, format!("the connection string can't be read: {why}"), HINT)
}

impl Parameters {
    /// Reads a URL or a key=value string. `postgresql+DRIVER://`, as SQLAlchemy writes it, is the same URL.
    pub fn parse(text: &str) -> Result<Self> {
        let mut parameters = Self::default();
        let url = text.split_once("://").filter(|(scheme, _)| {
            let (scheme, driver) = scheme.split_once('+').map_or((*scheme, None), |(scheme, driver)| (scheme, Some(driver)));
            let is_word = |driver: &str| !driver.is_empty() && driver.chars().all(|c| c.is_ascii_alphanumeric());
            ["postgres", "postgresql"].contains(&scheme) && driver.is_none_or(is_word)
        });
        match url {
            Some((_, rest)) => parameters.read_url(rest)?,
            None => parameters.read_pairs(text)?,
        }
        Ok(parameters)
    }

    /// Takes from `other` what is left out here.
    pub fn fill(&mut self, other: &Self) {
        for (name, value) in &other.0 {
            self.0.entry(name).or_insert_with(|| value.clone());
        }
    }

    /// Takes a password.
    pub fn fill_password(&mut self, password: String) {
        self.0.insert("password", password);
    }

    /// Stores an option unless it is there already.
    pub fn store_first(&mut self, name: &str, value: &str) -> Result<()> {
        if self.given(name).is_some() { Ok(()) } else { self.store(name, value.to_owned()) }
    }

    /// The value of an option; an empty one counts as left out.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// What was given for an option, also if it is nothing.
    pub fn given(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// All options with their values.
    pub fn all(&self) -> &BTreeMap<&'static str, String> {
        &self.0
    }

    /// Takes the variables for what the string leaves out.
    pub fn complete(&mut self, variable: impl Fn(&str) -> Option<String>) -> Result<()> {
        let asks = |one: &&Refused| {
            variable(one.variable).is_some_and(|value| !value.is_empty() && !one.fine.contains(&value.as_str()))
        };
        if let Some(Refused { variable: name, fine }) = REFUSED.iter().find(asks) {
            let message = format!("runbook does not support what {name} asks for");
            // Whoever asked for encryption must not lose it by pasting the hint.
            let instead = if *name == "PGGSSENCMODE" { " PGSSLMODE=verify-full" } else { "" };
            let set = |value: &&str| format!("export {name}={value}{instead}");
            let hint = fine.first().map_or_else(|| format!("unset {name}"), set);
            return Err(Error::new(Kind::Input, message, hint));
        }
        for keyword in &KEYWORDS {
            // An empty mode is refused later, as libpq does; other empty variables count as unset.
            let is_mode = keyword.name == "sslmode";
            let is_left_out = self.given(keyword.name).is_none_or(|value| value.is_empty() && !is_mode);
            let value = keyword.variable.filter(|_| is_left_out).and_then(&variable);
            if let Some(value) = value.filter(|value| !value.is_empty() || is_mode) {
                self.store(keyword.name, value)?;
            }
        }
        // As `conninfo_add_defaults`: an sslmode from anywhere wins over it.
        if self.given("sslmode").is_none() && variable(REQUIRE_SSL).is_some_and(|value| value.starts_with('1')) {
            self.0.insert("sslmode", "require".to_owned());
        }
        Ok(())
    }

    /// The string for the library that connects, which knows no `sslmode` beyond three.
    pub fn for_library(&self) -> String {
        let known = KEYWORDS.iter().filter_map(|keyword| Some((keyword.library?, self.get(keyword.name)?)));
        known.map(|(name, value)| format!("{name}='{}' ", value.replace('\\', "\\\\").replace('\'', "\\'"))).collect()
    }

    fn store(&mut self, name: &str, value: String) -> Result<()> {
        // As the JDBC driver has it, which libpq accepts in URLs; and as asyncpg has it.
        let (name, value) = match (name, value.as_str()) {
            ("ssl", "true") => ("sslmode", "require".to_owned()),
            ("ssl", "disable" | "allow" | "prefer" | "require" | "verify-ca" | "verify-full") => ("sslmode", value),
            // A database whose default is read-only is refused, too, and nothing else is taken for a primary.
            ("target_session_attrs", "primary") => (name, "read-write".to_owned()),
            ("target_session_attrs", "standby" | "prefer-standby") => {
                return Err(unreadable(&format!(
                    "runbook does not support target_session_attrs={value}; write any, primary or read-only"
                )));
            }
            _ => (name, value),
        };
        if FINE
            .iter()
            .any(|(known, fine)| *known == name && (value.is_empty() || fine.contains(&value.to_lowercase().as_str())))
        {
            return Ok(());
        }
        if let Some(keyword) = KEYWORDS.iter().find(|keyword| keyword.name == name) {
            self.0.insert(keyword.name, value);
            return Ok(());
        }
        Err(match UNSUPPORTED.iter().find(|known| **known == name) {
            Some(known) => unreadable(&format!("runbook does not support the option \"{known}\"")),
            None => unreadable("it has an option that libpq does not have"),
        })
    }

    fn read_pairs(&mut self, text: &str) -> Result<()> {
        let mut rest = text.chars().peekable();
        let blank = |c: &char| c.is_ascii_whitespace();
        loop {
            while rest.next_if(blank).is_some() {}
            if rest.peek().is_none() {
                return Ok(());
            }
            let mut name = String::new();
            while let Some(c) = rest.next_if(|c| *c != '=' && !blank(c)) {
                name.push(c);
            }
            while rest.next_if(blank).is_some() {}
            if rest.next() != Some('=') {
                return Err(unreadable("there is no \"=\" after an option"));
            }
            while rest.next_if(blank).is_some() {}
            let mut value = String::new();
            if rest.next_if_eq(&'\'').is_some() {
                loop {
                    match rest.next() {
                        None => return Err(unreadable("a quote is not closed")),
                        Some('\'') => break,
                        Some('\\') => value.extend(rest.next()),
                        Some(c) => value.push(c),
                    }
                }
            } else {
                while let Some(c) = rest.next_if(|c| !blank(c)) {
                    if c == '\\' { value.extend(rest.next()) } else { value.push(c) }
                }
            }
            self.store(&name, value)?;
        }
    }

    fn read_url(&mut self, mut rest: &str) -> Result<()> {
        let authority = rest.find(['@', '/']).filter(|at| rest[*at..].starts_with('@'));
        if let Some(at) = authority {
            let (user, password) = rest[..at].split_once(':').map_or((&rest[..at], None), |(user, word)| (user, Some(word)));
            self.store("user", decoded(user)?)?;
            if let Some(password) = password {
                self.store("password", decoded(password)?)?;
            }
            rest = &rest[at + 1..];
        }
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        self.read_hosts(&rest[..end])?;
        let (path, query) = rest[end..].split_once('?').map_or((&rest[end..], None), |(path, query)| (path, Some(query)));
        if let Some(name) = path.strip_prefix('/').filter(|name| !name.is_empty()) {
            self.store("dbname", decoded(name)?)?;
        }
        for pair in query.into_iter().flat_map(|query| query.split('&')).filter(|pair| !pair.is_empty()) {
            let Some((name, value)) = pair.split_once('=').filter(|(_, value)| !value.contains('=')) else {
                return Err(unreadable("a parameter of the URL is not NAME=VALUE; write %3D for \"=\" in a value"));
            };
            self.store(&decoded(name)?, decoded(value)?)?;
        }
        Ok(())
    }

    fn read_hosts(&mut self, text: &str) -> Result<()> {
        if text.is_empty() {
            return Ok(());
        }
        let (mut hosts, mut ports) = (Vec::new(), Vec::new());
        for one in text.split(',') {
            let (host, port) = match one.strip_prefix('[') {
                Some(literal) => {
                    let (host, rest) = literal.split_once(']').ok_or_else(|| unreadable("an address in [ is not closed"))?;
                    let port = rest.strip_prefix(':');
                    if host.is_empty() || (port.is_none() && !rest.is_empty()) {
                        return Err(unreadable("an address in [ ] is empty, or something else than a port follows"));
                    }
                    (host, port)
                }
                None => one.split_once(':').map_or((one, None), |(host, port)| (host, Some(port))),
            };
            hosts.push(decoded(host)?);
            ports.push(decoded(port.unwrap_or_default())?);
        }
        self.store("host", hosts.join(","))?;
        if ports.iter().any(|port| !port.is_empty()) {
            self.store("port", ports.join(","))?;
        }
        Ok(())
    }
}

fn decoded(text: &str) -> Result<String> {
    let bad = || unreadable("a % is not followed by two hexadecimal digits; write %25 for \"%\"");
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || rest.next().and_then(|byte| char::from(byte).to_digit(16)).ok_or_else(bad);
        let code = digit()? * 16 + digit()?;
        bytes.push(u8::try_from(code).ok().filter(|code| *code != 0).ok_or_else(bad)?);
    }
    String::from_utf8(bytes).map_err(|_| unreadable("it is not UTF-8"))
}

#[cfg(test)]
mod tests;
