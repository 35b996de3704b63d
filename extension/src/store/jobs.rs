//! Tables `job` and `job_step`.

use crate::error::{Result, internal};
use crate::pg::clock;
use crate::pg::execute::append;
use crate::pg::session::identity::Database;
use crate::pg::session::timeline;
use crate::spi::{self, Row, execute, read, write};
use pgrx::JsonB;
use pgrx::pg_sys::Oid;
use runbook_core::plan::Direction;
use runbook_core::report::Report;
use runbook_core::vocabulary::job_state::JobState;

/// A job, as its worker needs it.
#[derive(Clone, Debug)]
pub struct Job {
    /// Its number.
    pub job: i64,
    /// The way.
    pub direction: Direction,
    /// The target as it was asked for.
    pub target: String,
    /// The revisions of its plan, in order.
    pub revisions: Vec<String>,
    /// Their digests when it was planned.
    pub digests: Vec<String>,
    /// Where it stands.
    pub state: JobState,
    /// OID of the login that asked.
    pub login: u32,
    /// OID of the role that was in force.
    pub role: u32,
    /// The process that works on it, or did.
    pub worker_pid: Option<i32>,
    /// How many workers have taken it up.
    pub starts: i32,
    /// How many of the last ones were started for nothing.
    pub idle_starts: i32,
    /// The login's name when it asked.
    pub login_name: String,
    /// The database that it was asked for in.
    pub database: Database,
    /// The timeline of the server then.
    pub timeline: u32,
}

fn number(timeline: u32) -> i32 {
    i32::try_from(timeline).unwrap_or(i32::MAX)
}

/// A job that is about to be stored.
#[derive(Debug)]
pub struct New<'a> {
    /// The way.
    pub direction: Direction,
    /// The target as it was asked for.
    pub target: &'a str,
    /// The revisions of its plan, in order.
    pub revisions: &'a [String],
    /// Their digests.
    pub digests: &'a [String],
    /// The login that asks, by OID and name.
    pub login: (u32, &'a str),
    /// The role in force.
    pub role: u32,
    /// Address of the client.
    pub address: &'a str,
    /// What the client calls itself.
    pub application: &'a str,
    /// This database.
    pub database: &'a Database,
}

/// Stores a job; returns its number.
pub fn add(new: &New) -> Result<i64> {
    let rows = write(
        "INSERT INTO runbook.job (job, direction, target, revisions, digests, state, login, login_name, role, client_addr, application, \
             system_identifier, database_oid, timeline, requested_at) \
         VALUES (pg_catalog.nextval('runbook.job_number'), $1, $2, $3, $4, 'queued', $5, $6, $7, $8, $9, $10, $11, $12, \
             pg_catalog.clock_timestamp()) RETURNING job",
        &[
            new.direction.as_str().into(),
            new.target.into(),
            new.revisions.to_vec().into(),
            new.digests.to_vec().into(),
            Oid::from(new.login.0).into(),
            new.login.1.into(),
            Oid::from(new.role).into(),
            new.address.into(),
            new.application.into(),
            new.database.system_identifier.as_str().into(),
            Oid::from(new.database.oid).into(),
            number(timeline::current()).into(),
        ],
        |row| row.get(1),
    )?;
    rows.into_iter().next().ok_or_else(|| internal("a job was not stored"))
}

/// Reads a job from the columns of [`select_jobs`].
pub fn job(row: &Row) -> Result<Job> {
    let direction: String = row.get(2)?;
    Ok(Job {
        job: row.get(1)?,
        direction: Direction::parse(&direction).ok_or_else(|| internal("a job has no direction"))?,
        target: row.get(3)?,
        revisions: row.get(4)?,
        digests: row.get(5)?,
        state: read_state(&row.get::<String>(6)?)?,
        login: row.get::<Oid>(7)?.to_u32(),
        role: row.get::<Oid>(8)?.to_u32(),
        worker_pid: row.maybe(9)?,
        starts: row.get(10)?,
        idle_starts: row.get(11)?,
        login_name: row.get(12)?,
        database: Database { system_identifier: row.get(13)?, oid: row.get::<Oid>(14)?.to_u32() },
        timeline: u32::try_from(row.get::<i32>(15)?).unwrap_or_default(),
    })
}

