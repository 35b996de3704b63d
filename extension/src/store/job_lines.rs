//! Jobs as people see them: how far they are, and what they wait for.

use crate::error::Result;
use crate::spi::read;
use pgrx::JsonB;
use pgrx::datum::TimestampWithTimeZone;
use pgrx::pg_sys::Oid;
use runbook_core::progress::Observed;

/// A line of view `jobs`.
#[derive(Debug)]
pub struct Line {
    /// Its number.
    pub job: i64,
    /// Where it stands, `interrupted` included.
    pub state: String,
    /// `upgrade` or `downgrade`.
    pub direction: String,
    /// The target as it was requested.
    pub target: String,
    /// The revision that comes next, or is being applied.
    pub revision: Option<String>,
    /// How many revisions are done.
    pub step: i32,
    /// How many there are.
    pub steps: i32,
    /// The text that its worker runs.
    pub statement: Option<String>,
    /// What PostgreSQL reports of its progress.
    pub seen: Observed,
    /// Seconds since the statement began, or that its backfill has taken.
    pub seconds: Option<f64>,
    /// Jobs or sessions in the way.
    pub waiting_for: Option<String>,
    /// The login that requested it.
    pub login: String,
    /// When it was requested.
    pub requested_at: TimestampWithTimeZone,
    /// When a worker took it up first.
    pub started_at: Option<TimestampWithTimeZone>,
    /// When it ended.
    pub finished_at: Option<TimestampWithTimeZone>,
    /// The process that works on it.
    pub worker_pid: Option<i32>,
    /// What it is doing, for people.
    pub note: Option<String>,
    /// The error that ended it.
    pub error: Option<JsonB>,
}

