//! The triggers of protected tables, made and dropped without a statement: no event trigger of anybody's fires meanwhile, which
//! would run with our privileges, and no name is looked up.

use crate::pg::parse::nodes::items;
use pgrx::pg_sys;
use std::ffi::{CString, c_char};

/// The trigger's kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guard {
    /// Counts rows; the limit, and the OID of the table under which it counts.
    Rows(i64, u32),
    /// Judges TRUNCATE.
    Truncate,
}

/// Creates a trigger on a table, ENABLE ALWAYS; on a partitioned table the one for rows on every partition, too.
pub fn create(table: u32, guard: Guard) {
    let text = match guard {
        Guard::Rows(limit, tree) => format!(
            "CREATE TRIGGER a_runbook_rows BEFORE DELETE OR UPDATE ON runbook.entry FOR EACH ROW \
             EXECUTE FUNCTION runbook_internal.guard_rows('{limit}', '{tree}')"
        ),
        Guard::Truncate => "CREATE TRIGGER a_runbook_truncate BEFORE TRUNCATE ON runbook.entry FOR EACH STATEMENT \
             EXECUTE FUNCTION runbook_internal.guard_truncate()"
            .to_owned(),
    };
    let text = CString::new(text).unwrap_or_default();
    // SAFETY: the text is ours and parses to one CREATE TRIGGER; the table is given by its OID, which goes before the name in the
    // statement. Errors unwind as panics.
    unsafe {
        let statements = pg_sys::pg_parse_query(text.as_ptr());
        let Some(raw) = items(statements).first().copied() else { return };
        let statement = (*raw.cast::<pg_sys::RawStmt>()).stmt.cast::<pg_sys::CreateTrigStmt>();
        let none = pg_sys::InvalidOid;
        pg_sys::CreateTriggerFiringOn(
            statement,
            text.as_ptr(),
            pg_sys::Oid::from(table),
            none,
            none,
            none,
            none,
            none,
            std::ptr::null_mut(),
            false,
            false,
            b'A' as c_char,
        );
        pg_sys::CommandCounterIncrement();
    }
}

/// Drops a trigger, and those that were made on partitions with it.
pub fn drop(trigger: u32) {
    // SAFETY: an address in pg_trigger; errors unwind as panics.
    unsafe {
        let address =
            pg_sys::ObjectAddress { classId: pg_sys::TriggerRelationId, objectId: pg_sys::Oid::from(trigger), objectSubId: 0 };
        pg_sys::performDeletion(&address, pg_sys::DropBehavior::DROP_RESTRICT, pg_sys::PERFORM_DELETION_INTERNAL as i32);
        pg_sys::CommandCounterIncrement();
    }
}
