//! Who is asking, and which database this is.

use crate::pg::clock;
use crate::pg::strings::text;
use pgrx::pg_sys;
use std::ffi::{CStr, CString};

/// The login: what SET ROLE and SECURITY DEFINER can't change.
pub fn session_role() -> String {
    // SAFETY: a session user is set in every backend that runs SQL.
    role_name(unsafe { pg_sys::GetSessionUserId() })
}

/// The login that opened the session, if a superuser has since put on another with SET SESSION AUTHORIZATION.
pub fn disguised_login() -> Option<String> {
    // SAFETY: reads statics of miscinit.c.
    let (session, authenticated) = unsafe { (pg_sys::GetSessionUserId(), pg_sys::GetAuthenticatedUserId()) };
    (session != authenticated).then(|| role_name(authenticated))
}

/// Whether the privileges in force are those that the login has chosen itself, and not lent by a SECURITY DEFINER
/// function, an index build or a maintenance command.
pub fn acts_for_itself() -> bool {
    // SAFETY: reads statics of miscinit.c.
    unsafe {
        pg_sys::GetUserId() == pg_sys::GetOuterUserId()
            && !pg_sys::InLocalUserIdChange()
            && !pg_sys::InSecurityRestrictedOperation()
    }
}

/// Whether the login itself is a member of `role`, or a superuser.
pub fn session_is_member(role: &str) -> bool {
    let Ok(role) = CString::new(role) else { return false };
    // SAFETY: NUL-terminated; missing_ok; membership is read from the role cache.
    unsafe {
        let role = pg_sys::get_role_oid(role.as_ptr(), true);
        role != pg_sys::InvalidOid && pg_sys::is_member_of_role(pg_sys::GetSessionUserId(), role)
    }
}

/// The login's OID, which renaming does not change.
pub fn session_oid() -> u32 {
    // SAFETY: a session user is set in every backend that runs SQL.
    unsafe { pg_sys::GetSessionUserId() }.to_u32()
}

/// The OID of the role whose privileges are in force.
pub fn current_oid() -> u32 {
    // SAFETY: reads a static of miscinit.c.
    unsafe { pg_sys::GetUserId() }.to_u32()
}

/// The present name of a role; `None` if it is gone.
pub fn name_of_role(oid: u32) -> Option<String> {
    Some(role_name(pg_sys::Oid::from(oid))).filter(|name| !name.is_empty())
}

/// Whether a role is a member of another: by grants alone, or, where `superusers` count, also by being a superuser.
pub fn is_member(member: u32, role: &str, superusers: bool) -> bool {
    let Ok(role) = CString::new(role) else { return false };
    let member = pg_sys::Oid::from(member);
    // SAFETY: NUL-terminated; missing_ok; membership is read from the role cache.
    unsafe {
        let role = pg_sys::get_role_oid(role.as_ptr(), true);
        role != pg_sys::InvalidOid
            && if superusers {
                pg_sys::is_member_of_role(member, role)
            } else {
                pg_sys::is_member_of_role_nosuper(member, role)
            }
    }
}

/// The client's statement at hand: when its transaction and when it itself began. They differ for any later message; one message may hold
/// several transactions, which [`undone`](crate::pg::execute::transaction::undone) tells apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment(i64, i64);

/// The moment of the call at hand.
pub fn moment() -> Moment {
    // SAFETY: reads statics of xact.c.
    unsafe { Moment(pg_sys::GetCurrentTransactionStartTimestamp(), pg_sys::GetCurrentStatementStartTimestamp()) }
}

/// When the client's statement began, in microseconds since 1970.
pub fn statement_start() -> i64 {
    // SAFETY: reads a static of xact.c.
    unsafe { pg_sys::GetCurrentStatementStartTimestamp() + clock::POSTGRES_EPOCH }
}

/// How many triggers are running around the call at hand.
pub fn trigger_depth() -> i32 {
    // SAFETY: pg_trigger_depth() takes no argument and reads a static of trigger.c.
    unsafe { pgrx::direct_function_call::<i32>(pg_sys::pg_trigger_depth, &[]) }.unwrap_or(0)
}

