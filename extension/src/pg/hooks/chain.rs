//! Hooks of the preloaded library: utility statements, object access, and DML on what the guard stands on.
//!
//! The hook functions are plain C frames that hold nothing to drop. Each calls a guarded check first and then the raw next
//! function of the chain: an error that passes through a Rust guard would lose its cursor position, CONTEXT and object names.
//! What the check does not concern returns without allocating and without looking into a catalog.

use crate::pg::callback::never_raising;
use crate::pg::hooks::object_access::{on_access, on_check};
use crate::pg::hooks::statement_at_hand::{
    DECIDED, GRADE, LOCKING, Place, REPORTED, SKIPPED, STATEMENT, Statement, UNRESOLVED,
};
use crate::pg::hooks::watch::{PREVIOUS, Passes, Previous, Utility, WATCH, Watch, guarded};
use crate::pg::parse::nodes::{self, NodePtr};
use crate::pg::parse::shared::is_switch;
use crate::pg::parse::{commands, maintain};
use crate::pg::session::identity::is_own_sql;
use crate::pg::strings::text;
use crate::pg::workers::shared;
use crate::pg::{fault, ffi};
use pgrx::pg_sys::{self, NodeTag};
use std::ffi::{CStr, c_char, c_int};

/// Installs the hooks, where the library is being preloaded; and asks for shared memory and a launcher.
pub fn install(watch: Watch) {
    // SAFETY: _PG_init runs in a single thread, before any hook can be called.
    unsafe {
        if !pg_sys::process_shared_preload_libraries_in_progress {
            return;
        }
        let previous = Previous {
            utility: pg_sys::ProcessUtility_hook,
            access: pg_sys::object_access_hook,
            check: pg_sys::ExecutorCheckPerms_hook,
        };
        if PREVIOUS.set(previous).is_err() || WATCH.set(watch).is_err() {
            return;
        }
        pg_sys::ProcessUtility_hook = Some(on_utility);
        pg_sys::object_access_hook = Some(on_access);
        pg_sys::ExecutorCheckPerms_hook = Some(on_check);
    }
    shared::request();
    crate::pg::workers::launcher::register();
}

unsafe extern "C-unwind" fn on_utility(
    statement: *mut pg_sys::PlannedStmt,
    query: *const c_char,
    read_only: bool,
    context: pg_sys::ProcessUtilityContext::Type,
    parameters: pg_sys::ParamListInfo,
    environment: *mut pg_sys::QueryEnvironment,
    destination: *mut pg_sys::DestReceiver,
    completion: *mut pg_sys::QueryCompletion,
) {
    // SAFETY: the arguments are those of ProcessUtility, passed on unchanged; the check reads the parse tree only.
    unsafe {
        let tree = (*statement).utilityStmt;
        let (before, outer, grade) = (REPORTED.get(), STATEMENT.get(), GRADE.replace(0));
        UNRESOLVED.set(false);
        judge_before(statement, query, context);
        if SKIPPED.replace(false) {
            DECIDED.set(NodeTag::T_Invalid);
            STATEMENT.set(outer);
            GRADE.set(grade);
            return;
        }
        let unresolved = if UNRESOLVED.replace(false) {
            Some(pg_sys::panic::pgrx_extern_c_guard(|| pg_sys::CreateCommandTag(tree)))
        } else {
            None
        };
        // What LOCK meant when it was judged; kept outside of this frame, which an error leaves without a word.
        let meant = || commands::read(tree, "LOCK TABLE").command;
        let locks = nodes::tag(tree) == NodeTag::T_LockStmt && !is_own_sql();
        if locks {
            pg_sys::panic::pgrx_extern_c_guard(|| LOCKING.set(Some(meant())));
        }
        let next = PREVIOUS.get().and_then(|previous| previous.utility).unwrap_or(ffi::standard_ProcessUtility);
        // The tree may be gone with the transaction that it ends.
        let commits_prepared = nodes::tag(tree) == NodeTag::T_TransactionStmt
            && (*tree.cast::<pg_sys::TransactionStmt>()).kind == pg_sys::TransactionStmtKind::TRANS_STMT_COMMIT_PREPARED;
        next(statement, query, read_only, context, parameters, environment, destination, completion);
        if locks {
            guarded(|watch| {
                if LOCKING.take().is_some_and(|before| before != meant()) {
                    (watch.utility)(&Utility { tag: "LOCK TABLE".to_owned(), has_events: false, tree });
                }
            });
        }
        if commits_prepared {
            never_raising("after COMMIT PREPARED", || shared::mark_unsealed(None));
        }
        if let Some(tag) = unresolved {
            guarded(|watch| (watch.unresolved)(&text(pg_sys::GetCommandTagName(tag))));
        }
        REPORTED.set(before);
        STATEMENT.set(outer);
        GRADE.set(grade);
    }
}

