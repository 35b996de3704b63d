//! PostgreSQL's words for kinds of objects, as its event triggers print them (src/backend/catalog/objectaddress.c).

use pgrx::pg_sys::ObjectType::*;

/// The word for an `ObjectType`.
pub fn word(kind: Type) -> &'static str {
    match kind {
        OBJECT_ACCESS_METHOD => "access method",
        OBJECT_AGGREGATE => "aggregate",
        OBJECT_ATTRIBUTE | OBJECT_COLUMN => "column",
        OBJECT_CAST => "cast",
        OBJECT_COLLATION => "collation",
        OBJECT_CONVERSION => "conversion",
        OBJECT_DATABASE => "database",
        OBJECT_DEFAULT => "default value",
        OBJECT_DEFACL => "default acl",
        OBJECT_DOMAIN => "domain",
        OBJECT_DOMCONSTRAINT => "domain constraint",
        OBJECT_EVENT_TRIGGER => "event trigger",
        OBJECT_EXTENSION => "extension",
        OBJECT_FDW => "foreign-data wrapper",
        OBJECT_FOREIGN_SERVER => "server",
        OBJECT_FOREIGN_TABLE => "foreign table",
        OBJECT_FUNCTION => "function",
        OBJECT_INDEX => "index",
        OBJECT_LANGUAGE => "language",
        OBJECT_LARGEOBJECT => "large object",
        OBJECT_MATVIEW => "materialized view",
        OBJECT_OPCLASS => "operator class",
        OBJECT_OPERATOR => "operator",
        OBJECT_OPFAMILY => "operator family",
        OBJECT_POLICY => "policy",
        OBJECT_PROCEDURE => "procedure",
        OBJECT_PUBLICATION => "publication",
        OBJECT_ROLE => "role",
        OBJECT_ROUTINE => "routine",
        OBJECT_RULE => "rule",
        OBJECT_SCHEMA => "schema",
        OBJECT_SEQUENCE => "sequence",
        OBJECT_SUBSCRIPTION => "subscription",
        OBJECT_STATISTIC_EXT => "statistics object",
        OBJECT_TABCONSTRAINT => "constraint",
        OBJECT_TABLE => "table",
        OBJECT_TABLESPACE => "tablespace",
        OBJECT_TRANSFORM => "transform",
        OBJECT_TRIGGER => "trigger",
        OBJECT_TSCONFIGURATION => "text search configuration",
        OBJECT_TSDICTIONARY => "text search dictionary",
        OBJECT_TSPARSER => "text search parser",
        OBJECT_TSTEMPLATE => "text search template",
        OBJECT_TYPE => "type",
        OBJECT_USER_MAPPING => "user mapping",
        OBJECT_VIEW => "view",
        _ => "object",
    }
}

/// Whether objects of this kind are relations, named by a RangeVar.
pub fn is_relation(kind: Type) -> bool {
    matches!(kind, OBJECT_TABLE | OBJECT_SEQUENCE | OBJECT_VIEW | OBJECT_MATVIEW | OBJECT_INDEX | OBJECT_FOREIGN_TABLE)
}
