//! Layer 2, objects: drops and TRUNCATE that no statement names, and DML on the tables that the guard relies on.

use crate::guard::enforcement::{Enforcement, Mode, mode};
use crate::guard::integrity::{cluster, protect, wholeness};
use crate::guard::judge::{When, decide, refuse_by_uncommitted_rules, refuse_while_uncommitted};
use crate::guard::passing::{record_passing, record_passing_at_once};
use crate::pg::execute::transaction::{Looking, WithoutId, undone};
use crate::pg::hooks::triggers::{Permission, permission};
use crate::pg::parse::bind::{DATABASES, TABLESPACES};
use crate::pg::parse::objects;
use crate::pg::session::extension_members::{is_in_own_script, is_installed, is_own};
use crate::pg::session::identity::{Moment, in_recovery, moment};
use crate::store::settings;
use crate::{error, permission};
use runbook_core::action::{Action, Class};
use runbook_core::command::Name;
use runbook_core::identity::{Address, FUNCTIONS, Identity, RELATIONS};
use runbook_core::vocabulary::object_kind::ObjectKind;
use runbook_core::vocabulary::verb::Verb;
use std::cell::{Cell, RefCell};

/// The client's statement at hand, how much has been rolled back, and how often rules were changed.
type Known = (Moment, u64, u64);

thread_local! {
    static REMEMBERED: Cell<Option<(Known, Enforcement)>> = const { Cell::new(None) };
    static TRUNCATE: RefCell<Verb> = const { RefCell::new(Verb::Truncate) };
    static WRITTEN: Cell<Option<(Now, u32)>> = const { Cell::new(None) };
}

/// Remembers how strictly the client's statement at hand is judged: once the extension itself is being dropped, its tables can't
/// be asked any more.
pub fn remember(enforcement: Enforcement) {
    REMEMBERED.set(Some(((moment(), undone(), settings::changes()), enforcement)));
}

/// The client's statement at hand, as long as nothing of it has been rolled back and no other permission is in force.
type Now = (Moment, u64, Permission);

fn now() -> Now {
    (moment(), undone(), permission())
}

fn enforcement() -> error::Result<Enforcement> {
    if is_installed() {
        return Enforcement::current();
    }
    match REMEMBERED.get() {
        Some((then, known)) if then == (moment(), undone(), settings::changes()) => Ok(known),
        _ => Ok(Enforcement::Off),
    }
}

/// Takes note of the words with which tables are about to be emptied.
pub fn announce_truncate(verb: Verb) {
    TRUNCATE.set(verb);
}

/// An object is about to go; `unreported` if no event trigger will say so.
pub fn dropped(found: Address, unreported: bool) {
    report(judge_drop(found, unreported));
}

fn judge_drop(found: Address, unreported: bool) -> error::Result<()> {
    let own = is_own(found);
    let judged = own || (unreported && HOLDS_DATA.contains(&found.class));
    if !judged || (own && is_in_own_script()) {
        return Ok(());
    }
    let enforcement = enforcement()?;
    if enforcement == Enforcement::Off && mode() != Mode::off {
        return Ok(());
    }
    let Some((kind, path, temporary)) = objects::describe(found) else { return Ok(()) };
    let action = Action::dropped(kind, path, temporary, found);
    if enforcement == Enforcement::Off {
        return if unreported { wholeness::switched_off("DROP", &action) } else { Ok(()) };
    }
    let _looking = Looking::enter();
    if own {
        return protect::refuse_drop("DROP", &action, enforcement);
    }
    // By its own name alone; the statement named it, or a revision that drops it.
    if temporary || action.class != Class::Destructive {
        return Ok(());
    }
    decide("DROP", std::slice::from_ref(&action), When::During)?;
    record_passing("DROP", std::slice::from_ref(&action))
}

/// Catalogs of what holds data: relations and their columns, large objects, schemas, extensions, databases, tablespaces.
const HOLDS_DATA: [u32; 6] = [RELATIONS, 2613, 2615, 3079, DATABASES, TABLESPACES];

/// A table is about to be emptied, under its lock or just before it.
pub fn truncated(table: u32) {
    report(judge_truncate(table));
}

