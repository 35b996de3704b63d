//! Names in parse trees, and what they stand for now: relations, types, routines, schemas, extensions, and parts of relations.

use crate::pg::ffi;
use crate::pg::parse::kinds::is_relation;
use crate::pg::parse::nodes::{NodePtr, items, name_of, string, strings, tag};
use crate::pg::parse::{bind, lookup};
use crate::pg::pg_error::trap;
use crate::pg::strings::text;
use pgrx::pg_sys::{self, NodeTag, ObjectType};
use runbook_core::command::Name;
use runbook_core::identity::{Address, Identity};
use runbook_core::temporary::SCHEMA;
use runbook_core::vocabulary::object_kind::ObjectKind;
use std::ffi::CString;

/// OIDs of pg_rewrite, pg_policy and pg_language (catalog/pg_rewrite.h and so on), which the bindings leave out.
const REWRITE_CATALOG: u32 = 2618;

const POLICY_CATALOG: u32 = 3256;

const LANGUAGE_CATALOG: u32 = 2612;

/// What a relation is, whatever word the statement uses: ALTER INDEX can rename a table. An index that backs a constraint is
/// told apart, since its name is the constraint's.
pub fn relation_kind(name: &Name, word: ObjectKind) -> ObjectKind {
    let Identity::Is(address) = name.identity else { return word };
    let oid = pg_sys::Oid::from(address.object);
    // SAFETY: both look into a catalog cache or index and give 0 for what is not there.
    match unsafe { pg_sys::get_rel_relkind(oid) } as u8 {
        b'r' | b'p' => ObjectKind::Table,
        b'v' => ObjectKind::View,
        b'm' => ObjectKind::MaterializedView,
        b'S' => ObjectKind::Sequence,
        b'f' => ObjectKind::ForeignTable,
        // SAFETY: as above.
        b'i' | b'I' if unsafe { pg_sys::get_index_constraint(oid) } != pg_sys::InvalidOid => ObjectKind::IndexOfConstraint,
        b'i' | b'I' => ObjectKind::Index,
        _ => word,
    }
}

/// A relation by its name as SQL writes it; none where that is no name.
pub fn relation_written(written: &str) -> Name {
    let source = CString::new(written).unwrap_or_default();
    // SAFETY: a NUL-terminated string that outlives the call.
    let list = lookup::attempt(|| Ok(unsafe { trap!(ffi::stringToQualifiedNameList, source.as_ptr()) }?));
    list.map(relation_from_parts).unwrap_or_default()
}

/// The relation of an OID; `Missing` where there is none.
pub fn relation_numbered(number: u32) -> Name {
    let found = pg_sys::Oid::from(number);
    // SAFETY: look-ups in catalog caches, which give null or 0 for what is not there.
    unsafe {
        let name = pg_sys::get_rel_name(found);
        if name.is_null() {
            return Name { identity: Identity::Missing, ..Name::bare(number.to_string()) };
        }
        let namespace = pg_sys::get_rel_namespace(found);
        Name {
            schema: Some(text(pg_sys::get_namespace_name(namespace))),
            name: text(name),
            temporary: pg_sys::isAnyTempNamespace(namespace),
            identity: identity(pg_sys::RelationRelationId, found),
        }
    }
}

/// The name of a relation, with the schema that the search path finds it in and whether that is temporary.
pub fn relation(variable: *mut pg_sys::RangeVar) -> Name {
    if variable.is_null() {
        return Name::default();
    }
    // SAFETY: a RangeVar that the parser made. RVR_MISSING_OK: no error if there is no such relation; NoLock: nothing
    // is locked, so what is found may change, which is why sql_drop checks again under the lock.
    unsafe {
        let written = text((*variable).schemaname);
        let name = text((*variable).relname);
        let temporary = (*variable).relpersistence == pg_sys::RELPERSISTENCE_TEMP as std::ffi::c_char;
        if !lookup::may_look_into((*variable).catalogname, (*variable).schemaname) {
            return Name { schema: (!written.is_empty()).then_some(written), name, temporary, identity: Identity::Unknown };
        }
        let found = pg_sys::RangeVarGetRelidExtended(
            variable,
            pg_sys::NoLock as pg_sys::LOCKMODE,
            pg_sys::RVROption::RVR_MISSING_OK,
            None,
            std::ptr::null_mut(),
        );
        let (schema, temporary) = if found == pg_sys::InvalidOid {
            ((!written.is_empty()).then_some(written), temporary)
        } else {
            let namespace = pg_sys::get_rel_namespace(found);
            (Some(text(pg_sys::get_namespace_name(namespace))), pg_sys::isAnyTempNamespace(namespace))
        };
        Name { schema, name, temporary, identity: identity(pg_sys::RelationRelationId, found) }
    }
}

