//! The only `unsafe` of the extension: PostgreSQL's C structures behind safe types.
//!
//! Invariant: what leaves this module is owned Rust data or a guard that restores what it changed when dropped.
#![allow(unsafe_code, reason = "this is the one module that talks to C")]

/// Says that functions have version 1 of the calling convention, for fmgr.c.
macro_rules! finfo {
    ($($name:ident),*) => {
        $(
            #[doc = "Version-1 calling convention, for fmgr.c."]
            #[unsafe(no_mangle)]
            pub extern "C" fn $name() -> &'static pgrx::pg_sys::Pg_finfo_record {
                static V1: pgrx::pg_sys::Pg_finfo_record = pgrx::pg_sys::Pg_finfo_record { api_version: 1 };
                &V1
            }
        )*
    };
}

pub mod callback;
pub mod clock;
pub mod execute;
pub mod failure;
pub mod fault;
pub mod ffi;
pub mod hooks;
pub mod memory;
pub mod panics;
pub mod parse;
pub mod pg_error;
pub mod session;
pub mod srf;
pub mod strings;
pub mod workers;
