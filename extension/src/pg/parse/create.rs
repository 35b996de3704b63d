//! CREATE, of whatever kind.

use crate::pg::parse::alter_table::with_outside;
use crate::pg::parse::constraints::with_references;
use crate::pg::parse::names::{OUR_SCHEMA, new_relation, relation};
use crate::pg::parse::nodes::{NodePtr, items, name_of, string, strings, tag};
use crate::pg::parse::type_change::has_on;
use crate::pg::strings::text;
use pgrx::pg_sys::{self, NodeTag};
use runbook_core::command::{Command, Name, RuleEffect};
use runbook_core::identity::Identity;
use runbook_core::vocabulary::object_kind::ObjectKind;
use runbook_core::vocabulary::verb::Verb;
use std::ffi::c_int;

/// What a statement puts into a schema, of which only that it is ours matters.
fn into_our_schema(schema: String, name: &str) -> Name {
    if schema == OUR_SCHEMA { Name { schema: Some(schema), ..Name::bare(name) } } else { Name::default() }
}

/// Statements that create something, with the name where it is cheap to have.
pub unsafe fn create(node: NodePtr, command_tag: &str) -> Option<Command> {
    // SAFETY: each arm casts to the struct that its node tag names.
    unsafe {
        let (name, replace) = match tag(node) {
            NodeTag::T_IndexStmt => {
                let statement = &*node.cast::<pg_sys::IndexStmt>();
                let (table, name) = (relation(statement.relation), text(statement.idxname));
                return Some(Command::CreateIndex {
                    table,
                    name,
                    concurrently: statement.concurrent,
                    unique: statement.unique,
                });
            }
            NodeTag::T_CreateForeignServerStmt => {
                let statement = &*node.cast::<pg_sys::CreateForeignServerStmt>();
                let own =
                    Command::Create { kind: ObjectKind::Server, name: Name::bare(text(statement.servername)), replace: false };
                return Some(with_outside(own, [statement.options].into_iter()));
            }
            NodeTag::T_CreateUserMappingStmt => {
                let statement = &*node.cast::<pg_sys::CreateUserMappingStmt>();
                let name = Name::bare(text(statement.servername));
                let own = Command::Create { kind: ObjectKind::UserMapping, name, replace: false };
                return Some(with_outside(own, [statement.options].into_iter()));
            }
            NodeTag::T_CreateFdwStmt => {
                let statement = &*node.cast::<pg_sys::CreateFdwStmt>();
                let name = Name::bare(text(statement.fdwname));
                let own = Command::Create { kind: ObjectKind::NewForeignDataWrapper, name, replace: false };
                return Some(with_outside(own, [statement.options].into_iter()));
            }
            NodeTag::T_AlterForeignServerStmt => {
                let options = (*node.cast::<pg_sys::AlterForeignServerStmt>()).options;
                return Some(with_outside(by_tag(tag(node), command_tag.to_owned()), [options].into_iter()));
            }
            NodeTag::T_AlterFdwStmt => {
                let options = (*node.cast::<pg_sys::AlterFdwStmt>()).options;
                return Some(with_outside(by_tag(tag(node), command_tag.to_owned()), [options].into_iter()));
            }
            NodeTag::T_AlterUserMappingStmt => {
                let options = (*node.cast::<pg_sys::AlterUserMappingStmt>()).options;
                return Some(with_outside(by_tag(tag(node), command_tag.to_owned()), [options].into_iter()));
            }
            NodeTag::T_ImportForeignSchemaStmt => {
                let statement = &*node.cast::<pg_sys::ImportForeignSchemaStmt>();
                let name = into_our_schema(text(statement.local_schema), "*");
                let own = Command::Create { kind: ObjectKind::ForeignTable, name, replace: false };
                return Some(with_outside(own, [statement.options].into_iter()));
            }
            NodeTag::T_CreateForeignTableStmt => {
                let statement = &*node.cast::<pg_sys::CreateForeignTableStmt>();
                return Some(with_outside(created_table(&statement.base, command_tag), [statement.options].into_iter()));
            }
            NodeTag::T_CreateStmt => return Some(created_table(&*node.cast::<pg_sys::CreateStmt>(), command_tag)),
            NodeTag::T_ViewStmt => {
                let statement = &*node.cast::<pg_sys::ViewStmt>();
                (new_relation(statement.view), statement.replace)
            }
            NodeTag::T_CreateSeqStmt => (new_relation((*node.cast::<pg_sys::CreateSeqStmt>()).sequence), false),
            NodeTag::T_CompositeTypeStmt => (new_relation((*node.cast::<pg_sys::CompositeTypeStmt>()).typevar), false),
            NodeTag::T_CreateEnumStmt => (name_of(strings((*node.cast::<pg_sys::CreateEnumStmt>()).typeName)), false),
            NodeTag::T_CreateDomainStmt => (name_of(strings((*node.cast::<pg_sys::CreateDomainStmt>()).domainname)), false),
            NodeTag::T_CreateSchemaStmt => (Name::bare(text((*node.cast::<pg_sys::CreateSchemaStmt>()).schemaname)), false),
            NodeTag::T_CreateExtensionStmt => {
                let statement = &*node.cast::<pg_sys::CreateExtensionStmt>();
                let name = text(statement.extname);
                let schema = items(statement.options).into_iter().find_map(|option| {
                    let option = &*option.cast::<pg_sys::DefElem>();
                    (text(option.defname) == "schema").then(|| string(option.arg))
                });
                match schema {
                    Some(schema) if schema == OUR_SCHEMA => (into_our_schema(schema, &name), false),
                    _ => (Name::bare(name), false),
                }
            }
            NodeTag::T_CreateTableAsStmt => {
                let into = (*node.cast::<pg_sys::CreateTableAsStmt>()).into;
                (if into.is_null() { Name::default() } else { new_relation((*into).rel) }, false)
            }
            NodeTag::T_CreateFunctionStmt => {
                let statement = &*node.cast::<pg_sys::CreateFunctionStmt>();
                let name = name_of(strings(statement.funcname));
                if has_on(statement.options, "security") {
                    let verb = if statement.replace { Verb::CreateOrReplace } else { Verb::Create };
                    return Some(Command::Definer { verb, kind: kind_from(command_tag), name });
                }
                (name, statement.replace)
            }
            NodeTag::T_DefineStmt => {
                let statement = &*node.cast::<pg_sys::DefineStmt>();
                (name_of(strings(statement.defnames)), statement.replace)
            }
            NodeTag::T_CreateTrigStmt => {
                let statement = &*node.cast::<pg_sys::CreateTrigStmt>();
                let (table, name) = (relation(statement.relation), text(statement.trigname));
                return Some(Command::Trigger { table, name, replace: statement.replace });
            }
            NodeTag::T_RuleStmt => {
                let statement = &*node.cast::<pg_sys::RuleStmt>();
                let (table, name) = (relation(statement.relation), text(statement.rulename));
                return Some(Command::Rule { table, name, replace: statement.replace, effect: effect(statement) });
            }
            NodeTag::T_CreatePolicyStmt => {
                let statement = &*node.cast::<pg_sys::CreatePolicyStmt>();
                return Some(Command::Policy { table: relation(statement.table), name: text(statement.policy_name) });
            }
            _ => return None,
        };
        Some(Command::Create { kind: kind_from(command_tag), name, replace })
    }
}

