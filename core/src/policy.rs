//! Policy: what is done about each class of action.

use crate::action::{Action, Class};
use std::collections::BTreeMap;

/// What is done about an action.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// Nothing.
    Allow,
    /// A ledger entry.
    Record,
    /// Only inside an approved revision or under a permit.
    RequireApproval,
    /// Never.
    Deny,
}

impl Verdict {
    /// All verdicts, mildest first.
    pub const ALL: [Self; 4] = [Self::Allow, Self::Record, Self::RequireApproval, Self::Deny];

    /// The verdict as `set_policy` spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Record => "record",
            Self::RequireApproval => "require_approval",
            Self::Deny => "deny",
        }
    }

    /// Reads what [`Verdict::as_str`] writes.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|verdict| verdict.as_str() == text)
    }
}

/// The rule for one class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// What is done.
    pub verdict: Verdict,
    /// How many approvals by different logins a revision needs.
    pub approvals: u32,
}

/// The policy in force: what was set, and defaults for the rest.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    overrides: BTreeMap<Class, Rule>,
}

impl Policy {
    /// The policy with `overrides` in place of the defaults.
    pub fn new(overrides: impl IntoIterator<Item = (Class, Rule)>) -> Self {
        Self { overrides: overrides.into_iter().collect() }
    }

    /// The rule for `class`. By default data loss needs one approval, additions are allowed, the rest is recorded.
    pub fn rule(&self, class: Class) -> Rule {
        let default = match class {
            Class::Additive => Rule { verdict: Verdict::Allow, approvals: 0 },
            Class::Destructive => Rule { verdict: Verdict::RequireApproval, approvals: 1 },
            _ => Rule { verdict: Verdict::Record, approvals: 0 },
        };
        self.overrides.get(&class).copied().unwrap_or(default)
    }

    /// The first action that needs an approval or is denied, with its verdict. Temporary objects are nobody's business.
    pub fn obstacle<'a>(&self, actions: &'a [Action]) -> Option<(&'a Action, Verdict)> {
        actions
            .iter()
            .filter(|action| !action.temporary)
            .map(|action| (action, self.rule(action.class).verdict))
            .filter(|(_, verdict)| *verdict >= Verdict::RequireApproval)
            .max_by_key(|(_, verdict)| *verdict)
    }

    /// How many approvals a revision with `actions` needs.
    pub fn approvals_needed<'a>(&self, actions: impl IntoIterator<Item = &'a Action>) -> u32 {
        let rules = actions.into_iter().filter(|action| !action.temporary).map(|action| self.rule(action.class));
        rules.filter(|rule| rule.verdict >= Verdict::RequireApproval).map(|rule| rule.approvals.max(1)).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::Name;

    #[test]
    fn by_default_only_data_loss_needs_an_approval() {
        let policy = Policy::default();
        for class in Class::ALL {
            let actions = [Action::on("x", class, "table", &Name::bare("t"))];
            assert_eq!(policy.obstacle(&actions).is_some(), class == Class::Destructive, "{class:?}");
        }
    }

    #[test]
    fn temporary_objects_need_nobody() {
        let name = Name { temporary: true, ..Name::bare("t") };
        assert!(Policy::default().obstacle(&[Action::on("drop", Class::Destructive, "table", &name)]).is_none());
    }

    #[test]
    fn deny_beats_require_approval() {
        let policy = Policy::new([(Class::Security, Rule { verdict: Verdict::Deny, approvals: 0 })]);
        let actions = [
            Action::on("drop", Class::Destructive, "table", &Name::bare("t")),
            Action::on("grant", Class::Security, "table", &Name::bare("t")),
        ];
        assert_eq!(policy.obstacle(&actions).map(|(_, verdict)| verdict), Some(Verdict::Deny));
    }
}
