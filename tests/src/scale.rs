//! A database with many revisions and approvals, and what approving and applying cost in it.

use crate::{Server, revision, submit, upgrade};
use postgres::Client;
use std::time::Instant;

/// How large a database is.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Applied revisions.
    pub revisions: usize,
    /// Approvals of them.
    pub approvals: usize,
    /// Revisions that wait to be approved and applied; each drops a column.
    pub steps: usize,
}

/// A database of that size.
#[derive(Debug)]
pub struct Scene<'a> {
    server: &'a Server,
    database: String,
    steps: usize,
    done: usize,
}

fn id(at: usize) -> String {
    format!("r{at:06}")
}

impl<'a> Scene<'a> {
    /// Makes the database: revisions through `submit` and `stamp`, approvals copied from a real one.
    pub fn new(server: &'a Server, database: &str, size: Size) -> Self {
        let mut admin = server.database(database);
        let columns: Vec<String> = (0..size.steps).map(|at| format!("c{at} int")).collect();
        admin
            .batch_execute(&format!("CREATE TABLE wide ({}); ALTER TABLE wide OWNER TO app_owner", columns.join(", ")))
            .unwrap();
        let mut alice = server.connect(database, "alice");
        let mut transaction = alice.transaction().unwrap();
        let statement = transaction.prepare("SELECT runbook.submit($1)").unwrap();
        for at in 0..size.revisions {
            let parent = id(at.wrapping_sub(1));
            let parents: &[&str] = if at == 0 { &[] } else { &[&parent] };
            transaction.query_one(&statement, &[&revision(&id(at), parents, "DROP TABLE IF EXISTS nothing", "")]).unwrap();
        }
        transaction.commit().unwrap();
        server.connect(database, "app").execute("SELECT runbook.stamp($1)", &[&id(size.revisions - 1)]).unwrap();
        server.connect(database, "bob").execute("SELECT runbook.approve($1)", &[&id(0)]).unwrap();
        let copies = "INSERT INTO runbook.approval SELECT gen_random_uuid(), 'r' || lpad((n % $2::bigint)::text, 6, '0'), r.digest, a.decision, \
                          a.approver, a.approver_oid, a.identities, a.comment, a.system_identifier, a.database_oid, a.decided_at, \
                          a.expires_at, a.upgrade_manifest, a.downgrade_manifest, a.fingerprint, a.void_reason, \
                          a.upgrade_code, a.downgrade_code, a.binds \
                      FROM generate_series(1::bigint, $1::bigint - 1) AS n JOIN runbook.revision AS r ON r.revision = 'r' || lpad((n % $2::bigint)::text, 6, '0'), \
                          (SELECT * FROM runbook.approval LIMIT 1) AS a";
        let (approvals, revisions) = (size.approvals as i64, size.revisions as i64);
        admin.execute(copies, &[&approvals, &revisions]).unwrap();
        for at in 0..size.steps {
            let one = revision(
                &format!("s{at:06}"),
                &[&if at == 0 { id(size.revisions - 1) } else { format!("s{:06}", at - 1) }],
                &format!("ALTER TABLE wide DROP COLUMN c{at}"),
                &format!("ALTER TABLE wide ADD COLUMN c{at} int"),
            );
            submit(&mut alice, &one).unwrap();
        }
        admin.batch_execute("SELECT runbook.activate()").unwrap();
        admin.batch_execute("VACUUM ANALYZE").unwrap();
        let count: i64 = admin.query_one("SELECT count(*) FROM runbook.approval", &[]).unwrap().get(0);
        assert_eq!(count, approvals);
        Self { server, database: database.to_owned(), steps: size.steps, done: 0 }
    }

    /// Sessions of an approver and an operator.
    pub fn sessions(&self) -> (Client, Client) {
        (self.server.connect(&self.database, "bob"), self.server.connect(&self.database, "app"))
    }

    /// Approves and applies the next revision: milliseconds of each.
    pub fn step(&mut self, (bob, app): &mut (Client, Client)) -> (f64, f64) {
        assert!(self.done < self.steps, "every step is done");
        let next = format!("s{:06}", self.done);
        self.done += 1;
        let start = Instant::now();
        bob.execute("SELECT runbook.approve($1)", &[&next]).unwrap();
        let approved = start.elapsed().as_secs_f64() * 1000.0;
        let start = Instant::now();
        assert_eq!(upgrade(app, &next).unwrap(), [next]);
        (approved, start.elapsed().as_secs_f64() * 1000.0)
    }
}

/// The median.
pub fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Median milliseconds, [approve, apply], for both scenes, taken in turns: in sessions that have worked before, or in
/// fresh ones (their connecting not counted).
pub fn compare(scenes: &mut [Scene; 2], rounds: usize, fresh: bool) -> [[f64; 2]; 2] {
    let mut sessions = [scenes[0].sessions(), scenes[1].sessions()];
    let mut times: [[Vec<f64>; 2]; 2] = Default::default();
    // The first round of a session reads the graph; it counts only where sessions are fresh.
    for round in 0..=rounds {
        for (at, scene) in scenes.iter_mut().enumerate() {
            if fresh {
                sessions[at] = scene.sessions();
            }
            let (approve, apply) = scene.step(&mut sessions[at]);
            if round > 0 {
                times[at][0].push(approve);
                times[at][1].push(apply);
            }
        }
    }
    times.map(|both| both.map(|one| median(&one)))
}
