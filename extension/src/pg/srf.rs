//! Set-returning functions of PostgreSQL's event triggers, called without the executor: every DDL statement asks them.

use pgrx::{FromDatum, pg_sys};

/// A row of the result.
pub struct Row {
    slot: *mut pg_sys::TupleTableSlot,
}

impl Row {
    /// The value of a column, counted from 0; `None` if it is NULL.
    pub fn get<T: FromDatum>(&self, column: usize) -> Option<T> {
        // SAFETY: the slot holds a row all of whose columns have been taken apart; `T` is the column's type.
        unsafe { T::from_datum(*(*self.slot).tts_values.add(column), *(*self.slot).tts_isnull.add(column)) }
    }
}

/// The objects that the statement at hand has created or altered.
///
/// # Panics
/// With PostgreSQL's error outside of `ddl_command_end`.
pub fn ddl_commands<T>(each: impl FnMut(&Row) -> T) -> Vec<T> {
    /// OID of pg_event_trigger_ddl_commands (catalog/pg_proc.dat).
    const FUNCTION: u32 = 4568;
    // SAFETY: the function takes no argument.
    unsafe { call(FUNCTION, each) }
}

/// The objects that the statement at hand has dropped.
///
/// # Panics
/// With PostgreSQL's error outside of `sql_drop`.
pub fn dropped_objects<T>(each: impl FnMut(&Row) -> T) -> Vec<T> {
    /// OID of pg_event_trigger_dropped_objects.
    const FUNCTION: u32 = 3566;
    // SAFETY: the function takes no argument.
    unsafe { call(FUNCTION, each) }
}

/// Calls a function without arguments that materializes its result, as ExecMakeTableFunctionResult does.
unsafe fn call<T>(function: u32, mut each: impl FnMut(&Row) -> T) -> Vec<T> {
    // SAFETY: the call's frame, the ReturnSetInfo and the expression context live until the rows have been read; everything is
    // allocated in the current memory context, which an error or the end of the statement frees.
    unsafe {
        let mut info: pg_sys::FmgrInfo = std::mem::zeroed();
        pg_sys::fmgr_info(pg_sys::Oid::from(function), &mut info);
        let context = pg_sys::CreateStandaloneExprContext();
        let mut result: pg_sys::ReturnSetInfo = std::mem::zeroed();
        result.type_ = pg_sys::NodeTag::T_ReturnSetInfo;
        result.econtext = context;
        result.allowedModes = pg_sys::SetFunctionReturnMode::SFRM_Materialize as i32;
        let mut frame: pg_sys::FunctionCallInfoBaseData = std::mem::zeroed();
        frame.flinfo = &mut info;
        frame.resultinfo = std::ptr::from_mut(&mut result).cast();
        let address = info.fn_addr.expect("fmgr_info finds the function");
        pgrx::pg_sys::ffi::pg_guard_ffi_boundary(|| address(&mut frame));
        let mut rows = Vec::new();
        if !result.setResult.is_null() && !result.setDesc.is_null() {
            let slot = pg_sys::MakeSingleTupleTableSlot(result.setDesc, &raw const pg_sys::TTSOpsMinimalTuple);
            while pg_sys::tuplestore_gettupleslot(result.setResult, true, false, slot) {
                pg_sys::slot_getallattrs(slot);
                rows.push(each(&Row { slot }));
            }
            pg_sys::ExecDropSingleTupleTableSlot(slot);
            pg_sys::tuplestore_end(result.setResult);
        }
        pg_sys::FreeExprContext(context, true);
        rows
    }
}
