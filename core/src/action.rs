//! Actions: one effect of one statement on one object, with its class.
//!
//! Owns the classification. It refuses to look at statement text. The class answers one question: who loses
//! if this runs? See `docs/guard.md` for the table.

use crate::command::Name;
use crate::identity::{Address, Identity};
use crate::vocabulary::object_kind::ObjectKind;
use crate::vocabulary::verb::Verb;
use crate::vocabulary::words;
use serde::{Deserialize, Serialize};
use std::fmt;

words! {
    /// What an action means for others, from harmless to worst.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
    #[serde(rename_all = "lowercase")]
    Class {
        /// Old clients keep working, nothing waits.
        Additive = "additive",
        /// Long lock, scan or rewrite.
        Blocking = "blocking",
        /// Old clients fail: rename, type change, dropped view.
        Breaking = "breaking",
        /// Grants, owners, row security.
        Security = "security",
        /// The guard, roles, system settings.
        Control = "control",
        /// Data is lost.
        Destructive = "destructive",
    }
}

/// An object by kind and path (`["public", "orders", "note"]`), unquoted.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Object {
    /// PostgreSQL's word for it: `table`, `column`, `materialized view`, …
    pub kind: ObjectKind,
    /// Schema, name and, for parts of an object, the part. The schema is missing where nothing told it.
    pub path: Vec<String>,
    /// Whether the path starts with a schema.
    pub qualified: bool,
}

impl Object {
    /// The quoted path, as it stands in payloads: `public."Orders".note`.
    pub fn identity(&self) -> String {
        let mut identity = String::new();
        for part in &self.path {
            if !identity.is_empty() {
                identity.push('.');
            }
            identity += &quote(part);
        }
        identity
    }
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quoted: Vec<String> = self.path.iter().map(|part| quote(part)).collect();
        // PostgreSQL will choose the name.
        match self.path.split_last() {
            Some((name, [])) if name.is_empty() => write!(f, "{} without a name", self.kind),
            Some((name, owner)) if name.is_empty() => write!(f, "{} on {}", self.kind, quoted[..owner.len()].join(".")),
            _ => write!(f, "{} {}", self.kind, quoted.join(".")),
        }
    }
}

/// An identifier as PostgreSQL would print it, keywords aside.
pub fn quote(identifier: &str) -> String {
    let plain = |c: char| c.is_ascii_lowercase() || c == '_';
    let bare = identifier.starts_with(plain) && identifier.chars().all(|c| plain(c) || c.is_ascii_digit() || c == '$');
    if bare { identifier.to_owned() } else { format!("\"{}\"", identifier.replace('"', "\"\"")) }
}

/// One effect on one object.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Action {
    /// What is done: `drop`, `rename`, `add`, …
    pub verb: Verb,
    /// Who loses.
    pub class: Class,
    /// To which object.
    pub object: Object,
    /// Whether the object is temporary, so that nobody else can lose it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub temporary: bool,
    /// The new name of what is renamed, or the new schema of what is moved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// The path before the revision's own renames, where they lead to the object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Vec<String>>,
    /// Which object that is.
    #[serde(default, skip_serializing_if = "Identity::is_unknown")]
    pub identity: Identity,
    /// The table of a constraint, trigger, rule, policy or index, the parent of a partition: what is created has no identity of its own yet, and
    /// is bound to this.
    #[serde(default, skip_serializing_if = "Identity::is_unknown")]
    pub owner: Identity,
    /// The roles that get or lose something, as they are known by OID; `Unknown` for PUBLIC and words such as CURRENT_USER.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<Identity>,
    /// Whether no statement says so, but the object goes along with one that a statement names: a partition, a sequence
    /// that a column owns, an inherited column.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub implied: bool,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.verb, self.object)
    }
}

impl Action {
    /// An action on the object of `kind` called `name`.
    pub fn on(verb: Verb, class: Class, kind: ObjectKind, name: &Name) -> Self {
        let object = Object { kind, path: name.path(), qualified: name.schema.is_some() };
        Self::plain(verb, class, object, name.temporary, name.identity)
    }

    /// One that moves nothing and has nothing tied to it.
    fn plain(verb: Verb, class: Class, object: Object, temporary: bool, identity: Identity) -> Self {
        let (to, origin, owner) = (None, None, Identity::Unknown);
        Self { verb, class, object, temporary, identity, to, origin, owner, roles: vec![], implied: false }
    }

    /// An action on a part of an object: a column, a trigger, a constraint.
    pub fn on_part(verb: Verb, class: Class, kind: ObjectKind, name: &Name, part: &str) -> Self {
        let mut action = Self::on(verb, class, kind, name);
        action.object.path.push(part.to_owned());
        action
    }

    pub(crate) fn to(mut self, name: &str) -> Self {
        self.to = Some(name.to_owned());
        self
    }

