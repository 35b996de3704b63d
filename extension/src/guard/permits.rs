//! Permits: one statement, once, for the login that asked, after others have approved it.
//!
//! A permit is bound to the statement's normal form, to the objects that its names meant, and to the schemas that were
//! searched for them. It is used up in the transaction of the statement, before any lock is taken.

use crate::approval::tally::{describe_missing, tally_permit};
use crate::code::{self, Reached};
use crate::error::{self, refusal};
use crate::guard::break_glass;
use crate::guard::classify::classify;
use crate::guard::limits;
use crate::guard::statement_text::recordable;
use crate::ledger::{self, recorder};
use crate::permission::{self, By, Coverage};
use crate::pg::execute::{statements, transaction};
use crate::pg::hooks::events::{client_query, is_planned_before, is_prepared, portal};
use crate::pg::session::identity::{database, disguised_login, moment, session_is_member, session_oid, statement_start};
use crate::pg::session::parameters::{ROLE, reading};
use crate::pg::session::pinned::resolution;
use crate::store::ledger::has_use as ledger_has_use;
use crate::store::permits::{self, Permit, PermitDecision};
use crate::store::settings;
use runbook_core::action::Action;
use runbook_core::approval::objection;
use runbook_core::changing;
use runbook_core::identity::Nothing;
use runbook_core::ledger::Kind;
use runbook_core::policy::Policy;
use runbook_core::statement::{digest, is_read_one_way};
use runbook_core::window::Closed;
use serde_json::json;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

/// What came of looking for a permit.
pub enum Claim {
    /// The statement is covered from here on.
    Granted,
    /// There is one, and no maintenance window is open. It is not used up.
    OutOfHours(Closed),
    /// There is one, and why it does not help.
    Refused(String),
    /// The login has none for this statement.
    None,
}

/// Uses up a permit of the login's for the client's statement, which is about to do `actions`.
pub fn claim(actions: &[Action], policy: &Policy) -> error::Result<Claim> {
    let Some(query) = client_query() else { return Ok(Claim::None) };
    let Some(digest) = digest(&query) else { return Ok(Claim::None) };
    let known = permits::for_statement(&digest, session_oid(), &database())?;
    let mut why = None;
    for permit in known.iter().rev() {
        let outlasts = actions.iter().any(Action::outlasts_rollback);
        // A rollback took its use back, and not what was done under it.
        if outlasts && ledger_has_use(&permit.permit)? {
            why = why.or(Some(format!(
                "Permit {} does not cover it: it has been used, and a permit is valid only once.",
                permit.permit
            )));
            continue;
        }
        match obstacle(permit, &query, actions, policy)? {
            Err(obstacle) => why = why.or(Some(format!("Permit {} does not cover it: {obstacle}.", permit.permit))),
            Ok(_) if let Some(closed) = policy.closed(actions) => return Ok(Claim::OutOfHours(closed)),
            Ok(reached) if take(&permit.permit)? => {
                used(permit, policy, outlasts, reached)?;
                return Ok(Claim::Granted);
            }
            Ok(_) => {
                why = Some(format!("Permit {} does not cover it: another session is using it, or has used it.", permit.permit))
            }
        }
    }
    Ok(why.map_or(Claim::None, Claim::Refused))
}

