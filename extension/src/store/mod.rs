//! The only SQL against our own tables, and the only place that knows their columns: one file a table, or a few that belong together.

pub mod approvals;
pub mod backfills;
pub mod code;
pub mod graph;
pub mod job_lines;
pub mod jobs;
pub mod ledger;
pub mod object_history;
pub mod permits;
pub mod pieces;
pub mod protected;
pub mod revisions;
pub mod settings;
pub mod tree;
