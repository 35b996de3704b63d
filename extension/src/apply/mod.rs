//! Applying revisions: the plan, the needs, the lock, the pinned session, the statements.
//!
//! Owns the only code that sets the permission in [`crate::permission`]. It refuses to start while anything that a step
//! needs is missing. Invariant: a revision is applied wholly, with its ledger entries, or not at all.

pub mod context;
pub mod engine;
pub mod gate;
pub mod job;
pub mod locks;
pub mod stamp;
pub mod transactional;
pub mod way;
