//! Decisions: whether the actions of one statement pass, and what a refused user reads.

use crate::error;
use crate::guard::break_glass;
use crate::guard::enforcement::Enforcement;
use crate::guard::integrity::update;
use crate::guard::outcome::Blocked;
use crate::guard::permits::{self, Claim};
use crate::guard::statement_text::statement_text;
use crate::permission::{self, By};
use crate::pg::execute::transaction::undone;
use crate::pg::session::identity::{Moment, moment};
use crate::store::settings;
use pgrx::spi::quote_literal;
use runbook_core::action::Action;
use runbook_core::identity::Identity;
use runbook_core::ledger::LISTED;
use runbook_core::manifest::Cover;
use runbook_core::policy::{Policy, Verdict};
use runbook_core::vocabulary::judgement::Judgement;
use std::cell::RefCell;

/// When the guard looks at a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Before any lock, from its parse tree: a permit may be used up for it.
    Before,
    /// While it runs, under its locks: what it really does.
    During,
}

/// Passes or refuses a statement with these actions.
pub fn decide(tag: &str, actions: &[Action], when: When) -> error::Result<()> {
    if actions.iter().all(|action| action.temporary) {
        return Ok(());
    }
    enum Found {
        Covered {
            has_windows: bool,
        },
        Uncovered {
            by: By,
            record_only: bool,
            action: Box<Action>,
            cover: Cover,
        },
        /// A permit covers it, but policy now denies it.
        Denied(Action),
        Nothing,
    }
    refuse_if_taken_back(tag)?;
    // Not by the rules with which the revision or permit began, which may have been long ago.
    let has_policy = permission::covering(|coverage| coverage.is_some_and(|coverage| coverage.policy.is_some()));
    let policy = if has_policy && !break_glass::is_broken() { Some(settings::policy()?) } else { None };
    let found = permission::covering(|coverage| {
        let Some(coverage) = coverage else { return Found::Nothing };
        if policy.is_some() {
            coverage.policy = policy;
        }
        coverage.observed.extend_from_slice(actions);
        let denied = coverage.policy.as_ref().and_then(|policy| policy.obstacle(actions));
        if let (By::Permit { .. }, false, Some((action, Verdict::Deny))) = (&coverage.by, coverage.record_only, denied) {
            return Found::Denied(action.clone());
        }
        match coverage.uncovered(actions) {
            None => Found::Covered { has_windows: coverage.policy.as_ref().is_some_and(Policy::has_windows) },
            Some((action, cover)) => {
                Found::Uncovered { by: coverage.by.clone(), record_only: coverage.record_only, action: Box::new(action), cover }
            }
        }
    });
    match found {
        Found::Covered { has_windows: false } => Ok(()),
        Found::Covered { has_windows: true } => in_hours(tag, actions),
        Found::Uncovered { .. } if break_glass::is_broken() => Ok(()),
        Found::Uncovered { by, record_only, action, cover } => beyond(tag, actions, &action, cover, &by, record_only),
        Found::Denied(action) => denied_by_now(tag, actions, &action),
        Found::Nothing => by_policy(tag, actions, when),
    }
}

/// Refuses an action that a permit covers, but policy now denies.
fn denied_by_now(tag: &str, actions: &[Action], action: &Action) -> error::Result<()> {
    let class = action.class.as_str();
    let blocked = Blocked {
        tag,
        actions,
        judgement: Judgement::Deny,
        revision: None,
        sqlstate: "42501",
        message: format!("{action} is {class}, which policy denies"),
        detail: format!("Policy has changed and denies {class} actions now, whatever the permit says."),
        hint: format!("An admin can change that: {}", allow_call(action, &settings::policy()?)),
    };
    blocked.refuse()
}

/// Refuses a statement that began under a permit and would not be granted any more; what it has done goes with its transaction.
///
/// # Errors
/// 42501.
pub fn refuse_if_taken_back(tag: &str) -> error::Result<()> {
    let claim = permits::taken_back()?;
    let declared = || permission::covering(|coverage| coverage.map(|coverage| coverage.manifest.actions().to_vec()));
    let actions = declared().unwrap_or_default();
    let actions = actions.as_slice();
    let why = match claim {
        Claim::Refused(why) => why,
        Claim::OutOfHours(closed) => return out_of_hours(tag, actions, &closed, Enforcement::current()?),
        Claim::None | Claim::Granted => return Ok(()),
    };
    let blocked = Blocked {
        tag,
        actions,
        judgement: Judgement::RequireApproval,
        revision: None,
        sqlstate: "42501",
        message: format!("the permit no longer covers this {tag}"),
        detail: format!("This has changed since the statement began. {why}"),
        hint: "Review it, then request another permit.".to_owned(),
    };
    blocked.refuse()
}

