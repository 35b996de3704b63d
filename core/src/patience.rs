//! Waiting for locks: how long, and when to try again.
//!
//! A statement that waits for an exclusive lock makes everybody behind it wait, too. So it waits for a short time, gives the
//! queue free, and tries again after a pause that grows, and that chance makes uneven, so that two never meet in step.

use std::time::Duration;

/// The first pause, before chance.
const FIRST: Duration = Duration::from_millis(250);
/// The longest pause, before chance.
const LONGEST: Duration = Duration::from_secs(15);

/// The pause after the `attempt`th failure (from 1); `chance` from 0 to 1 makes it half as long to half as long again.
pub fn pause(attempt: u32, chance: f64) -> Duration {
    let doubled = FIRST.saturating_mul(2u32.saturating_pow(attempt.saturating_sub(1).min(16)));
    doubled.min(LONGEST).mul_f64(0.5 + chance.clamp(0.0, 1.0))
}

/// Whether trying again may help: the lock was not to be had, or a deadlock was found.
pub fn is_about_locks(sqlstate: &str) -> bool {
    ["55P03", "40P01"].contains(&sqlstate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_bound_and_chance_spreads_them() {
        let at = |attempt| pause(attempt, 0.5);
        assert_eq!(at(1), FIRST);
        assert_eq!(at(2), FIRST * 2);
        assert_eq!(at(60), LONGEST);
        assert_eq!(pause(1, 0.0), FIRST / 2);
        assert_eq!(pause(1, 1.0), FIRST * 3 / 2);
    }
}
