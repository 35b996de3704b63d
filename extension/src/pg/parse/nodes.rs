//! Parse tree nodes: lists, strings and names, read into owned values.

use crate::pg::strings::text;
use pgrx::pg_sys::{self, NodeTag};
use runbook_core::command::Name;

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
    let schema = parts.pop();
    Name { temporary: schema.as_deref() == Some("pg_temp"), schema, ..Name::bare(name) }
}

pub fn cascades(behavior: pg_sys::DropBehavior::Type) -> bool {
    behavior == pg_sys::DropBehavior::DROP_CASCADE
}
