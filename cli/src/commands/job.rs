//! `runbook jobs`, `wait`, `cancel`, `pause`, `resume`: what workers of the server apply.

use crate::args::{Job, Resume};
use crate::client::{Client, Queries};
use crate::context::{Context, rows};
use crate::error::{Error, Result};
use crate::follow::{self, End};
use crate::output;
use serde_json::json;

/// Prints all jobs, as the view has them.
pub fn list(context: &Context) -> Result<()> {
    let mut client = context.connect()?;
    let jobs = rows(
        &mut client,
        "SELECT job, state, direction, target, revision, step || '/' || steps AS steps, percent, eta::text AS eta, waiting_for, login, \
             requested_at, started_at, finished_at, statement, worker_pid, coalesce(note, error ->> 'message') AS note, error \
         FROM runbook.jobs",
        &[],
    )?;
    let columns =
        ["job", "state", "direction", "target", "steps", "revision", "percent", "eta", "waiting_for", "login", "note"];
    output::rows(context.format(), &jobs, &columns, "there are no jobs")
}

/// Follows a job, and says what became of it.
pub fn watch(client: &mut Client, context: &Context, job: i64, verb: &str) -> Result<()> {
    match follow::follow(client, context, job, verb)? {
        End::Detached => detached(client, context, job),
        End::Finished(done) => {
            let (key, past) = if verb == "downgrade" { ("reverted", "reverted") } else { ("applied", "applied") };
            let steps: Vec<_> =
                done.iter().map(|one| json!({"revision": one.revision, "milliseconds": one.milliseconds})).collect();
            let line = match done.len() {
                0 => "nothing to do".to_owned(),
                1 => format!("1 revision {past}"),
                count => format!("{count} revisions {past}"),
            };
            output::message(context.format(), key, json!(steps), &line)
        }
    }
}

/// Says how to come back to a job, if there is anything to come back to.
pub fn detached(client: &mut Client, context: &Context, job: i64) -> Result<()> {
    let found = rows(client, "SELECT state FROM runbook_internal.jobs_in_force($1) WHERE steps = 0", &[&job])?;
    if !found.is_empty() {
        return output::message(context.format(), "job", json!(job), "nothing to do");
    }
    let line = format!("job {job} continues on the server; to follow it: runbook wait {job}");
    output::message(context.format(), "job", json!(job), &line)
}

/// Follows a job that was started before.
pub fn wait(args: &Job, context: &Context) -> Result<()> {
    let mut client = context.connect()?;
    let verb = direction(&mut client, args.job)?;
    watch(&mut client, context, args.job, &verb)
}

fn direction(client: &mut Client, job: i64) -> Result<String> {
    let found = rows(client, "SELECT direction FROM runbook_internal.jobs_in_force($1)", &[&job])?;
    Ok(found.first().map_or_else(String::new, |row| output::text(row.get("direction"))))
}

/// Calls `runbook.cancel` or `runbook.pause`, as `verb` says, and prints what became of the job.
pub fn ask(verb: &str, args: &Job, context: &Context) -> Result<()> {
    let mut client = context.connect()?;
    let sql = format!("SELECT runbook.{verb}($1)");
    let row = client.query_one(&sql, &[&args.job]).map_err(|error| Error::from_server(&error, false))?;
    let line = match (row.try_get::<_, bool>(0)?, verb) {
        (false, _) => format!("job {} has ended already", args.job),
        (true, "cancel") => format!("job {} is cancelled; what it has applied stays", args.job),
        (true, _) => format!(
            "job {} will stop at the next point from which it can continue; to continue it: runbook resume {}",
            args.job, args.job
        ),
    };
    output::message(context.format(), verb, json!(row.try_get::<_, bool>(0)?), &line)
}

/// Resumes one job, or all that are interrupted, and follows each to its end unless that was declined.
pub fn resume(args: &Resume, context: &Context) -> Result<()> {
    let mut client = context.connect()?;
    let jobs: Vec<i64> = match args.job {
        Some(job) => vec![job],
        None => {
            let sql = "SELECT job FROM runbook.jobs WHERE state = 'interrupted' ORDER BY job";
            let rows = client.query(sql, &[]).map_err(|error| Error::from_server(&error, false))?;
            rows.iter().map(|row| row.try_get(0)).collect::<std::result::Result<_, _>>()?
        }
    };
    for job in &jobs {
        let row = client.query_one("SELECT runbook.resume($1)", &[job]).map_err(|error| Error::from_server(&error, false))?;
        if !row.try_get::<_, bool>(0)? && args.job.is_some() {
            return output::message(context.format(), "resumed", json!([]), &format!("job {job} does not need to be resumed"));
        }
    }
    if jobs.is_empty() {
        return output::message(context.format(), "resumed", json!([]), "no job is interrupted");
    }
    for job in jobs {
        if args.detach {
            detached(&mut client, context, job)?;
        } else {
            let verb = direction(&mut client, job)?;
            watch(&mut client, context, job, &verb)?;
        }
    }
    Ok(())
}
