//! ALTER EXTENSION pg_runbook UPDATE while the guard is active: policy decides, the script may change what is ours, and what comes of it is
//! what the library knows, or nothing has happened.
//!
//! There is one version yet; see `older`.
#![allow(clippy::unwrap_used, missing_docs, reason = "a panic is how a test fails")]

use postgres::Client;
use runbook_tests::Server;
use runbook_tests::older::{self, OLDER, VERSION};
use std::path::Path;

/// Updates that come to something else than the current version: from, to, script.
const BAD: [(&str, &str, &str); 7] = [
    ("0.0.8", VERSION, "CREATE FUNCTION runbook.stranger() RETURNS int LANGUAGE sql AS 'SELECT 1';"),
    ("0.0.7", VERSION, "ALTER TABLE runbook.setting DROP COLUMN older; SELECT 1 / 0;"),
    ("0.0.6", VERSION, "ALTER EVENT TRIGGER a_runbook_sql_drop DISABLE;"),
    ("0.0.5", VERSION, "DROP TABLE public.orders;"),
    ("0.0.4", VERSION, "ALTER TABLE runbook.entry DISABLE TRIGGER append_only;"),
    ("0.0.3", VERSION, "DO $$BEGIN DROP FUNCTION runbook.heads(); END$$;"),
    (OLDER, "9.9.9", "ALTER TABLE runbook.setting DROP COLUMN older;"),
];

fn server(directory: &Path, preloaded: bool) -> Server {
    older::server(directory, if preloaded { &["shared_preload_libraries=pg_runbook"] } else { &[] }, &BAD)
}

/// A database with the extension in that version.
fn installed(server: &Server, name: &str, version: &str) -> Client {
    drop(server.database(name));
    let mut admin = server.connect(name, "postgres");
    admin
        .batch_execute(&format!(
            "CREATE TABLE orders (id int); DROP EXTENSION pg_runbook; CREATE EXTENSION pg_runbook VERSION '{version}'"
        ))
        .unwrap();
    admin
}

/// The same, guarded under the preset of a production.
fn guarded(server: &Server, name: &str, version: &str) -> Client {
    let mut admin = installed(server, name, version);
    admin.batch_execute(ACTIVATE).unwrap();
    admin
}

const ACTIVATE: &str = "SELECT runbook.configure('migration_role', 'app_owner'); SELECT runbook.configure('preset', 'production'); \
                        SELECT runbook.activate()";

fn ask(client: &mut Client, sql: &str) -> String {
    client.query_one(sql, &[]).unwrap().get::<_, Option<String>>(0).unwrap_or_default()
}

fn refusal(client: &mut Client, sql: &str) -> (String, String) {
    let error = client.batch_execute(sql).unwrap_err();
    let error = error.as_db_error().unwrap();
    (
        error.code().code().to_owned(),
        format!("{}\n{}\n{}", error.message(), error.detail().unwrap_or(""), error.hint().unwrap_or("")),
    )
}

const INSTALLED: &str = "SELECT extversion FROM pg_extension WHERE extname = 'pg_runbook'";
const UPDATE: &str = "ALTER EXTENSION pg_runbook UPDATE";

fn permit(server: &Server, database: &str, statement: &str) {
    let mut admin = server.connect(database, "postgres");
    let permit = ask(&mut admin, &format!("SELECT runbook.request_permit('{statement}', 'the new version')"));
    server.connect(database, "bob").batch_execute(&format!("SELECT runbook.approve_permit('{permit}')")).unwrap();
}

fn under_both(test: impl Fn(&Server)) {
    for preloaded in [true, false] {
        let directory = tempfile::Builder::new().prefix("runbook-update-").tempdir_in("/tmp").unwrap();
        test(&server(directory.path(), preloaded));
    }
}

#[test]
fn a_guarded_database_is_updated_under_a_permit() {
    under_both(|server| {
        let mut admin = guarded(server, "app", OLDER);
        assert!(
            ask(&mut admin, "SELECT detail FROM runbook.guard_status() WHERE layer = 'version'")
                .contains(&format!("extension of {OLDER}"))
        );
        // A session that has looked at what is ours before.
        let mut other = server.connect("app", "postgres");
        assert_eq!(refusal(&mut other, "DROP FUNCTION runbook.heads()").0, "42501");

        let (code, text) = refusal(&mut admin, UPDATE);
        assert!(code == "42501" && text.contains("runbook.request_permit") && !text.contains("into a revision"), "{text}");
        permit(server, "app", UPDATE);
        admin.batch_execute(UPDATE).unwrap();
        assert_eq!(ask(&mut admin, INSTALLED), VERSION);
        assert_eq!(ask(&mut admin, "SELECT count(*)::text FROM runbook.guard_status() WHERE layer = 'version'"), "0");
        assert_eq!(ask(&mut admin, "SELECT active::text FROM runbook.guard_status() WHERE layer = 'activation'"), "true");
        let recorded = "SELECT string_agg(concat_ws(' ', kind, payload::jsonb->>'from', payload::jsonb->>'to'), ', ' ORDER BY entry_id) \
                        FROM runbook.ledger WHERE kind IN ('extension.updated', 'permit.used', 'guard.bypassed', 'guard.deactivated')";
        assert_eq!(ask(&mut admin, recorded), format!("permit.used, extension.updated {OLDER} {VERSION}"));
        assert_eq!(ask(&mut admin, "SELECT ok::text FROM runbook.verify_ledger()"), "true");
        // What the update has made is ours, in sessions too that were there before; a revision still runs.
        for session in [&mut admin, &mut other] {
            assert_eq!(refusal(session, "DROP FUNCTION runbook.tree_head()").0, "42501");
            assert_eq!(refusal(session, "UPDATE runbook.setting SET value = value").0, "42501");
            assert_eq!(refusal(session, "DROP TABLE orders").0, "42501");
        }
        // The permit was good for one time, and nothing is left to update.
        admin.batch_execute(UPDATE).unwrap();
        admin.batch_execute(&format!("{UPDATE} TO '{VERSION}'")).unwrap();
        // Another version is not up to date, whatever would come of it.
        assert_eq!(refusal(&mut admin, &format!("{UPDATE} TO '9.9.9'")).0, "42501");
        let again = format!("SELECT runbook.request_permit('{UPDATE}', 'once more')");
        assert!(refusal(&mut admin, &again).1.contains(&format!("pg_runbook is {VERSION} already")));
        assert_eq!(refusal(&mut admin, "ALTER EXTENSION pg_runbook DROP FUNCTION runbook.heads()").0, "42501");
    });
}

