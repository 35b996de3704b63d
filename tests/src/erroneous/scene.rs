//! The servers, and what stands in their databases: the same everywhere, so that answers can be compared.

use crate::Server;

/// How much of the extension a database has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Guard {
    /// The extension is not created.
    Absent,
    /// Created, and not activated.
    Inert,
    /// Activated.
    Active,
    /// Activated, with `runbook.mode = record`.
    Record,
    /// Activated, with `runbook.mode = off`.
    Off,
    /// Activated, with a policy that lets revisions be applied without an approval.
    Apply,
}

impl Guard {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Absent, Self::Inert, Self::Active, Self::Record, Self::Off, Self::Apply];

    /// The name of the database.
    pub fn database(self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Inert => "inert",
            Self::Active => "active",
            Self::Record => "record",
            Self::Off => "bypassed",
            Self::Apply => "apply",
        }
    }
}

/// Parameters of all the servers: only what matters goes to the log, and no statement waits for long.
pub const PARAMETERS: [&str; 9] = [
    "fsync=off",
    "synchronous_commit=off",
    "log_min_messages=log",
    "log_checkpoints=off",
    "autovacuum=off",
    "allow_in_place_tablespaces=on",
    "max_worker_processes=16",
    "max_connections=80",
    "max_wal_size=4GB",
];

/// The roles of `Server::database`, and those that `tests/statements.txt` names.
const ROLES: &str = "
CREATE ROLE gina LOGIN; CREATE ROLE mallory LOGIN; CREATE ROLE team; CREATE ROLE al; ALTER ROLE app_owner LOGIN;
GRANT runbook_author, runbook_operator TO gina;
";

/// By itself, since it can't be part of a transaction.
const TABLESPACE: &str = "CREATE TABLESPACE a LOCATION ''";

/// On a server without the extension, the roles that `CREATE EXTENSION` and `Server::database` make.
const BARE_ROLES: &str = "
CREATE ROLE runbook_author; CREATE ROLE runbook_approver; CREATE ROLE runbook_operator; CREATE ROLE runbook_auditor;
CREATE ROLE runbook_admin; CREATE ROLE runbook_break_glass; CREATE ROLE app_owner NOLOGIN;
CREATE ROLE alice LOGIN; CREATE ROLE dave LOGIN; CREATE ROLE bob LOGIN; CREATE ROLE eve LOGIN; CREATE ROLE app LOGIN;
CREATE ROLE carol LOGIN; CREATE ROLE root LOGIN;
GRANT runbook_author TO alice, dave; GRANT runbook_approver TO bob, eve, alice; GRANT runbook_operator TO app;
GRANT runbook_auditor TO carol; GRANT runbook_admin TO root;
";

