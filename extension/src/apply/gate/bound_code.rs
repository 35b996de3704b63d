//! The code that a revision runs: checks what its approvals bind before and after it runs, and remembers what it did to code.
//!
//! Nothing of it happens where no approval is relied upon, and none is open that could be later.

use crate::apply::context::ApplyContext;
use crate::code::{self, Reached};
use crate::error::{self, refusal};
use crate::guard::break_glass;
use crate::guard::enforcement::Enforcement;
use crate::pg::execute::statements::Statement;
use crate::pg::failure::Failure;
use crate::store::approvals::Given;
use crate::store::revisions::Stored;
use crate::{permission, store};
use pgrx::pg_sys::panic::ErrorReport;
use runbook_core::code::Key;
use std::rc::Rc;

/// The code under statements that are about to run.
pub struct Watched {
    before: Rc<Reached>,
    /// Whether approvals for it are relied upon.
    relied: bool,
}

impl Watched {
    /// What could run that others may not know: nothing, under an approval of its own.
    fn could_run(&self) -> Vec<(u32, u32, &str)> {
        if self.relied { vec![] } else { self.before.running() }
    }
}

/// Lets nothing run, under the permission in force, that the approvals relied upon do not bind.
pub fn limit(watched: Option<&Watched>) {
    if let Some(watched) = watched.filter(|watched| watched.relied) {
        permission::limit_to(&watched.before);
    }
}

impl ApplyContext {
    /// Why an approval does not cover the code that a revision reaches now.
    pub fn code_objection(&self, stored: &Stored, given: &Given) -> error::Result<Option<String>> {
        let known = self.reached.borrow().clone();
        let now = match known {
            Some(known) => known,
            None => {
                let texts = code::texts_of(&stored.revision, self.direction).map_err(ErrorReport::from)?;
                let now = Rc::new(code::reach(texts, &[]));
                self.reached.replace(Some(now.clone()));
                now
            }
        };
        code::objection(&given.code(self.direction)?, &now, given.decided_at, Some(stored.revision.revision.as_str()))
    }

    /// What must be known of code before these statements run, under the approvals of `approved_by`.
    pub fn watch<'a>(
        &self,
        approved_by: &[String],
        statements: impl IntoIterator<Item = &'a Statement>,
    ) -> error::Result<Option<Watched>> {
        if let Some(before) = self.reached.take() {
            let enforced = self.enforcement != Enforcement::Record && !break_glass::is_broken();
            return Ok(Some(Watched { before, relied: enforced && !approved_by.is_empty() }));
        }
        if self.policy.is_none() || !self.code_matters()? {
            return Ok(None);
        }
        let texts = code::texts(statements);
        Ok((!texts.running.is_empty() || !texts.quiet.is_empty())
            .then(|| Watched { before: Rc::new(code::reach(texts, &[])), relied: false }))
    }

    fn code_matters(&self) -> error::Result<bool> {
        if let Some(known) = self.code_matters.get() {
            return Ok(*known);
        }
        let matters = store::code::matters()?;
        Ok(*self.code_matters.get_or_init(|| matters))
    }

    /// Remembers the indexes that a statement at top level has built: what runs under the same approvals will find them.
    pub fn remember_built(&self, id: &str, watched: Option<Watched>, indexes: &[u32]) -> Result<(), Failure> {
        let Some(watched) = watched.filter(|_| !indexes.is_empty()) else { return Ok(()) };
        let built = watched.before.built(indexes);
        Ok(store::code::remember(id, self.direction, &built, &watched.could_run())?)
    }

    /// Refuses a revision that ran while another session replaced code that its approvals bind; remembers what the revision itself changed.
    pub fn settle(&self, id: &str, watched: Option<Watched>) -> Result<(), Failure> {
        let Some(watched) = watched else { return Ok(()) };
        let made: Vec<Key> = permission::covering(|coverage| {
            let events = coverage.map(|coverage| &coverage.events);
            let all = events.into_iter().flat_map(|events| events.all());
            all.filter(|(object, created, _)| *created && object.part == 0)
                .map(|(object, ..)| (object.class, object.object))
                .collect()
        });
        let meanwhile = watched.before.meanwhile(&made);
        if let (true, Some(name)) = (watched.relied, meanwhile.replaced) {
            let message = format!("{name} was replaced while revision \"{id}\" ({}) ran", self.direction.as_str());
            let detail = "Nothing was changed. The approval covers only what it was before.".to_owned();
            let hint = format!("Review it, then approve again: SELECT runbook.approve('{id}');");
            return Err(refusal("42501", message, Some(detail), Some(hint)).into());
        }
        Ok(store::code::remember(id, self.direction, &meanwhile.own, &watched.could_run())?)
    }
}
