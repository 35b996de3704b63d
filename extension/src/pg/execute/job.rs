//! Workers of jobs: started when the transaction commits that asks for them, connected as the login that asked.

use crate::error::unpacked;
use crate::pg::callback::never_raising;
use crate::pg::execute::top_level_only;
use crate::pg::failure::Failure;
use crate::pg::ffi;
use crate::pg::hooks::entry;
use crate::pg::pg_error::PgError;
use crate::pg::session::identity::set_local;
use crate::pg::session::pinned::{self, has_open_cursors};
use crate::pg::workers::shared;
use pgrx::bgworkers::BackgroundWorkerBuilder;
use pgrx::pg_sys::panic::{CaughtError, ErrorReport};
use pgrx::{PgLogLevel, PgSqlErrorCode, PgTryBuilder, pg_sys};
use runbook_core::report::Report;
use std::cell::{Cell, RefCell};
use std::ffi::{CString, c_int};
use std::panic::{AssertUnwindSafe, UnwindSafe};
use std::time::Duration;

thread_local! {
    /// Jobs whose workers start when the transaction at hand commits: job, and OID of the login.
    static ASKED: RefCell<Vec<(i64, u32)>> = const { RefCell::new(Vec::new()) };
    /// Workers whose statements are cancelled then, each with the subtransaction that asked for it.
    static INTERRUPTED: RefCell<Vec<(u32, i32)>> = const { RefCell::new(Vec::new()) };
    static DATABASE: Cell<u32> = const { Cell::new(0) };
    /// The job about which this session was last told that no worker is to be had.
    static WARNED: Cell<i64> = const { Cell::new(0) };
}

/// Has a worker started when the transaction commits. What a savepoint takes back leaves a worker that finds no job.
pub fn start_at_commit(job: i64, login: u32) {
    crate::pg::execute::transaction::current();
    ASKED.with_borrow_mut(|asked| asked.push((job, login)));
}

/// Has a worker's statement cancelled when the transaction commits.
pub fn interrupt_at_commit(pid: i32) {
    let at = crate::pg::execute::transaction::current();
    INTERRUPTED.with_borrow_mut(|interrupted| interrupted.push((at, pid)));
}

/// A subtransaction has been rolled back.
pub fn rolled_back(own: u32) {
    INTERRUPTED.with_borrow_mut(|interrupted| interrupted.retain(|(at, _)| *at != own));
}

/// A subtransaction is part of its parent now.
pub fn merged(own: u32, parent: u32) {
    INTERRUPTED.with_borrow_mut(|interrupted| {
        interrupted.iter_mut().filter(|(at, _)| *at == own).for_each(|(at, _)| *at = parent);
    });
}

/// The transaction has ended.
pub fn over(committed: bool) {
    for (_, pid) in INTERRUPTED.take().into_iter().filter(|_| committed) {
        // SAFETY: SIGINT to a backend of this server, if there still is one of that number, cancels its statement.
        unsafe {
            if !pg_sys::BackendPidGetProc(pid).is_null() {
                ffi::kill(pid, 2);
            }
        }
    }
    for (job, login) in ASKED.take() {
        if committed {
            start(job, login);
        }
    }
}

/// Starts a worker; false if no slot is free: whoever seals here next looks for the job then.
pub fn start(job: i64, login: u32) -> bool {
    // SAFETY: set before any SQL runs.
    let database = unsafe { pg_sys::MyDatabaseId }.to_u32();
    let started = BackgroundWorkerBuilder::new(&format!("pg_runbook job {job}"))
        .set_type("pg_runbook job")
        .set_library("pg_runbook")
        .set_function("runbook_job_main")
        .enable_spi_access()
        .set_extra(&format!("{job} {database} {login}"))
        .load_dynamic()
        .is_ok();
    if !started {
        shared::mark_unsealed(None);
        if WARNED.replace(job) != job {
            let message = format!("no worker slot is free for job {job}; it starts as soon as there is one");
            ErrorReport::new(PgSqlErrorCode::ERRCODE_CONFIGURATION_LIMIT_EXCEEDED, message, "start")
                .set_hint("To have more of them, raise max_worker_processes and restart the server.")
                .report(PgLogLevel::WARNING);
        }
    }
    started
}

