//! Event trigger calls (src/include/commands/event_trigger.h).

use crate::pg::caught::text;
use crate::pg::commands::{self, Reading};
use crate::pg::hooks::{self, Place};
use crate::pg::{alone, ffi, nodes};
use pgrx::pg_sys;
use pgrx::pg_sys::NodeTag;
use runbook_core::command::Command;
use std::cell::RefCell;
use std::ffi::CStr;

thread_local! {
    /// Statements of the transaction that could not be read, by the place where they started and the address of their trees.
    static UNRESOLVED: RefCell<Vec<(Place, usize)>> = const { RefCell::new(Vec::new()) };
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
        alone::read(self.tree).is_some_and(|alone| alone.is_patient())
    }

    /// Whether the preloaded library has judged this statement just now; asked once.
    pub fn is_decided(&self) -> bool {
        hooks::has_decided(self.tree)
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
        Some(Event { tag: text(pg_sys::GetCommandTagName(data.tag)), tree: data.parsetree })
    }
}

/// The text that the client sent, from where the call at hand stands in it. `None` for a call that stands nowhere in it: in a view, a
/// policy, a default, or in the body of a function.
pub fn call_in_client_text(fcinfo: pg_sys::FunctionCallInfo) -> Option<String> {
    // SAFETY: fcinfo is valid during the call. What a view or a default holds was read back from a catalog, without a location. What
    // runs a text of its own, a function or a DO block, says so in the stack of error contexts. At its bottom the extended protocol puts
    // what names a message's parameters.
    unsafe {
        let info = (*fcinfo).flinfo;
        let query = pg_sys::debug_query_string;
        if info.is_null() || query.is_null() || !is_top_level(pg_sys::error_context_stack) {
            return None;
        }
        let call = (*info).fn_expr;
        if nodes::tag(call) != NodeTag::T_FuncExpr {
            return None;
        }
        let location = usize::try_from((*call.cast::<pg_sys::FuncExpr>()).location).ok()?;
        let whole = CStr::from_ptr(query).to_bytes();
        Some(String::from_utf8_lossy(whole.get(location..)?).into_owned())
    }
}

/// Whether nothing runs a text of its own: the stack of error contexts is empty, or has the parameters of the client's message alone.
unsafe fn is_top_level(stack: *mut pg_sys::ErrorContextCallback) -> bool {
    // SAFETY: null, or the innermost of the callbacks that are pushed; only the address of its function is looked at.
    unsafe {
        stack.is_null()
            || (*stack).previous.is_null()
                && (*stack)
                    .callback
                    .is_some_and(|callback| std::ptr::fn_addr_eq(callback, ffi::ParamsErrorCallback as Callback))
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
