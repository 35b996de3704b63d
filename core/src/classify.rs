//! The classification: the actions of a statement, each with the class that says who loses.

mod alter_table;
mod create;

use crate::action::{Action, Class, drop_class};
use crate::command::{Command, Name};
use crate::identity::Identity;
use crate::inventory::SCHEMA;
use crate::vocabulary::object_kind::ObjectKind;
use crate::vocabulary::verb::Verb;

/// The actions of a statement; empty if it can't touch an object by itself.
pub fn classify(command: &Command) -> Vec<Action> {
    use Command::*;
    let on = |verb: &Verb, class, kind: &ObjectKind, name: &Name| Action::on(verb.clone(), class, kind.clone(), name);
    match command {
        Drop { kind: ObjectKind::Domain, names, .. } => each(&Verb::Drop, Class::Breaking, &ObjectKind::Type, names),
        Drop { kind, names, .. } => each(&Verb::Drop, drop_class(kind), kind, names),
        DropOne { kind, name } => vec![on(&Verb::Drop, drop_class(kind), kind, name)],
        DropPart { kind, name, part } => vec![Action::on_part(Verb::Drop, drop_class(kind), kind.clone(), name, part)],
        DropOwned { roles, .. } => each(&Verb::DropOwned, Class::Destructive, &ObjectKind::Role, roles),
        Reassign { roles } => each(&Verb::ReassignOwned, Class::Security, &ObjectKind::Role, roles),
        AlterTable { kind, name, changes } => alter_table::actions(kind, name, changes),
        Rename { kind, name, part, new_name } => vec![renamed(kind, name, part.as_deref(), new_name)],
        SetSchema { kind, name, schema } => vec![on(&Verb::Move, Class::Breaking, kind, name).to(schema)],
        Owner { kind, name, role } => {
            vec![Action { roles: vec![role.identity], ..on(&Verb::ChangeOwner, Class::Security, kind, name) }]
        }
        AddEnumValue { name, value } => of_enum(Verb::Add, Class::Additive, name, value),
        RenameEnumValue { name, value } => of_enum(Verb::Rename, Class::Breaking, name, value),
        AlterDomain { name, verb, scans: true } => vec![on(verb, Class::Blocking, &ObjectKind::Domain, name)],
        AlterDomain { name, verb, scans: false } => vec![on(verb, Class::Breaking, &ObjectKind::Domain, name)],
        Create { .. } | Policy { .. } | Rule { .. } | Trigger { .. } | CreateIndex { .. } => {
            create::action(command).into_iter().collect()
        }
        Definer { verb, kind, name } => vec![on(verb, Class::Security, kind, name)],
        DependsOnExtension { kind, name, part } => {
            let mut tied = on(&Verb::TieToExtension, Class::Breaking, kind, name);
            tied.object.path.extend(part.clone());
            vec![tied]
        }
        Heir { parents } => each(&Verb::InheritFrom, Class::Additive, &ObjectKind::Table, parents),
        References { tables } => each(&Verb::PutForeignKeys, Class::Control, &ObjectKind::Table, tables),
        Truncate { names, cascade: true } => each(&Verb::TruncateCascade, Class::Destructive, &ObjectKind::Table, names),
        Truncate { names, cascade: false } => each(&Verb::Truncate, Class::Destructive, &ObjectKind::Table, names),
        Delete { name, filtered: false } => vec![on(&Verb::Empty, Class::Destructive, &ObjectKind::Table, name)],
        Grant { kind, names, privileges, roles, revoke } => granted(kind, names, privileges, roles, *revoke),
        Several(commands) => commands.iter().flat_map(classify).collect(),
        Control { function, table } => control_call(function, table.as_ref()),
        Shared { verb, kind, name } => vec![on(verb, Class::Control, kind, name)],
        Harmless { verb, kind, names } => each(verb, Class::Additive, kind, names),
        Membership { granted, members, revoke } => membership(granted, members, *revoke),
        Outside { verb, kind, name } => vec![on(verb, Class::Control, kind, &Name::bare(name.as_str()))],
        Lock { names, exclusive } => locked(names, *exclusive),
        Extension { verb, name, member, .. } => {
            let member = member.as_ref().map(|(kind, name)| on(&Verb::ChangeExtension, Class::Control, kind, name));
            [on(verb, Class::Control, &ObjectKind::Extension, name)].into_iter().chain(member).collect()
        }
        Rewrite { verb, names, .. } if names.is_empty() => run(Class::Blocking, &verb.to_string().to_uppercase()),
        Rewrite { verb, kind, names } => each(verb, Class::Blocking, kind, names),
        Protection { tag } => run(Class::Security, tag),
        Other { tag } => run(Class::Breaking, tag),
        Delete { filtered: true, .. }
        | Change { .. }
        | Data { .. }
        | Transaction { .. }
        | SwitchRole { .. }
        | Opaque { .. } => {
            vec![]
        }
    }
}

