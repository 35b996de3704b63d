//! The parts of pg_runbook that need no database: files, graph, classification, policy, ledger.
//!
//! This crate owns the vocabulary (revision, graph, target, action, policy, ledger entry) and every
//! decision made with it. It refuses to do I/O, to know PostgreSQL's C structures, or to read a clock:
//! callers hand facts in and act on what comes back.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a panic is how a test fails"))]

pub mod action;
pub mod advice;

pub mod approval;
pub mod audit;
pub mod backfill;
pub mod border;
pub mod canonical;
pub mod changing;
pub mod checkpoint;
pub mod classify;
pub mod code;
pub mod command;
pub mod error;
pub mod file;
pub mod graph;
pub mod identity;
pub mod inventory;
pub mod ledger;
pub mod manifest;
pub mod marker;
pub mod merkle;
pub mod object_history;
pub mod patience;
pub mod pattern;
pub mod plan;
pub mod policy;
pub mod progress;
pub mod proof;
pub mod report;
pub mod revision;
pub mod statement;
pub mod target;
pub mod temporary;
pub mod terms;
pub mod timeline;
pub mod top_level_only;
pub mod visible;
pub mod vocabulary;
pub mod window;
pub mod words;

pub use error::{Error, Result};
pub use revision::{Digest, Phase, Revision, RevisionId};
