use super::*;

fn parsed(text: &str) -> Vec<(&'static str, String)> {
    Parameters::parse(text).unwrap_or_else(|error| panic!("{text}: {}", error.message())).0.into_iter().collect()
}

fn pairs(expected: &[(&'static str, &str)]) -> Vec<(&'static str, String)> {
    expected.iter().map(|(key, value)| (*key, (*value).to_owned())).collect()
}

#[test]
fn blanks_and_quotes_mean_what_they_mean_to_libpq() {
    for text in ["sslmode=require", "sslmode = require", "sslmode ='require'", " sslmode= require ", "sslmode\n=\t'requ\\ire'"]
    {
        assert_eq!(parsed(text), pairs(&[("sslmode", "require")]), "{text:?}");
    }
    assert_eq!(parsed(r"dbname=a\ b user='o\'x'password=''"), pairs(&[("dbname", "a b"), ("password", ""), ("user", "o'x")]));
    assert_eq!(parsed("sslmode=require sslmode=disable"), pairs(&[("sslmode", "disable")]), "the last one counts");
    assert_eq!(parsed(""), pairs(&[]));
}

#[test]
fn urls_mean_what_they_mean_to_libpq() {
    assert_eq!(
        parsed("postgresql://u:p%40w@h:5433/db?sslmode=verify-full&connect_timeout=3&sslrootcert=%2Fca.pem"),
        pairs(&[
            ("connect_timeout", "3"),
            ("dbname", "db"),
            ("host", "h"),
            ("password", "p@w"),
            ("port", "5433"),
            ("sslmode", "verify-full"),
            ("sslrootcert", "/ca.pem"),
            ("user", "u"),
        ])
    );
    for query in ["ssl%6Dode=require", "sslmode=%72equire", "ssl=true", "&sslmode=require&"] {
        assert_eq!(parsed(&format!("postgres:///?{query}")), pairs(&[("sslmode", "require")]), "{query}");
    }
    for driver in ["+psycopg2", "+asyncpg", "+psycopg", "+pg8000"] {
        let url = format!("postgresql{driver}://u:p@h/db?ssl=verify-full");
        let expected = pairs(&[("dbname", "db"), ("host", "h"), ("password", "p"), ("sslmode", "verify-full"), ("user", "u")]);
        assert_eq!(parsed(&url), expected, "{driver}");
    }
    assert_eq!(
        parsed("gssencmode=disable client_encoding=UTF8 target_session_attrs=primary"),
        pairs(&[("target_session_attrs", "read-write")])
    );
    assert_eq!(parsed("postgresql://"), pairs(&[]));
    assert_eq!(parsed("postgresql:///app"), pairs(&[("dbname", "app")]));
    assert_eq!(parsed("postgresql://%2Ftmp:5432"), pairs(&[("host", "/tmp"), ("port", "5432")]));
    assert_eq!(parsed("postgresql://[::1]:1,h?host=x"), pairs(&[("host", "x"), ("port", "1,")]));
    assert_eq!(parsed("postgresql://h?user=a%2Bb"), pairs(&[("host", "h"), ("user", "a+b")]));
}

#[test]
fn what_cant_be_read_is_refused_and_nothing_of_it_is_told() {
    for text in [
        "sslmode require HUNTER2",
        "password=a HUNTER2",
        "password=a HUNTER2=b",
        "password='HUNTER2",
        "postgresql://u:HUNTER2@h/d?sslmode",
        "postgresql://u:HUNTER2@h/d?a=b=c",
        "postgresql://u:HUNTER2%@h/d",
        "postgresql://u:HUNTER2%00@h/d",
        "postgresql://u:HUNTER2@[::1/d",
        "postgresql://u:HUNTER2@[::1]x/d",
        "postgresql://u:HUNTER2/x@h/d?Sslmode=require",
        "host=h require_auth=scram-sha-256 password=HUNTER2",
        "host=h sslcrldir=HUNTER2",
        "host=h gssencmode=require password=HUNTER2",
        "postgresql+psy copg://u:HUNTER2@h/d",
        "mysql+pymysql://u:HUNTER2@h/d",
    ] {
        let Err(error) = Parameters::parse(text) else { panic!("{text} was read") };
        let told: Vec<String> = error.lines().iter().map(|line| line.render(false, None)).collect();
        assert!(!told.concat().contains("HUNTER2"), "{told:?}");
    }
}

#[test]
fn variables_stand_for_what_is_left_out() {
    let variable = |name: &str| match name {
        "PGSSLMODE" => Some("verify-full".to_owned()),
        "PGAPPNAME" => Some("app".to_owned()),
        "PGHOST" => Some(String::new()),
        _ => None,
    };
    let mut parameters = Parameters::parse("host=h application_name=own").unwrap();
    parameters.complete(variable).unwrap();
    let values = ["host", "application_name", "sslmode"].map(|name| parameters.get(name));
    assert_eq!(values, [Some("h"), Some("own"), Some("verify-full")]);
    let mut named = Parameters::parse("sslmode=prefer").unwrap();
    named.complete(variable).unwrap();
    assert_eq!(named.get("sslmode"), Some("prefer"), "what the string says counts");
    let mut refused = Parameters::default();
    assert!(refused.complete(|name| (name == "PGREQUIREAUTH").then(|| "scram-sha-256".to_owned())).is_err());
}

fn completed(text: &str, variables: &[(&str, &str)]) -> Result<Parameters> {
    let mut parameters = Parameters::parse(text).unwrap();
    let value = |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
    parameters.complete(value).map(|()| parameters)
}

#[test]
fn every_variable_of_libpq_is_honoured_refused_or_harmless() {
    // Documentation of PostgreSQL 18, "Environment Variables", and of 19 PGOAUTHCAFILE.
    let of_libpq = "PGHOST PGSSLNEGOTIATION PGHOSTADDR PGPORT PGDATABASE PGUSER PGPASSWORD PGPASSFILE PGREQUIREAUTH \
                    PGCHANNELBINDING PGSERVICE PGSERVICEFILE PGOPTIONS PGAPPNAME PGSSLMODE PGREQUIRESSL PGSSLCOMPRESSION \
                    PGSSLCERT PGSSLKEY PGSSLCERTMODE PGSSLROOTCERT PGSSLCRL PGSSLCRLDIR PGSSLSNI PGREQUIREPEER \
                    PGSSLMINPROTOCOLVERSION PGSSLMAXPROTOCOLVERSION PGGSSENCMODE PGKRBSRVNAME PGGSSLIB PGGSSDELEGATION \
                    PGCONNECT_TIMEOUT PGCLIENTENCODING PGTARGETSESSIONATTRS PGLOADBALANCEHOSTS PGMINPROTOCOLVERSION \
                    PGMAXPROTOCOLVERSION PGDATESTYLE PGTZ PGGEQO PGSYSCONFDIR PGLOCALEDIR PGOAUTHDEBUG PGOAUTHCAFILE PGREALM";
    let (mut expected, mut known): (Vec<_>, Vec<_>) = (of_libpq.split_whitespace().collect(), variables().collect());
    expected.sort_unstable();
    known.sort_unstable();
    assert_eq!(known, expected, "each is in one list, and in one alone");
    assert!(HARMLESS.iter().all(|(_, reason)| !reason.is_empty()));
}

#[test]
fn a_variable_that_cannot_be_kept_is_named() {
    for (name, value) in [
        ("PGGSSENCMODE", "require"),
        ("PGSSLCERTMODE", "require"),
        ("PGSSLNEGOTIATION", "direct"),
        ("PGMINPROTOCOLVERSION", "3.2"),
        ("PGREQUIREPEER", "postgres"),
    ] {
        let error = completed("host=h sslmode=verify-full", &[(name, value)]).err().expect(name);
        let told: Vec<String> = error.lines().iter().map(|line| line.render(false, None)).collect();
        assert!(error.message().contains(name) && !told.concat().contains(value), "{told:?}");
        assert!(told.concat().contains(&format!("unset {name}")) || told.concat().contains(&format!("export {name}=")));
        assert!(completed("", &[(name, "")]).is_ok(), "an empty {name} asks for nothing");
    }
    for one in &REFUSED {
        assert!(one.fine.iter().all(|value| completed("", &[(one.variable, value)]).is_ok()), "{}", one.variable);
    }
}

#[test]
fn the_older_word_for_a_required_encryption_counts() {
    let mode = |text: &str, variables: &[(&str, &str)]| completed(text, variables).unwrap().given("sslmode").map(str::to_owned);
    assert_eq!(mode("", &[("PGREQUIRESSL", "1")]).as_deref(), Some("require"));
    assert_eq!(mode("", &[("PGREQUIRESSL", "0")]), None);
    assert_eq!(mode("sslmode=prefer", &[("PGREQUIRESSL", "1")]).as_deref(), Some("prefer"));
    assert_eq!(mode("", &[("PGREQUIRESSL", "1"), ("PGSSLMODE", "verify-full")]).as_deref(), Some("verify-full"));
}
