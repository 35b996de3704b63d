//! Locks: those that keep two migrators apart, two sealers, two workers; and locks of tables, taken before they are needed.
//!
//! Each of the first is a heavyweight lock on a sub-object of `runbook.graph_version` that nothing else locks: unlike an advisory lock or a lock on
//! the extension, no SQL can take it from outside.

use crate::pg::ffi;
use crate::pg::parse::names;
use crate::pg::parse::nodes::{self, NodePtr};
use crate::pg::pg_error::{PgError, trap};
use pgrx::pg_sys;
use runbook_core::command::{Command, Name};
use runbook_core::identity::Identity;
use runbook_core::inventory::locks::{EPOCH, MIGRATOR, RULES, RUNNER, SEALER};
use runbook_core::vocabulary::object_kind::ObjectKind;
use std::collections::BTreeMap;
use std::time::Duration;

/// OID of pg_class, from catalog/pg_class.h.
const CLASS_CATALOG: u32 = 1259;

fn state_table() -> pg_sys::Oid {
    // SAFETY: the names are NUL-terminated; missing_ok.
    unsafe {
        let schema = pg_sys::get_namespace_oid(c"runbook".as_ptr(), true);
        pg_sys::get_relname_relid(c"graph_version".as_ptr(), schema)
    }
}

/// Takes the migrator's lock until the end of the transaction, if it is free, or this session's already.
pub fn try_migrator() -> bool {
    take(MIGRATOR, false)
}

/// Has the worker hold both of its locks as long as the transaction, and the session; false if somebody else has got one. A statement can give
/// locks of the session up, but none of the transaction.
pub fn hold_on() -> bool {
    hold_runner() && hold(MIGRATOR)
}

/// The same for the lock that keeps workers apart alone.
pub fn hold_runner() -> bool {
    hold(RUNNER)
}

fn hold(sub_object: u16) -> bool {
    (is_mine(&tag(sub_object)) || take(sub_object, true)) && take(sub_object, false)
}

/// Whether another session waits for the current transaction to end: for a row that it has changed.
pub fn others_wait() -> bool {
    // SAFETY: looks at the lock that a transaction with an XID holds on it; what SET_LOCKTAG_TRANSACTION does (storage/lock.h).
    unsafe {
        let xid = pg_sys::GetTopTransactionIdIfAny();
        let tag = pg_sys::LOCKTAG {
            locktag_field1: xid.into_inner(),
            locktag_field2: 0,
            locktag_field3: 0,
            locktag_field4: 0,
            locktag_type: pg_sys::LockTagType::LOCKTAG_TRANSACTION as u8,
            locktag_lockmethodid: pg_sys::DEFAULT_LOCKMETHOD as u8,
        };
        xid != pg_sys::InvalidTransactionId && pg_sys::LockHasWaiters(&raw const tag, MODE, false)
    }
}

/// The lock on a sub-object of `runbook.graph_version`, of the kind that advisory locks are: one of the other kind that a session holds goes with the
/// first transaction that is aborted, and outlasts a process that ends outside of one. No SQL can take it, since advisory locks have tags of
/// another type; but `pg_advisory_unlock_all` gives it up, so it is not all that keeps workers apart (`store::jobs::other_worker`).
fn tag(sub_object: u16) -> pg_sys::LOCKTAG {
    // SAFETY: reads a static that is set before any SQL runs.
    let database = unsafe { pg_sys::MyDatabaseId };
    // What SET_LOCKTAG_OBJECT does (storage/lock.h).
    pg_sys::LOCKTAG {
        locktag_field1: database.to_u32(),
        locktag_field2: CLASS_CATALOG,
        locktag_field3: state_table().to_u32(),
        locktag_field4: sub_object,
        locktag_type: pg_sys::LockTagType::LOCKTAG_OBJECT as u8,
        locktag_lockmethodid: pg_sys::USER_LOCKMETHOD as u8,
    }
}

const MODE: pg_sys::LOCKMODE = pg_sys::ExclusiveLock as pg_sys::LOCKMODE;

/// Takes a lock for the session or for the transaction, if it is free; does not wait.
fn take(sub_object: u16, for_session: bool) -> bool {
    let tag = tag(sub_object);
    // SAFETY: as pg_try_advisory_lock takes one.
    let got = unsafe { pg_sys::LockAcquire(&raw const tag, MODE, for_session, true) };
    got != pg_sys::LockAcquireResult::LOCKACQUIRE_NOT_AVAIL
}

