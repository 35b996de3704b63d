//! The load that a backfill puts on the server, and when the backfill pauses.

use crate::apply::job::step::Stepped;
use crate::apply::job::stop_request::stop_requested;
use crate::pg::execute::job::{self, Commit, transaction};
use crate::settings::Settings;
use crate::store::backfills::{self, Load};
use crate::store::jobs::{self, Job};
use runbook_core::report::Report;
use std::time::{Duration, Instant};

/// How often the server is asked what the backfill weighs on it.
const LOOK: Duration = Duration::from_millis(250);
/// How long it rests before it looks again.
const REST: Duration = Duration::from_secs(1);
/// The longest that it makes up for what was written too fast: others write, too.
const LONGEST_DEBT: Duration = Duration::from_secs(60);

/// Looks at what the backfill weighs on the server, and rests where it is too much.
#[derive(Default)]
pub struct Throttle {
    looked: Option<Instant>,
    /// Where the write-ahead log was, and when.
    wal: Option<(Instant, i64)>,
}

impl Throttle {
    /// Looks whether it is time, and rests as long as it is too much.
    pub fn hold(&mut self, job: &Job, table: u32) -> Result<Stepped, Report> {
        // A rate is kept to from batch to batch.
        if self.wal.is_none() && self.looked.is_some_and(|looked| looked.elapsed() < LOOK) {
            return Ok(Stepped::Done);
        }
        let mut noted = false;
        loop {
            self.looked = Some(Instant::now());
            let (load, settings, asked) =
                transaction(Commit::InOrder, || Ok((backfills::load(table)?, Settings::load()?, stop_requested(job)?)))?;
            let reason = self.reason(&settings, &load);
            if asked {
                return Ok(Stepped::Asked);
            }
            let Some((reason, pause)) = reason else {
                if noted {
                    transaction(Commit::InOrder, || Ok(jobs::note(job.job, None)?))?;
                }
                return Ok(Stepped::Done);
            };
            transaction(Commit::InOrder, || Ok(jobs::note(job.job, Some(&reason))?))?;
            noted = true;
            if job::sleep(pause) {
                return Ok(Stepped::Asked);
            }
        }
    }

    /// Why to pause, and for how long.
    fn reason(&mut self, settings: &Settings, load: &Load) -> Option<(String, Duration)> {
        if let (Some(most), Some((standby, seconds))) = (settings.backfill_max_lag(), &load.lag)
            && *seconds > most.as_secs_f64()
        {
            return Some((format!("throttled: standby {standby} is {seconds:.0} s behind"), REST));
        }
        if let (Some(most), Some(dead)) = (settings.backfill_max_dead(), load.dead)
            && dead > f64::from(most)
        {
            return Some((format!("throttled: {dead:.0} % of the table's rows are dead, and a vacuum is running"), REST));
        }
        let now = Instant::now();
        let Some(most) = settings.backfill_max_wal() else {
            self.wal = None;
            return None;
        };
        // What was written too fast is made up for; time without work is not saved up.
        let (since, from) = *self.wal.get_or_insert((now, load.wal));
        #[allow(clippy::cast_precision_loss, reason = "megabytes per second")]
        let (written, allowed) = ((load.wal - from) as f64, most as f64);
        let rest = written / allowed - now.duration_since(since).as_secs_f64();
        let debt = rest.clamp(0.0, LONGEST_DEBT.as_secs_f64());
        if rest <= 0.01 || rest > debt {
            #[allow(clippy::cast_possible_truncation, reason = "bytes of a minute")]
            let owed = (debt * allowed) as i64;
            self.wal = Some((now, load.wal - owed));
        }
        (rest > 0.01).then(|| {
            let rate = written / now.duration_since(since).as_secs_f64().max(0.001) / 1_048_576.0;
            (format!("throttled: {rate:.0} MB of write-ahead log per second"), Duration::from_secs_f64(rest.min(10.0)))
        })
    }
}
