//! SQL over PostgreSQL's own catalogs and views.

pub mod cascade;
pub mod cluster;
pub mod logins;
pub mod names;
pub mod objects;
pub mod own;
pub mod relations;
pub mod session;
