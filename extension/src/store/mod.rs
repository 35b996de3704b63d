//! The only SQL against our own tables, and the only place that knows their columns.
//!
//! Invariants: every object and operator is qualified, so that no search_path, temporary table or operator of a caller
//! can step in; every call runs as the owner of the tables; texts are constants, values are parameters.

pub mod approvals;
pub mod backfills;
pub mod catalog;
pub mod clock;
pub mod cluster;
pub mod code;
pub mod jobs;
pub mod ledger;
pub mod logins;
pub mod names;
pub mod objects;
pub mod permits;
pub mod pieces;
pub mod protected;
pub mod revisions;
pub mod session;
pub mod settings;
pub mod tree;

use crate::error::internal;
use crate::pg;
use crate::pg::entry::Parameter;
use crate::pg::identity::AsOwner;
pub use crate::pg::query::Row;
use crate::pg::query::{Sight, rows};
use pgrx::pg_sys::Datum;
use pgrx::pg_sys::panic::ErrorReport;
use std::convert::Infallible;
use std::ffi::CStr;

/// What our own SQL can fail with.
pub type Result<T> = std::result::Result<T, ErrorReport>;

/// Reads rows as they are now, whatever snapshot the transaction has, those that it has just written included. Works on a standby.
fn read<T>(sql: &'static str, parameters: &[Parameter], each: impl FnMut(&Row) -> Result<T>) -> Result<Vec<T>> {
    let _owner = AsOwner::enter();
    rows(sql, parameters, Sight::Now, each)
}

/// Reads rows as the transaction sees them: for reports that must agree with what a client reads beside them.
fn read_as_seen<T>(sql: &'static str, parameters: &[Parameter], each: impl FnMut(&Row) -> Result<T>) -> Result<Vec<T>> {
    let _owner = AsOwner::enter();
    rows(sql, parameters, Sight::Transaction, each)
}

/// All columns of the rows as text, as they were before the present command, whatever snapshot the transaction has.
fn texts(sql: &'static str, parameters: &[Parameter]) -> Vec<Vec<Option<String>>> {
    let _owner = AsOwner::enter();
    let Ok(found) = rows(sql, parameters, Sight::BeforeCommand, |row| Ok::<_, Infallible>(row.texts()));
    found
}

/// The first column of the first row, as of [`texts`].
fn latest(sql: &'static str) -> Option<String> {
    texts(sql, &[]).into_iter().flatten().next().flatten()
}

/// Writes, to rows as they are now; returns those of RETURNING.
fn write<T>(sql: &'static str, parameters: &[Parameter], each: impl FnMut(&Row) -> Result<T>) -> Result<Vec<T>> {
    read(sql, parameters, each)
}

/// Writes and returns nothing.
fn execute(sql: &'static str, parameters: &[Parameter]) -> Result<()> {
    write(sql, parameters, |_| Ok(())).map(|_| ())
}

/// Appends rows to a table of ours without a statement.
fn append<const COLUMNS: usize>(table: &CStr, rows: &mut [[Datum; COLUMNS]]) -> Result<()> {
    if pg::append::rows(table, rows) {
        Ok(())
    } else {
        Err(internal(format!("runbook.{} is not as the extension has made it", table.to_string_lossy())))
    }
}
