//! Reading what is committed now, whatever snapshot the transaction has.
//!
//! Under REPEATABLE READ a transaction sees the state at its first statement. Whether the guard is active, and what policy
//! says, must not be decided by what somebody saw an hour ago.

use crate::pg::caught::text;
use pgrx::pg_sys;
use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::CString;

thread_local! {
    static PLANS: RefCell<HashMap<&'static str, pg_sys::SPIPlanPtr>> = RefCell::default();
}

/// The first column of the first row of `sql`, as text; `None` without a row or for NULL.
pub fn value(sql: &'static str) -> Option<String> {
    // SAFETY: connect, plan, execute and finish in order, as spi.c wants it; the calls are pgrx's guarded ones, so an error
    // unwinds as a panic and SPI is closed at transaction abort. The plan is kept in memory of its own for the whole
    // session; the row's text is copied before SPI_finish frees it. The snapshot is registered while it is used.
    unsafe {
        pg_sys::SPI_connect();
        let known = PLANS.with_borrow(|plans| plans.get(sql).copied());
        let plan = known.unwrap_or_else(|| {
            let source = CString::new(sql).unwrap_or_default();
            let plan = pg_sys::SPI_prepare(source.as_ptr(), 0, std::ptr::null_mut());
            pg_sys::SPI_keepplan(plan);
            PLANS.with_borrow_mut(|plans| plans.insert(sql, plan));
            plan
        });
        // A parallel worker may take no snapshot of its own. A catalog snapshot is as new as any, and does not become the
        // transaction's: LOCK under REPEATABLE READ must come before that.
        let newest = if pg_sys::IsInParallelMode() {
            pg_sys::GetActiveSnapshot()
        } else {
            pg_sys::GetNonHistoricCatalogSnapshot(pg_sys::InvalidOid)
        };
        let snapshot = pg_sys::RegisterSnapshot(newest);
        pg_sys::SPI_execute_snapshot(
            plan,
            std::ptr::null_mut(),
            std::ptr::null(),
            snapshot,
            std::ptr::null_mut(),
            true,
            false,
            1,
        );
        let table = pg_sys::SPI_tuptable;
        let found = if pg_sys::SPI_processed == 0 || table.is_null() {
            None
        } else {
            let value = pg_sys::SPI_getvalue(*(*table).vals, (*table).tupdesc, 1);
            (!value.is_null()).then(|| text(value))
        };
        pg_sys::UnregisterSnapshot(snapshot);
        pg_sys::SPI_finish();
        found
    }
}

thread_local! {
    static EVENT_TRIGGERS: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

/// A number that changes whenever an event trigger may have changed, as far as this session has been told.
pub fn event_triggers_version() -> u64 {
    if EVENT_TRIGGERS.get() == 0 {
        EVENT_TRIGGERS.set(1);
        // SAFETY: the callback counts and does nothing else.
        unsafe {
            for cache in [pg_sys::SysCacheIdentifier::EVENTTRIGGEROID, pg_sys::SysCacheIdentifier::NAMESPACEOID] {
                pg_sys::CacheRegisterSyscacheCallback(cache as i32, Some(event_triggers_changed), pg_sys::Datum::from(0));
            }
        }
    }
    EVENT_TRIGGERS.get()
}

unsafe extern "C-unwind" fn event_triggers_changed(_argument: pg_sys::Datum, _cache: i32, _hash: u32) {
    EVENT_TRIGGERS.set(EVENT_TRIGGERS.get() + 1);
}

/// Our tables whose rows say whether and how this database is guarded. A change of one of them is announced to every session by
/// PostgreSQL's own invalidation messages, when it commits and before the client hears of it; see `sql/guard.sql`.
const RULES: [&std::ffi::CStr; 4] = [c"activation", c"setting", c"policy_rule", c"maintenance_window"];

thread_local! {
    static RULE_TABLES: std::cell::Cell<[u32; RULES.len()]> = const { std::cell::Cell::new([0; RULES.len()]) };
    static RULES_VERSION: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

/// A number that changes whenever the rules may have changed. What was read under the same number is what is committed now.
pub fn rules_version() -> u64 {
    // SAFETY: the callback counts and does nothing else; look-ups in catalog caches with missing_ok, inside a transaction.
    unsafe {
        if RULES_VERSION.get() == 0 {
            RULES_VERSION.set(1);
            pg_sys::CacheRegisterRelcacheCallback(Some(relation_changed), pg_sys::Datum::from(0));
        }
        if RULE_TABLES.get().contains(&0) {
            let schema = pg_sys::get_namespace_oid(c"runbook".as_ptr(), true);
            if schema != pg_sys::InvalidOid {
                RULE_TABLES.set(RULES.map(|name| pg_sys::get_relname_relid(name.as_ptr(), schema).to_u32()));
            }
        }
        pg_sys::AcceptInvalidationMessages();
    }
    RULES_VERSION.get()
}

unsafe extern "C-unwind" fn relation_changed(_argument: pg_sys::Datum, relation: pg_sys::Oid) {
    let relation = relation.to_u32();
    if relation == 0 || RULE_TABLES.get().contains(&relation) {
        RULES_VERSION.set(RULES_VERSION.get() + 1);
        // It may be gone, with the extension: the names are looked up again.
        RULE_TABLES.set([0; RULES.len()]);
    }
}

/// Refuses a change of one of our tables that our own SQL does not make, and announces one of the guard's rules.
///
/// # Safety
/// Called by PostgreSQL's trigger manager.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn runbook_guard_own_table(fcinfo: pg_sys::FunctionCallInfo) -> pg_sys::Datum {
    // SAFETY: the context is checked before it is read as TriggerData; a trigger has a relation, which is open and locked. The
    // frame holds nothing to drop.
    unsafe {
        let context = (*fcinfo).context;
        if crate::pg::nodes::tag(context) != pg_sys::NodeTag::T_TriggerData {
            return pg_sys::Datum::from(0);
        }
        let trigger = &*context.cast::<pg_sys::TriggerData>();
        let relation = trigger.tg_relation;
        if !crate::pg::identity::is_own_sql() {
            pg_sys::panic::pgrx_extern_c_guard(|| {
                if let Err(report) = crate::pg::entry::written((*relation).rd_id.to_u32()) {
                    report.report(pgrx::PgLogLevel::ERROR);
                }
            });
        }
        if RULE_TABLES.get().contains(&0) || RULE_TABLES.get().contains(&(*relation).rd_id.to_u32()) {
            pg_sys::CacheInvalidateRelcache(relation);
        }
        let updates = trigger.tg_event & pg_sys::TRIGGER_EVENT_OPMASK == pg_sys::TRIGGER_EVENT_UPDATE;
        // Null for a trigger that is not called for a row.
        pg_sys::Datum::from(if updates { trigger.tg_newtuple } else { trigger.tg_trigtuple })
    }
}

finfo!(pg_finfo_runbook_guard_own_table);