/// The role whose privileges are in force.
pub fn current_role() -> String {
    // SAFETY: reads a static of miscinit.c.
    role_name(unsafe { pg_sys::GetUserId() })
}

fn role_name(role: pg_sys::Oid) -> String {
    // SAFETY: missing_ok: a role that was dropped meanwhile gives null.
    unsafe { text(pg_sys::GetUserNameFromId(role, true)) }
}

/// The database cluster's identifier and this database's OID: what an activation or an approval is bound to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Database {
    /// `system_identifier` of pg_control, as text.
    pub system_identifier: String,
    /// OID in pg_database.
    pub oid: u32,
}

/// The database of this session.
pub fn database() -> Database {
    // SAFETY: both are set before any SQL runs.
    let (system, oid) = unsafe { (pg_sys::GetSystemIdentifier(), pg_sys::MyDatabaseId) };
    Database { system_identifier: system.to_string(), oid: oid.to_u32() }
}

/// The name of a database, for people: in whatever encoding that database has it.
pub fn name_of_database(oid: u32) -> String {
    // SAFETY: null if there is no such database; a NUL-terminated copy otherwise.
    unsafe { text(pg_sys::get_database_name(pg_sys::Oid::from(oid))) }
}

/// The transaction's 64-bit id; assigns one.
pub fn transaction_id() -> u64 {
    // SAFETY: called inside a transaction that writes.
    unsafe { pg_sys::GetTopFullTransactionId().value }
}

/// The transaction's 64-bit id, if it has one: it gets it when it first writes.
pub fn transaction_id_if_any() -> Option<u64> {
    // SAFETY: called inside a transaction.
    let id = unsafe { pg_sys::GetTopFullTransactionIdIfAny().value };
    (id != 0).then_some(id)
}

/// Whether the transaction has an id.
pub fn transaction_has_id() -> bool {
    transaction_id_if_any().is_some()
}

/// Whether the client has opened a transaction block, so that statements may follow in the transaction.
pub fn in_transaction_block() -> bool {
    // SAFETY: reads the transaction state.
    unsafe { pg_sys::IsTransactionBlock() }
}

/// `application_name`, as the client claims it.
pub fn application_name() -> String {
    config("application_name").unwrap_or_default()
}

/// A configuration parameter's value.
pub fn config(name: &str) -> Option<String> {
    let name = CString::new(name).ok()?;
    // SAFETY: missing_ok, and no privilege restriction for a parameter that anybody may read.
    let value = unsafe { pg_sys::GetConfigOption(name.as_ptr(), true, false) };
    // SAFETY: null or a NUL-terminated string that stays valid until the next call.
    (!value.is_null()).then(|| unsafe { text(value) })
}

/// While it lives, the session acts as the bootstrap superuser; then as before. For our own tables only: no text that
/// a caller wrote may run under it.
pub struct AsOwner {
    role: pg_sys::Oid,
    context: i32,
    nest_level: Option<i32>,
}

/// The search path of our own SQL. It is qualified throughout; this is the second lock on the same door.
const OWN_SEARCH_PATH: &CStr = c"pg_catalog, pg_temp";
/// The one that our functions declare, which is as good.
const DECLARED_SEARCH_PATH: &CStr = c"pg_catalog, runbook, pg_temp";

impl AsOwner {
    /// Switches.
    pub fn enter() -> Self {
        let (mut role, mut context) = (pg_sys::InvalidOid, 0);
        // SAFETY: the pair is restored on drop, and by PostgreSQL itself when a transaction aborts.
        unsafe {
            pg_sys::GetUserIdAndSecContext(&mut role, &mut context);
            let restricted = context | pg_sys::SECURITY_LOCAL_USERID_CHANGE as i32;
            pg_sys::SetUserIdAndSecContext(pg_sys::Oid::from(pg_sys::BOOTSTRAP_SUPERUSERID), restricted);
        }
        OWN_SQL.set(OWN_SQL.get() + 1);
        Self { role, context, nest_level: pin_search_path() }
    }
}

