//! `protect_table`, `unprotect_table`.

use crate::guard::caller::enter;
use crate::guard::layers::table_triggers;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use runbook_core::changing;

/// Protects a table against TRUNCATE, and against transactions that change more than `max_rows` of its rows.
#[pg_extern(
    sql = "CREATE FUNCTION runbook.protect_table(\"table\" regclass, max_rows bigint DEFAULT NULL) RETURNS void LANGUAGE c
SET search_path = pg_catalog, runbook, pg_temp AS 'MODULE_PATHNAME', '@FUNCTION_NAME@';"
)]
fn protect_table(
    fcinfo: pg_sys::FunctionCallInfo,
    table: Option<pg_sys::Oid>,
    max_rows: Option<i64>,
) -> Result<(), ErrorReport> {
    let call = enter(fcinfo, &changing::PROTECT_TABLE)?;
    let table = call.given(table, "table")?;
    table_triggers::protect(table.to_u32(), max_rows)
}

/// Removes the protection of a table; false if it had none.
#[pg_extern(sql = "CREATE FUNCTION runbook.unprotect_table(\"table\" regclass) RETURNS boolean LANGUAGE c
SET search_path = pg_catalog, runbook, pg_temp AS 'MODULE_PATHNAME', '@FUNCTION_NAME@';")]
fn unprotect_table(fcinfo: pg_sys::FunctionCallInfo, table: Option<pg_sys::Oid>) -> Result<bool, ErrorReport> {
    let call = enter(fcinfo, &changing::UNPROTECT_TABLE)?;
    let table = call.given(table, "table")?;
    table_triggers::unprotect(table.to_u32())
}
