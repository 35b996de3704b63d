//! The guard: decides about every DDL statement, whatever client sends it.
//!
//! It sees actions, never text, and knows nothing of how revisions are applied: what is permitted at the moment stands
//! in [`crate::session`].

mod decide;
pub mod enforcement;
mod event_triggers;
pub mod status;

pub use decide::object;