/// What a look-up in a catalog gave.
fn identity(class: pg_sys::Oid, found: pg_sys::Oid) -> Identity {
    if found == pg_sys::InvalidOid {
        Identity::Missing
    } else {
        Identity::Is(Address { class: class.to_u32(), object: found.to_u32(), part: 0 })
    }
}

/// The object of `kind` that a node names, looked up where that needs no lock.
pub fn object(kind: ObjectType::Type, node: NodePtr) -> Name {
    match kind {
        _ if is_relation(kind) => relation_from_parts(node.cast()),
        ObjectType::OBJECT_SCHEMA => schema(&string(node)),
        ObjectType::OBJECT_EXTENSION => extension(&string(node)),
        ObjectType::OBJECT_LANGUAGE => {
            let name = CString::new(string(node)).unwrap_or_default();
            // SAFETY: NUL-terminated; missing_ok.
            let found = unsafe { pg_sys::get_language_oid(name.as_ptr(), true) };
            Name { identity: identity(LANGUAGE_CATALOG.into(), found), ..Name::bare(string(node)) }
        }
        ObjectType::OBJECT_TYPE | ObjectType::OBJECT_DOMAIN => data_type(node),
        ObjectType::OBJECT_FUNCTION
        | ObjectType::OBJECT_PROCEDURE
        | ObjectType::OBJECT_ROUTINE
        | ObjectType::OBJECT_AGGREGATE => routine(node),
        _ => Name { identity: bind::identity(kind, node), ..name_of(parts(node)) },
    }
}

/// An extension by name.
pub fn extension(name: &str) -> Name {
    let text = CString::new(name).unwrap_or_default();
    // SAFETY: NUL-terminated; missing_ok.
    let found = unsafe { pg_sys::get_extension_oid(text.as_ptr(), true) };
    Name { identity: identity(pg_sys::ExtensionRelationId, found), ..Name::bare(name) }
}

/// A type or a domain, by a TypeName or by a list of name parts.
pub fn data_type(node: NodePtr) -> Name {
    let name = name_of(parts(node));
    let looks = match tag(node) {
        NodeTag::T_TypeName => node.cast(),
        // SAFETY: the tag says so.
        NodeTag::T_List => unsafe { pg_sys::makeTypeNameFromNameList(node.cast()) },
        _ => return name,
    };
    // SAFETY: a type's name; missing_ok, and no lock is taken.
    let found = lookup::attempt(|| Ok(unsafe { pg_sys::LookupTypeNameOid(std::ptr::null_mut(), looks, true) }));
    let Some(found) = found else { return name };
    let schema = schema_of_type(found).or(name.schema.clone());
    Name { identity: identity(pg_sys::TypeRelationId, found), schema, ..name }
}

fn routine(node: NodePtr) -> Name {
    let name = name_of(parts(node));
    if tag(node) != NodeTag::T_ObjectWithArgs {
        return name;
    }
    let function: *mut pg_sys::ObjectWithArgs = node.cast();
    // As a routine: a name that stands for another kind of it is an error of the statement's, not of the look-up. A name without
    // arguments that stands for several is an error of both.
    // SAFETY: the tag says so; missing_ok.
    let found = lookup::attempt(|| Ok(unsafe { trap!(ffi::LookupFuncWithArgs, ObjectType::OBJECT_ROUTINE, function, true) }?));
    let Some(found) = found else { return name };
    // SAFETY: an OID, or InvalidOid, for which there is no namespace and no name.
    let schema = unsafe {
        let namespace = if found == pg_sys::InvalidOid { found } else { pg_sys::get_func_namespace(found) };
        if namespace == pg_sys::InvalidOid { name.schema.clone() } else { Some(text(pg_sys::get_namespace_name(namespace))) }
    };
    Name { identity: identity(pg_sys::ProcedureRelationId, found), schema, ..name }
}

