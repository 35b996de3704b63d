//! How the statements of a revision are run.

pub mod backfill;
pub mod deferred;
pub mod leftovers;
pub mod non_transactional;
pub mod statement;
pub mod throttle;
