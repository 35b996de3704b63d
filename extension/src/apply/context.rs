//! What the steps of one call share: policy, approvals, and the permission that a step has.

use crate::apply::engine::leftovers::Session;
use crate::apply::gate::requirements::{Need, need};
use crate::apply::stamp;
use crate::approval::tally::{APPROVER, Approvals};
use crate::catalog::objects;
use crate::code::Reached;
use crate::error::{self, internal, refusal};
use crate::guard::break_glass;
use crate::guard::classify::classify_all;
use crate::guard::enforcement::Enforcement;
use crate::ledger::{self, recorder};
use crate::permission::{self, By, Coverage};
use crate::pg::clock;
use crate::pg::execute::statements;
use crate::pg::failure::Failure;
use crate::pg::session::identity::current_oid;
use crate::pg::session::pinned::{Pinned, search_path};
use crate::settings::Settings;
use crate::spi;
use crate::store::approvals::{self, Given};
use crate::store::graph;
use crate::store::ledger::has_outside as ledger_has_outside;
use crate::store::object_history::{self, Lasting};
use crate::store::pieces;
use crate::store::revisions::{self, Stored};
use crate::store::settings;
use runbook_core::action::{Action, Class};
use runbook_core::approval;
use runbook_core::identity::{Address, Events, Identity};
use runbook_core::ledger::Kind;
use runbook_core::manifest::Manifest;
use runbook_core::object_history::{Made, Since};
use runbook_core::plan::Direction;
use runbook_core::policy::{Policy, Verdict};
use runbook_core::vocabulary::object_kind::ObjectKind;
use runbook_core::vocabulary::status::RevisionStatus;
use runbook_core::vocabulary::verb::Verb;
use serde_json::{Value, json};
use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

/// What all steps of one call share.
pub struct ApplyContext {
    /// The way.
    pub direction: Direction,
    /// What is configured.
    pub settings: Settings,
    /// How strictly it is judged.
    pub enforcement: Enforcement,
    /// The policy in force; `None` if nothing is enforced here.
    pub policy: Option<Policy>,
    /// Its revisions.
    ids: Vec<String>,
    /// The decisions on them, read where something depends on them.
    approvals: OnceCell<Approvals>,
    /// What earlier steps of this call have done to which objects, by OID.
    pub done: RefCell<HashMap<u32, Vec<Made>>>,
    /// What of it is not stored yet.
    pub lately: RefCell<Vec<Made>>,
    /// What the caller's session holds.
    pub session: Session,
    /// The code that the approvals of the revision at hand were judged by.
    pub reached: RefCell<Option<Rc<Reached>>>,
    /// Whether it matters to approvals which code revisions change.
    pub code_matters: OnceCell<bool>,
}

impl ApplyContext {
    /// What the steps over these revisions go by, as it is now.
    pub fn new(direction: Direction, settings: Settings, ids: &[String]) -> error::Result<Self> {
        let enforcement = Enforcement::current()?;
        let policy = (enforcement != Enforcement::Off).then(settings::policy).transpose()?;
        Ok(Self {
            direction,
            settings,
            enforcement,
            policy,
            ids: ids.to_vec(),
            approvals: OnceCell::new(),
            session: Session::note()?,
            done: RefCell::default(),
            lately: RefCell::default(),
            reached: RefCell::default(),
            code_matters: OnceCell::new(),
        })
    }

    fn approvals(&self) -> error::Result<&Approvals> {
        if let Some(known) = self.approvals.get() {
            return Ok(known);
        }
        let read = Approvals::of(&self.ids)?;
        Ok(self.approvals.get_or_init(|| read))
    }

