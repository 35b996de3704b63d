//! Submitting: a revision is parsed by PostgreSQL, classified, checked against the graph, and stored.

use crate::apply::engine::backfill_plan;
use crate::catalog::logins::this_login;
use crate::error::{from_core, refusal};
use crate::guard::classify::classify_all;
use crate::guard::temporary::refuse_shadowed;
use crate::ledger;
use crate::ledger::refusal::refused;
use crate::pg::execute::statements::{self, Statement};
use crate::pg::failure::Failure;
use crate::pg::parse::data::FROM_CLIENT;
use crate::pg::session::identity::{session_oid, session_role};
use crate::pg::session::pinned::Pinned;
use crate::settings::Settings;
use crate::store::approvals;
use crate::store::graph;
use crate::store::revisions::{self, Stored};
use pgrx::pg_sys::panic::ErrorReport;
use runbook_core::action::{Action, Class};
use runbook_core::advice::for_psql;
use runbook_core::approval::Login;
use runbook_core::command::Command;
use runbook_core::graph::{Graph, Vertex};
use runbook_core::ledger::Kind;
use runbook_core::top_level_only::TopLevelOnly;
use runbook_core::vocabulary::status::RevisionStatus;
use runbook_core::vocabulary::verb::Verb;
use runbook_core::{Error, Phase, Revision};
use serde_json::{Value, json};

/// Stores a revision and returns its id.
///
/// # Errors
/// 22023 and 54000 for a malformed submission, 42601 (with caret) for SQL that doesn't parse, 42704 for a missing parent,
/// 42P17 for a cycle, 42710 for a label that is taken, 55000 for an applied revision with other content.
pub fn submit(json: &Value, settings: &Settings) -> Result<String, Failure> {
    let revision = Revision::from_json(json).map_err(from_core)?;
    let id = revision.revision.as_str().to_owned();
    let pinned = Pinned::enter(&settings.pinned(), settings.migration_role())?;
    let upgrade = parse(&revision.upgrade_for_parser(), &id, "upgrade")?;
    let downgrade = parse(revision.downgrade.as_deref().unwrap_or_default(), &id, "downgrade")?;
    let verify = parse(revision.verify.as_deref().unwrap_or_default(), &id, "verify")?;
    refuse_alone(&verify, &id, "verify", true)?;
    refuse_alone(&upgrade, &id, "upgrade", revision.transaction || revision.backfill.is_some())?;
    refuse_alone(&downgrade, &id, "downgrade", revision.transaction)?;
    if !revision.transaction {
        refuse_parameters(&upgrade, &id, "upgrade")?;
        refuse_parameters(&downgrade, &id, "downgrade")?;
    }
    if revision.backfill.is_some() {
        backfill_plan::check(&revision, &upgrade)?;
    }
    refuse_shadowed(&upgrade, &id, "upgrade")?;
    refuse_shadowed(&downgrade, &id, "downgrade")?;
    let upgrade_actions = actions(upgrade.iter().chain(&verify))?;
    let downgrade_actions = actions(&downgrade)?;
    drop(pinned);

    let ordinal = graph::bump_graph()?;
    let digest = revision.digest().as_str().to_owned();
    let known = revisions::load(std::slice::from_ref(&id))?.pop();
    if let Some(known) = &known {
        if known.digest == digest && known.status != RevisionStatus::Withdrawn {
            also_submitted(known)?;
            return Ok(id);
        }
        if known.status == RevisionStatus::Applied {
            return Err(immutable(&id).into());
        }
    }
    check_graph(&revision, known.is_some())?;
    let voided = void_decisions(&revision, known.as_ref())?;
    let stored = Stored {
        phase: revision.phase.unwrap_or_else(|| phase_of(&upgrade, &upgrade_actions)),
        author: revision.author.clone().unwrap_or_else(session_role),
        status: RevisionStatus::Pending,
        submitter: submitter(known.as_ref())?,
        submitter_oid: session_oid(),
        digest,
        upgrade_actions,
        downgrade_actions,
        revision,
    };
    if !revisions::save(&stored, ordinal)? {
        return Err(immutable(&id).into());
    }
    keep_rejection(&id)?;
    let facts = json!({
        "revision": id, "digest": stored.digest, "phase": stored.phase.as_str(), "message": stored.revision.message,
        "author": stored.author, "parents": stored.revision.parents, "resubmitted": known.is_some(), "voided": voided,
        "objects": stored.upgrade_actions.iter().map(runbook_core::ledger::listed).collect::<Vec<_>>(),
    });
    ledger::record(Kind::RevisionSubmitted, facts)?;
    Ok(id)
}

