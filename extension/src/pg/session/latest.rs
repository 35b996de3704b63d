//! Whether what this session remembers of rules and event triggers is what is committed now, and the triggers of our tables that say so.

use pgrx::pg_sys;

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
    /// The OIDs of these tables when they were last looked up; all zero where there are none.
    static RULE_TABLES: std::cell::Cell<[u32; RULES.len()]> = const { std::cell::Cell::new([0; RULES.len()]) };
    /// Whether they may have been made again since.
    static RULE_TABLES_MOVED: std::cell::Cell<bool> = const { std::cell::Cell::new(true) };
    /// Tables of ours whose rows this logical replication worker has left out.
    static LEFT_OUT: std::cell::RefCell<std::collections::HashSet<u32>> = std::cell::RefCell::default();
    static RULES_VERSION: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

/// A number that changes whenever the rules may have changed. What was read under the same number is what is committed now.
pub fn rules_version() -> u64 {
    // SAFETY: the callback sets numbers and does nothing else; look-ups in catalog caches with missing_ok, inside a transaction.
    unsafe {
        if RULES_VERSION.get() == 0 {
            RULES_VERSION.set(1);
            pg_sys::CacheRegisterRelcacheCallback(Some(relation_changed), pg_sys::Datum::from(0));
        }
        pg_sys::AcceptInvalidationMessages();
        // A change that is announced during the look-up asks for another one.
        while RULE_TABLES_MOVED.replace(false) || RULE_TABLES.get().contains(&0) {
            let schema = pg_sys::get_namespace_oid(c"runbook".as_ptr(), true);
            let oid = |name: &std::ffi::CStr| match schema {
                pg_sys::InvalidOid => 0,
                _ => pg_sys::get_relname_relid(name.as_ptr(), schema).to_u32(),
            };
            let found = RULES.map(oid);
            if RULE_TABLES.replace(found) != found {
                RULES_VERSION.set(RULES_VERSION.get() + 1);
            }
            if found.contains(&0) && !RULE_TABLES_MOVED.get() {
                break;
            }
        }
    }
    RULES_VERSION.get()
}

unsafe extern "C-unwind" fn relation_changed(_argument: pg_sys::Datum, relation: pg_sys::Oid) {
    let relation = relation.to_u32();
    if relation == 0 || RULE_TABLES.get().contains(&relation) {
        RULES_VERSION.set(RULES_VERSION.get() + 1);
        // It may be gone, with the extension. Until it is looked up, the OID that is known counts: what changes meanwhile must not be missed.
        RULE_TABLES_MOVED.set(true);
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
        if crate::pg::parse::nodes::tag(context) != pg_sys::NodeTag::T_TriggerData {
            return pg_sys::Datum::from(0);
        }
        let trigger = &*context.cast::<pg_sys::TriggerData>();
        let relation = trigger.tg_relation;
        let operation = trigger.tg_event & pg_sys::TRIGGER_EVENT_OPMASK;
        let is_own = crate::pg::session::identity::is_own_sql();
        // Another database's runbook, which a publication FOR ALL TABLES brings along: the row is left out, and replication goes on. That
        // it tried is recorded once.
        if !is_own && pg_sys::IsLogicalWorker() && operation != pg_sys::TRIGGER_EVENT_TRUNCATE {
            let table = (*relation).rd_id.to_u32();
            if LEFT_OUT.with_borrow_mut(|known| known.insert(table)) {
                pg_sys::panic::pgrx_extern_c_guard(|| drop(crate::pg::hooks::entry::written(table)));
            }
            return pg_sys::Datum::from(0);
        }
        if !is_own {
            pg_sys::panic::pgrx_extern_c_guard(|| {
                if let Err(report) = crate::pg::hooks::entry::written((*relation).rd_id.to_u32()) {
                    report.report(pgrx::PgLogLevel::ERROR);
                }
            });
        }
        if RULE_TABLES.get().contains(&0) || RULE_TABLES.get().contains(&(*relation).rd_id.to_u32()) {
            pg_sys::CacheInvalidateRelcache(relation);
        }
        let updates = operation == pg_sys::TRIGGER_EVENT_UPDATE;
        // Null for a trigger that is not called for a row.
        pg_sys::Datum::from(if updates { trigger.tg_newtuple } else { trigger.tg_trigtuple })
    }
}

finfo!(pg_finfo_runbook_guard_own_table);
