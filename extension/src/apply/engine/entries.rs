//! Entries about what statements have done, and about what was done by the way.

use crate::apply::context::ApplyContext;
use crate::guard::classify::classify;
use crate::pg::execute::statements::Statement;
use crate::pg::failure::Failure;
use crate::pg::session::pinned::search_path;
use crate::{ledger, permission};
use runbook_core::action::Action;
use runbook_core::identity::Identity;
use runbook_core::ledger::{Entry, Kind};
use runbook_core::statement::may_hold_a_secret;
use runbook_core::vocabulary::verb::Verb;
use serde_json::json;
use std::collections::HashSet;
use std::time::Instant;

impl ApplyContext {
    /// An entry about what the guard has seen since the last one: triggers and functions have done it.
    pub fn observed_entry(&self, id: &str, tag: &str) -> Result<Option<Entry>, Failure> {
        let observed = permission::covering(|coverage| coverage.map(|coverage| std::mem::take(&mut coverage.observed)));
        let observed = observed.unwrap_or_default();
        if observed.is_empty() {
            return Ok(None);
        }
        let objects: Vec<_> = observed.iter().take(100).map(runbook_core::ledger::listed).collect();
        let facts = json!({
            "tag": tag, "revision": id, "direction": self.direction.as_str(), "objects": objects, "objects_total": observed.len(),
        });
        Ok(Some(ledger::entry(Kind::DdlExecuted, facts)?))
    }
}

/// The entry about a statement that has run; takes what the guard has observed of it.
pub fn statement_entry(
    statement: &Statement,
    id: &str,
    section: &str,
    number: usize,
    start: Instant,
) -> Result<Entry, Failure> {
    let home = search_path().into_iter().next();
    let declared = classify(&statement.command);
    let observed = permission::covering(|coverage| coverage.map(|coverage| std::mem::take(&mut coverage.observed)));
    let observed = observed.unwrap_or_default();
    // What goes along with what the statement names is no news; what functions and triggers have done is.
    let named: Vec<Identity> = declared.iter().flat_map(|action| [action.identity, action.owner]).collect();
    let is_told = |action: &Action| {
        [action.identity, action.owner].iter().any(|one| matches!(one, Identity::Is(_)) && named.contains(one))
    };
    let is_implied =
        |action: &Action| action.implied || !matches!(action.verb, Verb::Grant(_) | Verb::Revoke(_)) && is_told(action);
    let more = observed.into_iter().filter(|action| declared.is_empty() || !is_implied(action));
    let all = declared.iter().cloned().chain(more);
    let mut actions: Vec<Action> = all.map(|action| action.at_home(home.as_ref())).collect();
    let mut seen = HashSet::new();
    actions.retain(|action| seen.insert((action.verb.to_string(), action.object.clone())));
    let text = (!may_hold_a_secret(&statement.tag, &statement.sql)).then_some(&statement.sql);
    let facts = json!({
        "revision": id, "section": section, "statement_number": number, "line": statement.line, "tag": statement.tag,
        "objects": actions.iter().map(runbook_core::ledger::listed).collect::<Vec<_>>(), "statement": text, "duration_us": micros(start),
    });
    Ok(ledger::entry(Kind::ApplyStatement, facts)?)
}

/// Microseconds since `start`.
pub fn micros(start: Instant) -> u64 {
    u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX)
}