    /// Refuses a step whose requirements are not met; with `bound`, also where approvals do not cover the objects that
    /// `actions` mean now. Returns whose approvals count.
    pub fn refuse_if_needy(&self, stored: &Stored, actions: &[Action], bound: bool) -> Result<Vec<String>, Failure> {
        let id = stored.revision.revision.as_str();
        if stored.revision.digest().as_str() != stored.digest {
            return Err(internal(format!("the stored content of revision \"{id}\" does not match its digest")).into());
        }
        let fresh = match &self.policy {
            // The time of day matters, and the call may have been running for long.
            Some(policy) if policy.has_windows() => Some(settings::policy()?),
            _ => None,
        };
        let policy = fresh.as_ref().or(self.policy.as_ref());
        let (need, by) = match policy {
            Some(policy) if bound && policy.obstacle(actions).is_some() => {
                // Decisions may have been taken back since the call began.
                let approvals = Approvals::of(&[id.to_owned()])?;
                self.reached.take();
                let objection = self.objection(id, actions, policy, Some(stored))?;
                need(stored, self.direction, actions, Some(policy), &approvals, Some(&objection))?
            }
            // Where nothing needs a yes and nobody has said no, decisions don't matter.
            _ if stored.status != RevisionStatus::Rejected
                && policy.is_none_or(|policy| policy.obstacle(actions).is_none()) =>
            {
                need(stored, self.direction, actions, policy, &Approvals::default(), None)?
            }
            _ => need(stored, self.direction, actions, policy, self.approvals()?, None)?,
        };
        let Some(need) = need else { return Ok(by) };
        if need.sqlstate == "42501" && break_glass::is_broken() {
            return Ok(by);
        }
        let (mut detail, hint) = need.explain(stored)?;
        if need.sqlstate == "42501" {
            let lost = if bound { objects::losses(actions)? } else { self.losses(stored)? };
            if !lost.is_empty() {
                detail = format!("It would lose {}. {detail}", lost.join("; "));
            }
            if let Some(warning) = actions.iter().find_map(Action::warning) {
                detail = format!("{warning} {detail}");
            }
        }
        if self.enforcement == Enforcement::Record && need.sqlstate == "42501" {
            ledger::record(Kind::DdlWouldBlock, self.facts_of_need(id, &need, &detail, actions))?;
            return Ok(by);
        }
        Err(self.refused(id, &need, (detail, hint), actions, "needs"))
    }

    /// The facts of an entry about a step whose requirements are not met.
    fn facts_of_need(&self, id: &str, need: &Need, detail: &str, actions: &[Action]) -> Value {
        json!({
            "revision": id, "direction": self.direction.as_str(), "reason": need.text, "detail": detail,
            "verdict": need.verdict.as_str(), "objects": actions.iter().map(runbook_core::ledger::listed).collect::<Vec<_>>(),
        })
    }

    /// The refusal of a step, recorded. `how` says how it needs what it needs.
    fn refused(&self, id: &str, need: &Need, (detail, hint): (String, String), actions: &[Action], how: &str) -> Failure {
        recorder::record(Kind::DdlBlocked, self.facts_of_need(id, need, &detail, actions));
        let message = format!("revision \"{id}\" ({}) {how} {}", self.direction.as_str(), need.text);
        let detail = format!("Nothing was changed. {detail}").trim_end().to_owned();
        refusal(need.sqlstate, message, Some(detail), Some(hint)).into()
    }

    /// Refuses what has run, where a decision or a rule that allowed it was taken back meanwhile: while a statement waited, say.
    pub fn refuse_if_taken_back(&self, id: &str, actions: &[Action], approved_by: &[String]) -> Result<(), Failure> {
        // The guard may have been activated meanwhile.
        if Enforcement::current()? != Enforcement::Enforce || break_glass::is_broken() {
            return Ok(());
        }
        let policy = settings::policy()?;
        let is_rejected = revisions::status(id)?.is_some_and(|status| status == RevisionStatus::Rejected);
        let obstacle = policy.obstacle(actions).map(|(_, verdict)| verdict);
        if !is_rejected && approved_by.is_empty() && obstacle.is_none() && policy.closed(actions).is_none() {
            return Ok(());
        }
        // It may itself have taken its approvers away; then what it began with counts, if that is what is asked for still.
        let asked = self.policy.as_ref().map(|before| before.requirements(actions));
        let wanted = asked.iter().flatten().filter_map(|one| one.role.as_deref());
        let roles: Vec<&str> = wanted.chain([APPROVER]).collect();
        let takes_them = !approved_by.is_empty() && approved_by.iter().all(|login| takes_away(actions, &roles, login));
        if takes_them
            && !is_rejected
            && obstacle != Some(Verdict::Deny)
            && policy.closed(actions).is_none()
            && asked == Some(policy.requirements(actions))
            && !is_void(id, approved_by)?
        {
            return Ok(());
        }
        let now = revisions::load(&[id.to_owned()])?;
        let Some(stored) = now.first() else { return Ok(()) };
        let (need, _) = need(stored, self.direction, actions, Some(&policy), &Approvals::of(&[id.to_owned()])?, None)?;
        let Some(need) = need else { return Ok(()) };
        Err(self.refused(id, &need, need.explain(stored)?, actions, "has run, but now needs"))
    }

