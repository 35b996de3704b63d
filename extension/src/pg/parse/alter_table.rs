//! ALTER TABLE and its like.

#![allow(non_upper_case_globals, reason = "the constants are PostgreSQL's, spelt as in parsenodes.h")]

use crate::pg::parse::kinds::word;
use crate::pg::parse::names::{kind_of, relation};
use crate::pg::parse::nodes::{NodePtr, items, string, tag};
use crate::pg::parse::type_change::{column_rewrites, type_change};
use crate::pg::parse::{bind, constraints};
use crate::pg::strings::text;
use pgrx::pg_sys::{self, AlterTableType, NodeTag};
use runbook_core::command::{Change, Command, Name, TypeChange};
use runbook_core::vocabulary::object_kind::ObjectKind;
use runbook_core::vocabulary::verb::Verb;

/// ALTER TABLE, VIEW, INDEX, SEQUENCE and the like.
pub fn alter_table(statement: &pg_sys::AlterTableStmt) -> Command {
    let name = relation(statement.relation);
    let alone = items(statement.cmds).len() == 1;
    let changes = items(statement.cmds)
        .into_iter()
        // SAFETY: cmds is a list of AlterTableCmd.
        .flat_map(|node| changes(unsafe { &*node.cast::<pg_sys::AlterTableCmd>() }, &name, alone))
        .collect();
    let kind = kind_of(statement.relation, &name, word(statement.objtype));
    // SAFETY: as above.
    let options = items(statement.cmds).into_iter().map(|node| unsafe { (*node.cast::<pg_sys::AlterTableCmd>()).def });
    let own = Command::AlterTable { kind, name, changes };
    // SAFETY: as above.
    let definitions = items(statement.cmds).into_iter().map(|node| unsafe { (*node.cast::<pg_sys::AlterTableCmd>()).def });
    let own = constraints::with_references(own, definitions);
    with_outside(own, options.filter(|node| tag(*node) == NodeTag::T_List).map(|list| list.cast()))
}

/// One subcommand, which may stand `alone`, can be several changes: a column comes with its constraints.
pub fn changes(command: &pg_sys::AlterTableCmd, table: &Name, alone: bool) -> Vec<Change> {
    let own = change(command, table, alone);
    if command.subtype != AlterTableType::AT_AddColumn || tag(command.def) != NodeTag::T_ColumnDef {
        return vec![own];
    }
    // SAFETY: the tag says so.
    let column = unsafe { &*command.def.cast::<pg_sys::ColumnDef>() };
    constraints::of_column(column, &table.name, own)
}

/// A statement, with the programs and files of the server that options of foreign tables, servers and the like make it reach.
pub fn with_outside(own: Command, lists: impl Iterator<Item = *mut pg_sys::List>) -> Command {
    let outside: Vec<Command> = lists.flat_map(items).filter_map(outside).collect();
    if outside.is_empty() { own } else { Command::Several(std::iter::once(own).chain(outside).collect()) }
}

/// What file_fdw's options `program` and `filename` reach. Other wrappers may call something else so: then it is asked for in vain.
pub fn outside(option: NodePtr) -> Option<Command> {
    if tag(option) != NodeTag::T_DefElem {
        return None;
    }
    // SAFETY: the tag says so.
    let option = unsafe { &*option.cast::<pg_sys::DefElem>() };
    // SAFETY: NUL-terminated.
    let word = unsafe { text(option.defname) };
    if option.defaction == pg_sys::DefElemAction::DEFELEM_DROP {
        return None;
    }
    let name = string(option.arg);
    match word.as_str() {
        "program" => Some(Command::Outside { verb: Verb::Run, kind: ObjectKind::Program, name }),
        "filename" => Some(Command::Outside { verb: Verb::Read, kind: ObjectKind::File, name }),
        _ => None,
    }
}

