//! Which object a name stands for, for the kinds that are neither relations, routines nor types.
//!
//! Everything is looked up with `missing_ok` and without a lock, in an attempt: a name that PostgreSQL answers with an error stands
//! for nothing that can be bound.

use crate::pg::ffi;
use crate::pg::parse::lookup;
use crate::pg::parse::nodes::{self, NodePtr, items, string, tag};
use crate::pg::pg_error::{PgError, trap};
use crate::pg::strings::text;
use pgrx::pg_sys::{self, NodeTag, ObjectType, Oid};
use runbook_core::command::Name;
use runbook_core::identity::{Address, Identity};
use runbook_core::vocabulary::object_kind::ObjectKind;
use std::ffi::CString;

/// OIDs of the system catalogs (catalog/pg_*.h).
mod catalog {
    pub const TABLESPACE: u32 = 1213;
    pub const ROLE: u32 = 1260;
    pub const DATABASE: u32 = 1262;
    pub const SERVER: u32 = 1417;
    pub const USER_MAPPING: u32 = 1418;
    pub const WRAPPER: u32 = 2328;
    pub const ACCESS_METHOD: u32 = 2601;
    pub const CAST: u32 = 2605;
    pub const CONSTRAINT: u32 = 2606;
    pub const CONVERSION: u32 = 2607;
    pub const LARGE_OBJECT: u32 = 2613;
    pub const OPERATOR_CLASS: u32 = 2616;
    pub const OPERATOR: u32 = 2617;
    pub const OPERATOR_FAMILY: u32 = 2753;
    pub const STATISTICS: u32 = 3381;
    pub const COLLATION: u32 = 3456;
    pub const EVENT_TRIGGER: u32 = 3466;
    pub const TRANSFORM: u32 = 3576;
    pub const DICTIONARY: u32 = 3600;
    pub const PARSER: u32 = 3601;
    pub const CONFIGURATION: u32 = 3602;
    pub const TEMPLATE: u32 = 3764;
    pub const SUBSCRIPTION: u32 = 6100;
    pub const PUBLICATION: u32 = 6104;
}

/// The shared catalogs, whose objects no event trigger tells of.
pub fn is_shared(class: u32) -> bool {
    [catalog::TABLESPACE, catalog::ROLE, catalog::DATABASE].contains(&class)
}

/// The database catalog.
pub const DATABASES: u32 = catalog::DATABASE;
/// The tablespace catalog.
pub const TABLESPACES: u32 = catalog::TABLESPACE;

fn found(class: u32, object: Oid) -> Identity {
    match object.to_u32() {
        0 => Identity::Missing,
        object => Identity::Is(Address { class, object, part: 0 }),
    }
}

fn looked_up(class: u32, look: impl FnOnce() -> Oid) -> Identity {
    lookup::attempt(|| Ok(look())).map_or(Identity::Unknown, |object| found(class, object))
}

/// What a function of C gave that pgrx does not know.
fn raw(answer: Result<Oid, PgError>) -> Oid {
    match answer {
        Ok(object) => object,
        Err(caught) => caught.raise(),
    }
}

/// An object without a schema, by the word for its kind and its name.
pub fn named(kind: &ObjectKind, name: &str) -> Name {
    let text = CString::new(name).unwrap_or_default();
    let text = text.as_ptr();
    // SAFETY: a NUL-terminated name that outlives the call; missing_ok.
    let identity = unsafe {
        match kind {
            ObjectKind::AccessMethod => looked_up(catalog::ACCESS_METHOD, || pg_sys::get_am_oid(text, true)),
            ObjectKind::Database => looked_up(catalog::DATABASE, || pg_sys::get_database_oid(text, true)),
            ObjectKind::EventTrigger => looked_up(catalog::EVENT_TRIGGER, || pg_sys::get_event_trigger_oid(text, true)),
            ObjectKind::ForeignDataWrapper => looked_up(catalog::WRAPPER, || pg_sys::get_foreign_data_wrapper_oid(text, true)),
            ObjectKind::Publication => looked_up(catalog::PUBLICATION, || pg_sys::get_publication_oid(text, true)),
            ObjectKind::Role => looked_up(catalog::ROLE, || pg_sys::get_role_oid(text, true)),
            ObjectKind::Server => looked_up(catalog::SERVER, || pg_sys::get_foreign_server_oid(text, true)),
            ObjectKind::Subscription => looked_up(catalog::SUBSCRIPTION, || raw(trap!(ffi::get_subscription_oid, text, true))),
            ObjectKind::Tablespace => looked_up(catalog::TABLESPACE, || pg_sys::get_tablespace_oid(text, true)),
            _ => Identity::Unknown,
        }
    };
    Name { identity, ..Name::bare(name) }
}