fn is_mine(tag: &pg_sys::LOCKTAG) -> bool {
    #[cfg(not(any(feature = "pg17", feature = "pg18")))]
    // SAFETY: looks into this process's own table of locks.
    return unsafe { pg_sys::LockHeldByMe(tag, MODE) };
    #[cfg(any(feature = "pg17", feature = "pg18"))]
    // SAFETY: as above.
    return unsafe { pg_sys::LockHeldByMe(tag, MODE, false) };
}

/// Takes the sealer's lock until the end of the transaction; waits for it. What others have sealed is visible to a snapshot taken
/// afterwards.
pub fn wait_for_sealer() {
    wait_for(SEALER);
}

/// Keeps others from opening an epoch until the end of the transaction; waits for who does.
pub fn wait_for_opening() {
    wait_for(EPOCH);
}

/// Keeps others from changing the guard's rules until the end of the transaction; waits for who does. What they have committed is known
/// afterwards. On a standby nobody does.
pub fn wait_for_rules() {
    // SAFETY: reads a static of xlog.c.
    if !unsafe { pg_sys::RecoveryInProgress() } {
        wait_for(RULES);
    }
}

fn wait_for(sub_object: u16) {
    // SAFETY: ExclusiveLock on an object of this database; waiting gives way to cancellation and timeouts.
    unsafe { pg_sys::LockDatabaseObject(pg_sys::Oid::from(CLASS_CATALOG), state_table(), sub_object, MODE) };
}

/// A lock that outlasts transactions: held until it is dropped, or the process ends.
pub struct Held(pg_sys::LOCKTAG);

impl Held {
    fn take(sub_object: u16) -> Option<Self> {
        take(sub_object, true).then(|| Self(tag(sub_object)))
    }

    /// The migrator's lock, if it is free. Called inside a transaction.
    pub fn migrator() -> Option<Self> {
        Self::take(MIGRATOR)
    }

    /// Takes the lock of the worker that runs jobs, if it is free. Called inside a transaction.
    pub fn runner() -> Option<Self> {
        Self::take(RUNNER)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if is_mine(&self.0) {
            // SAFETY: this session's; releasing it needs no transaction.
            unsafe { pg_sys::LockRelease(&raw const self.0, MODE, true) };
        }
    }
}

/// Sleeps, and gives way to cancellation, termination and timeouts.
pub fn pause(duration: Duration) {
    std::thread::sleep(duration);
    pgrx::check_for_interrupts!();
}

/// The locks of existing tables that a statement will take, by OID, with their mode: as far as its parse tree tells.
pub fn needed(tree: NodePtr, command: &Command) -> Vec<(u32, i32)> {
    use pg_sys::NodeTag;
    let exclusive = pg_sys::AccessExclusiveLock as i32;
    let one = |name: &Name, mode: i32| match name.identity {
        Identity::Is(found) if found.class == CLASS_CATALOG => vec![(found.object, mode)],
        _ => vec![],
    };
    // SAFETY: each arm casts to the struct that its node tag names; the level is a function of the subcommands alone.
    unsafe {
        match (command, nodes::tag(tree)) {
            (Command::AlterTable { name, .. }, NodeTag::T_AlterTableStmt) => {
                let statement = &*tree.cast::<pg_sys::AlterTableStmt>();
                let mut all = one(name, pg_sys::AlterTableGetLockLevel(statement.cmds));
                for subcommand in nodes::items(statement.cmds) {
                    let definition = (*subcommand.cast::<pg_sys::AlterTableCmd>()).def;
                    // Of indexes, PostgreSQL locks the tables first.
                    let of_table = statement.objtype == pg_sys::ObjectType::OBJECT_TABLE;
                    if of_table && nodes::tag(definition) == NodeTag::T_PartitionCmd {
                        let partition = &*definition.cast::<pg_sys::PartitionCmd>();
                        let mode = if partition.concurrent { pg_sys::ShareUpdateExclusiveLock as i32 } else { exclusive };
                        all.extend(one(&names::relation(partition.name), mode));
                    }
                    // INHERIT.
                    if nodes::tag(definition) == NodeTag::T_RangeVar {
                        all.extend(one(&names::relation(definition.cast()), pg_sys::ShareUpdateExclusiveLock as i32));
                    }
                    if nodes::tag(definition) == NodeTag::T_Constraint {
                        let referenced = (*definition.cast::<pg_sys::Constraint>()).pktable;
                        all.extend(one(&names::relation(referenced), pg_sys::ShareRowExclusiveLock as i32));
                    }
                }
                all
            }
            (Command::Drop { kind, names, .. }, _) if *kind == ObjectKind::Table => {
                names.iter().flat_map(|name| one(name, exclusive)).collect()
            }
            (Command::Truncate { names, .. }, _) => names.iter().flat_map(|name| one(name, exclusive)).collect(),
            (Command::Rename { kind, name, .. } | Command::SetSchema { kind, name, .. }, _) if *kind == ObjectKind::Table => {
                one(name, exclusive)
            }
            (Command::CreateIndex { table, concurrently: false, .. }, _) => one(table, pg_sys::ShareLock as i32),
            (Command::Rule { table, .. }, _) => one(table, exclusive),
            (Command::Trigger { table, .. }, _) => one(table, pg_sys::ShareRowExclusiveLock as i32),
            _ => vec![],
        }
    }
}

