//! What an index build or the like has left when it failed.

use crate::pg::execute::job::{self, Acting, Commit, transaction};
use crate::pg::execute::top_level_only;
use crate::pg::failure::Failure;
use crate::pg::session::identity::OwnStatements;
use crate::settings::Settings;
use crate::store::pieces::{self, Index};
use runbook_core::plan::Direction;
use runbook_core::report::Report;
use std::time::Duration;

/// How long dropping what a cancelled statement has left may wait for locks.
pub const CLEAN_UP: Duration = Duration::from_secs(10);

/// Drops indexes that statements of ours have left INVALID, as those whose tables they are, in the session that revisions have: somebody's
/// event triggers may fire.
pub fn drop_all(leftovers: &[Index], patience: Option<Duration>) -> Result<(), Report> {
    let dropped = leftovers.iter().try_for_each(|one| {
        // 0 would be for ever.
        let timeout = |patience: Duration| format!("{}ms", patience.as_millis().clamp(1, 2_000_000_000));
        let timeout = patience.map_or_else(|| "0".to_owned(), timeout);
        transaction(Commit::InOrder, || {
            pin(&Settings::load()?)?;
            Ok(job::set_parameter("lock_timeout", &timeout)?)
        })?;
        let _own = OwnStatements::enter();
        let _acting = Acting::enter(one.owner);
        top_level_only::expect_drop(one.oid);
        let sql = format!("DROP INDEX CONCURRENTLY IF EXISTS {}", one.name);
        job::show(&format!("/* runbook: left by an interrupted statement */ {sql}"));
        top_level_only::run(&sql, None).map(|_| ())
    });
    if !leftovers.is_empty() {
        transaction(Commit::InOrder, || Ok(job::set_parameter("lock_timeout", "0")?))?;
    }
    dropped
}

/// Drops what the statements of a revision have left INVALID, waiting for locks no longer than `patience`. What can't be dropped now is
/// dropped when the revision is applied again.
pub fn clean_up(revision: &str, direction: Direction, patience: Duration) {
    let way = direction.as_str();
    let left = transaction(Commit::InOrder, || {
        let mut left = vec![];
        for one in pieces::progress(revision, way)?.iter().filter(|one| !one.done) {
            left.extend(pieces::built(revision, way, one.statement)?.into_iter().filter(|index| !index.valid));
            left.extend(pieces::put_aside(&one.before)?);
        }
        Ok(left)
    });
    if let Err(report) = left.and_then(|left| drop_all(&left, Some(patience))) {
        pgrx::log!("pg_runbook: could not drop an INVALID index of revision \"{revision}\" yet: {}", report.message);
    }
}

/// Pins the session itself, for statements at top level: transactions come and go.
pub fn pin(settings: &Settings) -> Result<(), Failure> {
    for (name, value) in settings.pinned() {
        job::set_parameter(&name.to_string_lossy(), &value.to_string_lossy())?;
    }
    Ok(())
}
