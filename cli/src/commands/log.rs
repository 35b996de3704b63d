//! `runbook log`: the ledger, oldest of the chosen entries first.

use crate::args::Log;
use crate::context::{Context, rows};
use crate::error::Result;
use crate::output;

pub fn run(args: &Log, context: &Context) -> Result<()> {
    let kind =
        args.kind.as_ref().map(|kind| format!("{}%", kind.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_")));
    let sql = "SELECT * FROM (SELECT l.recorded_at, l.kind, l.session_role, l.current_role, l.revision, l.tag, \
                   COALESCE(pg_catalog.jsonb_path_query_array(l.objects, '$[*].identity'), '[]') AS objects, l.statement, \
                   l.verdict, l.reason, l.payload::jsonb ->> 'break_glass' IS NOT NULL AS break_glass, l.permit, l.client_addr, l.application, l.xid, l.entry_id, l.payload \
               FROM runbook.ledger AS l \
               WHERE ($1::text IS NULL OR l.revision = $1) AND ($2::text IS NULL OR l.kind LIKE $2) \
                   AND (NOT $3 OR l.kind IN ('ddl.blocked', 'ddl.would_block')) \
               ORDER BY l.recorded_at DESC, l.entry_id DESC LIMIT $4) AS newest ORDER BY recorded_at, entry_id";
    let entries = rows(&mut context.connect()?, sql, &[&args.revision, &kind, &args.blocked, &args.limit])?;
    let columns: &[&str] = if args.verbose {
        &["recorded_at", "payload"]
    } else {
        &["recorded_at", "kind", "session_role", "revision", "tag", "objects", "reason", "glass"]
    };
    let mut entries = entries;
    for entry in &mut entries {
        let broken = entry.get("break_glass") == Some(&serde_json::Value::Bool(true));
        entry.insert("glass".to_owned(), if broken { "BROKEN" } else { "" }.into());
    }
    output::rows(context.format(), &entries, columns, "the ledger has no such entry")
}
