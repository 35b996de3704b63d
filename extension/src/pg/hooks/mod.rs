//! Where C calls us: hooks, triggers, entry points of functions.

pub mod chain;
pub mod entry;
pub mod events;
pub mod foreign_code;
pub mod limit;
pub mod lock_wait_monitor;
pub mod object_access;
pub mod protect;
pub mod statement_at_hand;
pub mod triggers;
pub mod watch;
