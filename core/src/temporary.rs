//! Temporary relations that statements make, followed from one statement to the next.
//!
//! Before any of the statements has run, the catalog knows nothing of them: a `DROP TABLE` of a table that the revision itself makes
//! as a temporary one would look like the drop of a lasting table.

use crate::command::{Command, Name};
use std::collections::HashSet;

/// The schema that stands for the session's own.
pub const SCHEMA: &str = "pg_temp";

/// Names of temporary relations that the statements so far have made.
#[derive(Debug, Default)]
pub struct Temporaries(HashSet<String>);

impl Temporaries {
    /// The command, with names that stand for such relations marked as temporary.
    pub fn follow(&mut self, mut command: Command) -> Command {
        for name in names(&mut command) {
            let is_session = name.schema.as_deref() == Some(SCHEMA) || name.schema.is_none() && self.0.contains(&name.name);
            if is_session && name.identity.is_absent() && self.0.contains(&name.name) {
                name.temporary = true;
                name.schema = Some(SCHEMA.to_owned());
            }
        }
        self.note(&command);
        command
    }

    fn note(&mut self, command: &Command) {
        match command {
            Command::Create { name, .. } if name.temporary => {
                self.0.insert(name.name.clone());
            }
            Command::Drop { names, .. } => names.iter().filter(|name| name.temporary).for_each(|name| {
                self.0.remove(&name.name);
            }),
            Command::Rename { name, part: None, new_name, .. } if name.temporary && self.0.remove(&name.name) => {
                self.0.insert(new_name.clone());
            }
            Command::Several(commands) => commands.iter().for_each(|command| self.note(command)),
            _ => {}
        }
    }
}

/// The relations that a command names, other than what it creates.
fn names(command: &mut Command) -> Vec<&mut Name> {
    use Command::*;
    match command {
        Drop { names, .. }
        | Truncate { names, .. }
        | Grant { names, .. }
        | Lock { names, .. }
        | Rewrite { names, .. }
        | Harmless { names, .. }
        | Heir { parents: names }
        | References { tables: names } => names.iter_mut().collect(),
        DropPart { name, .. }
        | AlterTable { name, .. }
        | Rename { name, .. }
        | SetSchema { name, .. }
        | Owner { name, .. }
        | Policy { table: name, .. }
        | Rule { table: name, .. }
        | Trigger { table: name, .. }
        | CreateIndex { table: name, .. }
        | Delete { name, .. }
        | Change { name } => vec![name],
        Several(commands) => commands.iter_mut().flat_map(names).collect(),
        _ => vec![],
    }
}

/// What a temporary relation hides behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shadowed {
    /// The name that both have.
    pub name: String,
    /// The schema of the lasting one.
    pub schema: String,
}

impl Shadowed {
    /// What is wrong with it.
    pub fn message(&self) -> String {
        format!(
            "a temporary relation has the name of {}.{}",
            crate::action::quote(&self.schema),
            crate::action::quote(&self.name)
        )
    }

    /// Why that matters.
    pub fn detail(&self) -> String {
        let name = crate::action::quote(&self.name);
        format!(
            "In a revision the temporary schema is searched last: {name} alone would mean the lasting relation, and not the temporary one."
        )
    }

    /// What helps.
    pub const HINT: &'static str = "Give the temporary relation a name of its own.";
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Identity;
    use crate::vocabulary::object_kind::ObjectKind;

    fn missing(name: &str) -> Name {
        Name { identity: Identity::Missing, ..Name::bare(name) }
    }

    fn dropped(name: Name) -> Command {
        Command::Drop { kind: ObjectKind::Table, names: vec![name], cascade: false }
    }

    fn made(name: &str, temporary: bool) -> Command {
        Command::Create { kind: ObjectKind::Table, name: Name { temporary, ..Name::bare(name) }, replace: false }
    }

    fn is_temporary(command: &Command) -> bool {
        let Command::Drop { names, .. } = command else { return false };
        names.iter().all(|name| name.temporary && name.schema.as_deref() == Some(SCHEMA))
    }

    #[test]
    fn what_was_made_as_temporary_is_temporary_until_it_is_dropped() {
        let mut all = Temporaries::default();
        assert!(!is_temporary(&all.follow(dropped(missing("s")))), "nothing has been made yet");
        all.follow(made("lasting", false));
        assert!(!is_temporary(&all.follow(dropped(missing("lasting")))));
        all.follow(made("s", true));
        let qualified = Name { schema: Some(SCHEMA.to_owned()), ..missing("s") };
        let elsewhere = Name { schema: Some("public".to_owned()), ..missing("s") };
        assert!(!is_temporary(&all.follow(dropped(elsewhere))));
        assert!(!is_temporary(&all.follow(dropped(missing("t")))));
        assert!(is_temporary(&all.follow(dropped(qualified))));
        assert!(!is_temporary(&all.follow(dropped(missing("s")))), "it is gone");
    }

    #[test]
    fn a_name_that_means_a_lasting_relation_is_not_taken_for_a_temporary_one() {
        let mut all = Temporaries::default();
        all.follow(made("s", true));
        let found = crate::identity::Address { class: 1259, object: 16_400, part: 0 };
        let lasting = Name { schema: Some("public".to_owned()), identity: Identity::Is(found), ..Name::bare("s") };
        assert!(!is_temporary(&all.follow(dropped(lasting))));
    }

    #[test]
    fn a_new_name_is_followed() {
        let mut all = Temporaries::default();
        all.follow(made("s", true));
        let (kind, part) = (ObjectKind::Table, None);
        all.follow(Command::Rename { kind, name: missing("s"), part, new_name: "t".to_owned() });
        assert!(!is_temporary(&all.follow(dropped(missing("s")))));
        assert!(is_temporary(&all.follow(dropped(missing("t")))));
    }
}
