//! Jobs: upgrades and downgrades in the background.

pub mod queue;
pub mod session;
pub mod step;
pub mod stop_request;
pub mod worker;
