//! Whether a step may run.

pub mod bound_code;
pub mod next;
pub mod requirements;
