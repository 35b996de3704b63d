//! `seal`, `tree_head`, `inclusion_proof`, `consistency_proof`, `tree_frontier`, `verify_ledger`, `ledger_terms`, `open_epoch`,
//! `record_checkpoint`, `archive_ledger`.

use crate::error::refusal;
use crate::guard::caller::{enter, given, limited, limited_reason};
use crate::guard::control;
use crate::ledger::tree::{self, Stored};
use crate::ledger::{archive, epoch, seal, verify};
use crate::pg::execute::procedure;
use crate::pg::session::identity;
use crate::pg::workers::recorder;
use crate::store::tree as stored;
use pgrx::datum::{JsonB, TimestampWithTimeZone};
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use runbook_core::changing;
use runbook_core::merkle::{self, Frontier, Hash};

/// Gives every committed entry its position.
#[pg_extern(sql = "CREATE PROCEDURE runbook.seal() LANGUAGE c AS 'MODULE_PATHNAME', '@FUNCTION_NAME@';
COMMENT ON PROCEDURE runbook.seal() IS 'Gives every committed entry of the ledger its position in the Merkle tree.';")]
fn seal(fcinfo: pg_sys::FunctionCallInfo) -> Result<(), ErrorReport> {
    if identity::in_recovery() {
        let hint = "On the primary: CALL runbook.seal(); sealed entries can be read and verified here.";
        return Err(refusal("25006", "a standby can't seal the ledger", None, Some(hint.to_owned())));
    }
    if procedure::may_end_transactions(fcinfo) {
        let mut from = seal::BEGINNING.to_owned();
        return procedure::in_own_transactions(|| {
            let next = seal::batch(&from)?;
            Ok(next.map(|next| from = next).is_some())
        });
    }
    // In a transaction block the sealer's lock would be held until its end; a worker seals what is committed so far.
    recorder::seal().map_err(|problem| {
        let hint = "Outside a transaction block, where no worker is needed: CALL runbook.seal();";
        refusal("53400", "the ledger can't be sealed from inside this transaction", Some(problem), Some(hint.to_owned()))
    })
}

/// Where the tree stands.
#[pg_extern(security_definer)]
#[search_path(pg_catalog, runbook, pg_temp)]
#[allow(clippy::type_complexity, reason = "the columns of the result, which pgrx reads from here")]
fn tree_head() -> Result<
    TableIterator<
        'static,
        (
            name!(origin, Option<String>),
            name!(epoch, i32),
            name!(size, i64),
            name!(root, Vec<u8>),
            name!(unsealed, i64),
            name!(oldest_unsealed, Option<TimestampWithTimeZone>),
        ),
    >,
    ErrorReport,
> {
    let head = tree::head()?;
    let (unsealed, oldest) = stored::unsealed()?;
    let origin = head.origin.map(|origin| origin.line());
    Ok(TableIterator::once((origin, head.epoch, number(head.size), head.root.to_vec(), unsealed, oldest)))
}

/// The hashes beside the path from an entry to the root (RFC 6962, section 2.1.1), from the leaf upwards.
#[pg_extern(security_definer)]
#[search_path(pg_catalog, runbook, pg_temp)]
fn inclusion_proof(position: Option<i64>, size: default!(Option<i64>, "NULL")) -> Result<Vec<Vec<u8>>, ErrorReport> {
    let position = given(position, "inclusion_proof", "position")?;
    let size = existing("size", size)?;
    let position = u64::try_from(position).ok().filter(|position| *position < size).ok_or_else(|| {
        let hint = "SELECT position FROM runbook.ledger; positions count from 0.";
        refusal("22023", format!("a tree of {size} entries has no position {position}"), None, Some(hint.to_owned()))
    })?;
    merkle::inclusion_proof(position, size, &Stored::default()).map(bytes)
}

/// The hashes that prove that the tree of `old_size` entries is the beginning of the tree of `new_size` (RFC 6962, section 2.1.2).
#[pg_extern(security_definer)]
#[search_path(pg_catalog, runbook, pg_temp)]
fn consistency_proof(old_size: Option<i64>, new_size: default!(Option<i64>, "NULL")) -> Result<Vec<Vec<u8>>, ErrorReport> {
    let old_size = given(old_size, "consistency_proof", "old_size")?;
    let new = existing("new_size", new_size)?;
    let old = existing("old_size", Some(old_size))?;
    if old > new {
        let hint = format!("SELECT runbook.consistency_proof({new}, {old});");
        return Err(refusal(
            "22023",
            format!("a tree of {old} entries can't be the beginning of a tree of {new}"),
            None,
            Some(hint),
        ));
    }
    merkle::consistency_proof(old, new, &Stored::default()).map(bytes)
}

/// The roots of the complete subtrees that make up the tree of `size` entries, largest first.
#[pg_extern(security_definer)]
#[search_path(pg_catalog, runbook, pg_temp)]
fn tree_frontier(size: default!(Option<i64>, "NULL")) -> Result<Vec<Vec<u8>>, ErrorReport> {
    let size = existing("size", size)?;
    Frontier::read(size, &Stored::default()).map(|frontier| bytes(frontier.roots().to_vec()))
}

