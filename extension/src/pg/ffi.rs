//! The C functions that are called as they are, without pgrx in between.
//!
//! A function of `pgrx::pg_sys` catches PostgreSQL's error and makes a Rust panic of it. Under [`trap!`](crate::pg::pg_error) a
//! panic would have to unwind through frames of C, which aborts the process, and an aborted process restarts the whole server.
//! So what is trapped is declared here, and here alone: `trap!` takes pointers of type `unsafe extern "C-unwind" fn`, which
//! the wrappers of pgrx are not. The test `ffi` keeps both true.
//!
//! The functions below that have a body are sequences of such calls. They are frames of C in all but name: they hold nothing
//! that wants dropping, and call nothing but what is declared here.

use pgrx::pg_sys;
use std::ffi::{CStr, c_char, c_int, c_long};

unsafe extern "C-unwind" {
    pub fn AtEOXact_LargeObject(is_commit: bool);
    pub fn Async_Listen(channel: *const c_char);
    pub fn Async_UnlistenAll();
    pub fn CommitTransactionCommand();
    pub fn CreateCommandTag(tree: *mut pg_sys::Node) -> pg_sys::CommandTag::Type;
    pub fn CreateDestReceiver(kind: pg_sys::CommandDest::Type) -> *mut pg_sys::DestReceiver;
    pub fn CreatePortal(name: *const c_char, replace: bool, silent: bool) -> pg_sys::Portal;
    pub fn GetTransactionSnapshot() -> pg_sys::Snapshot;
    pub fn LockRelationOid(table: pg_sys::Oid, mode: pg_sys::LOCKMODE);
    pub fn LookupFuncWithArgs(
        kind: pg_sys::ObjectType::Type,
        function: *mut pg_sys::ObjectWithArgs,
        missing_ok: bool,
    ) -> pg_sys::Oid;
    pub fn ParamsErrorCallback(argument: *mut std::ffi::c_void);
    pub fn PopActiveSnapshot();
    pub fn PortalDefineQuery(
        portal: pg_sys::Portal,
        prepared: *const c_char,
        source: *const c_char,
        command: pg_sys::CommandTag::Type,
        plans: *mut pg_sys::List,
        cached: *mut pg_sys::CachedPlan,
    );
    pub fn PortalDrop(portal: pg_sys::Portal, top_commit: bool);
    #[cfg(not(feature = "pg18"))]
    pub fn PortalRun(
        portal: pg_sys::Portal,
        count: c_long,
        top_level: bool,
        run_once: bool,
        receiver: *mut pg_sys::DestReceiver,
        other: *mut pg_sys::DestReceiver,
        completion: *mut pg_sys::QueryCompletion,
    ) -> bool;
    #[cfg(feature = "pg18")]
    pub fn PortalRun(
        portal: pg_sys::Portal,
        count: c_long,
        top_level: bool,
        receiver: *mut pg_sys::DestReceiver,
        other: *mut pg_sys::DestReceiver,
        completion: *mut pg_sys::QueryCompletion,
    ) -> bool;
    pub fn PortalStart(portal: pg_sys::Portal, parameters: pg_sys::ParamListInfo, flags: c_int, snapshot: pg_sys::Snapshot);
    pub fn PushActiveSnapshot(snapshot: pg_sys::Snapshot);
    pub fn find_all_inheritors(
        table: pg_sys::Oid,
        mode: pg_sys::LOCKMODE,
        numbers: *mut *mut pg_sys::List,
    ) -> *mut pg_sys::List;
    pub fn ReThrowError(data: *mut pg_sys::ErrorData) -> !;
    pub fn SPI_connect() -> c_int;
    pub fn SPI_execute(source: *const c_char, read_only: bool, count: c_long) -> c_int;
    pub fn SPI_execute_snapshot(
        plan: pg_sys::SPIPlanPtr,
        values: *mut pg_sys::Datum,
        nulls: *const c_char,
        snapshot: pg_sys::Snapshot,
        check: pg_sys::Snapshot,
        read_only: bool,
        fire_triggers: bool,
        most: c_long,
    ) -> c_int;
    pub fn SPI_execute_with_args(
        source: *const c_char,
        count: c_int,
        types: *mut pg_sys::Oid,
        values: *mut pg_sys::Datum,
        nulls: *const c_char,
        read_only: bool,
        most: c_long,
    ) -> c_int;
    pub fn SPI_finish() -> c_int;
    pub fn SPI_prepare(source: *const c_char, count: c_int, types: *mut pg_sys::Oid) -> pg_sys::SPIPlanPtr;
    pub fn SetCurrentStatementStartTimestamp();
    pub fn StartTransactionCommand();
    pub fn ThrowErrorData(data: *mut pg_sys::ErrorData);
    pub fn analyze_requires_snapshot(tree: *mut pg_sys::RawStmt) -> bool;
    pub fn die(signal: c_int);
    pub fn enable_timeout_after(id: c_int, delay: c_int);
    pub fn errcode(code: c_int) -> c_int;
    pub fn errfinish(file: *const c_char, line: c_int, function: *const c_char);
    pub fn errhint(format: *const c_char, ...) -> c_int;
    pub fn errmsg(format: *const c_char, ...) -> c_int;
    pub fn errstart(level: c_int, domain: *const c_char) -> bool;
    pub fn getObjectIdentity(address: *const pg_sys::ObjectAddress, missing_ok: bool) -> *mut c_char;
    pub fn getObjectTypeDescription(address: *const pg_sys::ObjectAddress, missing_ok: bool) -> *mut c_char;
    pub fn get_domain_constraint_oid(domain: pg_sys::Oid, name: *const c_char, missing_ok: bool) -> pg_sys::Oid;
    pub fn get_relation_constraint_oid(relation: pg_sys::Oid, name: *const c_char, missing_ok: bool) -> pg_sys::Oid;
    pub fn get_relation_policy_oid(relation: pg_sys::Oid, name: *const c_char, missing_ok: bool) -> pg_sys::Oid;
    pub fn get_rewrite_oid(relation: pg_sys::Oid, name: *const c_char, missing_ok: bool) -> pg_sys::Oid;
    pub fn get_role_oid(name: *const c_char, missing_ok: bool) -> pg_sys::Oid;
    pub fn get_subscription_oid(name: *const c_char, missing_ok: bool) -> pg_sys::Oid;
    pub fn has_superclass(relation: pg_sys::Oid) -> bool;
    pub fn kill(pid: c_int, signal: c_int) -> c_int;
    pub fn pg_analyze_and_rewrite_fixedparams(
        tree: *mut pg_sys::RawStmt,
        source: *const c_char,
        types: *const pg_sys::Oid,
        count: c_int,
        environment: *mut pg_sys::QueryEnvironment,
    ) -> *mut pg_sys::List;
    pub fn pg_parse_query(query: *const c_char) -> *mut pg_sys::List;
    pub fn pg_plan_queries(
        queries: *mut pg_sys::List,
        source: *const c_char,
        options: c_int,
        parameters: pg_sys::ParamListInfo,
    ) -> *mut pg_sys::List;
    pub fn set_config_option(
        name: *const c_char,
        value: *const c_char,
        context: pg_sys::GucContext::Type,
        source: pg_sys::GucSource::Type,
        action: pg_sys::GucAction::Type,
        change: bool,
        level: c_int,
        is_reload: bool,
    ) -> c_int;
    pub fn standard_ExecutorStart(query: *mut pg_sys::QueryDesc, flags: c_int);
    pub fn standard_ProcessUtility(
        statement: *mut pg_sys::PlannedStmt,
        query: *const c_char,
        read_only: bool,
        context: pg_sys::ProcessUtilityContext::Type,
        parameters: pg_sys::ParamListInfo,
        environment: *mut pg_sys::QueryEnvironment,
        destination: *mut pg_sys::DestReceiver,
        completion: *mut pg_sys::QueryCompletion,
    );
    #[cfg(feature = "pg15")]
    pub fn stringToQualifiedNameList(text: *const c_char) -> *mut pg_sys::List;
    #[cfg(not(feature = "pg15"))]
    #[link_name = "stringToQualifiedNameList"]
    fn string_to_qualified_name_list(text: *const c_char, errors: *mut pg_sys::Node) -> *mut pg_sys::List;
}

