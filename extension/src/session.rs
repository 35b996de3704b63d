//! What this process is doing: which revision is being applied, and under which manifest.
//!
//! Invariant: no GUC, temporary table or client message can ever grant an approval. The permission to destroy lives
//! here, in process memory, set only by `apply` after it has read an approved digest, and it ends with its [`Scope`].

use runbook_core::action::Action;
use runbook_core::manifest::Manifest;
use runbook_core::policy::Policy;
use std::cell::RefCell;

/// A revision that is being applied.
#[derive(Debug)]
pub struct Applying {
    /// Its id.
    pub revision: String,
    /// `upgrade` or `downgrade`.
    pub direction: &'static str,
    /// What it declares.
    pub manifest: Manifest,
    /// The policy in force; `None` if nothing is enforced here.
    pub policy: Option<Policy>,
    /// Whether what policy refuses is only recorded.
    pub record_only: bool,
    /// What the guard saw happen since the executor last asked.
    pub observed: Vec<Action>,
}

thread_local! {
    static APPLYING: RefCell<Option<Applying>> = const { RefCell::new(None) };
}

/// Ends the permission when dropped.
pub struct Scope(());

impl Drop for Scope {
    fn drop(&mut self) {
        APPLYING.set(None);
    }
}

/// Starts applying.
pub fn enter(applying: Applying) -> Scope {
    APPLYING.set(Some(applying));
    Scope(())
}

/// Gives `inspect` the revision that is being applied, if one is.
pub fn with<T>(inspect: impl FnOnce(Option<&mut Applying>) -> T) -> T {
    APPLYING.with_borrow_mut(|applying| inspect(applying.as_mut()))
}
