//! Look-ups in catalogs that every DDL statement makes, without a query: after PostgreSQL has told a session to forget all that it has
//! cached, as happens all the time among a hundred of them that do DDL, planning a query again costs many times the look-up.

use crate::pg::strings::text;
use pgrx::pg_sys;
use runbook_core::identity::Address;
use std::ffi::{CStr, CString};

/// An event trigger.
pub struct EventTrigger {
    /// Its event, `ddl_command_start` and the like.
    pub event: String,
    /// Whether it is ENABLE ALWAYS, and for all tags.
    pub always: bool,
    /// The schema of its function.
    pub schema: String,
    /// The name of its function.
    pub function: String,
}

/// The event trigger of that name, as it is now.
pub fn event_trigger(name: &str) -> Option<EventTrigger> {
    let name = CString::new(name).ok()?;
    // SAFETY: look-ups in catalog caches, inside a transaction. The tuple is read before it is released; a tuple of the cache that is found
    // has the shape of its catalog.
    unsafe {
        let tuple =
            pg_sys::SearchSysCache1(pg_sys::SysCacheIdentifier::EVENTTRIGGERNAME as i32, pg_sys::Datum::from(name.as_ptr()));
        if tuple.is_null() {
            return None;
        }
        let form = &*pg_sys::GETSTRUCT(tuple).cast::<pg_sys::FormData_pg_event_trigger>();
        let every_tag = pg_sys::heap_attisnull(tuple, pg_sys::Anum_pg_event_trigger_evttags as i32, std::ptr::null_mut());
        let found = EventTrigger {
            event: text(form.evtevent.data.as_ptr()),
            always: form.evtenabled as u8 == b'A' && every_tag,
            schema: text(pg_sys::get_namespace_name(pg_sys::get_func_namespace(form.evtfoid))),
            function: text(pg_sys::get_func_name(form.evtfoid)),
        };
        pg_sys::ReleaseSysCache(tuple);
        Some(found)
    }
}

/// OIDs of the temporary schemas, of every session that has ever had one; without those of their TOAST tables.
pub fn temporary_schemas() -> Vec<u32> {
    let mut found = Vec::new();
    // SAFETY: names as the catalog stores them, which live for ever; the comparisons are those of the index.
    let mut keys = unsafe {
        [
            key(NAME, pg_sys::BTGreaterEqualStrategyNumber, pg_sys::F_NAMEGE, pg_sys::Datum::from(FIRST.as_ptr())),
            key(NAME, pg_sys::BTLessStrategyNumber, pg_sys::F_NAMELT, pg_sys::Datum::from(BEHIND.as_ptr())),
        ]
    };
    // SAFETY: the first column of pg_namespace is its OID, never NULL.
    unsafe {
        scan(SCHEMAS, SCHEMAS_BY_NAME, &mut keys, |tuple, _| {
            found.push(*pg_sys::GETSTRUCT(tuple).cast::<u32>());
            true
        });
    }
    found
}

/// What depends on an object, until `each` says that it has seen enough: catalog and OID of the dependent.
pub fn dependents(object: Address, mut each: impl FnMut(u32, u32) -> bool) {
    let equals = pg_sys::BTEqualStrategyNumber;
    // SAFETY: numbers, and the comparison of the index.
    let mut keys = unsafe {
        [
            key(REFERRED_CLASS, equals, pg_sys::F_OIDEQ, pg_sys::Oid::from(object.class).into()),
            key(REFERRED_OBJECT, equals, pg_sys::F_OIDEQ, pg_sys::Oid::from(object.object).into()),
        ]
    };
    // SAFETY: classid and objid are the first columns of pg_depend, never NULL.
    unsafe {
        scan(DEPENDS, DEPENDS_BY_REFERENCE, &mut keys, |tuple, _| {
            let [class, dependent] = *pg_sys::GETSTRUCT(tuple).cast::<[u32; 2]>();
            each(class, dependent)
        });
    }
}

/// Whether anything lies in a schema.
pub fn is_used(schema: u32) -> bool {
    let mut found = false;
    dependents(Address { class: SCHEMAS, object: schema, part: 0 }, |_, _| {
        found = true;
        false
    });
    found
}

