//! Statements that can't be part of a transaction: recognised by their parse trees, and run at top level.

use crate::pg::execute::append;
use crate::pg::ffi;
use crate::pg::parse::names::{object, relation};
use crate::pg::parse::nodes::{NodePtr, items, tag};
use crate::pg::parse::type_change::{boolean, has_on};
use crate::pg::pg_error::trap;
use crate::pg::strings::text;
use pgrx::pg_sys::{self, NodeTag};
use runbook_core::command::Name;
use runbook_core::identity::Identity;
use runbook_core::top_level_only::TopLevelOnly;
use std::cell::{Cell, RefCell};
use std::ffi::{CString, c_int, c_void};
use std::sync::OnceLock;

/// What a statement is, if it can't be part of a transaction (`PreventInTransactionBlock` in PostgreSQL's sources).
pub fn read(tree: NodePtr) -> Option<TopLevelOnly> {
    // SAFETY: each arm casts to the struct that its node tag names (nodes/nodes.h).
    unsafe {
        Some(match tag(tree) {
            NodeTag::T_IndexStmt => {
                let statement = &*tree.cast::<pg_sys::IndexStmt>();
                if !statement.concurrent {
                    return None;
                }
                TopLevelOnly::BuildIndex { table: relation(statement.relation), index: text(statement.idxname) }
            }
            NodeTag::T_DropStmt => {
                let statement = &*tree.cast::<pg_sys::DropStmt>();
                let first = items(statement.objects).into_iter().next();
                match first {
                    Some(first) if statement.concurrent => {
                        TopLevelOnly::DropIndex { index: object(statement.removeType, first) }
                    }
                    _ => return None,
                }
            }
            NodeTag::T_ReindexStmt => {
                let statement = &*tree.cast::<pg_sys::ReindexStmt>();
                let whole = ![pg_sys::ReindexObjectType::REINDEX_OBJECT_INDEX, pg_sys::ReindexObjectType::REINDEX_OBJECT_TABLE]
                    .contains(&statement.kind)
                    || is_partitioned(&relation(statement.relation));
                if has_on(statement.params, "concurrently") {
                    TopLevelOnly::Reindex { relation: relation(statement.relation) }
                } else if whole {
                    TopLevelOnly::Repeatable
                } else {
                    return None;
                }
            }
            NodeTag::T_AlterTableStmt => {
                let statement = &*tree.cast::<pg_sys::AlterTableStmt>();
                let detaches = |command: &NodePtr| {
                    let command = &*command.cast::<pg_sys::AlterTableCmd>();
                    command.subtype == pg_sys::AlterTableType::AT_DetachPartition
                        && (*command.def.cast::<pg_sys::PartitionCmd>()).concurrent
                };
                let command = items(statement.cmds).into_iter().find(detaches)?;
                let definition = (*command.cast::<pg_sys::AlterTableCmd>()).def.cast::<pg_sys::PartitionCmd>();
                TopLevelOnly::Detach { table: relation(statement.relation), partition: relation((*definition).name) }
            }
            NodeTag::T_CreatedbStmt => {
                TopLevelOnly::Create { kind: "database", name: text((*tree.cast::<pg_sys::CreatedbStmt>()).dbname) }
            }
            NodeTag::T_DropdbStmt => {
                TopLevelOnly::Drop { kind: "database", name: text((*tree.cast::<pg_sys::DropdbStmt>()).dbname) }
            }
            NodeTag::T_CreateTableSpaceStmt => {
                let name = text((*tree.cast::<pg_sys::CreateTableSpaceStmt>()).tablespacename);
                TopLevelOnly::Create { kind: "tablespace", name }
            }
            NodeTag::T_DropTableSpaceStmt => {
                let name = text((*tree.cast::<pg_sys::DropTableSpaceStmt>()).tablespacename);
                TopLevelOnly::Drop { kind: "tablespace", name }
            }
            NodeTag::T_CreateSubscriptionStmt => {
                let statement = &*tree.cast::<pg_sys::CreateSubscriptionStmt>();
                // Without a slot to create it may be part of a transaction.
                if is_off(statement.options, "connect") || is_off(statement.options, "create_slot") {
                    return None;
                }
                TopLevelOnly::Create { kind: "subscription", name: text(statement.subname) }
            }
            NodeTag::T_DropSubscriptionStmt => {
                TopLevelOnly::Drop { kind: "subscription", name: text((*tree.cast::<pg_sys::DropSubscriptionStmt>()).subname) }
            }
            NodeTag::T_AlterDatabaseStmt => {
                let statement = &*tree.cast::<pg_sys::AlterDatabaseStmt>();
                let moves = |option: NodePtr| {
                    tag(option) == NodeTag::T_DefElem && text((*option.cast::<pg_sys::DefElem>()).defname) == "tablespace"
                };
                if !items(statement.options).into_iter().any(moves) {
                    return None;
                }
                TopLevelOnly::Repeatable
            }
            NodeTag::T_VacuumStmt if (*tree.cast::<pg_sys::VacuumStmt>()).is_vacuumcmd => TopLevelOnly::Repeatable,
            NodeTag::T_ClusterStmt => {
                let table = (*tree.cast::<pg_sys::ClusterStmt>()).relation;
                if !table.is_null() && !is_partitioned(&relation(table)) {
                    return None;
                }
                TopLevelOnly::Repeatable
            }
            NodeTag::T_AlterSubscriptionStmt => {
                use pg_sys::AlterSubscriptionType as Kind;
                let statement = &*tree.cast::<pg_sys::AlterSubscriptionStmt>();
                // Without a refresh it may be part of a transaction. ADD and DROP can't be repeated: they go without, and REFRESH after them.
                let refreshes = statement.kind == Kind::ALTER_SUBSCRIPTION_REFRESH
                    || statement.kind == Kind::ALTER_SUBSCRIPTION_SET_PUBLICATION && !is_off(statement.options, "refresh");
                if !refreshes {
                    return None;
                }
                TopLevelOnly::Repeatable
            }
            NodeTag::T_AlterSystemStmt => TopLevelOnly::Repeatable,
            _ => return None,
        })
    }
}