/// Whether the ledger agrees with itself.
#[pg_extern(security_definer)]
#[search_path(pg_catalog, runbook, pg_temp)]
#[allow(clippy::type_complexity, reason = "the columns of the result, which pgrx reads from here")]
fn verify_ledger() -> Result<
    TableIterator<
        'static,
        (
            name!(ok, bool),
            name!(entries, i64),
            name!(bad, i64),
            name!(first_bad, Option<pgrx::Uuid>),
            name!(first_bad_position, Option<i64>),
            name!(problem, Option<String>),
        ),
    >,
    ErrorReport,
> {
    let report = verify::verify()?;
    let (position, id) = report.first.unwrap_or_default();
    let id = uuid::Uuid::parse_str(&id).ok().map(|id| pgrx::Uuid::from_bytes(*id.as_bytes()));
    Ok(TableIterator::once((report.bad == 0, report.entries, report.bad, id, position.map(number), report.problem)))
}

/// Opens the next epoch: history was rolled back on purpose to `position`, what is sealed now unless said, and goes on from there.
/// Returns `EPOCH:POSITION`, which is what an auditor accepts.
#[pg_extern]
#[search_path(pg_catalog, runbook, pg_temp)]
fn open_epoch(
    fcinfo: pg_sys::FunctionCallInfo,
    reason: Option<&str>,
    position: default!(Option<i64>, "NULL"),
) -> Result<String, ErrorReport> {
    let call = enter(fcinfo, &changing::OPEN_EPOCH)?;
    let reason = call.given(reason, "reason")?;
    limited_reason(reason, "opening an epoch", "SELECT runbook.open_epoch('restored from the backup of …, because …');")?;
    control::decide(&changing::OPEN_EPOCH, None, "open an epoch of the ledger")?;
    epoch::open(reason, position)
}

/// Records a signed checkpoint; the note must match this ledger as it is now.
#[pg_extern]
#[search_path(pg_catalog, runbook, pg_temp)]
fn record_checkpoint(fcinfo: pg_sys::FunctionCallInfo, note: Option<&str>) -> Result<(), ErrorReport> {
    let call = enter(fcinfo, &changing::RECORD_CHECKPOINT)?;
    let note = call.given(note, "note")?;
    limited("note", note)?;
    epoch::record_checkpoint(note)
}

/// Removes the entries before `before`, which an export holds; returns how many. `root` is the tree's root over them, as whoever
/// holds the export has computed it.
#[pg_extern]
#[search_path(pg_catalog, runbook, pg_temp)]
fn archive_ledger(
    fcinfo: pg_sys::FunctionCallInfo,
    before: Option<i64>,
    root: Option<&[u8]>,
    reason: Option<&str>,
) -> Result<i64, ErrorReport> {
    let call = enter(fcinfo, &changing::ARCHIVE_LEDGER)?;
    let before = call.given(before, "before")?;
    let root = call.given(root, "root")?;
    let reason = call.given(reason, "reason")?;
    limited_reason(reason, "archiving", "runbook audit archive --before POSITION --out FILE --checkpoint NOTE -m REASON")?;
    control::decide(&changing::ARCHIVE_LEDGER, None, "archive a part of the ledger")?;
    archive::archive(before, root, reason)
}

/// What an entry is about, for look-ups.
#[pg_extern(sql = "CREATE FUNCTION runbook.ledger_terms(payload text) RETURNS text[] LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', '@FUNCTION_NAME@';
COMMENT ON FUNCTION runbook.ledger_terms(text) IS 'What an entry is about: terms such as object:public.orders, role:alice, kind:ddl.blocked, revision:3f2a, permit:ID.';")]
fn ledger_terms(payload: &str) -> Vec<String> {
    runbook_core::terms::terms(payload)
}

/// A payload as jsonb; NULL if it is not JSON. Queries of many entries run it in parallel, so that it must not catch an error.
#[pg_extern(
    sql = "CREATE FUNCTION runbook_internal.payload_or_null(payload text) RETURNS jsonb LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', '@FUNCTION_NAME@';
COMMENT ON FUNCTION runbook_internal.payload_or_null(text) IS 'A payload as jsonb; NULL if it is not JSON.';"
)]
fn payload_or_null(payload: &str) -> Option<JsonB> {
    runbook_core::ledger::readable(payload).map(JsonB)
}

/// A size that the tree has reached; its present one if none is given.
fn existing(argument: &str, size: Option<i64>) -> Result<u64, ErrorReport> {
    let end = stored::end()?.size;
    let Some(size) = size else { return Ok(end) };
    u64::try_from(size).ok().filter(|size| *size <= end).ok_or_else(|| {
        let hint = "To seal committed entries: CALL runbook.seal(); to see the size: SELECT size FROM runbook.tree_head();";
        refusal(
            "22023",
            format!("{argument} {size} is not a size of this ledger, which has {end} sealed entries"),
            None,
            Some(hint.to_owned()),
        )
    })
}

fn bytes(hashes: Vec<Hash>) -> Vec<Vec<u8>> {
    hashes.into_iter().map(|hash| hash.to_vec()).collect()
}

fn number(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
