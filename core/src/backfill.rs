//! Backfills: a large change of data, cut into batches along a key.
//!
//! ```sql
//! -- backfill: table orders; key id; where total IS NULL; target 500ms; pause 50ms
//!
//! -- runbook: upgrade
//! UPDATE orders SET total = price * quantity WHERE id BETWEEN :from AND :to;
//! ```
//!
//! `:from` and `:to` are the first and the last key of a batch, both included. A statement that has `:limit` instead is repeated
//! until it changes no row.

use crate::error::{Error, Result};
use crate::statement::skip_blank;
use std::time::Duration;

/// What the header says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backfill {
    /// The table, as SQL spells it.
    pub table: String,
    /// Columns of the key, as the catalog spells them; empty: those of the primary key.
    pub key: Vec<String>,
    /// A condition for the rows that still must be changed; without one, every row is processed once.
    pub filter: Option<String>,
    /// Rows of the first batch, or of every batch where no target is given.
    pub batch: Option<u64>,
    /// How long a batch may take; `None`: every batch has the same number of rows.
    pub target: Option<Duration>,
    /// How long to rest between batches.
    pub pause: Duration,
    /// Whether running a batch twice must change nothing more than running it once.
    pub repeatable: bool,
}

/// The target where the header names neither target nor batch.
pub const TARGET: Duration = Duration::from_millis(500);
/// Rows of the first batch where the header does not say.
pub const FIRST_BATCH: u64 = 1000;
/// A batch so short that it disturbs no one: up to here batches grow fast, and waiting sessions do not shrink them.
const SHORT: Duration = Duration::from_millis(20);
/// How long longer batches take to get twice as large.
const RECOVERY: Duration = Duration::from_secs(30);
/// The largest batch.
const LARGEST_BATCH: u64 = 1_000_000;

/// How the batches of a statement are cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// By `:from` and `:to`.
    Range,
    /// By `:limit`.
    Limit,
}

const FIX: &str = "Write, for example: -- backfill: table orders; key id; where total IS NULL; target 500ms; pause 50ms";

fn wrong(problem: impl Into<String>, fix: &str) -> Error {
    Error::Submission { problem: problem.into(), fix: fix.to_owned() }
}

impl Backfill {
    /// Reads the header's value.
    ///
    /// # Errors
    /// [`Error::Submission`] with what is wrong and an example.
    pub fn parse(text: &str) -> Result<Self> {
        let mut found = Self {
            table: String::new(),
            key: vec![],
            filter: None,
            batch: None,
            target: None,
            pause: Duration::ZERO,
            repeatable: true,
        };
        let mut seen: Vec<String> = vec![];
        for part in split(text, ';') {
            let part = part.trim();
            let Some((name, value)) = part.split_once(char::is_whitespace) else {
                return Err(wrong(format!("backfill: \"{part}\" is not a name and a value"), FIX));
            };
            let (name, value) = (name.to_ascii_lowercase(), value.trim());
            if seen.contains(&name) {
                return Err(wrong(format!("backfill: \"{name}\" is given twice"), FIX));
            }
            let bad = |want: &str| wrong(format!("backfill: \"{value}\" is not a valid {name}"), want);
            match name.as_str() {
                "table" => value.clone_into(&mut found.table),
                "key" => found.key = split(value, ',').into_iter().map(|column| identifier(column.trim())).collect(),
                "where" => found.filter = Some(value.to_owned()),
                "batch" => {
                    let rows = value.parse().ok().filter(|rows| (1..=LARGEST_BATCH).contains(rows));
                    found.batch = Some(rows.ok_or_else(|| bad("Give a number of rows from 1 to 1000000."))?);
                }
                "target" => {
                    let target = duration(value).filter(|target| !target.is_zero());
                    found.target = Some(target.ok_or_else(|| bad("Give a time such as 500ms or 2s."))?);
                }
                "pause" => found.pause = duration(value).ok_or_else(|| bad("Give a time such as 50ms or 1s."))?,
                "repeatable" => {
                    found.repeatable = match value {
                        "yes" => true,
                        "no" => false,
                        _ => return Err(bad("The values are yes and no.")),
                    };
                }
                _ => {
                    let known = "The names are table, key, where, batch, target, pause and repeatable.";
                    return Err(wrong(format!("backfill: unknown name \"{name}\""), known));
                }
            }
            seen.push(name);
        }
        if found.table.is_empty() {
            return Err(wrong("backfill: no table is named", FIX));
        }
        if found.batch.is_none() && found.target.is_none() {
            found.target = Some(TARGET);
        }
        Ok(found)
    }

