//! What is decided before a statement waits, and isn't so any more when it goes on; and code of others that our own SQL reaches.
#![allow(clippy::unwrap_used, missing_docs, reason = "a panic is how a test fails")]

use postgres::Client;

use runbook_tests::erroneous::wire::{Step, Wire};
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
                 SELECT runbook.activate(); SET runbook.mode = 'off'; \
                 ALTER TABLE before ADD FOREIGN KEY (p) REFERENCES runbook.setting (key) ON DELETE CASCADE; \
                 RESET runbook.mode",
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

/// A guarded database with a protected table of 100 rows, `dba`, who owns it and asks for permits, and a function that a permit may call.
fn protected(server: &Server, name: &str) -> Client {
    let mut admin = server.database(name);
    admin
        .batch_execute(
            "SET ROLE app_owner; CREATE TABLE gold (id int PRIMARY KEY, v text, o text DEFAULT 'dba'); \
             INSERT INTO gold SELECT g, CASE WHEN g > 20 THEN 'x' END FROM generate_series(1, 100) AS g; \
             CREATE FUNCTION few(int) RETURNS bool LANGUAGE sql IMMUTABLE AS 'SELECT $1 <= 10'; RESET ROLE; \
             DO $$ BEGIN CREATE ROLE dba LOGIN IN ROLE app_owner, runbook_operator; EXCEPTION WHEN duplicate_object THEN NULL; END $$; \
             SELECT runbook.activate(), runbook.protect_table('gold', 5)",
        )
        .unwrap();
    admin
}

fn rows(admin: &mut Client) -> i64 {
    admin.query_one("SELECT count(*) FROM gold", &[]).unwrap().get(0)
}

/// A permit of dba's, approved by bob.
fn permit(server: &Server, name: &str, statement: &str) {
    let mut dba = server.connect(name, "dba");
    let permit: String = dba.query_one("SELECT runbook.request_permit($1, 'reason')", &[&statement]).unwrap().get(0);
    server.connect(name, "bob").execute("SELECT runbook.approve_permit($1)", &[&permit]).unwrap();
}

#[test]
fn a_permit_is_for_the_role_that_was_in_force_and_for_a_text_that_is_read_now() {
    for preload in ["shared_preload_libraries=pg_runbook", "shared_preload_libraries="] {
        let server = Server::start_with(&[preload]);
        let mut admin = protected(&server, "app");
        permit(&server, "app", "DELETE FROM gold WHERE o = current_user");
        let mut dba = server.connect("app", "dba");
        dba.batch_execute("SET ROLE app_owner; ").unwrap();
        admin.batch_execute("UPDATE gold SET o = 'app_owner' WHERE id IN (1, 2, 3)").unwrap();
        drop(dba.batch_execute("DELETE FROM gold WHERE o = current_user"));
        // Three rows are within the limit of the table, and need no permit.
        admin.batch_execute("SELECT runbook.break_glass('put back'); UPDATE gold SET o = 'app_owner'").unwrap();
        let before = rows(&mut admin);
        assert_eq!(sqlstate(dba.batch_execute("DELETE FROM gold WHERE o = current_user")), "42501");
        assert_eq!(rows(&mut admin), before);

        // Its constants were read when it was prepared.
        let text = "DELETE FROM gold WHERE v = NULL";
        permit(&server, "app", text);
        let mut dba = server.connect("app", "dba");
        dba.batch_execute("SET transform_null_equals = on").unwrap();
        let prepared = dba.prepare(text).unwrap();
        dba.batch_execute("RESET transform_null_equals").unwrap();
        let refused = dba.execute(&prepared, &[]).unwrap_err();
        assert!(refused.as_db_error().unwrap().detail().unwrap().contains("simple query"), "{refused:?}");
        assert_eq!(rows(&mut admin), before);
        // Its plan was made before, and by what row security and code were then.
        let text = "DELETE FROM gold WHERE id BETWEEN 30 AND 39";
        permit(&server, "app", text);
        assert_eq!(sqlstate(dba.execute(text, &[])), "42501");
        dba.batch_execute(text).unwrap();
        // DDL is read when it runs.
        let text = "ALTER TABLE gold DROP COLUMN o";
        permit(&server, "app", text);
        dba.execute(text, &[]).unwrap();
        // What lies in the session's own temporary schema, no approver has seen.
        let text = "DELETE FROM gold WHERE pg_temp.f(id)";
        let mut dba = server.connect("app", "dba");
        dba.batch_execute("CREATE FUNCTION pg_temp.f(int) RETURNS bool LANGUAGE sql AS 'SELECT $1 <= 20'").unwrap();
        let asked: String = dba.query_one("SELECT runbook.request_permit($1, 'reason')", &[&text]).unwrap().get(0);
        server.connect("app", "bob").execute("SELECT runbook.approve_permit($1)", &[&asked]).unwrap();
        assert_eq!(sqlstate(dba.batch_execute(text)), "42501");
        // Nor does anybody approve a value that is yet to come.
        let asked = dba.batch_execute("SELECT runbook.request_permit('DELETE FROM gold WHERE id <= $1', 'reason')");
        assert_eq!(sqlstate(asked), "22023");
    }
}

