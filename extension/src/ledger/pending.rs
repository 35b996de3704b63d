//! Entries that wait for their transaction to commit: they are written together, right before it does.
//!
//! A transaction of many statements writes one set of rows instead of one row each. What a savepoint takes back takes its
//! entries with it; a transaction that is prepared has written them.

use crate::pg::execute::transaction::{self, Ends};
use crate::pg::session::extension_members::is_installed;
use crate::pg::workers::shared;
use crate::{error, store};
use runbook_core::ledger::{Entry, Kind};
use std::cell::{Cell, RefCell};

thread_local! {
    static PENDING: RefCell<Vec<(u32, Entry)>> = const { RefCell::new(Vec::new()) };
    /// Whether the transaction at hand has written entries.
    static WROTE: Cell<bool> = const { Cell::new(false) };
}

/// More than these are written at once, so that a transaction of a million statements needs no memory for them.
const MOST: usize = 64;

/// What is done at the ends of transactions.
pub const ENDS: Ends = Ends {
    before_commit: || {
        if PENDING.with_borrow(Vec::is_empty) {
            return;
        }
        if let Err(report) = write() {
            report.report(pgrx::PgLogLevel::ERROR);
        }
    },
    over: |committed| {
        PENDING.with_borrow_mut(Vec::clear);
        if WROTE.replace(false) && committed {
            shared::mark_unsealed(None);
        }
    },
    rolled_back: |own| PENDING.with_borrow_mut(|pending| pending.retain(|(at, _)| *at != own)),
    merged: |own, parent| {
        PENDING.with_borrow_mut(|pending| {
            pending.iter_mut().filter(|(at, _)| *at == own).for_each(|(at, _)| *at = parent);
        });
    },
};

/// Has an entry wait for the commit of the transaction at hand.
pub fn push(entry: Entry) -> error::Result<()> {
    let at = transaction::current();
    let many = PENDING.with_borrow_mut(|pending| {
        pending.push((at, entry));
        pending.len() > MOST
    });
    if many { write() } else { Ok(()) }
}

/// Whether an entry of a kind waits.
pub fn holds(kind: Kind) -> bool {
    PENDING.with_borrow(|pending| pending.iter().any(|(_, entry)| entry.kind == kind.as_str()))
}

/// Writes what waits, in the subtransaction at hand. What subtransactions around it have left belongs to them and stays.
fn write() -> error::Result<()> {
    let here = transaction::current();
    let entries: Vec<Entry> = PENDING.with_borrow_mut(|pending| {
        let (mine, others): (Vec<_>, Vec<_>) = std::mem::take(pending).into_iter().partition(|(at, _)| *at == here);
        *pending = others;
        mine.into_iter().map(|(_, entry)| entry).collect()
    });
    // Whoever drops the extension drops its ledger, with what would have been written to it.
    if entries.is_empty() || !is_installed() {
        return Ok(());
    }
    WROTE.set(true);
    store::ledger::append(&entries)
}
