//! Statements that could not be read, since a name in them could not be looked up: a type that is not there, a name of too many
//! parts, a schema that the role may not use.
//!
//! PostgreSQL refuses such a statement itself, and its error is the one that the client must see. So the guard lets it pass. If
//! PostgreSQL takes it all the same, because the name came to mean something in between, it is refused once it has run, and
//! rolled back with all that it did.

use crate::error;
use crate::guard::enforcement::Enforcement;
use crate::guard::outcome::Blocked;
use runbook_core::vocabulary::judgement::Judgement;

/// Refuses a statement that could not be read and has run.
///
/// # Errors
/// 42501.
pub fn refuse(tag: &str) -> error::Result<()> {
    let blocked = Blocked {
        tag,
        actions: &[],
        judgement: Judgement::Unresolved,
        revision: None,
        sqlstate: "42501",
        message: format!("{tag} could not be judged"),
        detail: "A name in it did not exist when the guard looked it up, but existed when the statement ran.".to_owned(),
        hint: "Nothing was changed. Send the statement again.".to_owned(),
    };
    blocked.settle(Enforcement::current()?)
}
