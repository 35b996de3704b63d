//! Statements that can't be part of a transaction: recognised by their parse trees, and run at top level.

use crate::pg::execute::append;
use crate::pg::ffi;
use crate::pg::parse::names::{object, relation};
use crate::pg::parse::nodes::{NodePtr, cast, field, items, tag};
use crate::pg::parse::type_change::{boolean, has_on};
use crate::pg::pg_error::trap;
use pgrx::pg_sys::{self, NodeTag};
use runbook_core::command::Name;
use runbook_core::identity::Identity;
use runbook_core::top_level_only::TopLevelOnly;
use runbook_core::vocabulary::object_kind::ObjectKind;
use std::cell::{Cell, RefCell};
use std::ffi::{CString, c_char, c_int, c_void};
use std::sync::OnceLock;

/// What a statement is, if it can't be part of a transaction (`PreventInTransactionBlock` in PostgreSQL's sources).
pub fn read(tree: NodePtr) -> Option<TopLevelOnly> {
    use NodeTag::*;
    use ObjectKind::{Database, Subscription, Tablespace};
    let repeatable = |is_one: bool| is_one.then_some(TopLevelOnly::Repeatable);
    let create = |kind, name: *const c_char| TopLevelOnly::Create { kind, name: field(name) };
    let drop = |kind, name: *const c_char| TopLevelOnly::Drop { kind, name: field(name) };
    match tag(tree) {
        T_IndexStmt => cast(tree)
            .filter(|one: &&pg_sys::IndexStmt| one.concurrent)
            .map(|one| TopLevelOnly::BuildIndex { table: relation(one.relation), index: field(one.idxname) }),
        T_DropStmt => cast(tree).filter(|one: &&pg_sys::DropStmt| one.concurrent).and_then(|one| {
            let first = items(one.objects).into_iter().next()?;
            Some(TopLevelOnly::DropIndex { index: object(one.removeType, first) })
        }),
        T_ReindexStmt => cast(tree).and_then(reindex),
        T_AlterTableStmt => cast(tree).and_then(detach),
        T_CreatedbStmt => cast(tree).map(|one: &pg_sys::CreatedbStmt| create(Database, one.dbname)),
        T_DropdbStmt => cast(tree).map(|one: &pg_sys::DropdbStmt| drop(Database, one.dbname)),
        T_CreateTableSpaceStmt => cast(tree).map(|one: &pg_sys::CreateTableSpaceStmt| create(Tablespace, one.tablespacename)),
        T_DropTableSpaceStmt => cast(tree).map(|one: &pg_sys::DropTableSpaceStmt| drop(Tablespace, one.tablespacename)),
        // Without a slot to create it may be part of a transaction.
        T_CreateSubscriptionStmt => cast(tree)
            .filter(|one: &&pg_sys::CreateSubscriptionStmt| {
                !is_off(one.options, "connect") && !is_off(one.options, "create_slot")
            })
            .map(|one| create(Subscription, one.subname)),
        T_DropSubscriptionStmt => cast(tree).map(|one: &pg_sys::DropSubscriptionStmt| drop(Subscription, one.subname)),
        T_AlterDatabaseStmt => cast(tree).and_then(|one: &pg_sys::AlterDatabaseStmt| {
            let mut options = items(one.options).into_iter().filter_map(cast::<pg_sys::DefElem>);
            repeatable(options.any(|option| field(option.defname) == "tablespace"))
        }),
        T_VacuumStmt => cast(tree).and_then(|one: &pg_sys::VacuumStmt| repeatable(one.is_vacuumcmd)),
        T_ClusterStmt => cast(tree).and_then(|one: &pg_sys::ClusterStmt| {
            repeatable(one.relation.is_null() || is_partitioned(&relation(one.relation)))
        }),
        T_AlterSubscriptionStmt => cast(tree).and_then(|one| repeatable(refreshes(one))),
        T_AlterSystemStmt => repeatable(true),
        _ => None,
    }
}

fn reindex(statement: &pg_sys::ReindexStmt) -> Option<TopLevelOnly> {
    use pg_sys::ReindexObjectType as Kind;
    if has_on(statement.params, "concurrently") {
        return Some(TopLevelOnly::Reindex { relation: relation(statement.relation) });
    }
    let is_whole = ![Kind::REINDEX_OBJECT_INDEX, Kind::REINDEX_OBJECT_TABLE].contains(&statement.kind)
        || is_partitioned(&relation(statement.relation));
    is_whole.then_some(TopLevelOnly::Repeatable)
}

fn detach(statement: &pg_sys::AlterTableStmt) -> Option<TopLevelOnly> {
    let mut commands = items(statement.cmds).into_iter().filter_map(cast::<pg_sys::AlterTableCmd>);
    let partition = commands.find_map(|command| {
        let partition = cast::<pg_sys::PartitionCmd>(command.def)?;
        let detaches = command.subtype == pg_sys::AlterTableType::AT_DetachPartition && partition.concurrent;
        detaches.then(|| relation(partition.name))
    })?;
    Some(TopLevelOnly::Detach { table: relation(statement.relation), partition })
}

/// Without a refresh it may be part of a transaction. ADD and DROP can't be repeated: they go without, and REFRESH after them.
fn refreshes(statement: &pg_sys::AlterSubscriptionStmt) -> bool {
    use pg_sys::AlterSubscriptionType as Kind;
    statement.kind == Kind::ALTER_SUBSCRIPTION_REFRESH
        || statement.kind == Kind::ALTER_SUBSCRIPTION_SET_PUBLICATION && !is_off(statement.options, "refresh")
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
                    append::rows(c"built_relation", &mut [row]);
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