fn created_table(statement: &pg_sys::CreateStmt, command_tag: &str) -> Command {
    let parents: Vec<Name> = items(statement.inhRelations).into_iter().map(|one| relation(one.cast())).collect();
    let own = Command::Create { kind: kind_from(command_tag), name: new_relation(statement.relation), replace: false };
    let own = if parents.is_empty() { own } else { Command::Several(vec![own, Command::Heir { parents }]) };
    with_references(own, items(statement.tableElts))
}

/// Whether a function runs with the privileges of its owner.
pub fn is_definer(name: &Name) -> bool {
    let Identity::Is(found) = name.identity else { return false };
    // SAFETY: the tuple is null or a pg_proc row that stays valid until it is released.
    unsafe {
        let cache = pg_sys::SysCacheIdentifier::PROCOID as c_int;
        let tuple = pg_sys::SearchSysCache1(cache, pg_sys::Oid::from(found.object).into());
        if tuple.is_null() {
            return false;
        }
        let row: pg_sys::Form_pg_proc = pg_sys::GETSTRUCT(tuple).cast();
        let definer = (*row).prosecdef;
        pg_sys::ReleaseSysCache(tuple);
        definer
    }
}

/// What a rule does to rows: they vanish where a write is replaced by none; and what it deletes or updates, nobody has asked for.
pub fn effect(statement: &pg_sys::RuleStmt) -> RuleEffect {
    // An INSERT that does nothing else: what it has of WITH or ON CONFLICT can delete and update.
    let only_inserts = |action: NodePtr| {
        // SAFETY: the tag says so.
        tag(action) == NodeTag::T_InsertStmt
            && unsafe {
                let insert = &*action.cast::<pg_sys::InsertStmt>();
                insert.withClause.is_null() && insert.onConflictClause.is_null()
            }
    };
    let harmless = |action: &NodePtr| {
        // SAFETY: the tag says so.
        let reads =
            tag(*action) == NodeTag::T_SelectStmt && unsafe { (*action.cast::<pg_sys::SelectStmt>()).withClause.is_null() };
        reads || tag(*action) == NodeTag::T_NotifyStmt || only_inserts(*action)
    };
    let changes = !items(statement.actions).iter().all(harmless);
    // A view has no rows of its own to lose.
    let is_view = matches!(relation(statement.relation).identity, Identity::Is(found)
        // SAFETY: looks into a catalog cache.
        if unsafe { pg_sys::get_rel_relkind(pg_sys::Oid::from(found.object)) } as u8 == b'v');
    let swallows = statement.instead && statement.event != pg_sys::CmdType::CMD_SELECT && !is_view;
    if changes && !is_view || swallows { RuleEffect::Loses } else { RuleEffect::Redirects }
}

