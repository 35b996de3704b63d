//! PostgreSQL errors, caught with nothing lost.
//!
//! pgrx turns an error that passes through it into its own report, which has no cursor position, no CONTEXT and no
//! table, column or constraint names. A migration's author needs all of them, so the calls that run an author's SQL are
//! trapped here, with `sigsetjmp`, as `PG_TRY` does (src/include/utils/elog.h), and re-thrown by [`crate::pg::hooks::entry`].
//!
//! Invariant: only functions of the C ABI are trapped ([`Call`]), which raise errors by jumping. A Rust panic could not leave
//! the frames of C below, and would abort the process.
//! Invariant: who catches an error and goes on, instead of re-throwing it, does so in a subtransaction that is rolled back
//! ([`crate::pg::execute::subtransaction::attempt`]).

use crate::error::{packed, unpacked};
use crate::pg::ffi;
use crate::pg::strings::text;
use cee_scape::{SigJmpBufFields, call_with_sigsetjmp};
use pgrx::pg_sys;
use runbook_core::report::Report;
use std::ffi::{CString, c_char};
use std::mem::MaybeUninit;

/// An error that PostgreSQL raised and we hold, complete. It lives in the top transaction's memory.
#[derive(Debug)]
pub struct PgError(*mut pg_sys::ErrorData);

impl PgError {
    /// Adds a line to the error's CONTEXT, below what is there.
    pub fn add_context(&mut self, line: &str) {
        // SAFETY: self.0 is a live ErrorData made by CopyErrorData; its strings are NUL-terminated or null.
        let old = unsafe { text((*self.0).context) };
        let context = if old.is_empty() { line.to_owned() } else { format!("{old}\n{line}") };
        // SAFETY: as above, and `keep` returns memory that lives as long as the ErrorData.
        unsafe { (*self.0).context = keep(&context) };
    }

    /// Points the error at `statement`: a position that the parser gave becomes one inside the quoted statement, so that
    /// clients draw the caret under the author's SQL and not under the SELECT that called us.
    pub fn locate(&mut self, statement: &str) {
        // SAFETY: self.0 is a live ErrorData.
        let data = unsafe { &mut *self.0 };
        if data.cursorpos > 0 && data.internalpos == 0 {
            data.internalpos = data.cursorpos;
            // SAFETY: `keep` returns memory that lives as long as the ErrorData.
            data.internalquery = unsafe { keep(statement) };
        }
        data.cursorpos = 0;
    }

    /// Adds to the error's hint.
    pub fn suggest(&mut self, hint: &str) {
        // SAFETY: self.0 is a live ErrorData, and `keep` returns memory that lives as long.
        unsafe {
            let own = text((*self.0).hint);
            (*self.0).hint = if own.is_empty() { keep(hint) } else { keep(&format!("{own} {hint}")) };
        }
    }

    /// The primary message.
    pub fn message(&self) -> String {
        // SAFETY: self.0 is a live ErrorData.
        unsafe { text((*self.0).message) }
    }

    /// The five characters of the SQLSTATE.
    pub fn sqlstate(&self) -> String {
        // SAFETY: self.0 is a live ErrorData.
        unpacked(unsafe { (*self.0).sqlerrcode })
    }

    /// One-based character position inside the statement, if the error has one.
    pub fn position(&self) -> Option<usize> {
        // SAFETY: self.0 is a live ErrorData.
        let data = unsafe { &*self.0 };
        usize::try_from(data.internalpos.max(data.cursorpos)).ok().filter(|position| *position > 0)
    }

    /// The error as data.
    pub fn report(&self) -> Report {
        // SAFETY: self.0 is a live ErrorData; its strings are NUL-terminated or null.
        unsafe {
            let data = &*self.0;
            Report {
                sqlstate: self.sqlstate(),
                message: text(data.message),
                detail: text(data.detail),
                hint: text(data.hint),
                context: text(data.context),
                schema: text(data.schema_name),
                table: text(data.table_name),
                column: text(data.column_name),
                data_type: text(data.datatype_name),
                constraint: text(data.constraint_name),
                routine: text(data.funcname),
                query: text(data.internalquery),
                position: data.internalpos.max(data.cursorpos),
            }
        }
    }

