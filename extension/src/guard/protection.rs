//! Which tables are protected.

use crate::error;
use crate::store::protected;
use runbook_core::action::Action;
use runbook_core::command::Name;
use runbook_core::identity::Identity;

/// Whether a table is protected against changes of many rows.
pub fn limits_rows(name: &Name) -> error::Result<bool> {
    match name.identity {
        Identity::Is(found) if !name.temporary => Ok(protected::limit(found.object)?.is_some_and(|limit| limit.is_some())),
        _ => Ok(false),
    }
}

/// Whether a table, or one of its partitions and heirs, is protected against changes of many rows.
pub fn limits_rows_below(name: &Name) -> error::Result<bool> {
    match name.identity {
        Identity::Is(found) if !name.temporary => {
            Ok(protected::tree(found.object)?.iter().any(|member| member.limit.is_some_and(|limit| limit.is_some())))
        }
        _ => Ok(false),
    }
}

/// Whether a protection would be switched off with the triggers of a table.
pub fn is_protected(action: &Action) -> error::Result<bool> {
    match action.identity {
        Identity::Is(found) => Ok(protected::limit(found.whole().object)?.is_some()),
        _ => Ok(false),
    }
}
