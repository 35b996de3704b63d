//! Faults on purpose, in a build with the feature `faults` alone: a panic, an error, a cancellation, no memory or no stack, at each place
//! where C calls us. The test `faults` sets `runbook.fault` to `PLACE:KIND` and looks at what becomes of the server.

/// A place where something may go wrong.
#[cfg(not(feature = "faults"))]
#[inline(always)]
pub fn at(_place: &str) {}

/// Nothing to define.
#[cfg(not(feature = "faults"))]
pub fn define_parameter() {}

#[cfg(feature = "faults")]
pub use injected::{at, define_parameter};

#[cfg(feature = "faults")]
mod injected {
    use crate::pg::memory;
    use pgrx::pg_sys;
    use pgrx::pg_sys::errcodes::PgSqlErrorCode;
    use pgrx::pg_sys::panic::ErrorReport;
    use pgrx::{GucContext, GucFlags, GucRegistry, GucSetting};
    use std::ffi::CString;

    static FAULT: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(None);

    /// Defines `runbook.fault`.
    pub fn define_parameter() {
        GucRegistry::define_string_guc(
            c"runbook.fault",
            c"Where what goes wrong.",
            c"PLACE:KIND",
            &FAULT,
            GucContext::Userset,
            GucFlags::default(),
        );
    }

    /// A place where something may go wrong.
    pub fn at(place: &str) {
        let Some(fault) = FAULT.get() else { return };
        let Some((where_, kind)) = fault.to_str().ok().and_then(|text| text.split_once(':')) else { return };
        if where_ != place {
            return;
        }
        crate::pg::callback::log_to_server(&format!("pg_runbook fault: {kind} at {place}"));
        match kind {
            "panic" => panic!("a fault at {place}"),
            "error" => {
                ErrorReport::new(PgSqlErrorCode::ERRCODE_DATA_EXCEPTION, "a fault", "at").report(pgrx::PgLogLevel::ERROR)
            }
            // SAFETY: what the handler of SIGINT sets, and a look at it.
            "cancel" => unsafe {
                pg_sys::InterruptPending = 1;
                pg_sys::QueryCancelPending = 1;
                pgrx::check_for_interrupts!();
            },
            "memory" => memory::without(|| drop(std::hint::black_box(vec![1_u8; 100]))),
            "stack" => drop(std::hint::black_box(deeper(0))),
            _ => {}
        }
    }

    #[allow(unconditional_recursion, reason = "it ends with an error of PostgreSQL's")]
    fn deeper(level: u64) -> u64 {
        // SAFETY: raises an error where the stack is nearly used up.
        unsafe { pg_sys::check_stack_depth() };
        std::hint::black_box([level; 64]).iter().sum::<u64>() + deeper(level + 1)
    }
}
