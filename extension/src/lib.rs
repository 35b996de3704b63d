//! pg_runbook: the migration runbook, enforced by the database itself.
//!
//! A request enters by `api`; decisions are pure functions of `runbook_core`; effects leave by `store` and `pg`.
//! See ARCHITECTURE.md for the map.

mod api;
mod apply;
mod approvals;
mod caller;
mod code;
mod decisions;
mod error;
mod guard;
mod install;
mod ledger;
mod permits;
mod pg;
mod session;
mod store;
mod submit;

use pgrx::prelude::*;

pgrx::pg_module_magic!();

/// Called by PostgreSQL when it loads the library.
#[pg_guard]
pub extern "C-unwind" fn _PG_init() {
    pg::panics::take_no_backtraces();
    guard::enforcement::define_parameters();
    pg::fault::define_parameter();
    pg::identity::reserve_parameters();
    pg::entry::register(pg::entry::Bodies {
        submit: api::revisions::submit,
        upgrade: api::apply::upgrade,
        downgrade: api::apply::downgrade,
        too_many_rows: guard::table_triggers::too_many_rows,
        emptied: guard::table_triggers::emptied,
        written: guard::refuse_write,
        wait: api::jobs::wait,
        work: apply::worker::run,
        revive: || {
            if let Err(report) = apply::jobs::revive() {
                report.report(pgrx::PgLogLevel::ERROR);
            }
        },
        record: ledger::recorder::write,
        seal: |from| ledger::seal::batch(from.unwrap_or(ledger::seal::BEGINNING)),
    });
    pg::waits::install();
    pg::transaction::register(pg::transaction::Ends {
        before_commit: || {
            if let Err(report) = guard::permits::before_commit() {
                report.report(pgrx::PgLogLevel::ERROR);
            }
            (ledger::pending::ENDS.before_commit)();
        },
        over: |committed| {
            guard::permits::over();
            store::settings::over();
            (ledger::pending::ENDS.over)(committed);
            pg::job::over(committed);
        },
        rolled_back: |own| {
            (ledger::pending::ENDS.rolled_back)(own);
            pg::job::rolled_back(own);
        },
        merged: |own, parent| {
            (ledger::pending::ENDS.merged)(own, parent);
            pg::job::merged(own, parent);
        },
    });
    pg::hooks::install(pg::hooks::Watch {
        utility: guard::utility_hook::before,
        unresolved: guard::utility_hook::unresolved,
        dropped: guard::object_access::dropped,
        truncated: guard::object_access::truncated,
        written: guard::object_access::written,
        exported: guard::object_access::exported,
        called: guard::object_access::called,
        created: guard::object_access::created,
    });
}
