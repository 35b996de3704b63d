//! `runbook log`: the ledger, oldest of the chosen entries first.

use crate::args::{Format, Log};
use crate::client::{Client, Queries};
use crate::commands::policy::literal;
use crate::context::{Context, rows};
use crate::error::{Error, Kind as Failure, Result};
use crate::output::{self, Row};
use runbook_core::ledger::Kind;
use runbook_core::terms::term;
use serde_json::Value;
use std::collections::HashSet;
use std::time::Duration;

/// How long `--follow` waits before it looks again.
const PAUSE: Duration = Duration::from_millis(500);

/// How many entries `--follow` reads at once.
const AT_ONCE: usize = 10_000;

/// Prints the newest entries that the arguments choose and, with `--follow`, each that comes.
pub fn run(args: &Log, context: &Context) -> Result<()> {
    let mut client = context.connect()?;
    let chosen = Chosen::new(args);
    let entries = chosen.newest(&mut client, args.limit)?;
    if !args.follow {
        let nothing = entries.is_empty() && chosen.names_something();
        if !nothing || context.format() == Format::Json {
            print(args, context, entries)?;
        }
        return if nothing { Err(nothing_matches(args, &mut client)) } else { Ok(()) };
    }
    // An entry is read once without a position, and once with one; it is printed once.
    let mut printed: HashSet<String> = HashSet::new();
    let mut last = -1;
    let mut new = entries;
    let sealed = |entry: &Row| entry.get("position").is_some_and(Value::is_i64);
    loop {
        last = new.iter().filter_map(|entry| entry.get("position")?.as_i64()).fold(last, i64::max);
        let (count, end) = (new.len(), new.last().cloned());
        let (mut fresh, mut done) = (Vec::new(), Vec::new());
        for entry in new {
            let id = output::text(entry.get("entry_id"));
            let is_sealed = sealed(&entry);
            if printed.insert(id.clone()) {
                fresh.push(entry);
            }
            if is_sealed {
                done.push(id);
            }
        }
        for id in done {
            printed.remove(&id);
        }
        if !fresh.is_empty() {
            print(args, context, fresh)?;
        }
        let next = if count == AT_ONCE { end.filter(|end| !sealed(end)) } else { None };
        if count < AT_ONCE {
            std::thread::sleep(PAUSE);
        }
        new = match next {
            Some(end) => chosen.unsealed_behind(&mut client, &end)?,
            None => chosen.behind(&mut client, last)?,
        };
    }
}

/// What the arguments choose.
struct Chosen {
    terms: Vec<String>,
    kind: Option<String>,
    blocked: bool,
    since: Option<String>,
    until: Option<String>,
}

const COLUMNS: &str = "l.position, l.recorded_at, l.kind, l.session_role, l.current_role, l.revision, l.tag, \
     COALESCE(pg_catalog.jsonb_path_query_array(l.objects, '$[*].identity'), '[]') AS objects, l.statement, l.verdict, l.reason, \
     l.payload::jsonb ->> 'break_glass' IS NOT NULL AS break_glass, l.payload::jsonb -> 'approved_by' AS approved_by, l.payload::jsonb -> 'lost' AS lost, l.permit, l.client_addr, l.application, l.xid, l.entry_id, l.payload";

/// Terms lead to sealed entries by their index; the rest is compared.
const CONDITION: &str = "($1::text[] = '{}' OR runbook.ledger_terms(l.payload) @> $1) AND ($2::text IS NULL OR l.kind LIKE $2) \
     AND (NOT $3 OR l.kind IN ('ddl.blocked', 'ddl.would_block', 'call.refused')) \
     AND ($4::text IS NULL OR l.recorded_at >= $4::text::timestamptz) AND ($5::text IS NULL OR l.recorded_at < $5::text::timestamptz)";