/// The identity of a column, constraint, trigger, rule or row security policy of a relation.
pub fn part_of(relation: Address, kind: &ObjectKind, name: &str) -> Identity {
    let table = pg_sys::Oid::from(relation.object);
    let text = CString::new(name).unwrap_or_default();
    // SAFETY: NUL-terminated names; all of them look into a catalog cache or index without locking the relation, with
    // missing_ok where there is such an argument.
    unsafe {
        match kind {
            ObjectKind::Column => match pg_sys::get_attnum(table, text.as_ptr()) {
                0 => Identity::NewColumn { table: relation.object, after: highest_column(table) },
                number => Identity::Is(Address { part: number.into(), ..relation }),
            },
            ObjectKind::Trigger => identity(pg_sys::TriggerRelationId, pg_sys::get_trigger_oid(table, text.as_ptr(), true)),
            ObjectKind::Rule => {
                part_in(REWRITE_CATALOG, lookup::attempt(|| Ok(trap!(ffi::get_rewrite_oid, table, text.as_ptr(), true)?)))
            }
            ObjectKind::Constraint => bind::constraint(relation.object, name),
            ObjectKind::Policy => part_in(
                POLICY_CATALOG,
                lookup::attempt(|| Ok(trap!(ffi::get_relation_policy_oid, table, text.as_ptr(), true)?)),
            ),
            _ => Identity::Unknown,
        }
    }
}

fn part_in(class: u32, found: Option<pg_sys::Oid>) -> Identity {
    found.map_or(Identity::Unknown, |found| identity(class.into(), found))
}

/// The schema of a type; `None` if there is no such type.
fn schema_of_type(oid: pg_sys::Oid) -> Option<String> {
    // SAFETY: the tuple is null or a pg_type row that stays valid until it is released.
    unsafe {
        let tuple = pg_sys::SearchSysCache1(pg_sys::SysCacheIdentifier::TYPEOID as i32, oid.into());
        if tuple.is_null() {
            return None;
        }
        let row: pg_sys::Form_pg_type = pg_sys::GETSTRUCT(tuple).cast();
        let namespace = (*row).typnamespace;
        pg_sys::ReleaseSysCache(tuple);
        Some(text(pg_sys::get_namespace_name(namespace)))
    }
}

/// `pg_class.relnatts`: the highest column number, dropped columns counted.
fn highest_column(table: pg_sys::Oid) -> i32 {
    // SAFETY: the tuple is null or a pg_class row that stays valid until it is released.
    unsafe {
        let tuple = pg_sys::SearchSysCache1(pg_sys::SysCacheIdentifier::RELOID as i32, table.into());
        if tuple.is_null() {
            return 0;
        }
        let row: pg_sys::Form_pg_class = pg_sys::GETSTRUCT(tuple).cast();
        let columns = (*row).relnatts;
        pg_sys::ReleaseSysCache(tuple);
        columns.into()
    }
}

/// The name of a relation to be created: not looked up.
pub fn new_relation(variable: *mut pg_sys::RangeVar) -> Name {
    if variable.is_null() {
        return Name::default();
    }
    // SAFETY: a RangeVar that the parser made.
    unsafe {
        let schema = text((*variable).schemaname);
        let temporary = (*variable).relpersistence == pg_sys::RELPERSISTENCE_TEMP as std::ffi::c_char || schema == SCHEMA;
        let schema = if temporary { SCHEMA.to_owned() } else { schema };
        Name { schema: (!schema.is_empty()).then_some(schema), name: text((*variable).relname), temporary, ..Name::default() }
    }
}

/// The relation that a list of name parts stands for.
pub fn relation_from_parts(list: *mut pg_sys::List) -> Name {
    let names = strings(list);
    // What has more parts is no name of a relation, and PostgreSQL says so.
    if names.is_empty() || names.len() > 3 {
        lookup::note_failure();
        return name_of(names);
    }
    // SAFETY: one to three String nodes.
    relation(unsafe { pg_sys::makeRangeVarFromNameList(list) })
}

