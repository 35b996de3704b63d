//! What a statement under an approval may not enter: functions and relations that the approval does not bind.
//!
//! What a text reaches is found by its words beforehand. Here it is seen again when it runs, by what PostgreSQL itself looks up: each
//! function before it is called or inlined, each relation before a query on it begins. A permit may be claimed when its statement has
//! begun, so what the client's statement has entered so far is kept. Functions in C, which superusers alone make, and what PostgreSQL
//! brings along don't count.

use crate::pg::hooks::statement_at_hand::CHECKING;
use crate::pg::session::identity::{Moment, is_own_sql, moment};
use pgrx::pg_sys;
use runbook_core::identity::{Address, FUNCTIONS};
use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::ffi::c_int;
use std::sync::OnceLock;

thread_local! {
    static LIMITED: Cell<bool> = const { Cell::new(false) };
    static ENTERED: RefCell<Entered> = RefCell::default();
}

/// What a client's statement has entered.
#[derive(Clone, Debug, Default)]
pub struct Entered {
    moment: Option<Moment>,
    /// Functions and relations, by catalog and OID.
    pub objects: HashSet<(u32, u32)>,
    /// Functions that a plan has inlined, by the hash of their OID in the catalog cache.
    pub inlined: HashSet<u32>,
    /// Whether there was more.
    pub is_cut: bool,
}

/// More than this is not kept.
const MOST: usize = 20_000;

struct Start {
    previous: pg_sys::ExecutorStart_hook_type,
    enters: fn(Address),
}

static START: OnceLock<Start> = OnceLock::new();

/// The first OID of what PostgreSQL does not bring along (access/transam.h, FirstNormalObjectId).
const FIRST_NORMAL_OBJECT: u32 = 16384;

/// OIDs of languages whose functions only superusers make (catalog/pg_language.dat).
const INTERNAL: u32 = 12;
const C: u32 = 13;

/// Installs the hook; `enters` refuses what the approval in force does not bind. Called once, when the library is loaded.
pub fn install(enters: fn(Address)) {
    // SAFETY: _PG_init runs in a single thread; the previous hook is kept and called.
    unsafe {
        if START.set(Start { previous: pg_sys::ExecutorStart_hook, enters }).is_ok() {
            pg_sys::ExecutorStart_hook = Some(on_start);
        }
    }
}

/// Begins to ask. Plans that this session keeps are made again: what was inlined in them would not be seen.
pub fn begin() {
    LIMITED.set(true);
    // SAFETY: marks cached plans as invalid (utils/cache/plancache.c).
    unsafe { pg_sys::ResetPlanCache() };
}

/// Asks no more.
pub fn end() {
    LIMITED.set(false);
}

/// What the client's statement at hand has entered so far.
pub fn entered() -> Entered {
    let here = moment();
    ENTERED.with_borrow(|entered| if entered.moment == Some(here) { entered.clone() } else { Entered::default() })
}

/// The hash of a function's OID in the catalog cache, as plans say what they depend on.
pub fn hash(function: u32) -> u32 {
    let none = pg_sys::Datum::from(0);
    // SAFETY: computes a hash.
    unsafe {
        let cache = pg_sys::SysCacheIdentifier::PROCOID as c_int;
        pg_sys::GetSysCacheHashValue(cache, pg_sys::Oid::from(function).into(), none, none, none)
    }
}

/// A function is being looked up, to be called or inlined.
///
/// # Safety
/// Called by PostgreSQL's hook.
pub unsafe fn function(function: pg_sys::Oid) {
    if function.to_u32() < FIRST_NORMAL_OBJECT || is_own_sql() || CHECKING.get() {
        return;
    }
    let found = Address { class: FUNCTIONS, object: function.to_u32(), part: 0 };
    if !LIMITED.get() {
        note(|entered| entered.object(found));
        return;
    }
    // SAFETY: functions are looked up inside transactions.
    unsafe {
        if pg_sys::IsTransactionState() {
            enter(found);
        }
    }
}

