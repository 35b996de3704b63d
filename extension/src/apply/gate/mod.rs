//! Whether a step may run.

pub mod bound_code;
pub mod object_history;
pub mod requirements;