/// The conditions of the valid CHECK constraints of a table that its heirs have, too; as PostgreSQL stores them.
pub fn checks(table: u32) -> Vec<String> {
    let mut found = Vec::new();
    // The columns stand elsewhere in every other major.
    // SAFETY: look-ups in a catalog cache.
    let number = |name: &CStr| unsafe { pg_sys::get_attnum(pg_sys::Oid::from(CONSTRAINTS), name.as_ptr()) };
    let [owner, kind, valid, alone, condition] =
        [c"conrelid", c"contype", c"convalidated", c"connoinherit", c"conbin"].map(number);
    // SAFETY: a number, and the comparison of the index.
    let mut keys = unsafe { [key(owner, pg_sys::BTEqualStrategyNumber, pg_sys::F_OIDEQ, pg_sys::Oid::from(table).into())] };
    // SAFETY: the columns are of pg_constraint; `conbin` is NULL or a text, the others are a "char" and booleans.
    unsafe {
        scan(CONSTRAINTS, CONSTRAINTS_BY_TABLE, &mut keys, |tuple, shape| {
            let value = |column: i16| {
                let mut is_null = false;
                let value = pg_sys::heap_getattr(tuple, i32::from(column), shape, &mut is_null);
                (!is_null).then_some(value)
            };
            let is = |column, wanted: usize| value(column).is_some_and(|value| value.value() & 0xff == wanted);
            if is(kind, usize::from(b'c'))
                && is(valid, 1)
                && is(alone, 0)
                && let Some(condition) = value(condition)
            {
                found.push(text(pg_sys::text_to_cstring(condition.cast_mut_ptr())));
            }
            true
        });
    }
    found
}

/// The names that begin with `pg_temp_` and a digit are those from the first to before the second: ':' comes behind '9'.
static FIRST: [u8; 64] = name(b"pg_temp_0");
static BEHIND: [u8; 64] = name(b"pg_temp_:");

/// A name as the catalogs store it.
const fn name(text: &[u8]) -> [u8; 64] {
    let mut name = [0; 64];
    let mut at = 0;
    while at < text.len() {
        name[at] = text[at];
        at += 1;
    }
    name
}

/// A condition on a column of a catalog.
///
/// # Safety
/// `value` is of the type that `compare` takes, and lives until the scan has ended.
unsafe fn key(column: i16, strategy: u32, compare: u32, value: pg_sys::Datum) -> pg_sys::ScanKeyData {
    // SAFETY: all zero is a valid ScanKeyData, which is filled in at once.
    unsafe {
        let mut key: pg_sys::ScanKeyData = std::mem::zeroed();
        pg_sys::ScanKeyInit(&raw mut key, column, strategy as u16, pg_sys::RegProcedure::from(compare), value);
        key
    }
}

/// Reads the rows of a catalog as it is now, until `each` says that it has seen enough.
///
/// # Safety
/// The catalog and its index exist, and the keys are for them; `each` reads columns that are there and not NULL.
unsafe fn scan(
    catalog: u32,
    index: u32,
    keys: &mut [pg_sys::ScanKeyData],
    mut each: impl FnMut(pg_sys::HeapTuple, pg_sys::TupleDesc) -> bool,
) {
    // SAFETY: a catalog scan inside a transaction; rows are read while it is open.
    unsafe {
        let catalog = pg_sys::table_open(pg_sys::Oid::from(catalog), pg_sys::AccessShareLock as i32);
        let count = i32::try_from(keys.len()).unwrap_or_default();
        let index = pg_sys::Oid::from(index);
        let scan = pg_sys::systable_beginscan(catalog, index, true, std::ptr::null_mut(), count, keys.as_mut_ptr());
        loop {
            let tuple = pg_sys::systable_getnext(scan);
            if tuple.is_null() || !each(tuple, (*catalog).rd_att) {
                break;
            }
        }
        pg_sys::systable_endscan(scan);
        pg_sys::table_close(catalog, pg_sys::AccessShareLock as i32);
    }
}

/// OIDs of catalogs and their indexes, and columns in their tables (catalog/pg_depend.h, pg_constraint.h, pg_namespace.h).
const DEPENDS: u32 = 2608;
const DEPENDS_BY_REFERENCE: u32 = 2674;
const REFERRED_CLASS: i16 = 4;
const REFERRED_OBJECT: i16 = 5;
const CONSTRAINTS: u32 = 2606;
const CONSTRAINTS_BY_TABLE: u32 = 2665;
const SCHEMAS: u32 = 2615;
const SCHEMAS_BY_NAME: u32 = 2684;
const NAME: i16 = 2;
