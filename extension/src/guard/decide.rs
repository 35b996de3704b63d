//! Decisions: what is done about the actions of one statement, and what a refused user reads.

use crate::error::refusal;
use crate::guard::enforcement::Enforcement;
use crate::ledger::{self, recorder};
use crate::pg::events;
use crate::session;
use crate::store::{self, settings};
use runbook_core::action::Action;
use runbook_core::ledger::Kind;
use runbook_core::policy::Verdict;
use serde_json::{Value, json};

/// Passes or refuses a statement with these actions.
pub fn decide(tag: &str, actions: &[Action]) -> store::Result<()> {
    if actions.iter().all(|action| action.temporary) {
        return Ok(());
    }
    let inside = session::with(|applying| {
        let applying = applying?;
        applying.observed.extend_from_slice(actions);
        let policy = applying.policy.as_ref()?;
        let uncovered: Vec<Action> = actions.iter().filter(|action| !applying.manifest.covers(action)).cloned().collect();
        let obstacle = policy.obstacle(&uncovered).map(|(action, _)| action.clone());
        Some((applying.revision.clone(), applying.direction, applying.record_only, obstacle))
    });
    if let Some((revision, direction, record_only, obstacle)) = inside {
        return match obstacle {
            Some(action) => outside_manifest(tag, actions, &action, &revision, direction, record_only),
            None => Ok(()),
        };
    }
    if session::with(|applying| applying.is_some()) {
        return Ok(());
    }
    let enforcement = Enforcement::current()?;
    if enforcement == Enforcement::Off {
        return Ok(());
    }
    let policy = settings::policy()?;
    let Some((action, verdict)) = policy.obstacle(actions) else { return Ok(()) };
    let class = action.class.as_str();
    let (detail, hint) = match verdict {
        Verdict::Deny => (
            format!("Policy denies {class} actions."),
            format!("An admin can change that: SELECT runbook.set_policy('{class}', 'require_approval', 1);"),
        ),
        _ => (
            format!("Policy requires an approval for {class} actions, and nothing approved covers this statement."),
            "Put the statement into a revision (runbook revision -m MESSAGE, then runbook submit), have somebody else run \
             SELECT runbook.approve('REVISION'), then SELECT runbook.upgrade()."
                .to_owned(),
        ),
    };
    let facts = facts(tag, actions, verdict.as_str(), &detail, None);
    if enforcement == Enforcement::Record {
        return ledger::record(Kind::DdlWouldBlock, facts);
    }
    recorder::record(Kind::DdlBlocked, facts);
    Err(refusal("42501", format!("{action} is {class} and not approved"), Some(detail), Some(hint)))
}

fn outside_manifest(
    tag: &str,
    actions: &[Action],
    action: &Action,
    revision: &str,
    direction: &str,
    record_only: bool,
) -> store::Result<()> {
    let detail = format!(
        "Revision {revision} ({direction}) does not declare it; an approval covers the statements that the approver could read, \
         not what a cascade, a DO block or a function reaches."
    );
    let facts = facts(tag, actions, "outside_manifest", &detail, Some(revision));
    if record_only {
        return ledger::record(Kind::DdlWouldBlock, facts);
    }
    recorder::record(Kind::DdlBlocked, facts);
    let hint =
        format!("Write it as a statement of its own in the revision, as in \"{} …\", and have it approved.", tag_of(action));
    let message = format!("{action} is {} and outside the manifest of revision \"{revision}\"", action.class.as_str());
    Err(refusal("42501", message, Some(detail), Some(hint)))
}

fn tag_of(action: &Action) -> String {
    format!("{} {}", action.verb, action.object.kind).to_uppercase()
}

/// An action as it stands in ledger payloads.
pub fn object(action: &Action) -> Value {
    let identity: Vec<String> = action.object.path.iter().map(|part| runbook_core::action::quote(part)).collect();
    json!({
        "action": action.verb,
        "class": action.class.as_str(),
        "kind": action.object.kind,
        "identity": identity.join("."),
    })
}

/// How many objects an entry lists; more are counted.
const LISTED: usize = 100;

/// The facts of an entry about one statement.
pub fn facts(tag: &str, actions: &[Action], verdict: &str, reason: &str, revision: Option<&str>) -> Value {
    json!({
        "tag": tag,
        "objects": actions.iter().take(LISTED).map(object).collect::<Vec<_>>(),
        "objects_total": actions.len(),
        "verdict": verdict,
        "reason": reason,
        "revision": revision,
        "statement": statement_text(tag),
    })
}

/// The client's text, where it is one statement of a kind that can hold no password, and not longer than 8 kB.
pub fn statement_text(tag: &str) -> Option<String> {
    const SECRETIVE: [&str; 4] = ["ROLE", "USER", "SUBSCRIPTION", "SERVER"];
    let query = events::client_query()?;
    if query.len() > 8192 || SECRETIVE.iter().any(|word| tag.contains(word)) {
        return None;
    }
    let statements = crate::pg::statements::parse(&query).ok()?;
    let secretive = |tag: &str| SECRETIVE.iter().any(|word| tag.contains(word));
    match &statements[..] {
        [only] if only.tag == tag && !secretive(&only.tag) => Some(only.sql.clone()),
        _ => None,
    }
}
