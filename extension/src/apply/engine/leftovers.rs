//! What a revision may leave in the session of the login that called `upgrade()`: nothing.
//!
//! A revision runs as the migration role, in somebody else's session. A temporary view with the name of a system view, a prepared
//! statement or an open cursor would be the author's text, waiting to be run with the privileges of the login. Parameters are put
//! back by [`crate::pg::session::pinned::Pinned`]; here goes the rest. What the login had itself stays.

use crate::catalog::session as stored;
use crate::catalog::session::{Cursor, Prepared};
use crate::error::{self, refusal};
use crate::pg::failure::Failure;
use crate::pg::parse::objects::has_temporary_schema;
use crate::pg::session::pinned;
use runbook_core::identity::Address;

/// What a session holds.
pub struct Session {
    temporary: Vec<Address>,
    prepared: Vec<Prepared>,
    cursors: Vec<Cursor>,
    advisory: Vec<stored::Advisory>,
    channels: Vec<String>,
}

impl Session {
    /// What it holds now.
    pub fn note() -> error::Result<Self> {
        // A revision could use those of the caller, under his privileges.
        pinned::close_large_objects();
        Ok(Self {
            temporary: temporary()?,
            prepared: stored::prepared()?,
            cursors: stored::cursors()?,
            advisory: stored::advisory_locks()?,
            channels: stored::channels()?,
        })
    }

    /// Takes away what the revision `id` has added.
    ///
    /// # Errors
    /// 0A000 for a cursor WITH HOLD, which would run its query when the transaction commits, as the login.
    pub fn restore(&self, id: &str) -> Result<(), Failure> {
        let cursors = stored::cursors()?;
        for cursor in cursors.iter().filter(|cursor| !self.cursors.contains(cursor)) {
            if cursor.holdable {
                let message = format!("revision \"{id}\" leaves a cursor WITH HOLD open");
                let hint = "Declare it WITHOUT HOLD, or CLOSE it in the revision.";
                return Err(refusal("0A000", message, None, Some(hint.to_owned())).into());
            }
            pinned::close_cursor(&cursor.name);
        }
        self.deallocate()?;
        pinned::close_large_objects();
        let made: Vec<Address> = temporary()?.into_iter().filter(|one| !self.temporary.contains(one)).collect();
        pinned::drop_temporary(&made);
        Ok(())
    }

    /// Takes away what a revision has added that has been rolled back since: prepared statements and advisory locks of the session stay.
    pub fn restore_after_failure(&self) -> error::Result<()> {
        self.deallocate()?;
        self.release_advisory_locks()
    }

    fn deallocate(&self) -> error::Result<()> {
        for prepared in stored::prepared()?.iter().filter(|one| !self.prepared.contains(one)) {
            pinned::deallocate(&prepared.name);
        }
        Ok(())
    }

    fn release_advisory_locks(&self) -> error::Result<()> {
        for lock in stored::advisory_locks()?.iter().filter(|lock| !self.advisory.contains(lock)) {
            pinned::release_advisory(lock.database, lock.class, lock.object, lock.sub, lock.exclusive);
        }
        Ok(())
    }

    /// Takes away what lasts longer than a transaction and disturbs no later revision: once, after the last of them.
    pub fn restore_at_end(&self) -> error::Result<()> {
        self.release_advisory_locks()?;
        pinned::listen_only_to(&self.channels);
        Ok(())
    }
}

fn temporary() -> error::Result<Vec<Address>> {
    if has_temporary_schema() { stored::temporary_objects() } else { Ok(vec![]) }
}
