//! Auditing: reading a ledger from a server or from exports, and computing every hash of it here.

pub mod blocks;
pub mod copy;
pub mod files;
pub mod finding;
pub mod notes;
pub mod server;
