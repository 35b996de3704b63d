//! What is decided before a statement waits, and isn't so any more when it goes on; and code of others that our own SQL reaches.
#![allow(clippy::unwrap_used, missing_docs, reason = "a panic is how a test fails")]

use postgres::Client;

use runbook_tests::{Server, revision, sqlstate, submit, wait_until};

const WAITS: &str = "SELECT count(*) FROM pg_locks WHERE NOT granted \
                     AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";

/// Runs a statement of `client` while another session holds `table`, and in between what `meanwhile` does.
fn while_it_waits(
    server: &Server,
    name: &str,
    mut client: Client,
    statement: &str,
    meanwhile: impl FnOnce(),
) -> Result<(), postgres::Error> {
    let mut holder = server.connect(name, "postgres");
    holder.batch_execute("BEGIN; LOCK TABLE gold IN ACCESS SHARE MODE").unwrap();
    let statement = statement.to_owned();
    let waiting = std::thread::spawn(move || client.batch_execute(&statement));
    let mut admin = server.connect(name, "postgres");
    wait_until(20, "the statement waits", || admin.query_one(WAITS, &[]).unwrap().get::<_, i64>(0) > 0);
    meanwhile();
    holder.batch_execute("COMMIT").unwrap();
    waiting.join().unwrap()
}

#[test]
fn what_a_permit_needs_is_asked_again_under_the_lock() {
    let server = Server::start_with(&["shared_preload_libraries=pg_runbook"]);
    let mut admin = server.database("app");
    admin
        .batch_execute(
            "SET ROLE app_owner; CREATE TABLE gold (id int); INSERT INTO gold VALUES (1); RESET ROLE; \
             CREATE ROLE dba LOGIN IN ROLE app_owner, runbook_operator; SELECT runbook.activate()",
        )
        .unwrap();
    let meanwhile = [
        (
            "SELECT runbook.set_policy('destructive', 'require_approval', 2)",
            "SELECT runbook.set_policy('destructive', 'default')",
        ),
        (
            "SELECT runbook.set_maintenance_window('w', ARRAY['destructive'], 'mon', '00:00', '00:01', 'UTC'), \
             runbook.set_maintenance_window('v', ARRAY['destructive'], 'tue', '00:00', '00:01', 'UTC')",
            "SELECT runbook.drop_maintenance_window('w'), runbook.drop_maintenance_window('v')",
        ),
        ("REVOKE runbook_approver FROM bob", "GRANT runbook_approver TO bob"),
        // The time of a permit runs out.
        ("SELECT pg_sleep(4)", "SELECT"),
        ("SELECT 'nothing that matters'", "SELECT"),
    ];
    for (change, back) in meanwhile {
        for statement in ["TRUNCATE gold", "ALTER TABLE gold ALTER id TYPE text USING NULL", "DROP TABLE gold"] {
            let mut dba = server.connect("app", "dba");
            let time = if change.contains("sleep") { "4 seconds" } else { "1 hour" };
            let sql = "SELECT runbook.request_permit($1, 'reason', $2::text::interval)";
            let permit: String = dba.query_one(sql, &[&statement, &time]).unwrap().get(0);
            server.connect("app", "bob").execute("SELECT runbook.approve_permit($1)", &[&permit]).unwrap();
            let result = while_it_waits(&server, "app", dba, statement, || admin.batch_execute(change).unwrap());
            let rows = admin.query_one("SELECT count(id::text) FROM gold", &[]);
            if change.contains("nothing") {
                result.unwrap();
                continue;
            }
            assert_eq!(sqlstate(result), "42501", "{statement}: {change}");
            assert_eq!(rows.unwrap().get::<_, i64>(0), 1, "{statement}: {change}");
            admin.batch_execute(back).unwrap();
        }
    }
}

#[test]
fn a_guard_that_is_activated_while_a_revision_waits_judges_it() {
    let server = Server::start_with(&["shared_preload_libraries=pg_runbook"]);
    for activates in [true, false] {
        let name = &format!("activated_{activates}");
        let mut admin = server.database(name);
        admin.batch_execute("SET ROLE app_owner; CREATE TABLE gold (id int); RESET ROLE").unwrap();
        submit(&mut server.connect(name, "alice"), &revision("r1", &[], "DROP TABLE gold", "")).unwrap();
        let app = server.connect(name, "app");
        let result = while_it_waits(&server, name, app, "SELECT runbook.upgrade('r1')", || {
            if activates {
                admin.batch_execute("SELECT runbook.activate()").unwrap();
            }
        });
        let kept: bool = admin.query_one("SELECT to_regclass('gold') IS NOT NULL", &[]).unwrap().get(0);
        assert_eq!((result.is_err(), kept), (activates, activates));
    }
}

