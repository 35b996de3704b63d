//! How far a statement has come, from what `pg_stat_progress_*` tells.

use std::time::Duration;

/// The phases of CREATE INDEX and REINDEX, by their names in `pg_stat_progress_create_index`, with the percentage at which each
/// begins. A concurrent build reads the table twice.
const CONCURRENT: [(&str, f64); 10] = [
    ("initializing", 0.0),
    ("waiting for writers before build", 1.0),
    ("building index: initializing", 2.0),
    ("building index: scanning table", 3.0),
    ("building index: sorting live tuples", 38.0),
    ("building index: loading tuples in tree", 45.0),
    ("waiting for writers before validation", 60.0),
    ("index validation: scanning index", 61.0),
    ("index validation: sorting tuples", 68.0),
    ("index validation: scanning table", 70.0),
];
const CONCURRENT_LAST: [(&str, f64); 3] = [
    ("waiting for old snapshots", 97.0),
    ("waiting for readers before marking dead", 98.0),
    ("waiting for readers before dropping", 99.0),
];
const PLAIN: [(&str, f64); 5] = [
    ("initializing", 0.0),
    ("building index: initializing", 1.0),
    ("building index: scanning table", 2.0),
    ("building index: sorting live tuples", 60.0),
    ("building index: loading tuples in tree", 70.0),
];

/// A row of a progress view.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observed {
    /// `CREATE INDEX CONCURRENTLY`, `VACUUM`, `backfill`, …
    pub command: String,
    /// Its phase.
    pub phase: String,
    /// What of it is done, in the phase's own unit.
    pub done: i64,
    /// What there is to do; 0 if that is not known.
    pub total: i64,
}

/// Percent of the statement, 0 to 100; `None` if that can't be told.
pub fn percent(seen: &Observed) -> Option<f64> {
    #[allow(clippy::cast_precision_loss, reason = "a share, shown with one digit")]
    let share = if seen.total > 0 { (seen.done as f64 / seen.total as f64).clamp(0.0, 1.0) } else { 0.0 };
    let phases: Vec<(&str, f64)> = match seen.command.as_str() {
        "CREATE INDEX CONCURRENTLY" | "REINDEX CONCURRENTLY" => CONCURRENT.into_iter().chain(CONCURRENT_LAST).collect(),
        "CREATE INDEX" | "REINDEX" => PLAIN.to_vec(),
        _ if seen.total > 0 => return Some(100.0 * share),
        _ => return None,
    };
    // Names are those of version 15; a phase may carry the access method's own words behind a colon.
    let at = phases.iter().rposition(|(name, _)| seen.phase == *name || seen.phase.starts_with(&format!("{name}:")))?;
    let (from, to) = (phases[at].1, phases.get(at + 1).map_or(100.0, |next| next.1));
    Some(from + (to - from) * share)
}

/// The time that is left, if it goes on as it went.
pub fn eta(percent: f64, elapsed: Duration) -> Option<Duration> {
    (1.0..=100.0).contains(&percent).then(|| elapsed.mul_f64((100.0 - percent) / percent))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(command: &str, phase: &str, done: i64, total: i64) -> Observed {
        Observed { command: command.into(), phase: phase.into(), done, total }
    }

    #[test]
    fn a_concurrent_build_moves_forward_through_its_phases() {
        let command = "CREATE INDEX CONCURRENTLY";
        let mut last = -1.0;
        for (phase, _) in CONCURRENT.iter().chain(&CONCURRENT_LAST) {
            for done in [0, 50, 100] {
                let now = percent(&seen(command, phase, done, 100)).unwrap();
                assert!(now >= last, "{phase} {done}: {now} after {last}");
                last = now;
            }
        }
        assert!((last - 100.0).abs() < 1e-9);
    }

    #[test]
    fn what_nobody_counts_has_no_percentage() {
        assert_eq!(percent(&seen("VACUUM", "initializing", 0, 0)), None);
        assert_eq!(percent(&seen("backfill", "", 25, 100)), Some(25.0));
        assert_eq!(eta(0.2, Duration::from_secs(1)), None);
        assert_eq!(eta(25.0, Duration::from_secs(10)), Some(Duration::from_secs(30)));
    }
}
