//! Hooks of the preloaded library: utility statements, object access, and DML on what the guard stands on.
//!
//! The hook functions are plain C frames that hold nothing to drop. Each calls a guarded check first and then the raw next
//! function of the chain: an error that passes through a Rust guard would lose its cursor position, CONTEXT and object names.
//! What the check does not concern returns without allocating and without looking into a catalog.

use crate::pg::callback::never_raising;
use crate::pg::execute::top_level_only;
use crate::pg::parse::bind;
use crate::pg::parse::commands::{self, Reading, is_switch};
use crate::pg::parse::nodes::{self, NodePtr};
use crate::pg::session::extension_members::is_own_table;
use crate::pg::session::identity::is_own_sql;
use crate::pg::strings::text;
use crate::pg::workers::shared;
use crate::pg::{fault, ffi};
use pgrx::pg_sys::{self, NodeTag};
use runbook_core::command::Command;
use runbook_core::identity::Address;
use std::cell::{Cell, RefCell};
use std::ffi::{CStr, c_char, c_int, c_void};
use std::sync::OnceLock;

/// A utility statement that is about to run.
pub struct Utility {
    /// Command tag, such as `TRUNCATE TABLE`.
    pub tag: String,
    /// Whether event triggers fire for it.
    pub has_events: bool,
    tree: NodePtr,
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

/// What the guard does at each hook; [`install`] is given it.
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

static WATCH: OnceLock<Watch> = OnceLock::new();
static PREVIOUS: OnceLock<Previous> = OnceLock::new();

struct Previous {
    utility: pg_sys::ProcessUtility_hook_type,
    access: pg_sys::object_access_hook_type,
    check: pg_sys::ExecutorCheckPerms_hook_type,
}

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
        // SAFETY: as above.
        self != Self::NOWHERE
            && unsafe { self.transaction == local_transaction() && pg_sys::SubTransactionIsActive(self.subtransaction) }
    }
}

/// The number of the session's transaction, which every transaction has, whether or not it writes.
///
/// # Safety
/// Called in a backend that runs SQL.
pub unsafe fn local_transaction() -> u32 {
    // SAFETY: a backend that runs SQL has a PGPROC.
    #[cfg(any(feature = "pg15", feature = "pg16"))]
    return unsafe { (*pg_sys::MyProc).lxid };
    // SAFETY: as above.
    #[cfg(not(any(feature = "pg15", feature = "pg16")))]
    return unsafe { (*pg_sys::MyProc).vxid.lxid };
}

/// Where the client's text has the statement that is running.
#[derive(Clone, Copy)]
struct Statement {
    place: Place,
    tag: pg_sys::CommandTag::Type,
    query: *const c_char,
    location: c_int,
    length: c_int,
}

impl Statement {
    const NONE: Self = Self { place: Place::NOWHERE, tag: 0, query: std::ptr::null(), location: 0, length: 0 };
}

thread_local! {
    static LOCKING: RefCell<Option<Command>> = const { RefCell::new(None) };
}

