//! Statements that could not be read, since a name in them could not be looked up: a type that is not there, a name of too many
//! parts, a schema that the role may not use.
//!
//! PostgreSQL refuses such a statement itself, and its error is the one that the client must see. So the guard lets it pass. If
//! PostgreSQL takes it all the same, because the name came to mean something in between, it is refused once it has run, and
//! rolled back with all that it did.

use crate::error::{self, refusal};
use crate::guard::enforcement::Enforcement;
use crate::guard::judge::facts;
use crate::ledger::{self, recorder};
use runbook_core::ledger::Kind;

/// Refuses a statement that could not be read and has run.
///
/// # Errors
/// 42501.
pub fn refuse(tag: &str) -> error::Result<()> {
    let detail = "A name in it meant nothing when the guard looked it up, and something when the statement ran.";
    let facts = facts(tag, &[], "unresolved", detail, None);
    match Enforcement::current()? {
        Enforcement::Off => return Ok(()),
        Enforcement::Record => return ledger::record(Kind::DdlWouldBlock, facts),
        Enforcement::Enforce => recorder::record(Kind::DdlBlocked, facts),
    }
    let hint = "Nothing was changed. Send the statement again.";
    Err(refusal("42501", format!("{tag} could not be judged"), Some(detail.to_owned()), Some(hint.to_owned())))
}
