//! Running: statements, transactions and subtransactions, locks.

pub mod append;
pub mod job;
pub mod lock;
pub mod procedure;
pub mod query;
pub mod statements;
pub mod subtransaction;
pub mod top_level_only;
pub mod transaction;