/// What `tests/statements.txt` is about, most of it owned by `app_owner`.
pub const SCENE: &str = "
CREATE EXTENSION hstore; CREATE ACCESS METHOD am TYPE TABLE HANDLER heap_tableam_handler;
CREATE FOREIGN DATA WRAPPER w; CREATE SERVER s FOREIGN DATA WRAPPER w OPTIONS (host 'x');
ALTER FOREIGN DATA WRAPPER w OWNER TO postgres; ALTER SERVER s OWNER TO postgres; GRANT USAGE ON FOREIGN SERVER s TO app_owner;
CREATE USER MAPPING FOR alice SERVER s; CREATE OPERATOR FAMILY of USING btree;
GRANT ALL ON SCHEMA public TO app_owner; GRANT CREATE ON TABLESPACE a TO app_owner;
SET ROLE app_owner;
CREATE SCHEMA archive; CREATE COLLATION coll FROM \"C\";
CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE FUNCTION tf() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE PROCEDURE p() LANGUAGE plpgsql AS 'BEGIN END';
CREATE TABLE parent (id int PRIMARY KEY);
CREATE TABLE orders (id int PRIMARY KEY, note text, short varchar(5), amount numeric(10,4), CONSTRAINT c CHECK (id > -5));
INSERT INTO orders VALUES (1, 'one', 'x', 1.5), (2, 'two', 'y', 2.5);
CREATE POLICY p ON orders USING (true); CREATE RULE r AS ON DELETE TO orders WHERE false DO ALSO SELECT 1;
CREATE TRIGGER t BEFORE UPDATE ON orders FOR EACH ROW EXECUTE FUNCTION tf();
CREATE TABLE parted (k int) PARTITION BY LIST (k); CREATE TABLE parted1 PARTITION OF parted FOR VALUES IN (1);
CREATE VIEW v AS SELECT 1 AS id; CREATE MATERIALIZED VIEW mv AS SELECT 1; CREATE SEQUENCE counter;
CREATE TYPE mood AS ENUM ('good', 'bad'); CREATE TYPE pair AS (a int); CREATE DOMAIN small AS int CONSTRAINT small_check CHECK (VALUE > -9);
CREATE FOREIGN TABLE far (x int) SERVER s; CREATE STATISTICS st ON id, note FROM orders;
CREATE TEXT SEARCH CONFIGURATION ts (COPY = english); CREATE TEXT SEARCH DICTIONARY td (TEMPLATE = simple);
CREATE FUNCTION run(text) RETURNS void LANGUAGE plpgsql AS 'BEGIN EXECUTE $1; END';
RESET ROLE;
CREATE FUNCTION ef() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';
CREATE EVENT TRIGGER watch ON sql_drop EXECUTE FUNCTION ef();
CREATE PUBLICATION pub FOR TABLE orders; CREATE SUBSCRIPTION sub CONNECTION 'host=/nosuch' PUBLICATION pub WITH (connect = false);
";

/// A server that has the extension in its databases.
pub fn guarded(preloaded: bool) -> Server {
    let mut parameters = PARAMETERS.to_vec();
    if preloaded {
        parameters.push("shared_preload_libraries=pg_runbook");
    }
    let server = Server::start_with(&parameters);
    let mut admin = server.connect("postgres", "postgres");
    admin.batch_execute("CREATE DATABASE absent").unwrap();
    for guard in Guard::ALL.into_iter().filter(|guard| *guard != Guard::Absent) {
        let mut client = server.database(guard.database());
        if guard == Guard::Inert {
            [ROLES, TABLESPACE].iter().for_each(|sql| admin.batch_execute(sql).unwrap());
        }
        client.batch_execute(&scene(guard)).unwrap();
        if guard == Guard::Apply {
            client.batch_execute("SELECT runbook.configure('preset', 'local')").unwrap();
        }
        if guard != Guard::Inert {
            client.batch_execute("SELECT runbook.activate()").unwrap();
        }
        if let Some(mode) = [(Guard::Record, "record"), (Guard::Off, "off")].iter().find(|(known, _)| *known == guard) {
            client.batch_execute(&format!("ALTER DATABASE {} SET runbook.mode = '{}'", guard.database(), mode.1)).unwrap();
        }
    }
    server.connect("absent", "postgres").batch_execute(&scene(Guard::Absent)).unwrap();
    server
}

/// A server that knows nothing of the extension, with the same databases and roles.
pub fn bare() -> Server {
    let server = Server::start_with(&PARAMETERS);
    let mut admin = server.connect("postgres", "postgres");
    [BARE_ROLES, ROLES, TABLESPACE, "GRANT app_owner TO gina"].iter().for_each(|sql| admin.batch_execute(sql).unwrap());
    for guard in Guard::ALL {
        admin.batch_execute(&format!("CREATE DATABASE {}", guard.database())).unwrap();
        let mut client = server.connect(guard.database(), "postgres");
        client.batch_execute("GRANT CREATE ON SCHEMA public TO app_owner").unwrap();
        client.batch_execute(&scene(guard)).unwrap();
    }
    server
}

fn scene(guard: Guard) -> String {
    format!("GRANT CREATE ON DATABASE {} TO app_owner; {SCENE}", guard.database())
}