#[test]
fn a_permit_for_a_partitioned_table_is_used_by_its_partitions_rows() {
    let server = Server::start_with(&["shared_preload_libraries=pg_runbook"]);
    let mut admin = server.database("app");
    admin
        .batch_execute(
            "SET ROLE app_owner; CREATE TABLE gold (id int, p int) PARTITION BY LIST (p); \
             CREATE TABLE gold1 PARTITION OF gold FOR VALUES IN (1); CREATE TABLE gold2 PARTITION OF gold FOR VALUES IN (2); \
             INSERT INTO gold SELECT g, 1 + g % 2 FROM generate_series(1, 100) AS g; RESET ROLE; \
             CREATE ROLE dba LOGIN IN ROLE app_owner, runbook_operator; \
             SELECT runbook.activate(), runbook.protect_table('gold', 5)",
        )
        .unwrap();
    for (text, left) in [("DELETE FROM gold WHERE id <= 20", 80), ("DELETE FROM gold1 WHERE id <= 60", 60)] {
        permit(&server, "app", text);
        server.connect("app", "dba").batch_execute(text).unwrap();
        assert_eq!(rows(&mut admin), left, "{text}");
    }
}

#[test]
fn what_is_put_off_to_the_commit_is_not_covered_by_the_permit_of_the_last_statement() {
    let server = Server::start_with(&["shared_preload_libraries=pg_runbook"]);
    let mut admin = protected(&server, "app");
    admin
        .batch_execute(
            "SET ROLE app_owner; CREATE TABLE aside (t text); \
             CREATE FUNCTION later() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN EXECUTE NEW.t; RETURN NULL; END $$; \
             CREATE CONSTRAINT TRIGGER l AFTER INSERT ON aside DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION later(); \
             CREATE FUNCTION sly(t text) RETURNS int LANGUAGE plpgsql AS $$ BEGIN EXECUTE t; RETURN 1; END $$; RESET ROLE",
        )
        .unwrap();
    let text = "DELETE FROM gold WHERE id <= 10";
    for first in [
        "INSERT INTO aside VALUES ('DELETE FROM gold')",
        "DECLARE c CURSOR WITH HOLD FOR SELECT sly('DELETE FROM gold')",
        "SELECT 'nothing that is put off'",
    ] {
        permit(&server, "app", text);
        let mut wire = Wire::connect(&server.socket(), "app", "dba", "").unwrap();
        wire.send(&[Step::Pipeline(vec![first.to_owned(), text.to_owned()])]);
        let answer = wire.answers(1).remove(0);
        assert!(answer.error().is_some(), "{first}: {answer:?}");
        assert_eq!(rows(&mut admin), 100, "{first}");
    }
    // DDL may come by the extended protocol.
    let text = "ALTER TABLE gold ALTER v TYPE text USING trim(v)";
    for (first, passes) in [
        ("INSERT INTO aside VALUES ('ALTER TABLE gold ALTER v TYPE text USING upper(v)')", false),
        ("SELECT 'nothing that is put off'", true),
    ] {
        permit(&server, "app", text);
        let mut wire = Wire::connect(&server.socket(), "app", "dba", "").unwrap();
        wire.send(&[Step::Pipeline(vec![first.to_owned(), text.to_owned()])]);
        let answer = wire.answers(1).remove(0);
        assert_eq!(answer.error().is_none(), passes, "{first}: {answer:?}");
        let kept = admin.query_one("SELECT count(*) FROM gold WHERE v = 'x'", &[]).unwrap().get::<_, i64>(0);
        assert_eq!(kept, 80, "{first}");
    }
}