fn change(command: &pg_sys::AlterTableCmd, table: &Name, alone: bool) -> Change {
    use AlterTableType::*;
    // SAFETY: for each subtype `name` and `def` are what parsenodes.h says; both may be null.
    unsafe {
        let name = text(command.name);
        match command.subtype {
            AT_AddColumn => Change::AddColumn { column: column_name(command.def), rewrites: column_rewrites(command.def) },
            AT_DropColumn => Change::DropColumn { column: name },
            AT_AlterColumnType => Change::ColumnType { effect: retyped(table, command.def, &name, alone), column: name },
            AT_ColumnDefault => Change::ColumnDefault { column: name, gone: command.def.is_null() },
            AT_SetNotNull => Change::SetNotNull { scans: !constraints::has_values_only(table, &name), column: name },
            AT_DropNotNull => Change::DropNotNull { column: name },
            AT_DropExpression => Change::DropExpression { column: name },
            AT_DropIdentity => Change::DropIdentity { column: name },
            AT_SetIdentity => Change::ResetIdentity { column: name },
            AT_AddConstraint => constraints::added(command.def),
            AT_ValidateConstraint => Change::ValidateConstraint { name },
            AT_DropConstraint => Change::DropConstraint { name },
            AT_ChangeOwner => Change::Owner { role: bind::role(command.newowner) },
            AT_DetachPartition | AT_DetachPartitionFinalize => Change::DetachPartition { partition: partition(command.def) },
            AT_AttachPartition => Change::AttachPartition { partition: partition(command.def) },
            AT_DropInherit => Change::NoInherit { parent: relation(command.def.cast()) },
            AT_EnableRowSecurity | AT_ForceRowSecurity => Change::RowSecurity { enable: true },
            AT_DisableRowSecurity | AT_NoForceRowSecurity => Change::RowSecurity { enable: false },
            AT_EnableTrig | AT_EnableAlwaysTrig | AT_EnableReplicaTrig => Change::Triggers { enable: true, name: Some(name) },
            AT_EnableTrigAll | AT_EnableTrigUser => Change::Triggers { enable: true, name: None },
            AT_DisableTrig => Change::Triggers { enable: false, name: Some(name) },
            AT_DisableTrigAll | AT_DisableTrigUser => Change::Triggers { enable: false, name: None },
            AT_EnableRule | AT_EnableAlwaysRule | AT_EnableReplicaRule => Change::Rules { enable: true },
            AT_DisableRule => Change::Rules { enable: false },
            AT_SetUnLogged => Change::Unlogged,
            AT_SetLogged => Change::Logged,
            AT_SetAccessMethod => Change::Rewrite { verb: Verb::SetAccessMethod },
            AT_SetTableSpace => Change::Rewrite { verb: Verb::SetTablespace },
            AT_ReplicaIdentity => Change::ReplicaIdentity {
                nothing: tag(command.def) == NodeTag::T_ReplicaIdentityStmt
                    && (*command.def.cast::<pg_sys::ReplicaIdentityStmt>()).identity_type as u8 == b'n',
            },
            AT_AddInherit => Change::Inherit { parent: relation(command.def.cast()) },
            AT_SetRelOptions | AT_ResetRelOptions | AT_ReplaceRelOptions if has_view_security(command.def) => {
                Change::ViewSecurity
            }
            AT_SetStatistics
            | AT_SetOptions
            | AT_ResetOptions
            | AT_SetStorage
            | AT_SetCompression
            | AT_ClusterOn
            | AT_DropCluster
            | AT_SetRelOptions
            | AT_ResetRelOptions
            | AT_AddIdentity
            | AT_AddIndexConstraint => Change::Tuning,
            subtype => Change::Unknown { subtype },
        }
    }
}

unsafe fn column_name(definition: NodePtr) -> String {
    if tag(definition) != NodeTag::T_ColumnDef {
        return String::new();
    }
    // SAFETY: the tag says so.
    unsafe { text((*definition.cast::<pg_sys::ColumnDef>()).colname) }
}

unsafe fn partition(definition: NodePtr) -> Name {
    if tag(definition) != NodeTag::T_PartitionCmd {
        return Name::default();
    }
    // SAFETY: the tag says so.
    relation(unsafe { (*definition.cast::<pg_sys::PartitionCmd>()).name })
}

/// What a change of type does to the values. A USING expression that is more than the column itself can do anything; explicit
/// casts count: they cut strings and numbers short.
unsafe fn retyped(table: &Name, definition: NodePtr, column: &str, alone: bool) -> TypeChange {
    if tag(definition) != NodeTag::T_ColumnDef {
        return TypeChange::Converts;
    }
    // SAFETY: the tag says so.
    let definition = unsafe { &*definition.cast::<pg_sys::ColumnDef>() };
    let expression = definition.raw_default;
    if !expression.is_null() {
        if tag(expression) != NodeTag::T_ColumnRef {
            return TypeChange::Loses;
        }
        // SAFETY: the tag says so.
        let fields = unsafe { (*expression.cast::<pg_sys::ColumnRef>()).fields };
        if items(fields).last().is_none_or(|last| string(*last) != column) {
            return TypeChange::Loses;
        }
    }
    type_change(table, column, definition, alone)
}

/// Whether options of a relation are among those of a view that say whose privileges and which rows count.
fn has_view_security(options: NodePtr) -> bool {
    let list: *mut pg_sys::List = if tag(options) == NodeTag::T_List { options.cast() } else { return false };
    items(list).into_iter().filter(|option| tag(*option) == NodeTag::T_DefElem).any(|option| {
        // SAFETY: the tag says so.
        let name = unsafe { text((*option.cast::<pg_sys::DefElem>()).defname) };
        ["security_invoker", "security_barrier", "check_option"].contains(&name.as_str())
    })
}
