//! Whose approvals count for a revision or a permit, and what is still missing.
//!
//! Collects what the database knows of logins and decisions; the counting is `runbook_core::approval`.

use crate::catalog::logins;
use crate::error;
use crate::pg::session::identity::{database, is_member, name_of_role};
use crate::store::approvals::{self, Given};
use crate::store::permits::{self, Permit, PermitDecision};
use crate::store::revisions::Stored;
use runbook_core::action::Action;
use runbook_core::approval::{Login, Requirement, Standing, Tally, Yes, tally};
use runbook_core::plan::Direction;
use runbook_core::policy::Policy;
use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};

/// The role that makes an approver.
pub const APPROVER: &str = "runbook_approver";

/// Says of one decision why it does not cover what is about to run; `None` if it does.
pub type Objection<'a> = dyn Fn(&Given) -> error::Result<Option<String>> + 'a;

/// The decisions on the revisions of a plan, and the logins behind them.
#[derive(Debug, Default)]
pub struct Approvals {
    given: HashMap<String, Vec<Given>>,
    logins: Logins,
}

impl Approvals {
    /// The decisions on these revisions.
    pub fn of(ids: &[String]) -> error::Result<Self> {
        let mut given: HashMap<String, Vec<Given>> = HashMap::new();
        for one in approvals::given_for(ids)? {
            given.entry(one.revision.clone()).or_default().push(one);
        }
        Ok(Self { given, logins: Logins::default() })
    }

    /// Who rejected the present content of a revision, if that stands.
    pub fn rejected_by(&self, id: &str) -> Option<&str> {
        self.given.get(id)?.iter().find(|one| !one.approved && one.void.is_none()).map(|one| one.login.name.as_str())
    }

    /// Counts the approvals of one direction of a revision for `actions`.
    pub fn tally(
        &self,
        stored: &Stored,
        direction: Direction,
        actions: &[Action],
        policy: &Policy,
        objection: Option<&Objection>,
    ) -> error::Result<Tally> {
        let requirements = policy.requirements(actions);
        let mut said = Vec::new();
        for one in self.given.get(stored.revision.revision.as_str()).into_iter().flatten().filter(|one| one.approved) {
            let mut yes = self.logins.yes(&one.login, one.oid, &requirements, one.void.clone())?;
            if yes.void.is_none() && one.is_used(direction) {
                yes.void = Some(format!("it has been used for the {}", direction.as_str()));
            }
            if let (None, Some(objection)) = (&yes.void, objection) {
                yes.void = objection(one)?;
            }
            said.push(yes);
        }
        let author = self.logins.now(&stored.submitter, stored.submitter_oid)?;
        Ok(tally(&requirements, &author, &said))
    }
}

/// Says of a yes to a permit why it does not cover what is about to run; `None` if it does.
pub type PermitObjection<'a> = dyn Fn(&PermitDecision) -> error::Result<Option<String>> + 'a;

/// Counts the approvals of a permit.
pub fn tally_permit(permit: &Permit, policy: &Policy, objection: Option<&PermitObjection>) -> error::Result<Tally> {
    let requirements = policy.requirements(permit.manifest.actions());
    let logins = Logins::default();
    let mut said = Vec::new();
    for one in permits::decisions(&permit.permit)?.into_iter().filter(|one| one.approved) {
        let standing = Standing { here: true, same_content: true, ..standing(one.oid) };
        let mut void = standing.void(&one.login.name);
        if let (None, Some(objection)) = (&void, objection) {
            void = objection(&one)?;
        }
        said.push(logins.yes(&one.login, one.oid, &requirements, void)?);
    }
    Ok(tally(&requirements, &logins.now(&permit.requester, permit.requester_oid)?, &said))
}

/// What is known of a login that decided.
pub fn standing(oid: u32) -> Standing {
    Standing { login: name_of_role(oid), may_approve: is_member(oid, APPROVER, true), ..Standing::default() }
}

/// What stands in the way, as `plan()` shows it: `approval (0 of 1): drop table public.t is destructive`.
pub fn describe_missing((wanted, given): &(Requirement, u32), discounted: &[(String, String)]) -> String {
    let by = wanted.role.as_ref().map_or_else(String::new, |role| format!(" by members of {role}"));
    let action = &wanted.action;
    let mut text = format!("approval ({given} of {}{by}): {action} is {}", wanted.approvals, action.class.as_str());
    for (login, why) in discounted {
        text.push_str(&format!("; the approval of {login} does not count: {why}"));
    }
    text
}

/// Who could give an approval that is missing: logins by grant, those that can't count left out; empty if there is none.
pub fn who_may(wanted: &Requirement, author: &Login, author_oid: u32, by: &[String]) -> error::Result<Vec<String>> {
    let logins = Logins::default();
    let author = logins.now(author, author_oid)?;
    let roles: Vec<&str> = [APPROVER].into_iter().chain(wanted.role.as_deref()).collect();
    let mut may = Vec::new();
    for (name, oid) in logins::logins_with(&roles)? {
        if may.len() < 8 && !logins::login(&name, oid)?.meets(&author) && !by.contains(&name) {
            may.push(name);
        }
    }
    Ok(may)
}

/// Logins as they are now, each looked up once.
#[derive(Debug, Default)]
struct Logins(RefCell<HashMap<u32, BTreeSet<u32>>>);

impl Logins {
    /// `then`, with the login roles that it may become now besides.
    fn now(&self, then: &Login, oid: u32) -> error::Result<Login> {
        let known = self.0.borrow().get(&oid).cloned();
        let now = match known {
            Some(known) => known,
            None => {
                let now = logins::login(&then.name, oid)?.identities;
                self.0.borrow_mut().insert(oid, now.clone());
                now
            }
        };
        Ok(Login { name: then.name.clone(), identities: now.union(&then.identities).copied().collect() })
    }

    fn yes(&self, login: &Login, oid: u32, wanted: &[Requirement], void: Option<String>) -> error::Result<Yes> {
        let named = wanted.iter().filter_map(|one| one.role.clone());
        let roles = named.filter(|role| is_member(oid, role, false)).collect();
        Ok(Yes { login: self.now(login, oid)?, roles, void })
    }
}

/// Why a stored decision does not count, apart from who else decided; `None` if it may. Behind `runbook_internal.approval_void`.
#[allow(clippy::too_many_arguments, reason = "they are the columns of a row")]
pub fn void(
    recorded: Option<&str>,
    digest: &str,
    current_digest: Option<&str>,
    system_identifier: &str,
    database_oid: u32,
    expires_at: i64,
    approver: &str,
    approver_oid: u32,
) -> Option<String> {
    let here = database();
    let facts = Standing {
        recorded: recorded.map(str::to_owned),
        here: here.system_identifier == system_identifier && here.oid == database_oid,
        same_content: current_digest == Some(digest),
        expired: expires_at <= crate::pg::clock::micros(),
        ..standing(approver_oid)
    };
    facts.void(approver)
}
