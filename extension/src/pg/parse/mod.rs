//! Parse trees: read into commands, and what the names in them stand for.

pub mod alter;
pub mod alter_table;
pub mod arguments;
pub mod bind;
pub mod catalogs;
pub mod commands;
pub mod constraints;
pub mod control_call;
pub mod create;
pub mod data;
pub mod grants;
pub mod kinds;
pub mod lookup;
pub mod maintain;
pub mod names;
pub mod nodes;
pub mod objects;
pub mod shared;
pub mod type_change;
