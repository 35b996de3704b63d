//! `runbook current`: where the database stands.

use crate::args::Current;
use crate::context::{Context, rows, tell_of_parts};
use crate::error::{Error, Kind, Result};
use crate::output;

/// Prints the revisions that the database stands at; fails with [`Kind::Check`] if a head is missing and that was asked.
pub fn run(args: &Current, context: &Context) -> Result<()> {
    let mut client = context.connect()?;
    let current = rows(&mut client, "SELECT * FROM runbook.current()", &[])?;
    tell_of_parts(&mut client)?;
    let columns: &[&str] =
        if args.verbose { &["revision", "is_head", "applied_at", "message"] } else { &["revision", "is_head"] };
    output::rows(context.format(), &current, columns, "at base: no revision is applied")?;
    if args.check_heads {
        let missing = rows(&mut client, "SELECT h.revision FROM runbook.heads() AS h WHERE h.status <> 'applied'", &[])?;
        if !missing.is_empty() {
            let ids: Vec<String> = missing.iter().map(|row| output::text(row.get("revision"))).collect();
            let message = format!("not every head is applied: {}", ids.join(", "));
            return Err(Error::new(Kind::Check, message, "Run \"runbook upgrade heads\"."));
        }
    }
    Ok(())
}
