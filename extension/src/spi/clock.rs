//! Intervals, deadlines and time zones, as PostgreSQL reckons them; and the fingerprint of the catalog.

use crate::error::{Result, internal};
use crate::spi::read;
use pgrx::datum::Interval;

/// The fingerprint of the catalog as it is now.
pub fn fingerprint() -> Result<String> {
    let rows = read("SELECT runbook.fingerprint()", &[], |row| row.get(1))?;
    rows.into_iter().next().ok_or_else(|| internal("fingerprint() returned no row"))
}

/// Whether PostgreSQL takes the text for a positive interval, of less than a thousand years: of a longer one there is no deadline.
pub fn is_positive_interval(text: &str) -> Result<bool> {
    let rows = read(
        "SELECT $1::pg_catalog.interval OPERATOR(pg_catalog.>) '0'::pg_catalog.interval \
             AND $1::pg_catalog.interval OPERATOR(pg_catalog.<) '1000 years'::pg_catalog.interval",
        &[text.into()],
        |row| row.get(1),
    )?;
    Ok(rows.first() == Some(&true))
}

/// Whether a time zone of that name exists.
pub fn time_zone_exists(name: &str) -> Result<bool> {
    let rows = read(
        "SELECT true FROM pg_catalog.pg_timezone_names AS z WHERE z.name OPERATOR(pg_catalog.=) $1",
        &[name.into()],
        |row| row.get::<bool>(1),
    )?;
    Ok(!rows.is_empty())
}

/// SQL for a moment so much later. In UTC, whose days have 24 hours: by the rules of a time zone that a session has made up, "1 day" can be
/// a fortnight.
macro_rules! later {
    ($moment:literal, $interval:literal) => {
        concat!("pg_catalog.timezone('UTC', pg_catalog.timezone('UTC', ", $moment, ") OPERATOR(pg_catalog.+) ", $interval, ")")
    };
}
pub(crate) use later;

/// A deadline `valid_for` from now: in microseconds since 1970, as text in UTC, and whether it is later than now and not later
/// than `at_most` from now.
pub fn deadline(valid_for: Interval, at_most: &str) -> Result<(i64, String, bool)> {
    let rows = read(
        concat!(
            "SELECT (EXTRACT(epoch FROM t.at) OPERATOR(pg_catalog.*) 1000000)::pg_catalog.int8, \
                 pg_catalog.to_char(pg_catalog.timezone('UTC', t.at), 'YYYY-MM-DD HH24:MI:SS \"UTC\"'), \
                 t.at OPERATOR(pg_catalog.>) t.now AND t.at OPERATOR(pg_catalog.<=) ",
            later!("t.now", "$2::pg_catalog.interval"),
            " FROM (SELECT n.now, ",
            later!("n.now", "$1"),
            " AS at FROM (SELECT pg_catalog.clock_timestamp() AS now) AS n) AS t"
        ),
        &[valid_for.into(), at_most.into()],
        |row| Ok((row.get(1)?, row.get(2)?, row.get(3)?)),
    )?;
    rows.into_iter().next().ok_or_else(|| internal("a deadline could not be computed"))
}
