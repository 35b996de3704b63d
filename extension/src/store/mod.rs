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
use crate::pg::transaction;
use pgrx::pg_sys::Datum;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use pgrx::spi::{OwnedPreparedStatement, SpiHeapTupleData};
use pgrx::{FromDatum, IntoDatum, PgOid};
use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::CStr;
use std::rc::Rc;

thread_local! {
    static PLANS: RefCell<HashMap<&'static str, Rc<OwnedPreparedStatement>>> = RefCell::default();
}

/// What our own SQL can fail with.
pub type Result<T> = std::result::Result<T, ErrorReport>;

/// One row of a result.
pub struct Row<'a>(SpiHeapTupleData<'a>);

impl Row<'_> {
    /// The value of column `ordinal` (from 1), which the query never makes NULL.
    pub fn get<T: FromDatum + IntoDatum>(&self, ordinal: usize) -> Result<T> {
        self.maybe(ordinal)?.ok_or_else(|| internal(format!("column {ordinal} of a runbook table is NULL")))
    }

    /// The value of column `ordinal` (from 1), if it is not NULL.
    pub fn maybe<T: FromDatum + IntoDatum>(&self, ordinal: usize) -> Result<Option<T>> {
        self.0.get(ordinal).map_err(|error| internal(error.to_string()))
    }
}

/// Reads rows. Works on a standby; sees what is committed by now, or the transaction's snapshot if it has one.
fn read<T>(sql: &'static str, parameters: &[Parameter], each: impl FnMut(&Row) -> Result<T>) -> Result<Vec<T>> {
    run(sql, parameters, false, each)
}

/// Reads rows, those that the transaction has just written included. That gives the transaction an id; where it must stay without
/// one, it has written nothing.
fn reread<T>(sql: &'static str, parameters: &[Parameter], each: impl FnMut(&Row) -> Result<T>) -> Result<Vec<T>> {
    run(sql, parameters, !transaction::stays_without_id(), each)
}

/// Writes, or reads what the transaction has just written; returns the rows of RETURNING.
fn write<T>(sql: &'static str, parameters: &[Parameter], each: impl FnMut(&Row) -> Result<T>) -> Result<Vec<T>> {
    run(sql, parameters, true, each)
}

/// One value as text, as of now, even where the transaction has a snapshot of its own.
fn latest(sql: &'static str) -> Option<String> {
    let _owner = AsOwner::enter();
    pg::latest::value(sql)
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

fn run<T>(
    sql: &'static str,
    parameters: &[Parameter],
    mutable: bool,
    mut each: impl FnMut(&Row) -> Result<T>,
) -> Result<Vec<T>> {
    let _owner = AsOwner::enter();
    let spi = |error: pgrx::spi::Error| internal(error.to_string());
    Spi::connect_mut(|client| {
        let known = PLANS.with_borrow(|plans| plans.get(sql).cloned());
        let plan = match known {
            Some(plan) => plan,
            None => {
                let types: Vec<PgOid> = parameters.iter().map(|parameter| PgOid::from(parameter.oid())).collect();
                let plan = Rc::new(client.prepare_mut(sql, &types).map_err(spi)?.keep());
                PLANS.with_borrow_mut(|plans| plans.insert(sql, plan.clone()));
                plan
            }
        };
        let table = if mutable { client.update(&*plan, None, parameters) } else { client.select(&*plan, None, parameters) }
            .map_err(spi)?;
        table.map(|tuple| each(&Row(tuple))).collect()
    })
}
