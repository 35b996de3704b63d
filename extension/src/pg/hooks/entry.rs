//! C entry points of the functions that run an author's SQL.
//!
//! Such a function can't be a `#[pg_extern]`: its errors would lose their fields on the way out. Here the guarded body
//! ends first, with every destructor run; then the plain C frame re-throws the caught error whole.

use crate::error::refusal;
use crate::pg::failure::Failure;
use crate::pg::ffi;
use pgrx::datum::DatumWithOid;
pub use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use pgrx::{FromDatum, IntoDatum, pg_sys};
use std::cell::Cell;
use std::sync::OnceLock;

/// The bodies behind the entry points; [`register`] fills them in at library load.
pub struct Bodies {
    /// `runbook.submit(jsonb)`.
    pub submit: fn(pg_sys::FunctionCallInfo, serde_json::Value) -> Result<String, Failure>,
    /// `runbook.upgrade(text)`.
    pub upgrade: fn(pg_sys::FunctionCallInfo, &str) -> Result<Vec<String>, Failure>,
    /// `runbook.downgrade(text)`.
    pub downgrade: fn(pg_sys::FunctionCallInfo, &str) -> Result<Vec<String>, Failure>,
    /// What becomes of a row of a protected table that is one too many: OIDs of the table and of the one that was protected, the limit, and
    /// the command's tag.
    pub too_many_rows: fn([u32; 2], i64, &'static str) -> Result<(), ErrorReport>,
    /// What becomes of a protected table that is about to be emptied.
    pub emptied: fn(u32) -> Result<(), ErrorReport>,
    /// Judges DML on a table of the extension that others send.
    pub written: fn(u32) -> Result<(), ErrorReport>,
    /// What the recorder's worker does with its lines.
    pub record: fn(&[String]) -> Result<(), ErrorReport>,
    /// `CALL runbook.wait(bigint)`, and whether it may end transactions.
    pub wait: fn(i64, bool) -> Result<(), Failure>,
    /// What a job's worker does.
    pub work: fn(i64),
    /// Starts workers for jobs that have none; the sealer asks for it.
    pub revive: fn(),
    /// What the sealer does in one transaction, given where the last one ended; where that ends, if there may be more to do.
    pub seal: fn(Option<&str>) -> Result<Option<String>, ErrorReport>,
}

static BODIES: OnceLock<Bodies> = OnceLock::new();

thread_local! {
    static PENDING: Cell<*mut pg_sys::ErrorData> = const { Cell::new(std::ptr::null_mut()) };
}

/// Connects the entry points to their bodies.
pub fn register(bodies: Bodies) {
    let _ = BODIES.set(bodies);
}

fn bodies() -> &'static Bodies {
    BODIES.get().expect("_PG_init registers the bodies before any function of the library can run")
}

/// Judges a row of a protected table that is one too many.
pub fn too_many_rows(tables: [u32; 2], limit: i64, tag: &'static str) -> Result<(), ErrorReport> {
    (bodies().too_many_rows)(tables, limit, tag)
}

/// Judges that a protected table is about to be emptied.
pub fn emptied(table: u32) -> Result<(), ErrorReport> {
    (bodies().emptied)(table)
}

/// Judges DML on a table of the extension that others send.
pub fn written(table: u32) -> Result<(), ErrorReport> {
    (bodies().written)(table)
}

/// Writes records, in the recorder's worker.
pub fn record(lines: &[String]) -> Result<(), ErrorReport> {
    (bodies().record)(lines)
}

/// Works a job off, in its worker.
pub fn work(job: i64) {
    (bodies().work)(job);
}

/// Starts workers for jobs that have none. Called inside a transaction.
pub fn revive() {
    (bodies().revive)();
}

/// Seals a batch, in the sealer's worker.
pub fn seal(from: Option<&str>) -> Result<Option<String>, ErrorReport> {
    (bodies().seal)(from)
}

/// Where a call may go wrong on purpose; see [`crate::pg::fault`].
fn at_a_fault() -> Result<(), Failure> {
    crate::pg::fault::at("call");
    Ok(())
}

