//! What CREATE does to others.

use crate::action::{Action, Class};
use crate::command::{Command, Name, RuleEffect};
use crate::identity::Identity;
use crate::vocabulary::object_kind::ObjectKind;
use crate::vocabulary::verb::Verb;

/// The action of a statement that creates something; `None` of any other.
pub fn action(command: &Command) -> Option<Action> {
    Some(match command {
        // What happens to the rows of a table afterwards is not what its statements say.
        Command::Policy { table, name } => Action::on_part(Verb::Create, Class::Security, ObjectKind::Policy, table, name),
        Command::Rule { table, name, replace, effect } => {
            let class = match effect {
                RuleEffect::Loses => Class::Destructive,
                RuleEffect::Redirects => Class::Breaking,
            };
            Action::on_part(verb(*replace), class, ObjectKind::Rule, table, name)
        }
        // Whatever its timing: a function that raises stops every write.
        Command::Trigger { table, name, replace } => {
            Action::on_part(verb(*replace), Class::Breaking, ObjectKind::Trigger, table, name)
        }
        Command::CreateIndex { table, name, concurrently, unique } => {
            let class = match (unique, concurrently) {
                // What clients write may be there already.
                (true, _) => Class::Breaking,
                (false, true) => Class::Additive,
                (false, false) => Class::Blocking,
            };
            let index = Name { name: name.clone(), identity: Identity::Unknown, ..table.clone() };
            Action { owner: table.identity, ..Action::on(Verb::Create, class, ObjectKind::Index, &index) }
        }
        Command::Create { kind, name, replace } => {
            Action::on(verb(*replace), class_of_creating(kind, *replace), kind.clone(), name)
        }
        _ => return None,
    })
}

const fn class_of_creating(kind: &ObjectKind, replace: bool) -> Class {
    use ObjectKind::*;
    match kind {
        UserMapping | Subscription | NewForeignDataWrapper | Language => Class::Security,
        // Without a replica identity updates and deletes fail.
        Publication => Class::Breaking,
        _ if replace => Class::Breaking,
        _ => Class::Additive,
    }
}

const fn verb(replace: bool) -> Verb {
    if replace { Verb::CreateOrReplace } else { Verb::Create }
}
