//! How the statements of a revision are run.

pub mod backfill;
pub mod backfill_plan;
pub mod clean_up;
pub mod deferred;
pub mod entries;
pub mod leftovers;
pub mod non_transactional;
pub mod statement;
pub mod throttle;