/// The main function of a job's worker.
///
/// # Safety
/// Called by PostgreSQL in a new process, with job, database and login as its extra text.
#[unsafe(no_mangle)]
#[pgrx::pg_guard]
pub unsafe extern "C-unwind" fn runbook_job_main(_argument: pg_sys::Datum) {
    let extra = pgrx::bgworkers::BackgroundWorker::get_extra().to_owned();
    let mut words = extra.split(' ');
    let job: i64 = words.next().and_then(|word| word.parse().ok()).unwrap_or(0);
    let mut oid = || words.next().and_then(|word| word.parse::<u32>().ok()).unwrap_or(0);
    let (database, login) = (oid(), oid());
    // SAFETY: as a session's: ended between statements and inside of them, where that is safe. The connection is made once.
    unsafe {
        pg_sys::pqsignal(pg_sys::SIGTERM as c_int, Some(ffi::die));
        pg_sys::BackgroundWorkerUnblockSignals();
        pg_sys::BackgroundWorkerInitializeConnectionByOid(pg_sys::Oid::from(database), pg_sys::Oid::from(login), 0);
        DATABASE.set(database);
        pg_sys::on_shmem_exit(Some(ends), pg_sys::Datum::from(0));
    }
    top_level_only::install();
    crate::pg::fault::at("job");
    entry::work(job);
    // Its work is done, or somebody has to be asked.
    DATABASE.set(0);
}

/// A worker that ends before its time leaves a job that somebody must take up: whoever seals looks for it. Its transaction is rolled back by now, and
/// its locks are free.
unsafe extern "C-unwind" fn ends(_code: c_int, _argument: pg_sys::Datum) {
    let database = DATABASE.get();
    if database != 0 {
        never_raising("at the end of a job's worker", || {
            crate::pg::fault::at("job_exit");
            shared::mark_unsealed(Some(database));
        });
    }
}

/// How a transaction of the worker's ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Commit {
    /// When it is on disk, as the session's parameters say.
    Durably,
    /// At once: it is on disk before anything that comes after it.
    InOrder,
}

/// Runs `body` in a transaction of its own, with a snapshot; whatever goes wrong, the transaction is over afterwards.
///
/// # Errors
/// The error, as data.
pub fn transaction<T>(commit: Commit, body: impl FnOnce() -> Result<T, Failure>) -> Result<T, Report> {
    // SAFETY: a worker outside of any transaction; what is started is committed or aborted below.
    unsafe {
        pg_sys::SetCurrentStatementStartTimestamp();
        pg_sys::StartTransactionCommand();
        // Whatever the database sets for its sessions.
        pg_sys::XactReadOnly = false;
        pg_sys::XactIsoLevel = pg_sys::XACT_READ_COMMITTED as i32;
        pg_sys::PushActiveSnapshot(pg_sys::GetTransactionSnapshot());
    }
    let body: Box<dyn FnOnce() -> Result<T, Failure> + UnwindSafe> = Box::new(AssertUnwindSafe(body));
    let done = PgTryBuilder::new(move || {
        if commit == Commit::InOrder {
            set_local(c"synchronous_commit", c"off");
        }
        let done = match body() {
            Ok(done) => Ok(done),
            Err(Failure::PgError(caught)) => Err(caught.report()),
            // Only a report that was raised tells its SQLSTATE.
            Err(Failure::Report(report)) => {
                report.report(PgLogLevel::ERROR);
                Err(Report::default())
            }
        };
        if done.is_ok() {
            // A cursor WITH HOLD would run its query during the commit, as the login.
            if has_open_cursors() {
                return Err(Report {
                    sqlstate: "0A000".to_owned(),
                    message: "a revision leaves a cursor WITH HOLD open".to_owned(),
                    hint: "Declare it WITHOUT HOLD, or CLOSE it in the revision.".to_owned(),
                    ..Report::default()
                });
            }
            // SAFETY: pushed above; what was started above ends here.
            unsafe {
                if pg_sys::ActiveSnapshotSet() {
                    pg_sys::PopActiveSnapshot();
                }
                pg_sys::CommitTransactionCommand();
            }
        }
        done
    })
    .catch_others(|caught| Err(report_of(&caught)))
    .execute();
    // SAFETY: as above; a transaction that has committed is over.
    unsafe {
        if pg_sys::IsTransactionState() || pg_sys::IsAbortedTransactionBlockState() {
            pg_sys::AbortCurrentTransaction();
        }
    }
    done
}

