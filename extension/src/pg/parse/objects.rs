//! What an object is called, from its address.

use crate::pg::execute::subtransaction;
use crate::pg::ffi;
use crate::pg::pg_error::trap;
use crate::pg::strings::text;
use pgrx::pg_sys;
use runbook_core::identity::{Address, RELATIONS};
use runbook_core::vocabulary::object_kind::ObjectKind;

/// OID of pg_largeobject, under which large objects are addressed (catalog/pg_largeobject.h).
const LARGE_OBJECTS: u32 = 2613;

/// Kind, path (schema first), and whether it is temporary. `None` for what is gone, and for relations that are parts of
/// others: indexes, TOAST tables, row types.
pub fn describe(found: Address) -> Option<(ObjectKind, Vec<String>, bool)> {
    let object = pg_sys::Oid::from(found.object);
    // SAFETY: look-ups in catalog caches; names are copied. The descriptions raise an error for objects of a kind that they don't
    // know: then nothing is known of it; missing_ok.
    unsafe {
        if found.class == RELATIONS {
            let namespace = pg_sys::get_rel_namespace(object);
            if namespace == pg_sys::InvalidOid {
                return None;
            }
            let kind = match pg_sys::get_rel_relkind(object) as u8 {
                b'r' | b'p' => ObjectKind::Table,
                b'v' => ObjectKind::View,
                b'm' => ObjectKind::MaterializedView,
                b'S' => ObjectKind::Sequence,
                b'f' => ObjectKind::ForeignTable,
                _ => return None,
            };
            let mut path = vec![text(pg_sys::get_namespace_name(namespace)), text(pg_sys::get_rel_name(object))];
            let temporary = pg_sys::isAnyTempNamespace(namespace);
            if found.part == 0 {
                return Some((kind, path, temporary));
            }
            path.push(text(pg_sys::get_attname(object, found.part as i16, true)));
            return Some((ObjectKind::Column, path, temporary));
        }
        if found.class == LARGE_OBJECTS {
            return Some((ObjectKind::LargeObject, vec!["pg_largeobject".to_owned(), found.object.to_string()], false));
        }
        if found.class == pg_sys::DatabaseRelationId.to_u32() {
            let name = text(pg_sys::get_database_name(object));
            return (!name.is_empty()).then(|| (ObjectKind::Database, vec![name], false));
        }
        if found.class == pg_sys::TableSpaceRelationId.to_u32() {
            let name = text(pg_sys::get_tablespace_name(object));
            return (!name.is_empty()).then(|| (ObjectKind::Tablespace, vec![name], false));
        }
        if found.class == pg_sys::NamespaceRelationId.to_u32() {
            return Some((
                ObjectKind::Schema,
                vec![text(pg_sys::get_namespace_name(object))],
                pg_sys::isAnyTempNamespace(object),
            ));
        }
        let address =
            pg_sys::ObjectAddress { classId: pg_sys::Oid::from(found.class), objectId: object, objectSubId: found.part };
        let mut described: ffi::Described = (std::ptr::null_mut(), std::ptr::null_mut());
        subtransaction::attempt(|| Ok(trap!(ffi::describe, &raw const address, &raw mut described)?))?;
        let (kind, identity) = described;
        // Both are null for what is gone.
        (!kind.is_null()).then(|| (ObjectKind::from(text(kind).as_str()), vec![text(identity)], false))
    }
}

/// What a relation has.
pub struct Relation {
    /// Whether it is a partition or an heir.
    pub inherits: bool,
    /// The columns of a table, by number.
    pub columns: Vec<(i32, String)>,
}

/// A relation as it is now; `None` if it is gone.
pub fn relation(relation: u32) -> Option<Relation> {
    let oid = pg_sys::Oid::from(relation);
    // SAFETY: look-ups in catalog caches and in the index of pg_inherits; names are copied.
    unsafe {
        let kind = pg_sys::get_rel_relkind(oid) as u8;
        if kind == 0 {
            return None;
        }
        let has_columns = [b'r', b'p', b'f'].contains(&kind);
        let name = |part: i16| {
            let name = pg_sys::get_attname(oid, part, true);
            (!name.is_null()).then(|| (i32::from(part), text(name)))
        };
        // Numbers have no gaps: the cache knows dropped columns, too, by a name that nobody would give.
        let all = (1..=if has_columns { i16::MAX } else { 0 }).map_while(name);
        let columns = all.filter(|(_, name)| !name.starts_with("........pg.dropped.")).collect();
        Some(Relation { inherits: has_superclass(oid), columns })
    }
}

/// Schema and name of a relation of any kind; `None` if it is gone.
pub fn relation_path(relation: u32) -> Option<Vec<String>> {
    let oid = pg_sys::Oid::from(relation);
    // SAFETY: look-ups in catalog caches; names are copied.
    unsafe {
        let namespace = pg_sys::get_rel_namespace(oid);
        let name = text(pg_sys::get_rel_name(oid));
        (namespace != pg_sys::InvalidOid).then(|| vec![text(pg_sys::get_namespace_name(namespace)), name])
    }
}

/// Whether this session has a temporary schema, so that something may come to depend on what lies in it.
pub fn has_temporary_schema() -> bool {
    // SAFETY: pg_my_temp_schema() takes no argument and reads a static of namespace.c.
    unsafe { pgrx::direct_function_call::<pg_sys::Oid>(pg_sys::pg_my_temp_schema, &[]) }
        .is_some_and(|schema| schema != pg_sys::InvalidOid)
}

/// Whether a relation is a catalog that all databases of the cluster share.
pub fn is_shared_catalog(relation: u32) -> bool {
    // SAFETY: compares numbers.
    unsafe { pg_sys::IsSharedRelation(pg_sys::Oid::from(relation)) }
}

/// Whether a relation is a view.
pub fn is_view(relation: Address) -> bool {
    // SAFETY: a look-up in a catalog cache; 0 if there is no such relation.
    unsafe { pg_sys::get_rel_relkind(pg_sys::Oid::from(relation.object)) as u8 == b'v' }
}

/// Whether a relation is a partition or an heir.
fn has_superclass(relation: pg_sys::Oid) -> bool {
    // SAFETY: looks into an index of pg_inherits.
    match unsafe { trap!(ffi::has_superclass, relation) } {
        Ok(answer) => answer,
        Err(caught) => caught.raise(),
    }
}
