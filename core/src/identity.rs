//! Identities: which object a name meant when it was looked up.
//!
//! Names can be moved from one object to another between approval and apply, so approvals bind to object addresses
//! (`pg_depend`'s triple) wherever the object exists.

use serde::{Deserialize, Serialize};
use std::collections::{HashMap, HashSet};

/// OID of `pg_class`, the catalog of relations (catalog/pg_class.h).
pub const RELATIONS: u32 = 1259;

/// OID of `pg_proc`.
pub const FUNCTIONS: u32 = 1255;

/// The address of an object: catalog, OID, and column number (0 for the whole object).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Address {
    /// OID of the catalog that lists it.
    pub class: u32,
    /// Its OID.
    pub object: u32,
    /// Column number; 0 for the whole object.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub part: i32,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_zero(part: &i32) -> bool {
    *part == 0
}

impl Address {
    /// The relation with this OID.
    pub fn relation(object: u32) -> Self {
        Self { class: RELATIONS, object, part: 0 }
    }

    /// The object that this is a part of; itself if it is whole.
    pub fn whole(self) -> Self {
        Self { part: 0, ..self }
    }
}

/// What revisions have done to objects since a declaration was looked up.
pub trait History {
    /// Whether revisions have created the object at `path`, or brought it there by a declared rename or move; `declared` says
    /// what was there instead. What did not exist under a name cannot have been meant to be kept.
    fn brought(&self, object: Address, path: &[String], declared: Identity) -> bool;

    /// The same, where another object had the name when it was declared.
    fn replaced(&self, object: Address, path: &[String]) -> bool;

    /// Whether they have brought the table there that the column at `path` belongs to.
    fn brought_table(&self, table: Address, path: &[String]) -> bool {
        path.split_last().is_some_and(|(_, table_path)| self.brought(table, table_path, Identity::Missing))
    }

    /// Whether the revision at hand has created the object, or the table that it is part of, so that it is its to lose.
    fn made(&self, object: Address) -> bool;

    /// Whether any revision has created the object since.
    fn created(&self, object: Address) -> bool {
        self.made(object)
    }

    /// Whether a revision has created the object as a part of another: a partition, an heir.
    fn tied(&self, _: Address) -> bool {
        false
    }
}

/// Nothing has happened since.
#[derive(Debug)]
pub struct Nothing;

impl History for Nothing {
    fn brought(&self, _: Address, _: &[String], _: Identity) -> bool {
        false
    }

    fn replaced(&self, _: Address, _: &[String]) -> bool {
        false
    }

    fn made(&self, _: Address) -> bool {
        false
    }
}

/// What has happened, object by object: which were created, and where each was last created or brought by declaration.
#[derive(Clone, Debug, Default)]
pub struct Events {
    made: HashSet<Address>,
    places: HashMap<Address, Vec<String>>,
}

impl Events {
    /// Takes note that an object was created at `path`.
    pub fn create(&mut self, object: Address, path: Vec<String>) {
        self.made.insert(object);
        self.places.insert(object, path);
    }

    /// Forgets objects that are not there any more: a rollback has taken them back.
    pub fn retain(&mut self, keep: impl Fn(&Address) -> bool) {
        self.made.retain(&keep);
        self.places.retain(|object, _| keep(object));
    }

    /// Takes note that an object has a new name or lies in a new schema: where it is now, schema first.
    pub fn rename(&mut self, object: Address, path: Vec<String>) {
        self.places.insert(object, path);
    }

    /// Each object that was created or brought somewhere: whether it was created, and where it is now.
    pub fn all(&self) -> impl Iterator<Item = (Address, bool, &[String])> {
        self.places.iter().map(|(address, path)| (*address, self.made.contains(address), path.as_slice()))
    }
}

/// Within a revision, what it has created is its own; what it has renamed was bound to the object beforehand.
impl History for Events {
    fn brought(&self, object: Address, _: &[String], _: Identity) -> bool {
        self.made(object)
    }

    fn replaced(&self, object: Address, _: &[String]) -> bool {
        self.made(object)
    }

    fn made(&self, object: Address) -> bool {
        self.made.contains(&object) || self.made.contains(&object.whole())
    }
}

/// What a name stood for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Identity {
    /// The name was not looked up, or objects of the kind are known by name only.
    #[default]
    Unknown,
    /// Nothing had that name.
    Missing,
    /// This object.
    Is(Address),
    /// A column that the table did not have; its highest column number was `after`.
    NewColumn {
        /// OID of the table.
        table: u32,
        /// Highest column number, dropped columns counted.
        after: i32,
    },
}

impl Identity {
    /// Whether the name was not looked up.
    pub fn is_unknown(&self) -> bool {
        *self == Self::Unknown
    }

