//! Actions of a statement, bound to the objects that its names mean now.

use crate::catalog::objects;
use crate::error;
use crate::guard::integrity::update;
use crate::guard::protection;
use crate::pg::parse::names::{part_of, relation_named};
use crate::pg::session::pinned::search_path;
use runbook_core::action::Action;
use runbook_core::command::{Change, Command};
use runbook_core::identity::Identity;
use runbook_core::temporary::Temporaries;
use runbook_core::vocabulary::object_kind::ObjectKind;
use runbook_core::vocabulary::verb::Verb;
use std::collections::HashMap;

/// The actions of a statement. Nothing is locked, so what a name means may change; whoever must know asks again under the
/// lock.
pub fn classify(command: &Command) -> Vec<Action> {
    let mut home = None;
    let at_home = |action: Action| match action.verb.creates() && !action.object.qualified {
        true => action.at_home(home.get_or_insert_with(search_path).first()),
        false => action,
    };
    let mut actions: Vec<Action> = runbook_core::classify::classify(command).into_iter().map(bind).map(at_home).collect();
    if let Command::Delete { name, .. } | Command::Change { name } = command
        && protection::limits_rows(name).unwrap_or(true)
    {
        actions.push(Action::many_rows(name));
    }
    actions.extend(leaves_protection(command));
    if update::is_done(command).unwrap_or(false) {
        actions.clear();
    }
    actions
}

/// What is taken out of a protected table takes its rows along, and can be emptied afterwards.
fn leaves_protection(command: &Command) -> Vec<Action> {
    let Command::AlterTable { name, changes, .. } = command else { return vec![] };
    let gone = changes.iter().filter_map(|change| match change {
        Change::DetachPartition { partition } => Some(partition),
        Change::NoInherit { .. } => Some(name),
        _ => None,
    });
    gone.filter(|name| protection::limits_rows_below(name).unwrap_or(true)).map(Action::many_rows).collect()
}

/// The actions of several statements, with those that they imply. What is not there yet will be made where unqualified names
/// are made; when the statements run, the objects themselves are asked.
pub fn classify_all<'a>(commands: impl IntoIterator<Item = &'a Command>) -> error::Result<Vec<Action>> {
    Ok(classify_each(commands)?.into_iter().flatten().collect())
}

/// [`classify_all`], statement by statement.
pub fn classify_each<'a>(commands: impl IntoIterator<Item = &'a Command>) -> error::Result<Vec<Vec<Action>>> {
    let home = search_path().into_iter().next();
    let at_home = |action: Action| if action.identity.is_absent() { action.at_home(home.as_ref()) } else { action };
    let mut names = Names::default();
    let mut temporaries = Temporaries::default();
    let each = commands.into_iter().map(|command| {
        let command = temporaries.follow(command.clone());
        let mut actions: Vec<Action> = classify(&command).into_iter().map(at_home).map(|action| names.follow(action)).collect();
        let implied = objects::implied(&actions)?;
        actions.extend(implied);
        Ok(actions)
    });
    each.collect()
}

/// What names will mean after the statements before: a revision that renames a table and then drops it by its new name drops
/// the table that it has renamed.
#[derive(Default)]
struct Names {
    /// Whole objects by family and path.
    objects: HashMap<(Family, Vec<String>), Target>,
    /// Columns by the original path of their table, and name.
    columns: HashMap<(Vec<String>, String), Target>,
}

/// What a new name will stand for.
#[derive(Clone)]
struct Target {
    /// The object, or that there is none.
    found: Identity,
    /// Its path beforehand; none for what the revision makes.
    origin: Option<Vec<String>>,
}

impl Target {
    /// What the revision makes, or has dropped.
    const NOTHING: Self = Self { found: Identity::Missing, origin: None };
}

impl Names {
    /// The action, bound to what its name will mean; what it does to names is taken note of.
    fn follow(&mut self, mut action: Action) -> Action {
        if let (true, Some((name, whole))) = (action.object.kind.is_part(), action.object.path.split_last()) {
            let created = action.identity.is_unknown();
            (action.identity, action.origin) = self.bind_part(action.identity, &action.object.kind, name, whole);
            if let Some(known) = self.object(&ObjectKind::Table, whole) {
                action.owner = known.found;
                if created {
                    action.identity = Identity::Unknown;
                }
            }
        } else if let Some(known) = self.object(&action.object.kind, &action.object.path) {
            (action.identity, action.origin) = (known.found, known.origin.clone());
        }
        self.note(&action);
        action
    }

