//! What passes and is recorded.

use crate::error;
use crate::guard::enforcement::{Mode, mode};
use crate::guard::outcome::facts;
use crate::guard::statement_text::statement_text;
use crate::ledger::{self, recorder};
use crate::permission::{self, By};
use crate::store::settings;
use runbook_core::action::{Action, Class};
use runbook_core::ledger::{Kind, StatementFacts};
use runbook_core::policy::Verdict;
use runbook_core::vocabulary::judgement::Judgement;
use runbook_core::vocabulary::verb::Verb;

/// Records what passes and fires no event trigger, where policy does not simply allow it.
pub fn record_passing(tag: &str, actions: &[Action]) -> error::Result<()> {
    record_passing_as(tag, actions, actions.iter().any(Action::outlasts_rollback))
}

/// The same outside of the transaction, before the statement does anything.
pub fn record_passing_at_once(tag: &str, actions: &[Action]) -> error::Result<()> {
    record_passing_as(tag, actions, true)
}

fn record_passing_as(tag: &str, actions: &[Action], at_once: bool) -> error::Result<()> {
    let lasting: Vec<Action> =
        actions.iter().filter(|action| !action.temporary && action.verb != Verb::Lock).cloned().collect();
    if lasting.is_empty() {
        return Ok(());
    }
    if permission::is_applying() {
        // The revision's own entry goes with its transaction, if that is rolled back.
        if at_once {
            let by = permission::covering(|coverage| match &coverage?.by {
                By::Revision { revision, direction } => Some((revision.clone(), *direction)),
                By::Permit { .. } => None,
            });
            let (revision, direction) = by.unzip();
            let mut facts = facts(tag, &lasting, Judgement::Record, "", revision.as_deref());
            facts["direction"] = direction.into();
            recorder::record(Kind::DdlExecuted, facts);
        }
        return Ok(());
    }
    let policy = settings::policy()?;
    let is_ddl = |action: &Action| action.verb == Verb::Create || action.class == Class::Additive;
    let passes = |action: &Action| policy.rule(action).verdict == Verdict::Allow && !is_ddl(action);
    if lasting.iter().all(passes) {
        return Ok(());
    }
    let mode = Some(mode()).filter(|mode| *mode == Mode::record).map(Mode::as_str);
    record_statement(tag, &lasting, mode, at_once)
}

/// Records that a statement begins which commits in parts: if it is cancelled, what it has done so far stays, and no event tells of it.
pub fn record_beginning(tag: &str, actions: &[Action]) {
    let lasting: Vec<Action> = actions.iter().filter(|action| !action.temporary).cloned().collect();
    if lasting.is_empty() || permission::is_applying() {
        return;
    }
    let reason = "It begins; it commits in parts, and what it has done so far stays if it is cancelled.";
    recorder::record(Kind::DdlExecuted, facts(tag, &lasting, Judgement::Record, reason, None));
}

/// Records what an event trigger has seen happen.
pub fn record_seen(tag: &str, actions: &[Action]) -> error::Result<()> {
    if actions.is_empty() || permission::is_applying() {
        return Ok(());
    }
    record_statement(tag, actions, None, false)
}

fn record_statement(tag: &str, actions: &[Action], mode: Option<&str>, at_once: bool) -> error::Result<()> {
    let statement = statement_text(tag);
    let facts = StatementFacts { mode, actions, statement: statement.as_deref(), tag, ..StatementFacts::default() };
    ledger::record_statement(facts, at_once)
}
