//! An approval binds what the names in the approved statements mean: relations, columns, heirs, unique indexes, labels of enums, text search.
#![allow(clippy::unwrap_used, missing_docs, reason = "a panic is how a test fails")]

use postgres::{Client, Error};
use runbook_tests::{Server, revision, submit, upgrade};

/// A guarded database whose objects belong to `app_owner`, and `admin`, who has broken the glass.
fn scene(server: &Server, name: &str, setup: &str) -> Client {
    let mut admin = server.database(name);
    let script = format!(
        "GRANT ALL ON SCHEMA public TO app_owner; GRANT CREATE ON DATABASE {name} TO app_owner; SET ROLE app_owner; {setup}; RESET ROLE"
    );
    admin.batch_execute(&script).unwrap_or_else(|error| panic!("{name}: {error:?}"));
    // Approvals count for all of these; what needs none could not be refused.
    for class in ["blocking", "breaking", "security"] {
        admin.execute("SELECT runbook.set_policy($1, 'require_approval')", &[&class]).unwrap();
    }
    admin.batch_execute("SELECT runbook.activate(), runbook.break_glass('the test meddles', '1 hour')").unwrap();
    admin
}

fn why(error: &Error) -> String {
    let error = error.as_db_error().unwrap_or_else(|| panic!("{error:?}"));
    format!("{} {} {}", error.code().code(), error.message(), error.detail().unwrap_or_default())
}

/// Submits a chain and approves it as a whole; `meddle` happens before its last revision.
fn outcome(server: &Server, name: &str, setup: &str, texts: &[&str], meddle: &str) -> Option<String> {
    let name = &format!("of_{name}");
    let mut admin = scene(server, name, setup);
    let mut alice = server.connect(name, "alice");
    let ids: Vec<String> = (1..=texts.len()).map(|number| format!("r{number}")).collect();
    for (at, text) in texts.iter().enumerate() {
        let parents: Vec<&str> = ids[..at].last().map(String::as_str).into_iter().collect();
        submit(&mut alice, &revision(&ids[at], &parents, text, "")).unwrap();
    }
    let last = ids.last().unwrap();
    let mut bob = server.connect(name, "bob");
    ids.iter().for_each(|id| assert_eq!(bob.execute("SELECT runbook.approve($1)", &[id]).unwrap(), 1));
    let mut app = server.connect(name, "app");
    if ids.len() > 1 && !meddle.is_empty() {
        upgrade(&mut app, &ids[ids.len() - 2]).unwrap_or_else(|error| panic!("{name}: {}", why(&error)));
    }
    admin.batch_execute(&format!("SET ROLE app_owner; {meddle}")).unwrap_or_else(|error| panic!("{name}: {error:?}"));
    upgrade(&mut app, last).err().map(|error| why(&error))
}

const BIG: &str = "CREATE TABLE big (a text, b int, c int, d int); INSERT INTO big VALUES ('1', 2, 3, 4)";
const USING: &str = "ALTER TABLE big ALTER a TYPE text USING b";
const ARCHIVE: &str = "CREATE TABLE src (id int, v text); INSERT INTO src VALUES (1, 'a'); CREATE TABLE arch (id int, v text)";
const MOVE: &str = "INSERT INTO arch SELECT * FROM src; DROP TABLE src";
const LISTED: &str = "INSERT INTO arch (id) SELECT id FROM src; DROP TABLE src";
const IGNORING: &str = "INSERT INTO arch SELECT * FROM src ON CONFLICT DO NOTHING; DROP TABLE src";
const SEARCH: &str = "CREATE TABLE precious (note text); CREATE SCHEMA mal; CREATE TEXT SEARCH DICTIONARY mal.dict (TEMPLATE = simple); \
    CREATE TEXT SEARCH CONFIGURATION mal.cfg (COPY = simple); ALTER TEXT SEARCH CONFIGURATION mal.cfg ALTER MAPPING FOR word WITH mal.dict";