/// Refuses what no rollback takes back in a transaction that has changed the rules: with them, the rollback would take back what allowed it,
/// and that it was allowed.
///
/// # Errors
/// 55000.
pub fn refuse_by_uncommitted_rules(tag: &str, actions: &[Action]) -> error::Result<()> {
    match actions.iter().find(|action| action.outlasts_rollback()) {
        Some(action) => refuse_while_uncommitted(tag, actions, action),
        None => Ok(()),
    }
}

/// The same for an action that is known to outlast a rollback.
///
/// # Errors
/// 55000.
pub fn refuse_while_uncommitted(tag: &str, actions: &[Action], action: &Action) -> error::Result<()> {
    if !settings::rules_are_uncommitted() || break_glass::is_broken() {
        return Ok(());
    }
    let detail = "A rollback would undo the rule or the approval that allows it, but not what it has done.";
    let blocked = Blocked {
        tag,
        actions,
        judgement: Judgement::UncommittedRules,
        revision: None,
        sqlstate: "55000",
        message: format!("{action} can't follow a change of rules or an approval in one transaction"),
        detail: detail.to_owned(),
        hint: "COMMIT first.".to_owned(),
    };
    blocked.refuse()
}

/// Outside revisions and permits, policy decides.
fn by_policy(tag: &str, actions: &[Action], when: When) -> error::Result<()> {
    let enforcement = Enforcement::current()?;
    if enforcement == Enforcement::Off {
        return Ok(());
    }
    // First: a policy that can't be read must not stand in the way of whoever puts out a fire.
    if break_glass::is_broken() {
        return Ok(());
    }
    let policy = settings::policy()?;
    let Some((action, verdict)) = policy.obstacle(actions) else {
        let Some(closed) = policy.closed(actions) else { return Ok(()) };
        return out_of_hours(tag, actions, &closed, enforcement);
    };
    let mut detail = match verdict {
        Verdict::Deny => format!("Policy denies {} actions.", action.class.as_str()),
        _ => format!(
            "Policy requires an approval for {} actions, and no approved revision or permit covers this statement.",
            action.class.as_str()
        ),
    };
    if when == When::Before && verdict == Verdict::RequireApproval {
        match permits::claim(actions, &policy)? {
            Claim::Granted => return Ok(()),
            Claim::OutOfHours(closed) => return out_of_hours(tag, actions, &closed, enforcement),
            Claim::Refused(why) => detail = format!("{detail} {why}"),
            Claim::None => {}
        }
    }
    if enforcement == Enforcement::Record && !is_news(action, when) {
        return Ok(());
    }
    let hint = match verdict {
        Verdict::Deny => format!("An admin can change that: {}", allow_call(action, &policy)),
        _ if update::is_of_us(action) => request_hint(tag, when).trim_start().to_owned(),
        _ => REVISION_HINT.to_owned() + &request_hint(tag, when),
    };
    let blocked = Blocked {
        tag,
        actions,
        judgement: verdict.into(),
        revision: None,
        sqlstate: "42501",
        message: format!("{action} is {} and not approved", action.class.as_str()),
        detail,
        hint,
    };
    blocked.settle(enforcement)
}

/// A client's statement, and how much had been rolled back.
type Unspoiled = (Moment, u64);

thread_local! {
    static SAID: RefCell<(Option<Unspoiled>, Vec<String>)> = const { RefCell::new((None, Vec::new())) };
}

/// Whether an action that is only recorded has not been recorded for the client's statement at hand before it ran.
fn is_news(action: &Action, when: When) -> bool {
    let (now, what) = (Some((moment(), undone())), action.to_string());
    SAID.with_borrow_mut(|(then, said)| {
        if *then != now {
            (*then, *said) = (now, Vec::new());
        }
        let known = said.contains(&what);
        if when == When::Before && said.len() < LISTED {
            said.push(what);
        }
        when == When::Before || !known
    })
}