impl Chosen {
    fn new(args: &Log) -> Self {
        let terms = [("revision", &args.revision), ("role", &args.role), ("object", &args.object), ("permit", &args.permit)];
        let terms = terms.into_iter().filter_map(|(kind, text)| text.as_ref().map(|text| term(kind, text)));
        let escaped = |kind: &String| format!("{}%", kind.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_"));
        Self {
            terms: terms.collect(),
            kind: args.kind.as_ref().map(escaped),
            blocked: args.blocked,
            since: args.since.clone(),
            until: args.until.clone(),
        }
    }

    /// Whether the arguments name something.
    fn names_something(&self) -> bool {
        !self.terms.is_empty() || self.kind.is_some()
    }

    fn newest(&self, client: &mut Client, limit: i64) -> Result<Vec<Row>> {
        let newest = "ORDER BY l.position DESC NULLS FIRST, l.recorded_at DESC, l.entry_id DESC LIMIT $6";
        self.read(client, newest, limit)
    }

    /// The first that have come since `position` was the last; those that wait to be sealed come last.
    fn behind(&self, client: &mut Client, position: i64) -> Result<Vec<Row>> {
        self.next(client, &format!("AND (l.position IS NULL OR l.position > {position})"))
    }

    /// The next of those that wait to be sealed.
    fn unsealed_behind(&self, client: &mut Client, entry: &Row) -> Result<Vec<Row>> {
        let [at, id] =
            ["recorded_at", "entry_id"].map(|key| literal(entry.get(key).and_then(Value::as_str).unwrap_or_default()));
        let row = format!("({at}::pg_catalog.timestamptz, {id}::pg_catalog.uuid)");
        self.next(client, &format!("AND l.position IS NULL AND (l.recorded_at, l.entry_id) > {row}"))
    }

    fn next(&self, client: &mut Client, which: &str) -> Result<Vec<Row>> {
        let first = "ORDER BY l.position NULLS LAST, l.recorded_at, l.entry_id LIMIT $6";
        self.read(client, &format!("{which} {first}"), AT_ONCE as i64)
    }

    fn read(&self, client: &mut Client, which: &str, limit: i64) -> Result<Vec<Row>> {
        // A condition on nothing would keep the planner from the index of the terms.
        let terms =
            if self.terms.is_empty() { CONDITION } else { &CONDITION.replace("($1::text[] = '{}' OR runbook", "(runbook") };
        let sql = format!(
            "SELECT * FROM (SELECT {COLUMNS} FROM runbook.ledger AS l WHERE {terms} {which}) AS chosen \
             ORDER BY position NULLS LAST, recorded_at, entry_id"
        );
        rows(client, &sql, &[&self.terms, &self.kind, &self.blocked, &self.since, &self.until, &limit]).map_err(|error| {
            let about_time = error.message().contains("timestamp");
            if !about_time {
                return error;
            }
            let hint = "Write times as PostgreSQL does: --since 2026-11-27, --since '2026-11-27 09:00', --since yesterday";
            Error::new(Failure::Input, error.message().to_owned(), hint)
        })
    }
}

/// No entry matches: says what comes near to what was asked for.
fn nothing_matches(args: &Log, client: &mut Client) -> Error {
    let near = |client: &mut Client, sql: &str, word: &str| -> String {
        let found = client.query(sql, &[&word]).unwrap_or_default();
        found.iter().filter_map(|row| row.try_get::<_, String>(0).ok()).collect::<Vec<_>>().join(", ")
    };
    let last = |name: &str| name.rsplit('.').next().unwrap_or_default().to_owned();
    let (filter, found) = if let Some(object) = &args.object {
        (format!("--object {object}"), near(client, NEAR_OBJECTS, &last(object)))
    } else if let Some(revision) = &args.revision {
        let sql = "SELECT r.revision FROM runbook.revisions AS r WHERE pg_catalog.starts_with(r.revision, $1) LIMIT 5";
        (format!("--revision {revision}"), near(client, sql, revision))
    } else if let Some(role) = &args.role {
        let sql = "SELECT r.rolname::text FROM pg_catalog.pg_roles AS r WHERE pg_catalog.strpos(r.rolname, $1) > 0 LIMIT 5";
        (format!("--role {role}"), near(client, sql, role))
    } else if let Some(kind) = &args.kind {
        let word = kind.split('.').next().unwrap_or_default();
        let like = Kind::ALL.iter().map(|kind| kind.as_str()).filter(|known| known.contains(word)).take(8);
        let like = like.collect::<Vec<_>>().join(", ");
        // Nothing like it: the words that kinds begin with, each once.
        let mut first: Vec<&str> = Kind::ALL.iter().filter_map(|kind| kind.as_str().split('.').next()).collect();
        first.dedup();
        (format!("--kind {kind}"), if like.is_empty() { first.join(", ") } else { like })
    } else {
        ("--permit".to_owned(), String::new())
    };
    let hint =
        if found.is_empty() { "\"runbook log\" shows the newest entries.".to_owned() } else { format!("There is {found}.") };
    Error::new(Failure::Failed, format!("no entry of the ledger matches {filter}"), hint)
}

/// Objects of the newest entries whose name has a word in it.
const NEAR_OBJECTS: &str = "SELECT DISTINCT o.identity FROM ( \
     SELECT pg_catalog.jsonb_path_query(l.objects, '$[*].identity') #>> '{}' AS identity \
     FROM (SELECT e.objects FROM runbook.ledger AS e ORDER BY e.position DESC NULLS FIRST LIMIT 5000) AS l) AS o \
     WHERE pg_catalog.strpos(o.identity, $1) > 0 ORDER BY 1 LIMIT 5";

fn print(args: &Log, context: &Context, mut entries: Vec<Row>) -> Result<()> {
    let columns: &[&str] = if args.verbose {
        &["position", "recorded_at", "payload"]
    } else {
        &[
            "position",
            "recorded_at",
            "kind",
            "session_role",
            "revision",
            "tag",
            "objects",
            "reason",
            "approved_by",
            "lost",
            "glass",
        ]
    };
    for entry in &mut entries {
        let broken = entry.get("break_glass") == Some(&Value::Bool(true));
        entry.insert("glass".to_owned(), if broken { "BROKEN" } else { "" }.into());
    }
    if args.follow && context.format() == Format::Json {
        // One object a line, since there is no last one.
        for entry in &entries {
            output::compact(&Value::Object(entry.clone()))?;
        }
        return Ok(());
    }
    output::rows(context.format(), &entries, columns, "the ledger has no such entry")
}
