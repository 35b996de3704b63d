//! The client's statement at hand: its text, how grave it is, and whether it has been judged.

use crate::pg::parse::nodes::{self, NodePtr};
use crate::pg::strings::text;
use pgrx::pg_sys::{self, NodeTag};
use runbook_core::command::Command;
use std::cell::{Cell, RefCell};
use std::ffi::{CStr, c_char, c_int};

/// A place in a session: the local transaction and the subtransaction. It is left when either ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    transaction: u32,
    subtransaction: u32,
}

impl Place {
    const NOWHERE: Self = Self { transaction: 0, subtransaction: 0 };

    /// Where the session is.
    pub fn here() -> Self {
        // SAFETY: called in a backend with a PGPROC; reads statics of xact.c.
        unsafe { Self { transaction: local_transaction(), subtransaction: pg_sys::GetCurrentSubTransactionId() } }
    }

    /// Whether the session is still inside of it: an error that somebody has caught ends it without a word.
    pub fn is_current(self) -> bool {
        self != Self::NOWHERE
            // SAFETY: as above.
            && unsafe { self.transaction == local_transaction() && pg_sys::SubTransactionIsActive(self.subtransaction) }
    }
}

/// The number of the session's transaction, which every transaction has, whether or not it writes.
///
/// # Safety
/// Called in a backend that runs SQL.
pub unsafe fn local_transaction() -> u32 {
    #[cfg(any(feature = "pg15", feature = "pg16"))]
    // SAFETY: a backend that runs SQL has a PGPROC.
    return unsafe { (*pg_sys::MyProc).lxid };
    #[cfg(not(any(feature = "pg15", feature = "pg16")))]
    // SAFETY: as above.
    return unsafe { (*pg_sys::MyProc).vxid.lxid };
}

/// Where the client's text has the statement that is running.
#[derive(Clone, Copy)]
pub struct Statement {
    pub(super) place: Place,
    pub(super) tag: pg_sys::CommandTag::Type,
    pub(super) query: *const c_char,
    pub(super) location: c_int,
    pub(super) length: c_int,
}

impl Statement {
    const NONE: Self = Self { place: Place::NOWHERE, tag: 0, query: std::ptr::null(), location: 0, length: 0 };
}

thread_local! {
    pub(super) static LOCKING: RefCell<Option<Command>> = const { RefCell::new(None) };
}

thread_local! {
    pub(super) static STATEMENT: Cell<Statement> = const { Cell::new(Statement::NONE) };
    /// Inside a statement whose drops event triggers report.
    pub(super) static REPORTED: Cell<Place> = const { Cell::new(Place::NOWHERE) };
    /// How grave the statement is that is running, as the guard has graded it; 0 if it has not.
    pub(super) static GRADE: Cell<u8> = const { Cell::new(0) };
    /// The tag of a statement that the hook has just decided on, for the event trigger that follows.
    pub(super) static DECIDED: Cell<NodeTag> = const { Cell::new(NodeTag::T_Invalid) };
    /// Whether the statement that is about to run does not.
    pub(super) static SKIPPED: Cell<bool> = const { Cell::new(false) };
    /// Whether the statement that is about to run could not be read.
    pub(super) static UNRESOLVED: Cell<bool> = const { Cell::new(false) };
    /// Whether a check is running: what it reads and writes itself is no business of the guard.
    pub(super) static CHECKING: Cell<bool> = const { Cell::new(false) };
}

/// The client's statement that is running, where it is a utility statement that the client's own text holds.
pub fn client_statement(tag: &str) -> Option<String> {
    let statement = STATEMENT.get();
    // SAFETY: while the place is current, the text is the client's, which lives as long as its command.
    unsafe {
        if !statement.place.is_current()
            || !std::ptr::eq(statement.query, pg_sys::debug_query_string)
            || text(pg_sys::GetCommandTagName(statement.tag)) != tag
        {
            return None;
        }
        let whole = CStr::from_ptr(statement.query).to_bytes();
        let start = usize::try_from(statement.location).unwrap_or(0).min(whole.len());
        let length = usize::try_from(statement.length).unwrap_or(0);
        let end = if length == 0 { whole.len() } else { (start + length).min(whole.len()) };
        Some(String::from_utf8_lossy(&whole[start..end]).into_owned())
    }
}

/// Grades the statement that is about to run.
pub fn set_grade(grade: u8) {
    GRADE.set(grade);
}

/// The grade of the innermost statement that is running.
pub fn grade() -> u8 {
    GRADE.get()
}

/// Whether the hook has decided on this statement just now; asked once.
pub fn has_decided(tree: NodePtr) -> bool {
    let decided = DECIDED.replace(NodeTag::T_Invalid);
    decided != NodeTag::T_Invalid && decided == nodes::tag(tree)
}
