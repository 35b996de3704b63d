//! What people ask for and decide.

pub mod decide;
pub mod inbox;
pub mod permit;
pub mod submit;
pub mod withdraw;