#[test]
fn a_permits_text_is_read_under_the_parameters_of_its_request() {
    let server = Server::start_with(&["shared_preload_libraries=pg_runbook"]);
    let mut admin = server.database("app");
    admin
        .batch_execute(
            "SET ROLE app_owner; CREATE TABLE gold (id int, v text, d date); RESET ROLE; \
             INSERT INTO gold SELECT g, CASE WHEN g > 20 THEN 'x' END, date '2024-01-01' + g FROM generate_series(1, 100) AS g; \
             CREATE ROLE dba LOGIN IN ROLE app_owner, runbook_operator; \
             SELECT runbook.activate(), runbook.protect_table('gold', 5)",
        )
        .unwrap();
    let rows = |admin: &mut Client| admin.query_one("SELECT count(*) FROM gold", &[]).unwrap().get::<_, i64>(0);
    for (statement, parameter, left) in [
        ("DELETE FROM gold WHERE v = NULL", "transform_null_equals = on", 100),
        ("DELETE FROM gold WHERE d < '02/01/2024'", "DateStyle = 'ISO, DMY'", 70),
        ("DELETE FROM gold WHERE id::text LIKE current_setting('shop.tenant', true) || '%'", "shop.tenant = '5'", 70),
    ] {
        let mut dba = server.connect("app", "dba");
        let permit: String = dba.query_one("SELECT runbook.request_permit($1, 'reason')", &[&statement]).unwrap().get(0);
        server.connect("app", "bob").execute("SELECT runbook.approve_permit($1)", &[&permit]).unwrap();
        // What an approver with another reading sees.
        let mut eve = server.connect("app", "eve");
        eve.batch_execute(&format!("SET {parameter}")).unwrap();
        let shown = "SELECT parameters FROM runbook.permits WHERE permit = $1";
        let shown: Option<String> = eve.query_one(shown, &[&permit]).unwrap().get(0);
        assert_eq!(shown.is_some(), !parameter.contains("shop"), "{parameter}: {shown:?}");

        let before = rows(&mut admin);
        dba.batch_execute(&format!("SET {parameter}")).unwrap();
        // Without a hit PostgreSQL has nothing to refuse.
        let refused = dba.batch_execute(statement);
        assert_eq!(rows(&mut admin), before, "{statement} under {parameter}: {refused:?}");
        if let Err(error) = refused {
            let detail = error.as_db_error().unwrap().detail().unwrap().to_owned();
            assert!(detail.contains(parameter.split(' ').next().unwrap()), "{detail}");
        }
        server.connect("app", "dba").batch_execute(statement).unwrap();
        assert_eq!(rows(&mut admin), left, "{statement}");
    }
}

#[test]
fn no_code_of_others_runs_as_the_runbooks_own() {
    for preload in ["shared_preload_libraries=pg_runbook", "shared_preload_libraries="] {
        let server = Server::start_with(&[preload]);
        let mut admin = server.database("app");
        admin
            .batch_execute(
                "SET ROLE app_owner; CREATE TABLE gold (id int); RESET ROLE; \
                 CREATE TABLE before (p text); INSERT INTO before VALUES ('alembic_version'); \
                 CREATE FUNCTION evil() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN DROP TABLE public.gold; RETURN OLD; END $$; \
                 CREATE TRIGGER t BEFORE DELETE ON before FOR EACH ROW EXECUTE FUNCTION evil(); \
                 SELECT runbook.configure('alembic_version', 'off'); \
                 ALTER TABLE before ADD FOREIGN KEY (p) REFERENCES runbook.setting (key) ON DELETE CASCADE; \
                 SELECT runbook.activate()",
            )
            .unwrap();
        // One that is there already: what it sets off is judged like anything else.
        let refused = admin.batch_execute("SELECT runbook.configure('alembic_version', NULL)");
        assert_eq!(sqlstate(refused), "42501", "{preload}");
        assert!(admin.query_one("SELECT to_regclass('gold') IS NOT NULL", &[]).unwrap().get::<_, bool>(0), "{preload}");
        // No other comes.
        for statement in [
            "CREATE TABLE f (p text REFERENCES runbook.setting (key))",
            "CREATE TABLE f (p text, FOREIGN KEY (p) REFERENCES runbook.setting)",
            "CREATE TABLE f (p text REFERENCES runbook.setting ON DELETE SET DEFAULT) PARTITION BY LIST (p)",
            "CREATE SCHEMA s CREATE TABLE f (p text REFERENCES runbook.setting)",
            "ALTER TABLE gold ADD COLUMN p text REFERENCES runbook.setting (key)",
            "ALTER TABLE gold ADD COLUMN p text, ADD FOREIGN KEY (p) REFERENCES runbook.setting (key) NOT VALID",
            "SET search_path = runbook; ALTER TABLE public.gold ADD FOREIGN KEY (id) REFERENCES job (job)",
            "CREATE TEMP TABLE f (p text REFERENCES runbook.setting)",
        ] {
            let mut session = server.connect("app", "postgres");
            assert!(session.batch_execute(statement).is_err(), "{preload}: {statement}");
            let sql = "SELECT count(*) FROM pg_constraint WHERE contype = 'f' AND confrelid = 'runbook.setting'::regclass";
            assert_eq!(admin.query_one(sql, &[]).unwrap().get::<_, i64>(0), 1, "{preload}: {statement}");
        }
    }
}
