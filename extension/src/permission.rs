//! What this process is doing: what is covered by which revision or permit, and whether the glass is broken.
//!
//! Invariant: no GUC, temporary table or client message can ever grant an approval. The permission to destroy lives
//! here, in process memory. A revision's is set only by `apply`, after it has read an approved digest, and ends with its
//! [`Scope`]; a permit's is set only by the guard, after it has used the permit up, and ends with the client's statement.

use crate::code::Reached;
use crate::pg::execute::transaction;
use crate::pg::hooks::events::portal;
use crate::pg::hooks::limit;
use crate::pg::hooks::triggers::{permission_changes, permission_ends};
use crate::pg::parse::catalogs;
use crate::pg::session::identity::{Moment, moment};
use runbook_core::action::{Action, Class};
use runbook_core::identity::{Address, Events, History, Identity};
use runbook_core::manifest::{Cover, Manifest};
use runbook_core::policy::Policy;
use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;

/// What covers the statement at hand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum By {
    /// A revision that is being applied.
    Revision {
        /// Its id.
        revision: String,
        /// `upgrade` or `downgrade`.
        direction: &'static str,
    },
    /// A permit, for one statement.
    Permit {
        /// Its id.
        permit: String,
        /// The client's statement that used it.
        moment: Moment,
        /// The portal that runs it.
        portal: usize,
    },
}

/// A permission with its bounds.
#[derive(Debug)]
pub struct Coverage {
    /// Whose permission it is.
    pub by: By,
    /// What is declared.
    pub manifest: Manifest,
    /// The policy in force; `None` if nothing is enforced here.
    pub policy: Option<Policy>,
    /// Whether what policy refuses is only recorded.
    pub record_only: bool,
    /// What the guard saw happen since the executor last asked.
    pub observed: Vec<Action>,
    /// What this revision has created, and what it has renamed or moved as declared.
    pub events: Events,
    /// What the statement at hand finds: objects that CREATE OR REPLACE may replace, and highest column numbers of tables.
    pub before: Before,
    /// The code that a permit's statement reached when it was used.
    pub reached: Option<Rc<Reached>>,
    /// Outside of what nothing is to run; `None` if that can't be known.
    pub limits: Option<Rc<Reached>>,
    /// Columns that this revision has created, each with the transaction that has written it.
    columns: HashMap<Address, u32>,
    /// How many rollbacks there had been when what was created was last looked at.
    undone: u64,
}

/// What was there before a statement.
#[derive(Debug, Default)]
pub struct Before {
    /// Objects of the name that CREATE OR REPLACE gives.
    pub named: HashSet<Address>,
    /// The highest column number of each table that gets a column.
    pub columns: HashMap<u32, i32>,
}

impl Coverage {
    /// A permission that has not been used yet.
    pub fn new(by: By, manifest: Manifest, policy: Option<Policy>, record_only: bool) -> Self {
        let (events, before) = (Events::default(), Before::default());
        // From here on it listens to rollbacks.
        transaction::current();
        let undone = transaction::undone();
        let (observed, columns) = (vec![], HashMap::new());
        Self { by, manifest, policy, record_only, observed, events, before, reached: None, limits: None, columns, undone }
    }

    /// Takes note of a column that this revision has created.
    pub fn create_column(&mut self, column: Address, path: Vec<String>) {
        if let Some(written) = catalogs::column_written(column.object, column.part) {
            self.columns.insert(column, written);
            self.events.create(column, path);
        }
    }

    /// The number of a column that a rollback has taken back is given again, perhaps to another session's column.
    fn forget_what_was_undone(&mut self) {
        let undone = transaction::undone();
        if !transaction::is_in_progress() {
            return;
        }
        if std::mem::replace(&mut self.undone, undone) == undone || self.columns.is_empty() {
            return;
        }
        let is_still = |column: &Address, then: u32| {
            catalogs::column_written(column.object, column.part).is_some_and(|now| now == then || catalogs::is_own_write(now))
        };
        let gone: HashSet<Address> =
            self.columns.iter().filter(|(column, then)| !is_still(column, **then)).map(|(column, _)| *column).collect();
        self.columns.retain(|column, _| !gone.contains(column));
        self.events.retain(|object| !gone.contains(object));
    }

    /// The first of `actions` that policy stops and that is not covered, with how far it is from it.
    pub fn uncovered(&self, actions: &[Action]) -> Option<(Action, Cover)> {
        let policy = self.policy.as_ref()?;
        actions.iter().filter(|action| policy.stops(action)).find_map(|action| {
            // What the revision itself has created, nobody can lose by it.
            if self.has_made(action) {
                return None;
            }
            match self.manifest.covers(action, &self.events) {
                Cover::Yes => None,
                cover => Some((action.clone(), cover)),
            }
        })
    }

