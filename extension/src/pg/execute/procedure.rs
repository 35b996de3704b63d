//! Procedures that end transactions.

use crate::pg::session::identity::set_local;
use pgrx::pg_sys;
use pgrx::pg_sys::panic::ErrorReport;
use std::time::{Duration, Instant};

/// Whether a procedure was called where it may end transactions: by the client's own CALL, outside of a transaction block. In a DO block or
/// another procedure it could, too, but what that has done so far is not ours to commit.
pub fn may_end_transactions(fcinfo: pg_sys::FunctionCallInfo) -> bool {
    // SAFETY: fcinfo is valid during the call; its context is checked before it is read as CallContext.
    unsafe {
        let context = (*fcinfo).context;
        crate::pg::parse::nodes::tag(context) == pg_sys::NodeTag::T_CallContext
            && !(*context.cast::<pg_sys::CallContext>()).atomic
            && !pg_sys::SPI_inside_nonatomic_context()
    }
}

/// Looks again and again, until `look` says that there is nothing to wait for; in between no snapshot is held, so that nobody waits for this
/// session. Only where [`may_end_transactions`].
pub fn waiting<T>(mut look: impl FnMut() -> Result<Option<T>, ErrorReport>) -> Result<T, ErrorReport> {
    // SAFETY: as below. SPI_commit gives every snapshot up, that of the CALL included.
    unsafe {
        pg_sys::SPI_connect_ext(pg_sys::SPI_OPT_NONATOMIC as i32);
        let (start, mut pause) = (Instant::now(), 2);
        let found = loop {
            pg_sys::SPI_commit();
            pg_sys::XactIsoLevel = pg_sys::XACT_READ_COMMITTED as i32;
            if let Some(found) = look()? {
                break found;
            }
            pg_sys::SPI_commit();
            let wake = pg_sys::WL_LATCH_SET | pg_sys::WL_TIMEOUT | pg_sys::WL_EXIT_ON_PM_DEATH;
            pg_sys::WaitLatch(pg_sys::MyLatch, wake as i32, pause, pg_sys::PG_WAIT_EXTENSION);
            pg_sys::ResetLatch(pg_sys::MyLatch);
            pgrx::check_for_interrupts!();
            // What has taken long may take longer.
            pause = (pause * 2).min(if start.elapsed() < Duration::from_secs(5) { 20 } else { 200 });
        };
        pg_sys::SPI_finish();
        Ok(found)
    }
}

/// Runs `step` again and again until it says that there is no more to do, each time in a transaction of its own that has taken no
/// snapshot yet, may write, and commits durably, whatever the session's defaults are. Only where [`may_end_transactions`].
pub fn in_own_transactions(mut step: impl FnMut() -> Result<bool, ErrorReport>) -> Result<(), ErrorReport> {
    // SAFETY: connect, commit and finish in order, as spi.c wants it of a procedure; each call is guarded, so that an error unwinds,
    // and SPI is closed when the transaction aborts. SPI_commit starts the next transaction, whose characteristics are set
    // before it takes a snapshot.
    unsafe {
        pg_sys::SPI_connect_ext(pg_sys::SPI_OPT_NONATOMIC as i32);
        loop {
            pg_sys::SPI_commit();
            pg_sys::XactReadOnly = false;
            pg_sys::XactIsoLevel = pg_sys::XACT_READ_COMMITTED as i32;
            set_local(c"synchronous_commit", c"local");
            // Nothing may be sent to a client that does not read, while a lock is held.
            set_local(c"client_min_messages", c"error");
            if !step()? {
                break;
            }
        }
        pg_sys::SPI_commit();
        pg_sys::SPI_finish();
    }
    Ok(())
}