macro_rules! select_jobs {
    ($condition:literal) => {
        concat!(
            "SELECT j.job, j.direction, j.target, j.revisions, j.digests, j.state, j.login, j.role, j.worker_pid, j.starts, \
                 j.idle_starts, j.login_name, j.system_identifier, j.database_oid, j.timeline FROM runbook.job AS j WHERE ",
            $condition
        )
    };
}

/// A job, as of now.
pub fn load(number: i64) -> Result<Option<Job>> {
    let rows = read(select_jobs!("j.job OPERATOR(pg_catalog.=) $1"), &[number.into()], job)?;
    Ok(rows.into_iter().next())
}

/// A job, locked against others who want to change it.
pub fn lock(number: i64) -> Result<Option<Job>> {
    let rows = read(select_jobs!("j.job OPERATOR(pg_catalog.=) $1 FOR NO KEY UPDATE"), &[number.into()], job)?;
    Ok(rows.into_iter().next())
}

/// The oldest open job of this database.
pub fn next(here: &Database) -> Result<Option<Job>> {
    let rows = read(
        select_jobs!(
            "j.state OPERATOR(pg_catalog.=) ANY ('{queued,running,pausing,cancelling}') \
             AND j.system_identifier OPERATOR(pg_catalog.=) $1 AND j.database_oid OPERATOR(pg_catalog.=) $2 \
             ORDER BY j.job USING OPERATOR(pg_catalog.<) LIMIT 1"
        ),
        &[here.system_identifier.as_str().into(), Oid::from(here.oid).into()],
        job,
    )?;
    Ok(rows.into_iter().next())
}

/// The state of a job, as of now; `None` where there is no such job.
pub fn state(number: i64) -> Result<Option<JobState>> {
    let rows = read("SELECT j.state FROM runbook.job AS j WHERE j.job OPERATOR(pg_catalog.=) $1", &[number.into()], |row| {
        read_state(&row.get::<String>(1)?)
    })?;
    Ok(rows.into_iter().next())
}

fn read_state(text: &str) -> Result<JobState> {
    JobState::parse(text).ok_or_else(|| internal("a job has no state"))
}

/// Notes that a worker has taken a job up; false if it has ended meanwhile.
pub fn begin(number: i64, pid: i32) -> Result<bool> {
    let rows = write(
        "UPDATE runbook.job AS j SET state = CASE WHEN j.state OPERATOR(pg_catalog.=) 'queued' THEN 'running' ELSE j.state END, \
             worker_pid = $2, starts = j.starts OPERATOR(pg_catalog.+) 1, \
             started_at = COALESCE(j.started_at, pg_catalog.clock_timestamp()), finished_at = NULL, note = NULL, error = NULL \
         WHERE j.job OPERATOR(pg_catalog.=) $1 \
             AND j.state OPERATOR(pg_catalog.=) ANY ('{queued,running,pausing,cancelling}') RETURNING 1",
        &[number.into(), pid.into()],
        |row| row.get::<i32>(1),
    )?;
    Ok(!rows.is_empty())
}

/// Counts a worker that is started for a job that has lost its own.
pub fn revived(number: i64) -> Result<()> {
    execute(
        "UPDATE runbook.job AS j SET idle_starts = j.idle_starts OPERATOR(pg_catalog.+) 1 WHERE j.job OPERATOR(pg_catalog.=) $1",
        &[number.into()],
    )
}

/// Says what a job is about, for people; `None` clears it. Whoever asks for something in a transaction that stays open has locked the job: the
/// work goes on without the note then.
pub fn note(number: i64, text: Option<&str>) -> Result<()> {
    execute(
        "UPDATE runbook.job AS j SET note = $2 FROM (SELECT o.job FROM runbook.job AS o WHERE o.job OPERATOR(pg_catalog.=) $1 \
             FOR NO KEY UPDATE SKIP LOCKED) AS free \
         WHERE j.job OPERATOR(pg_catalog.=) free.job AND j.note IS DISTINCT FROM $2",
        &[number.into(), text.map(str::to_owned).into()],
    )
}