/// All jobs, with the progress that PostgreSQL reports of what their workers do.
const LINES: &str = "SELECT j.job, CASE WHEN o.open AND a.pid IS NULL THEN 'interrupted' ELSE j.state END, j.direction, j.target, \
             j.revisions[n.done OPERATOR(pg_catalog.+) 1], n.done, n.steps, a.query, \
             COALESCE(c.command, v.command, w.command, x.command, CASE WHEN b.revision IS NOT NULL THEN 'backfill' END, ''), \
             COALESCE(c.phase, v.phase, w.phase, x.phase, ''), \
             COALESCE(CASE WHEN c.blocks_total OPERATOR(pg_catalog.>) 0 THEN c.blocks_done \
                     WHEN c.tuples_total OPERATOR(pg_catalog.>) 0 THEN c.tuples_done ELSE c.lockers_done END, \
                 v.heap_blks_scanned, w.heap_blks_scanned, x.sample_blks_scanned, b.rows_done, 0), \
             COALESCE(CASE WHEN c.blocks_total OPERATOR(pg_catalog.>) 0 THEN c.blocks_total \
                     WHEN c.tuples_total OPERATOR(pg_catalog.>) 0 THEN c.tuples_total ELSE c.lockers_total END, \
                 v.heap_blks_total, w.heap_blks_total, x.sample_blks_total, b.estimated_rows, 0), \
             EXTRACT(epoch FROM CASE WHEN c.pid IS NULL AND v.pid IS NULL AND b.revision IS NOT NULL THEN b.busy \
                 ELSE pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-) a.query_start END)::pg_catalog.float8, \
             CASE WHEN j.state OPERATOR(pg_catalog.=) 'queued' THEN COALESCE((SELECT pg_catalog.format('job %s (%s)', e.job, e.login_name) \
                     FROM runbook.job AS e WHERE e.job OPERATOR(pg_catalog.<) j.job \
                         AND e.state OPERATOR(pg_catalog.=) ANY ('{queued,running,pausing,cancelling}') \
                     ORDER BY e.job USING OPERATOR(pg_catalog.<) LIMIT 1), \
                     CASE WHEN j.requested_at OPERATOR(pg_catalog.<) (pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-) '2s'::pg_catalog.interval) \
                         THEN pg_catalog.format('a worker slot; max_worker_processes is %s, see runbook.guard_status()', \
                             pg_catalog.current_setting('max_worker_processes')) END) \
                 WHEN a.pid IS NOT NULL THEN (SELECT pg_catalog.string_agg(t.who, '; ') FROM ( \
                     SELECT pg_catalog.format('pid %s (%s, %s, %s for %s)', s.pid, \
                         s.usename, s.application_name, s.state, pg_catalog.date_trunc('second', \
                             pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-) COALESCE(s.state_change, s.backend_start))) AS who \
                     FROM pg_catalog.pg_stat_activity AS s WHERE s.pid OPERATOR(pg_catalog.=) ANY (k.pids) \
                     UNION ALL SELECT pg_catalog.format('prepared transaction %L (%s, for %s)', g.gid, g.owner, pg_catalog.date_trunc('second', \
                         pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-) g.prepared)) \
                     FROM pg_catalog.pg_prepared_xacts AS g WHERE 0 OPERATOR(pg_catalog.=) ANY (k.pids) \
                         AND g.database OPERATOR(pg_catalog.=) pg_catalog.current_database()) AS t) END, \
             j.login_name, j.requested_at, j.started_at, j.finished_at, CASE WHEN a.pid IS NOT NULL THEN j.worker_pid END, \
             j.note, j.error \
         FROM runbook.job AS j \
         CROSS JOIN LATERAL (SELECT j.state OPERATOR(pg_catalog.=) ANY ('{running,pausing,cancelling}')) AS o (open) \
         LEFT JOIN pg_catalog.pg_stat_activity AS a ON o.open AND a.pid OPERATOR(pg_catalog.=) j.worker_pid \
             AND a.backend_type OPERATOR(pg_catalog.=) 'pg_runbook job' \
             AND a.datname OPERATOR(pg_catalog.=) pg_catalog.current_database() \
         CROSS JOIN LATERAL (SELECT CASE WHEN a.pid IS NOT NULL THEN pg_catalog.pg_blocking_pids(a.pid) END) AS k (pids) \
         CROSS JOIN LATERAL (SELECT pg_catalog.cardinality(j.revisions), CASE j.state WHEN 'finished' THEN pg_catalog.cardinality(j.revisions) \
             ELSE COALESCE((SELECT p.place::pg_catalog.int4 OPERATOR(pg_catalog.-) 1 \
                 FROM pg_catalog.unnest(j.revisions) WITH ORDINALITY AS p (id, place) \
                 WHERE NOT EXISTS (SELECT FROM runbook.job_step AS s WHERE s.job OPERATOR(pg_catalog.=) j.job \
                         AND s.step OPERATOR(pg_catalog.=) p.place::pg_catalog.int4) \
                     AND (j.finished_at IS NOT NULL OR EXISTS (SELECT FROM runbook.revision AS r WHERE r.revision OPERATOR(pg_catalog.=) p.id \
                         AND (r.status OPERATOR(pg_catalog.=) 'applied') OPERATOR(pg_catalog.=) (j.direction OPERATOR(pg_catalog.=) 'downgrade'))) \
                 ORDER BY p.place USING OPERATOR(pg_catalog.<) LIMIT 1), pg_catalog.cardinality(j.revisions)) END) AS n (steps, done) \
         LEFT JOIN pg_catalog.pg_stat_progress_create_index AS c ON c.pid OPERATOR(pg_catalog.=) a.pid \
         LEFT JOIN (SELECT p.pid, 'VACUUM', p.phase, p.heap_blks_scanned, p.heap_blks_total FROM pg_catalog.pg_stat_progress_vacuum AS p) \
             AS v (pid, command, phase, heap_blks_scanned, heap_blks_total) ON v.pid OPERATOR(pg_catalog.=) a.pid \
         LEFT JOIN pg_catalog.pg_stat_progress_cluster AS w ON w.pid OPERATOR(pg_catalog.=) a.pid \
         LEFT JOIN (SELECT p.pid, 'ANALYZE', p.phase, p.sample_blks_scanned, p.sample_blks_total \
                 FROM pg_catalog.pg_stat_progress_analyze AS p) \
             AS x (pid, command, phase, sample_blks_scanned, sample_blks_total) ON x.pid OPERATOR(pg_catalog.=) a.pid \
         LEFT JOIN runbook.backfill AS b ON j.finished_at IS NULL AND j.direction OPERATOR(pg_catalog.=) 'upgrade' \
             AND b.revision OPERATOR(pg_catalog.=) j.revisions[n.done OPERATOR(pg_catalog.+) 1] \
         WHERE j.job OPERATOR(pg_catalog.>=) COALESCE($1, 0) AND j.job OPERATOR(pg_catalog.<=) COALESCE($1, 9223372036854775807) \
         ORDER BY j.job USING OPERATOR(pg_catalog.<)";

