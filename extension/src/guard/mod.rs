//! The guard: decides about every DDL statement, whatever client sends it.
//!
//! It sees actions, never text, and knows nothing of how revisions are applied: what is permitted at the moment stands
//! in [`crate::session`].

mod begun;
pub mod classify;
pub mod cluster;
pub mod control;
mod decide;
pub mod enforcement;
mod event_triggers;
pub mod glass;
pub mod object_access;
pub mod permits;
mod protect;
pub mod status;
pub mod table_triggers;
pub mod unresolved;
pub mod utility_hook;
mod wholeness;

pub use classify::{classify, classify_all, classify_each};
pub use decide::{WINDOW_HINT, When, allow_call, decide, recordable};
pub use protect::refuse_write;
