//! `--sql`: the SQL of a range of revision files, for reading. The database is not asked, so `start` must be given
//! unless it is base, exactly as in Alembic's offline mode.

use crate::context::Context;
use crate::error::{Error, Kind, Result};
use crate::{files, output};
use runbook_core::plan::{self, Direction};
use runbook_core::target::Resolver;
use runbook_core::visible::comment;
use std::io::Write;

/// Prints the SQL of the files between the two ends of `range`, to be read or piped into psql.
pub fn print(context: &Context, range: &str, direction: Direction) -> Result<()> {
    let files = files::load(context)?;
    let (start, end) = match (range.split_once(':'), direction) {
        (Some((start, end)), _) => (start, end),
        (None, Direction::Upgrade) => ("base", range),
        (None, Direction::Downgrade) => {
            let hint = "Write runbook downgrade --sql START:END.";
            return Err(Error::new(Kind::Target, "downgrade --sql needs a range", hint));
        }
    };
    let current = Resolver::new(&files.graph, &[]).many(if start.is_empty() { "base" } else { start })?;
    let end = if end.is_empty() { "head" } else { end };
    // To be piped into psql: exact, except on a terminal.
    let mut out = output::stdout();
    for node in plan::steps(&files.graph, &current, end, direction)? {
        let (revision, path) = &files.revisions[node];
        let sql = match direction {
            Direction::Upgrade => Some(revision.upgrade.as_str()),
            Direction::Downgrade => revision.downgrade.as_deref(),
        };
        let Some(sql) = sql else {
            let reason = revision.irreversible_reason.as_deref().unwrap_or("no downgrade was given");
            let message = format!("revision \"{}\" is irreversible: {reason}", revision.revision);
            return Err(Error::new(Kind::Failed, message, format!("See {}.", path.display())));
        };
        let title = format!("{} {}: {}", direction.as_str(), revision.revision, revision.message);
        out.write_all(comment(&title).as_bytes())?;
        let (begin, commit) = if revision.transaction { ("BEGIN;\n", "COMMIT;\n") } else { ("", "") };
        writeln!(out, "{begin}{}\n{commit}", sql.trim_end())?;
    }
    Ok(out.flush()?)
}
