//! Wall-clock time, UTC.

/// Now, as `2026-11-23T13:05:00.123456Z`.
pub fn now() -> String {
    chrono::Utc::now().format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()
}

/// Now, in microseconds since 1970.
pub fn micros() -> i64 {
    chrono::Utc::now().timestamp_micros()
}