/// The relation that name parts stand for.
pub fn relation_named(mut path: Vec<String>) -> Name {
    let c = |text: String| CString::new(text).unwrap_or_default();
    let (name, schema) = (c(path.pop().unwrap_or_default()), path.pop().map(c));
    let schema_pointer = schema.as_ref().map_or(std::ptr::null_mut(), |schema| schema.as_ptr().cast_mut());
    // SAFETY: makeRangeVar keeps the pointers in a node that `relation` reads before the strings go.
    relation(unsafe { pg_sys::makeRangeVar(schema_pointer, name.as_ptr().cast_mut(), -1) })
}

/// A schema by name.
pub fn schema(name: &str) -> Name {
    let text = CString::new(name).unwrap_or_default();
    // SAFETY: NUL-terminated; missing_ok.
    let found = unsafe { pg_sys::get_namespace_oid(text.as_ptr(), true) };
    Name { identity: identity(pg_sys::NamespaceRelationId, found), ..Name::bare(name) }
}

/// The parts of an object's name, whatever kind of node holds them.
pub fn parts(node: NodePtr) -> Vec<String> {
    match tag(node) {
        NodeTag::T_String => vec![string(node)],
        NodeTag::T_List => items(node.cast()).into_iter().flat_map(parts).collect(),
        // SAFETY: the tag says so.
        NodeTag::T_TypeName => strings(unsafe { (*node.cast::<pg_sys::TypeName>()).names }),
        // SAFETY: the tag says so.
        NodeTag::T_ObjectWithArgs => strings(unsafe { (*node.cast::<pg_sys::ObjectWithArgs>()).objname }),
        NodeTag::T_RangeVar => relation(node.cast()).path(),
        _ => vec![],
    }
}

/// Whether `>` between values of a type means, under the search path in force, what its B-tree order does.
pub fn is_compared_as_ordered(data_type: u32) -> bool {
    // SAFETY: look-ups in the catalog's caches inside a transaction; a type that is gone is an error, which unwinds as a panic.
    unsafe {
        let greater = (*pg_sys::lookup_type_cache(pg_sys::Oid::from(data_type), pg_sys::TYPECACHE_GT_OPR as i32)).gt_opr;
        greater != pg_sys::InvalidOid && pg_sys::OperatorIsVisible(greater)
    }
}

/// The operators of a type's B-tree order: their schema, and the type that they compare where somebody else could define better ones.
pub fn order_of(data_type: u32) -> Option<(String, Option<String>)> {
    // SAFETY: look-ups in the catalog's caches inside a transaction; names are copied. What is gone gives 0 or null.
    unsafe {
        let greater = (*pg_sys::lookup_type_cache(pg_sys::Oid::from(data_type), pg_sys::TYPECACHE_GT_OPR as i32)).gt_opr;
        let tuple = pg_sys::SearchSysCache1(pg_sys::SysCacheIdentifier::OPEROID as i32, greater.into());
        if tuple.is_null() {
            return None;
        }
        let row = &*pg_sys::GETSTRUCT(tuple).cast::<pg_sys::FormData_pg_operator>();
        let (schema, compared) = (row.oprnamespace, row.oprleft);
        pg_sys::ReleaseSysCache(tuple);
        let is_ours = schema.to_u32() == pg_sys::PG_CATALOG_NAMESPACE;
        let spelled = (!is_ours).then(|| text(pg_sys::format_type_be_qualified(compared)));
        let schema = text(pg_sys::get_namespace_name(schema)).replace('"', "\"\"");
        Some((format!("\"{schema}\""), spelled))
    }
}

/// The relation that a statement names, or else the object of `kind`.
pub fn either(variable: *mut pg_sys::RangeVar, kind: ObjectType::Type, node: NodePtr) -> Name {
    if variable.is_null() { object(kind, node) } else { relation(variable) }
}

/// What a named relation really is; `word` where it is no relation.
pub fn kind_of(variable: *mut pg_sys::RangeVar, name: &Name, word: ObjectKind) -> ObjectKind {
    if variable.is_null() { word } else { relation_kind(name, word) }
}
