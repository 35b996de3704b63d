//! Actions: one effect of one statement on one object, with its class.
//!
//! Owns the classification. It refuses to look at statement text. The class answers one question: who loses
//! if this runs? See `docs/guard.md` for the table.

use crate::command::{Change, Command, Name, RuleEffect, TypeChange};
use crate::identity::{Address, Identity};
use serde::{Deserialize, Serialize};
use std::fmt;

/// What an action means for others, from harmless to worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// Old clients keep working, nothing waits.
    Additive,
    /// Long lock, scan or rewrite.
    Blocking,
    /// Old clients fail: rename, type change, dropped view.
    Breaking,
    /// Grants, owners, row security.
    Security,
    /// The guard, roles, system settings.
    Control,
    /// Data is lost.
    Destructive,
}

impl Class {
    /// All classes, in ascending order.
    pub const ALL: [Self; 6] =
        [Self::Additive, Self::Blocking, Self::Breaking, Self::Security, Self::Control, Self::Destructive];

    /// The class as tables and messages spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Additive => "additive",
            Self::Blocking => "blocking",
            Self::Breaking => "breaking",
            Self::Security => "security",
            Self::Control => "control",
            Self::Destructive => "destructive",
        }
    }

    /// Reads what [`Class::as_str`] writes.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.as_str() == text)
    }
}

/// An object by kind and path (`["public", "orders", "note"]`), unquoted.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Object {
    /// PostgreSQL's word for it: `table`, `column`, `materialized view`, …
    pub kind: String,
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

    /// Whether objects of this kind live in schemas.
    pub fn is_in_a_schema(&self) -> bool {
        const HOMELESS: [&str; 20] = [
            "access method",
            "cast",
            "command",
            "database",
            "event trigger",
            "extension",
            "foreign-data wrapper",
            "language",
            "file",
            "library",
            "parameter",
            "program",
            "publication",
            "role",
            "schema",
            "server",
            "subscription",
            "tablespace",
            "transform",
            "user mapping",
        ];
        !HOMELESS.contains(&self.kind.as_str())
    }
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quoted: Vec<String> = self.path.iter().map(|part| quote(part)).collect();
        write!(f, "{} {}", self.kind, quoted.join("."))
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
    pub verb: String,
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
    pub fn on(verb: &str, class: Class, kind: &str, name: &Name) -> Self {
        let object = Object { kind: kind.to_owned(), path: name.path(), qualified: name.schema.is_some() };
        Self::plain(verb.to_owned(), class, object, name.temporary, name.identity)
    }

    /// One that moves nothing and has nothing tied to it.
    fn plain(verb: String, class: Class, object: Object, temporary: bool, identity: Identity) -> Self {
        let (to, origin, owner) = (None, None, Identity::Unknown);
        Self { verb, class, object, temporary, identity, to, origin, owner, roles: vec![], implied: false }
    }

    /// An action on a part of an object: a column, a trigger, a constraint.
    pub fn on_part(verb: &str, class: Class, kind: &str, name: &Name, part: &str) -> Self {
        let mut action = Self::on(verb, class, kind, name);
        action.object.path.push(part.to_owned());
        action
    }

    fn to(mut self, name: &str) -> Self {
        self.to = Some(name.to_owned());
        self
    }

    /// The action by name only, for people.
    pub fn unbound(mut self) -> Self {
        (self.identity, self.owner) = (Identity::Unknown, Identity::Unknown);
        self
    }

    /// The action that `sql_drop` reports for an object that went: `kind` and `path` as PostgreSQL gives them.
    pub fn dropped(kind: &str, mut path: Vec<String>, temporary: bool, address: Address) -> Self {
        // So that policy can make an exception for large objects.
        if kind == "large object" && path.len() == 1 {
            path.insert(0, "pg_largeobject".to_owned());
        }
        let kind = match kind {
            _ if kind.ends_with(" column") => "column",
            "table constraint" => "constraint",
            "domain" => "type",
            _ => kind,
        };
        let object = Object { kind: kind.to_owned(), qualified: path.len() > 1, path };
        // A domain's are not looked up beforehand; the statement names the domain.
        let identity = if kind == "domain constraint" { Identity::Unknown } else { Identity::Is(address) };
        Self::plain("drop".to_owned(), drop_class(kind), object, temporary, identity)
    }

    /// The action with `schema` in front of an unqualified name of a kind of object that lives in schemas.
    pub fn at_home(mut self, schema: Option<&String>) -> Self {
        let bare = self.object.path.iter().all(String::is_empty);
        if let (Some(schema), false, false) = (schema, self.object.qualified, !self.object.is_in_a_schema() || bare) {
            self.object.path.insert(0, schema.clone());
            self.object.qualified = true;
        }
        self
    }

    /// What becomes of `path`, which goes along with this action's own object: a column shares its table's fate, anything
    /// else is dropped.
    pub fn implying(&self, kind: &str, path: Vec<String>, address: Address) -> Self {
        let shares = kind == "column" || self.empties();
        let (verb, class) = if shares { (self.verb.clone(), self.class) } else { ("drop".to_owned(), drop_class(kind)) };
        let object = Object { kind: kind.to_owned(), qualified: true, path };
        let to = if kind == "column" { self.to.clone() } else { None };
        Self { verb, class, object, to, origin: None, identity: Identity::Is(address), implied: true, ..self.clone() }
    }

    /// Changing more rows of a protected table in one transaction than it allows.
    pub fn many_rows(name: &Name) -> Self {
        Self::on("change many rows of", Class::Destructive, "table", name)
    }

    /// Whether it takes rows, with those that refer to them, and leaves the table.
    pub fn empties(&self) -> bool {
        ["truncate", "truncate with cascade", "empty", "change many rows of"].contains(&self.verb.as_str())
    }

    /// Whether it has effects that no rollback takes back, so that its record must not be taken back either.
    pub fn outlasts_rollback(&self) -> bool {
        ["database", "tablespace", "program", "file", "library"].contains(&self.object.kind.as_str())
            || self.verb == "set for the whole cluster"
    }

    /// Whether a call of ours does it, and no DDL; see [`control_call`].
    pub fn is_by_call(&self) -> bool {
        [CALL, CHANGE_PROTECTION].contains(&self.verb.as_str())
    }

    /// Whether the object has another name or schema afterwards.
    pub fn is_move(&self) -> bool {
        ["rename", "rename part of", "move"].contains(&self.verb.as_str())
    }

    /// What `ddl_command_end` reports: a command of kind `tag` touched the object at `path`.
    pub fn executed(tag: &str, kind: &str, path: Vec<String>, identity: Identity) -> Self {
        let verb = tag.split(' ').next().unwrap_or_default().to_lowercase();
        let object = Object { kind: kind.to_owned(), qualified: path.len() > 1, path };
        Self::plain(verb, Class::Additive, object, false, identity)
    }
}

