//! The only `unsafe` of the extension: PostgreSQL's C structures behind safe types.
//!
//! Invariant: what leaves this module is owned Rust data or a guard that restores what it changed when dropped.
#![allow(unsafe_code, reason = "this is the one module that talks to C")]

pub mod append;
pub mod casts;
pub mod caught;
pub mod clock;
pub mod commands;
pub mod entry;
pub mod events;
pub mod hooks;
pub mod identity;
pub mod kinds;
pub mod latest;
pub mod lock;
pub mod nodes;
pub mod objects;
pub mod procedure;
pub mod protect;
pub mod recorder;
pub mod session;
pub mod shared;
pub mod srf;
pub mod statements;
pub mod subtransaction;
pub mod transaction;
pub mod triggers;
