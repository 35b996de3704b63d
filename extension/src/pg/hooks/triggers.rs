//! Triggers of protected tables, in C: the row trigger is called for every row that is changed, and counts.
//!
//! They are ENABLE ALWAYS, so that they also fire for what logical replication applies.

use crate::error::refusal;
use crate::pg::execute::transaction::undone;
use crate::pg::hooks::entry;
use crate::pg::hooks::events::portal;
use crate::pg::hooks::statement_at_hand::local_transaction;
use crate::pg::parse::nodes;
use crate::pg::session::identity::{Moment, moment};
use crate::pg::session::latest::rules_version;
use crate::pg::strings::text;
use crate::pg::{clock, fault};
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::pg_sys::{self, NodeTag};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::ffi::CStr;
use std::time::{Duration, Instant};

/// The rows that a transaction has changed in protected tables with what belongs to them, by OID.
#[derive(Default)]
struct Counts {
    transaction: u32,
    rows: HashMap<u32, i64>,
    /// What earlier transactions of the same revision have changed, in a worker.
    before: HashMap<u32, i64>,
    /// The table of which the statement at hand may change more, by what the guard has said of it.
    allowed: Option<(u32, Statement, Instant)>,
}

/// How long an answer of the guard holds for further rows of the same statement.
const ASK_AGAIN: Duration = Duration::from_millis(50);

/// A statement, the permission under which it runs, and how much has been rolled back: what is allowed ends with any of them.
type Statement = (Moment, Permission, u64);

/// How often permissions have changed, the version of the rules, whether the time of the present permission is up, and the portal: what is
/// put off to the commit runs in none, and has none of the permits.
pub type Permission = (u64, u64, bool, usize);

thread_local! {
    static COUNTS: RefCell<Counts> = RefCell::default();
    static OF_A_REVISION: Cell<bool> = const { Cell::new(false) };
    static PERMISSION: Cell<u64> = const { Cell::new(0) };
    static PERMISSION_ENDS: Cell<i64> = const { Cell::new(i64::MAX) };
}

/// Says that another permission is in force from here on, or none any more.
pub fn permission_changes() {
    PERMISSION.set(PERMISSION.get() + 1);
}

/// Says when the permission ends by itself, in microseconds since 1970.
pub fn permission_ends(at: i64) {
    PERMISSION_ENDS.set(at);
}

/// The permission that is in force: what was found out under another one may not be so any more.
pub fn permission() -> Permission {
    (PERMISSION.get(), rules_version(), clock::micros() >= PERMISSION_ENDS.get(), portal())
}

/// Counts a row under `tree`; whether it is one too many. What a savepoint takes back has been counted all the same.
fn is_too_many(tree: u32, limit: i64) -> bool {
    // SAFETY: a trigger runs in a backend.
    let transaction = unsafe { local_transaction() };
    COUNTS.with_borrow_mut(|counts| {
        if counts.transaction != transaction {
            *counts = Counts { transaction, before: std::mem::take(&mut counts.before), ..Counts::default() };
        }
        let rows = counts.rows.entry(tree).or_default();
        *rows += 1;
        *rows + counts.before.get(&tree).copied().unwrap_or(0) > limit
    })
}

/// A worker begins with a revision: rows of all its transactions count together, be they batches or statements of their own.
pub fn count_for_a_revision() {
    COUNTS.take();
    OF_A_REVISION.set(true);
}

/// A transaction has ended: what it has committed counts on, and what it has rolled back will be done again.
pub fn over(committed: bool) {
    if OF_A_REVISION.get() {
        COUNTS.with_borrow_mut(|counts| {
            for (tree, rows) in std::mem::take(&mut counts.rows) {
                *counts.before.entry(tree).or_default() += if committed { rows } else { 0 };
            }
        });
    }
}

/// The trigger data of a call; an error if it is none.
unsafe fn data(fcinfo: pg_sys::FunctionCallInfo) -> Result<*mut pg_sys::TriggerData, ErrorReport> {
    // SAFETY: fcinfo is valid during the call; its context is checked before it is read as TriggerData.
    let context = unsafe { (*fcinfo).context };
    if nodes::tag(context) == NodeTag::T_TriggerData {
        Ok(context.cast())
    } else {
        Err(refusal("39P01", "this function can only be called by a trigger", None, None))
    }
}

fn raise(result: Result<(), ErrorReport>) {
    if let Err(report) = result {
        report.report(pgrx::PgLogLevel::ERROR);
    }
}

