//! Policy: the rule for each class of action, and its exceptions for objects.
//!
//! A policy is data: a preset for every class and rules set on top, each for a class or for a class on
//! objects that match a pattern. The most specific rule decides. Everything here is a pure function.

use crate::action::{Action, Class, Object};
use crate::approval::Requirement;
pub use crate::pattern::Pattern;
use crate::vocabulary::object_kind::ObjectKind;
use crate::vocabulary::verb::Verb;
use crate::vocabulary::words;
use crate::window::{Closed, Window, closed};
use chrono::NaiveDateTime;

words! {
    /// What the guard does about an action, mildest first.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
    Verdict {
        /// Nothing.
        Allow = "allow",
        /// A ledger entry.
        Record = "record",
        /// Only inside an approved revision or under a permit.
        RequireApproval = "require_approval",
        /// Never.
        Deny = "deny",
    }
}

words! {
    /// A preset for every class, mildest first.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    Preset {
        /// A developer's own database: everything is allowed or recorded.
        Local = "local",
        /// Data loss needs somebody else's approval. The default.
        #[default]
        Staging = "staging",
        /// Whatever can hurt needs an approval, data loss two, and the guard itself is guarded.
        Production = "production",
    }
}

impl Preset {
    /// The preset's rule for `class`.
    pub fn rule(self, class: Class) -> Rule {
        use Verdict::{Allow, Record, RequireApproval};
        let (verdict, approvals) = match (self, class) {
            (Self::Local, Class::Additive | Class::Blocking) | (Self::Staging, Class::Additive) => (Allow, 0),
            (Self::Local, _) | (Self::Production, Class::Additive) => (Record, 0),
            (Self::Staging, Class::Destructive) => (RequireApproval, 1),
            (Self::Staging, _) => (Record, 0),
            (Self::Production, Class::Destructive) => (RequireApproval, 2),
            (Self::Production, _) => (RequireApproval, 1),
        };
        Rule { verdict, approvals, approver_role: None }
    }
}

/// What is done about actions of a class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// What is done.
    pub verdict: Verdict,
    /// How many approvals by different logins are needed.
    pub approvals: u32,
    /// The role that those logins must be members of; `None`: whoever may approve.
    pub approver_role: Option<String>,
}

impl Rule {
    /// Whether this rule lets something pass that `before` would have stopped.
    pub fn is_weaker_than(&self, before: &Self) -> bool {
        let asks = |rule: &Self| rule.verdict == Verdict::RequireApproval;
        self.verdict < before.verdict
            || (asks(self)
                && asks(before)
                && (self.approvals.max(1) < before.approvals.max(1)
                    || (before.approver_role.is_some() && self.approver_role != before.approver_role)))
    }
}

/// A rule that an admin set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Override {
    /// The class it is about.
    pub class: Class,
    /// The objects it is about; `None`: all.
    pub objects: Option<Pattern>,
    /// What is done.
    pub rule: Rule,
}

/// The policy in force.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    preset: Preset,
    overrides: Vec<Override>,
    windows: Vec<(Window, NaiveDateTime)>,
}

impl Policy {
    /// The policy of `preset` with `overrides` on top.
    pub fn new(preset: Preset, overrides: Vec<Override>) -> Self {
        Self { preset, overrides, windows: vec![] }
    }

    /// The policy with maintenance windows, each with what the clocks of its time zone show now.
    pub fn with_windows(self, windows: Vec<(Window, NaiveDateTime)>) -> Self {
        Self { windows, ..self }
    }

    /// The maintenance window with this name.
    pub fn window(&self, name: &str) -> Option<&Window> {
        self.windows.iter().map(|(window, _)| window).find(|window| window.name == name)
    }

    /// Whether actions of `class` run inside windows only.
    pub fn is_windowed(&self, class: Class) -> bool {
        self.windows.iter().any(|(window, _)| window.classes.contains(&class))
    }

    /// Whether there are maintenance windows, so that the time of day matters.
    pub fn has_windows(&self) -> bool {
        !self.windows.is_empty()
    }

    /// Why some of `actions` may not run at this time.
    pub fn closed(&self, actions: &[Action]) -> Option<Closed> {
        closed(&self.windows, actions.iter().filter(|action| !action.temporary).map(|action| action.class))
    }

    /// The preset it starts from.
    pub fn preset(&self) -> Preset {
        self.preset
    }

    /// The rules that were set, in the order given.
    pub fn overrides(&self) -> &[Override] {
        &self.overrides
    }

    /// The rule for `class` where no pattern matches.
    pub fn class_rule(&self, class: Class) -> Rule {
        let set = self.overrides.iter().find(|one| one.class == class && one.objects.is_none());
        set.map_or_else(|| self.preset.rule(class), |one| one.rule.clone())
    }

    /// The rule for an action: of the patterns that match its object the most specific, and of equals the strictest. Where
    /// the schema is not known, every pattern that could match counts, and the strictest decides.
    ///
    /// A rename or a move takes the object to where other rules may apply. If one of those is weaker than the rule that protects the
    /// object now, the move is judged by the latter: it would be its way around it.
    pub fn rule(&self, action: &Action) -> Rule {
        let own = self.rule_here(action);
        let Some(destination) = destination(action) else { return own };
        let there = Action { object: Object { path: destination, ..action.object.clone() }, ..action.clone() };
        let mut strictest = stricter(own, self.rule_here(&there));
        if self.overrides.iter().all(|one| one.objects.is_none()) {
            return strictest;
        }
        for class in Class::ALL {
            let before = self.bounds(&Action { class, ..action.clone() }).1;
            let after = self.bounds(&Action { class, ..there.clone() }).0;
            if after.is_weaker_than(&before) {
                strictest = stricter(strictest, before);
            }
        }
        strictest
    }

