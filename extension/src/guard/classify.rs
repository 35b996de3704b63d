//! Actions of a statement, bound to the objects that its names mean now.

use crate::pg::nodes::part_of;
use crate::pg::session::search_path;
use crate::store::{self, objects};
use runbook_core::action::{self, Action};
use runbook_core::command::Command;
use runbook_core::identity::Identity;

/// The actions of a statement. Nothing is locked, so what a name means may change; whoever must know asks again under the
/// lock.
pub fn classify(command: &Command) -> Vec<Action> {
    let mut home = None;
    let at_home = |action: Action| match action.verb.starts_with("create") && !action.object.qualified {
        true => action.at_home(home.get_or_insert_with(search_path).first()),
        false => action,
    };
    action::classify(command).into_iter().map(bind).map(at_home).collect()
}

/// The actions of several statements, with those that they imply. What is not there yet will be made where unqualified names
/// are made; when the statements run, the objects themselves are asked.
pub fn classify_all<'a>(commands: impl IntoIterator<Item = &'a Command>) -> store::Result<Vec<Action>> {
    let home = search_path().into_iter().next();
    let at_home = |action: Action| if action.identity.is_absent() { action.at_home(home.as_ref()) } else { action };
    let mut actions: Vec<Action> = commands.into_iter().flat_map(classify).map(at_home).collect();
    let implied = objects::implied(&actions)?;
    actions.extend(implied);
    Ok(actions)
}

/// Columns, triggers, rules and row security policies carry the identity of their table until here.
fn bind(mut action: Action) -> Action {
    let kind = action.object.kind.as_str();
    action.identity = match (kind, action.identity, action.object.path.last()) {
        // What is created is not looked up: it is replaced, or PostgreSQL says that it exists.
        ("trigger" | "rule" | "policy", Identity::Is(_), _) if action.verb.starts_with("create") => Identity::Unknown,
        ("column" | "trigger" | "rule" | "policy", Identity::Is(table), Some(name)) => part_of(table, kind, name),
        ("constraint" | "domain constraint" | "enum value", ..) => Identity::Unknown,
        (_, identity, _) => identity,
    };
    action
}
