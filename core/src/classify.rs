//! The classification: the actions of a statement, each with the class that says who loses.

use crate::action::{Action, CALL, CHANGE_PROTECTION, Class, drop_class};
use crate::command::{Change, Command, Name, RuleEffect, TypeChange};
use crate::identity::Identity;

/// The actions of a statement; empty if it can't touch an object by itself.
pub fn classify(command: &Command) -> Vec<Action> {
    match command {
        Command::Drop { kind, names, .. } => {
            let kind = if kind == "domain" { "type" } else { kind };
            names.iter().map(|name| Action::on("drop", drop_class(kind), kind, name)).collect()
        }
        Command::DropOne { kind, name } => vec![Action::on("drop", drop_class(kind), kind, name)],
        Command::DropPart { kind, name, part } => vec![Action::on_part("drop", drop_class(kind), kind, name, part)],
        Command::DropOwned { roles, .. } => of_roles("drop owned by", Class::Destructive, roles),
        Command::Reassign { roles } => of_roles("reassign owned by", Class::Security, roles),
        Command::AlterTable { kind, name, changes } => {
            let heir = changes.iter().any(|change| matches!(change, Change::Inherit { .. }));
            let own = heir.then(|| Action::on("make an heir of", Class::Breaking, kind, name));
            changes.iter().map(|change| alter_table(kind, name, change)).chain(own).collect()
        }
        Command::Rename { kind, name, part: Some(part), new_name } => {
            let verb = if kind == "column" || kind == "constraint" { "rename" } else { "rename part of" };
            vec![Action::on_part(verb, Class::Breaking, kind, name, part).to(new_name)]
        }
        Command::Rename { kind, name, part: None, new_name } => {
            // What lies in a schema of such a name counts as temporary, and PostgreSQL empties it when a session begins.
            let class = if kind == "schema" && new_name.starts_with("pg_") { Class::Destructive } else { rename_class(kind) };
            vec![Action::on("rename", class, kind, name).to(new_name)]
        }
        Command::SetSchema { kind, name, schema } => vec![Action::on("move", Class::Breaking, kind, name).to(schema)],
        Command::Owner { kind, name, role } => {
            vec![Action { roles: vec![role.identity], ..Action::on("change owner of", Class::Security, kind, name) }]
        }
        Command::AddEnumValue { name, value } => vec![Action::on_part("add", Class::Additive, "enum value", name, value)],
        Command::RenameEnumValue { name, value } => {
            vec![Action::on_part("rename", Class::Breaking, "enum value", name, value)]
        }
        Command::AlterDomain { name, what, scans } => {
            let class = if *scans { Class::Blocking } else { Class::Breaking };
            vec![Action::on(what, class, "domain", name)]
        }
        Command::Create { kind, name, replace } => {
            let class = match kind.as_str() {
                "user mapping" | "subscription" | "foreign data wrapper" | "language" => Class::Security,
                // Without a replica identity updates and deletes fail.
                "publication" => Class::Breaking,
                _ if *replace => Class::Breaking,
                _ => Class::Additive,
            };
            vec![Action::on(create_verb(*replace), class, kind, name)]
        }
        // What happens to the rows of a table afterwards is not what its statements say.
        Command::Policy { table, name } => vec![Action::on_part("create", Class::Security, "policy", table, name)],
        Command::Rule { table, name, replace, effect } => {
            let class = match effect {
                RuleEffect::Loses => Class::Destructive,
                RuleEffect::Redirects => Class::Breaking,
            };
            vec![Action::on_part(create_verb(*replace), class, "rule", table, name)]
        }
        // Whatever its timing: a function that raises stops every write.
        Command::Trigger { table, name, replace } => {
            vec![Action::on_part(create_verb(*replace), Class::Breaking, "trigger", table, name)]
        }
        Command::Definer { verb, kind, name } => vec![Action::on(verb, Class::Security, kind, name)],
        Command::DependsOnExtension { kind, name, part } => vec![match part {
            Some(part) => Action::on_part("tie to an extension", Class::Breaking, kind, name, part),
            None => Action::on("tie to an extension", Class::Breaking, kind, name),
        }],
        Command::Heir { parents } => {
            parents.iter().map(|name| Action::on("inherit from", Class::Additive, "table", name)).collect()
        }
        Command::References { tables } => {
            tables.iter().map(|name| Action::on("put foreign keys to", Class::Control, "table", name)).collect()
        }
        Command::CreateIndex { table, name, concurrently, unique } => {
            let class = match (unique, concurrently) {
                // What clients write may be there already.
                (true, _) => Class::Breaking,
                (false, true) => Class::Additive,
                (false, false) => Class::Blocking,
            };
            let index = Name { name: name.clone(), identity: Identity::Unknown, ..table.clone() };
            vec![Action { owner: table.identity, ..Action::on("create", class, "index", &index) }]
        }
        Command::Truncate { names, cascade } => {
            let verb = if *cascade { "truncate with cascade" } else { "truncate" };
            names.iter().map(|name| Action::on(verb, Class::Destructive, "table", name)).collect()
        }
        Command::Delete { name, filtered: false } => vec![Action::on("empty", Class::Destructive, "table", name)],
        Command::Grant { kind, names, privileges, roles, revoke } => {
            let (verb, to) = if *revoke { ("revoke", "from") } else { ("grant", "to") };
            let verb = format!("{verb} {} {to} {} on", privileges.join(", "), joined(roles));
            let bound: Vec<Identity> = roles.iter().map(|role| role.identity).collect();
            names.iter().map(|name| Action { roles: bound.clone(), ..Action::on(&verb, Class::Security, kind, name) }).collect()
        }
        Command::Several(commands) => commands.iter().flat_map(classify).collect(),
        Command::Control { function, table } => control_call(function, table.as_ref()),
        Command::Shared { verb, kind, name } => vec![Action::on(verb, Class::Control, kind, name)],
        Command::Harmless { verb, kind, names } => {
            names.iter().map(|name| Action::on(verb, Class::Additive, kind, name)).collect()
        }
        Command::Membership { granted, members, revoke } => {
            let verb = format!("{} {} members of", if *revoke { "remove" } else { "make" }, joined(members));
            let bound: Vec<Identity> = members.iter().map(|role| role.identity).collect();
            granted
                .iter()
                .map(|name| Action { roles: bound.clone(), ..Action::on(&verb, Class::Control, "role", name) })
                .collect()
        }
        Command::Outside { verb, kind, name } => vec![Action::on(verb, Class::Control, kind, &Name::bare(name.as_str()))],
        // Weaker locks are everyday business, except where they keep the ledger from being written.
        Command::Lock { names, exclusive } => {
            let counts = |name: &&Name| *exclusive || name.schema.as_deref() == Some("runbook");
            names.iter().filter(counts).map(|name| Action::on("lock", Class::Blocking, "table", name)).collect()
        }
        Command::Extension { verb, name, member } => {
            let own = Action::on(verb, Class::Control, "extension", name);
            let member = member.as_ref().map(|(kind, name)| Action::on("change extension of", Class::Control, kind, name));
            std::iter::once(own).chain(member).collect()
        }
        Command::Rewrite { tag, kind, names } => match &names[..] {
            [] => vec![Action::on("run", Class::Blocking, "command", &Name::bare(tag.as_str()))],
            names => {
                let verb = tag.to_lowercase();
                names.iter().map(|name| Action::on(&verb, Class::Blocking, kind, name)).collect()
            }
        },
        Command::Protection { tag } => vec![Action::on("run", Class::Security, "command", &Name::bare(tag.as_str()))],
        Command::Other { tag } => vec![Action::on("run", Class::Breaking, "command", &Name::bare(tag.as_str()))],
        Command::Delete { filtered: true, .. }
        | Command::Change { .. }
        | Command::Data { .. }
        | Command::Transaction { .. }
        | Command::SwitchRole { .. }
        | Command::Opaque { .. } => vec![],
    }
}

