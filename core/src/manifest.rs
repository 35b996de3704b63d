//! The manifest: what an approved revision or permit may destroy, rewrite, rename or expose.
//!
//! Invariant: a manifest is made from the digest-checked text of one statement or one direction of one revision; nothing
//! that runs (a DO block, a trigger, a cascade) can add to it. It names objects and, where they exist, binds their
//! addresses, so that another object under the same name is not covered; and it lists what goes along with them, so that a
//! partition attached later is not.

use crate::action::{Action, Object};
use crate::identity::{History, Identity};
use crate::vocabulary::object_kind::ObjectKind;
use crate::vocabulary::verb::Verb;
use serde::{Deserialize, Serialize};

/// Declared actions, and those that they imply.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    actions: Vec<Action>,
    search_path: Vec<String>,
    /// OID of the migration role; `None` where none was configured, and revisions run as the role that calls.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    role: Option<u32>,
}

/// Whether an action is covered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cover {
    /// It is declared, for this object.
    Yes,
    /// Nothing of the kind is declared.
    Undeclared,
    /// It is declared for another object that had this name.
    Another {
        /// What the name stood for.
        declared: Identity,
    },
    /// It is declared for this object, and other roles.
    OtherRoles,
}

impl Manifest {
    /// The manifest of `actions`, whose unqualified names mean schemas of `search_path`.
    pub fn new(actions: Vec<Action>, search_path: Vec<String>) -> Self {
        Self { actions, search_path, role: None }
    }

    /// The same, to be run as a role: what row security shows, and `current_user`, depend on it.
    pub fn to_run_as(self, role: Option<u32>) -> Self {
        Self { role, ..self }
    }

    /// OID of the role that it is to be run as, if one was configured.
    pub fn role(&self) -> Option<u32> {
        self.role
    }

    /// The schemas in which unqualified names were looked up.
    pub fn search_path(&self) -> &[String] {
        &self.search_path
    }

    /// The declared actions.
    pub fn actions(&self) -> &[Action] {
        &self.actions
    }

    /// Whether `action` is declared. Unqualified declared names match only in the pinned search path; for `since` see
    /// [`Identity::admits`].
    pub fn covers(&self, action: &Action, since: &dyn History) -> Cover {
        let declared = self.actions.iter().filter(|declared| {
            (declared.verb == action.verb || is_worse_than(&declared.verb, &action.verb))
                && declared.class >= action.class
                && declared.to == action.to
                && (self.same(&declared.object, &action.object) || is_bound_to_the_same(declared, action))
        });
        let mut cover = Cover::Undeclared;
        for one in declared {
            let path = one.origin.as_ref().unwrap_or(&one.object.path);
            let itself = one.identity.admits(action.identity, path, since) || came_with_its_table(one, action, path, since);
            let same_roles = are_the_same(&one.roles, &action.roles, since);
            if itself && same_roles && is_of_the_same(one, action, path, since) {
                return Cover::Yes;
            }
            cover = match (itself, same_roles) {
                (true, false) => Cover::OtherRoles,
                (true, true) => Cover::Another { declared: one.owner },
                (false, _) => Cover::Another { declared: one.identity },
            };
        }
        cover
    }

    fn same(&self, declared: &Object, actual: &Object) -> bool {
        // DROP ROUTINE drops whichever of them it is.
        use ObjectKind::{Aggregate, Function, Procedure, Routine};
        let routine = declared.kind == Routine && matches!(actual.kind, Function | Procedure | Aggregate);
        if declared.kind != actual.kind && !routine {
            return false;
        }
        let in_path = |bare: &Object, full: &Object| {
            let (schema, rest) = full.path.split_first().map_or(("", &[][..]), |(schema, rest)| (schema.as_str(), rest));
            bare.path == rest && self.search_path.iter().any(|known| known == schema)
        };
        match (declared.qualified, actual.qualified) {
            (false, true) => in_path(declared, actual),
            (true, false) => in_path(actual, declared),
            _ => declared.path == actual.path,
        }
    }
}

