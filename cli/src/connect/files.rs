//! libpq's files: passwords (`passwordFromFile` in `fe-connect.c`) and services (`parseServiceInfo`).

use crate::connect::parameters::Parameters;
use crate::error::{Error, Kind, Result};
use crate::output;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Where the server's sockets are if nothing else is said.
pub const SOCKETS: &str = "/var/run/postgresql";

/// Fills in what the service says and the string does not.
///
/// # Errors
/// Where the service is in no file, and where its section can't be read.
pub fn apply_service(
    parameters: &mut Parameters,
    variable: impl Fn(&str) -> Option<String>,
    home: Option<&Path>,
) -> Result<()> {
    let variable = |name: &str| variable(name).filter(|value| !value.is_empty());
    let Some(service) = parameters.get("service").map(str::to_owned).or_else(|| variable("PGSERVICE")) else { return Ok(()) };
    let named = parameters.get("servicefile").map(str::to_owned).or_else(|| variable("PGSERVICEFILE"));
    let of_user = named.map(PathBuf::from).or_else(|| home.map(|home| home.join(".pg_service.conf")));
    let of_system = variable("PGSYSCONFDIR").map_or_else(|| PathBuf::from("/etc/postgresql-common"), PathBuf::from);
    for file in of_user.into_iter().chain([of_system.join("pg_service.conf")]) {
        let Ok(text) = fs::read_to_string(&file) else { continue };
        if let Some(found) = section(&text, &service, &file)? {
            parameters.fill(&found);
            return Ok(());
        }
    }
    let hint = "Services are sections of ~/.pg_service.conf, of the file that PGSERVICEFILE names, and of pg_service.conf in PGSYSCONFDIR.";
    Err(Error::new(Kind::Input, format!("there is no service \"{service}\""), hint))
}

/// The section of a service, if the file has it. The first one of the name counts.
fn section(text: &str, service: &str, file: &Path) -> Result<Option<Parameters>> {
    let mut found: Option<Parameters> = None;
    for (number, line) in text.lines().enumerate().map(|(at, line)| (at + 1, line.trim())) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(name) = line.strip_prefix('[') {
            if found.is_some() {
                break;
            }
            if name.strip_suffix(']') == Some(service) {
                found = Some(Parameters::default());
            }
            continue;
        }
        let Some(found) = &mut found else { continue };
        // What stands there may be a password, so it is not told.
        let bad = |why: &str| {
            let message = format!("{}:{number}: {why}", file.display());
            Error::new(Kind::Input, message, "A line of a service is OPTION=VALUE, with the options of a connection string.")
        };
        if line.starts_with("ldap") {
            return Err(bad("services by LDAP are not supported"));
        }
        let (name, value) = line.split_once('=').ok_or_else(|| bad("there is no \"=\""))?;
        if ["service", "servicefile"].contains(&name) {
            return Err(bad("a service can't name another one"));
        }
        found.store_first(name, value).map_err(|error| bad(error.message()))?;
    }
    Ok(found)
}

/// The password for where a connection goes to, if there is none yet.
///
/// # Errors
/// Where the file has different passwords for several hosts: only one is sent.
pub fn apply_password(parameters: &mut Parameters, user: &str, database: &str, home: Option<&Path>) -> Result<()> {
    if parameters.get("password").is_some() {
        return Ok(());
    }
    let file = parameters.get("passfile").map(PathBuf::from).or_else(|| home.map(|home| home.join(".pgpass")));
    let Some(text) = file.as_deref().and_then(read_private) else { return Ok(()) };
    let list = |name: &str| -> Vec<String> {
        parameters.get(name).map(|text| text.split(',').map(str::to_owned).collect()).unwrap_or_default()
    };
    let (hosts, addresses, ports) = (list("host"), list("hostaddr"), list("port"));
    let count = hosts.len().max(addresses.len()).max(1);
    let mut passwords = (0..count).map(|at| {
        let host =
            hosts.get(at).filter(|host| !host.is_empty()).or_else(|| addresses.get(at)).map_or("localhost", String::as_str);
        let host = if host == SOCKETS { "localhost" } else { host };
        let port = ports.get(at).or_else(|| ports.first()).filter(|port| !port.is_empty()).map_or("5432", String::as_str);
        password(&text, [host, port, database, user])
    });
    let first = passwords.next().flatten();
    if passwords.any(|other| other != first) {
        let message = "the password file has different passwords for the hosts of the connection string, and only one is sent";
        return Err(Error::new(Kind::Input, message, "Name one host."));
    }
    if let Some(password) = first {
        parameters.fill_password(password);
    }
    Ok(())
}

/// A file that nobody else can read, as libpq wants it.
fn read_private(file: &Path) -> Option<String> {
    let about = fs::metadata(file).ok()?;
    let shown = file.display();
    if !about.is_file() {
        output::notice("warning", &format!("password file \"{shown}\" is not a plain file"));
        return None;
    }
    if about.permissions().mode() & 0o077 != 0 {
        let text = format!("password file \"{shown}\" is not used: others can read it; to mend that: chmod 600 {shown}");
        output::notice("warning", &text);
        return None;
    }
    fs::read_to_string(file).ok()
}

