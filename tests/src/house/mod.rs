//! The house: which file of a crate imports which, read from the sources.
//!
//! Owns the import graph, and counts of what makes a house hard to live in. A path counts as an import of the file where its target is defined: names
//! that a module passes on (`pub use`) are followed to their home. Test modules are left out.

mod count;
mod graph;
mod read;

pub use count::{Counts, count};
pub use graph::{circles, upward};
pub use read::{Crate, File, read};
