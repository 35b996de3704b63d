//! ALTER of what is no relation, and of what is the same for all kinds: owners, schemas, extensions.

use crate::pg::parse::bind;
use crate::pg::parse::create::is_definer;
use crate::pg::parse::kinds::word;
use crate::pg::parse::names::{self, data_type, either, kind_of, object, parts, relation};
use crate::pg::parse::nodes::{cast, field, items, string};
use crate::pg::parse::type_change::has_on;
use pgrx::pg_sys::{self, ObjectType};
use runbook_core::command::{Change, Command};
use runbook_core::vocabulary::object_kind::ObjectKind;
use runbook_core::vocabulary::verb::Verb;

/// ALTER … SET SCHEMA.
pub fn schema_of(statement: &pg_sys::AlterObjectSchemaStmt) -> Command {
    let name = either(statement.relation, statement.objectType, statement.object);
    let kind = kind_of(statement.relation, &name, word(statement.objectType));
    Command::SetSchema { kind, name, schema: field(statement.newschema) }
}

/// ALTER … OWNER TO.
pub fn owner(statement: &pg_sys::AlterOwnerStmt) -> Command {
    let name = either(statement.relation, statement.objectType, statement.object);
    let kind = kind_of(statement.relation, &name, word(statement.objectType));
    Command::Owner { kind, name, role: bind::role(statement.newowner) }
}

/// ALTER TYPE … ADD VALUE and RENAME VALUE.
pub fn enumeration(statement: &pg_sys::AlterEnumStmt) -> Command {
    let name = data_type(statement.typeName.cast());
    match statement.oldVal.is_null() {
        true => Command::AddEnumValue { name, value: field(statement.newVal) },
        false => Command::RenameEnumValue { name, value: field(statement.oldVal) },
    }
}

/// ALTER DOMAIN.
pub fn domain(statement: &pg_sys::AlterDomainStmt) -> Command {
    let (verb, scans) = match statement.subtype as u8 {
        b'O' => (Verb::SetNotNull, true),
        b'C' => (Verb::AddConstraint, true),
        b'V' => (Verb::ValidateConstraint, true),
        b'X' => (Verb::DropConstraint, false),
        b'N' => (Verb::DropNotNull, false),
        _ => (Verb::Alter, false),
    };
    Command::AlterDomain { name: data_type(statement.typeName.cast()), verb, scans }
}

/// ALTER SEQUENCE.
pub fn sequence(statement: &pg_sys::AlterSeqStmt) -> Command {
    let changes = vec![Change::Unknown { subtype: 0 }];
    Command::AlterTable { kind: ObjectKind::Sequence, name: relation(statement.sequence), changes }
}

/// ALTER EXTENSION … UPDATE.
pub fn extension(statement: &pg_sys::AlterExtensionStmt) -> Command {
    let version = |node| {
        cast::<pg_sys::DefElem>(node).filter(|option| field(option.defname) == "new_version").map(|option| string(option.arg))
    };
    let to = items(statement.options).into_iter().find_map(version);
    Command::Extension { verb: Verb::Update, name: names::extension(&field(statement.extname)), to, member: None }
}

/// ALTER EXTENSION … ADD and DROP.
pub fn members(statement: &pg_sys::AlterExtensionContentsStmt) -> Command {
    let verb = if statement.action > 0 { Verb::AddMember } else { Verb::RemoveMember };
    let member = object(statement.objtype, statement.object);
    let name = names::extension(&field(statement.extname));
    Command::Extension { verb, name, to: None, member: Some((word(statement.objtype), member)) }
}

/// ALTER … DEPENDS ON EXTENSION.
pub fn depends(statement: &pg_sys::AlterObjectDependsStmt) -> Command {
    let kind = statement.objectType;
    if kind == ObjectType::OBJECT_TRIGGER {
        // The table's name, then its own.
        let part = parts(statement.object).pop().unwrap_or_default();
        return Command::DependsOnExtension { kind: word(kind), name: relation(statement.relation), part: Some(part) };
    }
    let name = either(statement.relation, kind, statement.object);
    Command::DependsOnExtension { kind: kind_of(statement.relation, &name, word(kind)), name, part: None }
}

/// ALTER FUNCTION.
pub fn function(statement: &pg_sys::AlterFunctionStmt) -> Command {
    let name = object(statement.objtype, statement.func.cast());
    let kind = word(statement.objtype);
    if has_on(statement.actions, "security") {
        return Command::Definer { verb: Verb::MakeSecurityDefiner, kind, name };
    }
    // Its search path is what keeps its privileges from whoever calls it.
    if is_definer(&name) {
        return Command::Definer { verb: Verb::AlterSecurityDefiner, kind, name };
    }
    Command::AlterTable { kind, name, changes: vec![Change::Unknown { subtype: 0 }] }
}