/// The actions of statements, by name: what an approval binds is looked up when it is given.
fn actions<'a>(statements: impl IntoIterator<Item = &'a Statement>) -> Result<Vec<Action>, ErrorReport> {
    let all = classify_all(statements.into_iter().map(|statement| &statement.command))?;
    Ok(all.into_iter().map(Action::unbound).collect())
}

/// Decisions on a revision that is submitted again are void, and those on all that builds upon it: they were made on top of it.
fn void_decisions(revision: &Revision, known: Option<&Stored>) -> Result<usize, ErrorReport> {
    let Some(known) = known else { return Ok(0) };
    let id = revision.revision.as_str();
    // It was withdrawn, and comes back as it was.
    if known.digest == revision.digest().as_str() && known.revision.parents == revision.parents {
        return Ok(0);
    }
    let moved = known.revision.parents != revision.parents || known.revision.depends_on != revision.depends_on;
    let what = if moved { "parents" } else { "content" };
    let mut voided = approvals::void(id, None, &format!("the revision was submitted again with other {what}"))?;
    if voided > 0 {
        pgrx::notice!("revision \"{id}\" has new {what}: {voided} decision(s) on it are void");
    }
    for child in revisions::descendants(id)? {
        let count =
            approvals::void(&child, None, &format!("revision \"{id}\" below it was submitted again with other {what}"))?;
        if count > 0 {
            revisions::set_status(&child, RevisionStatus::Pending)?;
            pgrx::notice!("revision \"{child}\" depends on it: {count} decision(s) on \"{child}\" are void too");
        }
        voided += count;
    }
    Ok(voided)
}

/// A no to this very content stands, whatever has become of the revision meanwhile.
fn keep_rejection(id: &str) -> Result<(), ErrorReport> {
    let given = approvals::given_for(&[id.to_owned()])?;
    if given.iter().any(|one| !one.approved && one.void.is_none()) {
        revisions::set_status(id, RevisionStatus::Rejected)?;
    }
    Ok(())
}

/// The same content, from another login: that one can't approve it either. Nothing else changes.
fn also_submitted(known: &Stored) -> Result<(), ErrorReport> {
    let login = this_login()?;
    if login.identities.is_subset(&known.submitter.identities) {
        return Ok(());
    }
    let id = known.revision.revision.as_str();
    revisions::add_submitter(id, &login)?;
    let facts = json!({
        "revision": id, "digest": known.digest, "phase": known.phase.as_str(), "message": known.revision.message, "author": known.author,
        "parents": known.revision.parents, "resubmitted": true, "voided": 0,
        "objects": known.upgrade_actions.iter().map(runbook_core::ledger::listed).collect::<Vec<_>>(),
    });
    ledger::record(Kind::RevisionSubmitted, facts)
}

/// The login that submits, and whoever submitted the revision before: none of them may approve it.
fn submitter(known: Option<&Stored>) -> Result<Login, ErrorReport> {
    let mut login = this_login()?;
    if let Some(known) = known {
        login.identities.extend(&known.submitter.identities);
    }
    Ok(login)
}

fn immutable(id: &str) -> ErrorReport {
    refusal(
        "55000",
        format!("revision \"{id}\" is applied and can't change"),
        Some("The submitted content differs from what was applied.".to_owned()),
        Some("Write a new revision on top of it (runbook revision -m MESSAGE), or downgrade it first.".to_owned()),
    )
}

/// The statements of a section, as a revision may hold them.
pub fn parse(sql: &str, id: &str, section: &str) -> Result<Vec<Statement>, Failure> {
    let statements = statements::parse(sql).map_err(|mut error| {
        error.add_context(&format!("revision {id} ({section})"));
        if let Some(hint) = for_psql(sql, &error.message()).filter(|_| error.sqlstate() == "42601") {
            error.suggest(&hint);
        }
        error
    })?;
    for (at, statement) in statements.iter().enumerate() {
        let why = match &statement.command {
            Command::SwitchRole { .. } => "Revisions run as the migration role; remove the statement.",
            Command::Data { tag } if tag == FROM_CLIENT => {
                "It reads from the client, and a revision has none. Write INSERT; or dump with pg_dump --inserts."
            }
            Command::Transaction { .. } => "A revision is a transaction of its own; remove the statement.",
            Command::Opaque { tag } if tag == "LISTEN" || tag == "UNLISTEN" => {
                "It would act on the session of the login that applies the revision; remove the statement."
            }
            _ => continue,
        };
        let message = format!("{} is not allowed in a revision", statement.tag);
        let detail = format!("Revision {id} ({section}), statement {}, line {}.", at + 1, statement.line);
        return Err(refused("submit", "0A000", message, Some(detail), Some(why.to_owned())).into());
    }
    Ok(statements)
}