#[test]
fn code_that_is_put_back_while_the_statement_waits_is_not_what_was_approved() {
    let server = Server::start_with(&["shared_preload_libraries=pg_runbook"]);
    let mut admin = protected(&server, "app");
    let text = "DELETE FROM gold WHERE few(id)";
    permit(&server, "app", text);
    let body = |limit: i32| {
        format!(
            "SET ROLE app_owner; CREATE OR REPLACE FUNCTION few(int) RETURNS bool LANGUAGE sql IMMUTABLE AS 'SELECT $1 <= {limit}'"
        )
    };
    let mut owner = server.connect("app", "dba");
    owner.batch_execute(&body(1000)).unwrap();
    let mut holder = server.connect("app", "dba");
    holder.batch_execute("BEGIN; SELECT id FROM gold WHERE id = 1 FOR UPDATE").unwrap();
    let mut dba = server.connect("app", "dba");
    let waiting = std::thread::spawn(move || dba.batch_execute(text));
    wait_until(20, "the statement waits", || {
        admin.query_one("SELECT count(*) FROM pg_locks WHERE NOT granted", &[]).unwrap().get::<_, i64>(0) > 0
    });
    owner.batch_execute(&body(10)).unwrap();
    holder.batch_execute("ROLLBACK").unwrap();
    assert_eq!(sqlstate(waiting.join().unwrap()), "42501");
    assert_eq!(rows(&mut admin), 100);
    // It has been written anew since the approval, be it as it was.
    let refused = server.connect("app", "dba").batch_execute(text).unwrap_err();
    assert!(refused.as_db_error().unwrap().detail().unwrap().contains("few(integer) has been written anew"), "{refused:?}");
    let again = "SELECT runbook.approve_permit(permit) FROM runbook.permits WHERE status IN ('requested', 'approved')";
    server.connect("app", "bob").batch_execute(again).unwrap();
    server.connect("app", "dba").batch_execute(text).unwrap();
    assert_eq!(rows(&mut admin), 90);
}

#[test]
fn a_permit_is_asked_again_for_rows_that_were_waited_for() {
    let server = Server::start_with(&["shared_preload_libraries=pg_runbook"]);
    for (at, change) in [
        "SELECT runbook.set_policy('destructive', 'deny')",
        "SELECT runbook.set_policy('destructive', 'require_approval', 2)",
        "SELECT runbook.set_maintenance_window('w', ARRAY['destructive'], 'mon', '00:00', '00:01', 'UTC'), \
         runbook.set_maintenance_window('v', ARRAY['destructive'], 'tue', '00:00', '00:01', 'UTC')",
        "SELECT 'nothing that matters'",
    ]
    .into_iter()
    .enumerate()
    {
        let name = &format!("rows_{at}");
        let mut admin = protected(&server, name);
        permit(&server, name, "DELETE FROM gold WHERE id <= 90");
        let mut holder = server.connect(name, "postgres");
        holder.batch_execute("BEGIN; SELECT id FROM gold WHERE id = 50 FOR UPDATE").unwrap();
        let mut dba = server.connect(name, "dba");
        let waiting = std::thread::spawn(move || dba.batch_execute("DELETE FROM gold WHERE id <= 90"));
        wait_until(20, "the statement waits", || {
            admin.query_one("SELECT count(*) FROM pg_locks WHERE NOT granted", &[]).unwrap().get::<_, i64>(0) > 0
        });
        admin.batch_execute(change).unwrap();
        holder.batch_execute("ROLLBACK").unwrap();
        let result = waiting.join().unwrap();
        assert_eq!(result.is_err(), !change.contains("nothing"), "{change}: {result:?}");
        assert_eq!(rows(&mut admin), if change.contains("nothing") { 10 } else { 100 }, "{change}");
    }
}