/// Whether what a statement does depends on what the relation is that it names, and waits for a lock of it.
pub fn is_settled_by_lock(tree: NodePtr) -> bool {
    use pg_sys::NodeTag::*;
    if nodes::tag(tree) == T_CreateStmt {
        // SAFETY: the tag says so.
        return unsafe { !(*tree.cast::<pg_sys::CreateStmt>()).inhRelations.is_null() };
    }
    [
        T_AlterTableStmt,
        T_RenameStmt,
        T_AlterObjectSchemaStmt,
        T_AlterObjectDependsStmt,
        T_AlterSeqStmt,
        T_RuleStmt,
        T_CreateTrigStmt,
        T_IndexStmt,
        T_CreatePolicyStmt,
        T_AlterPolicyStmt,
        T_RefreshMatViewStmt,
    ]
    .contains(&nodes::tag(tree))
}

/// The relations that such a statement names, by OID, with the mode in which PostgreSQL locks each, in its order.
pub fn settling(tree: NodePtr, command: &Command) -> Vec<(u32, i32)> {
    use pg_sys::{NodeTag, ObjectType};
    let exclusive = pg_sys::AccessExclusiveLock as i32;
    let one = |relation: *mut pg_sys::RangeVar, mode: i32| match names::relation(relation).identity {
        Identity::Is(found) if found.class == CLASS_CATALOG => Some((found.object, mode)),
        _ => None,
    };
    // SAFETY: each arm casts to the struct that its node tag names.
    let (relation, mode) = unsafe {
        match nodes::tag(tree) {
            NodeTag::T_CreateStmt => {
                let parents = nodes::items((*tree.cast::<pg_sys::CreateStmt>()).inhRelations);
                let mode = pg_sys::ShareUpdateExclusiveLock as i32;
                return parents.into_iter().filter_map(|parent| one(parent.cast(), mode)).collect();
            }
            NodeTag::T_RenameStmt => {
                let statement = &*tree.cast::<pg_sys::RenameStmt>();
                // ALTER INDEX may name a table, which takes the lock of ALTER TABLE.
                let indexes = [pg_sys::RELKIND_INDEX, pg_sys::RELKIND_PARTITIONED_INDEX];
                let is_index = match one(statement.relation, exclusive) {
                    Some((found, _)) => indexes.contains(&(pg_sys::get_rel_relkind(pg_sys::Oid::from(found)) as u8)),
                    None => false,
                };
                let is_index = is_index && statement.renameType == ObjectType::OBJECT_INDEX;
                (statement.relation, if is_index { pg_sys::ShareUpdateExclusiveLock as i32 } else { exclusive })
            }
            NodeTag::T_AlterObjectSchemaStmt => ((*tree.cast::<pg_sys::AlterObjectSchemaStmt>()).relation, exclusive),
            NodeTag::T_AlterObjectDependsStmt => ((*tree.cast::<pg_sys::AlterObjectDependsStmt>()).relation, exclusive),
            NodeTag::T_AlterSeqStmt => ((*tree.cast::<pg_sys::AlterSeqStmt>()).sequence, pg_sys::ShareRowExclusiveLock as i32),
            NodeTag::T_CreateTrigStmt => {
                ((*tree.cast::<pg_sys::CreateTrigStmt>()).relation, pg_sys::ShareRowExclusiveLock as i32)
            }
            NodeTag::T_IndexStmt => {
                let statement = &*tree.cast::<pg_sys::IndexStmt>();
                let mode = if statement.concurrent { pg_sys::ShareUpdateExclusiveLock } else { pg_sys::ShareLock };
                (statement.relation, mode as i32)
            }
            NodeTag::T_CreatePolicyStmt => ((*tree.cast::<pg_sys::CreatePolicyStmt>()).table, exclusive),
            NodeTag::T_AlterPolicyStmt => ((*tree.cast::<pg_sys::AlterPolicyStmt>()).table, exclusive),
            NodeTag::T_RefreshMatViewStmt => {
                let statement = &*tree.cast::<pg_sys::RefreshMatViewStmt>();
                let mode = if statement.concurrent { pg_sys::ExclusiveLock as i32 } else { exclusive };
                (statement.relation, mode)
            }
            _ => return needed(tree, command),
        }
    };
    one(relation, mode).into_iter().collect()
}

