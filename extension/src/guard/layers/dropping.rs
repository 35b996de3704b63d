//! What goes along with a drop that was decided on: members with their extension, constraints and the like with their relation.

use crate::catalog::objects;
use crate::catalog::relations::{self, Dropped};
use pgrx::pg_sys::panic::ErrorReport;
use runbook_core::action::Action;
use runbook_core::identity::{Address, Identity};
use runbook_core::inventory::SCHEMAS;
use runbook_core::vocabulary::object_kind::ObjectKind;
use runbook_core::vocabulary::verb::Verb;
use std::cell::RefCell;
use std::collections::HashSet;

/// Whether taking a member out is all that the statement does: it has been decided on as a whole, before it ran.
pub fn is_what_its_statement_says(tag: &str, action: &Action) -> bool {
    use ObjectKind::{FunctionOfAccessMethod, OperatorOfAccessMethod, PublicationNamespace, PublicationRelation};
    match tag {
        "ALTER PUBLICATION" => matches!(action.object.kind, PublicationRelation | PublicationNamespace),
        "ALTER OPERATOR FAMILY" => matches!(action.object.kind, OperatorOfAccessMethod | FunctionOfAccessMethod),
        _ => false,
    }
}

thread_local! {
    /// The members of the extensions that the statement drops, or of the extension whose script it is part of.
    static MEMBERS: RefCell<HashSet<Address>> = RefCell::default();
}

/// Takes note of the members of the extensions that the statement drops.
///
/// # Errors
/// Of the catalog.
pub fn remember_members(extensions: &[u32]) -> Result<(), ErrorReport> {
    MEMBERS.set(objects::members(extensions)?);
    Ok(())
}

/// [`remember_members`] of the extensions that the actions drop.
///
/// # Errors
/// Of the catalog.
pub fn remember_members_of_dropped(actions: &[Action]) -> Result<(), ErrorReport> {
    let extensions = actions.iter().filter(|action| action.verb == Verb::Drop && action.object.kind == ObjectKind::Extension);
    let extensions = extensions.filter_map(|action| match action.identity {
        Identity::Is(extension) => Some(extension.object),
        _ => None,
    });
    remember_members(&extensions.collect::<Vec<_>>())
}

/// The next statement begins.
pub fn forget_members() {
    MEMBERS.take();
}

/// Whether it is a member of an extension that the statement drops, or that drops a member of its own in its script. The approval of
/// the extension's statement covers it.
pub fn goes_with_its_extension(action: &Action) -> bool {
    // Schemas and views are in the manifest one by one: they may have been put into the extension since the approval.
    !matches!(action.object.kind, ObjectKind::Schema | ObjectKind::View)
        && matches!(action.identity, Identity::Is(found) if MEMBERS.with_borrow(|members| members.contains(&found)))
}

/// Whether a thing that our own script has dropped was ours.
pub fn is_ours(action: &Action) -> bool {
    let in_our_schemas = action.object.path.first().is_some_and(|schema| SCHEMAS.contains(&schema.as_str()));
    in_our_schemas && action.object.path.len() > 1 || goes_with_its_extension(action)
}

/// Whether a constraint, rule, trigger or row security policy goes because the statement drops its relation, or a column of
/// that. PostgreSQL may say that it depends on it as something of its own, as the rule of a view does. The same constraint
/// of heirs has been judged with that of their parent, and a domain's with the statement.
///
/// # Errors
/// Of the catalog.
pub fn goes_with_its_relation(object: &Dropped, all: &[Dropped]) -> Result<bool, ErrorReport> {
    let action = &object.action;
    use ObjectKind::*;
    let kind = &action.object.kind;
    let originals =
        || all.iter().filter(|other| other.original && !std::ptr::eq(*other, object)).map(|other| &other.action.object);
    if *kind == DomainConstraint {
        return Ok(object.original || originals().any(|other| other.kind == Type));
    }
    let [schema, relation, name] = &action.object.path[..] else { return Ok(false) };
    if !matches!(kind, Constraint | Rule | Trigger | Policy) {
        return Ok(false);
    }
    for other in originals() {
        let path = &other.path[..];
        let is_relation = matches!(other.kind, Table | View | MaterializedView | ForeignTable);
        match path {
            [its_schema, its_relation] if is_relation && (its_schema, its_relation) == (schema, relation) => return Ok(true),
            [its_schema, its_relation, _] if other.kind == Column && (its_schema, its_relation) == (schema, relation) => {
                return Ok(true);
            }
            [its_schema, its_relation, its_name]
                if *kind == Constraint
                    && other.kind == Constraint
                    && its_name == name
                    && relations::inherits(schema, relation, its_schema, its_relation)? =>
            {
                return Ok(true);
            }
            _ => {}
        }
    }
    Ok(false)
}