    /// A sentence on what people should know of it, where its name does not say so.
    pub fn warning(&self) -> Option<&'static str> {
        (self.verb == Verb::Recompute).then_some("The change of type may round, cut or replace values, or refuse them.")
    }

    /// The action by name only, for people.
    pub fn unbound(mut self) -> Self {
        (self.identity, self.owner) = (Identity::Unknown, Identity::Unknown);
        self
    }

    /// The action that `sql_drop` reports for an object that went: `kind` and `path` as PostgreSQL gives them.
    pub fn dropped(kind: ObjectKind, mut path: Vec<String>, temporary: bool, address: Address) -> Self {
        let kind = match kind {
            ObjectKind::Other(word) if word.ends_with(" column") => ObjectKind::Column,
            ObjectKind::TableConstraint => ObjectKind::Constraint,
            ObjectKind::Domain => ObjectKind::Type,
            kind => kind,
        };
        // So that policy can make an exception for large objects.
        if kind == ObjectKind::LargeObject && path.len() == 1 {
            path.insert(0, "pg_largeobject".to_owned());
        }
        let class = drop_class(&kind);
        // A domain's are not looked up beforehand; the statement names the domain.
        let identity = if kind == ObjectKind::DomainConstraint { Identity::Unknown } else { Identity::Is(address) };
        let object = Object { kind, qualified: path.len() > 1, path };
        Self::plain(Verb::Drop, class, object, temporary, identity)
    }

    /// The action with `schema` in front of an unqualified name of a kind of object that lives in schemas.
    pub fn at_home(mut self, schema: Option<&String>) -> Self {
        let bare = self.object.path.iter().all(String::is_empty);
        if let (Some(schema), false, false) = (schema, self.object.qualified, !self.object.kind.is_in_a_schema() || bare) {
            self.object.path.insert(0, schema.clone());
            self.object.qualified = true;
        }
        self
    }

    /// What becomes of `path`, which goes along with this action's own object: a column shares its table's fate, anything
    /// else is dropped.
    pub fn implying(&self, kind: ObjectKind, path: Vec<String>, address: Address) -> Self {
        let is_column = kind == ObjectKind::Column;
        let shares = is_column || self.empties();
        let (verb, class) = if shares { (self.verb.clone(), self.class) } else { (Verb::Drop, drop_class(&kind)) };
        let object = Object { kind, qualified: true, path };
        let to = if is_column { self.to.clone() } else { None };
        Self { verb, class, object, to, origin: None, identity: Identity::Is(address), implied: true, ..self.clone() }
    }

    /// Changing more rows of a protected table in one transaction than it allows.
    pub fn many_rows(name: &Name) -> Self {
        Self::on(Verb::ChangeManyRows, Class::Destructive, ObjectKind::Table, name)
    }

    /// Whether it takes rows, with those that refer to them, and leaves the table.
    pub fn empties(&self) -> bool {
        self.verb.empties()
    }

    /// Whether it has effects that no rollback takes back, so that its record must not be taken back either.
    pub fn outlasts_rollback(&self) -> bool {
        use ObjectKind::*;
        matches!(self.object.kind, Database | Tablespace | Program | File | Library) || self.verb == Verb::SetForCluster
    }

    /// Whether a call of ours does it, and no DDL; see [`crate::classify::control_call`].
    pub fn is_by_call(&self) -> bool {
        matches!(self.verb, Verb::Call | Verb::ChangeProtection)
    }

    /// Whether the object has another name or schema afterwards.
    pub fn is_move(&self) -> bool {
        self.verb.is_move()
    }

    /// What `ddl_command_end` reports: a command of kind `tag` touched the object at `path`.
    pub fn executed(tag: &str, kind: ObjectKind, path: Vec<String>, identity: Identity) -> Self {
        let object = Object { kind, qualified: path.len() > 1, path };
        Self::plain(Verb::of_tag(tag), Class::Additive, object, false, identity)
    }
}

/// The class of dropping an object of `kind`.
pub const fn drop_class(kind: &ObjectKind) -> Class {
    use ObjectKind::*;
    match kind {
        Table | Column | MaterializedView | Schema | Sequence | Extension | Database | Tablespace | LargeObject => {
            Class::Destructive
        }
        Policy => Class::Security,
        Role | EventTrigger | UserMapping => Class::Control,
        StatisticsObject | Statistics | DefaultValue => Class::Additive,
        _ => Class::Breaking,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::classify::classify;
    use crate::command::{Change, Command};

    fn orders() -> Name {
        Name { schema: Some("public".into()), ..Name::bare("orders") }
    }

    #[test]
    fn dropping_a_column_destroys_and_says_which() {
        let changes = vec![Change::DropColumn { column: "note".into() }];
        let actions = classify(&Command::AlterTable { kind: ObjectKind::Table, name: orders(), changes });
        assert_eq!(actions[0].to_string(), "drop column public.orders.note");
        assert_eq!(actions[0].class, Class::Destructive);
    }

    #[test]
    fn sql_drop_and_the_parse_tree_name_a_column_alike() {
        let changes = vec![Change::DropColumn { column: "note".into() }];
        let declared = classify(&Command::AlterTable { kind: ObjectKind::Table, name: orders(), changes });
        let path = ["public", "orders", "note"].map(str::to_owned).to_vec();
        assert_eq!(declared[0], Action::dropped("table column".into(), path, false, Address::relation(1)).unbound());
    }

    #[test]
    fn names_are_printed_as_postgresql_would() {
        assert_eq!(quote("orders"), "orders");
        assert_eq!(quote("Orders\"x"), "\"Orders\"\"x\"");
        assert_eq!(quote("1a"), "\"1a\"");
    }

    #[test]
    fn every_class_is_read_back() {
        for class in Class::ALL {
            assert_eq!(Class::parse(class.as_str()), Some(class));
        }
    }
}