/// The actions of a call that weakens the guard; an approval is bound to the table that it is about, too.
pub fn control_call(function: &Name, table: Option<&Name>) -> Vec<Action> {
    let protection = table.map(|table| Action::on(Verb::ChangeProtection, Class::Control, ObjectKind::Table, table));
    protection.into_iter().chain([Action::on(Verb::Call, Class::Control, ObjectKind::Function, function)]).collect()
}

/// The same action on several objects.
fn each<'a>(verb: &Verb, class: Class, kind: &ObjectKind, names: impl IntoIterator<Item = &'a Name>) -> Vec<Action> {
    names.into_iter().map(|name| Action::on(verb.clone(), class, kind.clone(), name)).collect()
}

/// A command of which only the tag is known.
fn run(class: Class, tag: &str) -> Vec<Action> {
    vec![Action::on(Verb::Run, class, ObjectKind::Command, &Name::bare(tag))]
}

/// Weaker locks are everyday business, except where they keep the ledger from being written.
fn locked(names: &[Name], exclusive: bool) -> Vec<Action> {
    let counts = |name: &&Name| exclusive || name.schema.as_deref() == Some(SCHEMA);
    each(&Verb::Lock, Class::Blocking, &ObjectKind::Table, names.iter().filter(counts))
}

fn of_enum(verb: Verb, class: Class, name: &Name, value: &str) -> Vec<Action> {
    vec![Action::on_part(verb, class, ObjectKind::EnumValue, name, value)]
}

fn renamed(kind: &ObjectKind, name: &Name, part: Option<&str>, new_name: &str) -> Action {
    if let Some(part) = part {
        let verb = match kind {
            ObjectKind::Column | ObjectKind::Constraint => Verb::Rename,
            _ => Verb::RenamePart,
        };
        return Action::on_part(verb, Class::Breaking, kind.clone(), name, part).to(new_name);
    }
    use ObjectKind::*;
    let class = match kind {
        // What lies in a schema of such a name counts as temporary, and PostgreSQL empties it when a session begins.
        Schema if new_name.starts_with("pg_") => Class::Destructive,
        Index | Constraint | StatisticsObject => Class::Additive,
        Role | Database | EventTrigger => Class::Control,
        _ => Class::Breaking,
    };
    Action::on(Verb::Rename, class, kind.clone(), name).to(new_name)
}

fn granted(kind: &ObjectKind, names: &[Name], privileges: &[String], roles: &[Name], revoke: bool) -> Vec<Action> {
    let (verb, to): (fn(Box<str>) -> Verb, _) = if revoke { (Verb::Revoke, "from") } else { (Verb::Grant, "to") };
    let verb = verb(format!("{} {to} {}", privileges.join(", "), joined(roles)).into());
    with_roles(each(&verb, Class::Security, kind, names), roles)
}

fn membership(granted: &[Name], members: &[Name], revoke: bool) -> Vec<Action> {
    let verb: fn(Box<str>) -> Verb = if revoke { Verb::RemoveMembers } else { Verb::MakeMembers };
    let verb = verb(joined(members).into());
    with_roles(each(&verb, Class::Control, &ObjectKind::Role, granted), members)
}

/// Actions that are bound to roles besides their objects.
fn with_roles(actions: Vec<Action>, roles: &[Name]) -> Vec<Action> {
    let bound: Vec<Identity> = roles.iter().map(|role| role.identity).collect();
    actions.into_iter().map(|action| Action { roles: bound.clone(), ..action }).collect()
}

fn joined(names: &[Name]) -> String {
    names.iter().map(|name| name.name.as_str()).collect::<Vec<_>>().join(", ")
}