/// All jobs, or one, oldest first, with what can be seen of those that are at work.
pub fn lines(only: Option<i64>) -> Result<Vec<Line>> {
    read(LINES, &[only.into()], |row| {
        Ok(Line {
            job: row.get(1)?,
            state: row.get(2)?,
            direction: row.get(3)?,
            target: row.get(4)?,
            revision: row.maybe(5)?,
            step: row.get(6)?,
            steps: row.get(7)?,
            statement: row.maybe(8)?,
            seen: Observed { command: row.get(9)?, phase: row.get(10)?, done: row.get(11)?, total: row.get(12)? },
            seconds: row.maybe(13)?,
            waiting_for: row.maybe(14)?,
            login: row.get(15)?,
            requested_at: row.get(16)?,
            started_at: row.maybe(17)?,
            finished_at: row.maybe(18)?,
            worker_pid: row.maybe(19)?,
            note: row.maybe(20)?,
            error: row.maybe(21)?,
        })
    })
}

/// Sessions by process number, as a person wants to know them: `pid 123 (app, pgbench, idle in transaction for 00:00:31)`.
pub fn describe(pids: &[i32]) -> Result<Vec<String>> {
    if pids.is_empty() {
        return Ok(vec![]);
    }
    let known = read(
        "SELECT s.pid, pg_catalog.format('pid %s (%s, %s, %s for %s)', s.pid, s.usename, s.application_name, s.state, \
             pg_catalog.date_trunc('second', pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-) \
                 COALESCE(s.state_change, s.backend_start))) \
         FROM pg_catalog.pg_stat_activity AS s WHERE s.pid OPERATOR(pg_catalog.=) ANY ($1)",
        &[pids.to_vec().into()],
        |row| Ok((row.get::<i32>(1)?, row.get::<String>(2)?)),
    )?;
    let prepared = if pids.contains(&0) { prepared()? } else { vec![] };
    let name = |pid: &i32| match known.iter().find(|one| one.0 == *pid) {
        Some(one) => one.1.clone(),
        None if *pid == 0 && !prepared.is_empty() => prepared.join("; "),
        None => format!("pid {pid}"),
    };
    Ok(pids.iter().map(name).collect())
}

/// Transactions that were prepared in this database and wait to be committed or rolled back: no process holds their locks.
fn prepared() -> Result<Vec<String>> {
    read(
        "SELECT pg_catalog.format('prepared transaction %L (%s, for %s; COMMIT PREPARED or ROLLBACK PREPARED ends it)', g.gid, g.owner, \
             pg_catalog.date_trunc('second', pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-) g.prepared)) \
         FROM pg_catalog.pg_prepared_xacts AS g WHERE g.database OPERATOR(pg_catalog.=) pg_catalog.current_database() \
         ORDER BY g.prepared USING OPERATOR(pg_catalog.<) LIMIT 5",
        &[],
        |row| row.get(1),
    )
}

/// Whether a login of that OID still has that name and may log in.
pub fn is_login(login: u32, name: &str) -> Result<bool> {
    let rows = read(
        "SELECT true FROM pg_catalog.pg_roles AS r WHERE r.oid OPERATOR(pg_catalog.=) $1 \
             AND r.rolname OPERATOR(pg_catalog.=) $2::pg_catalog.name AND r.rolcanlogin",
        &[Oid::from(login).into(), name.into()],
        |row| row.get::<bool>(1),
    )?;
    Ok(!rows.is_empty())
}

/// Whether somebody waits for the transaction of this session to end: a concurrent index build, most likely.
pub fn is_waited_for() -> Result<bool> {
    let rows = read(
        "SELECT true FROM pg_catalog.pg_locks AS l JOIN pg_catalog.pg_locks AS m \
             ON m.virtualxid OPERATOR(pg_catalog.=) l.virtualxid \
         WHERE l.locktype OPERATOR(pg_catalog.=) 'virtualxid' AND NOT l.granted AND m.locktype OPERATOR(pg_catalog.=) 'virtualxid' \
             AND m.granted AND m.pid OPERATOR(pg_catalog.=) pg_catalog.pg_backend_pid() LIMIT 1",
        &[],
        |row| row.get::<bool>(1),
    )?;
    Ok(!rows.is_empty())
}
