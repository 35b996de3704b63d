//! Where jobs stand, and how they get from one state to another.

use super::words;

words! {
    /// Where a job stands.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    JobState {
        /// It waits for a worker.
        Queued = "queued",
        /// A worker applies it.
        Running = "running",
        /// Its worker stops at the next place where it can go on later.
        Pausing = "pausing",
        /// It waits to be resumed.
        Paused = "paused",
        /// Its worker stops, and removes what it has begun.
        Cancelling = "cancelling",
        /// All its revisions are applied.
        Finished = "finished",
        /// A statement failed, or its login may not go on.
        Failed = "failed",
        /// It was cancelled. What it had applied stays.
        Cancelled = "cancelled",
        /// It is open and no process works on it; stored where it waits for somebody to say whether it shall go on.
        Interrupted = "interrupted",
    }
}

/// What happens to a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobEvent {
    /// A worker takes it up.
    Begins,
    /// `pause()`.
    PauseRequested,
    /// `cancel()`; whether a worker has ever taken it up, and may have left something to remove.
    CancelRequested {
        /// Whether one has.
        has_begun: bool,
    },
    /// `resume()` of a job that had stopped.
    Resumed,
    /// All its revisions are applied, or there were none.
    Completes,
    /// Its worker has stopped where it can go on later.
    Pauses,
    /// Its worker has stopped for good.
    Cancels,
    /// It can't go on.
    Fails,
    /// The server was recovered to an earlier moment: whether it shall go on, a person says.
    Recovered,
}

impl JobState {
    /// The state after an event; `None` where that can't be. The same state where nothing changes.
    pub const fn after(self, event: JobEvent) -> Option<Self> {
        use JobEvent::*;
        use JobState::*;
        Some(match (self, event) {
            (Queued, Begins) => Running,
            (Running | Pausing | Cancelling, Begins) => self,

            (Queued, PauseRequested) => Paused,
            (Running, PauseRequested) => Pausing,
            (Pausing | Paused, PauseRequested) => self,

            (Queued | Paused | Interrupted, CancelRequested { has_begun: false }) => Cancelled,
            (Queued | Paused | Running | Pausing | Cancelling | Interrupted, CancelRequested { .. }) => Cancelling,

            (Paused | Failed | Cancelled | Interrupted, Resumed) => Queued,

            (Queued | Running | Pausing | Cancelling, Recovered) => Interrupted,

            (Queued | Running | Pausing | Paused | Cancelling, Completes) => Finished,
            (Queued | Running | Pausing | Paused | Cancelling, Pauses) => Paused,
            (Queued | Running | Pausing | Paused | Cancelling, Cancels) => Cancelled,
            (Queued | Running | Pausing | Paused | Cancelling, Fails) => Failed,

            _ => return None,
        })
    }

    /// Whether a worker works on it, or should.
    pub const fn is_open(self) -> bool {
        self.after(JobEvent::Begins).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::{JobEvent, JobState};
    use JobEvent::*;
    use JobState::*;

    #[test]
    fn every_edge_leads_where_the_table_says() {
        let (at_once, later) = (CancelRequested { has_begun: false }, CancelRequested { has_begun: true });
        let events = [Begins, PauseRequested, at_once, later, Resumed, Completes, Pauses, Cancels, Fails, Recovered];
        let table: [(JobState, [Option<JobState>; 10]); 9] = [
            (
                Queued,
                [
                    Some(Running),
                    Some(Paused),
                    Some(Cancelled),
                    Some(Cancelling),
                    None,
                    Some(Finished),
                    Some(Paused),
                    Some(Cancelled),
                    Some(Failed),
                    Some(Interrupted),
                ],
            ),
            (
                Running,
                [
                    Some(Running),
                    Some(Pausing),
                    Some(Cancelling),
                    Some(Cancelling),
                    None,
                    Some(Finished),
                    Some(Paused),
                    Some(Cancelled),
                    Some(Failed),
                    Some(Interrupted),
                ],
            ),
            (
                Pausing,
                [
                    Some(Pausing),
                    Some(Pausing),
                    Some(Cancelling),
                    Some(Cancelling),
                    None,
                    Some(Finished),
                    Some(Paused),
                    Some(Cancelled),
                    Some(Failed),
                    Some(Interrupted),
                ],
            ),
            (
                Paused,
                [
                    None,
                    Some(Paused),
                    Some(Cancelled),
                    Some(Cancelling),
                    Some(Queued),
                    Some(Finished),
                    Some(Paused),
                    Some(Cancelled),
                    Some(Failed),
                    None,
                ],
            ),
            (
                Cancelling,
                [
                    Some(Cancelling),
                    None,
                    Some(Cancelling),
                    Some(Cancelling),
                    None,
                    Some(Finished),
                    Some(Paused),
                    Some(Cancelled),
                    Some(Failed),
                    Some(Interrupted),
                ],
            ),
            (Finished, [None; 10]),
            (Failed, [None, None, None, None, Some(Queued), None, None, None, None, None]),
            (Cancelled, [None, None, None, None, Some(Queued), None, None, None, None, None]),
            (Interrupted, [None, None, Some(Cancelled), Some(Cancelling), Some(Queued), None, None, None, None, None]),
        ];
        assert_eq!(table.len(), JobState::ALL.len());
        for (state, row) in table {
            for (event, after) in events.into_iter().zip(row) {
                assert_eq!(state.after(event), after, "{state:?}, {event:?}");
            }
        }
    }

    #[test]
    fn open_jobs_are_those_that_a_worker_takes_up() {
        let open: Vec<&str> = JobState::ALL.iter().filter(|state| state.is_open()).map(|state| state.as_str()).collect();
        assert_eq!(open, ["queued", "running", "pausing", "cancelling"]);
    }
}
