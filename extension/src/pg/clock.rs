//! Wall-clock time, UTC.

/// Now, as `2026-11-23T13:05:00.123456Z`.
pub fn now() -> String {
    chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Micros, true)
}

/// Now, in microseconds since 1970.
pub fn micros() -> i64 {
    chrono::Utc::now().timestamp_micros()
}

/// Microseconds from 1970 to 2000, where PostgreSQL's time begins (utils/timestamp.h).
pub const POSTGRES_EPOCH: i64 = 946_684_800_000_000;
