//! The guard: decides about every DDL statement, regardless of the client.
//!
//! It sees actions, never text, and knows nothing of how revisions are applied: what is permitted at the moment stands
//! in [`crate::permission`].

pub mod break_glass;
pub mod caller;
pub mod classify;
pub mod control;
pub mod enforcement;
pub mod integrity;
pub mod judge;
pub mod layers;
pub mod limits;
pub mod outcome;
pub mod passing;
pub mod permits;
pub mod protection;
pub mod statement_text;
pub mod status;
pub mod temporary;
pub mod unresolved;
