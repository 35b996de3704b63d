//! One migrator at a time; and retries where a lock was not granted.

use crate::catalog::relations;
use crate::error::{self, refusal};
use crate::ledger;
use crate::pg::execute::lock;
use crate::pg::failure::Failure;
use crate::pg::hooks::lock_wait_monitor;
use crate::store::{job_lines, jobs};
use pgrx::pg_sys::panic::ErrorReport;
use runbook_core::ledger::{Entry, Kind};
use runbook_core::patience;
use serde_json::json;
use std::time::{Duration, Instant};

const PAUSE: Duration = Duration::from_millis(20);

/// Takes the migrator's lock until the end of the transaction, waiting at most `patience`.
///
/// # Errors
/// 55P03 with the holder of the lock; at once if another session waits for this session's snapshot.
pub fn take(patience: Duration) -> error::Result<()> {
    let start = Instant::now();
    let mut looked = start;
    let mut told = false;
    while !lock::try_migrator() || jobs::other_worker()?.is_some() {
        if !told {
            told = true;
            let holder = relations::migrator()?.map_or_else(String::new, |holder| format!(": {holder}"));
            pgrx::notice!("another migrator is at work{holder}; waiting at most {} s", patience.as_secs());
        }
        if looked.elapsed() >= Duration::from_millis(200) {
            looked = Instant::now();
            relations::look_anew()?;
            give_way()?;
        }
        if start.elapsed() >= patience {
            let holder = relations::migrator()?.map(|holder| format!("It is {holder}."));
            return Err(refusal(
                "55P03",
                "another migrator is at work in this database",
                holder,
                Some(
                    "Try again when it has finished, or wait longer: SELECT runbook.configure('migrator_wait', '600');"
                        .to_owned(),
                ),
            ));
        }
        lock::pause(PAUSE);
    }
    Ok(())
}

/// Refuses to wait on where somebody waits for this session: a function can't give its snapshot up, and a concurrent index build, the
/// other migrator's most likely, can't end while it is there.
fn give_way() -> error::Result<()> {
    if !job_lines::is_waited_for()? {
        return Ok(());
    }
    let holder = relations::migrator()?
        .map(|holder| format!("It is {holder}. It builds an index, and waits for this session's snapshot."));
    let hint = "Wait without a snapshot: SELECT runbook.start_upgrade(); then CALL runbook.wait(JOB); or: runbook upgrade";
    Err(refusal("55P03", "another migrator is at work in this database", holder, Some(hint.to_owned())))
}

/// Trying again, until the time for it is spent.
pub struct Retries {
    budget: Duration,
    /// When the first attempt failed.
    since: Option<Instant>,
    attempts: u32,
}

/// An attempt that has failed over a lock, and what comes next.
pub struct Retry {
    /// How long to wait before the next one.
    pub pause: Duration,
    /// For people.
    pub text: String,
    /// For the ledger.
    pub entries: Vec<Entry>,
}

impl Retries {
    /// The clock starts with the first failure.
    pub fn new(budget: Duration) -> Self {
        Self { budget, since: None, attempts: 0 }
    }

    /// Starts counting again: the next statement has not been tried yet.
    pub fn begin_anew(&mut self) {
        (self.since, self.attempts) = (None, 0);
    }

    /// The next attempt after one that failed with `sqlstate`; `None` if a retry is useless or the budget is spent. `place` says where.
    pub fn after(&mut self, sqlstate: &str, message: &str, place: &Place) -> error::Result<Option<Retry>> {
        let seen = lock_wait_monitor::take();
        self.attempts += 1;
        let pause = patience::pause(self.attempts, chance());
        let spent = self.since.get_or_insert_with(Instant::now).elapsed();
        if !patience::is_about_locks(sqlstate) || spent + pause >= self.budget {
            return Ok(None);
        }
        relations::look_anew()?;
        let blockers = job_lines::describe(&seen.blockers)?;
        let mut entries = terminated(&seen, place)?;
        entries.push(ledger::entry(
            Kind::ApplyWaited,
            json!({
                "revision": place.revision, "direction": place.direction, "statement_number": place.statement, "line": place.line,
                "sqlstate": sqlstate, "reason": message, "blockers": blockers, "attempt": self.attempts,
                "pause_us": u64::try_from(pause.as_micros()).unwrap_or(u64::MAX),
            }),
        )?);
        let by = if blockers.is_empty() { String::new() } else { format!("; in the way: {}", blockers.join("; ")) };
        let text = format!(
            "revision {}, statement {}: {message}{by}; attempt {} follows in {:.1} s",
            place.revision,
            place.statement,
            self.attempts + 1,
            pause.as_secs_f64()
        );
        Ok(Some(Retry { pause, text, entries }))
    }

    /// What to add to the last error's DETAIL.
    pub fn spent(&self) -> Option<String> {
        let since = self.since.filter(|_| self.attempts > 1)?;
        Some(format!(
            "It was tried {} times; the last attempt came {:.0} s after the first.",
            self.attempts,
            since.elapsed().as_secs_f64()
        ))
    }
}

/// Where a lock was waited for.
pub struct Place<'a> {
    /// The revision.
    pub revision: &'a str,
    /// `upgrade` or `downgrade`.
    pub direction: &'a str,
    /// Number of the statement; 0 before the first.
    pub statement: usize,
    /// Its line.
    pub line: usize,
}

/// Entries about sessions that were ended because they were in the way.
pub fn terminated(seen: &lock_wait_monitor::Seen, place: &Place) -> error::Result<Vec<Entry>> {
    let entry = |pid: &i32| {
        let reason = "it blocked the migration, and was idle in a transaction for longer than terminate_idle_blockers";
        let facts = json!({"revision": place.revision, "direction": place.direction, "pid": pid, "reason": reason});
        ledger::entry(Kind::BlockerTerminated, facts)
    };
    seen.ended.iter().map(entry).collect()
}

/// A number from 0 to 1.
fn chance() -> f64 {
    let bytes = uuid::Uuid::now_v7().into_bytes();
    f64::from(u16::from_be_bytes([bytes[14], bytes[15]])) / f64::from(u16::MAX)
}

/// Waits between two attempts of a session that holds a snapshot.
///
/// # Errors
/// 55P03 where somebody waits for it.
pub fn pause_in_transaction(pause: Duration) -> Result<(), ErrorReport> {
    let start = Instant::now();
    while start.elapsed() < pause {
        lock::pause(Duration::from_millis(100).min(pause.saturating_sub(start.elapsed())));
        give_way()?;
    }
    Ok(())
}

/// SQLSTATE and message of a failure, as far as it tells them.
pub fn told(failure: &Failure) -> (String, String) {
    match failure {
        Failure::PgError(caught) => (caught.sqlstate(), caught.message()),
        Failure::Report(report) => (String::new(), report.message().to_owned()),
    }
}