/// A role as a RoleSpec names it. Words such as CURRENT_USER stand for whoever runs the statement, and for nobody yet.
pub fn role(role: *mut pg_sys::RoleSpec) -> Name {
    // SAFETY: null, or a RoleSpec that the parser made.
    let is_name = unsafe { role.as_ref() }.is_some_and(|role| role.roletype == pg_sys::RoleSpecType::ROLESPEC_CSTRING);
    let name = nodes::role(role);
    if is_name { named(&ObjectKind::Role, &name) } else { Name::bare(name) }
}

/// The mapping of a user to a server.
pub fn user_mapping(user: *mut pg_sys::RoleSpec, server: &str) -> Name {
    let Identity::Is(server_found) = named(&ObjectKind::Server, server).identity else { return Name::bare(server) };
    // SAFETY: null, or a RoleSpec that the parser made; a look-up in a catalog cache.
    let identity = unsafe {
        let is_public = user.as_ref().is_some_and(|user| user.roletype == pg_sys::RoleSpecType::ROLESPEC_PUBLIC);
        let user = if is_public { Some(Oid::INVALID) } else { lookup::attempt(|| Ok(pg_sys::get_rolespec_oid(user, true))) };
        let Some(user) = user else { return Name::bare(server) };
        looked_up(catalog::USER_MAPPING, || {
            // The first column of pg_user_mapping is its OID.
            pg_sys::GetSysCacheOid(
                pg_sys::SysCacheIdentifier::USERMAPPINGUSERSERVER as i32,
                1,
                user.into(),
                Oid::from(server_found.object).into(),
                pg_sys::Datum::from(0),
                pg_sys::Datum::from(0),
            )
        })
    };
    Name { identity, ..Name::bare(server) }
}

/// The constraint of a relation.
pub fn constraint(relation: u32, name: &str) -> Identity {
    let name = CString::new(name).unwrap_or_default();
    // SAFETY: a NUL-terminated name that outlives the call; missing_ok.
    looked_up(catalog::CONSTRAINT, || unsafe {
        raw(trap!(ffi::get_relation_constraint_oid, Oid::from(relation), name.as_ptr(), true))
    })
}