#[test]
fn statements_about_roles_do_not_keep_a_revision_from_being_asked_again() {
    let server = Server::start_with(&["shared_preload_libraries=pg_runbook"]);
    for (at, change) in [
        "SELECT runbook.set_policy('destructive', 'require_approval', 2)",
        "SELECT runbook.set_maintenance_window('w', ARRAY['destructive'], 'mon', '00:00', '00:01', 'UTC'), \
         runbook.set_maintenance_window('v', ARRAY['destructive'], 'tue', '00:00', '00:01', 'UTC')",
        "REVOKE runbook_approver FROM bob",
    ]
    .into_iter()
    .enumerate()
    {
        let name = &format!("roles_{at}");
        let mut admin = server.database(name);
        admin.batch_execute("SET ROLE app_owner; CREATE TABLE gold (id int); RESET ROLE; SELECT runbook.activate()").unwrap();
        let text = "ALTER ROLE CURRENT_USER SET work_mem = 4096; DROP TABLE gold";
        submit(&mut server.connect(name, "alice"), &revision("r1", &[], text, "")).unwrap();
        server.connect(name, "bob").batch_execute("SELECT runbook.approve('r1')").unwrap();
        let app = server.connect(name, "app");
        let result =
            while_it_waits(&server, name, app, "SELECT runbook.upgrade('r1')", || admin.batch_execute(change).unwrap());
        assert_eq!(sqlstate(result), "42501", "{change}");
        assert!(admin.query_one("SELECT to_regclass('gold') IS NOT NULL", &[]).unwrap().get::<_, bool>(0), "{change}");
        admin.batch_execute("GRANT runbook_approver TO bob; SELECT runbook.deactivate('next')").unwrap();
    }
}

#[test]
fn what_the_mode_was_earlier_in_a_message_does_not_count_later() {
    let server = Server::start_with(&["shared_preload_libraries=pg_runbook"]);
    let mut admin = server.database("app");
    admin.batch_execute("SELECT lo_create(4711), runbook.activate()").unwrap();
    let message = "SELECT set_config('runbook.mode', 'off', false); CREATE TEMP TABLE t (); \
                   SELECT set_config('runbook.mode', 'enforce', false); SELECT lo_unlink(4711)";
    assert_eq!(sqlstate(admin.batch_execute(message)), "42501");
    assert_eq!(admin.query_one("SELECT count(*) FROM pg_largeobject_metadata", &[]).unwrap().get::<_, i64>(0), 1);
}

