//! Following a job of the server: a line for each revision that is done, a bar on a terminal, and what Ctrl-C means meanwhile.

use crate::args::Format;
use crate::client::{Client, Queries};
use crate::context::{Context, rows};
use crate::error::{Error, Kind, Result};
use crate::interrupt;
use crate::output::{self, Line, Progress, Row, Style};
use postgres::fallible_iterator::FallibleIterator;
use runbook_core::vocabulary::job_state::JobState;
use serde_json::Value;
use std::time::{Duration, Instant};

/// How often the job is looked at: often while it is young. The server tells when it ends; but not through every proxy.
const FIRST_PAUSE: Duration = Duration::from_millis(2);
const LONGEST_PAUSE: Duration = Duration::from_millis(200);

/// How long a job may be without a worker before one is asked for.
const GRACE: Duration = Duration::from_millis(500);

/// A revision that the job has done, with the milliseconds that it took.
pub struct Done {
    /// Its id.
    pub revision: String,
    /// From the start of its step to the end, on the server's clock.
    pub milliseconds: f64,
}

/// How following ends.
pub enum End {
    /// The job has finished.
    Finished(Vec<Done>),
    /// The job continues on the server.
    Detached,
}

/// Follows a job to its end; `verb` begins the line of each revision.
///
/// A connection that is lost is made again; the job goes on meanwhile.
pub fn follow(client: &mut Client, context: &Context, job: i64, verb: &str) -> Result<End> {
    interrupt::install();
    let mut view = View::new(context, verb);
    let mut done = vec![];
    loop {
        match watch(client, &mut view, job, &mut done) {
            Err(error) if error.is_connection() => {
                view.clear();
                *client = reconnect(context, job, error)?;
            }
            Err(error) => return Err(error),
            Ok(Watched::Failed(error)) => return Err(error),
            Ok(Watched::Finished) => return Ok(End::Finished(done)),
            Ok(Watched::Detached) => return Ok(End::Detached),
        }
    }
}

/// How long a lost connection is tried again.
const RECONNECT: Duration = Duration::from_secs(10);

fn reconnect(context: &Context, job: i64, lost: Error) -> Result<Client> {
    output::diagnostic(&Line::new(format!("the connection was lost ({}); job {job} continues on the server", lost.message())));
    let (started, mut pause) = (Instant::now(), FIRST_PAUSE);
    loop {
        match context.connect() {
            Ok(client) => return Ok(client),
            Err(error) if !error.is_connection() || started.elapsed() > RECONNECT => {
                let message = format!("job {job} continues on the server, which can't be reached: {}", error.message());
                return Err(error.told(message, format!("To follow it: runbook wait {job}")));
            }
            Err(_) => std::thread::sleep(pause),
        }
        pause = (pause * 2).min(Duration::from_secs(1));
    }
}

enum Watched {
    Finished,
    Detached,
    /// The job has failed, and its error is what was told; the connection is there still.
    Failed(Error),
}

/// Follows a job as long as the connection lasts; what is done goes to `done`.
fn watch(client: &mut Client, view: &mut View, job: i64, done: &mut Vec<Done>) -> Result<Watched> {
    let started = Instant::now();
    let (mut pause, mut revived) = (FIRST_PAUSE, started);
    // It is only sooner with it.
    let _ = client.batch_execute("LISTEN runbook_jobs");
    loop {
        let state = look(client, job)?;
        // After the state, so that a finished job has shown all its steps.
        for step in steps(client, job, done.len())? {
            view.line(&step)?;
            let milliseconds = step.get("milliseconds").and_then(Value::as_f64).unwrap_or_default();
            done.push(Done { revision: output::text(step.get("revision")), milliseconds });
        }
        match JobState::parse(&output::text(state.get("state"))) {
            Some(JobState::Finished) => {
                view.clear();
                return Ok(Watched::Finished);
            }
            Some(JobState::Failed | JobState::Cancelled | JobState::Paused) => {
                view.clear();
                // The server's own error has every field.
                let ended = client.batch_execute(&format!("CALL runbook.wait({job})"));
                return match ended {
                    Err(error) if client.is_closed() => Err(Error::from_server(&error, false)),
                    Err(error) => Ok(Watched::Failed(Error::from_server(&error, true))),
                    Ok(()) => Ok(Watched::Finished),
                };
            }
            Some(JobState::Interrupted) if output::text(state.get("note")).starts_with("the server was recovered") => {
                view.clear();
                let message = format!("job {job} is interrupted: {}", output::text(state.get("note")));
                return Ok(Watched::Failed(Error::new(
                    Kind::Failed,
                    message,
                    format!("If it shall go on: runbook resume {job}"),
                )));
            }
            Some(JobState::Interrupted | JobState::Queued) if started.elapsed() > GRACE && revived.elapsed() > GRACE => {
                revived = Instant::now();
                revive(client, job)?;
            }
            _ => {}
        }
        view.show(&state, started.elapsed());
        if interrupt::taken() {
            match view.ask()? {
                Wish::GoOn => {}
                Wish::Detach => {
                    view.clear();
                    return Ok(Watched::Detached);
                }
                Wish::Cancel => drop(client.query_one("SELECT runbook.cancel($1)", &[&job])?),
            }
        }
        // Whatever it says, the job itself is looked at.
        client.notifications().timeout_iter(pause).next().map_err(|error| Error::from_server(&error, false))?;
        pause = (pause * 3 / 2).min(if started.elapsed() < Duration::from_secs(5) { LONGEST_PAUSE / 2 } else { LONGEST_PAUSE });
    }
}

