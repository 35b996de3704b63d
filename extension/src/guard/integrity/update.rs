//! ALTER EXTENSION pg_runbook UPDATE, the one statement that may change the runbook's own objects while the guard is active.
//!
//! Policy decides on it as on any action of class `control`. Its script is trusted as the library is: who can put one into the server's
//! directory of extensions can replace both. When it is done, the extension must be what this library knows, or nothing has happened: that
//! finds mistakes, and what others have attached. What functions, event triggers and DO blocks do meanwhile is judged as always.

use crate::catalog::own;
use crate::error::{self, refusal};
use crate::guard::enforcement::Enforcement;
use crate::guard::integrity::{attachments, wholeness};
use crate::ledger;
use crate::pg::session::extension_members::announce_members;
use runbook_core::action::Action;
use runbook_core::command::Command;
use runbook_core::ledger::Kind;
use runbook_core::vocabulary::object_kind::ObjectKind;
use runbook_core::vocabulary::verb::Verb;
use serde_json::json;
use std::cell::RefCell;

/// The version of the extension that this library is made for.
pub const LIBRARY: &str = env!("CARGO_PKG_VERSION");

thread_local! {
    /// The version that the statement that is running updates.
    static FROM: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Whether a statement updates this extension.
fn updates_us(command: &Command) -> bool {
    matches!(command, Command::Extension { verb: Verb::Update, name, .. } if name.name == "pg_runbook")
}

/// Whether an action is the update of this extension, which no revision can do.
pub fn is_of_us(action: &Action) -> bool {
    action.verb == Verb::Update && action.object.kind == ObjectKind::Extension && action.object.path == ["pg_runbook"]
}

/// Whether a statement would update this extension, and there is nothing to update, as PostgreSQL will say.
///
/// # Errors
/// Of the catalog.
pub fn is_done(command: &Command) -> error::Result<bool> {
    let Command::Extension { to, .. } = command else { return Ok(false) };
    if !updates_us(command) {
        return Ok(false);
    }
    let wanted = if to.is_some() { to.clone() } else { own::default_version()? };
    // Of one that is running, what it began with.
    let before = FROM.with_borrow(Clone::clone);
    Ok(wanted.is_some() && wanted == if before.is_some() { before } else { own::version()? })
}

/// Takes note of the version before the statement.
///
/// # Errors
/// Of the catalog.
pub fn begins(command: &Command) -> error::Result<()> {
    if updates_us(command) {
        FROM.set(own::version()?);
    }
    Ok(())
}

/// Looks at what an update has made of the extension, and records it.
///
/// # Errors
/// 55000 where it is not what this library knows.
pub fn ended(command: &Command) -> error::Result<()> {
    let before = FROM.take();
    if !updates_us(command) {
        return Ok(());
    }
    let now = own::version()?;
    if now == before {
        return Ok(());
    }
    let (before, now) = (before.unwrap_or_default(), now.unwrap_or_default());
    if now != LIBRARY {
        return Err(refusal(
            "55000",
            format!("pg_runbook can't be updated to {now} by the library of {LIBRARY}"),
            Some(format!(
                "This session has loaded the library of {LIBRARY}, which knows no objects of another version. Nothing in the database was changed."
            )),
            Some(format!(
                "Install the package of {now}; restart the server where the library is preloaded, else connect again. Then run: \
                 ALTER EXTENSION pg_runbook UPDATE;"
            )),
        ));
    }
    if Enforcement::current()? != Enforcement::Off {
        attachments::refuse_strangers("ALTER EXTENSION pg_runbook UPDATE;")?;
        wholeness::refuse_damaged_triggers("ALTER EXTENSION pg_runbook UPDATE;")?;
    }
    ledger::record(Kind::ExtensionUpdated, json!({"from": before, "to": now}))?;
    announce_members();
    Ok(())
}