thread_local! {
    /// A permit that is taken when the statement that it covers commits.
    static RESERVED: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Takes a permit, or, where the statement must find the transaction without an id, has it taken at the statement's first commit.
fn take(permit: &str) -> error::Result<bool> {
    if !transaction::stays_without_id() {
        return permits::take(permit);
    }
    Ok(RESERVED.replace(Some(permit.to_owned())).is_none())
}

thread_local! {
    /// The code that statements under permits of this transaction have reached.
    static REACHED: RefCell<Vec<Rc<Reached>>> = const { RefCell::new(Vec::new()) };
}

/// Right before a commit.
///
/// # Errors
/// 42501, if another session has taken the permit in between: the statement has done nothing yet; or if it has replaced code that a
/// statement under a permit ran.
pub fn before_commit() -> error::Result<()> {
    for reached in REACHED.take() {
        transaction::with_snapshot(|| refuse_replaced(&reached))?;
    }
    let Some(permit) = RESERVED.take() else { return Ok(()) };
    // The portal's own snapshot has gone, and a query would give it another for good.
    if transaction::with_snapshot(|| permits::take(&permit))? {
        return Ok(());
    }
    let detail = "Another session is using it, or has used it.".to_owned();
    Err(refusal("42501", format!("permit \"{permit}\" no longer covers the statement"), Some(detail), None))
}

/// The transaction has ended.
pub fn over() {
    RESERVED.take();
    REACHED.take();
    permission::limit_no_more();
}

fn used(permit: &Permit, policy: &Policy, outlasts: bool, reached: Reached) -> error::Result<()> {
    let by = By::Permit { permit: permit.permit.clone(), moment: moment(), portal: portal() };
    let coverage = Coverage::new(by, permit.manifest.clone(), Some(policy.clone()), false);
    let reached = Rc::new(reached);
    transaction::current();
    REACHED.with_borrow_mut(|all| all.push(reached.clone()));
    let mut coverage = coverage;
    coverage.reached = Some(reached.clone());
    permission::permit(coverage);
    limits::set(&reached)?;
    let facts = json!({"permit": permit.permit, "statement": recordable(&permit.statement)});
    if outlasts {
        recorder::record(Kind::PermitUsed, facts);
        return Ok(());
    }
    ledger::record(Kind::PermitUsed, facts)
}

/// After a statement that a permit covers: refuses it if somebody has replaced the code that it ran.
pub fn check_code() -> error::Result<()> {
    match permission::covering(|coverage| coverage?.reached.clone()) {
        Some(reached) => refuse_replaced(&reached),
        None => Ok(()),
    }
}

fn refuse_replaced(reached: &Reached) -> error::Result<()> {
    let Some(name) = reached.meanwhile(&[]).replaced else { return Ok(()) };
    let detail = "The permit covers only what it was before.".to_owned();
    let hint = "Review it, then request another permit.".to_owned();
    Err(refusal("42501", format!("{name} was replaced while the statement ran"), Some(detail), Some(hint)))
}

/// What makes a text mean something else in this session than in the one that requested the permit.
fn other_parameters(then: &BTreeMap<String, String>, now: &BTreeMap<String, String>) -> Option<String> {
    let name = then.keys().chain(now.keys()).find(|name| then.get(*name) != now.get(*name))?;
    let value =
        |all: &BTreeMap<String, String>| all.get(name).map_or_else(|| "not set".to_owned(), |value| format!("\"{value}\""));
    let what = if name == ROLE { "" } else { "parameter " };
    Some(format!("{what}{name} was {} when it was requested, and is {} now", value(then), value(now)))
}

/// Why the statement at hand, which began under a permit, would not be granted any more: while it waited for a lock, its time was up, say,
/// or policy was changed.
pub fn taken_back() -> error::Result<Claim> {
    let Some(id) = permission::permit_in_use() else { return Ok(Claim::None) };
    let is_enforced = permission::covering(|coverage| coverage.is_some_and(|coverage| !coverage.record_only));
    if !is_enforced || break_glass::is_broken() {
        return Ok(Claim::None);
    }
    let policy = settings::policy()?;
    let known = permits::named(&id, &database())?;
    let Some(permit) = known.first() else { return Ok(Claim::None) };
    let tally = tally_permit(permit, &policy, None)?;
    Ok(match (&permit.void, &tally.missing, policy.closed(permit.manifest.actions())) {
        (Some(void), ..) => Claim::Refused(format!("Permit {id} was {void}.")),
        _ if permit.expired => Claim::Refused(format!("Permit {id} expired at {}.", permit.expires)),
        (_, Some(missing), _) => Claim::Refused(format!("Permit {id} needs {}.", describe_missing(missing, &tally.discounted))),
        (.., Some(closed)) => Claim::OutOfHours(closed),
        _ => Claim::None,
    })
}

/// Why a permit is good for nothing here, whatever the statement is.
fn bar(permit: &Permit) -> Option<String> {
    let roles = changing::REQUEST_PERMIT.roles;
    if let Some(void) = &permit.void {
        return Some(format!("it was {void}"));
    }
    if permit.used {
        return Some("it has been used, and a permit is valid only once".to_owned());
    }
    if permit.expired {
        return Some(format!("it expired at {}", permit.expires));
    }
    if let Some(login) = disguised_login() {
        return Some(format!("{login} opened the session, and the permit is for {}", permit.requester.name));
    }
    if !roles.iter().any(|role| session_is_member(role)) {
        return Some(format!("{} is no longer a member of {}", permit.requester.name, roles.join(" or ")));
    }
    None
}

/// Why the text at hand may mean something else than what was approved.
fn misreading(permit: &Permit, query: &str) -> Option<String> {
    if !statements::strings_conform() {
        return Some("standard_conforming_strings is off, so the text may mean something else".to_owned());
    }
    if is_planned_before() || is_prepared() && !is_read_one_way(query) {
        let why = "the statement was prepared earlier, when it may have been read or planned otherwise; send it as a simple query, \
                   as psql does";
        return Some(why.to_owned());
    }
    other_parameters(&permit.parameters, &reading())
}

/// The code that the statement at hand reaches, or why a permit does not cover it.
fn obstacle(permit: &Permit, query: &str, actions: &[Action], policy: &Policy) -> error::Result<Result<Reached, String>> {
    if let Some(why) = bar(permit).or_else(|| misreading(permit, query)) {
        return Ok(Err(why));
    }
    // A function of ours runs with a search path of its own, under which names may mean something else than in the call: the table that it
    // is about is compared with the manifest alone.
    let is_call = actions.iter().all(Action::is_by_call);
    // The text says what was approved; the parse tree at hand must be that of the text, and not of something that it set off.
    let parsed =
        statements::parse(query).map(|parsed| parsed.iter().flat_map(|one| classify(&one.command)).collect::<Vec<_>>());
    let says = |declared: &[Action], action: &Action| match is_call {
        true => declared.iter().any(|one| (&one.verb, one.class) == (&action.verb, action.class)),
        false => declared.contains(action),
    };
    if !parsed.is_ok_and(|declared| actions.iter().all(|action| says(&declared, action))) {
        return Ok(Err("what would run is not the approved statement itself".to_owned()));
    }
    let searched = resolution();
    if !is_call && searched != permit.resolution {
        return Ok(Err(format!(
            "names were looked up in {} when it was requested, and are in {} now",
            permit.resolution.join(", "),
            searched.join(", ")
        )));
    }
    if let Some(why) = objection(&permit.manifest, actions, |action| policy.stops(action), &Nothing) {
        return Ok(Err(why));
    }
    let texts = statements::parse(query).map(|parsed| code::texts(&parsed)).unwrap_or_default();
    let now = code::reach(texts, &[]);
    if let Some(name) = now.replaced_since_the_statement_began() {
        return Ok(Err(format!("{name} was replaced while the statement ran")));
    }
    let began = statement_start();
    let replaced = |one: &PermitDecision| {
        if one.decided_at > began {
            return Ok(Some("it was given after the statement had begun".to_owned()));
        }
        if let Some(why) = code::objection(&one.code()?, &now, one.decided_at, None)? {
            return Ok(Some(why));
        }
        let name = now.written_since(&one.versions()?);
        Ok(name.map(|name| format!("{name} has been written anew since")))
    };
    let tally = tally_permit(permit, policy, Some(&replaced))?;
    Ok(match &tally.missing {
        Some(missing) => Err(describe_missing(missing, &tally.discounted)),
        None => Ok(now),
    })
}
