//! The one place where the guard records and refuses statements that it stops.

use crate::error::{self, refusal};
use crate::guard::enforcement::Enforcement;
use crate::guard::statement_text::statement_text;
use crate::ledger::{self, recorder};
use runbook_core::action::Action;
use runbook_core::ledger::{Kind, listed, most_telling};
use runbook_core::vocabulary::judgement::Judgement;
use serde_json::{Value, json};

/// A statement that is stopped, and what its client reads.
#[derive(Debug)]
pub struct Blocked<'a> {
    /// The command tag.
    pub tag: &'a str,
    /// What it would do.
    pub actions: &'a [Action],
    /// Why it is stopped.
    pub judgement: Judgement,
    /// The revision that it is a part of.
    pub revision: Option<&'a str>,
    /// SQLSTATE of the error.
    pub sqlstate: &'static str,
    /// Its message.
    pub message: String,
    /// Its DETAIL, which is also the reason that the entry gives.
    pub detail: String,
    /// Its HINT.
    pub hint: String,
}

impl Blocked<'_> {
    /// Records and refuses it; where the guard only records, it passes.
    ///
    /// # Errors
    /// The refusal.
    pub fn settle(mut self, enforcement: Enforcement) -> error::Result<()> {
        let warning = self.actions.iter().find_map(Action::warning);
        if let Some(warning) = warning.filter(|_| self.judgement != Judgement::SelfProtection) {
            self.detail = format!("{warning} {}", self.detail);
        }
        match enforcement {
            Enforcement::Off => Ok(()),
            Enforcement::Record => ledger::record(Kind::DdlWouldBlock, self.facts()),
            Enforcement::Enforce => {
                recorder::record(Kind::DdlBlocked, self.facts());
                Err(refusal(self.sqlstate, self.message, Some(self.detail), Some(self.hint)))
            }
        }
    }

    /// The same where it is refused whatever the mode.
    ///
    /// # Errors
    /// The refusal.
    pub fn refuse(self) -> error::Result<()> {
        self.settle(Enforcement::Enforce)
    }

    fn facts(&self) -> Value {
        facts(self.tag, self.actions, self.judgement, &self.detail, self.revision)
    }
}

/// The facts of an entry about one statement.
pub fn facts(tag: &str, actions: &[Action], judgement: Judgement, reason: &str, revision: Option<&str>) -> Value {
    json!({
        "tag": tag,
        "objects": most_telling(actions).into_iter().map(listed).collect::<Vec<_>>(),
        "objects_total": actions.len(),
        "verdict": judgement.as_str(),
        "reason": reason,
        "revision": revision,
        "statement": statement_text(tag),
    })
}