/// `stringToQualifiedNameList`, which got a second argument in PostgreSQL 16.
///
/// # Safety
/// A NUL-terminated string.
#[cfg(not(feature = "pg15"))]
#[allow(non_snake_case, reason = "PostgreSQL's name")]
pub unsafe extern "C-unwind" fn stringToQualifiedNameList(text: *const c_char) -> *mut pg_sys::List {
    // SAFETY: as the caller promises; without a place for a soft error it raises.
    unsafe { string_to_qualified_name_list(text, std::ptr::null_mut()) }
}

/// Both descriptions of an object: its kind, and its identity.
pub type Described = (*mut c_char, *mut c_char);

/// What an object is, and what it is called.
///
/// # Safety
/// A live address.
pub unsafe extern "C-unwind" fn describe(address: *const pg_sys::ObjectAddress, into: *mut Described) {
    // SAFETY: as the caller promises; missing_ok.
    unsafe { *into = (getObjectTypeDescription(address, true), getObjectIdentity(address, true)) }
}

/// UNLISTEN *, then LISTEN to these channels.
///
/// # Safety
/// As many NUL-terminated names as `count` says.
pub unsafe extern "C-unwind" fn listen_only_to(channels: *const *const c_char, count: usize) {
    // SAFETY: as the caller promises.
    unsafe {
        Async_UnlistenAll();
        for at in 0..count {
            Async_Listen(*channels.add(at));
        }
    }
}

/// Ends this process, since there is no memory for it.
///
/// # Safety
/// In a process of PostgreSQL.
pub unsafe extern "C-unwind" fn end_without_memory() -> ! {
    // SAFETY: the steps of ereport(FATAL, …), which does not return.
    unsafe {
        if errstart(pgrx::PgLogLevel::FATAL as c_int, std::ptr::null()) {
            errcode(pg_sys::errcodes::PgSqlErrorCode::ERRCODE_OUT_OF_MEMORY as c_int);
            errmsg(c"out of memory".as_ptr());
            errfinish(c"memory.rs".as_ptr(), 0, c"alloc".as_ptr());
        }
    }
    unreachable!("an error report of level FATAL does not return")
}