/// Locks tables in the order of their OIDs, each in the strongest mode that is asked for, where it belongs to the role in force: nobody
/// else's tables can be locked through it.
///
/// # Errors
/// 55P03 and 40P01, complete.
pub fn tables<'a>(needed: impl IntoIterator<Item = &'a (u32, i32)>) -> Result<(), PgError> {
    let mut strongest: BTreeMap<u32, i32> = BTreeMap::new();
    for (table, mode) in needed {
        let known = strongest.entry(*table).or_default();
        *known = (*known).max(*mode);
    }
    // One table is locked by its statement at the same moment.
    if strongest.len() < 2 {
        return Ok(());
    }
    for (table, mode) in strongest {
        let table = pg_sys::Oid::from(table);
        if is_owner(table) {
            // SAFETY: locked to the end of the transaction; a table that is gone meanwhile is no error.
            unsafe { trap!(ffi::LockRelationOid, table, mode) }?;
        }
    }
    Ok(())
}

/// Locks tables in this order, if the first belongs to the role in force: PostgreSQL does the same next.
///
/// # Panics
/// With PostgreSQL's error: 55P03, 40P01 or 57014.
pub fn own(needed: &[(u32, i32)]) {
    // A partition and a referenced table are locked before PostgreSQL asks whose they are.
    if !needed.first().is_some_and(|(table, _)| is_owner(pg_sys::Oid::from(*table))) {
        return;
    }
    for (table, mode) in needed {
        // SAFETY: locked to the end of the transaction; a table that is gone meanwhile is no error.
        unsafe { pg_sys::LockRelationOid(pg_sys::Oid::from(*table), *mode) };
    }
}

/// Locks a table with all its partitions and heirs as an UPDATE does, to the end of the transaction; the files that they have now. What is
/// looked at afterwards is as whoever held a stronger lock has left it: a snapshot taken before would find a rewritten table empty.
///
/// # Errors
/// 55P03 and 40P01, complete.
pub fn tree(table: u32) -> Result<Vec<u32>, PgError> {
    let mode = pg_sys::RowExclusiveLock as pg_sys::LOCKMODE;
    let table = pg_sys::Oid::from(table);
    // SAFETY: both lock to the end of the transaction; a table that is gone meanwhile is no error.
    let members = unsafe {
        trap!(ffi::LockRelationOid, table, mode)?;
        trap!(ffi::find_all_inheritors, table, mode, std::ptr::null_mut())?
    };
    // SAFETY: a fresh list of OIDs in the current memory context; the tuples are null or rows of pg_class, valid until they are released.
    unsafe {
        let length = if members.is_null() { 0 } else { usize::try_from((*members).length).unwrap_or(0) };
        let files = (0..length).map(|at| {
            let member = (*(*members).elements.add(at)).oid_value;
            let tuple = pg_sys::SearchSysCache1(pg_sys::SysCacheIdentifier::RELOID as i32, member.into());
            if tuple.is_null() {
                return 0;
            }
            let row: pg_sys::Form_pg_class = pg_sys::GETSTRUCT(tuple).cast();
            let file = (*row).relfilenode;
            pg_sys::ReleaseSysCache(tuple);
            file.to_u32()
        });
        Ok(files.collect())
    }
}

fn is_owner(table: pg_sys::Oid) -> bool {
    // SAFETY: a look-up in catalog caches; what is not there has no owner.
    unsafe {
        if pg_sys::get_rel_relkind(table) == 0 {
            return false;
        }
        #[cfg(feature = "pg15")]
        return pg_sys::pg_class_ownercheck(table, pg_sys::GetUserId());
        #[cfg(not(feature = "pg15"))]
        return pg_sys::object_ownercheck(pg_sys::RelationRelationId, table, pg_sys::GetUserId());
    }
}