    /// The data that a revision would remove now, which may differ from what was there when it was submitted.
    fn losses(&self, stored: &Stored) -> error::Result<Vec<String>> {
        if !stored.actions(self.direction).iter().any(|action| action.class == Class::Destructive) {
            return Ok(vec![]);
        }
        let look = || {
            let pinned = Pinned::enter(&self.settings.pinned(), self.settings.migration_role())?;
            let parsed = statements::parse(&self.text(stored))?;
            let actions = classify_all(parsed.iter().map(|statement| &statement.command))?;
            drop(pinned);
            Ok::<_, Failure>(objects::losses(&actions)?)
        };
        // It is only for people: a text that can't be read any more is refused for other reasons.
        Ok(look().unwrap_or_default())
    }

    /// The SQL of this way, as the parser takes it.
    pub fn text<'a>(&self, stored: &'a Stored) -> std::borrow::Cow<'a, str> {
        match self.direction {
            Direction::Upgrade => stored.revision.upgrade_for_parser(),
            Direction::Downgrade => stored.revision.downgrade.as_deref().unwrap_or_default().into(),
        }
    }

    /// Tells of an approval whether it covers `actions`, on the objects that they mean now, and with `code_of` the code that they reach.
    pub fn objection<'a>(
        &'a self,
        revision: &'a str,
        actions: &'a [Action],
        policy: &'a Policy,
        code_of: Option<&'a Stored>,
    ) -> error::Result<impl Fn(&Given) -> error::Result<Option<String>> + 'a> {
        let whole = |identity: Identity| match identity {
            Identity::Is(found) => Some(found.whole()),
            Identity::NewColumn { table, .. } => Some(Address::relation(table)),
            Identity::Unknown | Identity::Missing => None,
        };
        let objects: Vec<Address> = actions
            .iter()
            .flat_map(|action| [action.identity, action.owner].into_iter().chain(action.roles.iter().copied()))
            .filter_map(whole)
            .collect();
        let mut done = object_history::made_by_revisions(&objects)?;
        let here = self.done.borrow();
        done.extend(objects.iter().filter_map(|one| here.get(&one.object)).flatten().cloned());
        let search_path = search_path();
        let role = self.settings.migration_role().map(|_| current_oid());
        let outlasts = actions.iter().any(Action::outlasts_rollback) && !pieces::is_begun(revision)?;
        Ok(move |given: &Given| {
            // The call may have been running for long.
            if given.expires_at <= clock::micros() {
                return Ok(Some("it expired".to_owned()));
            }
            let since = Since::new(&done, given.decided_at, revision, self.direction);
            let approved = given.manifest(self.direction)?;
            if approved.search_path() != search_path {
                return Ok(Some("the search path of revisions has changed since".to_owned()));
            }
            if approved.role() != role {
                return Ok(Some("revisions run as another role now".to_owned()));
            }
            // A rollback took its use back, and not what was done by it.
            if outlasts && ledger_has_outside(revision, self.direction, given.decided_at)? {
                return Ok(Some(format!("it has been used for the {}", self.direction.as_str())));
            }
            if let Some(why) = approval::objection(&approved, actions, |action| policy.stops(action), &since) {
                return Ok(Some(why));
            }
            if let Some(stored) = code_of
                && let Some(why) = self.code_objection(stored, given)?
            {
                return Ok(Some(why));
            }
            Ok(match &given.fingerprint {
                Some(approved) if *approved != spi::clock::fingerprint()? => {
                    Some("it was given for one state of the catalog, and the catalog has changed since".to_owned())
                }
                _ => None,
            })
        })
    }

    /// Stores what revisions have created and brought elsewhere.
    pub fn flush(&self) -> error::Result<()> {
        object_history::remember_made(&self.lately.take())
    }

    /// Forgets what an attempt did that was rolled back.
    pub fn forget(&self) {
        self.done.take();
        self.lately.take();
    }

    /// Replaces heads, in our own table and in Alembic's.
    pub fn move_heads(&self, gone: &[String], come: &[String]) -> Result<(), Failure> {
        graph::move_heads(gone, come)?;
        self.alembic_version(gone, come)
    }

    /// Keeps Alembic's own table in step, if that is wanted, after heads have gone and come.
    pub fn alembic_version(&self, gone: &[String], come: &[String]) -> Result<(), Failure> {
        if self.settings.alembic_version() {
            let stayed = graph::heads()?.into_iter().filter(|head| !come.contains(head));
            let before: Vec<String> = stayed.chain(gone.iter().cloned()).collect();
            let pinned = Pinned::enter(&self.settings.pinned(), self.settings.migration_role())?;
            stamp::alembic_version(&before, false)?;
            drop(pinned);
        }
        Ok(())
    }

    /// Keeps what a revision has created and brought elsewhere.
    pub fn remember(
        &self,
        stored: &Stored,
        actions: &[Action],
        by: &[String],
        events: &Events,
        plain: bool,
    ) -> Result<(), Failure> {
        let id = stored.revision.revision.as_str();
        let moves = events.all().any(|(_, created, _)| !created);
        let approved = match &self.policy {
            // A rename that needs no approval may have one all the same; only then does it count for others.
            Some(policy) if moves && by.is_empty() => {
                let objection = self.objection(id, actions, policy, None)?;
                !self.approvals()?.tally(stored, self.direction, actions, policy, Some(&objection))?.by.is_empty()
            }
            _ => !by.is_empty(),
        };
        // What a subtransaction took back has not happened; a new table's columns have their names from here on.
        let lasting = if plain { object_history::as_told(events) } else { object_history::lasting(events)? };
        for Lasting { object, created, tied, path } in lasting {
            let one = Made {
                revision: id.to_owned(),
                direction: self.direction,
                object,
                created,
                tied,
                path,
                approved,
                at: i64::MAX,
            };
            self.done.borrow_mut().entry(object.object).or_default().push(one.clone());
            self.lately.borrow_mut().push(one);
        }
        Ok(())
    }

    /// Sets the permission to do `actions`, which ends with its scope.
    pub fn permit(&self, id: &str, actions: Vec<Action>) -> permission::Scope {
        let by = By::Revision { revision: id.to_owned(), direction: self.direction.as_str() };
        let manifest = Manifest::new(actions, search_path());
        permission::enter(Coverage::new(by, manifest, self.policy.clone(), self.enforcement == Enforcement::Record))
    }
}

/// Whether these actions take a login away, or its membership in one of these roles.
fn takes_away(actions: &[Action], roles: &[&str], login: &str) -> bool {
    let is_it = |action: &Action| {
        let name = action.object.path.last().map_or("", String::as_str);
        match &action.verb {
            Verb::RemoveMembers(members) => {
                // A name can have a comma in it.
                let members: Vec<&str> = members.split(", ").collect();
                roles.contains(&name) && members.len() == action.roles.len() && members.contains(&login)
            }
            Verb::Drop | Verb::Rename => name == login,
            _ => false,
        }
    };
    actions.iter().filter(|action| action.object.kind == ObjectKind::Role).any(is_it)
}

/// Whether one of those whose yes counted does not count any more, for another reason than that the login has lost its role.
fn is_void(id: &str, approved_by: &[String]) -> error::Result<bool> {
    let given = approvals::given_for(&[id.to_owned()])?;
    let stands = |name: &String| {
        let own = given.iter().filter(|one| one.approved && one.login.name == *name);
        own.map(|one| one.void.as_deref()).any(|void| void.is_none_or(|why| approval::is_loss_of_login(why, name)))
    };
    Ok(!approved_by.iter().all(stands))
}
