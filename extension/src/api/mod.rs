//! What SQL callers see: one file per noun, adapters that parse, call and shape.

pub mod apply;
mod approvals;
mod guard;
mod policy;
pub mod revisions;