/// Has the guard judge a statement that is about to run; what it says is left in the cells.
///
/// # Safety
/// The arguments are those of ProcessUtility. The frame holds nothing to drop.
unsafe fn judge_before(
    statement: *mut pg_sys::PlannedStmt,
    query: *const c_char,
    context: pg_sys::ProcessUtilityContext::Type,
) {
    // SAFETY: as the caller promises; the check reads the parse tree only.
    unsafe {
        let tree = (*statement).utilityStmt;
        // Parts of a statement have been judged with it.
        if context != pg_sys::ProcessUtilityContext::PROCESS_UTILITY_SUBCOMMAND
            && !is_own_sql()
            && pg_sys::panic::pgrx_extern_c_guard(|| concerns(tree))
        {
            DECIDED.set(NodeTag::T_Invalid);
            if context == pg_sys::ProcessUtilityContext::PROCESS_UTILITY_TOPLEVEL {
                STATEMENT.set(pg_sys::panic::pgrx_extern_c_guard(|| Statement {
                    place: Place::here(),
                    tag: pg_sys::CreateCommandTag(tree),
                    query,
                    location: (*statement).stmt_location,
                    length: (*statement).stmt_len,
                }));
            }
            guarded(|watch| {
                fault::at("utility");
                let utility = Utility {
                    tag: text(pg_sys::GetCommandTagName(pg_sys::CreateCommandTag(tree))),
                    has_events: has_events(tree),
                    tree,
                };
                let passes = (watch.utility)(&utility);
                UNRESOLVED.set(passes == Passes::Unresolved);
                SKIPPED.set(passes == Passes::Skipped);
                if utility.has_events {
                    DECIDED.set(nodes::tag(tree));
                    if passes == (Passes::Judged { reported: true }) {
                        REPORTED.set(Place::here());
                    }
                }
            });
        }
    }
}

/// Whether the guard has anything to do with a utility statement. Decided without looking at names.
unsafe fn concerns(tree: NodePtr) -> bool {
    use NodeTag::*;
    // SAFETY: each arm casts to the struct that its node tag names (nodes/nodes.h).
    unsafe {
        let allowed_to_read = [
            T_AlterSystemStmt,
            T_LoadStmt,
            T_CopyStmt,
            T_VacuumStmt,
            T_ClusterStmt,
            T_ReindexStmt,
            T_LockStmt,
            T_VariableSetStmt,
            T_ExplainStmt,
        ];
        // In a read-only transaction PostgreSQL refuses everything else itself.
        if pg_sys::XactReadOnly && !allowed_to_read.contains(&nodes::tag(tree)) {
            return false;
        }
        match nodes::tag(tree) {
            T_TransactionStmt | T_PrepareStmt | T_ExecuteStmt | T_DeallocateStmt | T_FetchStmt | T_DeclareCursorStmt
            | T_ClosePortalStmt | T_NotifyStmt | T_ListenStmt | T_UnlistenStmt | T_DoStmt | T_CallStmt | T_VariableShowStmt
            | T_ConstraintsSetStmt | T_CheckPointStmt | T_DiscardStmt => false,
            T_VariableSetStmt => {
                let name = (*tree.cast::<pg_sys::VariableSetStmt>()).name;
                !name.is_null() && is_switch(CStr::from_ptr(name).to_bytes())
            }
            T_VacuumStmt => maintain::is_full(tree.cast()),
            T_CopyStmt => {
                let copy = &*tree.cast::<pg_sys::CopyStmt>();
                copy.is_program || !copy.filename.is_null()
            }
            T_LockStmt => (*tree.cast::<pg_sys::LockStmt>()).mode >= pg_sys::ShareLock as c_int,
            T_ExplainStmt => commands::explained(tree.cast()).is_some(),
            _ => true,
        }
    }
}

/// Whether event triggers fire for a statement (tcop/utility.c).
pub unsafe fn has_events(tree: NodePtr) -> bool {
    use NodeTag::*;
    let supported = |kind| {
        // SAFETY: a function of the object's kind alone.
        unsafe { pg_sys::EventTriggerSupportsObjectType(kind) }
    };
    // SAFETY: each arm casts to the struct that its node tag names.
    unsafe {
        match nodes::tag(tree) {
            T_CreateTableSpaceStmt
            | T_DropTableSpaceStmt
            | T_AlterTableSpaceOptionsStmt
            | T_TruncateStmt
            | T_CopyStmt
            | T_GrantRoleStmt
            | T_CreatedbStmt
            | T_AlterDatabaseStmt
            | T_AlterDatabaseSetStmt
            | T_AlterDatabaseRefreshCollStmt
            | T_DropdbStmt
            | T_LoadStmt
            | T_ClusterStmt
            | T_VacuumStmt
            | T_ExplainStmt
            | T_AlterSystemStmt
            | T_VariableSetStmt
            | T_CreateEventTrigStmt
            | T_AlterEventTrigStmt
            | T_CreateRoleStmt
            | T_AlterRoleStmt
            | T_AlterRoleSetStmt
            | T_DropRoleStmt
            | T_ReassignOwnedStmt
            | T_LockStmt => false,
            T_ReindexStmt => cfg!(any(feature = "pg17", feature = "pg18")),
            T_GrantStmt => supported((*tree.cast::<pg_sys::GrantStmt>()).objtype),
            T_DropStmt => supported((*tree.cast::<pg_sys::DropStmt>()).removeType),
            T_RenameStmt => supported((*tree.cast::<pg_sys::RenameStmt>()).renameType),
            T_AlterObjectDependsStmt => supported((*tree.cast::<pg_sys::AlterObjectDependsStmt>()).objectType),
            T_AlterObjectSchemaStmt => supported((*tree.cast::<pg_sys::AlterObjectSchemaStmt>()).objectType),
            T_AlterOwnerStmt => supported((*tree.cast::<pg_sys::AlterOwnerStmt>()).objectType),
            T_CommentStmt => supported((*tree.cast::<pg_sys::CommentStmt>()).objtype),
            T_SecLabelStmt => supported((*tree.cast::<pg_sys::SecLabelStmt>()).objtype),
            _ => true,
        }
    }
}