/// Whether a process is a worker of jobs in this database.
pub fn is_worker(pid: i32) -> Result<bool> {
    let rows = read(
        "SELECT true FROM pg_catalog.pg_stat_activity AS a WHERE a.pid OPERATOR(pg_catalog.=) $1 \
             AND a.backend_type OPERATOR(pg_catalog.=) 'pg_runbook job' \
             AND a.datname OPERATOR(pg_catalog.=) pg_catalog.current_database()",
        &[pid.into()],
        |row| row.get::<bool>(1),
    )?;
    Ok(!rows.is_empty())
}

/// Another process that works on an open job of this database, whatever has become of its locks.
pub fn other_worker() -> Result<Option<i32>> {
    let rows = read(
        "SELECT j.worker_pid FROM runbook.job AS j JOIN pg_catalog.pg_stat_activity AS a ON a.pid OPERATOR(pg_catalog.=) j.worker_pid \
         WHERE j.state OPERATOR(pg_catalog.=) ANY ('{queued,running,pausing,cancelling}') \
             AND a.backend_type OPERATOR(pg_catalog.=) 'pg_runbook job' AND a.pid OPERATOR(pg_catalog.<>) pg_catalog.pg_backend_pid() \
             AND a.datname OPERATOR(pg_catalog.=) pg_catalog.current_database() LIMIT 1",
        &[],
        |row| row.get::<i32>(1),
    )?;
    Ok(rows.into_iter().next())
}

/// What a job waits for or is about.
pub fn note_of(number: i64) -> Result<Option<String>> {
    let rows = read("SELECT j.note FROM runbook.job AS j WHERE j.job OPERATOR(pg_catalog.=) $1", &[number.into()], |row| {
        row.maybe::<String>(1)
    })?;
    Ok(rows.into_iter().flatten().next())
}

/// Puts a job that has stopped into the queue again; from now on it is the job of the login that asks.
pub fn requeue(job: i64, (login, name): (u32, &str), role: u32) -> Result<()> {
    execute(
        "UPDATE runbook.job AS j SET state = 'queued', idle_starts = 0, finished_at = NULL, note = NULL, error = NULL, \
             login = $2, login_name = $3, role = $4, timeline = $5 WHERE j.job OPERATOR(pg_catalog.=) $1",
        &[job.into(), Oid::from(login).into(), name.into(), Oid::from(role).into(), number(timeline::current()).into()],
    )
}

/// Notes that a worker has got somewhere; false if that could not be noted now.
pub fn moved(number: i64) -> Result<bool> {
    let rows = write(
        "WITH free AS (SELECT j.job, j.idle_starts FROM runbook.job AS j WHERE j.job OPERATOR(pg_catalog.=) $1 \
             FOR NO KEY UPDATE SKIP LOCKED), \
         noted AS (UPDATE runbook.job AS j SET idle_starts = 0 FROM free AS f \
             WHERE j.job OPERATOR(pg_catalog.=) f.job AND f.idle_starts OPERATOR(pg_catalog.<>) 0) \
         SELECT 1 FROM free AS f",
        &[number.into()],
        |row| row.get::<i32>(1),
    )?;
    Ok(!rows.is_empty())
}

/// Sets the state of a job that has not ended; of those that end it, with the time. False if it had.
pub fn set_state(number: i64, state: JobState, error: Option<&Report>) -> Result<bool> {
    let error = error.map(|error| JsonB(serde_json::to_value(error.clone().bounded()).unwrap_or_default()));
    let rows = write(
        "UPDATE runbook.job AS j SET state = $2, error = COALESCE($3, j.error), note = NULL, finished_at = \
             CASE WHEN $2 OPERATOR(pg_catalog.=) ANY ('{finished,failed,cancelled}') THEN pg_catalog.clock_timestamp() END \
         WHERE j.job OPERATOR(pg_catalog.=) $1 AND j.state OPERATOR(pg_catalog.<>) ALL ('{finished,failed,cancelled}') RETURNING 1",
        &[number.into(), state.as_str().into(), error.into()],
        |row| row.get::<i32>(1),
    )?;
    Ok(!rows.is_empty())
}

