//! The guard: decides about every DDL statement, whatever client sends it.
//!
//! It sees actions, never text, and knows nothing of how revisions are applied: what is permitted at the moment stands
//! in [`crate::session`].

pub mod classify;
pub mod control;
mod decide;
pub mod enforcement;
mod event_triggers;
pub mod glass;
mod permits;
pub mod status;

pub use classify::{classify, classify_all};
pub use decide::{WINDOW_HINT, When, allow_call, decide, object};
