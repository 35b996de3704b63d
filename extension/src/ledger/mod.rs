//! The ledger's server side: entries written in the transaction that they describe, or outside of it.

mod append;
pub mod pending;
pub mod recorder;

pub use append::{entry, record};