    /// The size of the first batch.
    pub fn first_batch(&self) -> u64 {
        self.batch.unwrap_or(FIRST_BATCH)
    }
}

/// How many rows the batches of a backfill have: so many that one takes the target's time; fewer where others wait for them.
#[derive(Clone, Copy, Debug)]
pub struct Pace(f64);

impl Pace {
    /// Begins with batches of so many rows.
    #[allow(clippy::cast_precision_loss, reason = "at most a million, or it is cut to that")]
    pub fn new(rows: i64) -> Self {
        Self(rows as f64)
    }

    /// The size of the next batch, after one that took `took`, and for which others waited or not when it was about to commit.
    ///
    /// It is halved where others waited. Longer batches than [`SHORT`] double in [`RECOVERY`] at best, so that others wait about as often as
    /// that, whatever their number is.
    pub fn next(&mut self, header: &Backfill, took: Duration, waited: bool) -> i64 {
        let seconds = took.as_secs_f64().max(1e-6);
        let to = |target: Duration| (target.as_secs_f64() / seconds).clamp(0.5, 2.0);
        self.0 *= match header.target {
            None => 1.0,
            Some(target) if waited => to(target.min(SHORT)).min(1.0),
            Some(target) => to(target).min(to(SHORT).max((seconds / RECOVERY.as_secs_f64()).exp2())),
        };
        self.0 = self.0.clamp(1.0, LARGEST_BATCH as f64);
        #[allow(clippy::cast_possible_truncation, reason = "at most a million")]
        let rows = self.0.round() as i64;
        rows
    }
}

/// Splits where `at` stands outside of quotes; empty parts are left out.
fn split(text: &str, at: char) -> Vec<&str> {
    let (mut parts, mut start, mut quote) = (vec![], 0, None);
    for (place, c) in text.char_indices() {
        match quote {
            Some(open) if c == open => quote = None,
            Some(_) => {}
            None if c == '\'' || c == '"' => quote = Some(c),
            None if c == at => {
                parts.push(&text[start..place]);
                start = place + c.len_utf8();
            }
            None => {}
        }
    }
    parts.push(&text[start..]);
    parts.retain(|part| !part.trim().is_empty());
    parts
}

/// An identifier as the catalog spells it.
fn identifier(text: &str) -> String {
    match text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        Some(quoted) => quoted.replace("\"\"", "\""),
        None => text.to_lowercase(),
    }
}

/// `500ms`, `2s`, `1min`.
pub fn duration(text: &str) -> Option<Duration> {
    let digits = text.trim_end_matches(char::is_alphabetic);
    let number: u64 = digits.trim().parse().ok()?;
    match &text[digits.len()..] {
        "ms" => Some(Duration::from_millis(number)),
        "s" => Some(Duration::from_secs(number)),
        "min" => number.checked_mul(60).map(Duration::from_secs),
        "h" => number.checked_mul(3600).map(Duration::from_secs),
        _ => None,
    }
}

