//! The layers: where the guard hears of statements, each useful alone.

pub mod begun;
pub mod dropping;
pub mod event_triggers;
pub mod object_access;
pub mod table_triggers;
pub mod utility_hook;
