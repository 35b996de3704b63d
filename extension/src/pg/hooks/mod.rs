//! Where C calls us: hooks, triggers, entry points of functions.

pub mod chain;
pub mod entry;
pub mod events;
pub mod lock_wait_monitor;
pub mod protect;
pub mod triggers;
