//! The session: who it is, its parameters, what it remembers.

pub mod extension_members;
pub mod identity;
pub mod latest;
pub mod parameters;
pub mod pinned;
pub mod scans;
pub mod timeline;
