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

/// Structs of PostgreSQL that begin with a node's tag, each with the tag that tells it.
pub trait Tagged {
    /// Its tag.
    const TAG: NodeTag;
}

macro_rules! tagged {
    ($($name:ident = $tag:ident,)+) => {
        $(impl Tagged for pg_sys::$name {
            const TAG: NodeTag = NodeTag::$tag;
        })+
    };
}

tagged! {
    AlterDatabaseSetStmt = T_AlterDatabaseSetStmt,
    AlterDatabaseStmt = T_AlterDatabaseStmt,
    AlterDomainStmt = T_AlterDomainStmt,
    AlterEnumStmt = T_AlterEnumStmt,
    AlterEventTrigStmt = T_AlterEventTrigStmt,
    AlterExtensionContentsStmt = T_AlterExtensionContentsStmt,
    AlterExtensionStmt = T_AlterExtensionStmt,
    AlterFdwStmt = T_AlterFdwStmt,
    AlterForeignServerStmt = T_AlterForeignServerStmt,
    AlterFunctionStmt = T_AlterFunctionStmt,
    AlterObjectDependsStmt = T_AlterObjectDependsStmt,
    AlterObjectSchemaStmt = T_AlterObjectSchemaStmt,
    AlterOwnerStmt = T_AlterOwnerStmt,
    AlterRoleSetStmt = T_AlterRoleSetStmt,
    AlterRoleStmt = T_AlterRoleStmt,
    AlterSeqStmt = T_AlterSeqStmt,
    AlterSubscriptionStmt = T_AlterSubscriptionStmt,
    AlterSystemStmt = T_AlterSystemStmt,
    AlterTableCmd = T_AlterTableCmd,
    AlterTableSpaceOptionsStmt = T_AlterTableSpaceOptionsStmt,
    AlterTableStmt = T_AlterTableStmt,
    AlterUserMappingStmt = T_AlterUserMappingStmt,
    BoolExpr = T_BoolExpr,
    ClusterStmt = T_ClusterStmt,
    CommentStmt = T_CommentStmt,
    CompositeTypeStmt = T_CompositeTypeStmt,
    CopyStmt = T_CopyStmt,
    CreateDomainStmt = T_CreateDomainStmt,
    CreateEnumStmt = T_CreateEnumStmt,
    CreateEventTrigStmt = T_CreateEventTrigStmt,
    CreateExtensionStmt = T_CreateExtensionStmt,
    CreateFdwStmt = T_CreateFdwStmt,
    CreateForeignServerStmt = T_CreateForeignServerStmt,
    CreateForeignTableStmt = T_CreateForeignTableStmt,
    CreateFunctionStmt = T_CreateFunctionStmt,
    CreatePolicyStmt = T_CreatePolicyStmt,
    CreateRoleStmt = T_CreateRoleStmt,
    CreateSchemaStmt = T_CreateSchemaStmt,
    CreateSeqStmt = T_CreateSeqStmt,
    CreateStmt = T_CreateStmt,
    CreateSubscriptionStmt = T_CreateSubscriptionStmt,
    CreateTableAsStmt = T_CreateTableAsStmt,
    CreateTableSpaceStmt = T_CreateTableSpaceStmt,
    CreateTrigStmt = T_CreateTrigStmt,
    CreateUserMappingStmt = T_CreateUserMappingStmt,
    CreatedbStmt = T_CreatedbStmt,
    DefElem = T_DefElem,
    DefineStmt = T_DefineStmt,
    DeleteStmt = T_DeleteStmt,
    DropOwnedStmt = T_DropOwnedStmt,
    DropRoleStmt = T_DropRoleStmt,
    DropStmt = T_DropStmt,
    DropSubscriptionStmt = T_DropSubscriptionStmt,
    DropTableSpaceStmt = T_DropTableSpaceStmt,
    DropUserMappingStmt = T_DropUserMappingStmt,
    DropdbStmt = T_DropdbStmt,
    ExplainStmt = T_ExplainStmt,
    GrantRoleStmt = T_GrantRoleStmt,
    GrantStmt = T_GrantStmt,
    ImportForeignSchemaStmt = T_ImportForeignSchemaStmt,
    IndexStmt = T_IndexStmt,
    InsertStmt = T_InsertStmt,
    LoadStmt = T_LoadStmt,
    LockStmt = T_LockStmt,
    MergeStmt = T_MergeStmt,
    NullTest = T_NullTest,
    PartitionCmd = T_PartitionCmd,
    ReassignOwnedStmt = T_ReassignOwnedStmt,
    RefreshMatViewStmt = T_RefreshMatViewStmt,
    ReindexStmt = T_ReindexStmt,
    RenameStmt = T_RenameStmt,
    ResTarget = T_ResTarget,
    RuleStmt = T_RuleStmt,
    SelectStmt = T_SelectStmt,
    TruncateStmt = T_TruncateStmt,
    UpdateStmt = T_UpdateStmt,
    VacuumRelation = T_VacuumRelation,
    VacuumStmt = T_VacuumStmt,
    Var = T_Var,
    VariableSetStmt = T_VariableSetStmt,
    ViewStmt = T_ViewStmt,
}

/// The node as the struct that its tag tells; `None` of any other. Parse trees live as long as the statement, or as what parsed it.
pub fn cast<'a, T: Tagged>(node: NodePtr) -> Option<&'a T> {
    // SAFETY: the tag says what the node is.
    (tag(node) == T::TAG).then(|| unsafe { &*node.cast::<T>() })
}

/// A string of a parse tree; empty where there is none.
pub fn field(string: *const std::ffi::c_char) -> String {
    // SAFETY: the parser's strings are null or NUL-terminated.
    unsafe { text(string) }
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

/// Whether a statement says CASCADE.
pub fn cascades(behavior: pg_sys::DropBehavior::Type) -> bool {
    behavior == pg_sys::DropBehavior::DROP_CASCADE
}
