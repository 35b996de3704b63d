//! Identities: which object a name stood for when somebody looked.
//!
//! Names can be moved from one object to another between approval and apply, so approvals bind to object addresses
//! (`pg_depend`'s triple) wherever the object exists.

use serde::{Deserialize, Serialize};

/// OID of `pg_class`, the catalog of relations (catalog/pg_class.h).
pub const RELATIONS: u32 = 1259;

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

/// What a name stood for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Identity {
    /// Nobody looked, or the kind of object is known by name only.
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
    /// Whether nobody looked.
    pub fn is_unknown(&self) -> bool {
        *self == Self::Unknown
    }

    /// Whether there was nothing to lose.
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::Missing | Self::NewColumn { .. })
    }

    /// Whether what was approved as `self` is what is found as `now`. `made` tells which whole objects revisions have
    /// created since: what did not exist cannot have been meant to be kept.
    pub fn admits(self, now: Self, made: &dyn Fn(Address) -> bool) -> bool {
        match (self, now) {
            (Self::Unknown, _) | (_, Self::Unknown | Self::Missing) => true,
            (Self::Is(approved), Self::Is(found)) => approved == found || made(found.whole()),
            (Self::NewColumn { table, after }, Self::Is(found)) => {
                (found.object == table && found.part > after) || made(found.whole())
            }
            (Self::Missing, Self::Is(found)) => made(found.whole()),
            (Self::Is(approved), Self::NewColumn { table, .. }) => approved.object == table || made(Address::relation(table)),
            (Self::NewColumn { table: approved, .. }, Self::NewColumn { table, .. }) => {
                approved == table || made(Address::relation(table))
            }
            (Self::Missing, Self::NewColumn { table, .. }) => made(Address::relation(table)),
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

    const NOTHING: &dyn Fn(Address) -> bool = &|_| false;

    fn table(object: u32) -> Identity {
        Identity::Is(Address::relation(object))
    }

    fn column(object: u32, part: i32) -> Identity {
        Identity::Is(Address { part, ..Address::relation(object) })
    }

    #[test]
    fn another_object_under_the_approved_name_is_not_admitted() {
        assert!(table(1).admits(table(1), NOTHING));
        assert!(!table(1).admits(table(2), NOTHING));
        assert!(!column(1, 2).admits(column(1, 3), NOTHING));
    }

    #[test]
    fn what_was_missing_must_have_been_made_by_revisions_since() {
        assert!(!Identity::Missing.admits(table(2), NOTHING));
        assert!(Identity::Missing.admits(table(2), &|address| address.object == 2));
        assert!(Identity::Missing.admits(column(2, 1), &|address| address.object == 2));
    }

    #[test]
    fn a_new_column_is_newer_than_all_that_were_there() {
        let later = Identity::NewColumn { table: 1, after: 4 };
        assert!(later.admits(column(1, 5), NOTHING));
        assert!(!later.admits(column(1, 4), NOTHING), "an old column that was renamed");
        assert!(!later.admits(column(9, 5), NOTHING), "another table");
    }

    #[test]
    fn what_went_meanwhile_can_not_be_lost_again() {
        assert!(table(1).admits(Identity::Missing, NOTHING));
    }

    #[test]
    fn an_identity_is_read_back() {
        for one in [Identity::Unknown, Identity::Missing, column(7, 2), Identity::NewColumn { table: 1, after: 2 }] {
            let text = serde_json::to_string(&one).unwrap();
            assert_eq!(serde_json::from_str::<Identity>(&text).unwrap(), one, "{text}");
        }
    }
}