/// The actions of a call that weakens the guard; an approval is bound to the table that it is about, too.
pub fn control_call(function: &Name, table: Option<&Name>) -> Vec<Action> {
    let protection = table.map(|table| Action::on(CHANGE_PROTECTION, Class::Control, "table", table));
    protection.into_iter().chain([Action::on(CALL, Class::Control, "function", function)]).collect()
}

fn create_verb(replace: bool) -> &'static str {
    if replace { "create or replace" } else { "create" }
}

fn of_roles(verb: &str, class: Class, names: &[Name]) -> Vec<Action> {
    names.iter().map(|name| Action::on(verb, class, "role", name)).collect()
}

fn joined(names: &[Name]) -> String {
    names.iter().map(|name| name.name.as_str()).collect::<Vec<_>>().join(", ")
}

fn rename_class(kind: &str) -> Class {
    match kind {
        "index" | "constraint" | "statistics object" => Class::Additive,
        "role" | "database" | "event trigger" => Class::Control,
        _ => Class::Breaking,
    }
}

fn alter_table(kind: &str, name: &Name, change: &Change) -> Action {
    let column = |verb: &str, class, column: &str| Action::on_part(verb, class, "column", name, column);
    let whole = |verb: &str, class| Action::on(verb, class, kind, name);
    match change {
        Change::AddColumn { column: part, rewrites } => {
            column("add", if *rewrites { Class::Blocking } else { Class::Additive }, part)
        }
        Change::DropColumn { column: part } => column("drop", Class::Destructive, part),
        Change::ColumnType { column: part, effect: TypeChange::Loses } => column("recompute", Class::Destructive, part),
        Change::ColumnType { column: part, effect: TypeChange::Converts } => column("change type of", Class::Breaking, part),
        Change::ColumnType { column: part, effect: TypeChange::Widens } => column("widen", Class::Additive, part),
        Change::ColumnDefault { column: part, gone } => {
            column("change default of", if *gone { Class::Breaking } else { Class::Additive }, part)
        }
        Change::SetNotNull { column: part } => column("set not null on", Class::Blocking, part),
        Change::DropNotNull { column: part } => column("drop not null on", Class::Additive, part),
        Change::DropExpression { column: part } => column("drop expression of", Class::Breaking, part),
        Change::DropIdentity { column: part } => column("drop identity of", Class::Destructive, part),
        Change::ResetIdentity { column: part } => column("change identity of", Class::Breaking, part),
        Change::AddConstraint { name: part, scans } => {
            let class = if *scans { Class::Blocking } else { Class::Additive };
            Action::on_part("add", class, "constraint", name, part)
        }
        Change::AddRestriction { name: part } => Action::on_part("add", Class::Breaking, "constraint", name, part),
        Change::ValidateConstraint { name: part } => Action::on_part("validate", Class::Blocking, "constraint", name, part),
        Change::AddCascade { name: part, .. } => Action::on_part("add", Class::Breaking, "constraint", name, part),
        Change::Inherit { parent } => Action::on("inherit from", Class::Breaking, "table", parent),
        Change::DropConstraint { name: part } => Action::on_part("drop", Class::Breaking, "constraint", name, part),
        Change::Owner { role } => Action { roles: vec![role.identity], ..whole("change owner of", Class::Security) },
        Change::DetachPartition { partition } => Action::on("detach", Class::Breaking, "partition", partition),
        Change::AttachPartition { partition } => {
            Action { owner: name.identity, ..Action::on("attach", Class::Blocking, "partition", partition) }
        }
        Change::NoInherit { .. } => whole("remove inheritance of", Class::Breaking),
        Change::RowSecurity { enable: true } => whole("enable row security on", Class::Security),
        Change::RowSecurity { enable: false } => whole("weaken row security on", Class::Security),
        Change::Triggers { enable, name: Some(part) } => {
            Action::on_part(if *enable { "enable" } else { "disable" }, Class::Security, "trigger", name, part)
        }
        Change::Triggers { enable: true, name: None } => whole("enable triggers of", Class::Security),
        Change::Triggers { enable: false, name: None } => whole("disable triggers of", Class::Security),
        Change::Rules { .. } => whole("switch rules of", Class::Security),
        // After a crash the table is empty.
        Change::Unlogged => whole("unlog", Class::Destructive),
        Change::Logged => whole("log", Class::Blocking),
        Change::Rewrite { what } => whole(what, Class::Blocking),
        Change::ReplicaIdentity { nothing: true } => whole("remove replica identity of", Class::Breaking),
        Change::ReplicaIdentity { nothing: false } => whole("change replica identity of", Class::Additive),
        Change::ViewSecurity => whole("change security options of", Class::Security),
        Change::Tuning => whole("tune", Class::Additive),
        Change::Unknown { .. } => whole("alter", Class::Breaking),
    }
}