#[test]
fn a_guard_is_activated_on_a_whole_extension_only() {
    let server = Server::start_with(&["shared_preload_libraries=pg_runbook"]);
    let mut admin = server.database("app");
    for (harm, repair) in [
        ("CREATE TABLE evil () INHERITS (runbook.policy_rule)", "DROP TABLE evil"),
        ("CREATE TABLE evil (p text REFERENCES runbook.setting)", "DROP TABLE evil"),
        ("CREATE RULE r AS ON DELETE TO runbook.setting DO ALSO SELECT lo_unlink(4711)", "DROP RULE r ON runbook.setting"),
        (
            "CREATE TRIGGER t BEFORE INSERT ON runbook.unsealed FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()",
            "DROP TRIGGER t ON runbook.unsealed",
        ),
        (
            "ALTER TABLE runbook.policy_rule DISABLE TRIGGER a_runbook_own",
            "ALTER TABLE runbook.policy_rule ENABLE ALWAYS TRIGGER a_runbook_own",
        ),
        (
            "ALTER TABLE runbook.policy_rule ENABLE TRIGGER a_runbook_own",
            "ALTER TABLE runbook.policy_rule ENABLE ALWAYS TRIGGER a_runbook_own",
        ),
        (
            "ALTER TABLE runbook.policy_rule ENABLE ROW LEVEL SECURITY",
            "ALTER TABLE runbook.policy_rule DISABLE ROW LEVEL SECURITY",
        ),
        ("ALTER TABLE runbook.setting OWNER TO app_owner", "ALTER TABLE runbook.setting OWNER TO postgres"),
        ("CREATE FUNCTION runbook.submit(text) RETURNS text LANGUAGE sql AS 'SELECT $1'", "DROP FUNCTION runbook.submit(text)"),
        ("CREATE TABLE runbook.evil ()", "DROP TABLE runbook.evil"),
        ("ALTER VIEW runbook.ledger SET (security_barrier = true)", "ALTER VIEW runbook.ledger RESET (security_barrier)"),
    ] {
        admin.batch_execute(harm).unwrap();
        let refused = admin.batch_execute("SELECT runbook.activate()").unwrap_err();
        let refused = refused.as_db_error().unwrap();
        assert_eq!(refused.code().code(), "55000", "{harm}: {refused:?}");
        assert!(refused.detail().unwrap().contains("runbook."), "{harm}: {refused:?}");
        admin.batch_execute(repair).unwrap();
    }
    for (harm, repair) in [
        ("ALTER TABLE runbook.unsealed SET UNLOGGED", "ALTER TABLE runbook.unsealed SET LOGGED"),
        (
            "ALTER FUNCTION runbook_internal.guard_rows() SECURITY DEFINER",
            "ALTER FUNCTION runbook_internal.guard_rows() SECURITY INVOKER",
        ),
        (
            "ALTER FUNCTION runbook_internal.guard_rows() SET runbook.mode = 'off'",
            "ALTER FUNCTION runbook_internal.guard_rows() RESET ALL",
        ),
        ("ALTER EVENT TRIGGER a_runbook_sql_drop DISABLE", "ALTER EVENT TRIGGER a_runbook_sql_drop ENABLE ALWAYS"),
    ] {
        admin.batch_execute(harm).unwrap();
        assert_eq!(sqlstate(admin.batch_execute("SELECT runbook.activate()")), "55000", "{harm}");
        admin.batch_execute(repair).unwrap();
    }
    admin.batch_execute("SELECT runbook.activate(), runbook.deactivate('again')").unwrap();
    admin
        .batch_execute(
            "DO $$ BEGIN EXECUTE 'CREATE OR REPLACE VIEW runbook.settings AS ' || \
                 replace(pg_get_viewdef('runbook.settings'), ';', ' WHERE key <> ''preset'''); END $$",
        )
        .unwrap();
    let refused = admin.batch_execute("SELECT runbook.activate()").unwrap_err();
    assert!(refused.as_db_error().unwrap().detail().unwrap().contains("view runbook.settings"), "{refused:?}");
    admin
        .batch_execute(
            "CREATE OR REPLACE FUNCTION runbook_internal.guard_own_table() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
        )
        .unwrap();
    let refused = admin.batch_execute("SELECT runbook.activate()").unwrap_err();
    assert!(refused.as_db_error().unwrap().detail().unwrap().contains("guard_own_table"), "{refused:?}");
}

#[test]
fn a_superuser_in_another_logins_clothes_is_named_and_uses_no_permit() {
    for preload in ["shared_preload_libraries=pg_runbook", "shared_preload_libraries="] {
        let server = Server::start_with(&[preload]);
        let mut admin = protected(&server, "app");
        permit(&server, "app", "DROP TABLE gold");
        let mut session = server.connect("app", "postgres");
        session.batch_execute("SET SESSION AUTHORIZATION dba").unwrap();
        assert_eq!(sqlstate(session.batch_execute("DROP TABLE gold")), "42501");
        session.batch_execute("CREATE TABLE public.fresh (id int)").unwrap();
        let named = "SELECT count(*) FROM runbook.ledger WHERE payload::jsonb ->> 'authenticated_role' = 'postgres' \
                     AND session_role = 'dba' AND kind IN ('ddl.blocked', 'ddl.executed')";
        wait_until(20, "both are recorded", || admin.query_one(named, &[]).unwrap().get::<_, i64>(0) >= 2);
        let mut dba = server.connect("app", "dba");
        admin.batch_execute("REVOKE runbook_operator FROM dba").unwrap();
        let refused = dba.batch_execute("DROP TABLE gold").unwrap_err();
        assert!(refused.as_db_error().unwrap().detail().unwrap().contains("runbook_operator"), "{refused:?}");
        admin.batch_execute("GRANT runbook_operator TO dba").unwrap();
        dba.batch_execute("DROP TABLE gold").unwrap();
    }
}