    /// An error that was raised elsewhere, raised here.
    pub fn again(report: &Report) -> Self {
        // SAFETY: an all-zero ErrorData is one without fields; the strings live as long as the transaction, and ThrowErrorData copies
        // what it is given before it unwinds to `trap`.
        let raised = unsafe {
            let optional = |text: &str| if text.is_empty() { std::ptr::null_mut() } else { keep(text) };
            let mut data = pg_sys::ErrorData {
                elevel: pgrx::PgLogLevel::ERROR as i32,
                sqlerrcode: packed(&report.sqlstate),
                message: keep(&report.message),
                detail: optional(&report.detail),
                hint: optional(&report.hint),
                context: optional(&report.context),
                schema_name: optional(&report.schema),
                table_name: optional(&report.table),
                column_name: optional(&report.column),
                datatype_name: optional(&report.data_type),
                constraint_name: optional(&report.constraint),
                internalquery: optional(&report.query),
                internalpos: report.position,
                ..Default::default()
            };
            trap!(ffi::ThrowErrorData, &raw mut data)
        };
        match raised {
            Err(caught) => caught,
            Ok(()) => unreachable!("ThrowErrorData raises"),
        }
    }

    /// Gives the error up to whoever will re-throw it.
    pub fn into_raw(self) -> *mut pg_sys::ErrorData {
        self.0
    }
}

/// A call into C: a function and its arguments. Closures and the wrappers of `pgrx::pg_sys` are no such functions.
pub trait Call {
    /// What the function returns.
    type Output: Copy;

    /// Calls it.
    ///
    /// # Safety
    /// The function may be called with these arguments.
    unsafe fn call(self) -> Self::Output;
}

macro_rules! calls {
    ($($argument:ident: $kind:ident),*) => {
        impl<R: Copy, $($kind),*> Call for (unsafe extern "C-unwind" fn($($kind),*) -> R, $($kind,)*) {
            type Output = R;

            unsafe fn call(self) -> R {
                let (function, $($argument,)*) = self;
                // SAFETY: as the caller promises.
                unsafe { function($($argument),*) }
            }
        }
    };
}

calls!(a: A);
calls!(a: A, b: B);
calls!(a: A, b: B, c: C);
calls!(a: A, b: B, c: C, d: D, e: E, f: F, g: G, h: H);

/// Calls a function of [`crate::pg::ffi`] and catches the error that it may raise. Needs an `unsafe` block: see [`trapped`].
macro_rules! trap {
    ($function:path $(, $argument:expr)* $(,)?) => {
        $crate::pg::pg_error::trapped((
            {
                let function: unsafe extern "C-unwind" fn($($crate::pg::pg_error::trap!(@any $argument)),*) -> _ = $function;
                function
            },
            $($argument),*
        ))
    };
    (@any $argument:expr) => { _ };
}
pub(in crate::pg) use trap;

/// Makes a call and catches the error that it may raise. The transaction is left as the error found it: the caller must
/// re-throw it or roll back.
///
/// # Errors
/// PostgreSQL's own, complete.
///
/// # Safety
/// The function may be called with these arguments.
pub unsafe fn trapped<C: Call>(call: C) -> Result<C::Output, PgError> {
    // SAFETY: these are the steps of PG_TRY/PG_CATCH: save both stacks and the memory context, jump back to here on
    // error, restore, copy the error out of ErrorContext and flush it. Between the setjmp and the longjmp there are frames
    // of C alone, and one that passes plain values on.
    unsafe {
        let memory_context = pg_sys::CurrentMemoryContext;
        let exception_stack = pg_sys::PG_exception_stack;
        let context_stack = pg_sys::error_context_stack;
        let mut result = MaybeUninit::uninit();
        let jumped = call_with_sigsetjmp(false, |buffer| {
            pg_sys::PG_exception_stack = std::ptr::from_ref::<SigJmpBufFields>(buffer).cast_mut().cast();
            result.write(call.call());
            0
        });
        pg_sys::PG_exception_stack = exception_stack;
        pg_sys::error_context_stack = context_stack;
        if jumped == 0 {
            return Ok(result.assume_init());
        }
        // Some statements end their transaction before they start the next.
        pg_sys::CurrentMemoryContext =
            if pg_sys::TopTransactionContext.is_null() { pg_sys::TopMemoryContext } else { pg_sys::TopTransactionContext };
        let data = pg_sys::CopyErrorData();
        pg_sys::FlushErrorState();
        pg_sys::CurrentMemoryContext = memory_context;
        Err(PgError(data))
    }
}

/// A copy of `text` in the top transaction's memory.
unsafe fn keep(text: &str) -> *mut c_char {
    let text = CString::new(text.replace('\0', "")).unwrap_or_default();
    // SAFETY: TopTransactionContext exists inside a transaction, and the source is NUL-terminated.
    unsafe { pg_sys::MemoryContextStrdup(pg_sys::TopTransactionContext, text.as_ptr()) }
}
