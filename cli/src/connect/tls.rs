//! What the options `sslmode`, `sslrootcert`, `sslcert`, `sslkey`, `sslsni` and `ssl_…_protocol_version` ask for, as libpq has it.
//!
//! `verify-ca` and `verify-full` trust the authorities of `sslrootcert` and no others; only `sslrootcert=system` means those of the
//! machine, and then the name must fit (libpq 16).

use crate::connect::Parameters;
use crate::error::{Error, Kind, Result};
use openssl::error::ErrorStack;
use openssl::ssl::{SslConnector, SslConnectorBuilder, SslFiletype, SslMethod, SslVerifyMode, SslVersion};
use openssl::x509::store::{X509Lookup, X509StoreBuilder};
use openssl::x509::verify::X509VerifyFlags;
use postgres_openssl::MakeTlsConnector;
use std::path::PathBuf;

/// `sslmode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Disable,
    Allow,
    Prefer,
    Require,
    VerifyCa,
    VerifyFull,
}

impl Mode {
    const ALL: [(Self, &str); 6] = [
        (Self::Disable, "disable"),
        (Self::Allow, "allow"),
        (Self::Prefer, "prefer"),
        (Self::Require, "require"),
        (Self::VerifyCa, "verify-ca"),
        (Self::VerifyFull, "verify-full"),
    ];

    fn parse(text: &str) -> Result<Self> {
        let known = Self::ALL.iter().find(|(_, name)| *name == text);
        known.map(|(mode, _)| *mode).ok_or_else(|| {
            let hint = "The values are disable, allow, prefer, require, verify-ca and verify-full.";
            Error::new(Kind::Input, "the value of sslmode is unknown", hint)
        })
    }

    /// What the library that connects is told: it verifies what the connector verifies.
    pub fn for_library(self) -> postgres::config::SslMode {
        match self {
            Self::Disable => postgres::config::SslMode::Disable,
            Self::Allow | Self::Prefer => postgres::config::SslMode::Prefer,
            Self::Require | Self::VerifyCa | Self::VerifyFull => postgres::config::SslMode::Require,
        }
    }
}

/// Whose word counts for the server's certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Authorities {
    /// None: the certificate is not verified.
    Nobody,
    /// Those that the machine trusts.
    System,
    /// Those of a file.
    File(PathBuf),
}

/// How a connection is protected.
#[derive(Clone, Debug)]
pub struct Tls {
    /// The mode in force.
    pub mode: Mode,
    authorities: Authorities,
    identity: Option<(String, String)>,
    /// The oldest and the newest version of TLS.
    versions: (SslVersion, Option<SslVersion>),
    /// Whether the server's name is sent in clear text.
    sends_name: bool,
    /// Certificates that are not valid any more.
    revoked: Option<PathBuf>,
}

/// Versions of TLS, from the oldest.
const VERSIONS: [(&str, SslVersion); 4] = [
    ("TLSv1", SslVersion::TLS1),
    ("TLSv1.1", SslVersion::TLS1_1),
    ("TLSv1.2", SslVersion::TLS1_2),
    ("TLSv1.3", SslVersion::TLS1_3),
];

/// The place in [`VERSIONS`] of the one that an option names; libpq does not mind its case.
fn version(parameters: &Parameters, option: &str) -> Result<Option<usize>> {
    let Some(text) = parameters.get(option) else { return Ok(None) };
    let found = VERSIONS.iter().position(|(name, _)| text.eq_ignore_ascii_case(name));
    found.map(Some).ok_or_else(|| {
        let hint = format!("Write {option}=TLSv1.3; the other values are TLSv1.2, TLSv1.1 and TLSv1.");
        Error::new(Kind::Input, format!("the value of {option} is unknown"), hint)
    })
}

