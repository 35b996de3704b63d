//! Timelines: how a server came to where it is, as its history files say.

/// What PostgreSQL writes where recovery went on to the end: of a standby that was promoted, and of an archive.
const TO_THE_END: &str = "no recovery target specified";

/// Why recovery stopped before the end, since timeline `since` was the one in use; `None` if it never did. `history` is the history file of
/// the timeline in use now: lines of a timeline, the position where it was left, and the reason (`timeline.c` in PostgreSQL's sources).
pub fn stopped_early(history: &str, since: u32) -> Option<&str> {
    let lines = history.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .filter_map(|line| {
            let mut fields = line.splitn(3, [' ', '\t']);
            let timeline: u32 = fields.next()?.parse().ok()?;
            let (_, reason) = (fields.next()?, fields.next().unwrap_or_default().trim());
            (timeline >= since && reason != TO_THE_END).then_some(reason)
        })
        .next()
}

#[cfg(test)]
mod tests {
    use super::stopped_early;

    #[test]
    fn only_a_target_stops_early_and_only_since_then() {
        let promoted = "1\t0/3000158\tno recovery target specified\n";
        let recovered = "1\t0/3000158\tno recovery target specified\n\n2\t0/5000000\tbefore 2026-11-30 20:00:00+00\n";
        assert_eq!(stopped_early(promoted, 1), None);
        assert_eq!(stopped_early(recovered, 1), Some("before 2026-11-30 20:00:00+00"));
        assert_eq!(stopped_early(recovered, 2), Some("before 2026-11-30 20:00:00+00"));
        assert_eq!(stopped_early(recovered, 3), None);
        assert_eq!(stopped_early("# a comment\n1\t0/1\tat restore point \"a b\"\n", 1), Some("at restore point \"a b\""));
        assert_eq!(stopped_early("", 1), None);
    }
}