fn kind_from(command_tag: &str) -> ObjectKind {
    ObjectKind::from(command_tag.trim_start_matches("CREATE ").trim_end_matches(" AS").to_lowercase().as_str())
}

/// What only the kind of statement tells. Every statement of PostgreSQL 15 stands here, or in [`read`](super::commands::read); one that a later
/// version adds counts as breaking until somebody has looked at it (the test `statements` compares with the server's headers).
pub fn by_tag(node_tag: NodeTag, tag: String) -> Command {
    use NodeTag::*;
    match node_tag {
        T_InsertStmt | T_SelectStmt | T_ReturnStmt | T_PLAssignStmt => Command::Data { tag },
        T_TransactionStmt => Command::Transaction { tag },
        T_DoStmt | T_CallStmt | T_ExecuteStmt | T_PrepareStmt | T_DeallocateStmt | T_NotifyStmt | T_ListenStmt
        | T_UnlistenStmt | T_DiscardStmt | T_FetchStmt | T_DeclareCursorStmt | T_ClosePortalStmt | T_ConstraintsSetStmt
        | T_CheckPointStmt | T_VariableShowStmt | T_CommentStmt => Command::Opaque { tag },
        T_CreateAmStmt
        | T_CreateCastStmt
        | T_CreateConversionStmt
        | T_CreateFdwStmt
        | T_CreateForeignServerStmt
        | T_CreateOpClassStmt
        | T_CreateOpFamilyStmt
        | T_CreatePLangStmt
        | T_CreatePublicationStmt
        | T_CreateRangeStmt
        | T_CreateStatsStmt
        | T_CreateSubscriptionStmt
        | T_CreateTransformStmt
        | T_CreateUserMappingStmt => Command::Create { kind: kind_from(&tag), name: Name::default(), replace: false },
        T_AlterDefaultPrivilegesStmt | T_AlterPolicyStmt | T_SecLabelStmt => Command::Protection { tag },
        // It creates tables like any other; each fires its own events.
        T_AlterCollationStmt
        | T_AlterDatabaseRefreshCollStmt
        | T_AlterFdwStmt
        | T_AlterForeignServerStmt
        | T_AlterOpFamilyStmt
        | T_AlterOperatorStmt
        | T_AlterPublicationStmt
        | T_AlterStatsStmt
        | T_AlterSubscriptionStmt
        | T_AlterTSConfigurationStmt
        | T_AlterTSDictionaryStmt
        | T_AlterTableMoveAllStmt
        | T_AlterTypeStmt
        | T_AlterUserMappingStmt => Command::Other { tag },
        _ => Command::Other { tag },
    }
}