thread_local! {
    static OWN_SQL: std::cell::Cell<u32> = const { std::cell::Cell::new(0) };
}

/// While it lives, statements at top level count as SQL of our own.
pub struct OwnStatements;

impl OwnStatements {
    /// Switches.
    pub fn enter() -> Self {
        OWN_SQL.set(OWN_SQL.get() + 1);
        Self
    }
}

impl Drop for OwnStatements {
    fn drop(&mut self) {
        OWN_SQL.set(OWN_SQL.get().saturating_sub(1));
    }
}

/// Whether SQL of our own is running, and not a caller's.
pub fn is_own_sql() -> bool {
    OWN_SQL.get() > 0
}

/// Leaves SQL of our own, or comes back to it: how deep the session is in it, 0 outside. Returns how deep it was.
pub fn replace_own_sql(depth: u32) -> u32 {
    OWN_SQL.replace(depth)
}

impl Drop for AsOwner {
    fn drop(&mut self) {
        OWN_SQL.set(OWN_SQL.get().saturating_sub(1));
        // SAFETY: restores what `enter` read.
        unsafe {
            if let Some(nest_level) = self.nest_level {
                pg_sys::AtEOXact_GUC(false, nest_level);
            }
            pg_sys::SetUserIdAndSecContext(self.role, self.context);
        }
    }
}

/// Pins the search path unless it is ours already, as inside the functions that declare it.
fn pin_search_path() -> Option<i32> {
    // SAFETY: namespace_search_path is the parameter's string, never null once a backend runs SQL; the nest level is closed
    // by the guard's drop or by the transaction's abort.
    unsafe {
        let current = pg_sys::namespace_search_path;
        if !current.is_null() && [OWN_SEARCH_PATH, DECLARED_SEARCH_PATH].contains(&CStr::from_ptr(current)) {
            return None;
        }
        let nest_level = pg_sys::NewGUCNestLevel();
        set(c"search_path", OWN_SEARCH_PATH, pg_sys::GucAction::GUC_ACTION_SAVE);
        Some(nest_level)
    }
}

/// Sets a parameter that anybody may set, for the transaction at hand.
pub fn set_local(name: &CStr, value: &CStr) {
    set(name, value, pg_sys::GucAction::GUC_ACTION_LOCAL);
}

/// Sets a parameter that anybody may set.
fn set(name: &CStr, value: &CStr, action: pg_sys::GucAction::Type) {
    // SAFETY: both strings are NUL-terminated; a parameter that takes the value.
    unsafe {
        pg_sys::set_config_option(
            name.as_ptr(),
            value.as_ptr(),
            pg_sys::GucContext::PGC_USERSET,
            pg_sys::GucSource::PGC_S_SESSION,
            action,
            true,
            0,
            false,
        );
    }
}

/// Marks this session as one in which the glass is broken. The mark goes with the transaction, if that rolls back.
pub fn mark_glass(id: &str) {
    let value = CString::new(id).unwrap_or_default();
    set(c"runbook.glass", &value, pg_sys::GucAction::GUC_ACTION_SET);
}

/// Whether the transaction is read-only, so that nothing can be written in it.
pub fn is_read_only() -> bool {
    // SAFETY: reads a static of xact.c.
    unsafe { pg_sys::XactReadOnly }
}

/// The value of `session_replication_role`, where it is not `origin`: ordinary triggers don't fire then.
pub fn replication_role() -> Option<&'static str> {
    // SAFETY: reads a static of trigger.c.
    match unsafe { pg_sys::SessionReplicationRole } {
        1 => Some("replica"),
        2 => Some("local"),
        _ => None,
    }
}

/// Whether the server is a standby, or recovering.
pub fn in_recovery() -> bool {
    // SAFETY: reads a static of xlog.c.
    unsafe { pg_sys::RecoveryInProgress() }
}

/// Makes misspelt parameters of ours an error instead of a silent placeholder.
pub fn reserve_parameters() {
    // SAFETY: a static string; called once, at library load.
    unsafe { pg_sys::MarkGUCPrefixReserved(c"runbook".as_ptr()) }
}