/// Notifies listeners if no process works on a job any longer.
pub fn tell(number: i64) -> Result<()> {
    read(
        "SELECT pg_catalog.pg_notify('runbook_jobs', pg_catalog.json_build_object('job', j.job, 'state', j.state)::pg_catalog.text)::pg_catalog.text \
         FROM runbook.job AS j WHERE j.job OPERATOR(pg_catalog.=) $1 \
             AND j.state OPERATOR(pg_catalog.=) ANY ('{paused,finished,failed,cancelled}')",
        &[number.into()],
        |_| Ok(()),
    )
    .map(|_| ())
}

/// A step of a job that is done.
#[derive(Debug)]
pub struct Done<'a> {
    /// The job.
    pub job: i64,
    /// Its place in the plan, from 1.
    pub step: i32,
    /// The way.
    pub direction: Direction,
    /// The revision.
    pub revision: &'a str,
    /// The digest that ran.
    pub digest: &'a str,
    /// The head that goes.
    pub gone: Option<&'a str>,
    /// The head that comes.
    pub come: Option<&'a str>,
    /// When the step began, in microseconds since 1970.
    pub started: i64,
    /// Whether the job may have done it before: it has had other workers.
    pub is_again: bool,
}

/// Notes that a job has applied or reverted a revision: marks it, moves at most one head, and keeps the times. False if the
/// revision has another content by now.
pub fn complete_step(done: &Done) -> Result<bool> {
    let rows = write(
        "WITH marked AS (UPDATE runbook.revision AS r SET status = CASE WHEN $1 THEN 'applied' ELSE 'reverted' END, \
                 applied_at = CASE WHEN $1 THEN pg_catalog.clock_timestamp() END, \
                 reverted_at = CASE WHEN NOT $1 THEN pg_catalog.clock_timestamp() END \
             WHERE r.revision OPERATOR(pg_catalog.=) $2 AND r.digest OPERATOR(pg_catalog.=) $3 RETURNING 1), \
         moved AS (UPDATE runbook.applied_head AS h SET revision = $5 WHERE $5 IS NOT NULL AND h.revision OPERATOR(pg_catalog.=) $4), \
         gone AS (DELETE FROM runbook.applied_head AS h WHERE $5 IS NULL AND h.revision OPERATOR(pg_catalog.=) $4), \
         come AS (INSERT INTO runbook.applied_head (revision) SELECT $5 WHERE $4 IS NULL AND $5 IS NOT NULL) \
         SELECT 1 FROM marked AS m",
        &[
            (done.direction == Direction::Upgrade).into(),
            done.revision.into(),
            done.digest.into(),
            done.gone.map(str::to_owned).into(),
            done.come.map(str::to_owned).into(),
        ],
        |row| row.get::<i32>(1),
    )?;
    if done.is_again {
        execute(
            "DELETE FROM runbook.job_step AS s WHERE s.job OPERATOR(pg_catalog.=) $1 AND s.step OPERATOR(pg_catalog.=) $2",
            &[done.job.into(), done.step.into()],
        )?;
    }
    let row = [
        append::value(done.job),
        append::value(done.step),
        append::text(done.revision),
        append::moment(done.started),
        append::moment(clock::micros()),
    ];
    spi::append(c"job_step", &mut [row])?;
    Ok(!rows.is_empty())
}

/// The outcome of a job, for a session that waits: its state, whether a worker runs it, and its error.
pub fn outcome(number: i64) -> Result<Option<(JobState, bool, Option<Report>)>> {
    let rows = read(
        "SELECT j.state, EXISTS (SELECT FROM pg_catalog.pg_stat_activity AS a \
                 WHERE a.backend_type OPERATOR(pg_catalog.=) 'pg_runbook job' \
                 AND a.datname OPERATOR(pg_catalog.=) pg_catalog.current_database()), \
             j.error::pg_catalog.text \
         FROM runbook.job AS j WHERE j.job OPERATOR(pg_catalog.=) $1",
        &[number.into()],
        |row| {
            let error: Option<String> = row.maybe(3)?;
            let error = error.map(|error| serde_json::from_str(&error)).transpose();
            Ok((
                read_state(&row.get::<String>(1)?)?,
                row.get(2)?,
                error.map_err(|error| internal(format!("runbook.job: {error}")))?,
            ))
        },
    )?;
    Ok(rows.into_iter().next())
}
