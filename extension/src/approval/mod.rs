//! Approvals: whose yes counts.

pub mod tally;
