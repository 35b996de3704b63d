//! People at their desks: the command against a guarded database.

use crate::Server;
use std::process::Output;
use tempfile::TempDir;

/// A server with an active guard and a table, and a directory from which people of its roles run the command.
pub struct Desk {
    /// The server, with database `app`.
    pub server: Server,
    /// Where the command runs.
    pub directory: TempDir,
}

impl Default for Desk {
    fn default() -> Self {
        Self::new()
    }
}

impl Desk {
    /// A new one.
    pub fn new() -> Self {
        let server = Server::start();
        let mut admin = server.database("app");
        admin
            .batch_execute(
                "CREATE TABLE orders (id serial, old text); ALTER TABLE orders OWNER TO app_owner; \
                 CREATE ROLE dba LOGIN IN ROLE app_owner, runbook_operator; GRANT runbook_break_glass, runbook_auditor TO dba; \
                 SELECT runbook.activate()",
            )
            .unwrap();
        Self { server, directory: tempfile::tempdir().unwrap() }
    }

    /// Runs a command as `user`.
    pub fn run(&self, user: &str, arguments: &[&str]) -> Output {
        self.server.runbook("app", user, self.directory.path()).args(arguments).output().unwrap()
    }

    /// Runs a command that must end with `code`; what it printed.
    pub fn ends(&self, user: &str, arguments: &[&str], code: i32) -> String {
        let output = self.run(user, arguments);
        let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(code), "{user}: {arguments:?}\n{text}");
        text
    }
}