    /// The weakest and the strictest rule for the object of an action and for all that lies in it.
    fn bounds(&self, action: &Action) -> (Rule, Rule) {
        let own = self.rule_here(action);
        let path = &action.object.path;
        let inside = self
            .overrides
            .iter()
            .filter(|one| one.class == action.class && one.objects.as_ref().is_some_and(|objects| objects.reaches_into(path)));
        inside.fold((own.clone(), own), |(weakest, strictest), one| {
            let weaker = one.rule.is_weaker_than(&weakest);
            (if weaker { one.rule.clone() } else { weakest }, stricter(strictest, one.rule.clone()))
        })
    }

    fn rule_here(&self, action: &Action) -> Rule {
        if action.object.kind != ObjectKind::Schema && !action.object.kind.is_in_a_schema() {
            return self.class_rule(action.class);
        }
        let known = action.object.qualified || action.object.kind == ObjectKind::Schema;
        let path = &action.object.path;
        let matching = self.overrides.iter().filter(|one| one.class == action.class).filter_map(|one| {
            let pattern = one.objects.as_ref()?;
            let hit = if known { pattern.matches(path) } else { pattern.may_match(path) };
            hit.then_some((if known { pattern.specificity() } else { (0, 0) }, &one.rule))
        });
        let best = matching.max_by_key(|(specificity, rule)| (*specificity, rule.verdict, rule.approvals));
        let fallback = self.class_rule(action.class);
        match best {
            Some((_, rule)) if known || fallback.is_weaker_than(rule) => rule.clone(),
            _ => fallback,
        }
    }

    /// The rule that was set for exactly this class and these objects, or what decides there instead.
    pub fn rule_at(&self, class: Class, objects: Option<&Pattern>) -> Rule {
        let same = self.overrides.iter().find(|one| one.class == class && one.objects.as_ref() == objects);
        same.map_or_else(|| self.class_rule(class), |one| one.rule.clone())
    }

    /// Whether anything would pass more easily if `rule` were set for these objects; `None`: if the rule there were taken back.
    pub fn would_weaken(&self, class: Class, objects: Option<&Pattern>, rule: Option<&Rule>) -> bool {
        let same = self.overrides.iter().find(|one| one.class == class && one.objects.as_ref() == objects);
        let others = || {
            let touched = self.overrides.iter().filter(|one| {
                let other = one.objects.as_ref();
                one.class == class
                    && other != objects
                    && other.is_some_and(|other| objects.is_none_or(|mine| mine.overlaps(other)))
            });
            let fallback = if objects.is_none() { self.preset.rule(class) } else { self.class_rule(class) };
            std::iter::once(fallback).chain(touched.map(|one| one.rule.clone()))
        };
        match (same, rule) {
            (Some(same), Some(new)) => new.is_weaker_than(&same.rule),
            (None, Some(new)) if objects.is_none() => new.is_weaker_than(&self.class_rule(class)),
            // It stands in front of whatever it overlaps with.
            (None, Some(new)) => others().any(|rule| new.is_weaker_than(&rule)),
            // Any of these may take over.
            (Some(same), None) => others().any(|rule| rule.is_weaker_than(&same.rule)),
            (None, None) => false,
        }
    }

    /// The first class whose rule would be weaker under `after`, patterns aside.
    pub fn weakened_by(&self, after: &Self) -> Option<Class> {
        Class::ALL.into_iter().find(|class| after.class_rule(*class).is_weaker_than(&self.class_rule(*class)))
    }

    /// Whether policy stops an action that nothing approved covers.
    pub fn stops(&self, action: &Action) -> bool {
        !action.temporary && self.rule(action).verdict >= Verdict::RequireApproval
    }

    /// The action that needs an approval or is denied, with its verdict. Temporary objects are nobody's business.
    pub fn obstacle<'a>(&self, actions: &'a [Action]) -> Option<(&'a Action, Verdict)> {
        actions
            .iter()
            .filter(|action| !action.temporary)
            .map(|action| (action, self.rule(action).verdict))
            .filter(|(_, verdict)| *verdict >= Verdict::RequireApproval)
            .max_by_key(|(_, verdict)| *verdict)
    }

    /// What `actions` need: for each approver role, the largest number asked for, with the action that asks.
    pub fn requirements(&self, actions: &[Action]) -> Vec<Requirement> {
        let mut wanted: Vec<Requirement> = Vec::new();
        for action in actions.iter().filter(|action| self.stops(action)) {
            let rule = self.rule(action);
            let approvals = rule.approvals.max(1);
            match wanted.iter_mut().find(|known| known.role == rule.approver_role) {
                Some(known) if known.approvals >= approvals => {}
                Some(known) => (known.approvals, known.action) = (approvals, action.clone()),
                None => wanted.push(Requirement { role: rule.approver_role, approvals, action: action.clone() }),
            }
        }
        wanted
    }
}

/// The stricter of two rules.
fn stricter(one: Rule, other: Rule) -> Rule {
    if one.is_weaker_than(&other) { other } else { one }
}

/// Where the object of a rename or a move will be.
fn destination(action: &Action) -> Option<Vec<String>> {
    let to = action.to.as_ref().filter(|_| action.is_move())?;
    let mut path = action.object.path.clone();
    let at = if action.verb == Verb::Move { path.len().checked_sub(2)? } else { path.len().checked_sub(1)? };
    path[at].clone_from(to);
    Some(path)
}

#[cfg(test)]
mod tests;