impl Tls {
    /// Reads the options; `default_root` and `default_crl` are libpq's `~/.postgresql/root.crt` and `root.crl`, if they are there.
    pub fn new(parameters: &Parameters, default_root: Option<PathBuf>, default_crl: Option<PathBuf>) -> Result<Self> {
        let root = parameters.get("sslrootcert");
        let mode = match parameters.given("sslmode") {
            Some(text) => Mode::parse(text)?,
            None if root == Some("system") => Mode::VerifyFull,
            None => Mode::Prefer,
        };
        let file = root.map(PathBuf::from).or(default_root);
        let authorities = match (mode, root, file) {
            (Mode::VerifyFull, Some("system"), _) => Authorities::System,
            (_, Some("system"), _) => {
                let message = "sslrootcert=system can't be used with an sslmode that does not compare the server's name";
                return Err(Error::new(Kind::Input, message, "Write sslmode=verify-full."));
            }
            // As libpq: "require" with a root certificate behaves like verify-ca.
            (Mode::Require | Mode::VerifyCa | Mode::VerifyFull, _, Some(file)) => Authorities::File(file),
            (Mode::VerifyCa | Mode::VerifyFull, _, None) => {
                let message = "the server's certificate can't be verified: there is no root certificate";
                let hint = "Add sslrootcert=FILE with the certificate of the authority that signs the server's; or, where that is a \
                            public one, sslmode=verify-full and sslrootcert=system.";
                return Err(Error::new(Kind::Connection, message, hint));
            }
            (Mode::Disable | Mode::Allow | Mode::Prefer | Mode::Require, ..) => Authorities::Nobody,
        };
        let identity = match (parameters.get("sslcert"), parameters.get("sslkey")) {
            (Some(certificate), Some(key)) => Some((certificate.to_owned(), key.to_owned())),
            (None, None) => None,
            _ => {
                let hint = "Name both: sslcert=FILE and sslkey=FILE.";
                return Err(Error::new(Kind::Input, "a client certificate needs its key, and a key its certificate", hint));
            }
        };
        // As libpq: nothing older than TLS 1.2, unless that is asked for.
        let oldest = version(parameters, "ssl_min_protocol_version")?.unwrap_or(2);
        let newest = version(parameters, "ssl_max_protocol_version")?;
        if newest.is_some_and(|newest| newest < oldest) {
            let message = "ssl_max_protocol_version is older than ssl_min_protocol_version";
            let hint = "Write ssl_min_protocol_version=TLSv1.2 ssl_max_protocol_version=TLSv1.3.";
            return Err(Error::new(Kind::Input, message, hint));
        }
        let versions = (VERSIONS[oldest].1, newest.map(|newest| VERSIONS[newest].1));
        let sends_name = parameters.get("sslsni").is_none_or(|value| value.starts_with('1'));
        let revoked = parameters.get("sslcrl").map(PathBuf::from).or(default_crl);
        Ok(Self { mode, authorities, identity, versions, sends_name, revoked })
    }

    /// What encrypts.
    pub fn connector(&self) -> Result<MakeTlsConnector> {
        let bad = |error: ErrorStack| {
            Error::new(
                Kind::Connection,
                format!("TLS set-up failed: {error}"),
                "Check sslrootcert, sslcrl, sslcert and sslkey.",
            )
        };
        let mut connector = MakeTlsConnector::new(self.builder().map_err(bad)?.build());
        let (compares_name, sends_name) = (self.mode == Mode::VerifyFull, self.sends_name);
        connector.set_callback(move |connect, _| {
            connect.set_verify_hostname(compares_name);
            connect.set_use_server_name_indication(sends_name);
            Ok(())
        });
        Ok(connector)
    }

