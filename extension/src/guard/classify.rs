//! Actions of a statement, bound to the objects that its names mean now.

use crate::pg::nodes::part_of;
use crate::pg::session::search_path;
use crate::store::{self, objects};
use runbook_core::action::{self, Action};
use runbook_core::command::Command;
use runbook_core::identity::{Address, Identity};
use std::collections::HashMap;

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
    let mut names = Names::default();
    let mut actions: Vec<Action> =
        commands.into_iter().flat_map(classify).map(at_home).map(|action| names.follow(action)).collect();
    let implied = objects::implied(&actions)?;
    actions.extend(implied);
    Ok(actions)
}

/// What names will mean after the statements before: a revision that renames a table and then drops it by its new name drops
/// the table that it has renamed.
#[derive(Default)]
struct Names {
    /// Whole objects by path.
    objects: HashMap<Vec<String>, Target>,
    /// Columns by the original path of their table, and name.
    columns: HashMap<(Vec<String>, String), Target>,
}

/// What a new name will stand for.
#[derive(Clone, Default)]
struct Target {
    /// The object, if it exists.
    found: Option<Address>,
    /// Its path beforehand; none for what the revision makes.
    origin: Option<Vec<String>>,
}

impl Names {
    /// The action, bound to what its name will mean; what it does to names is taken note of.
    fn follow(&mut self, mut action: Action) -> Action {
        let is_part = ["column", "trigger", "rule", "policy"].contains(&action.object.kind.as_str());
        match action.object.path.split_last() {
            Some((name, whole)) if is_part => {
                self.bind_part(&mut action.identity, &mut action.origin, &action.object.kind, name, whole)
            }
            _ => {
                if let Some(known) = self.objects.get(&action.object.path) {
                    action.identity = known.found.map_or(Identity::Missing, Identity::Is);
                    action.origin.clone_from(&known.origin);
                }
            }
        }
        self.note(&action);
        action
    }

    /// The path of a table before the revision's renames.
    fn origin_of(&self, table: &[String]) -> Vec<String> {
        self.objects.get(table).and_then(|known| known.origin.clone()).unwrap_or_else(|| table.to_vec())
    }

    fn bind_part(
        &self,
        identity: &mut Identity,
        origin: &mut Option<Vec<String>>,
        kind: &str,
        name: &String,
        whole: &[String],
    ) {
        let table = self.origin_of(whole);
        let mut own = name.clone();
        if let Some(known) = self.objects.get(whole) {
            *identity = known.found.map_or(Identity::Missing, |table| part_of(table, kind, name));
        }
        if let (true, Some(known)) = (kind == "column", self.columns.get(&(table.clone(), name.clone()))) {
            *identity = known.found.map_or(Identity::Missing, Identity::Is);
            own = known.origin.as_ref().and_then(|path| path.last()).unwrap_or(name).clone();
        }
        let path: Vec<String> = table.into_iter().chain([own]).collect();
        *origin = (path[..path.len() - 1] != *whole || path.last() != Some(name)).then_some(path);
    }

    fn note(&mut self, action: &Action) {
        let path = &action.object.path;
        let found = if let Identity::Is(found) = action.identity { Some(found) } else { None };
        let origin = Some(action.origin.clone().unwrap_or_else(|| path.clone()));
        match &action.to {
            Some(to) if action.object.kind == "column" && path.len() == 3 => {
                let table = self.origin_of(&path[..2]);
                self.columns.insert((table, to.clone()), Target { found, origin });
            }
            Some(to) if action.is_move() && path.len() == 2 => {
                let new = if action.verb == "move" { [to, &path[1]] } else { [&path[0], to] };
                self.objects.insert(path.clone(), Target::default());
                self.objects.insert(new.map(Clone::clone).to_vec(), Target { found, origin });
            }
            None if action.verb == "create" && path.len() == 2 => {
                self.objects.insert(path.clone(), Target::default());
            }
            _ => {}
        }
    }
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
