//! Servers for tests: started by the test, as an unprivileged user, on a unix socket, and gone afterwards.
#![allow(clippy::unwrap_used, clippy::missing_panics_doc, reason = "a panic is how a test fails")]

pub mod attempts;
mod desk;
pub mod entries;
pub mod erroneous;
pub mod escapes;
pub mod house;
pub mod jobs;
pub mod ledger;
pub mod older;
pub mod scale;
pub mod tamper;

pub use desk::Desk;

use postgres::{Client, Config, NoTls};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The port that names the socket; nothing listens on TCP.
pub const PORT: u16 = 54330;

/// A PostgreSQL server of its own, with the extension's library installed but created in no database.
#[derive(Debug)]
pub struct Server {
    directory: TempDir,
    bin: PathBuf,
}

fn is_root() -> bool {
    let output = Command::new("id").arg("-u").output().unwrap();
    String::from_utf8_lossy(&output.stdout).trim() == "0"
}

/// A command run as the user that servers run as: `postgres` if the test is root, which PostgreSQL refuses.
pub fn as_server_user(program: &Path) -> Command {
    let mut command = if is_root() {
        let mut command = Command::new("runuser");
        command.args(["-u", "postgres", "--"]).arg(program);
        command
    } else {
        Command::new(program)
    };
    // A backtrace would show in what the server says, which the tests compare.
    command.env("RUST_BACKTRACE", "1").env("LC_ALL", "C.UTF-8").current_dir("/");
    command
}

/// Runs a command to its end; panics with its output if it fails.
pub fn succeed(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?} ended with {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

fn initdb(bin: &Path, data: &str) {
    let options = ["-A", "trust", "-U", "postgres", "--no-sync", "-E", "UTF8", "--locale=C.UTF-8", "-D", data];
    succeed(as_server_user(&bin.join("initdb")).args(options));
}

/// Where a copy of PostgreSQL's programs has its parts.
pub struct Copy {
    /// The program that tells so.
    pub pg_config: PathBuf,
    /// The directory of libraries.
    pub libraries: PathBuf,
    /// The directory of control files and scripts.
    pub extensions: PathBuf,
}

/// A copy of PostgreSQL's programs in a directory, for a test that changes files of its own: the programs find them relative to themselves.
pub fn copy_of_postgresql(directory: &Path) -> Copy {
    let pg_config = std::env::var("PG_CONFIG").unwrap_or_else(|_| "pg_config".to_owned());
    let [programs, libraries, shared] = ["--bindir", "--pkglibdir", "--sharedir"].map(|what| {
        let output = succeed(Command::new(&pg_config).arg(what));
        let from = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        let to = directory.join(from.trim_start_matches('/'));
        std::fs::create_dir_all(&to).unwrap();
        succeed(Command::new("cp").arg("-r").arg(format!("{from}/.")).arg(&to));
        to
    });
    Copy { pg_config: programs.join("pg_config"), libraries, extensions: shared.join("extension") }
}

/// Gives `path` and everything below to the server's user.
pub fn hand_over(path: &Path) {
    if is_root() {
        succeed(Command::new("chown").arg("-R").arg("postgres").arg(path));
    }
}

impl Server {
    /// A fresh server.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// A fresh server with further configuration parameters, `name=value`.
    pub fn start_with(parameters: &[&str]) -> Self {
        Self::made(parameters, initdb)
    }

    /// A fresh server of another installation.
    pub fn start_from(pg_config: &Path, parameters: &[&str]) -> Self {
        Self::made_from(&pg_config.display().to_string(), parameters, initdb)
    }

    /// A server on a data directory that `make` makes, given the directory of PostgreSQL's programs and the path.
    pub fn made(parameters: &[&str], make: impl FnOnce(&Path, &str)) -> Self {
        Self::made_from(&std::env::var("PG_CONFIG").unwrap_or_else(|_| "pg_config".to_owned()), parameters, make)
    }

    fn made_from(pg_config: &str, parameters: &[&str], make: impl FnOnce(&Path, &str)) -> Self {
        let output = succeed(Command::new(pg_config).arg("--bindir"));
        let bin = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
        let directory = tempfile::Builder::new().prefix("runbook-").tempdir_in("/tmp").unwrap();
        hand_over(directory.path());
        let server = Self { directory, bin };
        make(&server.bin, &server.data());
        server.launch(parameters);
        server
    }

    fn data(&self) -> String {
        self.directory.path().join("data").display().to_string()
    }

    /// Starts the server on its data directory.
    pub fn launch(&self, parameters: &[&str]) {
        let mut options = format!("-c listen_addresses= -k {} -p {PORT} -c fsync=on", self.socket());
        for parameter in parameters {
            options.push_str(&format!(" -c {parameter}"));
        }
        let log = self.directory.path().join("log").display().to_string();
        let status = as_server_user(&self.bin.join("pg_ctl"))
            .args(["-D", &self.data(), "-w", "-l", &log, "-o", &options, "start"])
            .stdout(Stdio::null())
            .status()
            .unwrap();
        assert!(status.success(), "{}", self.log());
    }

    /// Stops the server: `smart`, `fast` or `immediate`.
    pub fn stop(&self, mode: &str) {
        let _ = as_server_user(&self.bin.join("pg_ctl")).args(["-D", &self.data(), "-m", mode, "-w", "stop"]).output();
    }

    /// The directory of the unix socket.
    pub fn socket(&self) -> String {
        self.directory.path().display().to_string()
    }

    /// A directory that goes with the server.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The server's log.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }

    /// Process numbers of this server's processes whose title has `title` in it.
    pub fn processes(&self, title: &str) -> Vec<i32> {
        let postmaster = std::fs::read_to_string(self.directory.path().join("data/postmaster.pid")).unwrap();
        let postmaster = postmaster.lines().next().unwrap().to_owned();
        let children = std::fs::read_dir("/proc").unwrap().filter_map(|entry| {
            let pid: i32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            let parent = stat.rsplit_once(") ")?.1.split_whitespace().nth(1)?;
            let name = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).ok()?;
            (parent == postmaster && name.contains(title)).then_some(pid)
        });
        children.collect()
    }

    /// When the postmaster and its checkpointer started: another answer means that the server was restarted.
    pub fn starts(&self) -> String {
        let sql = "SELECT concat(pg_postmaster_start_time(), backend_start) FROM pg_stat_activity WHERE backend_type = 'checkpointer'";
        self.connect("postgres", "postgres").query_one(sql, &[]).unwrap().get(0)
    }

    /// A connection.
    pub fn connect(&self, database: &str, user: &str) -> Client {
        self.config(database, user).connect(NoTls).unwrap()
    }

    /// What a connection needs.
    pub fn config(&self, database: &str, user: &str) -> Config {
        let mut config = Config::new();
        config.host(&self.socket()).port(PORT).dbname(database).user(user);
        config
    }

    /// Makes a database with the extension, and the roles of a small team: `app_owner` owns the schema and can't log in;
    /// `alice` and `dave` author, `bob` and `eve` approve, `app` operates, `carol` audits, `root` administers.
    pub fn database(&self, name: &str) -> Client {
        let mut admin = self.connect("postgres", "postgres");
        admin.batch_execute(&format!("CREATE DATABASE {name}")).unwrap();
        let mut client = self.connect(name, "postgres");
        client.batch_execute("CREATE EXTENSION pg_runbook").unwrap();
        client.batch_execute(TEAM).unwrap();
        client
    }

    /// A program of PostgreSQL's with the variables that lead it here.
    pub fn program(&self, name: &str) -> Command {
        let mut command = Command::new(self.bin.join(name));
        self.point(&mut command);
        command
    }

    /// The runbook command with the variables that lead it here.
    pub fn runbook(&self, database: &str, user: &str, directory: &Path) -> Command {
        let mut command = Command::new(runbook_binary());
        self.point(&mut command);
        command.env("PGDATABASE", database).env("PGUSER", user).current_dir(directory);
        command
    }

    /// Sets the PG* variables of a command.
    pub fn point(&self, command: &mut Command) {
        command
            .env("PGHOST", self.socket())
            .env("PGPORT", PORT.to_string())
            .env("PGUSER", "postgres")
            .env_remove("DATABASE_URL");
        command.env_remove("PGDATABASE").env_remove("RUNBOOK_ENV").env("LC_ALL", "C.UTF-8").env("TZ", "UTC");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop("immediate");
    }
}