    /// Whether there was nothing to lose.
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::Missing | Self::NewColumn { .. })
    }

    /// Whether what was declared as `self`, under the name `path`, is what is found as `now`, in the light of what revisions
    /// have done since. What could not be bound to an object when it was declared covers none.
    pub fn admits(self, now: Self, path: &[String], since: &dyn History) -> bool {
        let table_of = |identity: Self| match identity {
            Self::Is(address) => Some(address.whole()),
            Self::NewColumn { table, .. } => Some(Address::relation(table)),
            Self::Unknown | Self::Missing => None,
        };
        match (self, now) {
            // What goes by its name alone: a program, a parameter, what a statement creates.
            (Self::Unknown, Self::Unknown) => true,
            // What a statement creates on a table that an earlier one creates.
            (Self::Missing, Self::Unknown) => true,
            // Nothing is lost.
            (_, Self::Missing) => true,
            (Self::Unknown, _) | (_, Self::Unknown) => false,
            (Self::Is(declared), Self::Is(found)) => {
                // A column is replaced by a column of the same table.
                let comparable = declared.part == 0 || declared.object == found.object;
                declared == found || (comparable && since.replaced(found, path))
            }
            (Self::Missing | Self::NewColumn { .. }, Self::Is(found)) => since.brought(found, path, self),
            (_, Self::NewColumn { table, .. }) => {
                table_of(self) == Some(Address::relation(table)) || since.brought_table(Address::relation(table), path)
            }
        }
    }

    /// As a message says it: `OID 16384`, `OID 16384 column 2`, `not there`.
    pub fn describe(self) -> String {
        match self {
            Self::Unknown => "known by name only".to_owned(),
            Self::Missing => "not there".to_owned(),
            Self::Is(Address { object, part: 0, .. }) => format!("OID {object}"),
            Self::Is(Address { object, part, .. }) => format!("OID {object} column {part}"),
            Self::NewColumn { table, .. } => format!("a column that OID {table} did not have"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(object: u32) -> Identity {
        Identity::Is(Address::relation(object))
    }

    fn column(object: u32, part: i32) -> Identity {
        Identity::Is(Address { part, ..Address::relation(object) })
    }

    fn path(text: &str) -> Vec<String> {
        text.split('.').map(str::to_owned).collect()
    }

    fn made(object: u32, part: i32, at: &str) -> Events {
        let mut events = Events::default();
        events.create(Address { part, ..Address::relation(object) }, path(at));
        events
    }

    #[test]
    fn another_object_under_the_approved_name_is_not_admitted() {
        let scratch = path("public.scratch");
        assert!(table(1).admits(table(1), &scratch, &Nothing));
        assert!(!table(1).admits(table(2), &scratch, &Nothing));
        assert!(!column(1, 2).admits(column(1, 3), &path("public.scratch.c"), &Nothing));
    }

    #[test]
    fn what_was_missing_must_have_been_made() {
        let scratch = path("public.scratch");
        assert!(!Identity::Missing.admits(table(2), &scratch, &Nothing));
        assert!(Identity::Missing.admits(table(2), &scratch, &made(2, 0, "public.scratch")));
        assert!(Identity::Missing.admits(column(2, 1), &path("public.scratch.c"), &made(2, 0, "public.scratch")));
        assert!(column(1, 2).admits(column(1, 5), &path("public.t.c"), &made(1, 5, "public.t.c")), "dropped and added again");
        let later = Identity::NewColumn { table: 1, after: 4 };
        assert!(!later.admits(column(1, 5), &path("public.t.c"), &Nothing), "added by somebody else");
        assert!(later.admits(Identity::NewColumn { table: 1, after: 9 }, &path("public.t.c"), &Nothing));
    }

    #[test]
    fn a_rename_brings_nothing_under_another_declaration() {
        let mut events = Events::default();
        events.rename(Address::relation(7), path("public.kept"));
        assert!(!Identity::Missing.admits(table(7), &path("public.kept"), &events), "it was bound beforehand, or not at all");
        assert!(!events.made(Address::relation(7)));
    }

    #[test]
    fn what_went_meanwhile_can_not_be_lost_again() {
        assert!(table(1).admits(Identity::Missing, &path("public.t"), &Nothing));
    }

    #[test]
    fn an_identity_is_read_back() {
        for one in [Identity::Unknown, Identity::Missing, column(7, 2), Identity::NewColumn { table: 1, after: 2 }] {
            let text = serde_json::to_string(&one).unwrap();
            assert_eq!(serde_json::from_str::<Identity>(&text).unwrap(), one, "{text}");
        }
    }
}
