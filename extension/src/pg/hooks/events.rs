//! Event trigger calls (src/include/commands/event_trigger.h).

use crate::pg::execute::{lock, top_level_only};
use crate::pg::hooks::statement_at_hand::{self, Place};
use crate::pg::parse::commands::{self, Reading};
use crate::pg::parse::nodes;
use crate::pg::strings::text;
use crate::pg::{fault, ffi};
use pgrx::pg_sys::{self, NodeTag};
use runbook_core::command::Command;
use std::cell::RefCell;
use std::ffi::CStr;

thread_local! {
    /// Statements of the transaction that could not be read, by the place where they started and the address of their trees.
    static UNRESOLVED: RefCell<Vec<(Place, usize)>> = const { RefCell::new(Vec::new()) };
}

/// A statement that is being executed: where the session is, and the address of its tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Statement(Place, usize);

impl Statement {
    /// Whether it may still be executed.
    pub fn goes_on(&self) -> bool {
        self.0.is_current()
    }
}

/// One firing of an event trigger.
#[derive(Debug)]
pub struct Event {
    /// Command tag, such as `DROP TABLE`.
    pub tag: String,
    tree: nodes::NodePtr,
}

impl Event {
    /// What the statement would do.
    pub fn reading(&self) -> Reading {
        commands::read(self.tree, &self.tag)
    }

    /// What the statement would do, as far as its names mean anything.
    pub fn command(&self) -> Command {
        self.reading().command
    }

    /// Its parse tree.
    pub fn tree(&self) -> nodes::NodePtr {
        self.tree
    }

    /// Which statement it is, for as long as it is executed.
    pub fn statement(&self) -> Statement {
        Statement(Place::here(), self.tree.addr())
    }

    /// Whether what it does depends on what a relation is that it names, and is judged again under the lock.
    pub fn is_judged_under_lock(&self) -> bool {
        lock::is_settled_by_lock(self.tree)
    }

    /// Whether it gives what it names another name or schema.
    pub fn renames(&self) -> bool {
        [NodeTag::T_RenameStmt, NodeTag::T_AlterObjectSchemaStmt].contains(&nodes::tag(self.tree))
    }

    /// Takes note that the statement could not be read and passes for now.
    pub fn note_unresolved(&self) {
        UNRESOLVED.with_borrow_mut(|known| {
            known.retain(|(place, _)| place.is_current());
            known.push((Place::here(), self.tree.addr()));
        });
    }

    /// Whether the statement could not be read when it started.
    pub fn was_unresolved(&self) -> bool {
        UNRESOLVED.with_borrow(|known| known.iter().any(|(place, tree)| place.is_current() && *tree == self.tree.addr()))
    }

    /// Whether it commits in parts, so that some of what it does stays when it is cancelled.
    pub fn commits_midway(&self) -> bool {
        top_level_only::read(self.tree).is_some_and(|alone| alone.is_patient())
    }

    /// Whether the transaction must not have an id when it begins.
    pub fn comes_first(&self) -> bool {
        top_level_only::read(self.tree).is_some_and(|alone| alone.comes_first())
    }

    /// Whether the preloaded library has judged this statement just now; asked once.
    pub fn is_decided(&self) -> bool {
        statement_at_hand::has_decided(self.tree)
    }
}

/// The event behind a function call; `None` if the function was called in any other way.
pub fn read(fcinfo: pg_sys::FunctionCallInfo) -> Option<Event> {
    // SAFETY: fcinfo is valid during the call; its context is checked before it is read as EventTriggerData.
    unsafe {
        let context = (*fcinfo).context;
        if nodes::tag(context) != NodeTag::T_EventTriggerData {
            return None;
        }
        let data = &*context.cast::<pg_sys::EventTriggerData>();
        fault::at(&text(data.event));
        Some(Event { tag: text(pg_sys::GetCommandTagName(data.tag)), tree: data.parsetree })
    }
}

