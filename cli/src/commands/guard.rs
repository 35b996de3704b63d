//! `runbook guard report`: what the guard has refused, or would have refused, in a trial period.

use crate::args::{Format, Report};
use crate::client::Client;
use crate::context::{Context, rows};
use crate::error::Result;
use crate::output::{self, Line, Row, Style};
use serde_json::{Value, json};

const SQL: &str = "\
WITH entry AS ( \
    SELECT l.entry_id, l.recorded_at, l.session_role, l.kind, l.tag, l.statement, l.objects \
    FROM runbook.ledger AS l \
    WHERE l.kind IN ('ddl.would_block', 'ddl.blocked', 'guard.bypassed') \
        AND l.recorded_at > pg_catalog.now() - $1::text::pg_catalog.interval), \
object AS ( \
    SELECT e.*, o.value ->> 'class' AS class, o.value ->> 'action' AS action, \
        pg_catalog.concat_ws(' ', o.value ->> 'kind', o.value ->> 'identity') AS object \
    FROM entry AS e CROSS JOIN LATERAL pg_catalog.jsonb_array_elements(e.objects) AS o (value) \
    WHERE o.value ->> 'class' <> 'additive')";

/// Prints totals of a period, then what was refused most by role, by class and by object.
pub fn report(args: &Report, context: &Context) -> Result<()> {
    let mut client = context.connect()?;
    let found = Found::read(&mut client, args)?;
    if context.format() == Format::Json {
        let Found { totals, roles, classes, objects } = found;
        return output::value(
            &json!({"since": args.since, "totals": totals.first(), "roles": roles, "classes": classes, "objects": objects}),
        );
    }
    show(args, found)
}

/// What the ledger says about the period.
struct Found {
    /// One row, with the counts of all.
    totals: Vec<Row>,
    roles: Vec<Row>,
    classes: Vec<Row>,
    objects: Vec<Row>,
}

impl Found {
    fn read(client: &mut Client, args: &Report) -> Result<Self> {
        let mut by = |grouping: &str| rows(client, &grouped(grouping), &[&args.since, &args.limit]);
        Ok(Self {
            roles: by("session_role")?,
            classes: by("class")?,
            objects: by("action, object")?,
            totals: totals(client, args)?,
        })
    }
}

/// The query that counts by some columns, those with most entries first.
fn grouped(grouping: &str) -> String {
    format!(
        "{SQL} SELECT {grouping}, pg_catalog.count(DISTINCT o.entry_id) FILTER (WHERE o.kind = 'ddl.would_block') AS would_block, \
             pg_catalog.count(DISTINCT o.entry_id) FILTER (WHERE o.kind = 'ddl.blocked') AS blocked, \
             pg_catalog.count(DISTINCT o.entry_id) FILTER (WHERE o.kind = 'guard.bypassed') AS bypassed, \
             pg_catalog.max(o.recorded_at) AS last, \
             (pg_catalog.array_agg(o.statement ORDER BY o.recorded_at DESC) FILTER (WHERE o.statement IS NOT NULL))[1] AS example \
         FROM object AS o GROUP BY {grouping} ORDER BY pg_catalog.count(DISTINCT o.entry_id) DESC, {grouping} LIMIT $2"
    )
}

fn totals(client: &mut Client, args: &Report) -> Result<Vec<Row>> {
    let sql = format!(
        "{SQL} SELECT pg_catalog.count(*) FILTER (WHERE e.kind = 'ddl.would_block') AS would_block, \
             pg_catalog.count(*) FILTER (WHERE e.kind = 'ddl.blocked') AS blocked, \
             pg_catalog.count(*) FILTER (WHERE e.kind = 'guard.bypassed') AS bypassed, \
             pg_catalog.count(DISTINCT e.session_role) AS roles, pg_catalog.current_setting('runbook.mode', true) AS mode \
         FROM entry AS e WHERE $2::pg_catalog.int8 IS NOT NULL"
    );
    rows(client, &sql, &[&args.since, &args.limit])
}

/// For people: a sentence, then a table for each grouping.
fn show(args: &Report, found: Found) -> Result<()> {
    let Found { totals, roles, classes, objects } = found;
    let total = |key: &str| output::text(totals.first().and_then(|row| row.get(key)));
    let rest = format!(
        ", {} were refused, and {} sessions bypassed the guard; {} roles.",
        total("blocked"),
        total("bypassed"),
        total("roles")
    );
    let would_block = format!("{} statements would have been refused", total("would_block"));
    output::line(&Line::new(format!("In the last {}: ", args.since)).styled(Style::Bold, would_block).then(rest))?;
    if roles.is_empty() {
        let nothing = "Policy would have refused nothing: enforcing it would have disturbed no one.";
        return output::line(&Line::new(nothing));
    }
    for (title, found, columns) in [
        ("by role", roles, &["session_role", "would_block", "blocked", "bypassed", "last"][..]),
        ("by class", classes, &["class", "would_block", "blocked", "bypassed", "last"][..]),
        ("by object", objects, &["action", "object", "would_block", "blocked", "bypassed", "example"][..]),
    ] {
        output::blank()?;
        output::line(&Line::default().styled(Style::Bold, title))?;
        let mut found = found;
        for row in &mut found {
            if let Some(Value::String(example)) = row.get_mut("example") {
                *example = example.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(60).collect();
            }
        }
        output::rows(Format::Table, &found, columns, "")?;
    }
    Ok(())
}
