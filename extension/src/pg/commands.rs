//! Raw parse trees read into [`Command`]s. Nothing is decided here; see `runbook_core::action` for what it means.

#![allow(non_upper_case_globals, reason = "the constants are PostgreSQL's, spelt as in parsenodes.h")]

use crate::pg::caught::text;
use crate::pg::kinds::word;
use crate::pg::nodes::{
    NodePtr, data_type, items, name_of, new_relation, object, parts, relation, relation_kind, relation_named, role, roles,
    schema, string, strings, tag,
};
use pgrx::pg_sys;
use pgrx::pg_sys::{AlterTableType, ConstrType, NodeTag, ObjectType};
use runbook_core::command::{Change, Command, Name};

/// Reads the node of a raw statement. `command_tag` is PostgreSQL's tag for it.
pub fn read(node: NodePtr, command_tag: &str) -> Command {
    let command_tag = command_tag.to_owned();
    // SAFETY: each arm casts to the struct that its node tag names (nodes/nodes.h).
    unsafe {
        match tag(node) {
            NodeTag::T_DropStmt => drop_objects(&*node.cast()),
            NodeTag::T_AlterTableStmt => alter_table(&*node.cast()),
            NodeTag::T_RenameStmt => rename(&*node.cast()),
            NodeTag::T_AlterObjectSchemaStmt => {
                let statement = &*node.cast::<pg_sys::AlterObjectSchemaStmt>();
                let name = either(statement.relation, statement.objectType, statement.object);
                Command::SetSchema {
                    kind: kind_of(statement.relation, &name, word(statement.objectType)).into(),
                    name,
                    schema: text(statement.newschema),
                }
            }
            NodeTag::T_AlterOwnerStmt => {
                let statement = &*node.cast::<pg_sys::AlterOwnerStmt>();
                let name = either(statement.relation, statement.objectType, statement.object);
                Command::Owner {
                    kind: kind_of(statement.relation, &name, word(statement.objectType)).into(),
                    name,
                    role: role(statement.newowner),
                }
            }
            NodeTag::T_AlterEnumStmt => {
                let statement = &*node.cast::<pg_sys::AlterEnumStmt>();
                let name = data_type(statement.typeName.cast());
                if statement.oldVal.is_null() {
                    Command::AddEnumValue { name, value: text(statement.newVal) }
                } else {
                    Command::RenameEnumValue { name, value: text(statement.oldVal) }
                }
            }
            NodeTag::T_AlterDomainStmt => {
                let statement = &*node.cast::<pg_sys::AlterDomainStmt>();
                let (what, scans) = match statement.subtype as u8 {
                    b'O' => ("set not null on", true),
                    b'C' => ("add constraint to", true),
                    b'V' => ("validate constraint of", true),
                    b'X' => ("drop constraint of", false),
                    b'N' => ("drop not null on", false),
                    _ => ("alter", false),
                };
                Command::AlterDomain { name: data_type(statement.typeName.cast()), what, scans }
            }
            NodeTag::T_DropOwnedStmt => {
                let statement = &*node.cast::<pg_sys::DropOwnedStmt>();
                Command::DropOwned { roles: roles(statement.roles), cascade: cascades(statement.behavior) }
            }
            NodeTag::T_ReassignOwnedStmt => {
                Command::Reassign { roles: roles((*node.cast::<pg_sys::ReassignOwnedStmt>()).roles) }
            }
            NodeTag::T_TruncateStmt => {
                let statement = &*node.cast::<pg_sys::TruncateStmt>();
                let names = items(statement.relations).into_iter().map(|one| relation(one.cast())).collect();
                Command::Truncate { names, cascade: cascades(statement.behavior) }
            }
            NodeTag::T_DeleteStmt => {
                let statement = &*node.cast::<pg_sys::DeleteStmt>();
                let filtered = !statement.whereClause.is_null() || !statement.usingClause.is_null();
                Command::Delete { name: relation(statement.relation), filtered }
            }
            NodeTag::T_GrantStmt => grant(&*node.cast::<pg_sys::GrantStmt>()),
            NodeTag::T_DropdbStmt => dropped("database", &text((*node.cast::<pg_sys::DropdbStmt>()).dbname)),
            NodeTag::T_DropTableSpaceStmt => {
                dropped("tablespace", &text((*node.cast::<pg_sys::DropTableSpaceStmt>()).tablespacename))
            }
            NodeTag::T_DropUserMappingStmt => {
                dropped("user mapping", &text((*node.cast::<pg_sys::DropUserMappingStmt>()).servername))
            }
            NodeTag::T_DropSubscriptionStmt => {
                dropped("subscription", &text((*node.cast::<pg_sys::DropSubscriptionStmt>()).subname))
            }
            NodeTag::T_VariableSetStmt => {
                let setting = text((*node.cast::<pg_sys::VariableSetStmt>()).name);
                match setting.as_str() {
                    "role" | "session_authorization" | "standard_conforming_strings" | "session_replication_role" => {
                        Command::SwitchRole { setting }
                    }
                    _ => Command::Opaque { tag: command_tag },
                }
            }
            NodeTag::T_CreateSchemaStmt => {
                let statement = &*node.cast::<pg_sys::CreateSchemaStmt>();
                let own = create(node, &command_tag).unwrap_or_else(|| by_tag(tag(node), command_tag));
                // Its elements fire no event of their own at the start.
                let elements = items(statement.schemaElts).into_iter().map(|element| {
                    let tag = text(pg_sys::GetCommandTagName(pg_sys::CreateCommandTag(element)));
                    read(element, &tag)
                });
                Command::Several(std::iter::once(own).chain(elements).collect())
            }
            NodeTag::T_SelectStmt => match control_call(&*node.cast()) {
                Some(function) => Command::Control { function },
                None => Command::Opaque { tag: command_tag },
            },
            _ => create(node, &command_tag).unwrap_or_else(|| by_tag(tag(node), command_tag)),
        }
    }
}

