//! Which protections are live.

use crate::guard::{enforcement, glass};
use crate::pg::identity::database;
use crate::store::{self, catalog, settings};

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

const EVENT_TRIGGERS: [&str; 4] =
    ["a_runbook_command_start", "a_runbook_sql_drop", "a_runbook_table_rewrite", "a_runbook_command_end"];

/// All layers, activation first.
pub fn layers() -> store::Result<Vec<Layer>> {
    let activation = settings::activation()?;
    let here = activation.as_ref() == Some(&database());
    let enforcing = here && enforcement::mode() != "off";
    let broken = broken_triggers()?;
    let glass = glass::elsewhere()?;
    let mut layers = vec![
        Layer {
            layer: "activation",
            active: here,
            covers: "everything below: nothing is enforced in a database that was not activated",
            detail: match (&activation, here) {
                (_, true) => format!("activated for this database; runbook.mode is {}", enforcement::mode()),
                (None, _) => "not activated; an admin activates with SELECT runbook.activate()".to_owned(),
                (Some(_), false) => "this is a copy of an activated database and is INERT; \
                                     an admin activates it with SELECT runbook.activate()"
                    .to_owned(),
            },
        },
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
            active: false,
            covers: "TRUNCATE, databases, roles, tablespaces, system settings, VACUUM FULL, CLUSTER, REINDEX",
            detail: "not part of this version: these statements are not guarded".to_owned(),
        },
        Layer {
            layer: "table_triggers",
            active: false,
            covers: "TRUNCATE and mass DELETE on chosen tables",
            detail: "not part of this version: data is not guarded against DML".to_owned(),
        },
    ];
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

fn broken_triggers() -> store::Result<Vec<String>> {
    let whole = catalog::always_event_triggers()?;
    Ok(EVENT_TRIGGERS.into_iter().filter(|name| !whole.iter().any(|known| known == name)).map(str::to_owned).collect())
}