/// Raises an error with a hint.
///
/// # Safety
/// Both are NUL-terminated.
pub unsafe extern "C-unwind" fn raise_unsupported(message: *const c_char, hint: *const c_char) {
    const PLAIN: &CStr = c"%s";
    // SAFETY: the steps of ereport(ERROR, …); the formats take one string each.
    unsafe {
        if errstart(pgrx::PgLogLevel::ERROR as c_int, std::ptr::null()) {
            errcode(pg_sys::errcodes::PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED as c_int);
            errmsg(PLAIN.as_ptr(), message);
            errhint(PLAIN.as_ptr(), hint);
            errfinish(c"statements.rs".as_ptr(), 0, c"run".as_ptr());
        }
    }
}

/// Executes a text with SPI, and says how many rows it has changed.
///
/// # Safety
/// A NUL-terminated string, inside a transaction.
pub unsafe extern "C-unwind" fn spi_run(source: *const c_char, processed: *mut u64) -> c_int {
    // SAFETY: connect, execute and finish are paired; an error unwinds SPI at the abort of the transaction or subtransaction.
    unsafe {
        SPI_connect();
        let code = SPI_execute(source, false, 0);
        *processed = pg_sys::SPI_processed;
        SPI_finish();
        code
    }
}

/// A text with parameters.
#[derive(Clone, Copy)]
pub struct Query {
    /// NUL-terminated.
    pub source: *const c_char,
    /// How many parameters there are.
    pub count: c_int,
    /// Their types.
    pub types: *mut pg_sys::Oid,
    /// Their values; none is NULL.
    pub values: *mut pg_sys::Datum,
}

/// Connects SPI and executes a text with parameters. SPI stays connected, so that its result can be read.
///
/// # Safety
/// The arrays have `count` members; inside a transaction.
pub unsafe extern "C-unwind" fn spi_query(query: *const Query, read_only: bool) -> c_int {
    // SAFETY: as the caller promises.
    unsafe {
        SPI_connect();
        let Query { source, count, types, values } = *query;
        SPI_execute_with_args(source, count, types, values, std::ptr::null(), read_only, 0)
    }
}

/// [`spi_query`] under a snapshot.
///
/// # Safety
/// As [`spi_query`]; the snapshot is registered.
pub unsafe extern "C-unwind" fn spi_query_under(query: *const Query, snapshot: pg_sys::Snapshot) -> c_int {
    // SAFETY: as the caller promises.
    unsafe {
        SPI_connect();
        let Query { source, count, types, values } = *query;
        let plan = SPI_prepare(source, count, types);
        if plan.is_null() {
            return pg_sys::SPI_result;
        }
        SPI_execute_snapshot(plan, values, std::ptr::null(), snapshot, std::ptr::null_mut(), false, true, 0)
    }
}

/// The steps of `exec_simple_query` (tcop/postgres.c) for a single statement without a result.
///
/// # Safety
/// A NUL-terminated string, and a memory context that outlives transactions; in a worker, outside of any transaction.
pub unsafe extern "C-unwind" fn execute_alone(source: *const c_char, context: pg_sys::MemoryContext) {
    // SAFETY: as the caller promises.
    unsafe {
        SetCurrentStatementStartTimestamp();
        StartTransactionCommand();
        pg_sys::CurrentMemoryContext = context;
        let trees = pg_parse_query(source);
        let tree = (*(*trees).elements).ptr_value.cast::<pg_sys::RawStmt>();
        let command = CreateCommandTag((*tree).stmt);
        let needs_snapshot = analyze_requires_snapshot(tree);
        if needs_snapshot {
            PushActiveSnapshot(GetTransactionSnapshot());
        }
        let queries = pg_analyze_and_rewrite_fixedparams(tree, source, std::ptr::null(), 0, std::ptr::null_mut());
        let plans = pg_plan_queries(queries, source, pg_sys::CURSOR_OPT_PARALLEL_OK as c_int, std::ptr::null_mut());
        if needs_snapshot {
            PopActiveSnapshot();
        }
        let portal = CreatePortal(c"".as_ptr(), true, true);
        (*portal).visible = false;
        PortalDefineQuery(portal, std::ptr::null(), source, command, plans, std::ptr::null_mut());
        PortalStart(portal, std::ptr::null_mut(), 0, std::ptr::null_mut());
        let receiver = CreateDestReceiver(pg_sys::CommandDest::DestNone);
        #[cfg(not(feature = "pg18"))]
        PortalRun(portal, c_long::MAX, true, true, receiver, receiver, std::ptr::null_mut());
        #[cfg(feature = "pg18")]
        PortalRun(portal, c_long::MAX, true, receiver, receiver, std::ptr::null_mut());
        PortalDrop(portal, false);
        CommitTransactionCommand();
        pg_sys::CurrentMemoryContext = pg_sys::TopMemoryContext;
    }
}
