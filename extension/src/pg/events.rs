//! Event trigger calls (src/include/commands/event_trigger.h).

use crate::pg::caught::text;
use crate::pg::{commands, hooks, nodes};
use pgrx::pg_sys;
use pgrx::pg_sys::NodeTag;
use runbook_core::command::Command;

/// One firing of an event trigger.
#[derive(Debug)]
pub struct Event {
    /// Command tag, such as `DROP TABLE`.
    pub tag: String,
    tree: nodes::NodePtr,
}

impl Event {
    /// What the statement would do.
    pub fn command(&self) -> Command {
        commands::read(self.tree, &self.tag)
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

/// The text that the client sent, if there is one. It may hold more than the statement at hand.
pub fn client_query() -> Option<String> {
    // SAFETY: null, or a NUL-terminated string that lives as long as the client's command.
    let query = unsafe { pg_sys::debug_query_string };
    // SAFETY: as above.
    (!query.is_null()).then(|| unsafe { text(query) })
}