#[test]
fn code_that_is_replaced_after_a_permit_was_taken_keeps_its_transaction_from_committing() {
    let server = Server::start_with(&["shared_preload_libraries=pg_runbook"]);
    let mut admin = protected(&server, "app");
    permit(&server, "app", "DELETE FROM gold WHERE few(id)");
    let mut dba = server.connect("app", "dba");
    dba.batch_execute("BEGIN").unwrap();
    dba.batch_execute("DELETE FROM gold WHERE few(id)").unwrap();
    let body = "CREATE OR REPLACE FUNCTION few(int) RETURNS bool LANGUAGE sql IMMUTABLE AS 'SELECT $1 <= 1000'";
    server.connect("app", "dba").batch_execute(&format!("SET ROLE app_owner; {body}")).unwrap();
    assert_eq!(sqlstate(dba.batch_execute("COMMIT")), "42501");
    assert_eq!(rows(&mut admin), 100);
}

#[test]
fn schemas_that_are_swapped_are_told_from_those_that_were_approved() {
    let server = Server::start_with(&["shared_preload_libraries=pg_runbook"]);
    let mut admin = protected(&server, "app");
    admin
        .batch_execute(
            "CREATE SCHEMA s AUTHORIZATION app_owner; CREATE SCHEMA t AUTHORIZATION app_owner; SET ROLE app_owner; \
             CREATE FUNCTION s.f(int) RETURNS bool LANGUAGE sql AS 'SELECT $1 <= 20'; CREATE TABLE s.kinds AS SELECT g AS id FROM generate_series(1, 20) AS g; \
             CREATE FUNCTION t.f(int) RETURNS bool LANGUAGE sql AS 'SELECT $1 <= 1000'; CREATE TABLE t.kinds AS SELECT g AS id FROM generate_series(1, 100) AS g; \
             RESET ROLE",
        )
        .unwrap();
    let swap = "SELECT runbook.break_glass('swap'); ALTER SCHEMA s RENAME TO u; ALTER SCHEMA t RENAME TO s; ALTER SCHEMA u RENAME TO t";
    for (at, text) in
        ["DELETE FROM gold WHERE s.f(id)", "DELETE FROM gold USING s.kinds WHERE gold.id = s.kinds.id"].into_iter().enumerate()
    {
        let id = format!("r{at}");
        let parents = if at == 0 { vec![] } else { vec!["r0"] };
        submit(&mut server.connect("app", "alice"), &revision(&id, &parents, text, "")).unwrap();
        server.connect("app", "bob").batch_execute(&format!("SELECT runbook.approve('{id}')")).unwrap();
        permit(&server, "app", text);
        server.connect("app", "postgres").batch_execute(swap).unwrap();
        assert_eq!(sqlstate(server.connect("app", "dba").batch_execute(text)), "42501", "{text}");
        assert_eq!(
            sqlstate(server.connect("app", "app").batch_execute(&format!("SELECT runbook.upgrade('{id}')"))),
            "42501",
            "{text}"
        );
        assert_eq!(rows(&mut admin), 100, "{text}");
        // Put back, it is what was approved; a permit has to be approved again.
        server.connect("app", "postgres").batch_execute(swap).unwrap();
        assert_eq!(sqlstate(server.connect("app", "dba").batch_execute(text)), "42501", "{text}");
        admin.batch_execute(&format!("SELECT runbook.stamp('{id}')")).unwrap();
    }
}

