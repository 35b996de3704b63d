//! What SQL callers see: one file per noun, adapters that parse, call and shape.

pub mod apply;
mod approvals;
mod break_glass;
mod guard;
pub mod jobs;
mod ledger;
mod permits;
mod policy;
pub mod revisions;
pub mod tables;
mod windows;
