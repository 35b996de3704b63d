//! The command behind a pooler that hands each transaction to another backend, and where its password comes from.
#![allow(clippy::unwrap_used, missing_docs, reason = "a panic is how a test fails")]

use runbook_tests::{Desk, PORT, as_server_user, hand_over, revision, submit, wait_until};
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

/// PgBouncer in front of a desk's server.
struct Pool<'a> {
    desk: &'a Desk,
    port: u16,
    process: Child,
}

impl Drop for Pool<'_> {
    fn drop(&mut self) {
        // The one that was started may be a parent that has changed its user.
        let number = fs::read_to_string(self.desk.directory.path().join("pool.pid")).unwrap_or_default();
        let _ = Command::new("kill").arg(number.trim()).status();
        let _ = self.process.wait();
    }
}

impl<'a> Pool<'a> {
    fn new(desk: &'a Desk, ignored: &str) -> Option<Self> {
        let program = ["/usr/sbin/pgbouncer", "/usr/bin/pgbouncer"].map(Path::new).into_iter().find(|path| path.exists());
        let Some(program) = program else {
            println!("not run: there is no pgbouncer here");
            return None;
        };
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let place = desk.directory.path();
        let logins = ["app", "bob", "alice", "postgres", "carol", "dba"];
        let users: String = logins.iter().map(|login| format!("\"{login}\" \"\"\n")).collect();
        fs::write(place.join("users"), users).unwrap();
        let settings = format!(
            "[databases]\n* = host={} port={}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n\
             auth_type = trust\nauth_file = {place}/users\npool_mode = transaction\ndefault_pool_size = 2\n\
             ignore_startup_parameters = {ignored}\npidfile = {place}/pool.pid\n",
            desk.server.socket(),
            PORT,
            place = place.display()
        );
        fs::write(place.join("pool.ini"), settings).unwrap();
        hand_over(place);
        let mut command = as_server_user(program);
        let process =
            command.arg("-q").arg(place.join("pool.ini")).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        wait_until(10, "the pool listens", || TcpStream::connect(("127.0.0.1", port)).is_ok());
        Some(Self { desk, port, process })
    }

    fn run(&self, user: &str, arguments: &[&str]) -> Output {
        let mut command = self.desk.server.runbook("app", user, self.desk.directory.path());
        command.env("PGHOST", "127.0.0.1").env("PGPORT", self.port.to_string()).env_remove("PGOPTIONS");
        command.args(arguments).output().unwrap()
    }
}

fn told(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn commands_at_the_same_time_share_backends_and_nothing_else() {
    let desk = Desk::new();
    submit(&mut desk.server.connect("app", "alice"), &revision("p001", &[], "CREATE TABLE p (id int)", "")).unwrap();
    let Some(pool) = Pool::new(&desk, "extra_float_digits") else { return };
    assert!(pool.run("app", &["upgrade"]).status.success());
    let verbs =
        [("current", "p001"), ("heads", "p001"), ("history", "revision p001"), ("jobs", "finished"), ("plan", "nothing to do")];
    std::thread::scope(|scope| {
        for (verb, expected) in verbs {
            let pool = &pool;
            scope.spawn(move || {
                for _ in 0..20 {
                    let output = pool.run("app", &[verb]);
                    assert!(output.status.success() && told(&output).contains(expected), "{verb}: {}", told(&output));
                }
            });
        }
    });
    // Nothing stays behind for whoever gets the backend next.
    let seen = desk
        .server
        .program("psql")
        .args(["-XAtq", "-h", "127.0.0.1", "-p", &pool.port.to_string(), "-U", "app", "-d", "app"])
        .args(["-c", "SELECT current_setting('search_path'), (SELECT count(*) FROM pg_prepared_statements)"])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&seen.stdout).trim(), "\"$user\", public|0", "{seen:?}");
}

#[test]
fn what_needs_a_session_says_so() {
    let desk = Desk::new();
    for ignored in ["extra_float_digits", "extra_float_digits,options"] {
        let Some(pool) = Pool::new(&desk, ignored) else { return };
        for arguments in [&["break-glass", "-m", "x", "--sql", "DROP TABLE orders"][..], &["audit", "verify"]] {
            let output = pool.run("dba", arguments);
            assert_eq!(output.status.code(), Some(6), "{arguments:?}: {}", told(&output));
            assert!(told(&output).contains("goes through a pool"), "{}", told(&output));
        }
    }
    let mut admin = desk.server.connect("app", "postgres");
    let opened = "SELECT count(*) FROM runbook.ledger WHERE kind = 'break_glass.opened'";
    assert_eq!(admin.query_one(opened, &[]).unwrap().get::<_, i64>(0), 0);
    assert_eq!(desk.run("dba", &["break-glass", "-m", "x", "--sql", "DROP TABLE orders"]).status.code(), Some(0));
}

fn secret(path: &Path, text: &str, mode: u32) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_password_comes_from_the_file_that_libpq_reads_and_a_server_from_a_service() {
    let desk = Desk::new();
    let mut admin = desk.server.connect("app", "postgres");
    admin.batch_execute("ALTER ROLE app PASSWORD 'right'").unwrap();
    let rules = desk.server.directory().join("data/pg_hba.conf");
    let text = format!("local all app scram-sha-256\n{}", fs::read_to_string(&rules).unwrap());
    fs::write(&rules, text).unwrap();
    admin.batch_execute("SELECT pg_reload_conf(), pg_sleep(0.2)").unwrap();
    let (file, services) = (desk.directory.path().join("pgpass"), desk.directory.path().join("services"));
    let run = |variables: &[(&str, &str)]| {
        let mut command = desk.server.runbook("app", "app", desk.directory.path());
        command.env("HOME", desk.directory.path()).env("PGPASSFILE", &file).env("PGSERVICEFILE", &services);
        command.envs(variables.iter().copied()).arg("current").output().unwrap()
    };
    assert_eq!(run(&[]).status.code(), Some(6), "no file");
    secret(&file, "*:*:*:app:right\n", 0o600);
    assert!(run(&[]).status.success(), "{}", told(&run(&[])));
    secret(&file, "*:*:*:app:right\n", 0o640);
    let output = run(&[]);
    assert!(output.status.code() == Some(6) && told(&output).contains("chmod 600"), "{}", told(&output));
    secret(&file, "*:*:*:other:right\n*:*:*:app:wrong\n", 0o600);
    assert_eq!(run(&[]).status.code(), Some(6));
    assert!(run(&[("PGPASSWORD", "right")]).status.success(), "it comes first");
    assert!(!told(&run(&[])).contains("wrong"), "no password is told");
    secret(&services, "[shop]\npassword=right\n", 0o600);
    assert!(run(&[("PGSERVICE", "shop")]).status.success(), "{}", told(&run(&[("PGSERVICE", "shop")])));
    let output = run(&[("PGSERVICE", "other")]);
    assert!(output.status.code() == Some(3) && told(&output).contains("no service \"other\""), "{}", told(&output));
}
