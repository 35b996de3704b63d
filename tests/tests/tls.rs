//! TLS as libpq has it: each sslmode against a server with a certificate of its own, and against one without TLS.
#![allow(clippy::unwrap_used, missing_docs, reason = "a panic is how a test fails")]

use postgres::NoTls;
use runbook_tests::{Server, hand_over, runbook_binary, succeed};
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn certificate(directory: &Path) -> (String, String) {
    let (certificate, key) = (directory.join("server.crt"), directory.join("server.key"));
    succeed(
        Command::new("openssl")
            .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"])
            .args([
                "-addext",
                "subjectAltName=DNS:localhost",
                "-keyout",
                &key.display().to_string(),
                "-out",
                &certificate.display().to_string(),
            ]),
    );
    succeed(Command::new("chmod").arg("600").arg(&key));
    (certificate.display().to_string(), key.display().to_string())
}

fn exit_code(url: &str) -> i32 {
    let mut command = Command::new(runbook_binary());
    command.args(["--url", url, "current"]).env_remove("DATABASE_URL").env_remove("PGSSLMODE").env_remove("PGSSLROOTCERT");
    command.current_dir("/").output().unwrap().status.code().unwrap()
}

#[test]
fn sslmode_means_what_it_means_to_libpq() {
    let directory = tempfile::tempdir().unwrap();
    let (certificate, key) = certificate(directory.path());
    hand_over(directory.path());
    for with_tls in [true, false] {
        let port = free_port();
        let (own_port, cert, key) =
            (format!("port={port}"), format!("ssl_cert_file={certificate}"), format!("ssl_key_file={key}"));
        let ssl = if with_tls { "ssl=on" } else { "ssl=off" };
        let _server = Server::start_with(&[ssl, &own_port, &cert, &key, "listen_addresses=localhost"]);
        let mut admin = postgres::Config::new().host("127.0.0.1").port(port).user("postgres").connect(NoTls).unwrap();
        admin.batch_execute("CREATE EXTENSION pg_runbook").unwrap();
        let code = |host: &str, rest: &str| exit_code(&format!("postgresql://postgres@{host}:{port}/postgres?{rest}"));
        let root = format!("sslrootcert={certificate}");
        let tls_only = if with_tls { 0 } else { 6 };
        assert_eq!(code("localhost", "sslmode=disable"), 0);
        assert_eq!(code("localhost", "sslmode=prefer"), 0);
        assert_eq!(code("localhost", "sslmode=require"), tls_only);
        assert_eq!(code("127.0.0.1", &format!("sslmode=verify-ca&{root}")), tls_only);
        assert_eq!(code("localhost", &format!("sslmode=verify-full&{root}")), tls_only);
        assert_eq!(code("127.0.0.1", &format!("sslmode=verify-full&{root}")), 6, "the certificate is not for that name");
        assert_eq!(code("localhost", "sslmode=verify-full"), 6, "nobody vouches for the certificate");
        assert_eq!(code("localhost", "sslmode=verify-ca"), 6, "no authority of the machine is asked");
        assert_eq!(code("localhost", "ssl%6Dode=require"), tls_only);
        for mode in ["sslmode = require", "sslmode ='require'"] {
            let pairs = format!("host=localhost port={port} user=postgres dbname=postgres {mode}");
            assert_eq!(exit_code(&pairs), tls_only, "{mode}");
        }
        assert_eq!(code("localhost", "sslmode=sometimes"), 3);
    }
}