/// Runs `body` under pgrx's guard. A caught error is left pending for [`rethrow`].
unsafe fn guarded<T: IntoDatum>(body: impl FnOnce() -> Result<T, Failure>) -> pg_sys::Datum {
    // SAFETY: the frames below hold no PostgreSQL resource that needs anything but unwinding.
    unsafe {
        pg_sys::panic::pgrx_extern_c_guard(|| match at_a_fault().and_then(|()| body()) {
            Ok(value) => value.into_datum().unwrap_or_else(|| pg_sys::Datum::from(0)),
            Err(Failure::Report(report)) => {
                report.report(PgLogLevel::ERROR);
                pg_sys::Datum::from(0)
            }
            Err(Failure::PgError(caught)) => {
                PENDING.set(caught.into_raw());
                pg_sys::Datum::from(0)
            }
        })
    }
}

/// Re-throws the pending error, if there is one. Holds nothing that wants dropping.
unsafe fn rethrow(datum: pg_sys::Datum) -> pg_sys::Datum {
    let pending = PENDING.replace(std::ptr::null_mut());
    if !pending.is_null() {
        // SAFETY: a live ErrorData in the top transaction's memory; ReThrowError copies it and does not return.
        unsafe { ffi::ReThrowError(pending) }
    }
    datum
}

/// A jsonb as PostgreSQL writes it. It may hold numbers and be nested as deep as serde_json does not take it.
struct Jsonb(String);

impl FromDatum for Jsonb {
    unsafe fn from_polymorphic_datum(datum: pg_sys::Datum, is_null: bool, _type: pg_sys::Oid) -> Option<Self> {
        if is_null {
            return None;
        }
        // SAFETY: the datum is a jsonb, as the function's declaration says.
        let text = unsafe { pgrx::direct_function_call::<&std::ffi::CStr>(pg_sys::jsonb_out, &[Some(datum)]) }?;
        Some(Self(text.to_string_lossy().into_owned()))
    }
}

macro_rules! entry {
    ($symbol:ident, $info:ident, $name:literal, $argument:ty, $call:expr) => {
        finfo!($info);

        #[doc = "Entry point; declared in `sql/functions.sql`."]
        ///
        /// # Safety
        /// Called by PostgreSQL's function manager alone.
        #[unsafe(no_mangle)]
        pub unsafe extern "C-unwind" fn $symbol(fcinfo: pg_sys::FunctionCallInfo) -> pg_sys::Datum {
            // SAFETY: fcinfo is valid during the call and its first argument has the declared type, or is null.
            unsafe {
                let datum = guarded(|| match pgrx::fcinfo::pg_getarg::<$argument>(fcinfo, 0) {
                    Some(argument) => $call(fcinfo, argument),
                    None => Err(refusal("22004", concat!("runbook.", $name, " can't be NULL"), None, None).into()),
                });
                rethrow(datum)
            }
        }
    };
}

entry!(runbook_submit, pg_finfo_runbook_submit, "submit: revision", Jsonb, |fcinfo, revision: Jsonb| {
    let refused = |error: serde_json::Error| refusal("22023", format!("invalid revision: {error}"), None, None);
    (bodies().submit)(fcinfo, serde_json::from_str(&revision.0).map_err(refused)?)
});
entry!(runbook_upgrade, pg_finfo_runbook_upgrade, "upgrade: target", String, |fcinfo, target: String| (bodies().upgrade)(
    fcinfo, &target
));
entry!(runbook_downgrade, pg_finfo_runbook_downgrade, "downgrade: target", String, |fcinfo, target: String| (bodies()
    .downgrade)(
    fcinfo, &target
));

finfo!(pg_finfo_runbook_wait);

/// Entry point of `CALL runbook.wait(bigint)`.
///
/// # Safety
/// Called by PostgreSQL's function manager alone.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn runbook_wait(fcinfo: pg_sys::FunctionCallInfo) -> pg_sys::Datum {
    // SAFETY: fcinfo is valid during the call and its argument is a bigint, or null.
    unsafe {
        let datum = guarded(|| {
            let may_end_transactions = crate::pg::execute::procedure::may_end_transactions(fcinfo);
            // A procedure can't be STRICT.
            let Some(job) = pgrx::fcinfo::pg_getarg::<i64>(fcinfo, 0) else {
                return Err(Failure::Report(refusal("22004", "runbook.wait: job can't be NULL", None, None)));
            };
            (bodies().wait)(job, may_end_transactions)
        });
        rethrow(datum)
    }
}

/// A parameter of an SPI call.
pub type Parameter<'a> = DatumWithOid<'a>;