/// Whether a list of options has one of that name, and it is off.
fn is_off(options: *mut pg_sys::List, name: &str) -> bool {
    items(options).into_iter().any(|option| boolean(option, name) == Some(false))
}

/// Whether a name is that of a partitioned table or index.
fn is_partitioned(name: &Name) -> bool {
    let Identity::Is(found) = name.identity else { return false };
    // SAFETY: a look-up in the catalog's cache; 0 for what is not there.
    let kind = unsafe { pg_sys::get_rel_relkind(pg_sys::Oid::from(found.object)) };
    [b'p', b'I'].contains(&(kind as u8))
}

/// Which statement is being run, for the record of what it builds.
#[derive(Clone, Debug)]
pub struct Place {
    /// The revision.
    pub revision: String,
    /// `upgrade` or `downgrade`.
    pub direction: String,
    /// Number of the statement, from 1.
    pub statement: i32,
}

thread_local! {
    /// The only relation that may be dropped, while our own statement drops what was left behind.
    static EXPECTED: Cell<u32> = const { Cell::new(0) };
    static CONTEXT: Cell<pg_sys::MemoryContext> = const { Cell::new(std::ptr::null_mut()) };
    static PLACE: RefCell<Option<Place>> = const { RefCell::new(None) };
}

static PREVIOUS: OnceLock<pg_sys::object_access_hook_type> = OnceLock::new();

/// Has the indexes that statements build recorded, in this process. What is recorded is written in the very transaction that creates
/// the index, so that after a crash it is known to be ours.
pub fn install() {
    // SAFETY: a worker has one thread; the previous hook is kept and called.
    unsafe {
        if PREVIOUS.set(pg_sys::object_access_hook).is_ok() {
            pg_sys::object_access_hook = Some(on_access);
        }
    }
}

/// Has the next statement fail if it drops any other relation: a name may mean another one by the time that its lock is there.
pub fn expect_drop(relation: u32) {
    EXPECTED.set(relation);
}

unsafe extern "C-unwind" fn on_access(
    access: pg_sys::ObjectAccessType::Type,
    class: pg_sys::Oid,
    created: pg_sys::Oid,
    part: c_int,
    argument: *mut c_void,
) {
    // SAFETY: the arguments are those of the hook, passed on unchanged. A row is appended without a statement; an error of that is
    // raised under pgrx's guard, and aborts the statement.
    unsafe {
        if let Some(Some(previous)) = PREVIOUS.get() {
            previous(access, class, created, part, argument);
        }
        let expected = EXPECTED.get();
        if access == pg_sys::ObjectAccessType::OAT_DROP
            && class == pg_sys::RelationRelationId
            && expected != 0
            && created.to_u32() != expected
        {
            pg_sys::panic::pgrx_extern_c_guard(|| {
                let message = "the name of what an interrupted statement left behind now means another object";
                crate::error::refusal("55000", message, None, None).report(pgrx::PgLogLevel::ERROR);
            });
        }
        if access == pg_sys::ObjectAccessType::OAT_POST_CREATE && class == pg_sys::RelationRelationId && part == 0 {
            pg_sys::panic::pgrx_extern_c_guard(|| {
                PLACE.with_borrow(|place| {
                    let Some(place) = place else { return };
                    let row = [
                        append::text(&place.revision),
                        append::text(&place.direction),
                        pg_sys::Datum::from(place.statement),
                        pg_sys::Datum::from(created),
                    ];
                    append::rows(c"built", &mut [row]);
                });
            });
        }
    }
}

/// Runs one statement at top level, as a client's own: it may end its transaction and start others. In a worker, outside of any transaction.
/// What it builds is recorded under `place`.
///
/// # Errors
/// PostgreSQL's own, complete, located in `sql`. The transaction is then aborted.
pub fn run(sql: &str, place: Option<Place>) -> Result<(), runbook_core::report::Report> {
    let source = CString::new(sql).unwrap_or_default();
    PLACE.set(place);
    // SAFETY: the text and the context outlive it; in a worker, outside of any transaction.
    let result = unsafe { trap!(ffi::execute_alone, source.as_ptr(), context()) };
    PLACE.set(None);
    EXPECTED.set(0);
    result.map_err(|mut error| {
        error.locate(sql);
        let report = error.report();
        // SAFETY: ends whatever transaction the error has left, as PostgreSQL's main loop does.
        unsafe { pg_sys::AbortCurrentTransaction() };
        report
    })
}

/// An empty memory context for the statement's trees and plans, which must outlive the transactions that it ends.
fn context() -> pg_sys::MemoryContext {
    let known = CONTEXT.get();
    // SAFETY: made once in a process, under a context that lives as long.
    unsafe {
        if known.is_null() {
            CONTEXT.set(pg_sys::AllocSetContextCreateInternal(
                pg_sys::TopMemoryContext,
                c"pg_runbook statement".as_ptr(),
                pg_sys::ALLOCSET_DEFAULT_MINSIZE as usize,
                pg_sys::ALLOCSET_DEFAULT_INITSIZE as usize,
                pg_sys::ALLOCSET_DEFAULT_MAXSIZE as usize,
            ));
        } else {
            pg_sys::MemoryContextReset(known);
        }
    }
    CONTEXT.get()
}