const SEARCHES: &str = "ALTER TABLE precious ALTER note TYPE text USING to_tsvector('mal.cfg', note)::text";
const ENUM: &str = "CREATE TYPE e AS ENUM ('lo', 'hi'); CREATE TABLE et (v e, w text)";
const CASE: &str = "ALTER TABLE et ALTER w TYPE text USING CASE v WHEN 'lo' THEN w END";
const PARENT: &str = "CREATE TABLE parent (id int); CREATE TABLE arch (id int); CREATE TABLE child (id int)";
const FROM_PARENT: &str = "INSERT INTO arch SELECT * FROM parent; DROP TABLE parent CASCADE";
const SEQUENCE: &str = "CREATE SEQUENCE seq; CREATE TABLE t (a int, id int)";
const NUMBERS: &str = "ALTER TABLE t DROP COLUMN a; UPDATE t SET id = nextval('seq')";

#[test]
fn refuses_other_meanings_than_were_approved() {
    let server = Server::start_with(&["fsync=off"]);
    let cases: [(&str, &str, &str, &str, &str); 21] = [
        (
            "mapping",
            SEARCH,
            SEARCHES,
            "ALTER TEXT SEARCH CONFIGURATION mal.cfg DROP MAPPING FOR asciiword",
            "configuration mal.cfg is not",
        ),
        (
            "dictionary",
            SEARCH,
            SEARCHES,
            "ALTER TEXT SEARCH DICTIONARY mal.dict (accept = false)",
            "dictionary mal.dict is not",
        ),
        ("columns", BIG, USING, "ALTER TABLE big RENAME b TO x; ALTER TABLE big RENAME c TO b", "column public.big.b is not"),
        ("renamed_away", BIG, USING, "ALTER TABLE big RENAME b TO x", "column public.big.b is not"),
        ("column_dropped", BIG, USING, "ALTER TABLE big DROP b; ALTER TABLE big ADD b int", "column public.big.b is not"),
        ("column_type", BIG, USING, "ALTER TABLE big ALTER b TYPE bigint", "column public.big.b is not"),
        ("star", ARCHIVE, MOVE, "ALTER TABLE src RENAME v TO x", "column public.src.x is not"),
        ("star_added", ARCHIVE, MOVE, "ALTER TABLE arch ADD w text", "column public.arch.w would run too"),
        (
            "row_security",
            ARCHIVE,
            MOVE,
            "ALTER TABLE src ENABLE ROW LEVEL SECURITY; ALTER TABLE src FORCE ROW LEVEL SECURITY",
            "table public.src is not",
        ),
        (
            "row_security_of_view",
            &format!("{ARCHIVE}; CREATE VIEW seen AS SELECT * FROM src; CREATE TABLE doomed ()"),
            "INSERT INTO arch SELECT * FROM seen; DROP TABLE doomed",
            "ALTER TABLE src ENABLE ROW LEVEL SECURITY; ALTER TABLE src FORCE ROW LEVEL SECURITY",
            "table public.src is not",
        ),
        (
            "swapped",
            ARCHIVE,
            MOVE,
            "ALTER TABLE arch RENAME TO old; CREATE UNLOGGED TABLE arch (id int, v text)",
            "table public.arch is not",
        ),
        ("unlogged", ARCHIVE, MOVE, "ALTER TABLE arch SET UNLOGGED", "table public.arch is not"),
        (
            "shadowed",
            &format!("{ARCHIVE}; CREATE SCHEMA mal"),
            MOVE,
            "CREATE TABLE mal.arch (id int, v text)",
            "table mal.arch would run too",
        ),
        ("unique", ARCHIVE, IGNORING, "CREATE UNIQUE INDEX arch_id ON arch (id)", "index public.arch_id would run too"),
        (
            "unique_dropped",
            &format!("{ARCHIVE}; CREATE UNIQUE INDEX arch_id ON arch (id)"),
            IGNORING,
            "DROP INDEX arch_id",
            "index public.arch_id was dropped",
        ),
        (
            "label",
            ENUM,
            CASE,
            "ALTER TYPE e RENAME VALUE 'lo' TO 'x'; ALTER TYPE e RENAME VALUE 'hi' TO 'lo'",
            "type public.e is not",
        ),
        (
            "label_cast",
            ENUM,
            "ALTER TABLE et ALTER w TYPE text USING 'lo'::e",
            "ALTER TYPE e ADD VALUE 'new' BEFORE 'lo'",
            "type public.e is not",
        ),
        ("heir", PARENT, FROM_PARENT, "ALTER TABLE child INHERIT parent", "heir public.child would run too"),
        (
            "heir_gone",
            &format!("{PARENT}; ALTER TABLE child INHERIT parent"),
            FROM_PARENT,
            "ALTER TABLE child NO INHERIT parent",
            "heir public.child was dropped",
        ),
        ("increment", SEQUENCE, NUMBERS, "ALTER SEQUENCE seq INCREMENT 7", "sequence public.seq is not"),
        ("cycle", SEQUENCE, NUMBERS, "ALTER SEQUENCE seq MAXVALUE 2 CYCLE", "sequence public.seq is not"),
    ];
    let mut failures = vec![];
    for (name, setup, text, meddle, part) in cases {
        let refused = outcome(&server, name, setup, &[text], meddle).unwrap_or_else(|| "covered".to_owned());
        if !(refused.starts_with("42501") && refused.contains(part)) {
            failures.push(format!("{name}: {refused}"));
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
fn covers_what_the_names_do_not_mean() {
    let server = Server::start_with(&["fsync=off"]);
    let cases: [(&str, &str, &str, &str); 11] = [
        ("other_column", BIG, USING, "ALTER TABLE big ADD later int; ALTER TABLE big RENAME d TO dd; ALTER TABLE big DROP c"),
        ("listed", ARCHIVE, LISTED, "ALTER TABLE src ADD later int; ALTER TABLE arch RENAME v TO vv"),
        (
            "statistics",
            ARCHIVE,
            MOVE,
            "ANALYZE src; GRANT SELECT ON src TO PUBLIC; CREATE INDEX ON src (id); ALTER TABLE src ALTER v SET STATISTICS 7",
        ),
        ("other_table", ARCHIVE, MOVE, "CREATE TABLE another (id int); ALTER TABLE another ENABLE ROW LEVEL SECURITY"),
        ("unique_unused", ARCHIVE, MOVE, "CREATE UNIQUE INDEX arch_id ON arch (id)"),
        ("other_enum", ENUM, CASE, "CREATE TYPE f AS ENUM ('lo'); ALTER TYPE f RENAME VALUE 'lo' TO 'x'"),
        (
            "other_search",
            SEARCH,
            SEARCHES,
            "CREATE TEXT SEARCH CONFIGURATION mal.other (COPY = simple); ALTER TEXT SEARCH CONFIGURATION mal.other DROP MAPPING FOR word",
        ),
        ("restart", SEQUENCE, NUMBERS, "SELECT setval('seq', 7); CREATE SEQUENCE another"),
        ("other_heir", PARENT, FROM_PARENT, "CREATE TABLE grandchild () INHERITS (child)"),
        (
            "only_drops",
            BIG,
            "ALTER TABLE big DROP COLUMN d",
            "ALTER TABLE big RENAME b TO x; ALTER TABLE big ENABLE ROW LEVEL SECURITY",
        ),
        (
            "referring",
            &format!("{BIG}; ALTER TABLE big ADD PRIMARY KEY (b)"),
            USING,
            "CREATE TABLE child (r int REFERENCES big ON DELETE CASCADE)",
        ),
    ];
    let mut failures = vec![];
    for (name, setup, text, meddle) in cases {
        if let Some(refused) = outcome(&server, name, setup, &[text], meddle) {
            failures.push(format!("{name}: {refused}"));
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
fn covers_what_earlier_revisions_of_the_chain_did() {
    let server = Server::start_with(&["fsync=off"]);
    let hidden = format!("{ARCHIVE}; ALTER TABLE src RENAME TO hidden");
    let cases: [(&str, &str, &[&str]); 20] = [
        (
            "table",
            "SELECT 1",
            &["CREATE TABLE made (id int PRIMARY KEY, v text)", "INSERT INTO made VALUES (1, 'a') ON CONFLICT DO NOTHING"],
        ),
        ("column", BIG, &["ALTER TABLE big ADD COLUMN more int", "ALTER TABLE big ALTER a TYPE text USING more"]),
        ("renames", BIG, &["ALTER TABLE big RENAME b TO x", "ALTER TABLE big RENAME c TO b", USING]),
        ("moved", ARCHIVE, &["ALTER TABLE arch RENAME TO old", "CREATE TABLE arch (id int, v text)", MOVE]),
        ("renamed_into_place", &hidden, &["ALTER TABLE hidden RENAME TO src", MOVE]),
        ("dropped", ARCHIVE, &["DROP TABLE arch", "CREATE TABLE arch (id int, v text)", MOVE]),
        ("column_again", BIG, &["ALTER TABLE big DROP COLUMN b", "ALTER TABLE big ADD COLUMN b int", USING]),
        ("security", ARCHIVE, &["ALTER TABLE src ENABLE ROW LEVEL SECURITY", MOVE]),
        ("unique", ARCHIVE, &["CREATE UNIQUE INDEX arch_id ON arch (id)", IGNORING]),
        (
            "unique_dropped",
            &format!("{ARCHIVE}; ALTER TABLE arch ADD UNIQUE (id)"),
            &["ALTER TABLE arch DROP CONSTRAINT arch_id_key", IGNORING],
        ),
        ("heir", PARENT, &["ALTER TABLE child INHERIT parent", "INSERT INTO arch SELECT * FROM parent; DELETE FROM child"]),
        ("increment", SEQUENCE, &["ALTER SEQUENCE seq INCREMENT 7", NUMBERS]),
        ("labels", ENUM, &["ALTER TYPE e RENAME VALUE 'hi' TO 'up'", CASE]),
        ("label_of_new", "SELECT 1", &["CREATE TYPE f AS ENUM ('x', 'y')", "ALTER TYPE f RENAME VALUE 'x' TO 'z'"]),
        ("published", BIG, &["CREATE PUBLICATION p FOR TABLE big", "ALTER PUBLICATION p DROP TABLE big"]),
        ("index_dropped", BIG, &["CREATE TABLE made (id int)", "CREATE INDEX made_id ON made (id)", "DROP INDEX made_id"]),
        (
            "partition_dropped",
            "SELECT 1",
            &[
                "CREATE TABLE made (id int) PARTITION BY RANGE (id)",
                "CREATE TABLE made_1 PARTITION OF made FOR VALUES FROM (0) TO (10); CREATE INDEX made_1_id ON made_1 (id)",
                "DROP TABLE made_1",
            ],
        ),
        ("extension", "SELECT 1", &["CREATE EXTENSION pg_trgm VERSION '1.4'", "ALTER EXTENSION pg_trgm UPDATE"]),
        (
            "extension_dropped",
            "SELECT 1",
            &["CREATE EXTENSION pg_trgm; CREATE EXTENSION hstore", "DROP EXTENSION pg_trgm, hstore"],
        ),
        (
            "itself",
            "SELECT 1",
            &[
                "CREATE TABLE made (id int, v text); ALTER TABLE made ADD w int; INSERT INTO made SELECT * FROM made; ALTER TABLE made DROP w; DROP TABLE made",
            ],
        ),
    ];
    let mut failures = vec![];
    for (name, setup, texts) in cases {
        for (suffix, meddle) in [("", ""), ("_apart", "SELECT 1")] {
            if let Some(refused) = outcome(&server, &format!("{name}{suffix}"), setup, texts, meddle) {
                failures.push(format!("{name}{suffix}: {refused}"));
            }
        }
    }
    // What somebody else does in between does not become good by a revision.
    for (name, setup, texts, meddle) in [
        (
            "column_swapped",
            BIG,
            ["ALTER TABLE big ADD COLUMN more int", "ALTER TABLE big ALTER a TYPE text USING more"],
            "ALTER TABLE big RENAME more TO x; ALTER TABLE big RENAME c TO more",
        ),
        (
            "table_swapped",
            ARCHIVE,
            ["ALTER TABLE arch ADD COLUMN w int", MOVE],
            "ALTER TABLE arch RENAME TO old; CREATE TABLE arch (id int, v text, w int)",
        ),
        ("secured", ARCHIVE, ["ALTER TABLE src ALTER v SET NOT NULL", MOVE], "ALTER TABLE src ENABLE ROW LEVEL SECURITY"),
    ] {
        match outcome(&server, name, setup, &texts, meddle) {
            Some(refused) if refused.starts_with("42501") && refused.contains("approved") => {}
            other => failures.push(format!("{name}: {other:?}")),
        }
    }
    // What depends on an extension without being a member of it is not covered, CASCADE or not.
    let cascade = "DROP EXTENSION hstore CASCADE";
    let like = "CREATE OPERATOR ~~~ (LEFTARG = hstore, RIGHTARG = hstore, FUNCTION = hs_contains)";
    // Nor is what was put into it after the approval.
    let member = "CREATE SCHEMA junk; ALTER EXTENSION hstore ADD SCHEMA junk";
    let view = "CREATE VIEW seen AS SELECT 1 AS one; ALTER EXTENSION hstore ADD VIEW seen";
    for (name, setup) in [("member", member), ("member_view", view)] {
        match outcome(&server, name, "SELECT 1", &["CREATE EXTENSION hstore", "DROP EXTENSION hstore"], setup) {
            Some(refused) if refused.starts_with("42501") => {}
            other => failures.push(format!("{name}: {other:?}")),
        }
    }
    for (name, setup) in [("uses_extension", "CREATE VIEW uses AS SELECT 'a=>1'::hstore AS h"), ("operator", like)] {
        match outcome(&server, name, "SELECT 1", &["CREATE EXTENSION hstore", cascade], setup) {
            Some(refused) if refused.starts_with("42501") => {}
            other => failures.push(format!("{name}: {other:?}")),
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
fn covers_grants_to_a_role_of_an_earlier_revision_and_to_no_other() {
    for parameters in [&["fsync=off"][..], &["fsync=off", "shared_preload_libraries=pg_runbook"]] {
        covers_grants(&Server::start_with(parameters));
    }
}

fn covers_grants(server: &Server) {
    let mut admin = server.database("of_roles");
    admin.batch_execute("ALTER ROLE app_owner CREATEROLE").unwrap();
    let texts = |role: &str| [format!("CREATE ROLE {role}"), format!("GRANT DELETE ON big TO {role}")];
    let run = |name: &str, meddle: &str| {
        let texts = texts(name);
        outcome(server, name, BIG, &texts.iter().map(String::as_str).collect::<Vec<_>>(), meddle)
    };
    assert_eq!(run("reader", ""), None);
    let refused = run("swapped", "DROP ROLE swapped; CREATE ROLE swapped").unwrap_or_default();
    assert!(refused.starts_with("42501") && refused.contains("was another role then, or did not exist"), "{refused}");
}

#[test]
fn a_permit_binds_names_too() {
    let server = Server::start_with(&["fsync=off"]);
    let mut admin = scene(&server, "app", BIG);
    admin.batch_execute("CREATE ROLE dba LOGIN IN ROLE app_owner, runbook_operator; SELECT runbook.set_policy('blocking', 'require_approval')").unwrap();
    let mut dba = server.connect("app", "dba");
    let mut bob = server.connect("app", "bob");
    let mut permit = |dba: &mut Client| {
        let id: String = dba.query_one("SELECT runbook.request_permit($1, 'why', '1 hour')", &[&USING]).unwrap().get(0);
        bob.execute("SELECT runbook.approve_permit($1)", &[&id]).unwrap();
    };
    permit(&mut dba);
    admin.batch_execute("ALTER TABLE big RENAME b TO x; ALTER TABLE big RENAME c TO b").unwrap();
    let refused = why(&dba.batch_execute(USING).unwrap_err());
    assert!(refused.starts_with("42501") && refused.contains("column public.big.b is not what it was"), "{refused}");
    permit(&mut dba);
    admin.batch_execute("ALTER TABLE big RENAME d TO e").unwrap();
    dba.batch_execute(USING).unwrap();
}