/// BEFORE DELETE OR UPDATE FOR EACH ROW; its arguments are the limit, and the OID of the table that was protected.
///
/// # Safety
/// Called by PostgreSQL's trigger manager.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn runbook_guard_rows(fcinfo: pg_sys::FunctionCallInfo) -> pg_sys::Datum {
    // SAFETY: the trigger data is checked; a row trigger has a relation, a trigger with the declared argument, and a row. The frame
    // holds nothing to drop.
    unsafe {
        let trigger = match data(fcinfo) {
            Ok(trigger) => trigger,
            Err(report) => {
                return pg_sys::panic::pgrx_extern_c_guard(|| {
                    raise(Err(report));
                    pg_sys::Datum::from(0)
                });
            }
        };
        let updates = (*trigger).tg_event & pg_sys::TRIGGER_EVENT_OPMASK == pg_sys::TRIGGER_EVENT_UPDATE;
        let table = (*(*trigger).tg_relation).rd_id.to_u32();
        let definition = &*(*trigger).tg_trigger;
        let row = pg_sys::Datum::from(if updates { (*trigger).tg_newtuple } else { (*trigger).tg_trigtuple });
        // Anybody may have the function called by a trigger of their own; its arguments mean nothing.
        if CStr::from_ptr(definition.tgname) != ROWS {
            return row;
        }
        let argument = |at: usize| -> Option<i64> {
            let there = usize::try_from(definition.tgnargs).is_ok_and(|count| at < count);
            if there { CStr::from_ptr(*definition.tgargs.add(at)).to_str().ok()?.parse().ok() } else { None }
        };
        let limit = argument(0).unwrap_or(0);
        // Partitions and heirs count together, under the table that was protected.
        let tree = argument(1).and_then(|root| u32::try_from(root).ok()).unwrap_or(table);
        if pg_sys::panic::pgrx_extern_c_guard(|| {
            fault::at("row");
            is_too_many(tree, limit)
        }) {
            pg_sys::panic::pgrx_extern_c_guard(|| {
                let statement = (moment(), permission(), undone());
                // It may have waited for the row.
                let is_known = COUNTS.with_borrow(|counts| {
                    counts
                        .allowed
                        .is_some_and(|(known, then, at)| (known, then) == (table, statement) && at.elapsed() < ASK_AGAIN)
                });
                if !is_known {
                    raise(entry::too_many_rows([table, tree], limit, if updates { "UPDATE" } else { "DELETE" }));
                    COUNTS.with_borrow_mut(|counts| counts.allowed = Some((table, statement, Instant::now())));
                }
            });
        }
        row
    }
}

/// The name of our own triggers for rows, which nobody else can give while the guard is active.
const ROWS: &CStr = c"a_runbook_rows";
const TRUNCATE: &CStr = c"a_runbook_truncate";

/// BEFORE TRUNCATE FOR EACH STATEMENT.
///
/// # Safety
/// Called by PostgreSQL's trigger manager.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn runbook_guard_truncate(fcinfo: pg_sys::FunctionCallInfo) -> pg_sys::Datum {
    // SAFETY: the trigger data is checked; a trigger has a relation.
    unsafe {
        pg_sys::panic::pgrx_extern_c_guard(|| {
            fault::at("truncate");
            raise(data(fcinfo).and_then(|trigger| {
                // Whoever uses it for a trigger of his own gets nothing written down.
                let is_ours = CStr::from_ptr((*(*trigger).tg_trigger).tgname) == TRUNCATE;
                if is_ours { entry::emptied((*(*trigger).tg_relation).rd_id.to_u32()) } else { Ok(()) }
            }));
        });
    }
    pg_sys::Datum::from(0)
}

thread_local! {
    static TAKING: Cell<u32> = const { Cell::new(0) };
}

/// While it lives, rows may leave tables of the ledger: they are being sealed, or archived.
pub struct Taking(());

impl Taking {
    /// Allows it.
    pub fn enter() -> Self {
        TAKING.set(TAKING.get() + 1);
        Self(())
    }
}

impl Drop for Taking {
    fn drop(&mut self) {
        TAKING.set(TAKING.get().saturating_sub(1));
    }
}

/// BEFORE UPDATE OR DELETE OR TRUNCATE on tables of the ledger.
///
/// # Safety
/// Called by PostgreSQL's trigger manager.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn runbook_refuse_change(fcinfo: pg_sys::FunctionCallInfo) -> pg_sys::Datum {
    // SAFETY: the trigger data is checked before it is read; a trigger has a relation. The frame holds nothing to drop.
    unsafe {
        let context = (*fcinfo).context;
        if nodes::tag(context) == NodeTag::T_TriggerData {
            let trigger = &*context.cast::<pg_sys::TriggerData>();
            if trigger.tg_event & pg_sys::TRIGGER_EVENT_OPMASK == pg_sys::TRIGGER_EVENT_DELETE && TAKING.get() > 0 {
                return pg_sys::Datum::from(trigger.tg_trigtuple);
            }
        }
        pg_sys::panic::pgrx_extern_c_guard(|| raise(data(fcinfo).and_then(|trigger| refuse_change(&*trigger))));
    }
    pg_sys::Datum::from(0)
}

/// The error for a change of the ledger.
///
/// # Safety
/// The trigger data is that of a call.
unsafe fn refuse_change(trigger: &pg_sys::TriggerData) -> Result<(), ErrorReport> {
    let operation = match trigger.tg_event & pg_sys::TRIGGER_EVENT_OPMASK {
        pg_sys::TRIGGER_EVENT_UPDATE => "UPDATE",
        pg_sys::TRIGGER_EVENT_DELETE => "DELETE",
        _ => "TRUNCATE",
    };
    // SAFETY: the relation is open; its name is NUL-terminated.
    let table = unsafe { text((*(*trigger.tg_relation).rd_rel).relname.data.as_ptr()) };
    Err(refusal(
        "42501",
        format!("the ledger is append-only: {operation} on runbook.{} is refused", runbook_core::action::quote(&table)),
        Some("Entries are evidence; no one can change or remove them.".to_owned()),
        Some("To correct a mistake, make the correct change now; it is recorded too.".to_owned()),
    ))
}

finfo!(pg_finfo_runbook_guard_rows, pg_finfo_runbook_guard_truncate, pg_finfo_runbook_refuse_change);
