//! Functions of others that the extension's own SQL reaches: the guard judges what they do.
//!
//! While SQL of our own runs, the guard looks away. Code of somebody else's can be reached from it all the same: by an event trigger of
//! theirs, by the action of a foreign key. It is judged like any other; when it has returned, our own SQL goes on.
//! PostgreSQL asks of each function, when it is looked up, whether it wants to know of its calls (fmgr.h): of functions that are built in
//! it does not ask.

use crate::pg::hooks::limit;
use crate::pg::hooks::statement_at_hand::CHECKING;
use crate::pg::session::extension_members::is_own;
use crate::pg::session::identity::{is_own_sql, replace_own_sql};
use pgrx::pg_sys::{self, FmgrHookEventType};
use runbook_core::identity::{Address, FUNCTIONS};
use std::cell::RefCell;
use std::sync::OnceLock;

struct Previous {
    needs: pg_sys::needs_fmgr_hook_type,
    called: pg_sys::fmgr_hook_type,
}

static PREVIOUS: OnceLock<Previous> = OnceLock::new();

thread_local! {
    /// What the calls that have not returned have left, if they have: how deep in our own SQL, and whether inside a check.
    static LEFT: RefCell<Vec<Option<(u32, bool)>>> = const { RefCell::new(Vec::new()) };
}

/// Installs the hooks; called once, when the library is loaded.
pub fn install() {
    // SAFETY: _PG_init runs in a single thread; the previous hooks are kept and called.
    unsafe {
        let previous = Previous { needs: pg_sys::needs_fmgr_hook, called: pg_sys::fmgr_hook };
        if PREVIOUS.set(previous).is_ok() {
            pg_sys::needs_fmgr_hook = Some(needs);
            pg_sys::fmgr_hook = Some(on_call);
        }
    }
}

/// Whether there is anything that a call could leave.
fn is_inside() -> bool {
    is_own_sql() || CHECKING.get()
}

fn is_foreign(function: pg_sys::Oid) -> bool {
    !is_own(Address { class: FUNCTIONS, object: function.to_u32(), part: 0 })
}

unsafe extern "C-unwind" fn needs(function: pg_sys::Oid) -> bool {
    // SAFETY: the argument is that of the hook; functions are looked up inside transactions, and is_own reads catalogs.
    unsafe {
        limit::function(function);
        let wanted = PREVIOUS.get().and_then(|previous| previous.needs).is_some_and(|next| next(function));
        wanted || is_inside() && pg_sys::IsTransactionState() && pg_sys::panic::pgrx_extern_c_guard(|| is_foreign(function))
    }
}

unsafe extern "C-unwind" fn on_call(
    event: FmgrHookEventType::Type,
    function: *mut pg_sys::FmgrInfo,
    argument: *mut pg_sys::Datum,
) {
    let next = PREVIOUS.get().and_then(|previous| previous.called);
    // SAFETY: the arguments are those of the hook, passed on unchanged. Each START that returns is followed by one END or ABORT.
    unsafe {
        if event == FmgrHookEventType::FHET_START {
            if let Some(next) = next {
                next(event, function, argument);
            }
            pg_sys::panic::pgrx_extern_c_guard(|| {
                let leaves = is_inside() && pg_sys::IsTransactionState() && is_foreign((*function).fn_oid);
                let left = leaves.then(|| (replace_own_sql(0), CHECKING.replace(false)));
                LEFT.with_borrow_mut(|calls| calls.push(left));
            });
            return;
        }
        if let Some((own, checking)) = LEFT.with(|calls| calls.try_borrow_mut().ok()?.pop()?) {
            replace_own_sql(own);
            CHECKING.set(checking);
        }
        if let Some(next) = next {
            next(event, function, argument);
        }
    }
}
