//! How SQL of ours is run, and what of PostgreSQL's reckoning it needs.
//!
//! Invariants: every object and operator is qualified, so that no search_path, temporary table or operator of a caller
//! can step in; every call runs as the owner of the tables; texts are constants, values are parameters.

pub mod clock;

use crate::error::{Result, internal};
use crate::pg;
pub use crate::pg::execute::query::Row;
use crate::pg::execute::query::{Sight, rows};
use crate::pg::hooks::entry::Parameter;
use crate::pg::session::identity::AsOwner;
use pgrx::pg_sys::Datum;
use std::convert::Infallible;
use std::ffi::CStr;

/// Reads rows as they are now, whatever snapshot the transaction has, those that it has just written included. Works on a standby.
pub fn read<T>(sql: &'static str, parameters: &[Parameter], each: impl FnMut(&Row) -> Result<T>) -> Result<Vec<T>> {
    let _owner = AsOwner::enter();
    rows(sql, parameters, Sight::Now, each)
}

/// Reads rows as the transaction sees them: for reports that must agree with what a client reads beside them.
pub fn read_as_seen<T>(sql: &'static str, parameters: &[Parameter], each: impl FnMut(&Row) -> Result<T>) -> Result<Vec<T>> {
    let _owner = AsOwner::enter();
    rows(sql, parameters, Sight::Transaction, each)
}

/// All columns of the rows as text, as they were before the present command, whatever snapshot the transaction has.
pub fn texts(sql: &'static str, parameters: &[Parameter]) -> Vec<Vec<Option<String>>> {
    let _owner = AsOwner::enter();
    let Ok(found) = rows(sql, parameters, Sight::BeforeCommand, |row| Ok::<_, Infallible>(row.texts()));
    found
}

/// The first column of the first row, as of [`texts`].
pub fn latest(sql: &'static str) -> Option<String> {
    texts(sql, &[]).into_iter().flatten().next().flatten()
}

/// Writes, to rows as they are now; returns those of RETURNING.
pub fn write<T>(sql: &'static str, parameters: &[Parameter], each: impl FnMut(&Row) -> Result<T>) -> Result<Vec<T>> {
    read(sql, parameters, each)
}

/// Writes and returns nothing.
pub fn execute(sql: &'static str, parameters: &[Parameter]) -> Result<()> {
    write(sql, parameters, |_| Ok(())).map(|_| ())
}

/// Appends rows to a table of ours without a statement.
pub fn append<const COLUMNS: usize>(table: &CStr, rows: &mut [[Datum; COLUMNS]]) -> Result<()> {
    if pg::execute::append::rows(table, rows) {
        Ok(())
    } else {
        Err(internal(format!("runbook.{} is not as the extension created it", table.to_string_lossy())))
    }
}