fn judge_truncate(table: u32) -> error::Result<()> {
    let enforcement = enforcement()?;
    if enforcement == Enforcement::Off {
        return Ok(());
    }
    // What its name meant has been recorded already.
    if enforcement == Enforcement::Record && permission::covering(|coverage| coverage.is_none()) {
        return Ok(());
    }
    let found = Address::relation(table);
    let Some((_, path, temporary)) = objects::describe(found) else { return Ok(()) };
    let verb = TRUNCATE.with_borrow(Verb::clone);
    let action = Action { verb, ..Action::dropped(ObjectKind::Table, path, temporary, found) };
    let _looking = Looking::enter();
    decide("TRUNCATE TABLE", &[action], When::During)
}

/// DML is about to be executed on a catalog or on a table of ours.
pub fn written(table: u32) {
    report(judge_write(table));
}

fn judge_write(table: u32) -> error::Result<()> {
    if in_recovery() {
        return Ok(());
    }
    let enforcement = if is_installed() { Enforcement::current()? } else { Enforcement::Off };
    let found = Address::relation(table);
    let Some((kind, path, _)) = objects::describe(found) else { return Ok(()) };
    let name = Name {
        schema: path.first().cloned(),
        identity: Identity::Is(found),
        ..Name::bare(path.last().cloned().unwrap_or_default())
    };
    let action = Action::on(Verb::WriteTo, Class::Control, kind, &name);
    if enforcement != Enforcement::Off && is_own(found) {
        return protect::refuse_write(table);
    }
    // A statement that runs again and again says it once; one that was refused, each time.
    let now = Some((now(), table));
    if WRITTEN.get() == now {
        return Ok(());
    }
    if enforcement == Enforcement::Off {
        wholeness::switched_off("DML", &action)?;
        cluster::judge_write(table, &name, None)?;
    } else {
        cluster::judge_write(table, &name, Some(&settings::policy()?))?;
        decide("DML", std::slice::from_ref(&action), When::During)?;
        record_passing("DML", std::slice::from_ref(&action))?;
    }
    WRITTEN.set(now);
    Ok(())
}

/// A large object is about to be written to a file of the server.
pub fn exported() {
    report(judge_export());
}

fn judge_export() -> error::Result<()> {
    if !is_installed() {
        return Ok(());
    }
    let action = Action::on(Verb::Write, Class::Control, ObjectKind::File, &Name::bare("lo_export"));
    refuse_by_uncommitted_rules("SELECT", std::slice::from_ref(&action))?;
    if Enforcement::current()? == Enforcement::Off {
        return wholeness::switched_off("SELECT", &action);
    }
    decide("SELECT", std::slice::from_ref(&action), When::During)?;
    record_passing("SELECT", std::slice::from_ref(&action))
}

/// A function that does what statements have no word for is about to be called.
pub fn called(function: u32, name: &'static str) {
    report(judge_call(function, name));
}

fn judge_call(function: u32, bare: &'static str) -> error::Result<()> {
    if !is_installed() {
        return Ok(());
    }
    // Collations can only come; slots and origins hold back or skip what replication sends.
    let class = if bare == "pg_import_system_collations" { Class::Additive } else { Class::Control };
    let found = Identity::Is(Address { class: FUNCTIONS, object: function, part: 0 });
    let name = Name { schema: Some("pg_catalog".to_owned()), identity: found, ..Name::bare(bare) };
    // A slot is no part of a transaction, and a logical one can't be made in one that has written.
    let is_slot = bare.contains("_slot");
    let _without = is_slot.then(WithoutId::enter);
    let action = Action::on(Verb::Run, class, ObjectKind::Function, &name);
    if is_slot {
        refuse_while_uncommitted("SELECT", std::slice::from_ref(&action), &action)?;
    }
    if Enforcement::current()? == Enforcement::Off {
        return wholeness::switched_off("SELECT", &action);
    }
    decide("SELECT", std::slice::from_ref(&action), When::During)?;
    match is_slot {
        true => record_passing_at_once("SELECT", std::slice::from_ref(&action)),
        false => record_passing("SELECT", std::slice::from_ref(&action)),
    }
}

/// An object that the cluster shares has been created: what a revision has made is its own.
pub fn created(found: Address) {
    permission::covering(|coverage| {
        if let Some(coverage) = coverage {
            let path = objects::describe(found).map(|(_, path, _)| path).unwrap_or_default();
            coverage.events.create(found, path);
        }
    });
}

fn report(result: error::Result<()>) {
    if let Err(report) = result {
        report.report(pgrx::PgLogLevel::ERROR);
    }
}
