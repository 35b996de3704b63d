//! What a revision may leave in the session of the login that called `upgrade()`: nothing.
//!
//! A revision runs as the migration role, in somebody else's session. A temporary view with the name of a system view, a prepared
//! statement or an open cursor would be the author's text, waiting to be run with the privileges of the login. Parameters are put
//! back by [`crate::pg::session::Pinned`]; here goes the rest. What the login had itself stays.

use crate::error::refusal;
use crate::pg::entry::Failure;
use crate::pg::objects::has_temporary_schema;
use crate::pg::session::{self, has_open_cursors};
use crate::store::session::{self as stored, Cursor, Prepared};
use crate::store::{self};
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
    pub fn note() -> store::Result<Self> {
        Ok(Self {
            temporary: temporary()?,
            prepared: stored::prepared()?,
            cursors: cursors()?,
            advisory: stored::advisory_locks()?,
            channels: stored::channels()?,
        })
    }

    /// Takes away what the revision `id` has added.
    ///
    /// # Errors
    /// 0A000 for a cursor WITH HOLD, which would run its query when the transaction commits, as the login.
    pub fn restore(&self, id: &str) -> Result<(), Failure> {
        let cursors = cursors()?;
        for cursor in cursors.iter().filter(|cursor| !self.cursors.contains(cursor)) {
            if cursor.holdable {
                let message = format!("revision \"{id}\" leaves a cursor WITH HOLD open");
                let hint = "Declare it WITHOUT HOLD, or CLOSE it in the revision.";
                return Err(refusal("0A000", message, None, Some(hint.to_owned())).into());
            }
            session::close_cursor(&cursor.name);
        }
        self.deallocate()?;
        let made: Vec<Address> = temporary()?.into_iter().filter(|one| !self.temporary.contains(one)).collect();
        session::drop_temporary(&made);
        Ok(())
    }

    /// Takes away what a revision has added that has been rolled back since: prepared statements and advisory locks of the session stay.
    pub fn restore_after_failure(&self) -> store::Result<()> {
        self.deallocate()?;
        self.release_advisory_locks()
    }

    fn deallocate(&self) -> store::Result<()> {
        for prepared in stored::prepared()?.iter().filter(|one| !self.prepared.contains(one)) {
            session::deallocate(&prepared.name);
        }
        Ok(())
    }

    fn release_advisory_locks(&self) -> store::Result<()> {
        for lock in stored::advisory_locks()?.iter().filter(|lock| !self.advisory.contains(lock)) {
            session::release_advisory(lock.database, lock.class, lock.object, lock.sub, lock.exclusive);
        }
        Ok(())
    }

    /// Takes away what lasts longer than a transaction and disturbs no later revision: once, after the last of them.
    pub fn restore_at_end(&self) -> store::Result<()> {
        self.release_advisory_locks()?;
        session::listen_only_to(&self.channels);
        Ok(())
    }
}

fn temporary() -> store::Result<Vec<Address>> {
    if has_temporary_schema() { stored::temporary_objects() } else { Ok(vec![]) }
}

fn cursors() -> store::Result<Vec<Cursor>> {
    if has_open_cursors() { stored::cursors() } else { Ok(vec![]) }
}
