//! Approvals: whose approvals count, and what is still missing.
//!
//! Owns four eyes. A login is known by the set of login roles that it is or may become; two logins whose sets meet are one
//! pair of eyes. Invariant: the author never counts, and no one counts twice.

use crate::action::Action;
use crate::identity::{History, Identity};
use crate::manifest::{Cover, Manifest};
use crate::vocabulary::object_kind::ObjectKind;
use std::collections::BTreeSet;

/// A pair of eyes: a login, and OIDs of the login roles that it is or is a member of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Login {
    /// Name of the login.
    pub name: String,
    /// OIDs, its own among them.
    pub identities: BTreeSet<u32>,
}

impl Login {
    /// Whether both may be one person.
    pub fn meets(&self, other: &Self) -> bool {
        self.name == other.name || self.identities.iter().any(|oid| other.identities.contains(oid))
    }
}

/// What policy asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    /// The role that approvers must be members of, besides being approvers.
    pub role: Option<String>,
    /// How many of them.
    pub approvals: u32,
    /// The action for which they are needed.
    pub action: Action,
}

/// One login's yes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Yes {
    /// Who said it.
    pub login: Login,
    /// The approver roles that the login is a member of, of those that policy names.
    pub roles: BTreeSet<String>,
    /// Why it doesn't count, if that is known already.
    pub void: Option<String>,
}

/// What is known of a decision apart from who else decided.
#[derive(Clone, Debug, Default)]
pub struct Standing {
    /// Why it was made void, if it was.
    pub recorded: Option<String>,
    /// Whether it was made in this database.
    pub here: bool,
    /// Whether it is about the present content.
    pub same_content: bool,
    /// Whether its time is up.
    pub expired: bool,
    /// The present name of the login that decided; `None` if it is gone.
    pub login: Option<String>,
    /// Whether that login may still approve.
    pub may_approve: bool,
}

fn gone(approver: &str) -> String {
    format!("the login {approver} no longer exists")
}

fn no_approver(approver: &str) -> String {
    format!("{approver} is no longer an approver")
}

/// Whether a decision does not count only because its login is gone, or no approver any more.
pub fn is_loss_of_login(why: &str, approver: &str) -> bool {
    why == gone(approver) || why == no_approver(approver)
}

impl Standing {
    /// Why the decision of `approver` does not count; `None` if it may.
    pub fn void(&self, approver: &str) -> Option<String> {
        if let Some(recorded) = &self.recorded {
            return Some(recorded.clone());
        }
        let why = match self {
            Self { here: false, .. } => "it was given in another database",
            Self { same_content: false, .. } => "it was given for other content",
            Self { expired: true, .. } => "it expired",
            Self { login: None, .. } => return Some(gone(approver)),
            Self { may_approve: false, .. } => return Some(no_approver(approver)),
            _ => return None,
        };
        Some(why.to_owned())
    }
}

/// What a count of approvals gives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Logins that count, in the order of their decisions.
    pub by: Vec<String>,
    /// The first requirement that isn't met, and how many of its approvals are there.
    pub missing: Option<(Requirement, u32)>,
    /// Logins whose yes does not count, each with the reason.
    pub discounted: Vec<(String, String)>,
}

/// Counts `approvals`, given in the order of decision, for something that `author` wrote.
pub fn tally(requirements: &[Requirement], author: &Login, approvals: &[Yes]) -> Tally {
    let mut seen: Vec<&Login> = vec![author];
    let mut counted: Vec<&Yes> = Vec::new();
    let mut tally = Tally::default();
    for yes in approvals {
        let other = seen.iter().find(|known| known.meets(&yes.login));
        let why = match (&yes.void, other) {
            (Some(void), _) => Some(void.clone()),
            (None, Some(other)) if std::ptr::eq(*other, author) => Some(same(&author.name, &yes.login.name, "who wrote it")),
            (None, Some(other)) => Some(same(&other.name, &yes.login.name, "who has approved it already")),
            (None, None) => None,
        };
        match why {
            Some(why) => tally.discounted.push((yes.login.name.clone(), why)),
            None => {
                seen.push(&yes.login);
                counted.push(yes);
            }
        }
    }
    tally.by = counted.iter().map(|yes| yes.login.name.clone()).collect();
    tally.missing = requirements.iter().find_map(|wanted| {
        let fits = |yes: &&&Yes| wanted.role.as_ref().is_none_or(|role| yes.roles.contains(role));
        let given = u32::try_from(counted.iter().filter(fits).count()).unwrap_or(u32::MAX);
        (given < wanted.approvals).then(|| (wanted.clone(), given))
    });
    tally
}

fn same(known: &str, login: &str, who: &str) -> String {
    if known == login {
        format!("it is by {known}, {who}")
    } else {
        format!("{login} counts as the same person as {known}, {who}: both are members of one login, or both submitted it")
    }
}

/// Why an approval of `approved` does not cover `actions` any more; `None` if it does. `stops` tells which actions policy
/// stops, `since` is as in [`Identity::admits`].
pub fn objection(
    approved: &Manifest,
    actions: &[Action],
    stops: impl Fn(&Action) -> bool,
    since: &dyn History,
) -> Option<String> {
    // A rename may be harmless by itself and decide what a later statement destroys.
    let bound = actions.iter().filter(|action| stops(action) || action.is_move());
    bound.into_iter().find_map(|action| match approved.covers(action, since) {
        Cover::Yes => None,
        // It came into being after the approval, as part of what was approved.
        Cover::Undeclared if action.implied && came_along(action, since) => None,
        Cover::Undeclared => Some(format!("it does not cover \"{action}\"")),
        Cover::OtherRoles => Some(format!("a role named in \"{action}\" was another role then, or did not exist")),
        Cover::Another { declared } if declared.is_absent() => {
            Some(format!("{} did not exist then, and no revision has created it since", action.object))
        }
        Cover::Another { declared } => {
            Some(format!("{} was {} then and is {} now", action.object, declared.describe(), action.identity.describe()))
        }
    })
}

