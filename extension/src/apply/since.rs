//! What revisions have done since an approval was given, as far as it may count for that approval.

use crate::store::objects::Made;
use runbook_core::identity::{Address, History};
use runbook_core::plan::Direction;
use std::collections::HashSet;

/// The history that one approval of one revision is judged by.
///
/// What a revision has created counts for others. What it has renamed counts only if somebody approved that, or for its own
/// way back, which the approver read together with it. What it did on its way back does not count for its way forth: that
/// would be the same approval used twice.
pub struct Since<'a> {
    events: Vec<&'a Made>,
    /// Revisions that created what the statements name: what they created along with it goes along with it.
    makers: HashSet<&'a str>,
    revision: &'a str,
}

impl<'a> Since<'a> {
    /// Of `done`, what counts for an approval of `revision` decided at `decided_at`; `named` are the objects that its
    /// statements name.
    pub fn new(done: &'a [Made], named: &HashSet<Address>, decided_at: i64, revision: &'a str, direction: Direction) -> Self {
        let counts = |one: &&Made| {
            let own = one.revision == revision;
            let own_way_back = own && direction == Direction::Downgrade && one.direction == Direction::Upgrade;
            one.at > decided_at && if own { own_way_back } else { one.created || one.approved }
        };
        let events: Vec<&Made> = done.iter().filter(counts).collect();
        let makers = events.iter().filter(|one| one.created && named.contains(&one.object)).map(|one| one.revision.as_str());
        Self { makers: makers.collect(), events, revision }
    }

    /// The last thing that happened to an object.
    fn last(&self, object: Address) -> Option<&'a Made> {
        self.events.iter().rev().find(|one| one.object == object).copied()
    }

    fn brings(&self, object: Address, path: &[String], counts: impl Fn(&Made) -> bool) -> bool {
        let is_at = |object: Address, path: &[String]| self.last(object).is_some_and(|one| one.path == path && counts(one));
        if object.part == 0 {
            return is_at(object, path);
        }
        let Some((name, table)) = path.split_last() else { return false };
        let own = self.last(object).is_some_and(|one| one.path.last() == Some(name) && counts(one));
        own || is_at(object.whole(), table)
    }
}

impl History for Since<'_> {
    fn brought(&self, object: Address, path: &[String]) -> bool {
        self.brings(object, path, |_| true)
    }

    fn replaced(&self, object: Address, path: &[String]) -> bool {
        self.brings(object, path, |one| one.revision == self.revision)
    }

    fn made(&self, object: Address) -> bool {
        let created = |one: &&&Made| one.created && one.object == object.whole();
        let maker = self.events.iter().rev().find(created).map(|one| one.revision.as_str());
        maker.is_some_and(|maker| maker == self.revision || self.makers.contains(maker))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(revision: &str, direction: Direction, object: u32, path: &str, created: bool) -> Made {
        Made {
            revision: revision.into(),
            direction,
            object: Address::relation(object),
            created,
            path: path.split('.').map(str::to_owned).collect(),
            approved: false,
            at: 10,
        }
    }

    fn path(text: &str) -> Vec<String> {
        text.split('.').map(str::to_owned).collect()
    }

    #[test]
    fn an_unapproved_rename_counts_for_its_own_way_back_alone() {
        let done = [made("r1", Direction::Upgrade, 7, "public.scratch", false)];
        let none = HashSet::new();
        let at = |revision, direction| {
            Since::new(&done, &none, 5, revision, direction).brought(Address::relation(7), &path("public.scratch"))
        };
        assert!(at("r1", Direction::Downgrade));
        assert!(!at("r2", Direction::Upgrade));
    }

    #[test]
    fn the_way_back_does_not_count_for_the_way_forth() {
        let done = [made("r1", Direction::Downgrade, 7, "public.t", true)];
        let since = Since::new(&done, &HashSet::new(), 5, "r1", Direction::Upgrade);
        assert!(!since.brought(Address::relation(7), &path("public.t")));
    }

    #[test]
    fn what_was_created_before_the_approval_does_not_count() {
        let done = [made("r0", Direction::Upgrade, 7, "public.t", true)];
        assert!(
            !Since::new(&done, &HashSet::new(), 10, "r1", Direction::Upgrade).brought(Address::relation(7), &path("public.t"))
        );
    }
}
