//! Parse tree nodes: lists, strings and names, read into owned values.

use crate::pg::caught::text;
use pgrx::pg_sys;
use pgrx::pg_sys::NodeTag;
use runbook_core::command::Name;
use std::ffi::CString;

/// A pointer to a node; null is allowed and reads as nothing.
pub type NodePtr = *mut pg_sys::Node;

/// The tag of a node.
pub fn tag(node: NodePtr) -> NodeTag {
    if node.is_null() {
        return NodeTag::T_Invalid;
    }
    // SAFETY: every node starts with its tag.
    unsafe { (*node).type_ }
}

/// The members of a pointer list; none if it is null.
pub fn items(list: *mut pg_sys::List) -> Vec<NodePtr> {
    if list.is_null() {
        return vec![];
    }
    // SAFETY: a List of pointers has `length` cells at `elements` (pg_list.h).
    unsafe {
        let length = usize::try_from((*list).length).unwrap_or(0);
        (0..length).map(|at| (*(*list).elements.add(at)).ptr_value.cast::<pg_sys::Node>()).collect()
    }
}

/// The text of a String node; empty otherwise.
pub fn string(node: NodePtr) -> String {
    if tag(node) != NodeTag::T_String {
        return String::new();
    }
    // SAFETY: the tag says that it is a String, whose sval is NUL-terminated.
    unsafe { text((*node.cast::<pg_sys::String>()).sval) }
}

/// The texts of a list of String nodes.
pub fn strings(list: *mut pg_sys::List) -> Vec<String> {
    items(list).into_iter().map(string).collect()
}

/// The role names of a list of RoleSpec nodes.
pub fn roles(list: *mut pg_sys::List) -> Vec<String> {
    items(list).into_iter().map(|node| role(node.cast())).collect()
}

/// A role's name; `CURRENT_USER` and the like as words.
pub fn role(role: *mut pg_sys::RoleSpec) -> String {
    if role.is_null() {
        return String::new();
    }
    // SAFETY: a RoleSpec that the parser made.
    unsafe {
        match (*role).roletype {
            pg_sys::RoleSpecType::ROLESPEC_CSTRING => text((*role).rolename),
            pg_sys::RoleSpecType::ROLESPEC_PUBLIC => "public".to_owned(),
            pg_sys::RoleSpecType::ROLESPEC_SESSION_USER => "session_user".to_owned(),
            _ => "current_user".to_owned(),
        }
    }
}

/// A name from its parts, schema before name.
pub fn name_of(mut parts: Vec<String>) -> Name {
    let name = parts.pop().unwrap_or_default();
    Name { schema: parts.pop(), ..Name::bare(name) }
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
        Name { schema, name, temporary, missing: found == pg_sys::InvalidOid }
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
        let temporary = (*variable).relpersistence == pg_sys::RELPERSISTENCE_TEMP as std::ffi::c_char || schema == "pg_temp";
        Name { schema: (!schema.is_empty()).then_some(schema), name: text((*variable).relname), temporary, missing: false }
    }
}

/// The relation that a list of name parts stands for.
pub fn relation_from_parts(list: *mut pg_sys::List) -> Name {
    if items(list).is_empty() {
        return Name::default();
    }
    // SAFETY: one to three String nodes, as the grammar makes for relation names.
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
    let missing = unsafe { pg_sys::get_namespace_oid(text.as_ptr(), true) } == pg_sys::InvalidOid;
    Name { missing, ..Name::bare(name) }
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