/// What the parts of a node stand for, where it names an object of one of the kinds below; `Unknown` for any other.
pub fn identity(kind: ObjectType::Type, node: NodePtr) -> Identity {
    let list: *mut pg_sys::List = if tag(node) == NodeTag::T_List { node.cast() } else { std::ptr::null_mut() };
    // SAFETY: lists of name parts and type names, as the grammar makes them for these kinds; missing_ok throughout.
    unsafe {
        match kind {
            ObjectType::OBJECT_CAST => type_pair(list).map_or(Identity::Unknown, |(source, target)| {
                looked_up(catalog::CAST, || pg_sys::get_cast_oid(type_oid(source), type_oid(target), true))
            }),
            ObjectType::OBJECT_COLLATION => looked_up(catalog::COLLATION, || pg_sys::get_collation_oid(list, true)),
            ObjectType::OBJECT_CONVERSION => looked_up(catalog::CONVERSION, || pg_sys::get_conversion_oid(list, true)),
            ObjectType::OBJECT_DOMCONSTRAINT => type_pair(list).map_or(Identity::Unknown, |(domain, name)| {
                let name = CString::new(string(name)).unwrap_or_default();
                looked_up(catalog::CONSTRAINT, || {
                    raw(trap!(ffi::get_domain_constraint_oid, type_oid(domain), name.as_ptr(), true))
                })
            }),
            ObjectType::OBJECT_LARGEOBJECT => large_object(node),
            ObjectType::OBJECT_OPCLASS => {
                of_method(catalog::OPERATOR_CLASS, list, |method, name| pg_sys::get_opclass_oid(method, name, true))
            }
            ObjectType::OBJECT_OPERATOR if tag(node) == NodeTag::T_ObjectWithArgs => {
                looked_up(catalog::OPERATOR, || pg_sys::LookupOperWithArgs(node.cast(), true))
            }
            ObjectType::OBJECT_OPFAMILY => {
                of_method(catalog::OPERATOR_FAMILY, list, |method, name| pg_sys::get_opfamily_oid(method, name, true))
            }
            ObjectType::OBJECT_STATISTIC_EXT => {
                looked_up(catalog::STATISTICS, || pg_sys::get_statistics_object_oid(list, true))
            }
            ObjectType::OBJECT_TRANSFORM => type_pair(list).map_or(Identity::Unknown, |(data_type, language)| {
                let language = CString::new(string(language)).unwrap_or_default();
                looked_up(catalog::TRANSFORM, || {
                    let language = pg_sys::get_language_oid(language.as_ptr(), true);
                    pg_sys::get_transform_oid(type_oid(data_type), language, true)
                })
            }),
            ObjectType::OBJECT_TSCONFIGURATION => looked_up(catalog::CONFIGURATION, || pg_sys::get_ts_config_oid(list, true)),
            ObjectType::OBJECT_TSDICTIONARY => looked_up(catalog::DICTIONARY, || pg_sys::get_ts_dict_oid(list, true)),
            ObjectType::OBJECT_TSPARSER => looked_up(catalog::PARSER, || pg_sys::get_ts_parser_oid(list, true)),
            ObjectType::OBJECT_TSTEMPLATE => looked_up(catalog::TEMPLATE, || pg_sys::get_ts_template_oid(list, true)),
            _ if tag(node) == NodeTag::T_String => named(&crate::pg::parse::kinds::word(kind), &string(node)).identity,
            _ => Identity::Unknown,
        }
    }
}

/// Both members of a list of two.
fn type_pair(list: *mut pg_sys::List) -> Option<(NodePtr, NodePtr)> {
    let [first, second] = items(list)[..] else { return None };
    Some((first, second))
}

/// A type that may be missing.
///
/// # Safety
/// In an attempt.
unsafe fn type_oid(node: NodePtr) -> Oid {
    if tag(node) != NodeTag::T_TypeName {
        return Oid::INVALID;
    }
    // SAFETY: the tag says so.
    unsafe { pg_sys::LookupTypeNameOid(std::ptr::null_mut(), node.cast(), true) }
}

/// An operator class or family: the access method's name, then its own.
unsafe fn of_method(class: u32, list: *mut pg_sys::List, look: impl FnOnce(Oid, *mut pg_sys::List) -> Oid) -> Identity {
    let Some((method, _)) = items(list).split_first().map(|(first, rest)| (*first, rest)) else { return Identity::Unknown };
    let method = CString::new(string(method)).unwrap_or_default();
    // SAFETY: a list with at least one member; the copy is what is shortened.
    looked_up(class, || unsafe {
        let method = pg_sys::get_am_oid(method.as_ptr(), true);
        if method == Oid::INVALID {
            return method;
        }
        look(method, pg_sys::list_delete_first(pg_sys::list_copy(list)))
    })
}

/// A large object is named by its number.
fn large_object(node: NodePtr) -> Identity {
    // SAFETY: the tags say what the nodes are.
    let number = unsafe {
        match tag(node) {
            NodeTag::T_Integer => (*node.cast::<pg_sys::Integer>()).ival.to_string(),
            NodeTag::T_Float => text((*node.cast::<pg_sys::Float>()).fval),
            _ => return Identity::Unknown,
        }
    };
    number.parse::<u32>().map_or(Identity::Unknown, |number| found(catalog::LARGE_OBJECT, Oid::from(number)))
}
