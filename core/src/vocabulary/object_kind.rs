//! What objects are: PostgreSQL's own words, as its event triggers print them (src/backend/catalog/objectaddress.c), and a few more.

use super::words;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

words! {
    /// What kind of object an action is about.
    #[derive(Clone, Debug, PartialEq, Eq, Hash)]
    #[allow(missing_docs, reason = "each is described by its text")]
    ObjectKind {
        AccessMethod = "access method",
        Aggregate = "aggregate",
        Cast = "cast",
        Collation = "collation",
        Column = "column",
        /// A statement of which only the command tag is known.
        Command = "command",
        CompositeType = "composite type",
        Constraint = "constraint",
        Conversion = "conversion",
        Database = "database",
        DefaultAcl = "default acl",
        DefaultValue = "default value",
        Domain = "domain",
        DomainConstraint = "domain constraint",
        EnumValue = "enum value",
        EventTrigger = "event trigger",
        Extension = "extension",
        /// A file of the server.
        File = "file",
        ForeignDataWrapper = "foreign-data wrapper",
        /// As the command tag of CREATE FOREIGN DATA WRAPPER writes it.
        NewForeignDataWrapper = "foreign data wrapper",
        ForeignTable = "foreign table",
        Function = "function",
        FunctionOfAccessMethod = "function of access method",
        Index = "index",
        /// An index whose name is that of its constraint.
        IndexOfConstraint = "index of a constraint",
        Language = "language",
        LargeObject = "large object",
        /// A library that LOAD loads.
        Library = "library",
        MaterializedView = "materialized view",
        Object = "object",
        Operator = "operator",
        OperatorClass = "operator class",
        OperatorFamily = "operator family",
        OperatorOfAccessMethod = "operator of access method",
        /// A configuration parameter.
        Parameter = "parameter",
        Partition = "partition",
        Policy = "policy",
        Procedure = "procedure",
        /// A program of the server.
        Program = "program",
        Publication = "publication",
        PublicationNamespace = "publication namespace",
        PublicationRelation = "publication relation",
        Role = "role",
        Routine = "routine",
        Rule = "rule",
        Schema = "schema",
        Sequence = "sequence",
        Server = "server",
        /// A catalog that all databases of the cluster share.
        SharedCatalog = "shared catalog",
        Statistics = "statistics",
        StatisticsObject = "statistics object",
        Subscription = "subscription",
        Table = "table",
        /// As `sql_drop` calls a constraint.
        TableConstraint = "table constraint",
        Tablespace = "tablespace",
        TextSearchConfiguration = "text search configuration",
        TextSearchDictionary = "text search dictionary",
        TextSearchParser = "text search parser",
        TextSearchTemplate = "text search template",
        Transform = "transform",
        Trigger = "trigger",
        Type = "type",
        UserMapping = "user mapping",
        View = "view",
    } besides {
        /// `every table in schema`: what GRANT … ON ALL TABLES IN SCHEMA is about.
        EveryInSchema(Box<Self>),
        /// `default privileges of every table`.
        DefaultPrivileges(Box<Self>),
        /// A word of PostgreSQL's that nothing here depends on.
        Other(Box<str>),
    }
}

impl From<&str> for ObjectKind {
    fn from(text: &str) -> Self {
        let inner = |start: &str, end: &str| text.strip_prefix(start)?.strip_suffix(end).map(|kind| Box::new(Self::from(kind)));
        Self::parse_word(text)
            .or_else(|| inner("every ", " in schema").map(Self::EveryInSchema))
            .or_else(|| inner("default privileges of every ", "").map(Self::DefaultPrivileges))
            .unwrap_or_else(|| Self::Other(text.into()))
    }
}

impl fmt::Display for ObjectKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self, self.word()) {
            (_, Some(word)) => f.write_str(word),
            (Self::EveryInSchema(kind), _) => write!(f, "every {kind} in schema"),
            (Self::DefaultPrivileges(kind), _) => write!(f, "default privileges of every {kind}"),
            (Self::Other(text), _) => f.write_str(text),
            _ => Ok(()),
        }
    }
}

impl Serialize for ObjectKind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ObjectKind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self::from(String::deserialize(deserializer)?.as_str()))
    }
}

impl ObjectKind {
    /// Whether objects of this kind live in schemas.
    pub const fn is_in_a_schema(&self) -> bool {
        use ObjectKind::*;
        !matches!(
            self,
            AccessMethod
                | Cast
                | Command
                | Database
                | EventTrigger
                | Extension
                | ForeignDataWrapper
                | Language
                | File
                | Library
                | Parameter
                | Program
                | Publication
                | Role
                | Schema
                | Server
                | Subscription
                | Tablespace
                | Transform
                | UserMapping
        )
    }

    /// Whether it is a part of a relation, whose path has the relation's before its own name.
    pub const fn is_part(&self) -> bool {
        matches!(self, Self::Column | Self::Trigger | Self::Rule | Self::Policy | Self::Constraint)
    }

    /// Whether it is a relation. These share one space of names in a schema; routines, types and the rest have their own.
    pub const fn is_relation(&self) -> bool {
        use ObjectKind::*;
        matches!(self, Table | View | MaterializedView | Sequence | Index | IndexOfConstraint | ForeignTable | Partition)
    }

    /// Whether it holds data of its own.
    pub const fn holds_data(&self) -> bool {
        matches!(self, Self::Table | Self::Sequence | Self::MaterializedView | Self::ForeignTable)
    }
}

#[cfg(test)]
mod tests {
    use super::ObjectKind;

    #[test]
    fn each_text_is_read_back() {
        let every = ObjectKind::EveryInSchema(Box::new(ObjectKind::Table));
        let default = ObjectKind::DefaultPrivileges(Box::new(ObjectKind::Other("widget".into())));
        for kind in ObjectKind::WORDS.iter().chain([&every, &default]) {
            assert_eq!(ObjectKind::from(kind.to_string().as_str()), *kind);
        }
        assert_eq!(default.to_string(), "default privileges of every widget");
    }
}
