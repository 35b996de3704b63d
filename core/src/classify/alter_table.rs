//! The actions of ALTER TABLE, ALTER VIEW, ALTER INDEX and similar statements.

use crate::action::{Action, Class};
use crate::command::{Change, Name, TypeChange};
use crate::vocabulary::object_kind::ObjectKind;
use crate::vocabulary::verb::Verb;

/// The actions of all subcommands of one statement.
pub fn actions(kind: &ObjectKind, name: &Name, changes: &[Change]) -> Vec<Action> {
    let heir = changes.iter().any(|change| matches!(change, Change::Inherit { .. }));
    let own = heir.then(|| Action::on(Verb::MakeHeir, Class::Breaking, kind.clone(), name));
    changes.iter().map(|change| action(kind, name, change)).chain(own).collect()
}

fn action(kind: &ObjectKind, table: &Name, change: &Change) -> Action {
    let part = |kind, verb, class, part: &str| Action::on_part(verb, class, kind, table, part);
    let column = |verb, class, column: &str| part(ObjectKind::Column, verb, class, column);
    let constraint = |verb, class, constraint: &str| part(ObjectKind::Constraint, verb, class, constraint);
    let whole = |verb, class| Action::on(verb, class, kind.clone(), table);
    let either = |is_first, first, second| if is_first { first } else { second };
    use Change::*;
    match change {
        AddColumn { column: name, rewrites } => column(Verb::Add, either(*rewrites, Class::Blocking, Class::Additive), name),
        DropColumn { column: name } => column(Verb::Drop, Class::Destructive, name),
        ColumnType { column: name, effect: TypeChange::Loses } => column(Verb::Recompute, Class::Destructive, name),
        ColumnType { column: name, effect: TypeChange::Converts } => column(Verb::ChangeType, Class::Breaking, name),
        ColumnType { column: name, effect: TypeChange::Widens } => column(Verb::Widen, Class::Additive, name),
        ColumnDefault { column: name, gone } => {
            column(Verb::ChangeDefault, either(*gone, Class::Breaking, Class::Additive), name)
        }
        SetNotNull { column: name, scans } => column(Verb::SetNotNull, either(*scans, Class::Blocking, Class::Additive), name),
        DropNotNull { column: name } => column(Verb::DropNotNull, Class::Additive, name),
        DropExpression { column: name } => column(Verb::DropExpression, Class::Breaking, name),
        DropIdentity { column: name } => column(Verb::DropIdentity, Class::Destructive, name),
        ResetIdentity { column: name } => column(Verb::ChangeIdentity, Class::Breaking, name),
        AddConstraint { name, scans } => constraint(Verb::Add, either(*scans, Class::Blocking, Class::Additive), name),
        AddRestriction { name } => constraint(Verb::Add, Class::Breaking, name),
        ValidateConstraint { name } => constraint(Verb::Validate, Class::Blocking, name),
        AddCascade { name, .. } => constraint(Verb::Add, Class::Breaking, name),
        DropConstraint { name } => constraint(Verb::Drop, Class::Breaking, name),
        Inherit { parent } => Action::on(Verb::InheritFrom, Class::Breaking, ObjectKind::Table, parent),
        Owner { role } => Action { roles: vec![role.identity], ..whole(Verb::ChangeOwner, Class::Security) },
        DetachPartition { partition } => Action::on(Verb::Detach, Class::Breaking, ObjectKind::Partition, partition),
        AttachPartition { partition } => {
            Action { owner: table.identity, ..Action::on(Verb::Attach, Class::Blocking, ObjectKind::Partition, partition) }
        }
        NoInherit { .. } => whole(Verb::RemoveInheritance, Class::Breaking),
        RowSecurity { enable: true } => whole(Verb::EnableRowSecurity, Class::Security),
        RowSecurity { enable: false } => whole(Verb::WeakenRowSecurity, Class::Security),
        Triggers { enable, name: Some(trigger) } => {
            let verb = if *enable { Verb::Enable } else { Verb::Disable };
            part(ObjectKind::Trigger, verb, Class::Security, trigger)
        }
        Triggers { enable: true, name: None } => whole(Verb::EnableTriggers, Class::Security),
        Triggers { enable: false, name: None } => whole(Verb::DisableTriggers, Class::Security),
        Rules { .. } => whole(Verb::SwitchRules, Class::Security),
        // After a crash the table is empty.
        Unlogged => whole(Verb::Unlog, Class::Destructive),
        Logged => whole(Verb::Log, Class::Blocking),
        Rewrite { verb } => whole(verb.clone(), Class::Blocking),
        ReplicaIdentity { nothing: true } => whole(Verb::RemoveReplicaIdentity, Class::Breaking),
        ReplicaIdentity { nothing: false } => whole(Verb::ChangeReplicaIdentity, Class::Additive),
        ViewSecurity => whole(Verb::ChangeSecurityOptions, Class::Security),
        Tuning => whole(Verb::Tune, Class::Additive),
        Unknown { .. } => whole(Verb::Alter, Class::Breaking),
    }
}