/// The call that would let approvals decide where policy denies.
pub fn allow_call(action: &Action, policy: &Policy) -> String {
    let class = action.class;
    let by_pattern = policy.class_rule(class).verdict != Verdict::Deny;
    let objects = if by_pattern { format!(", {}", quote_literal(action.object.path.join("."))) } else { String::new() };
    format!("SELECT runbook.set_policy('{}', 'require_approval', 1{objects});", class.as_str())
}

const REVISION_HINT: &str = "Put the statement into a revision (runbook revision -m MESSAGE, then runbook submit), have \
                             another person run SELECT runbook.approve('REVISION'), then SELECT runbook.upgrade().";

/// How to ask for a permit, where the client's statement is what was refused and not something that it reached.
fn request_hint(tag: &str, when: When) -> String {
    match statement_text(tag).filter(|text| when == When::Before && text.len() <= 200) {
        Some(text) => format!(" For this once: SELECT runbook.request_permit({}, 'REASON');", quote_literal(text)),
        None => String::new(),
    }
}

/// What is covered by a revision or permit, dynamic SQL included, runs inside maintenance windows only.
fn in_hours(tag: &str, actions: &[Action]) -> error::Result<()> {
    match settings::policy()?.closed(actions) {
        Some(closed) => out_of_hours(tag, actions, &closed, Enforcement::current()?),
        None => Ok(()),
    }
}

/// Refuses, or only records, what no maintenance window is open for.
///
/// # Errors
/// 42501.
pub fn out_of_hours(
    tag: &str,
    actions: &[Action],
    closed: &runbook_core::window::Closed,
    enforcement: Enforcement,
) -> error::Result<()> {
    if break_glass::is_broken() {
        return Ok(());
    }
    let blocked = Blocked {
        tag,
        actions,
        judgement: Judgement::OutsideWindow,
        revision: None,
        sqlstate: "42501",
        message: format!("{} actions can run only in a maintenance window, and none is open", closed.class.as_str()),
        detail: format!("The next window, \"{}\", opens {}.", closed.window, closed.next),
        hint: WINDOW_HINT.to_owned(),
    };
    blocked.settle(enforcement)
}

/// What to do where no window is open.
pub const WINDOW_HINT: &str = "Wait for the window. To list the windows: SELECT * FROM runbook.maintenance_windows;";

/// A statement that is covered by a revision or permit goes beyond what that declares.
fn beyond(tag: &str, actions: &[Action], action: &Action, cover: Cover, by: &By, record_only: bool) -> error::Result<()> {
    let (revision, whose) = match by {
        By::Revision { revision, direction } => (Some(revision.as_str()), format!("revision \"{revision}\" ({direction})")),
        By::Permit { permit, .. } => (None, format!("permit \"{permit}\"")),
    };
    let class = action.class.as_str();
    let (message, detail, hint) = match cover {
        Cover::OtherRoles => (
            format!("a role named in \"{action}\" is not the role that {whose} declares"),
            "The name meant another role, or none, when it was approved. An approval covers roles, not names.".to_owned(),
            "Check SELECT * FROM pg_roles; then have it approved again.".to_owned(),
        ),
        Cover::Another { declared } => (
            format!("{} is not the object that {whose} declares", action.object),
            format!(
                "The name meant {} and means {} now. An approval covers objects, not names.",
                describe(declared),
                action.identity.describe()
            ),
            match by {
                By::Revision { revision, .. } => format!(
                    "Find out who moved it (SELECT * FROM runbook.ledger), then approve again: SELECT runbook.approve('{revision}');"
                ),
                By::Permit { .. } => {
                    "Find out who moved it (SELECT * FROM runbook.ledger), then request another permit.".to_owned()
                }
            },
        ),
        _ => (
            format!("{action} is {class} and outside the manifest of {whose}"),
            "An approval covers the statements that the approver could read. It does not cover what a cascade, a DO block or a \
             function reaches."
                .to_owned(),
            "Write it as a statement of its own, and have that approved.".to_owned(),
        ),
    };
    let blocked =
        Blocked { tag, actions, judgement: Judgement::OutsideManifest, revision, sqlstate: "42501", message, detail, hint };
    blocked.settle(if record_only { Enforcement::Record } else { Enforcement::Enforce })
}

fn describe(declared: Identity) -> String {
    if declared == Identity::Missing { "nothing".to_owned() } else { declared.describe() }
}