#[test]
fn an_approval_counts_once_for_each_direction() {
    let server = Server::start_with(&["shared_preload_libraries=pg_runbook"]);
    for by_job in [false, true] {
        let name = &format!("once_{by_job}");
        let mut admin = protected(&server, name);
        submit(&mut server.connect(name, "alice"), &revision("r1", &[], "DELETE FROM gold WHERE id <= 20", "")).unwrap();
        server.connect(name, "bob").batch_execute("SELECT runbook.approve('r1')").unwrap();
        let mut app = server.connect(name, "app");
        let upgrade = |app: &mut Client| match by_job {
            false => app.batch_execute("SELECT runbook.upgrade('r1')"),
            true => {
                let job: i64 = app.query_one("SELECT runbook.start_upgrade('r1')", &[])?.get(0);
                app.batch_execute(&format!("CALL runbook.wait({job})"))
            }
        };
        upgrade(&mut app).unwrap();
        assert_eq!(rows(&mut admin), 80);
        for back in ["SELECT runbook.stamp('base')", "SELECT runbook.downgrade('base')"] {
            drop(app.batch_execute(back));
            admin.batch_execute("INSERT INTO gold SELECT g FROM generate_series(1, 20) AS g ON CONFLICT DO NOTHING").unwrap();
            let refused = upgrade(&mut app);
            assert_eq!(sqlstate(refused), "42501", "{back}, by a job: {by_job}");
            assert_eq!(rows(&mut admin), 100, "{back}, by a job: {by_job}");
        }
        server.connect(name, "bob").batch_execute("SELECT runbook.approve('r1')").unwrap();
        upgrade(&mut app).unwrap();
        assert_eq!(rows(&mut admin), 80, "by a job: {by_job}");
    }
}

#[test]
fn code_behind_a_string_that_goes_on_in_the_next_line_is_bound() {
    let server = Server::start_with(&["shared_preload_libraries=pg_runbook"]);
    let mut admin = protected(&server, "app");
    let text = "DELETE FROM gold WHERE 'x' <> E'a'\n'\\' -- ' AND few(id)\n";
    submit(&mut server.connect("app", "alice"), &revision("r1", &[], text, "")).unwrap();
    server.connect("app", "bob").batch_execute("SELECT runbook.approve('r1')").unwrap();
    let body = "CREATE OR REPLACE FUNCTION few(int) RETURNS bool LANGUAGE sql IMMUTABLE AS 'SELECT $1 <= 1000'";
    server.connect("app", "dba").batch_execute(&format!("SET ROLE app_owner; {body}")).unwrap();
    assert_eq!(sqlstate(server.connect("app", "app").batch_execute("SELECT runbook.upgrade('r1')")), "42501");
    assert_eq!(rows(&mut admin), 100);
}

#[test]
fn what_runs_statement_by_statement_uses_its_approval_up_too() {
    let server = Server::start_with(&["shared_preload_libraries=pg_runbook"]);
    for fails in [false, true] {
        let name = &format!("pieces_{fails}");
        let mut admin = server.database(name);
        admin
            .batch_execute(
                "SET ROLE app_owner; CREATE TABLE gold (id int PRIMARY KEY); INSERT INTO gold SELECT g FROM generate_series(1, 100) AS g; \
                 CREATE TABLE switch (broken bool); INSERT INTO switch VALUES (true); RESET ROLE; SELECT runbook.activate()",
            )
            .unwrap();
        // When it is submitted, nothing in it needs a yes.
        let second = if fails { "SELECT 1 / (CASE WHEN broken THEN 0 ELSE 1 END) FROM switch" } else { "SELECT 1" };
        let mut json = revision("r1", &[], &format!("DELETE FROM gold WHERE id <= 20; {second}"), "");
        json["transaction"] = false.into();
        submit(&mut server.connect(name, "alice"), &json).unwrap();
        admin.batch_execute("SELECT runbook.protect_table('gold', 5)").unwrap();
        server.connect(name, "bob").batch_execute("SELECT runbook.approve('r1')").unwrap();
        let mut app = server.connect(name, "app");
        let upgrade = |app: &mut Client| {
            let job: i64 = app.query_one("SELECT runbook.start_upgrade('r1')", &[])?.get(0);
            app.batch_execute(&format!("CALL runbook.wait({job})"))
        };
        assert_eq!(upgrade(&mut app).is_err(), fails);
        assert_eq!(rows(&mut admin), 80);
        if fails {
            // What has been done in part goes on by the approval that it began with.
            admin.batch_execute("UPDATE switch SET broken = false").unwrap();
            upgrade(&mut app).unwrap();
            assert_eq!(rows(&mut admin), 80);
        }
        app.batch_execute("SELECT runbook.stamp('base')").unwrap();
        admin.batch_execute("INSERT INTO gold SELECT g FROM generate_series(1, 20) AS g").unwrap();
        assert_eq!(sqlstate(upgrade(&mut app)), "42501", "the second statement fails: {fails}");
        assert_eq!(rows(&mut admin), 100, "the second statement fails: {fails}");
    }
}

