//! What the code knows of the extension's own objects and words, against what the database has.
#![allow(clippy::unwrap_used, missing_docs, reason = "a panic is how a test fails")]

use runbook_core::changing;
use runbook_core::inventory::{EVENT_TRIGGERS, ROLES, TABLES};
use runbook_core::vocabulary::job_state::JobState;
use runbook_core::vocabulary::status::{Answer, RevisionStatus};
use runbook_tests::Server;

#[test]
fn lists_in_the_code_are_what_the_database_has() {
    let server = Server::start();
    let mut client = server.database("app");
    let mut names = |sql: &str| -> Vec<String> { client.query(sql, &[]).unwrap().iter().map(|row| row.get(0)).collect() };
    let members = "pg_depend AS d WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e' \
                   AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'pg_runbook')";
    let tables = names(&format!(
        "SELECT relname::text FROM pg_class WHERE relkind = 'r' AND oid IN (SELECT d.objid FROM {members}) ORDER BY relname COLLATE \"C\""
    ));
    assert_eq!(tables, TABLES);
    assert_eq!(names("SELECT rolname::text FROM pg_roles WHERE rolname ~ '^runbook_' ORDER BY rolname COLLATE \"C\""), ROLES);
    let triggers =
        names("SELECT concat(evtname, ' ', evtfoid::regproc) FROM pg_event_trigger WHERE evtname ~ '^a_runbook' ORDER BY 1");
    let mut known: Vec<String> =
        EVENT_TRIGGERS.iter().map(|(name, function)| format!("{name} runbook_internal.{function}")).collect();
    known.sort();
    assert_eq!(triggers, known);
    let functions = names("SELECT DISTINCT proname::text FROM pg_proc WHERE pronamespace = 'runbook'::regnamespace");
    // What nobody may call is not among what people see with \\df runbook.*
    let uncallable = "SELECT p.oid::regprocedure::text FROM pg_proc AS p WHERE p.pronamespace = 'runbook'::regnamespace \
         AND NOT EXISTS (SELECT FROM aclexplode(p.proacl) AS a JOIN pg_roles AS r ON r.oid = a.grantee AND NOT r.rolsuper \
             WHERE a.privilege_type = 'EXECUTE')";
    assert_eq!(names(uncallable), Vec::<String>::new());
    for one in changing::ALL {
        assert!(functions.iter().any(|name| name == one.name), "there is no function runbook.{}", one.name);
    }
}

#[test]
fn words_in_the_code_are_those_that_the_tables_take() {
    let server = Server::start();
    let mut client = server.database("app");
    let mut taken = |constraint: &str| -> Vec<String> {
        let sql = "SELECT w.word[1] FROM pg_constraint AS c, regexp_matches(pg_get_constraintdef(c.oid), '''([a-z]+)''', 'g') AS w (word) \
                   WHERE c.conname = $1 ORDER BY 1";
        client.query(sql, &[&constraint]).unwrap().iter().map(|row| row.get(0)).collect()
    };
    let sorted = |words: &[&str]| {
        let mut words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        words.sort();
        words
    };
    let stored = JobState::ALL.into_iter();
    assert_eq!(taken("job_state_known"), sorted(&stored.map(JobState::as_str).collect::<Vec<_>>()));
    assert_eq!(taken("revision_status_known"), sorted(&RevisionStatus::ALL.map(RevisionStatus::as_str)));
    assert_eq!(taken("approval_decision_known"), sorted(&Answer::ALL.map(Answer::as_str)));
    assert_eq!(taken("permit_decision_known"), sorted(&Answer::ALL.map(Answer::as_str)));
}