/// Refuses what would be forgotten before the next statement.
fn refuse_parameters(statements: &[Statement], id: &str, section: &str) -> Result<(), ErrorReport> {
    let Some((at, statement)) = statements.iter().enumerate().find(|(_, one)| ["SET", "RESET"].contains(&one.tag.as_str()))
    else {
        return Ok(());
    };
    let message = format!("{} has no effect in a revision with transaction: off", statement.tag);
    let detail = format!(
        "Revision {id} ({section}), statement {}, line {}: parameters are reset after each statement.",
        at + 1,
        statement.line
    );
    let hint = "Set it for the login that applies the revision: ALTER ROLE … SET maintenance_work_mem = '1GB';";
    Err(refused("submit", "0A000", message, Some(detail), Some(hint.to_owned())))
}

/// Refuses what can't be part of a transaction, where everything is.
fn refuse_alone(statements: &[Statement], id: &str, section: &str, is_transaction: bool) -> Result<(), ErrorReport> {
    let found = statements.iter().enumerate().find(|(_, statement)| statement.top_level_only.is_some());
    let Some((at, statement)) = found.filter(|_| is_transaction) else { return Ok(()) };
    let concurrently = statement.top_level_only.as_ref().is_some_and(TopLevelOnly::is_patient);
    let what = format!("{}{}", statement.tag, if concurrently { " CONCURRENTLY" } else { "" });
    let fix = match section {
        "verify" => {
            "The verify section runs in the transaction that marks the revision as applied; move the statement into the \
             upgrade."
        }
        _ => {
            "Write \"-- transaction: off\" in the revision's header (\"transaction\": false). A worker then runs each \
             statement by itself."
        }
    };
    let detail = format!("Revision {id} ({section}), statement {}, line {}.", at + 1, statement.line);
    Err(refused("submit", "25001", format!("{what} can't run inside a transaction"), Some(detail), Some(fix.to_owned())))
}

/// The phase that the actions suggest.
fn phase_of(statements: &[Statement], actions: &[Action]) -> Phase {
    // What is created beside the old may break clients, too, as a trigger that keeps both in step, or a unique index; it takes nothing away.
    let takes = |action: &Action| match action.class {
        Class::Destructive => true,
        Class::Breaking => !action.verb.creates() && action.verb != Verb::Add,
        _ => false,
    };
    let moves_data =
        |one: &Statement| matches!(one.command, Command::Data { .. } | Command::Delete { .. } | Command::Change { .. });
    if actions.iter().any(takes) {
        Phase::Contract
    } else if statements.iter().any(moves_data) {
        Phase::Migrate
    } else {
        Phase::Expand
    }
}

/// A new revision can't close a cycle, since nothing follows it yet: looking its neighbours up is enough. One that is
/// submitted again can.
fn check_graph(revision: &Revision, again: bool) -> Result<(), ErrorReport> {
    let id = revision.revision.as_str();
    let parents: Vec<String> = revision.parents.iter().map(|parent| parent.as_str().to_owned()).collect();
    let vertex = Vertex {
        id: id.to_owned(),
        parents: parents.clone(),
        depends_on: revision.depends_on.clone(),
        labels: revision.branch_labels.clone(),
    };
    if again {
        let mut vertices = graph::vertices()?;
        vertices.retain(|other| other.id != id);
        vertices.push(vertex);
        return Graph::new(vertices).map(|_| ()).map_err(from_core);
    }
    let missing = |name: &str, relation| Error::MissingParent { revision: id.to_owned(), parent: name.to_owned(), relation };
    for parent in &parents {
        if revisions::named(parent)?.as_deref() != Some(parent) {
            return Err(from_core(missing(parent, "parent")));
        }
    }
    for dependency in &revision.depends_on {
        if revisions::named(dependency)?.is_none() {
            return Err(from_core(missing(dependency, "dependency")));
        }
    }
    for label in revision.branch_labels.iter().map(String::as_str).chain([id]) {
        if let Some(owner) = revisions::named(label)? {
            return Err(from_core(Error::LabelTaken { label: label.to_owned(), revision: id.to_owned(), owner }));
        }
    }
    Ok(())
}