/// Whether a constraint was not there when its dropping was declared, nor its table, and revisions have made that since.
fn came_with_its_table(declared: &Action, action: &Action, path: &[String], since: &dyn History) -> bool {
    declared.identity == Identity::Missing && matches!(action.owner, Identity::Is(table) if since.brought_table(table, path))
}

/// Whether the same roles get or lose something. One that was not there must have been created by a revision since.
fn are_the_same(declared: &[Identity], actual: &[Identity], since: &dyn History) -> bool {
    declared.len() == actual.len()
        && declared.iter().zip(actual).all(|(then, now)| {
            then == now || *then == Identity::Missing && matches!(now, Identity::Is(found) if since.created(*found))
        })
}

/// Whether what is created belongs to the table that was meant. Where that was not there, revisions must have brought it there since.
fn is_of_the_same(declared: &Action, action: &Action, path: &[String], since: &dyn History) -> bool {
    let Some((_, table)) = path.split_last() else { return true };
    if declared.owner.is_unknown() || action.owner.is_unknown() || declared.owner == action.owner {
        return true;
    }
    // An index and a partition have no table in their paths: any that revisions have made will do.
    let is_named = !matches!(declared.object.kind, ObjectKind::Index | ObjectKind::Partition);
    match action.owner {
        Identity::Is(found) if !is_named => since.created(found),
        found => declared.owner.admits(found, table, since),
    }
}

/// Whether both stand for one object, however it is spelt: casts and operators have no single name.
fn is_bound_to_the_same(declared: &Action, action: &Action) -> bool {
    matches!(declared.identity, Identity::Is(_))
        && declared.identity == action.identity
        && declared.object.kind == action.object.kind
}

/// Whether what was declared is the worst that a change of a column's type can be, and what happens is a milder one: the type was not
/// known yet.
fn is_worse_than(declared: &Verb, actual: &Verb) -> bool {
    *declared == Verb::Recompute && matches!(actual, Verb::ChangeType | Verb::Widen)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::action::Class;
    use crate::command::Name;
    use crate::identity::{Address, Nothing};

    fn dropped(schema: Option<&str>, name: &str) -> Action {
        let name = Name { schema: schema.map(str::to_owned), ..Name::bare(name) };
        Action::on(Verb::Drop, Class::Destructive, ObjectKind::Table, &name)
    }

    fn manifest(actions: Vec<Action>) -> Manifest {
        Manifest::new(actions, vec!["public".into()])
    }

    #[test]
    fn an_unqualified_declaration_covers_the_search_path_and_nothing_beyond() {
        let manifest = manifest(vec![dropped(None, "scratch")]);
        assert_eq!(manifest.covers(&dropped(Some("public"), "scratch"), &Nothing), Cover::Yes);
        assert_eq!(manifest.covers(&dropped(Some("secret"), "scratch"), &Nothing), Cover::Undeclared);
        assert_eq!(manifest.covers(&dropped(Some("public"), "precious"), &Nothing), Cover::Undeclared);
    }

    #[test]
    fn a_declared_rename_does_not_cover_a_drop() {
        let mut rename = dropped(Some("public"), "t");
        rename.verb = Verb::Rename;
        assert_eq!(manifest(vec![rename]).covers(&dropped(Some("public"), "t"), &Nothing), Cover::Undeclared);
    }

    #[test]
    fn another_table_under_the_declared_name_is_not_covered() {
        let bound = |oid| Action { identity: Identity::Is(Address::relation(oid)), ..dropped(Some("public"), "scratch") };
        let manifest = manifest(vec![bound(10)]);
        assert_eq!(manifest.covers(&bound(10), &Nothing), Cover::Yes);
        assert_eq!(manifest.covers(&bound(11), &Nothing), Cover::Another { declared: bound(10).identity });
    }
}