    fn builder(&self) -> std::result::Result<SslConnectorBuilder, ErrorStack> {
        // It trusts the machine's authorities, and verifies.
        let mut builder = SslConnector::builder(SslMethod::tls())?;
        builder.set_min_proto_version(Some(self.versions.0))?;
        builder.set_max_proto_version(self.versions.1)?;
        match &self.authorities {
            Authorities::System => {}
            Authorities::Nobody => builder.set_verify(SslVerifyMode::NONE),
            Authorities::File(file) => {
                builder.set_cert_store(X509StoreBuilder::new()?.build());
                builder.set_ca_file(file)?;
            }
        }
        if let Some(file) = self.revoked.as_ref().filter(|_| self.authorities != Authorities::Nobody) {
            let store = builder.cert_store_mut();
            store.add_lookup(X509Lookup::file())?.load_crl_file(file, SslFiletype::PEM)?;
            store.set_flags(X509VerifyFlags::CRL_CHECK | X509VerifyFlags::CRL_CHECK_ALL)?;
        }
        if let Some((certificate, key)) = &self.identity {
            builder.set_certificate_chain_file(certificate)?;
            builder.set_private_key_file(key, SslFiletype::PEM)?;
        }
        Ok(builder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use openssl::asn1::Asn1Time;
    use openssl::hash::MessageDigest;
    use openssl::pkey::PKey;
    use openssl::x509::{X509, X509Name};
    use std::path::Path;

    fn tls(text: &str) -> Result<Tls> {
        Tls::new(&Parameters::parse(text).unwrap(), None, None)
    }

    #[test]
    fn no_spelling_of_a_mode_becomes_a_weaker_one() {
        for text in ["sslmode=require", "sslmode = require", "sslmode ='require'", "postgresql://h/d?ssl%6Dode=require"] {
            assert_eq!(tls(text).unwrap().mode, Mode::Require, "{text}");
        }
        for text in ["sslmode=Require", "sslmode=''", "sslmode='require '", "sslmode=verify", "postgresql:///?sslmode="] {
            assert_eq!(tls(text).unwrap_err().exit_code(), 3, "{text}");
        }
        assert_eq!(tls("").unwrap().mode, Mode::Prefer);
    }

    #[test]
    fn an_empty_variable_is_no_mode() {
        let mut parameters = Parameters::default();
        parameters.complete(|name| (name == "PGSSLMODE").then(String::new)).unwrap();
        assert!(Tls::new(&parameters, None, None).is_err());
    }

    #[test]
    fn verification_needs_a_root_certificate() {
        for mode in ["verify-ca", "verify-full"] {
            let error = tls(&format!("sslmode={mode}")).unwrap_err();
            assert_eq!(error.exit_code(), 6, "{mode}");
            assert!(error.message().contains("root certificate"));
            let file = tls(&format!("sslmode={mode} sslrootcert=/ca.pem")).unwrap();
            assert_eq!(file.authorities, Authorities::File("/ca.pem".into()));
            let default =
                Tls::new(&Parameters::parse(&format!("sslmode={mode}")).unwrap(), Some("/root.crt".into()), None).unwrap();
            assert_eq!(default.authorities, Authorities::File("/root.crt".into()));
        }
        assert_eq!(tls("sslmode=require sslrootcert=/ca.pem").unwrap().authorities, Authorities::File("/ca.pem".into()));
        assert_eq!(tls("sslmode=require").unwrap().authorities, Authorities::Nobody);
    }

    #[test]
    fn the_machines_authorities_count_with_the_name_alone() {
        let system = tls("sslrootcert=system").unwrap();
        assert_eq!((system.mode, system.authorities), (Mode::VerifyFull, Authorities::System));
        for mode in ["prefer", "require", "verify-ca"] {
            assert_eq!(tls(&format!("sslmode={mode} sslrootcert=system")).unwrap_err().exit_code(), 3, "{mode}");
        }
    }

    #[test]
    fn half_a_client_certificate_is_none() {
        assert!(tls("sslcert=/c.pem").is_err() && tls("sslkey=/k.pem").is_err());
        assert!(tls("sslcert=/c.pem sslkey=/k.pem").is_ok());
    }

    #[test]
    fn versions_of_tls_and_the_name_are_as_asked_for() {
        let mut builder = tls("").unwrap().builder().unwrap();
        assert_eq!((builder.min_proto_version(), builder.max_proto_version()), (Some(SslVersion::TLS1_2), None));
        builder = tls("ssl_min_protocol_version=tlsv1.3 ssl_max_protocol_version=TLSv1.3").unwrap().builder().unwrap();
        let newest = Some(SslVersion::TLS1_3);
        assert_eq!((builder.min_proto_version(), builder.max_proto_version()), (newest, newest));
        for text in [
            "ssl_min_protocol_version=SSLv3",
            "ssl_max_protocol_version=1.3",
            "ssl_max_protocol_version=TLSv1.1",
            "ssl_min_protocol_version=TLSv1.3 ssl_max_protocol_version=TLSv1.2",
        ] {
            assert_eq!(tls(text).unwrap_err().exit_code(), 3, "{text}");
        }
        let sends_name = ["", "sslsni=1", "sslsni=0"].map(|text| tls(text).unwrap().sends_name);
        assert_eq!(sends_name, [true, true, false]);
    }

    fn authority(file: &Path, name: &str) {
        let key = PKey::generate_ed25519().unwrap();
        let mut subject = X509Name::builder().unwrap();
        subject.append_entry_by_text("CN", name).unwrap();
        let subject = subject.build();
        let mut builder = X509::builder().unwrap();
        builder.set_version(2).unwrap();
        builder.set_subject_name(&subject).unwrap();
        builder.set_issuer_name(&subject).unwrap();
        builder.set_not_before(&Asn1Time::days_from_now(0).unwrap()).unwrap();
        builder.set_not_after(&Asn1Time::days_from_now(1).unwrap()).unwrap();
        builder.set_pubkey(&key).unwrap();
        builder.sign(&key, MessageDigest::null()).unwrap();
        std::fs::write(file, builder.build().to_pem().unwrap()).unwrap();
    }

    /// OpenSSL takes the machine's authorities from `SSL_CERT_FILE`, so this runs in a process of its own, which has that variable.
    #[test]
    fn a_root_certificate_is_trusted_and_no_authority_of_the_machine() {
        const OWN: &str = "RUNBOOK_TEST_ROOT";
        if let Some(own) = std::env::var_os(OWN) {
            let count = |tls: Tls| tls.builder().unwrap().build().context().cert_store().all_certificates().len();
            let file = Tls { mode: Mode::VerifyCa, authorities: Authorities::File(own.into()), ..tls("").unwrap() };
            assert_eq!(count(Tls { authorities: Authorities::System, ..file.clone() }), 1);
            assert_eq!(count(file), 1);
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        let (own, machine) = (directory.path().join("own.pem"), directory.path().join("machine.pem"));
        authority(&own, "own");
        std::fs::write(&machine, "").unwrap();
        authority(&machine, "machine");
        let mut child = std::process::Command::new(std::env::current_exe().unwrap());
        let name = "connect::tls::tests::a_root_certificate_is_trusted_and_no_authority_of_the_machine";
        child.args(["--exact", name]).env(OWN, own).env("SSL_CERT_FILE", machine).env("SSL_CERT_DIR", "/nonexistent");
        let output = child.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"));
    }
}
