//! pg_runbook: the migration runbook, enforced by the database itself.
//!
//! A request enters by `api`; decisions are pure functions of `runbook_core`; effects leave by `store` and `pg`.
//! See ARCHITECTURE.md for the map.

mod api;
mod apply;
mod approval;
mod catalog;
mod code;
mod error;
mod guard;
mod install;
mod ledger;
mod permission;
mod pg;
mod request;
mod settings;
mod spi;
mod store;

use pgrx::prelude::*;

pgrx::pg_module_magic!();

/// Called by PostgreSQL when it loads the library.
#[pg_guard]
pub extern "C-unwind" fn _PG_init() {
    pg::panics::take_no_backtraces();
    guard::enforcement::define_parameters();
    pg::fault::define_parameter();
    pg::session::identity::reserve_parameters();
    pg::hooks::entry::register(pg::hooks::entry::Bodies {
        submit: api::revisions::submit,
        upgrade: api::apply::upgrade,
        downgrade: api::apply::downgrade,
        too_many_rows: guard::layers::table_triggers::too_many_rows,
        emptied: guard::layers::table_triggers::emptied,
        written: guard::integrity::protect::refuse_write,
        wait: api::jobs::wait,
        work: apply::job::worker::run,
        revive: || {
            if let Err(report) = apply::job::queue::revive() {
                report.report(pgrx::PgLogLevel::ERROR);
            }
        },
        record: ledger::recorder::write,
        seal: |from| ledger::seal::batch(from.unwrap_or(ledger::seal::BEGINNING)),
    });
    pg::hooks::lock_wait_monitor::install();
    pg::hooks::foreign_code::install();
    pg::hooks::limit::install(guard::limits::entered);
    pg::execute::transaction::register(pg::execute::transaction::Ends {
        before_commit: || {
            if let Err(report) = guard::permits::before_commit() {
                report.report(pgrx::PgLogLevel::ERROR);
            }
            (ledger::pending::ENDS.before_commit)();
        },
        over: |committed| {
            pg::hooks::triggers::over(committed);
            guard::permits::over();
            store::settings::over();
            (ledger::pending::ENDS.over)(committed);
            pg::execute::job::over(committed);
        },
        rolled_back: |own| {
            (ledger::pending::ENDS.rolled_back)(own);
            pg::execute::job::rolled_back(own);
        },
        merged: |own, parent| {
            (ledger::pending::ENDS.merged)(own, parent);
            pg::execute::job::merged(own, parent);
        },
    });
    pg::hooks::chain::install(pg::hooks::watch::Watch {
        utility: guard::layers::utility_hook::before,
        unresolved: guard::layers::utility_hook::unresolved,
        dropped: guard::layers::object_access::dropped,
        truncated: guard::layers::object_access::truncated,
        written: guard::layers::object_access::written,
        exported: guard::layers::object_access::exported,
        called: guard::layers::object_access::called,
        created: guard::layers::object_access::created,
    });
}