/// The names after a colon that stand outside of quotes and comments: byte offset of the colon, and name.
fn names(sql: &str) -> Vec<(usize, &'static str)> {
    let mut found = vec![];
    let mut rest = sql;
    loop {
        rest = skip_blank(rest);
        let Some(first) = rest.chars().next() else { return found };
        let at = sql.len() - rest.len();
        if first == ':' {
            let colons = rest.len() - rest.trim_start_matches(':').len();
            let word = &rest[colons..];
            let end = word.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(word.len());
            let name = ["from", "to", "limit"].into_iter().find(|name| *name == &word[..end]);
            if let (1, Some(name)) = (colons, name) {
                found.push((at, name));
            }
            rest = &rest[colons..];
            continue;
        }
        let length = crate::statement::token_length(rest, first);
        // Our lexer takes a colon for a part of an operator; PostgreSQL's does not.
        let token = &rest[..length];
        let operator = !token.starts_with(['\'', '"', '$']) && !first.is_alphanumeric() && first != '_';
        let length = if operator { token.find(':').filter(|at| *at > 0).unwrap_or(length) } else { length };
        rest = &rest[length..];
    }
}

/// How the batches of a backfill's statement are cut.
///
/// # Errors
/// [`Error::Submission`] where it has neither `:from` and `:to`, nor `:limit`.
pub fn cut(sql: &str) -> Result<Cut> {
    let found = names(sql);
    let has = |name: &str| found.iter().any(|(_, other)| *other == name);
    match (has("from"), has("to"), has("limit")) {
        (true, true, false) => Ok(Cut::Range),
        (false, false, true) => Ok(Cut::Limit),
        _ => Err(wrong(
            "the statement of a backfill needs :from and :to, or :limit",
            "Limit each batch by its key: … WHERE id BETWEEN :from AND :to; or by a number of rows: … WHERE id IN (SELECT id \
             FROM t WHERE … LIMIT :limit).",
        )),
    }
}

/// The statement with parameters of the same length in place of its names, for the parser: positions stay what they are.
pub fn for_parser(sql: &str) -> String {
    replaced(sql, |name| match name {
        "to" => " $2".to_owned(),
        "from" => "   $1".to_owned(),
        _ => "    $1".to_owned(),
    })
}

/// The statement with parameters `$1`, `$2`, … of type text, each cast to the type of its column: first the key `:from`, then the
/// key `:to`; or the limit.
pub fn with_parameters(sql: &str, types: &[String]) -> String {
    let row = |first: usize| {
        let one = |(at, data_type): (usize, &String)| format!("CAST(${} AS {data_type})", first + at);
        let all: Vec<String> = types.iter().enumerate().map(one).collect();
        if all.len() == 1 { all[0].clone() } else { format!("({})", all.join(", ")) }
    };
    replaced(sql, |name| match name {
        "from" => row(1),
        "to" => row(1 + types.len()),
        _ => "CAST($1 AS pg_catalog.int8)".to_owned(),
    })
}

