//! Background processes, and the shared memory between them and the sessions.

pub mod launcher;
pub mod recorder;
pub mod shared;
pub mod worker;
