//! The ledger's server side: entries written in the transaction that they describe, or outside of it; and the sealed tree.

mod append;
pub mod archive;
mod circumstances;
pub mod epoch;
pub mod pending;
pub mod recorder;
pub mod refusal;
pub mod seal;
pub mod tree;
pub mod verify;

pub use append::{record, record_statement};
pub use circumstances::entry;