/// The class of dropping an object of `kind`.
pub fn drop_class(kind: &str) -> Class {
    match kind {
        "table" | "column" | "materialized view" | "schema" | "sequence" | "extension" | "database" | "tablespace"
        | "large object" => Class::Destructive,
        "policy" => Class::Security,
        "role" | "event trigger" | "user mapping" => Class::Control,
        "statistics object" | "statistics" | "default value" => Class::Additive,
        _ => Class::Breaking,
    }
}

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

const CALL: &str = "call";
const CHANGE_PROTECTION: &str = "change protection of";

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

#[cfg(test)]
mod tests {
    use super::*;

    fn orders() -> Name {
        Name { schema: Some("public".into()), ..Name::bare("orders") }
    }

    #[test]
    fn dropping_a_column_destroys_and_says_which() {
        let changes = vec![Change::DropColumn { column: "note".into() }];
        let actions = classify(&Command::AlterTable { kind: "table".into(), name: orders(), changes });
        assert_eq!(actions[0].to_string(), "drop column public.orders.note");
        assert_eq!(actions[0].class, Class::Destructive);
    }

    #[test]
    fn sql_drop_and_the_parse_tree_name_a_column_alike() {
        let changes = vec![Change::DropColumn { column: "note".into() }];
        let declared = classify(&Command::AlterTable { kind: "table".into(), name: orders(), changes });
        let path = ["public", "orders", "note"].map(str::to_owned).to_vec();
        assert_eq!(declared[0], Action::dropped("table column", path, false, Address::relation(1)).unbound());
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
