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

pub mod alone;
pub mod append;
pub mod arguments;
pub mod bind;
pub mod callback;
pub mod casts;
pub mod catalogs;
pub mod caught;
pub mod clock;
pub mod commands;
pub mod constraints;
pub mod entry;
pub mod events;
pub mod fault;
pub mod ffi;
pub mod hooks;
pub mod identity;
pub mod job;
pub mod kinds;
pub mod latest;
pub mod launcher;
pub mod lock;
pub mod lookup;
pub mod memory;
pub mod nodes;
pub mod objects;
pub mod own;
pub mod panics;
pub mod parameters;
pub mod procedure;
pub mod protect;
pub mod query;
pub mod recorder;
pub mod session;
pub mod shared;
pub mod srf;
pub mod statements;
pub mod subtransaction;
pub mod transaction;
pub mod triggers;
pub mod waits;
pub mod worker;