#[test]
fn an_update_that_comes_to_something_else_does_not_happen() {
    under_both(|server| {
        // Made before any of them is guarded: a guarded database is asked when roles are made.
        let bad = BAD.iter().enumerate();
        let databases: Vec<(String, Client, &str, &str)> = bad
            .map(|(number, (from, to, _))| {
                let name = format!("app{number}");
                let admin = installed(server, &name, from);
                (name, admin, *from, *to)
            })
            .collect();
        for (name, mut admin, from, to) in databases {
            admin.batch_execute(ACTIVATE).unwrap();
            let update = format!("{UPDATE} TO ''{to}''");
            permit(server, &name, &update);
            let (code, text) = refusal(&mut admin, &update.replace("''", "'"));
            let expected = match from {
                "0.0.8" => ("55000", "stranger"),
                "0.0.7" => ("22012", "division"),
                "0.0.6" => ("55000", "a_runbook_sql_drop"),
                "0.0.5" => ("42501", "public.orders"),
                "0.0.4" => ("55000", "append_only"),
                "0.0.3" => ("42501", "would damage the guard"),
                _ => ("55000", "can't be updated to 9.9.9"),
            };
            assert!(code == expected.0 && text.contains(expected.1), "{from} {to}: {code} {text}");
            assert_eq!(ask(&mut admin, INSTALLED), from);
            assert_eq!(ask(&mut admin, "SELECT max(older)::text FROM runbook.setting"), "1");
            assert_eq!(ask(&mut admin, "SELECT count(*)::text FROM runbook.ledger WHERE kind = 'extension.updated'"), "0");
            assert_eq!(
                ask(&mut admin, "SELECT active::text FROM runbook.guard_status() WHERE layer = 'event_triggers'"),
                "true"
            );
            // Refused at the end of an update, or in the middle: the guard is what it was.
            assert_eq!(refusal(&mut admin, "DROP TABLE orders").0, "42501");
        }
    });
}

#[test]
fn what_others_have_attached_to_the_update_is_judged_as_always() {
    under_both(|server| {
        let mut admin = guarded(server, "app", OLDER);
        // An event trigger that was there before, and waits for the script.
        let wait = "CREATE FUNCTION public.attached() RETURNS event_trigger LANGUAGE plpgsql AS $$BEGIN \
                    IF tg_tag = 'DROP INDEX' THEN EXECUTE current_setting('test.attached'); END IF; END$$; \
                    CREATE EVENT TRIGGER z_attached ON ddl_command_end EXECUTE FUNCTION public.attached()";
        admin
            .batch_execute(&format!(
                "SELECT runbook.break_glass('a test', '1 minute'); {wait}; SELECT runbook.close_break_glass()"
            ))
            .unwrap();
        for attached in
            ["DROP TABLE public.orders", "DROP FUNCTION runbook.heads()", "UPDATE runbook.setting SET value = value"]
        {
            permit(server, "app", UPDATE);
            admin.batch_execute(&format!("SET test.attached = '{attached}'")).unwrap();
            let (code, text) = refusal(&mut admin, UPDATE);
            assert_eq!(code, "42501", "{attached}: {text}");
            assert_eq!(ask(&mut admin, INSTALLED), OLDER);
        }
    });
}

#[test]
fn without_the_guard_it_is_recorded_and_nobody_is_asked() {
    let directory = tempfile::Builder::new().prefix("runbook-update-").tempdir_in("/tmp").unwrap();
    let server = server(directory.path(), true);
    let mut admin = guarded(&server, "app", OLDER);
    permit(&server, "app", "SELECT runbook.deactivate(''maintenance'')");
    admin.batch_execute("SELECT runbook.deactivate('maintenance')").unwrap();
    assert_eq!(refusal(&mut admin, &format!("{UPDATE} TO '9.9.9'")).0, "55000");
    admin.batch_execute(UPDATE).unwrap();
    admin.batch_execute("SELECT runbook.activate()").unwrap();
    let recorded = "SELECT payload::jsonb->>'from' FROM runbook.ledger WHERE kind = 'extension.updated'";
    assert_eq!(ask(&mut admin, recorded), OLDER);
    // An ordinary login is not asked about permits: it is not its extension.
    let mut alice = server.connect("app", "alice");
    assert_eq!(refusal(&mut alice, &format!("{UPDATE} TO '9.9.9'")).0, "42501");
}
