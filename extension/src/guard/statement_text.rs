//! The text of a statement, as far as it may stand in the ledger.

use crate::pg::hooks::events::client_query;
use crate::pg::hooks::statement_at_hand::client_statement;
use runbook_core::statement::{may_hold_a_secret, skip_blank};

/// The text of a permit's statement as it may stand in the ledger; `None` where it can carry a password.
pub fn recordable(statement: &str) -> Option<&str> {
    let tag = crate::pg::execute::statements::texts(statement).and_then(|found| found.into_iter().next()).map(|(tag, _)| tag);
    (!may_hold_a_secret(&tag.unwrap_or_default(), statement)).then_some(statement)
}

/// The client's text, where it is one statement of a kind that can hold no password, and not longer than 8 kB.
pub fn statement_text(tag: &str) -> Option<String> {
    let fit = |text: &str| (text.len() <= 8192 && !may_hold_a_secret(tag, text)).then(|| text.to_owned());
    if let Some(statement) = client_statement(tag) {
        return fit(skip_blank(&statement).trim_end());
    }
    let query = client_query().filter(|query| query.len() <= 8192)?;
    match &crate::pg::execute::statements::texts(&query)?[..] {
        [(found, sql)] if found == tag => fit(sql),
        _ => None,
    }
}