/// Whether an implied object was created by revisions as what it goes along as. A sequence holds no rows: for one it is
/// enough that revisions created it.
fn came_along(action: &Action, since: &dyn History) -> bool {
    let Identity::Is(found) = action.identity else { return false };
    since.tied(found.whole())
        || (action.object.kind == ObjectKind::Sequence && since.brought(found, &action.object.path, Identity::Missing))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::action::Class;
    use crate::command::Name;
    use crate::identity::{Address, Events, Nothing};
    use crate::vocabulary::verb::Verb;

    /// Revisions have created everything as a part of something.
    struct Tied;

    impl History for Tied {
        fn brought(&self, _: Address, _: &[String], _: Identity) -> bool {
            false
        }

        fn replaced(&self, _: Address, _: &[String]) -> bool {
            false
        }

        fn made(&self, _: Address) -> bool {
            false
        }

        fn tied(&self, _: Address) -> bool {
            true
        }
    }

    fn login(name: &str, identities: &[u32]) -> Login {
        Login { name: name.into(), identities: identities.iter().copied().collect() }
    }

    fn yes(name: &str, identities: &[u32]) -> Yes {
        Yes { login: login(name, identities), ..Yes::default() }
    }

    fn wanted(approvals: u32, role: Option<&str>) -> Requirement {
        let action = Action::on(Verb::Drop, Class::Destructive, ObjectKind::Table, &Name::bare("t"));
        Requirement { role: role.map(str::to_owned), approvals, action }
    }

    #[test]
    fn the_author_never_counts_under_any_name() {
        let author = login("alice", &[1]);
        for impostor in [yes("alice", &[9]), yes("alice_renamed", &[1]), yes("alice_ci", &[7, 1])] {
            let tally = tally(&[wanted(1, None)], &author, &[impostor]);
            assert!(tally.by.is_empty() && tally.missing.is_some(), "{tally:?}");
        }
    }

    #[test]
    fn members_of_one_login_count_once() {
        let tally = tally(&[wanted(2, None)], &login("alice", &[1]), &[yes("bob", &[2]), yes("bob_laptop", &[3, 2])]);
        assert_eq!(tally.by, ["bob"]);
        assert!(tally.discounted[0].1.contains("members of one login"), "{tally:?}");
    }

    #[test]
    fn a_required_role_is_counted_apart() {
        let mut eve = yes("eve", &[3]);
        eve.roles.insert("dba".into());
        let both = [wanted(2, None), wanted(1, Some("dba"))];
        let author = login("alice", &[1]);
        assert_eq!(
            tally(&both, &author, &[yes("bob", &[2]), yes("mel", &[4])]).missing.unwrap().0.role.as_deref(),
            Some("dba")
        );
        assert_eq!(tally(&both, &author, &[yes("bob", &[2]), eve]).missing, None);
    }

    #[test]
    fn a_void_approval_says_why() {
        let expired = Yes { void: Some("it expired".into()), ..yes("bob", &[2]) };
        let tally = tally(&[wanted(1, None)], &login("alice", &[1]), &[expired]);
        assert_eq!(tally.discounted, [("bob".to_owned(), "it expired".to_owned())]);
    }

    #[test]
    fn what_goes_along_must_have_been_there_or_have_been_made_by_revisions_since() {
        let table = Action { identity: Identity::Is(Address::relation(10)), ..wanted(1, None).action };
        let partition = table.implying(ObjectKind::Table, vec!["public".into(), "t_2027".into()], Address::relation(20));
        let now = [table.clone(), partition.clone()];
        let approved = Manifest::new(vec![table], vec![]);
        assert!(objection(&approved, &now, |_| true, &Nothing).unwrap().contains("drop table public.t_2027"));
        assert!(objection(&approved, &now, |_| true, &Events::default()).is_some());
        assert_eq!(objection(&approved, &now, |_| true, &Tied), None);
        assert_eq!(objection(&Manifest::new(now.to_vec(), vec![]), &now, |_| true, &Nothing), None);
    }

    #[test]
    fn a_decision_that_no_longer_stands_says_why() {
        let good =
            Standing { here: true, same_content: true, login: Some("bob".into()), may_approve: true, ..Standing::default() };
        assert_eq!(good.void("bob"), None);
        let reasons = [
            Standing { here: false, ..good.clone() },
            Standing { same_content: false, ..good.clone() },
            Standing { expired: true, ..good.clone() },
            Standing { login: None, ..good.clone() },
            Standing { may_approve: false, ..good.clone() },
            Standing { recorded: Some("revoked".into()), ..good },
        ];
        let texts: BTreeSet<String> = reasons.iter().map(|one| one.void("bob").unwrap()).collect();
        assert_eq!(texts.len(), reasons.len());
    }

    #[test]
    fn a_table_swapped_under_the_approved_name_is_named() {
        let bound = |oid| Action { identity: Identity::Is(Address::relation(oid)), ..wanted(1, None).action };
        let approved = Manifest::new(vec![bound(10)], vec![]);
        assert_eq!(objection(&approved, &[bound(10)], |_| true, &Nothing), None);
        let why = objection(&approved, &[bound(11)], |_| true, &Nothing).unwrap();
        assert_eq!(why, "table t was OID 10 then and is OID 11 now");
    }
}
