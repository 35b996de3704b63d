//! Which protections are active.

use crate::catalog::own;
use crate::error;
use crate::guard::enforcement::Mode;
use crate::guard::integrity::{update, wholeness};
use crate::guard::{break_glass, enforcement};
use crate::pg::session::identity::{Database, database};
use crate::pg::workers::shared::{has_launcher, is_preloaded, may_have_workers};
use crate::store::{protected, settings, tree};

/// One layer.
#[derive(Debug)]
pub struct Layer {
    /// Its name.
    pub layer: &'static str,
    /// Whether it protects at this moment.
    pub active: bool,
    /// What it sees.
    pub covers: &'static str,
    /// Why it is, or is not, active; and what to do.
    pub detail: String,
}

/// Whether the guard is activated, here or in the database that this is a copy of.
fn activation_layer(activation: Option<&Database>, here: bool) -> Layer {
    Layer {
        layer: "activation",
        active: here,
        covers: "everything below: nothing is enforced in a database that was not activated",
        detail: match (activation, here) {
            (_, true) => format!("activated for this database; runbook.mode is {}", enforcement::mode().as_str()),
            (None, _) => "not activated; an admin activates with SELECT runbook.activate()".to_owned(),
            (Some(_), false) => "this is a copy of an activated database and is INERT; \
                                 an admin activates it with SELECT runbook.activate()"
                .to_owned(),
        },
    }
}

/// Who writes refusals down.
fn recorder(preloaded: bool) -> Layer {
    Layer {
        layer: "recorder",
        active: if preloaded { has_launcher() } else { may_have_workers() },
        covers: "refusals, which are recorded outside of their transaction",
        detail: if !may_have_workers() {
            "max_worker_processes is 0: no worker can write them, so they are only in the server log".to_owned()
        } else if preloaded && !has_launcher() {
            "the launcher could not start, so they are only in the server log: raise max_worker_processes and restart the \
             server"
                .to_owned()
        } else if preloaded {
            "the launcher and its writers, with a slot of their own".to_owned()
        } else {
            "a background worker for each; if no slot is free, it is only in the server log".to_owned()
        },
    }
}

/// The triggers of protected tables.
fn table_triggers(enforcing: bool, tables: &[(String, bool)]) -> Layer {
    Layer {
        layer: "table_triggers",
        active: enforcing && !tables.is_empty() && tables.iter().all(|(_, whole)| *whole),
        covers: "TRUNCATE, and transactions that change many rows, on protected tables; on logical subscribers too",
        detail: match tables {
            [] => "no table is protected: SELECT runbook.protect_table('TABLE', MAX_ROWS)".to_owned(),
            tables => tables
                .iter()
                .map(|(table, whole)| if *whole { table.clone() } else { format!("{table}: DISABLED") })
                .collect::<Vec<_>>()
                .join(", "),
        },
    }
}

/// The roles that say who may do what.
fn roles(missing: &[&str]) -> Layer {
    Layer {
        layer: "roles",
        active: missing.is_empty(),
        covers: "who may author, approve, operate, audit, administer, and break the glass",
        detail: if missing.is_empty() {
            "all six are there".to_owned()
        } else {
            format!("renamed or dropped: {}", missing.join(", "))
        },
    }
}

/// All layers, activation first.
pub fn layers() -> error::Result<Vec<Layer>> {
    let activation = settings::activation()?;
    let here = activation.as_ref() == Some(&database());
    let enforcing = here && enforcement::mode() != Mode::off;
    let broken = wholeness::damaged_triggers();
    let glass = break_glass::elsewhere()?;
    let preloaded = is_preloaded();
    let tables = protected::all()?;
    let missing = wholeness::missing_roles()?;
    let mut layers = vec![
        activation_layer(activation.as_ref(), here),
        Layer {
            layer: "event_triggers",
            active: enforcing && broken.is_empty(),
            covers: "DDL with an event trigger: drops, ALTER TABLE and other ALTER, renames, rewrites, cascades",
            detail: if broken.is_empty() {
                "four event triggers, ENABLE ALWAYS".to_owned()
            } else {
                format!("missing, disabled or not ENABLE ALWAYS: {}; reinstall the extension", broken.join(", "))
            },
        },
        Layer {
            layer: "utility_hook",
            active: enforcing && preloaded,
            covers: "TRUNCATE, roles, databases, tablespaces, parameters, event triggers, COPY to programs and files, LOAD, \
                     VACUUM FULL, CLUSTER, REINDEX, LOCK; other databases of the cluster",
            detail: preload_detail(preloaded, "these statements are not guarded"),
        },
        Layer {
            layer: "object_access_hook",
            active: enforcing && preloaded,
            covers: "drops by functions, large objects, what TRUNCATE reaches, DML on system catalogs and on the runbook's tables",
            detail: preload_detail(preloaded, "these are not guarded"),
        },
        roles(&missing),
        recorder(preloaded),
        sealer(preloaded)?,
        table_triggers(enforcing, &tables),
    ];
    layers.extend(version(own::version()?.unwrap_or_default()));
    if !glass.is_empty() {
        layers.push(Layer {
            layer: "break_glass",
            active: false,
            covers: "policy, in every session but those named here",
            detail: format!("THE GLASS IS BROKEN: {}", glass.join("; ")),
        });
    }
    Ok(layers)
}

/// The extension, where it is not of the library's version.
fn version(installed: String) -> Option<Layer> {
    (installed != update::LIBRARY).then(|| Layer {
        layer: "version",
        active: false,
        covers: "what came with the version of the library that the server has loaded",
        detail: format!(
            "the library is of {}, the extension of {installed}: ALTER EXTENSION pg_runbook UPDATE, or install the library of {installed} and restart",
            update::LIBRARY
        ),
    })
}

fn sealer(preloaded: bool) -> error::Result<Layer> {
    let (waiting, seconds) = tree::waiting()?;
    let waiting = match waiting {
        0 => "everything is sealed".to_owned(),
        1 => format!("1 entry has waited for {seconds} s"),
        more => format!("{more} entries wait, the oldest for {seconds} s"),
    };
    let how = if preloaded { "the launcher's writers" } else { "on demand: CALL runbook.seal(), or runbook audit" };
    Ok(Layer {
        layer: "sealer",
        active: true,
        covers: "entries, so that a checkpoint shows if one is removed or changed",
        detail: format!("{waiting}; {how}"),
    })
}

fn preload_detail(preloaded: bool, otherwise: &str) -> String {
    if preloaded {
        "the library is preloaded".to_owned()
    } else {
        format!("{otherwise}: add pg_runbook to shared_preload_libraries and restart the server")
    }
}
