//! The guard's own parts: protects them, and checks that they are whole.

pub mod attachments;
pub mod cluster;
pub mod protect;
pub mod update;
pub mod wholeness;
