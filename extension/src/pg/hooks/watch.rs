//! The callbacks behind the hooks, and the hooks that other libraries had installed before.

use crate::pg::execute::top_level_only;
use crate::pg::hooks::statement_at_hand::CHECKING;
use crate::pg::parse::commands::{self, Reading};
use crate::pg::parse::nodes::NodePtr;
use pgrx::pg_sys;
use runbook_core::identity::Address;
use std::sync::OnceLock;

/// A utility statement that is about to run.
pub struct Utility {
    /// Command tag, such as `TRUNCATE TABLE`.
    pub tag: String,
    /// Whether event triggers fire for it.
    pub has_events: bool,
    pub(super) tree: NodePtr,
}

impl Utility {
    /// What the statement would do.
    pub fn reading(&self) -> Reading {
        commands::read(self.tree, &self.tag)
    }

    /// Whether it commits in parts, so that some of what it does stays when it is cancelled.
    pub fn commits_midway(&self) -> bool {
        top_level_only::read(self.tree).is_some_and(|alone| alone.is_patient())
    }

    /// Whether the transaction must not have an id when it begins.
    pub fn comes_first(&self) -> bool {
        top_level_only::read(self.tree).is_some_and(|alone| alone.comes_first())
    }
}

/// What the guard says of a utility statement that it does not refuse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passes {
    /// It has been judged; `reported` if event triggers will judge what it drops.
    Judged {
        /// Whether event triggers will judge what it drops.
        reported: bool,
    },
    /// A name in it could not be looked up: PostgreSQL is expected to refuse it.
    Unresolved,
    /// It does not run, and the client has been told so.
    Skipped,
}

/// What the guard does at each hook; [`install`](super::chain::install) is given it.
pub struct Watch {
    /// A utility statement is about to run.
    pub utility: fn(&Utility) -> Passes,
    /// A statement that passed as unresolved has run.
    pub unresolved: fn(&str),
    /// An object is about to be dropped; whether no event trigger will report it.
    pub dropped: fn(Address, bool),
    /// A table is about to be truncated.
    pub truncated: fn(u32),
    /// DML is about to be executed on a system catalog, or on a table of ours.
    pub written: fn(u32),
    /// A large object is about to be written to a file of the server.
    pub exported: fn(),
    /// A function that no event trigger sees is about to be called, by its OID and name: it makes or drops slots, origins, collations.
    pub called: fn(u32, &'static str),
    /// An object that the cluster shares has been created.
    pub created: fn(Address),
}

/// What watches.
pub static WATCH: OnceLock<Watch> = OnceLock::new();

/// The hooks that were there before.
pub static PREVIOUS: OnceLock<Previous> = OnceLock::new();

/// Hooks of libraries that were loaded earlier.
pub struct Previous {
    pub(super) utility: pg_sys::ProcessUtility_hook_type,
    pub(super) access: pg_sys::object_access_hook_type,
    pub(super) check: pg_sys::ExecutorCheckPerms_hook_type,
}

/// Runs a check under pgrx's guard, unless one is running.
pub unsafe fn guarded(check: impl FnOnce(&Watch)) {
    let Some(watch) = WATCH.get() else { return };
    if CHECKING.replace(true) {
        return;
    }
    // SAFETY: the closure's frames hold no PostgreSQL resource that needs anything but unwinding. The flag is put back by a
    // guard that unwinding drops; errors of ours leave as PostgreSQL errors, after that.
    unsafe {
        pg_sys::panic::pgrx_extern_c_guard(move || {
            struct Reset;
            impl Drop for Reset {
                fn drop(&mut self) {
                    CHECKING.set(false);
                }
            }
            let _reset = Reset;
            check(watch);
        });
    }
}