thread_local! {
    static STATEMENT: Cell<Statement> = const { Cell::new(Statement::NONE) };
    /// Inside a statement whose drops event triggers report.
    static REPORTED: Cell<Place> = const { Cell::new(Place::NOWHERE) };
    /// How grave the statement is that is running, as the guard has graded it; 0 if it has not.
    static GRADE: Cell<u8> = const { Cell::new(0) };
    /// The tag of a statement that the hook has just decided on, for the event trigger that follows.
    static DECIDED: Cell<NodeTag> = const { Cell::new(NodeTag::T_Invalid) };
    /// Whether the statement that is about to run does not.
    static SKIPPED: Cell<bool> = const { Cell::new(false) };
    /// Whether the statement that is about to run could not be read.
    static UNRESOLVED: Cell<bool> = const { Cell::new(false) };
    /// Whether a check is running: what it reads and writes itself is no business of the guard.
    static CHECKING: Cell<bool> = const { Cell::new(false) };
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

/// Runs a check under pgrx's guard, unless one is running.
unsafe fn guarded(check: impl FnOnce(&Watch)) {
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
            T_VacuumStmt => commands::is_full(tree.cast()),
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
unsafe fn has_events(tree: NodePtr) -> bool {
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

/// OID of lo_export(oid, text) (catalog/pg_proc.dat).
const LO_EXPORT: u32 = 765;

/// PostgreSQL's functions that change what statements have no word for (catalog/pg_proc.dat).
const OUTSIDE_OF_STATEMENTS: [(u32, &str); 14] = [
    (3445, "pg_import_system_collations"),
    (3779, "pg_create_physical_replication_slot"),
    (3780, "pg_drop_replication_slot"),
    (3786, "pg_create_logical_replication_slot"),
    (3878, "pg_replication_slot_advance"),
    (4220, "pg_copy_physical_replication_slot"),
    (4221, "pg_copy_physical_replication_slot"),
    (4222, "pg_copy_logical_replication_slot"),
    (4223, "pg_copy_logical_replication_slot"),
    (4224, "pg_copy_logical_replication_slot"),
    (6003, "pg_replication_origin_create"),
    (6004, "pg_replication_origin_drop"),
    (6009, "pg_replication_origin_xact_setup"),
    (6011, "pg_replication_origin_advance"),
];

/// The name of such a function. Calls of functions are many: most are told by one comparison.
fn outside_of_statements(function: u32) -> Option<&'static str> {
    if !(3445..=6011).contains(&function) {
        return None;
    }
    OUTSIDE_OF_STATEMENTS.iter().find(|(oid, _)| *oid == function).map(|(_, name)| *name)
}

unsafe extern "C-unwind" fn on_access(
    access: pg_sys::ObjectAccessType::Type,
    class: pg_sys::Oid,
    object: pg_sys::Oid,
    part: c_int,
    argument: *mut c_void,
) {
    // SAFETY: the arguments are those of the hook, passed on unchanged; what `argument` is, the kind of access says.
    unsafe {
        if let Some(next) = PREVIOUS.get().and_then(|previous| previous.access) {
            next(access, class, object, part, argument);
        }
        match access {
            pg_sys::ObjectAccessType::OAT_DROP => {
                let flags = if argument.is_null() { 0 } else { (*argument.cast::<pg_sys::ObjectAccessDrop>()).dropflags };
                // Transient tables of rewrites, and temporary ones that go with the session.
                let internal = flags & pg_sys::PERFORM_DELETION_INTERNAL as c_int != 0;
                guarded(|watch| {
                    fault::at("dropped");
                    let unreported = !internal && !REPORTED.get().is_current();
                    let found = Address { class: class.to_u32(), object: object.to_u32(), part };
                    (watch.dropped)(found, unreported);
                });
            }
            // Calls of functions are many: an integer is compared.
            pg_sys::ObjectAccessType::OAT_FUNCTION_EXECUTE if object.to_u32() == LO_EXPORT => {
                guarded(|watch| (watch.exported)());
            }
            pg_sys::ObjectAccessType::OAT_FUNCTION_EXECUTE => {
                if let Some(name) = outside_of_statements(object.to_u32()) {
                    guarded(|watch| (watch.called)(object.to_u32(), name));
                }
            }
            pg_sys::ObjectAccessType::OAT_POST_CREATE if bind::is_shared(class.to_u32()) => {
                guarded(|watch| (watch.created)(Address { class: class.to_u32(), object: object.to_u32(), part: 0 }));
            }
            pg_sys::ObjectAccessType::OAT_TRUNCATE => guarded(|watch| (watch.truncated)(object.to_u32())),
            _ => {}
        }
    }
}

#[cfg(feature = "pg15")]
unsafe extern "C-unwind" fn on_check(range_table: *mut pg_sys::List, report: bool) -> bool {
    // SAFETY: a list of RangeTblEntry, passed on unchanged.
    unsafe {
        let next = PREVIOUS.get().and_then(|previous| previous.check);
        if let Some(next) = next
            && !next(range_table, report)
        {
            return false;
        }
        let length = if range_table.is_null() { 0 } else { (*range_table).length };
        for at in 0..length {
            let entry = (*(*range_table).elements.add(at as usize)).ptr_value.cast::<pg_sys::RangeTblEntry>();
            note_write((*entry).relid, (*entry).requiredPerms);
        }
        true
    }
}

#[cfg(not(feature = "pg15"))]
unsafe extern "C-unwind" fn on_check(range_table: *mut pg_sys::List, permissions: *mut pg_sys::List, report: bool) -> bool {
    // SAFETY: a list of RTEPermissionInfo, passed on unchanged.
    unsafe {
        let next = PREVIOUS.get().and_then(|previous| previous.check);
        if let Some(next) = next
            && !next(range_table, permissions, report)
        {
            return false;
        }
        let length = if permissions.is_null() { 0 } else { (*permissions).length };
        for at in 0..length {
            let entry = (*(*permissions).elements.add(at as usize)).ptr_value.cast::<pg_sys::RTEPermissionInfo>();
            note_write((*entry).relid, (*entry).requiredPerms);
        }
        true
    }
}

/// OIDs below are those of the system's own objects (access/transam.h, FirstNormalObjectId).
const FIRST_NORMAL_OBJECT: u32 = 16384;

/// A few comparisons of integers for an ordinary table.
unsafe fn note_write(table: pg_sys::Oid, permissions: pg_sys::AclMode) {
    const WRITES: u64 = (pg_sys::ACL_INSERT | pg_sys::ACL_UPDATE | pg_sys::ACL_DELETE) as u64;
    let table = table.to_u32();
    if u64::from(permissions) & WRITES == 0 || table == 0 || CHECKING.get() || is_own_sql() {
        return;
    }
    // SAFETY: the check is called inside a transaction.
    unsafe {
        guarded(|watch| {
            fault::at("check");
            if table < FIRST_NORMAL_OBJECT || is_own_table(table) {
                (watch.written)(table);
            }
        });
    }
}
