//! Deferred constraints, around revisions.

use crate::catalog::relations;
use crate::pg::execute::statements;
use crate::pg::failure::Failure;
use crate::pg::session::identity::{AsOwner, in_transaction_block};
use crate::store::revisions::Stored;
use std::cell::Cell;

/// Constraints that wait for the end of the transaction. What the caller had pending runs before the first revision, as the
/// caller; what a revision leaves pending runs at its end, as the migration role. Afterwards they wait again.
pub struct DeferredConstraints {
    exist: Cell<bool>,
}

impl DeferredConstraints {
    /// Checks what the caller has pending, if it has written.
    ///
    /// # Errors
    /// The violation, complete.
    pub fn settle(caller_has_written: bool) -> Result<Self, Failure> {
        let known = Self { exist: Cell::new(true) };
        if caller_has_written {
            statements::check_constraints()?;
            known.defer()?;
        }
        Ok(known)
    }

    /// After a revision. A constraint that is INITIALLY DEFERRED was made by a text that says so, or by code that might.
    ///
    /// # Errors
    /// PostgreSQL's own.
    pub fn after(&self, stored: &Stored, is_last: bool) -> Result<(), Failure> {
        // Where the transaction ends with this call, nobody is left to wait.
        if is_last && !in_transaction_block() {
            return Ok(());
        }
        let sql =
            format!("{}{}", stored.revision.upgrade, stored.revision.downgrade.as_deref().unwrap_or_default()).to_uppercase();
        let may_make = ["DEFERRED", "DO", "CALL", "SELECT", "EXECUTE"].iter().any(|word| sql.contains(word));
        if self.exist.get() || may_make {
            self.defer()?;
        }
        Ok(())
    }

    fn defer(&self) -> Result<(), Failure> {
        let names = relations::deferred_constraints()?;
        self.exist.set(!names.is_empty());
        if !names.is_empty() {
            let _owner = AsOwner::enter();
            statements::run(&format!("SET CONSTRAINTS {} DEFERRED", names.join(", ")))?;
        }
        Ok(())
    }
}
