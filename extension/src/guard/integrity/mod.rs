//! The guard's own parts: that nobody takes them away, and whether they are whole.

pub mod attachments;
pub mod cluster;
pub mod protect;
pub mod wholeness;