/// The text that the client sent, if the call at hand stands in a statement of its outermost block of code, and not in a function that this
/// calls, nor in what a view or a default holds. Whether that block is a DO block, the text says.
pub fn do_block_at_hand(fcinfo: pg_sys::FunctionCallInfo) -> Option<String> {
    // SAFETY: fcinfo is valid during the call.
    unsafe {
        let info = (*fcinfo).flinfo;
        // The block itself, and the statement that it runs.
        if info.is_null() || contexts() != 2 || nodes::tag((*info).fn_expr) != NodeTag::T_FuncExpr {
            return None;
        }
        let is_written = (*(*info).fn_expr.cast::<pg_sys::FuncExpr>()).location >= 0;
        if is_written { client_query() } else { None }
    }
}

/// How many functions and statements are running around the call at hand, besides the client's own statement. A message of the extended
/// protocol has a context of its own, which tells of its parameters and does not count.
unsafe fn contexts() -> usize {
    // SAFETY: null, or a list of contexts that live on the stack of the functions that run.
    unsafe {
        let mut next = pg_sys::error_context_stack.cast_const();
        let mut count = 0;
        while let Some(context) = next.as_ref() {
            let tells_of_parameters =
                context.callback.is_some_and(|known| std::ptr::fn_addr_eq(known, ffi::ParamsErrorCallback as Callback));
            count += usize::from(!(tells_of_parameters && context.previous.is_null()));
            next = context.previous;
        }
        count
    }
}

/// The text that the client sent, and where in it the call at hand stands, if it stands there. `None` for a call that stands nowhere in it: in a view, a
/// policy, a default, or in the body of a function.
pub fn call_in_client_text(fcinfo: pg_sys::FunctionCallInfo) -> Option<(String, usize)> {
    // SAFETY: fcinfo is valid during the call. What a view or a default holds was read back from a catalog, without a location. What
    // runs a text of its own, a function or a DO block, says so in the stack of error contexts. At its bottom the extended protocol puts
    // what names a message's parameters.
    unsafe {
        let info = (*fcinfo).flinfo;
        let query = pg_sys::debug_query_string;
        if info.is_null() || query.is_null() || contexts() > 0 {
            return None;
        }
        let call = (*info).fn_expr;
        if nodes::tag(call) != NodeTag::T_FuncExpr {
            return None;
        }
        let location = usize::try_from((*call.cast::<pg_sys::FuncExpr>()).location).ok()?;
        let whole = CStr::from_ptr(query).to_bytes();
        // What comes before may be in another encoding: it counts as it is read.
        let before = String::from_utf8_lossy(whole.get(..location)?).len();
        Some((String::from_utf8_lossy(whole).into_owned(), before))
    }
}

/// A callback of the stack of error contexts.
type Callback = unsafe extern "C-unwind" fn(*mut std::ffi::c_void);

/// The text that the client sent, if there is one. It may hold more than the statement at hand.
pub fn client_query() -> Option<String> {
    // SAFETY: null, or a NUL-terminated string that lives as long as the client's command.
    let query = unsafe { pg_sys::debug_query_string };
    // SAFETY: as above.
    (!query.is_null()).then(|| unsafe { text(query) })
}

/// The portal that runs the client's statement: what is put off to the commit runs in none, or in another.
pub fn portal() -> usize {
    // SAFETY: reads a static of pquery.c.
    unsafe { pg_sys::ActivePortal }.addr()
}

/// Whether the statement at hand was read in an earlier message: by PREPARE, or by the extended protocol.
pub fn is_prepared() -> bool {
    // SAFETY: null, or the portal that is being run.
    unsafe { pg_sys::ActivePortal.as_ref() }.is_none_or(|portal| !portal.cplan.is_null())
}

/// Whether the statement at hand is one with a plan, and that was made in an earlier message.
pub fn is_planned_before() -> bool {
    // SAFETY: null, or the portal that is being run; its statements are PlannedStmts.
    unsafe {
        let Some(portal) = pg_sys::ActivePortal.as_ref() else { return true };
        let first = nodes::items(portal.stmts).into_iter().next().map(|one| one.cast::<pg_sys::PlannedStmt>());
        let is_utility = first.is_some_and(|one| (*one).commandType == pg_sys::CmdType::CMD_UTILITY);
        !portal.cplan.is_null() && !is_utility
    }
}
