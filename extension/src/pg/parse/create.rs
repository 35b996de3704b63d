//! CREATE, of whatever kind.

use crate::pg::parse::alter_table::with_outside;
use crate::pg::parse::constraints::with_references;
use crate::pg::parse::names::{extension as installed, new_relation, relation};
use crate::pg::parse::nodes::{NodePtr, cast, field, items, name_of, string, strings, tag};
use crate::pg::parse::type_change::has_on;
use pgrx::pg_sys::{self, NodeTag};
use runbook_core::command::{Command, Name, RuleEffect};
use runbook_core::identity::Identity;
use runbook_core::inventory::SCHEMAS;
use runbook_core::vocabulary::object_kind::ObjectKind;
use runbook_core::vocabulary::verb::Verb;
use std::ffi::c_int;

/// What a statement puts into a schema, of which only that it is ours matters.
fn into_our_schema(schema: String, name: &str) -> Name {
    if SCHEMAS.contains(&schema.as_str()) { Name { schema: Some(schema), ..Name::bare(name) } } else { Name::default() }
}

/// Statements that create something, with the name where it is cheap to have.
pub fn create(node: NodePtr, command_tag: &str) -> Option<Command> {
    use NodeTag::*;
    let plain = |name| Command::Create { kind: kind_from(command_tag), name, replace: false };
    match tag(node) {
        T_CreateStmt => cast(node).map(|one| created_table(one, command_tag)),
        T_CreateForeignTableStmt => cast(node).map(|one: &pg_sys::CreateForeignTableStmt| {
            with_outside(created_table(&one.base, command_tag), [one.options].into_iter())
        }),
        T_IndexStmt => cast(node).map(index),
        T_ViewStmt => cast(node).map(|one: &pg_sys::ViewStmt| Command::Create {
            kind: kind_from(command_tag),
            name: new_relation(one.view),
            replace: one.replace,
        }),
        T_CreateFunctionStmt => cast(node).map(|one| function(one, command_tag)),
        T_DefineStmt => cast(node).map(|one: &pg_sys::DefineStmt| Command::Create {
            kind: kind_from(command_tag),
            name: name_of(strings(one.defnames)),
            replace: one.replace,
        }),
        T_CreateTrigStmt => cast(node).map(|one: &pg_sys::CreateTrigStmt| Command::Trigger {
            table: relation(one.relation),
            name: field(one.trigname),
            replace: one.replace,
        }),
        T_RuleStmt => cast(node).map(|one: &pg_sys::RuleStmt| Command::Rule {
            table: relation(one.relation),
            name: field(one.rulename),
            replace: one.replace,
            effect: effect(one),
        }),
        T_CreatePolicyStmt => cast(node)
            .map(|one: &pg_sys::CreatePolicyStmt| Command::Policy { table: relation(one.table), name: field(one.policy_name) }),
        T_CreateSeqStmt => cast(node).map(|one: &pg_sys::CreateSeqStmt| plain(new_relation(one.sequence))),
        T_CompositeTypeStmt => cast(node).map(|one: &pg_sys::CompositeTypeStmt| plain(new_relation(one.typevar))),
        T_CreateEnumStmt => cast(node).map(|one: &pg_sys::CreateEnumStmt| plain(name_of(strings(one.typeName)))),
        T_CreateDomainStmt => cast(node).map(|one: &pg_sys::CreateDomainStmt| plain(name_of(strings(one.domainname)))),
        T_CreateSchemaStmt => cast(node).map(|one: &pg_sys::CreateSchemaStmt| plain(Name::bare(field(one.schemaname)))),
        T_CreateExtensionStmt => cast(node).map(|one: &pg_sys::CreateExtensionStmt| {
            // PostgreSQL says that it exists, and does nothing.
            let is_there = one.if_not_exists && matches!(installed(&field(one.extname)).identity, Identity::Is(_));
            if is_there { Command::Opaque { tag: command_tag.to_owned() } } else { plain(extension(one)) }
        }),
        T_CreateTableAsStmt => cast(node).map(|one: &pg_sys::CreateTableAsStmt| {
            // SAFETY: null, or an IntoClause that the parser made.
            let into = unsafe { one.into.as_ref() };
            plain(into.map_or_else(Name::default, |into| new_relation(into.rel)))
        }),
        _ => foreign(node, command_tag),
    }
}

/// What leads out of the database: servers, wrappers, user mappings.
fn foreign(node: NodePtr, command_tag: &str) -> Option<Command> {
    use NodeTag::*;
    let (own, options) = match tag(node) {
        T_CreateForeignServerStmt => {
            let one = cast::<pg_sys::CreateForeignServerStmt>(node)?;
            (created(ObjectKind::Server, Name::bare(field(one.servername))), one.options)
        }
        T_CreateUserMappingStmt => {
            let one = cast::<pg_sys::CreateUserMappingStmt>(node)?;
            (created(ObjectKind::UserMapping, Name::bare(field(one.servername))), one.options)
        }
        T_CreateFdwStmt => {
            let one = cast::<pg_sys::CreateFdwStmt>(node)?;
            (created(ObjectKind::NewForeignDataWrapper, Name::bare(field(one.fdwname))), one.options)
        }
        T_ImportForeignSchemaStmt => {
            let one = cast::<pg_sys::ImportForeignSchemaStmt>(node)?;
            (created(ObjectKind::ForeignTable, into_our_schema(field(one.local_schema), "*")), one.options)
        }
        T_AlterForeignServerStmt => {
            (by_tag(tag(node), command_tag.to_owned()), cast::<pg_sys::AlterForeignServerStmt>(node)?.options)
        }
        T_AlterFdwStmt => (by_tag(tag(node), command_tag.to_owned()), cast::<pg_sys::AlterFdwStmt>(node)?.options),
        T_AlterUserMappingStmt => {
            (by_tag(tag(node), command_tag.to_owned()), cast::<pg_sys::AlterUserMappingStmt>(node)?.options)
        }
        _ => return None,
    };
    Some(with_outside(own, [options].into_iter()))
}

fn created(kind: ObjectKind, name: Name) -> Command {
    Command::Create { kind, name, replace: false }
}

fn index(statement: &pg_sys::IndexStmt) -> Command {
    Command::CreateIndex {
        table: relation(statement.relation),
        name: field(statement.idxname),
        concurrently: statement.concurrent,
        unique: statement.unique,
    }
}

fn function(statement: &pg_sys::CreateFunctionStmt, command_tag: &str) -> Command {
    let (kind, name) = (kind_from(command_tag), name_of(strings(statement.funcname)));
    if has_on(statement.options, "security") {
        let verb = if statement.replace { Verb::CreateOrReplace } else { Verb::Create };
        return Command::Definer { verb, kind, name };
    }
    Command::Create { kind, name, replace: statement.replace }
}

/// The name of an extension, in the schema where it matters.
fn extension(statement: &pg_sys::CreateExtensionStmt) -> Name {
    let name = field(statement.extname);
    let mut options = items(statement.options).into_iter().filter_map(cast::<pg_sys::DefElem>);
    match options.find(|option| field(option.defname) == "schema").map(|option| string(option.arg)) {
        Some(schema) if SCHEMAS.contains(&schema.as_str()) => into_our_schema(schema, &name),
        _ => Name::bare(name),
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
        cast::<pg_sys::InsertStmt>(action)
            .is_some_and(|insert| insert.withClause.is_null() && insert.onConflictClause.is_null())
    };
    let harmless = |action: &NodePtr| {
        let reads = cast::<pg_sys::SelectStmt>(*action).is_some_and(|select| select.withClause.is_null());
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