fn cascades(behavior: pg_sys::DropBehavior::Type) -> bool {
    behavior == pg_sys::DropBehavior::DROP_CASCADE
}

fn dropped(kind: &str, name: &str) -> Command {
    Command::DropOne { kind: kind.to_owned(), name: Name::bare(name) }
}

fn either(variable: *mut pg_sys::RangeVar, kind: ObjectType::Type, node: NodePtr) -> Name {
    if variable.is_null() { object(kind, node) } else { relation(variable) }
}

fn kind_of(variable: *mut pg_sys::RangeVar, name: &Name, word: &'static str) -> &'static str {
    if variable.is_null() { word } else { relation_kind(name, word) }
}

fn grant(statement: &pg_sys::GrantStmt) -> Command {
    let privileges: Vec<String> = items(statement.privileges)
        .into_iter()
        // SAFETY: a list of AccessPriv, whose name is null for ALL.
        .map(|node| unsafe {
            let privilege = &*node.cast::<pg_sys::AccessPriv>();
            let columns = strings(privilege.cols);
            let name = if privilege.priv_name.is_null() { "all".to_owned() } else { text(privilege.priv_name) };
            if columns.is_empty() { name } else { format!("{name} ({})", columns.join(", ")) }
        })
        .collect();
    let kind = word(statement.objtype);
    let members = items(statement.objects);
    let (kind, names) = match statement.targtype {
        pg_sys::GrantTargetType::ACL_TARGET_OBJECT if is_named_by_range(statement.objtype) => {
            (kind.to_owned(), members.into_iter().map(|one| relation(one.cast())).collect())
        }
        pg_sys::GrantTargetType::ACL_TARGET_OBJECT => {
            (kind.to_owned(), members.into_iter().map(|one| object(statement.objtype, one)).collect())
        }
        pg_sys::GrantTargetType::ACL_TARGET_ALL_IN_SCHEMA => {
            (format!("every {kind} in schema"), members.into_iter().map(|one| schema(&string(one))).collect())
        }
        _ => (format!("default privileges of every {kind}"), vec![Name::bare("")]),
    };
    let privileges = if privileges.is_empty() { vec!["all".to_owned()] } else { privileges };
    Command::Grant { kind, names, privileges, roles: roles(statement.grantees), revoke: !statement.is_grant }
}

fn is_named_by_range(kind: ObjectType::Type) -> bool {
    matches!(kind, ObjectType::OBJECT_TABLE | ObjectType::OBJECT_SEQUENCE)
}

/// Functions of ours that weaken the guard, where policy asks for an approval of that.
const CONTROL: [&str; 5] = ["configure", "deactivate", "drop_maintenance_window", "set_maintenance_window", "set_policy"];

/// The function that a SELECT calls if it does nothing but call one of [`CONTROL`] with constants.
fn control_call(statement: &pg_sys::SelectStmt) -> Option<Name> {
    let bare = statement.fromClause.is_null()
        && statement.whereClause.is_null()
        && statement.groupClause.is_null()
        && statement.havingClause.is_null()
        && statement.withClause.is_null()
        && statement.intoClause.is_null()
        && statement.valuesLists.is_null()
        && statement.sortClause.is_null()
        && statement.limitOffset.is_null()
        && statement.limitCount.is_null()
        && statement.distinctClause.is_null()
        && statement.windowClause.is_null()
        && statement.lockingClause.is_null()
        && statement.op == pg_sys::SetOperation::SETOP_NONE;
    let [target] = items(statement.targetList)[..] else { return None };
    if !bare || tag(target) != NodeTag::T_ResTarget {
        return None;
    }
    // SAFETY: the tag says so.
    let call = unsafe { (*target.cast::<pg_sys::ResTarget>()).val };
    if tag(call) != NodeTag::T_FuncCall {
        return None;
    }
    // SAFETY: the tag says so.
    let call = unsafe { &*call.cast::<pg_sys::FuncCall>() };
    let name = name_of(strings(call.funcname));
    let ours = name.schema.as_deref() == Some("runbook") && CONTROL.contains(&name.name.as_str());
    let constant = items(call.args).into_iter().all(is_constant);
    let plain = call.agg_filter.is_null() && call.over.is_null() && call.agg_order.is_null();
    (ours && constant && plain).then_some(name)
}

/// Constants without a cast: the name of a type could be looked up elsewhere.
fn is_constant(node: NodePtr) -> bool {
    match tag(node) {
        NodeTag::T_A_Const => true,
        // SAFETY: the tag says so.
        NodeTag::T_NamedArgExpr => is_constant(unsafe { (*node.cast::<pg_sys::NamedArgExpr>()).arg.cast() }),
        NodeTag::T_A_ArrayExpr => {
            // SAFETY: the tag says so.
            let elements = unsafe { (*node.cast::<pg_sys::A_ArrayExpr>()).elements };
            items(elements).into_iter().all(is_constant)
        }
        _ => false,
    }
}

fn drop_objects(statement: &pg_sys::DropStmt) -> Command {
    let kind = statement.removeType;
    if matches!(kind, ObjectType::OBJECT_TRIGGER | ObjectType::OBJECT_RULE | ObjectType::OBJECT_POLICY) {
        // The table's name, then its own; the grammar allows one object only.
        let mut path = items(statement.objects).first().map(|object| parts(*object)).unwrap_or_default();
        let part = path.pop().unwrap_or_default();
        return Command::DropPart { kind: word(kind).into(), name: relation_named(path), part };
    }
    let names = items(statement.objects).into_iter().map(|one| object(kind, one)).collect();
    Command::Drop { kind: word(kind).into(), names, cascade: cascades(statement.behavior) }
}

fn rename(statement: &pg_sys::RenameStmt) -> Command {
    // SAFETY: strings that the parser made.
    let (part, new_name) = unsafe { (text(statement.subname), text(statement.newname)) };
    let name = either(statement.relation, statement.renameType, statement.object);
    let has_part = matches!(
        statement.renameType,
        ObjectType::OBJECT_COLUMN
            | ObjectType::OBJECT_ATTRIBUTE
            | ObjectType::OBJECT_TABCONSTRAINT
            | ObjectType::OBJECT_DOMCONSTRAINT
            | ObjectType::OBJECT_TRIGGER
            | ObjectType::OBJECT_RULE
            | ObjectType::OBJECT_POLICY
    );
    let name = match statement.renameType {
        ObjectType::OBJECT_SCHEMA => schema(&part),
        _ if name.name.is_empty() => Name::bare(part.as_str()),
        _ => name,
    };
    let word = word(statement.renameType);
    let kind = if has_part { word } else { kind_of(statement.relation, &name, word) };
    Command::Rename { kind: kind.into(), name, part: has_part.then_some(part), new_name }
}

fn alter_table(statement: &pg_sys::AlterTableStmt) -> Command {
    let changes = items(statement.cmds)
        .into_iter()
        // SAFETY: cmds is a list of AlterTableCmd.
        .map(|node| change(unsafe { &*node.cast::<pg_sys::AlterTableCmd>() }))
        .collect();
    Command::AlterTable { kind: word(statement.objtype).into(), name: relation(statement.relation), changes }
}

fn change(command: &pg_sys::AlterTableCmd) -> Change {
    use AlterTableType::*;
    // SAFETY: for each subtype `name` and `def` are what parsenodes.h says; both may be null.
    unsafe {
        let name = text(command.name);
        match command.subtype {
            AT_AddColumn => Change::AddColumn { column: column_name(command.def) },
            AT_DropColumn => Change::DropColumn { column: name },
            AT_AlterColumnType => Change::ColumnType { lossy: is_lossy(command.def, &name), column: name },
            AT_ColumnDefault => Change::ColumnDefault { column: name },
            AT_SetNotNull => Change::SetNotNull { column: name },
            AT_DropNotNull => Change::DropNotNull { column: name },
            AT_DropExpression => Change::DropExpression { column: name },
            AT_DropIdentity => Change::DropIdentity { column: name },
            AT_AddConstraint => add_constraint(command.def),
            AT_ValidateConstraint => Change::AddConstraint { name, scans: true },
            AT_DropConstraint => Change::DropConstraint { name },
            AT_ChangeOwner => Change::Owner { role: role(command.newowner) },
            AT_DetachPartition | AT_DetachPartitionFinalize => Change::DetachPartition { partition: partition(command.def) },
            AT_AttachPartition => Change::AttachPartition { partition: partition(command.def) },
            AT_DropInherit => Change::NoInherit { parent: relation(command.def.cast()) },
            AT_EnableRowSecurity | AT_ForceRowSecurity => Change::RowSecurity { enable: true },
            AT_DisableRowSecurity | AT_NoForceRowSecurity => Change::RowSecurity { enable: false },
            AT_EnableTrig | AT_EnableAlwaysTrig | AT_EnableReplicaTrig | AT_EnableTrigAll | AT_EnableTrigUser => {
                Change::Triggers { enable: true }
            }
            AT_DisableTrig | AT_DisableTrigAll | AT_DisableTrigUser => Change::Triggers { enable: false },
            AT_EnableRule | AT_EnableAlwaysRule | AT_EnableReplicaRule => Change::Rules { enable: true },
            AT_DisableRule => Change::Rules { enable: false },
            AT_SetUnLogged => Change::Unlogged,
            AT_SetLogged => Change::Logged,
            AT_SetAccessMethod => Change::Rewrite { what: "set access method of" },
            AT_SetTableSpace => Change::Rewrite { what: "set tablespace of" },
            AT_ReplicaIdentity => Change::ReplicaIdentity,
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
            | AT_SetIdentity
            | AT_AddInherit
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

unsafe fn add_constraint(definition: NodePtr) -> Change {
    if tag(definition) != NodeTag::T_Constraint {
        return Change::AddConstraint { name: String::new(), scans: true };
    }
    // SAFETY: the tag says so.
    let constraint = unsafe { &*definition.cast::<pg_sys::Constraint>() };
    let needs_no_scan =
        constraint.skip_validation || (constraint.contype != ConstrType::CONSTR_CHECK && !constraint.indexname.is_null());
    // SAFETY: null or NUL-terminated.
    Change::AddConstraint { name: unsafe { text(constraint.conname) }, scans: !needs_no_scan }
}

/// Whether a USING expression is more than the column itself. Explicit casts count: they cut strings and numbers short.
unsafe fn is_lossy(definition: NodePtr, column: &str) -> bool {
    if tag(definition) != NodeTag::T_ColumnDef {
        return false;
    }
    // SAFETY: the tag says so.
    let expression = unsafe { (*definition.cast::<pg_sys::ColumnDef>()).raw_default };
    if expression.is_null() {
        return false;
    }
    if tag(expression) != NodeTag::T_ColumnRef {
        return true;
    }
    // SAFETY: the tag says so.
    let fields = unsafe { (*expression.cast::<pg_sys::ColumnRef>()).fields };
    items(fields).last().is_none_or(|last| string(*last) != column)
}

/// Statements that create something, with the name where it is cheap to have.
unsafe fn create(node: NodePtr, command_tag: &str) -> Option<Command> {
    // SAFETY: each arm casts to the struct that its node tag names.
    unsafe {
        let (name, replace) = match tag(node) {
            NodeTag::T_IndexStmt => {
                let statement = &*node.cast::<pg_sys::IndexStmt>();
                let (table, name) = (relation(statement.relation), text(statement.idxname));
                return Some(Command::CreateIndex { table, name, concurrently: statement.concurrent });
            }
            NodeTag::T_CreateStmt | NodeTag::T_CreateForeignTableStmt => {
                (new_relation((*node.cast::<pg_sys::CreateStmt>()).relation), false)
            }
            NodeTag::T_ViewStmt => {
                let statement = &*node.cast::<pg_sys::ViewStmt>();
                (new_relation(statement.view), statement.replace)
            }
            NodeTag::T_CreateSeqStmt => (new_relation((*node.cast::<pg_sys::CreateSeqStmt>()).sequence), false),
            NodeTag::T_CompositeTypeStmt => (new_relation((*node.cast::<pg_sys::CompositeTypeStmt>()).typevar), false),
            NodeTag::T_CreateEnumStmt => (name_of(strings((*node.cast::<pg_sys::CreateEnumStmt>()).typeName)), false),
            NodeTag::T_CreateDomainStmt => (name_of(strings((*node.cast::<pg_sys::CreateDomainStmt>()).domainname)), false),
            NodeTag::T_CreateSchemaStmt => (Name::bare(text((*node.cast::<pg_sys::CreateSchemaStmt>()).schemaname)), false),
            NodeTag::T_CreateExtensionStmt => (Name::bare(text((*node.cast::<pg_sys::CreateExtensionStmt>()).extname)), false),
            NodeTag::T_CreateTableAsStmt => {
                let into = (*node.cast::<pg_sys::CreateTableAsStmt>()).into;
                (if into.is_null() { Name::default() } else { new_relation((*into).rel) }, false)
            }
            NodeTag::T_CreateFunctionStmt => {
                let statement = &*node.cast::<pg_sys::CreateFunctionStmt>();
                (name_of(strings(statement.funcname)), statement.replace)
            }
            NodeTag::T_DefineStmt => {
                let statement = &*node.cast::<pg_sys::DefineStmt>();
                (name_of(strings(statement.defnames)), statement.replace)
            }
            NodeTag::T_CreateTrigStmt => {
                let statement = &*node.cast::<pg_sys::CreateTrigStmt>();
                (on_table(statement.relation, &text(statement.trigname)), statement.replace)
            }
            NodeTag::T_RuleStmt => {
                let statement = &*node.cast::<pg_sys::RuleStmt>();
                (on_table(statement.relation, &text(statement.rulename)), statement.replace)
            }
            NodeTag::T_CreatePolicyStmt => {
                let statement = &*node.cast::<pg_sys::CreatePolicyStmt>();
                (on_table(statement.table, &text(statement.policy_name)), false)
            }
            _ => return None,
        };
        let kind = command_tag.trim_start_matches("CREATE ").trim_end_matches(" AS").to_lowercase();
        Some(Command::Create { kind, name, replace })
    }
}

fn on_table(table: *mut pg_sys::RangeVar, own: &str) -> Name {
    let table = relation(table);
    Name { name: format!("{}.{own}", table.name), ..table }
}

/// What only the kind of statement tells.
fn by_tag(node_tag: NodeTag, tag: String) -> Command {
    use NodeTag::*;
    match node_tag {
        T_InsertStmt | T_UpdateStmt | T_MergeStmt | T_CopyStmt => Command::Data { tag },
        T_TransactionStmt => Command::Transaction { tag },
        T_VacuumStmt | T_ClusterStmt | T_ReindexStmt | T_RefreshMatViewStmt => Command::Rewrite { tag, name: None },
        T_CreateRoleStmt | T_AlterRoleStmt | T_AlterRoleSetStmt | T_DropRoleStmt | T_GrantRoleStmt => Command::Role { tag },
        T_AlterSystemStmt
        | T_CreatedbStmt
        | T_AlterDatabaseStmt
        | T_AlterDatabaseSetStmt
        | T_CreateTableSpaceStmt
        | T_AlterTableSpaceOptionsStmt
        | T_CreateEventTrigStmt
        | T_AlterEventTrigStmt
        | T_LoadStmt => Command::System { tag },
        T_DoStmt | T_CallStmt | T_ExecuteStmt | T_PrepareStmt | T_DeallocateStmt | T_ExplainStmt | T_LockStmt
        | T_NotifyStmt | T_ListenStmt | T_UnlistenStmt | T_DiscardStmt | T_FetchStmt | T_DeclareCursorStmt
        | T_ClosePortalStmt | T_ConstraintsSetStmt | T_CheckPointStmt | T_VariableShowStmt | T_CommentStmt => {
            Command::Opaque { tag }
        }
        _ => match tag.strip_prefix("CREATE ") {
            Some(kind) => Command::Create { kind: kind.to_lowercase(), name: Name::default(), replace: false },
            None => Command::Other { tag },
        },
    }
}