impl Entered {
    fn object(&mut self, found: Address) {
        if self.objects.len() < MOST {
            self.objects.insert((found.class, found.object));
        } else {
            self.is_cut = true;
        }
    }

    fn inlined(&mut self, hash: u32) {
        if self.inlined.len() < MOST {
            self.inlined.insert(hash);
        } else {
            self.is_cut = true;
        }
    }
}

fn note(what: impl FnOnce(&mut Entered)) {
    let here = moment();
    ENTERED.with_borrow_mut(|entered| {
        if entered.moment != Some(here) {
            entered.moment = Some(here);
            entered.objects.clear();
            entered.inlined.clear();
            entered.is_cut = false;
        }
        what(entered);
    });
}

/// Whether a function is in C, or gone.
pub fn is_machine_code(function: u32) -> bool {
    // SAFETY: a row of the catalog cache, read before it is released; the struct is that of pg_proc.
    unsafe {
        let row = pg_sys::SearchSysCache1(pg_sys::SysCacheIdentifier::PROCOID as c_int, pg_sys::Oid::from(function).into());
        if row.is_null() {
            return true;
        }
        let language = (*pg_sys::GETSTRUCT(row).cast::<pg_sys::FormData_pg_proc>()).prolang;
        pg_sys::ReleaseSysCache(row);
        [INTERNAL, C].contains(&language.to_u32())
    }
}

unsafe fn enter(found: Address) {
    let Some(start) = START.get() else { return };
    // SAFETY: the closure's frames hold nothing of PostgreSQL's; an error of ours leaves as PostgreSQL's.
    unsafe {
        pg_sys::panic::pgrx_extern_c_guard(|| {
            struct Reset(bool);
            impl Drop for Reset {
                fn drop(&mut self) {
                    CHECKING.set(self.0);
                }
            }
            let _reset = Reset(CHECKING.replace(true));
            (start.enters)(found);
        });
    }
}

unsafe extern "C-unwind" fn on_start(query: *mut pg_sys::QueryDesc, flags: c_int) {
    // SAFETY: the arguments are those of the hook, passed on unchanged.
    unsafe {
        if !is_own_sql() && !CHECKING.get() {
            see(&*(*query).plannedstmt);
        }
        match START.get().and_then(|start| start.previous) {
            Some(next) => next(query, flags),
            None => crate::pg::ffi::standard_ExecutorStart(query, flags),
        }
    }
}

/// What a plan reads, and what was inlined in it. A frame that holds nothing to drop: an error leaves it without a word.
unsafe fn see(plan: &pg_sys::PlannedStmt) {
    let (is_limited, tables, items) = (LIMITED.get(), length(plan.rtable), length(plan.invalItems));
    // SAFETY: a list of RangeTblEntry, and one of PlanInvalItem.
    unsafe {
        for at in 0..tables {
            let entry = &*cell(plan.rtable, at).cast::<pg_sys::RangeTblEntry>();
            if entry.rtekind != pg_sys::RTEKind::RTE_RELATION || entry.relid.to_u32() < FIRST_NORMAL_OBJECT {
                continue;
            }
            let found = Address::relation(entry.relid.to_u32());
            match is_limited {
                true => enter(found),
                false => note(|entered| entered.object(found)),
            }
        }
        // Where it asks, nothing has been inlined unseen.
        for at in 0..if is_limited { 0 } else { items } {
            let item = &*cell(plan.invalItems, at).cast::<pg_sys::PlanInvalItem>();
            if item.cacheId == pg_sys::SysCacheIdentifier::PROCOID as c_int {
                note(|entered| entered.inlined(item.hashValue));
            }
        }
    }
}

fn length(list: *mut pg_sys::List) -> usize {
    // SAFETY: null or a List.
    unsafe { list.as_ref() }.map_or(0, |list| usize::try_from(list.length).unwrap_or_default())
}

unsafe fn cell(list: *mut pg_sys::List, at: usize) -> *mut std::ffi::c_void {
    // SAFETY: a List of pointers has as many cells as its length says (pg_list.h).
    unsafe { (*(*list).elements.add(at)).ptr_value }
}