/// A job whose worker is gone, or never came, is taken up again.
fn revive(client: &mut Client, job: i64) -> Result<()> {
    // Whoever may only look waits on.
    match client.query_one("SELECT runbook.resume($1)", &[&job]) {
        Err(error) if error.as_db_error().is_none() => Err(Error::from_server(&error, false)),
        _ => Ok(()),
    }
}

fn look(client: &mut Client, job: i64) -> Result<Row> {
    let sql = "SELECT state, revision, step, steps, percent, eta::text AS eta, waiting_for, note FROM runbook_internal.jobs_in_force($1)";
    let found = rows(client, sql, &[&job])?.into_iter().next();
    found.ok_or_else(|| Error::new(Kind::Target, format!("job {job} does not exist"), "runbook jobs lists them"))
}

fn steps(client: &mut Client, job: i64, from: usize) -> Result<Vec<Row>> {
    let from = i64::try_from(from).unwrap_or(i64::MAX);
    // Steps that another job had done already are not among them, so numbers may have gaps.
    rows(
        client,
        "SELECT s.revision, r.message, extract(epoch FROM s.finished_at - s.started_at)::float8 * 1000 AS milliseconds \
         FROM runbook.job_steps AS s LEFT JOIN runbook.revisions AS r ON r.revision = s.revision WHERE s.job = $1 \
         ORDER BY s.step OFFSET $2",
        &[&job, &from],
    )
}

enum Wish {
    GoOn,
    Detach,
    Cancel,
}

/// What a person sees.
struct View<'a> {
    verb: &'a str,
    prints: bool,
    waits: bool,
    bar: Progress,
    last: String,
}

impl<'a> View<'a> {
    fn new(context: &Context, verb: &'a str) -> Self {
        let prints = context.format() == Format::Table;
        Self {
            verb,
            prints,
            bar: Progress::new(prints && !context.is_quiet()),
            waits: prints && !context.is_quiet(),
            last: String::new(),
        }
    }

    /// A revision is done.
    fn line(&self, step: &Row) -> Result<()> {
        if !self.prints {
            return Ok(());
        }
        let milliseconds = step.get("milliseconds").and_then(Value::as_f64).unwrap_or_default();
        let (id, message) = (output::text(step.get("revision")), output::text(step.get("message")));
        let line = Line::new(self.verb).then(" ").styled(Style::Bold, id).then("  ").then(message).then("  ");
        let line = line.styled(Style::Green, format!("{milliseconds:.1} ms"));
        self.bar.suspend(|| output::line(&line))
    }

    /// How far the job is, and what it waits for.
    fn show(&mut self, state: &Row, elapsed: Duration) {
        let text = |key: &str| output::text(state.get(key));
        let waits = match (text("waiting_for"), text("note")) {
            (waiting, _) if !waiting.is_empty() => format!("waiting for {waiting}"),
            (_, note) => note,
        };
        if self.bar.is_shown() {
            // What is over in a moment needs no bar.
            if elapsed < Duration::from_millis(300) {
                return;
            }
            let number = |key: &str| state.get(key).and_then(Value::as_f64).unwrap_or_default();
            let (step, steps) = (number("step"), number("steps").max(1.0));
            let percent = state.get("percent").and_then(Value::as_f64);
            let share = (step + percent.unwrap_or_default() / 100.0) / steps;
            let before = format!("{} {} {:.0}/{steps:.0}", self.verb, text("revision"), step + 1.0);
            // What the bar shows, the figure says: how much of all steps is done. The time left is that of the step.
            let eta = if text("eta").is_empty() { String::new() } else { format!(", {} left of this step", text("eta")) };
            let message = format!("{:.0} %{eta}, {} s", share * 100.0, elapsed.as_secs());
            self.bar.draw(share, &before, &message);
        }
        // On a line of its own, where no width cuts a name off.
        if self.waits && !waits.is_empty() && changed(&waits) != changed(&self.last) {
            self.bar.suspend(|| output::diagnostic(&Line::new(&waits)));
            self.last = waits;
        }
    }

    fn clear(&self) {
        self.bar.clear();
    }

    /// What Ctrl-C means: on a terminal the person says it.
    fn ask(&self) -> Result<Wish> {
        if !output::is_interactive() {
            return Ok(Wish::Detach);
        }
        let ask = || -> std::io::Result<Wish> {
            output::prompt("The job continues on the server. [d]etach, [c]ancel the job, or keep watching? ")?;
            let mut answer = String::new();
            std::io::stdin().read_line(&mut answer)?;
            Ok(match answer.trim().to_lowercase().chars().next() {
                Some('d') => Wish::Detach,
                Some('c') => Wish::Cancel,
                _ => Wish::GoOn,
            })
        };
        Ok(self.bar.suspend(ask)?)
    }
}

/// A text without its numbers: the seconds of somebody who is in the way are no news.
fn changed(text: &str) -> String {
    text.chars().filter(|c| !c.is_ascii_digit()).collect()
}