    fn object(&self, kind: &ObjectKind, path: &[String]) -> Option<&Target> {
        self.objects.get(&(family(kind), path.to_vec()))
    }

    /// The path of a table before the revision's renames.
    fn origin_of(&self, table: &[String]) -> Vec<String> {
        self.object(&ObjectKind::Table, table).and_then(|known| known.origin.clone()).unwrap_or_else(|| table.to_vec())
    }

    /// What a part of a relation will be, and its path before the revision's renames if that differs.
    fn bind_part(
        &self,
        found: Identity,
        kind: &ObjectKind,
        name: &String,
        whole: &[String],
    ) -> (Identity, Option<Vec<String>>) {
        let table = self.origin_of(whole);
        let (mut identity, mut own) = (found, name.clone());
        if let Some(known) = self.object(&ObjectKind::Table, whole) {
            identity = if let Identity::Is(table) = known.found { part_of(table, kind, name) } else { Identity::Missing };
        }
        if let (true, Some(known)) = (*kind == ObjectKind::Column, self.columns.get(&(table.clone(), name.clone()))) {
            identity = known.found;
            own = known.origin.as_ref().and_then(|path| path.last()).unwrap_or(name).clone();
        }
        let path: Vec<String> = table.into_iter().chain([own]).collect();
        let moved = path[..path.len() - 1] != *whole || path.last() != Some(name);
        (identity, moved.then_some(path))
    }

    fn note(&mut self, action: &Action) {
        let (kind, path) = (&action.object.kind, &action.object.path);
        let origin = Some(action.origin.clone().unwrap_or_else(|| path.clone()));
        let target = Target { found: action.identity, origin };
        match &action.to {
            Some(to) if *kind == ObjectKind::Column && path.len() == 3 => {
                let table = self.origin_of(&path[..2]);
                self.columns.insert((table, to.clone()), target);
            }
            Some(to) if action.is_move() && !kind.is_part() && path.len() == 2 => {
                let new = if action.verb == Verb::Move { [to, &path[1]] } else { [&path[0], to] };
                self.objects.insert((family(kind), path.clone()), Target::NOTHING);
                self.objects.insert((family(kind), new.map(Clone::clone).to_vec()), target);
            }
            None if action.verb == Verb::Drop && !kind.is_part() && path.len() == 2 => {
                self.objects.insert((family(kind), path.clone()), Target::NOTHING);
            }
            // Where something has the name, CREATE fails, or IF NOT EXISTS leaves it as it is.
            None if action.verb == Verb::Create
                && path.len() == 2
                && !(self.object(kind, path).is_none()
                    && kind.is_relation()
                    && matches!(relation_named(path.clone()).identity, Identity::Is(_))) =>
            {
                self.objects.insert((family(kind), path.clone()), Target::NOTHING);
            }
            _ => {}
        }
    }
}

/// Relations share one space of names in a schema; routines, types and the rest have their own: `None` for relations.
type Family = Option<ObjectKind>;

fn family(kind: &ObjectKind) -> Family {
    (!kind.is_relation()).then(|| kind.clone())
}

/// Columns, constraints, triggers, rules and row security policies carry the identity of their table until here.
fn bind(mut action: Action) -> Action {
    use ObjectKind::{Column, Constraint, DomainConstraint, EnumValue, Policy, Rule, Trigger};
    let kind = &action.object.kind;
    let must_be_there = matches!(action.verb, Verb::Drop | Verb::Rename | Verb::Validate);
    action.identity = match (kind, action.identity, action.object.path.last()) {
        // What is created is not looked up: it is replaced, or PostgreSQL says that it exists.
        (Trigger | Rule | Policy, table, _) if action.verb.creates() => {
            action.owner = table;
            Identity::Unknown
        }
        (Column | Trigger | Rule | Policy, Identity::Is(table), Some(name)) => part_of(table, kind, name),
        (Constraint, Identity::Is(table), Some(name)) => {
            action.owner = Identity::Is(table);
            if must_be_there { part_of(table, kind, name) } else { Identity::Unknown }
        }
        (Constraint, Identity::Missing, _) if must_be_there => Identity::Missing,
        (Constraint | DomainConstraint | EnumValue, ..) => Identity::Unknown,
        (_, identity, _) => identity,
    };
    action
}