/// The password of the first line whose host, port, database and login fit.
fn password(text: &str, wanted: [&str; 4]) -> Option<String> {
    text.lines().filter(|line| !line.starts_with('#')).find_map(|line| {
        let mut rest = line.chars();
        let mut field = |is_last: bool| {
            let (mut value, mut is_any) = (String::new(), true);
            while let Some(c) = rest.next() {
                match c {
                    ':' if !is_last => return Some((value.clone(), is_any && value == "*")),
                    '\\' => {
                        is_any = false;
                        value.extend(rest.next());
                    }
                    c => value.push(c),
                }
            }
            is_last.then_some((value, false))
        };
        for one in wanted {
            let (value, is_any) = field(false)?;
            if !is_any && value != one {
                return None;
            }
        }
        field(true).map(|(value, _)| value).filter(|value| !value.is_empty())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_that_fits_has_the_password() {
        let file = "# host:5432:app:deploy:comment\nother:5432:app:deploy:no\nhost:5433:app:deploy:no\nhost:*:app:deploy:a\\:b\\\\c\n\
                    *:*:*:*:last\n\\*:5432:x:y:never";
        let word = |wanted| password(file, wanted);
        assert_eq!(word(["host", "5432", "app", "deploy"]).as_deref(), Some("a:b\\c"));
        assert_eq!(word(["any", "1", "x", "y"]).as_deref(), Some("last"));
        assert_eq!(password("h:5432:d:u", ["h", "5432", "d", "u"]), None, "no password");
        assert_eq!(password("h:5432:d:u:", ["h", "5432", "d", "u"]), None);
        assert_eq!(password("h:5432:d:u:p:q", ["h", "5432", "d", "u"]).as_deref(), Some("p:q"));
        assert_eq!(password("\\*:5432:d:u:p", ["h", "5432", "d", "u"]), None, "an escaped * is a name");
        assert_eq!(password("", ["h", "5432", "d", "u"]), None);
    }

    fn read(text: &str, mode: u32, connection: &str) -> Result<Option<String>> {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join(".pgpass");
        fs::write(&file, text).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        let mut parameters = Parameters::parse(connection).unwrap();
        apply_password(&mut parameters, "u", "d", Some(home.path()))?;
        Ok(parameters.get("password").map(str::to_owned))
    }

    #[test]
    fn the_file_counts_for_whoever_it_belongs_to_alone() {
        let text = "h:5432:d:u:secret\nlocalhost:5432:d:u:local\n10.0.0.1:*:*:*:address\nh2:*:*:*:other\nh3:*:*:*:secret";
        assert_eq!(read(text, 0o600, "host=h").unwrap().as_deref(), Some("secret"));
        assert_eq!(read(text, 0o644, "host=h").unwrap(), None);
        assert_eq!(read(text, 0o600, "host=h password=own").unwrap().as_deref(), Some("own"));
        assert_eq!(read(text, 0o600, "").unwrap().as_deref(), Some("local"));
        assert_eq!(read(text, 0o600, &format!("host={SOCKETS}")).unwrap().as_deref(), Some("local"));
        assert_eq!(read(text, 0o600, "host=/tmp").unwrap(), None);
        assert_eq!(read(text, 0o600, "hostaddr=10.0.0.1").unwrap().as_deref(), Some("address"));
        assert_eq!(read(text, 0o600, "host=h,h3").unwrap().as_deref(), Some("secret"));
        assert!(read(text, 0o600, "host=h,h2").is_err());
    }

    fn serve(text: &str, connection: &str) -> Result<Parameters> {
        let home = tempfile::tempdir().unwrap();
        fs::write(home.path().join(".pg_service.conf"), text).unwrap();
        let mut parameters = Parameters::parse(connection).unwrap();
        let directory = home.path().display().to_string();
        let variable = |name: &str| (name == "PGSYSCONFDIR").then(|| directory.clone());
        apply_service(&mut parameters, variable, Some(home.path()))?;
        Ok(parameters)
    }

    #[test]
    fn a_service_fills_in_what_the_string_leaves_out() {
        let text =
            "# services\n[other]\nhost=x\n[shop]\nhost=h\nhost=second\nport=5433\nsslmode=verify-full\n\n[shop]\nhost=late\n";
        let found = serve(text, "service=shop port=1").unwrap();
        let values = ["host", "port", "sslmode", "dbname"].map(|name| found.get(name));
        assert_eq!(values, [Some("h"), Some("1"), Some("verify-full"), None]);
        for (text, why) in [
            ("", "there is no service"),
            ("[Shop]\nhost=h", "there is no service"),
            ("[shop]\nhost h", "no \"=\""),
            ("[shop]\nservice=other", "another one"),
            ("[shop]\nldap://x", "LDAP"),
            ("[shop]\nrequirepeer=HUNTER2", "requirepeer"),
            ("[shop]\nHUNTER2=1", "libpq does not have"),
        ] {
            let error = serve(text, "service=shop").err().unwrap_or_else(|| panic!("{text}"));
            assert!(error.message().contains(why) && !error.message().contains("HUNTER2"), "{}", error.message());
        }
    }
}