/// What was raised, as data.
fn report_of(caught: &CaughtError) -> Report {
    let (CaughtError::PostgresError(report)
    | CaughtError::ErrorReport(report)
    | CaughtError::RustPanic { ereport: report, .. }) = caught;
    Report {
        sqlstate: unpacked(report.sql_error_code() as i32),
        message: report.message().to_owned(),
        detail: report.detail().unwrap_or_default().to_owned(),
        hint: report.hint().unwrap_or_default().to_owned(),
        routine: report.function_name().unwrap_or_default().to_owned(),
        ..Report::default()
    }
}

/// Sleeps until the time is up or the latch is set; true if the worker's statement is to be cancelled. Outside of any transaction.
pub fn sleep(duration: Duration) -> bool {
    // SAFETY: the process's own latch. A request to end it ends it here, where nothing is held.
    unsafe {
        let wake = pg_sys::WL_LATCH_SET | pg_sys::WL_TIMEOUT | pg_sys::WL_EXIT_ON_PM_DEATH;
        pg_sys::WaitLatch(
            pg_sys::MyLatch,
            wake as i32,
            i64::try_from(duration.as_millis()).unwrap_or(1000),
            pg_sys::PG_WAIT_EXTENSION,
        );
        pg_sys::ResetLatch(pg_sys::MyLatch);
        if pg_sys::ProcDiePending != 0 {
            pgrx::check_for_interrupts!();
        }
        let cancelled = pg_sys::QueryCancelPending != 0;
        if cancelled {
            pg_sys::QueryCancelPending = 0;
        }
        cancelled
    }
}

/// Shows what the worker does, in `pg_stat_activity`.
pub fn show(text: &str) {
    let text = CString::new(text.replace('\0', "")).unwrap_or_default();
    // SAFETY: the text is copied.
    unsafe { pg_sys::pgstat_report_activity(pg_sys::BackendState::STATE_RUNNING, text.as_ptr()) };
}

/// Sets a parameter for the worker's life.
pub fn set_parameter(name: &str, value: &str) -> Result<(), PgError> {
    let (name, value) = (CString::new(name).unwrap_or_default(), CString::new(value).unwrap_or_default());
    // SAFETY: a worker, inside a transaction.
    unsafe { pinned::set_parameter(&name, &value, pg_sys::GucAction::GUC_ACTION_SET) }
}

/// Takes back every parameter that a statement at top level may have set. Inside a transaction.
pub fn reset_parameters() {
    // SAFETY: what RESET ALL does.
    unsafe { pg_sys::ResetAllOptions() };
}

/// Forgets what a revision may have left in the session: prepared statements and temporary tables. Inside a transaction.
pub fn forget_session() {
    // SAFETY: what DISCARD does; nothing of ours is among it.
    unsafe {
        pg_sys::DropAllPreparedStatements();
        pg_sys::ResetTempTableNamespace();
    }
}

/// Whether the session still is that login's, and acts as that role outside of revisions.
pub fn is_acting_as(login: u32, role: u32) -> bool {
    // SAFETY: reads statics of miscinit.c.
    unsafe { pg_sys::GetSessionUserId().to_u32() == login && pg_sys::GetOuterUserId().to_u32() == role }
}

/// Makes a role the one in force, as SET ROLE does.
pub fn become_role(role: u32) {
    let role = pg_sys::Oid::from(role);
    // SAFETY: a role that exists; inside a transaction.
    unsafe { pg_sys::SetCurrentRoleId(role, pg_sys::superuser_arg(role)) };
}

/// While it lives, a role is in force for statements at top level, which end transactions.
pub struct Acting {
    role: pg_sys::Oid,
    context: c_int,
}

impl Acting {
    /// Switches; outside of any transaction.
    pub fn enter(role: u32) -> Self {
        let (mut before, mut context) = (pg_sys::InvalidOid, 0);
        // SAFETY: restored on drop. A statement that fails is aborted into the identity that its transaction began with, which is this one.
        unsafe {
            pg_sys::GetUserIdAndSecContext(&mut before, &mut context);
            // The switch that SQL can't undo, as in [`crate::pg::session::pinned::Pinned`].
            let restricted = context | pg_sys::SECURITY_LOCAL_USERID_CHANGE as c_int;
            pg_sys::SetUserIdAndSecContext(pg_sys::Oid::from(role), restricted);
        }
        Self { role: before, context }
    }
}

impl Drop for Acting {
    fn drop(&mut self) {
        // SAFETY: restores what `enter` read.
        unsafe { pg_sys::SetUserIdAndSecContext(self.role, self.context) };
    }
}

/// This process's number.
pub fn pid() -> i32 {
    // SAFETY: set when the process starts.
    unsafe { pg_sys::MyProcPid }
}
