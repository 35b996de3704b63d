//! The manifest: what an approved revision declares it will do, and so may do.
//!
//! Invariant: a manifest is made from the digest-checked text of one revision and one direction; nothing that
//! runs (a DO block, a trigger, a cascade) can add to it.

use crate::action::{Action, Object};

/// The declared actions of one direction of one revision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manifest {
    actions: Vec<Action>,
    search_path: Vec<String>,
}

impl Manifest {
    /// The manifest of `actions`, whose unqualified names mean schemas of `search_path`.
    pub fn new(actions: Vec<Action>, search_path: Vec<String>) -> Self {
        Self { actions, search_path }
    }

    /// Whether `action` is declared. Unqualified declared names match only in the pinned search path.
    pub fn covers(&self, action: &Action) -> bool {
        self.actions.iter().any(|declared| {
            declared.verb == action.verb && declared.class >= action.class && self.same(&declared.object, &action.object)
        })
    }

    fn same(&self, declared: &Object, actual: &Object) -> bool {
        if declared.kind != actual.kind {
            return false;
        }
        match (declared.qualified, actual.qualified) {
            (false, true) => {
                let (schema, rest) = actual.path.split_first().map_or(("", &[][..]), |(schema, rest)| (schema.as_str(), rest));
                declared.path == rest && self.search_path.iter().any(|known| known == schema)
            }
            _ => declared.path == actual.path,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::action::Class;
    use crate::command::Name;

    fn dropped(schema: Option<&str>, name: &str) -> Action {
        let name = Name { schema: schema.map(str::to_owned), ..Name::bare(name) };
        Action::on("drop", Class::Destructive, "table", &name)
    }

    #[test]
    fn an_unqualified_declaration_covers_the_search_path_and_nothing_beyond() {
        let manifest = Manifest::new(vec![dropped(None, "scratch")], vec!["public".into()]);
        assert!(manifest.covers(&dropped(Some("public"), "scratch")));
        assert!(!manifest.covers(&dropped(Some("secret"), "scratch")));
        assert!(!manifest.covers(&dropped(Some("public"), "precious")));
    }

    #[test]
    fn a_declared_rename_does_not_cover_a_drop() {
        let mut rename = dropped(Some("public"), "t");
        rename.verb = "rename".into();
        assert!(!Manifest::new(vec![rename], vec![]).covers(&dropped(Some("public"), "t")));
    }
}