/// The runbook command under test.
pub fn runbook_binary() -> PathBuf {
    let directory =
        std::env::var("RUNBOOK_TEST_BIN").expect("RUNBOOK_TEST_BIN names the directory of the built runbook; use `make test`");
    PathBuf::from(directory).join("runbook")
}

/// The Python with Alembic and MLflow.
pub fn python() -> PathBuf {
    PathBuf::from(
        std::env::var("RUNBOOK_TEST_PYTHON").expect("RUNBOOK_TEST_PYTHON names a Python with Alembic; use `make test`"),
    )
}

const TEAM: &str = "
DO $$
DECLARE person text;
BEGIN
    FOREACH person IN ARRAY ARRAY['alice', 'dave', 'bob', 'eve', 'app', 'carol', 'root'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = person) THEN
            EXECUTE format('CREATE ROLE %I LOGIN', person);
        END IF;
    END LOOP;
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'app_owner') THEN
        CREATE ROLE app_owner NOLOGIN;
    END IF;
END $$;
GRANT runbook_author TO alice, dave;
GRANT runbook_approver TO bob, eve, alice;
GRANT runbook_operator TO app;
GRANT runbook_auditor TO carol;
GRANT runbook_admin TO root;
GRANT CREATE ON SCHEMA public TO app_owner;
SELECT runbook.configure('migration_role', 'app_owner');
";

/// A revision for `submit`, with an upgrade and a downgrade.
pub fn revision(id: &str, parents: &[&str], upgrade: &str, downgrade: &str) -> serde_json::Value {
    serde_json::json!({"revision": id, "parents": parents, "message": format!("revision {id}"), "upgrade": upgrade, "downgrade": downgrade})
}

/// Submits a revision.
pub fn submit(client: &mut Client, revision: &serde_json::Value) -> Result<String, postgres::Error> {
    client.query_one("SELECT runbook.submit($1)", &[revision]).map(|row| row.get(0))
}

/// Upgrades to a target and returns what was applied.
pub fn upgrade(client: &mut Client, target: &str) -> Result<Vec<String>, postgres::Error> {
    client.query_one("SELECT runbook.upgrade($1)", &[&target]).map(|row| row.get(0))
}

/// The SQLSTATE of a failed call.
pub fn sqlstate<T>(result: Result<T, postgres::Error>) -> String {
    let error = result.err().expect("the call was expected to fail");
    error.as_db_error().expect("a server's error").code().code().to_owned()
}

/// Polls until `condition` holds, at most `seconds`.
pub fn wait_until(seconds: u64, what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(seconds);
    while !condition() {
        assert!(Instant::now() < deadline, "waited {seconds} s in vain until {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The repository.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}