fn replaced(sql: &str, by: impl Fn(&str) -> String) -> String {
    let mut out = String::with_capacity(sql.len());
    let mut copied = 0;
    for (at, name) in names(sql) {
        out.push_str(&sql[copied..at]);
        if out.ends_with(|last: char| last.is_alphanumeric() || ['_', '$', '"', '\''].contains(&last) || !last.is_ascii()) {
            out.push(' ');
        }
        out.push_str(&by(name));
        copied = at + 1 + name.len();
    }
    out.push_str(&sql[copied..]);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_does_not_grow_together_with_the_word_before_it() {
        let types = ["int".to_owned()];
        assert_eq!(with_parameters("id BETWEEN:from AND:to", &types), "id BETWEEN CAST($1 AS int) AND CAST($2 AS int)");
        assert_eq!(with_parameters("(:from)", &types), "(CAST($1 AS int))");
    }

    #[test]
    fn the_header_is_read_with_its_defaults() {
        let one =
            Backfill::parse("table public.orders; key tenant, \"Id\"; where note IS DISTINCT FROM ';'; pause 50ms").unwrap();
        assert_eq!(one.table, "public.orders");
        assert_eq!(one.key, ["tenant", "Id"]);
        assert_eq!(one.filter.as_deref(), Some("note IS DISTINCT FROM ';'"));
        assert_eq!((one.target, one.pause, one.first_batch()), (Some(TARGET), Duration::from_millis(50), FIRST_BATCH));
        assert_eq!(Backfill::parse("table t; batch 10").unwrap().target, None);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, problem) in [
            ("key id", "no table"),
            ("table t; table u", "twice"),
            ("table t; size 3", "unknown name \"size\""),
            ("table t; batch many", "\"many\" is not a valid batch"),
            ("table t; target 5", "\"5\" is not a valid target"),
            ("table t; repeatable maybe", "maybe"),
            ("table", "not a name and a value"),
        ] {
            let error = Backfill::parse(text).unwrap_err().to_string();
            assert!(error.contains(problem), "{text}: {error}");
        }
    }

    #[test]
    fn batches_follow_the_target() {
        let header = Backfill::parse("table t; target 500ms").unwrap();
        let next = |rows, took| Pace::new(rows).next(&header, Duration::from_millis(took), false);
        assert_eq!([next(1000, 10), next(1000, 1), next(1000, 1000), next(1, 60_000)], [2000, 2000, 500, 1]);
        assert_eq!([next(1000, 16), next(100_000, 300)], [1250, 100_696]);
        let fixed = Backfill::parse("table t; batch 7").unwrap();
        assert_eq!(Pace::new(7).next(&fixed, Duration::from_secs(60), true), 7);
    }

    #[test]
    fn batches_that_others_wait_for_get_smaller_and_recover_slowly() {
        let header = Backfill::parse("table t").unwrap();
        let mut pace = Pace::new(80_000);
        // A row takes 5 µs.
        let took = |rows: i64| Duration::from_micros(rows as u64 * 5);
        assert_eq!(pace.next(&header, took(80_000), true), 40_000);
        let mut rows = 40_000;
        let mut busy = Duration::ZERO;
        while rows < 80_000 {
            busy += took(rows);
            rows = pace.next(&header, took(rows), false);
        }
        assert!((busy.as_secs_f64() - RECOVERY.as_secs_f64()).abs() < 2.0, "{busy:?}");
        for _ in 0..1000 {
            rows = pace.next(&header, took(rows), true);
        }
        assert_eq!(took(rows), SHORT);
        for _ in 0..20_000 {
            rows = pace.next(&header, took(rows), false);
        }
        assert_eq!(rows, 100_000);
    }

    #[test]
    fn names_are_found_where_they_are_meant() {
        let sql =
            "UPDATE t SET a = ':from', b = x::from -- :to\n WHERE id>=:from AND id <= :to AND c <> $q$:to$q$ AND d=:limited";
        assert_eq!(names(sql).iter().map(|one| one.1).collect::<Vec<_>>(), ["from", "to"]);
        assert_eq!(for_parser(sql).len(), sql.len());
        assert!(for_parser(sql).contains("id>=   $1 AND id <=  $2 AND"));
        assert_eq!(
            with_parameters("WHERE (a, b) BETWEEN :from AND :to", &["int4".into(), "text".into()]),
            "WHERE (a, b) BETWEEN (CAST($1 AS int4), CAST($2 AS text)) AND (CAST($3 AS int4), CAST($4 AS text))"
        );
    }

    #[test]
    fn a_statement_is_cut_in_one_way() {
        assert_eq!(cut("DELETE FROM t WHERE id BETWEEN :from AND :to").unwrap(), Cut::Range);
        assert_eq!(cut("DELETE FROM t WHERE id IN (SELECT id FROM t LIMIT :limit)").unwrap(), Cut::Limit);
        for sql in
            ["DELETE FROM t", "DELETE FROM t WHERE id > :from", "DELETE FROM t WHERE id BETWEEN :from AND :to LIMIT :limit"]
        {
            assert!(cut(sql).is_err(), "{sql}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(sql in "\\PC{0,60}", header in "\\PC{0,40}") {
            let _ = (names(&sql), Backfill::parse(&header));
            proptest::prop_assert_eq!(for_parser(&sql).len(), sql.len());
        }
    }
}