    fn has_made(&self, action: &Action) -> bool {
        [action.identity, action.owner].iter().any(|one| matches!(one, Identity::Is(found) if self.events.made(*found)))
    }

    /// Whether a rename or move that has happened is declared for this very object.
    pub fn declares_move(&self, action: &Action) -> bool {
        self.manifest.covers(action, &self.events) == Cover::Yes || self.has_made(action)
    }

    /// Whether anything as grave as `class` is declared about this object or a part of it.
    pub fn mentions(&self, object: Address, class: Class) -> bool {
        let whole = |address: &Address| address.whole() == object.whole();
        self.events.made(object.whole())
            || self.manifest.actions().iter().filter(|action| action.class >= class).any(|action| match &action.identity {
                Identity::Is(address) => whole(address),
                Identity::NewColumn { table, .. } => whole(&Address::relation(*table)),
                Identity::Unknown | Identity::Missing => false,
            })
    }
}

/// A time-boxed override of policy, in this session alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BreakGlass {
    /// Id of the ledger entry that opened it.
    pub id: String,
    /// When it ends, in microseconds since 1970.
    pub until: i64,
}

thread_local! {
    static COVERAGE: RefCell<Option<Coverage>> = const { RefCell::new(None) };
    static BREAK_GLASS: RefCell<Option<BreakGlass>> = const { RefCell::new(None) };
}

thread_local! {
    static JOB: std::cell::Cell<Option<i64>> = const { std::cell::Cell::new(None) };
}

/// The job that this process works off.
pub fn job() -> Option<i64> {
    JOB.get()
}

/// Says which job this process works off.
pub fn set_job(job: i64) {
    JOB.set(Some(job));
}

/// Ends a revision's permission when dropped.
pub struct Scope(());

impl Drop for Scope {
    fn drop(&mut self) {
        permission_changes();
        limit::end();
        COVERAGE.set(None);
    }
}

/// Starts applying a revision.
pub fn enter(coverage: Coverage) -> Scope {
    permission_changes();
    COVERAGE.set(Some(coverage));
    Scope(())
}

/// What the revision's next statement declares: it covers that statement, and not what another one's code reaches.
pub fn declare(manifest: Manifest) {
    permission_changes();
    COVERAGE.with_borrow_mut(|coverage| {
        if let Some(coverage) = coverage {
            coverage.manifest = manifest;
        }
    });
}

/// Covers the client's statement at hand by a permit that has been used up for it.
pub fn permit(coverage: Coverage) {
    permission_changes();
    COVERAGE.set(Some(coverage));
}

/// A transaction has ended, and with it what a permit covered.
pub fn limit_no_more() {
    limit::end();
}

/// Binds the permission in force to what its approval binds, if all of that is known. Returns whether it is.
pub fn limit_to(reached: &Rc<Reached>) -> bool {
    let is_set = reached.is_all()
        && COVERAGE
            .with_borrow_mut(|coverage| coverage.as_mut().map(|coverage| coverage.limits = Some(reached.clone())).is_some());
    if is_set {
        limit::begin();
    }
    is_set
}

/// Gives `inspect` what covers the statement at hand, if anything does.
pub fn covering<T>(inspect: impl FnOnce(Option<&mut Coverage>) -> T) -> T {
    COVERAGE.with_borrow_mut(|coverage| {
        if let Some(coverage) = coverage {
            coverage.forget_what_was_undone();
        }
        inspect(coverage.as_mut().filter(|coverage| match coverage.by {
            By::Revision { .. } => true,
            By::Permit { moment: then, portal: its, .. } => then == moment() && its == portal(),
        }))
    })
}

/// Whether a revision is being applied.
pub fn is_applying() -> bool {
    covering(|coverage| coverage.is_some_and(|coverage| matches!(coverage.by, By::Revision { .. })))
}

/// The revision that is being applied.
pub fn revision_in_progress() -> Option<String> {
    covering(|coverage| match &coverage?.by {
        By::Revision { revision, .. } => Some(revision.clone()),
        By::Permit { .. } => None,
    })
}

/// The permit that covers the statement at hand.
pub fn permit_in_use() -> Option<String> {
    covering(|coverage| match &coverage?.by {
        By::Permit { permit, .. } => Some(permit.clone()),
        By::Revision { .. } => None,
    })
}

/// The broken glass, whether or not its time is up.
pub fn break_glass() -> Option<BreakGlass> {
    BREAK_GLASS.with_borrow(Clone::clone)
}

/// Breaks the glass, or puts a new one in.
pub fn set_break_glass(glass: Option<BreakGlass>) {
    permission_changes();
    permission_ends(glass.as_ref().map_or(i64::MAX, |glass| glass.until));
    BREAK_GLASS.set(glass);
}