#[test]
fn attributes_of_composite_types_are_bound() {
    let server = Server::start_with(&["shared_preload_libraries=pg_runbook"]);
    let mut admin = protected(&server, "app");
    admin
        .batch_execute(
            "SELECT runbook.break_glass('scene'); SET ROLE app_owner; CREATE TYPE pair AS (a int, b int); \
             ALTER TABLE gold ADD COLUMN p pair; UPDATE gold SET p = ROW(CASE WHEN id <= 20 THEN 1 ELSE 2 END, 1); RESET ROLE",
        )
        .unwrap();
    let text = "DELETE FROM gold WHERE (p).a = 1";
    submit(&mut server.connect("app", "alice"), &revision("r1", &[], text, "")).unwrap();
    server.connect("app", "bob").batch_execute("SELECT runbook.approve('r1')").unwrap();
    permit(&server, "app", text);
    let swap = "SET ROLE app_owner; ALTER TYPE pair RENAME ATTRIBUTE a TO c; ALTER TYPE pair RENAME ATTRIBUTE b TO a; \
                ALTER TYPE pair RENAME ATTRIBUTE c TO b";
    server.connect("app", "postgres").batch_execute(&format!("SELECT runbook.break_glass('swap'); {swap}")).unwrap();
    assert_eq!(sqlstate(server.connect("app", "dba").batch_execute(text)), "42501");
    assert_eq!(sqlstate(server.connect("app", "app").batch_execute("SELECT runbook.upgrade('r1')")), "42501");
    assert_eq!(rows(&mut admin), 100);
}

#[test]
fn an_approval_counts_for_the_migration_role_and_once_for_what_no_rollback_takes_back() {
    let server = Server::start_with(&["shared_preload_libraries=pg_runbook"]);
    let mut admin = protected(&server, "app");
    submit(&mut server.connect("app", "alice"), &revision("r1", &[], "DELETE FROM gold WHERE id <= 20", "")).unwrap();
    server.connect("app", "bob").batch_execute("SELECT runbook.approve('r1')").unwrap();
    admin
        .batch_execute(
            "CREATE ROLE other NOLOGIN; GRANT app_owner TO other; SELECT runbook.configure('migration_role', 'other')",
        )
        .unwrap();
    let mut app = server.connect("app", "app");
    assert_eq!(sqlstate(app.batch_execute("SELECT runbook.upgrade('r1')")), "42501");
    admin.batch_execute("SELECT runbook.configure('migration_role', 'app_owner')").unwrap();
    app.batch_execute("SELECT runbook.upgrade('r1')").unwrap();
    assert_eq!(rows(&mut admin), 80);

    admin
        .batch_execute("GRANT pg_execute_server_program TO app_owner; SELECT runbook.configure('preset', 'production')")
        .unwrap();
    let program = "COPY gold (id) TO PROGRAM 'cat >> ran'";
    submit(&mut server.connect("app", "alice"), &revision("r2", &["r1"], program, "")).unwrap();
    server.connect("app", "bob").batch_execute("SELECT runbook.approve('r2')").unwrap();
    app.batch_execute("BEGIN; SELECT runbook.upgrade('r2'); ROLLBACK").unwrap();
    let lines = |admin: &mut Client| -> i32 {
        admin
            .query_one("SELECT coalesce(cardinality(string_to_array(pg_read_file('ran', 0, 1000000, true), E'\\n')), 0)", &[])
            .unwrap()
            .get(0)
    };
    let before = lines(&mut admin);
    assert!(before > 80);
    assert_eq!(sqlstate(app.batch_execute("SELECT runbook.upgrade('r2')")), "42501");
    assert_eq!(lines(&mut admin), before);
    server.connect("app", "bob").batch_execute("SELECT runbook.approve('r2')").unwrap();
    app.batch_execute("SELECT runbook.upgrade('r2')").unwrap();
    assert!(lines(&mut admin) > before);
}
