//! PostgreSQL's words for kinds of objects, as its event triggers print them (src/backend/catalog/objectaddress.c).

use pgrx::pg_sys::ObjectType::*;
use runbook_core::vocabulary::object_kind::ObjectKind;

/// The word for an `ObjectType`.
pub fn word(kind: Type) -> ObjectKind {
    match kind {
        OBJECT_ACCESS_METHOD => ObjectKind::AccessMethod,
        OBJECT_AGGREGATE => ObjectKind::Aggregate,
        OBJECT_ATTRIBUTE | OBJECT_COLUMN => ObjectKind::Column,
        OBJECT_CAST => ObjectKind::Cast,
        OBJECT_COLLATION => ObjectKind::Collation,
        OBJECT_CONVERSION => ObjectKind::Conversion,
        OBJECT_DATABASE => ObjectKind::Database,
        OBJECT_DEFAULT => ObjectKind::DefaultValue,
        OBJECT_DEFACL => ObjectKind::DefaultAcl,
        OBJECT_DOMAIN => ObjectKind::Domain,
        OBJECT_DOMCONSTRAINT => ObjectKind::DomainConstraint,
        OBJECT_EVENT_TRIGGER => ObjectKind::EventTrigger,
        OBJECT_EXTENSION => ObjectKind::Extension,
        OBJECT_FDW => ObjectKind::ForeignDataWrapper,
        OBJECT_FOREIGN_SERVER => ObjectKind::Server,
        OBJECT_FOREIGN_TABLE => ObjectKind::ForeignTable,
        OBJECT_FUNCTION => ObjectKind::Function,
        OBJECT_INDEX => ObjectKind::Index,
        OBJECT_LANGUAGE => ObjectKind::Language,
        OBJECT_LARGEOBJECT => ObjectKind::LargeObject,
        OBJECT_MATVIEW => ObjectKind::MaterializedView,
        OBJECT_OPCLASS => ObjectKind::OperatorClass,
        OBJECT_OPERATOR => ObjectKind::Operator,
        OBJECT_PARAMETER_ACL => ObjectKind::Parameter,
        OBJECT_OPFAMILY => ObjectKind::OperatorFamily,
        OBJECT_POLICY => ObjectKind::Policy,
        OBJECT_PROCEDURE => ObjectKind::Procedure,
        OBJECT_PUBLICATION => ObjectKind::Publication,
        OBJECT_ROLE => ObjectKind::Role,
        OBJECT_ROUTINE => ObjectKind::Routine,
        OBJECT_RULE => ObjectKind::Rule,
        OBJECT_SCHEMA => ObjectKind::Schema,
        OBJECT_SEQUENCE => ObjectKind::Sequence,
        OBJECT_SUBSCRIPTION => ObjectKind::Subscription,
        OBJECT_STATISTIC_EXT => ObjectKind::StatisticsObject,
        OBJECT_TABCONSTRAINT => ObjectKind::Constraint,
        OBJECT_TABLE => ObjectKind::Table,
        OBJECT_TABLESPACE => ObjectKind::Tablespace,
        OBJECT_TRANSFORM => ObjectKind::Transform,
        OBJECT_TRIGGER => ObjectKind::Trigger,
        OBJECT_TSCONFIGURATION => ObjectKind::TextSearchConfiguration,
        OBJECT_TSDICTIONARY => ObjectKind::TextSearchDictionary,
        OBJECT_TSPARSER => ObjectKind::TextSearchParser,
        OBJECT_TSTEMPLATE => ObjectKind::TextSearchTemplate,
        OBJECT_TYPE => ObjectKind::Type,
        OBJECT_USER_MAPPING => ObjectKind::UserMapping,
        OBJECT_VIEW => ObjectKind::View,
        _ => ObjectKind::Object,
    }
}

/// Whether objects of this kind are relations, named by a RangeVar.
pub fn is_relation(kind: Type) -> bool {
    matches!(kind, OBJECT_TABLE | OBJECT_SEQUENCE | OBJECT_VIEW | OBJECT_MATVIEW | OBJECT_INDEX | OBJECT_FOREIGN_TABLE)
}
