//! What revisions have done since an approval was given, as far as it may count for that approval.

use crate::identity::{Address, History, Identity};
use crate::plan::Direction;

/// One thing that a revision has done to an object.
#[derive(Clone, Debug)]
pub struct Made {
    /// Which revision.
    pub revision: String,
    /// Which of its directions.
    pub direction: Direction,
    /// To which object.
    pub object: Address,
    /// Whether it created it; otherwise it was renamed or moved, as declared.
    pub created: bool,
    /// Whether it is a partition or an heir by the revision that created it.
    pub tied: bool,
    /// Where it brought it, schema first.
    pub path: Vec<String>,
    /// Whether somebody had approved the revision.
    pub approved: bool,
    /// When, in microseconds since 1970; 0 for what is to be stored.
    pub at: i64,
}

/// The history that one approval of one revision is judged by.
///
/// What a revision has created counts for others. What it has renamed counts only if somebody approved that. What it did on
/// its way back does not count for its way forth: that would be the same approval used twice.
pub struct Since<'a> {
    events: Vec<&'a Made>,
    /// What the revision's own way forth has made, whenever that was: on the way back, it is what a name meant that meant nothing when it was
    /// approved, such as a table that another revision has renamed since.
    made_to_go: Vec<&'a Made>,
    revision: &'a str,
}

impl<'a> Since<'a> {
    /// Of `done`, what counts for an approval of `revision` decided at `decided_at`.
    pub fn new(done: &'a [Made], decided_at: i64, revision: &'a str, direction: Direction) -> Self {
        let counts = |one: &&Made| {
            let own = one.revision == revision;
            let way_back = direction == Direction::Downgrade && one.direction == Direction::Upgrade;
            one.at > decided_at && (one.created || one.approved) && (!own || way_back)
        };
        let to_go = |one: &&Made| {
            direction == Direction::Downgrade && one.direction == Direction::Upgrade && one.revision == revision && one.created
        };
        Self { events: done.iter().filter(counts).collect(), made_to_go: done.iter().filter(to_go).collect(), revision }
    }

    /// The last thing that happened to an object.
    fn last(&self, object: Address) -> Option<&'a Made> {
        self.events.iter().rev().find(|one| one.object == object).copied()
    }

    /// A column must have got its own name by revisions, and be in the table that was meant: another column, or a column of
    /// another table, has come under the name by hand.
    fn brings(&self, object: Address, path: &[String], declared: Identity, counts: impl Fn(&Made) -> bool) -> bool {
        let is_at = |object: Address, path: &[String]| self.last(object).is_some_and(|one| one.path == path && counts(one));
        if object.part == 0 {
            return is_at(object, path);
        }
        let Some((name, table)) = path.split_last() else { return false };
        let meant = match declared {
            Identity::Is(column) => column.object == object.object,
            Identity::NewColumn { table, .. } => table == object.object,
            Identity::Missing | Identity::Unknown => is_at(object.whole(), table),
        };
        meant && self.last(object).is_some_and(|one| one.path.last() == Some(name) && counts(one))
    }

    /// The revision that created an object, or the column or table that it is.
    fn maker(&self, object: Address) -> Option<&'a str> {
        self.events.iter().rev().find(|one| one.created && one.object == object).map(|one| one.revision.as_str())
    }
}

impl History for Since<'_> {
    fn brought(&self, object: Address, path: &[String], declared: Identity) -> bool {
        // An object that was there under the name is the one that was meant, and no other.
        let meant_none = match declared {
            Identity::Missing => true,
            Identity::NewColumn { table, .. } => table == object.object,
            Identity::Is(_) | Identity::Unknown => false,
        };
        let own = || self.made_to_go.iter().rev().find(|one| one.object == object).is_some_and(|one| one.path == path);
        self.brings(object, path, declared, |_| true) || (meant_none && self.last(object).is_none() && own())
    }

    fn replaced(&self, object: Address, path: &[String]) -> bool {
        self.brings(object, path, Identity::Is(object), |one| one.revision == self.revision)
    }

    fn made(&self, object: Address) -> bool {
        self.maker(object.whole()) == Some(self.revision)
    }

    fn created(&self, object: Address) -> bool {
        self.maker(object.whole()).is_some()
    }

    fn tied(&self, object: Address) -> bool {
        self.events.iter().rev().find(|one| one.created && one.object == object).is_some_and(|one| one.tied)
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
            tied: false,
            path: path.split('.').map(str::to_owned).collect(),
            approved: false,
            at: 10,
        }
    }

    fn path(text: &str) -> Vec<String> {
        text.split('.').map(str::to_owned).collect()
    }

    fn brought(done: &[Made], revision: &str, direction: Direction, object: Address, name: &str) -> bool {
        Since::new(done, 5, revision, direction).brought(object, &path(name), Identity::Missing)
    }

    #[test]
    fn an_unapproved_rename_counts_for_nobody() {
        let mut done = [made("r1", Direction::Upgrade, 7, "public.scratch", false)];
        let table = Address::relation(7);
        assert!(!brought(&done, "r1", Direction::Downgrade, table, "public.scratch"));
        done[0].approved = true;
        assert!(brought(&done, "r1", Direction::Downgrade, table, "public.scratch"));
        assert!(brought(&done, "r2", Direction::Upgrade, table, "public.scratch"));
    }

    #[test]
    fn the_way_back_does_not_count_for_the_way_forth() {
        let done = [made("r1", Direction::Downgrade, 7, "public.t", true)];
        assert!(!brought(&done, "r1", Direction::Upgrade, Address::relation(7), "public.t"));
    }

    #[test]
    fn what_was_created_before_the_approval_does_not_count() {
        let done = [made("r0", Direction::Upgrade, 7, "public.t", true)];
        let since = Since::new(&done, 10, "r1", Direction::Upgrade);
        assert!(!since.brought(Address::relation(7), &path("public.t"), Identity::Missing));
    }

    #[test]
    fn what_its_own_way_forth_made_counts_for_the_way_back_whenever_that_was() {
        let (table, name) = (Address::relation(7), path("public.t"));
        let done = [made("r1", Direction::Upgrade, 7, "public.t", true)];
        let since = |revision, direction| Since::new(&done, 20, revision, direction).brought(table, &name, Identity::Missing);
        assert!(since("r1", Direction::Downgrade));
        // The approver has seen another table of that name.
        let seen = Since::new(&done, 20, "r1", Direction::Downgrade);
        let other = Identity::Is(Address::relation(8));
        assert!(
            !seen.brought(table, &name, other) && !seen.replaced(table, &name) && !seen.made(table) && !seen.created(table)
        );
        assert!(!seen.brought(table, &path("public.u"), Identity::Missing));
        assert!(!since("r1", Direction::Upgrade) && !since("r2", Direction::Downgrade) && !since("r2", Direction::Upgrade));
    }

    #[test]
    fn a_column_counts_in_its_own_table_and_under_its_own_name() {
        let table = made("r0", Direction::Upgrade, 7, "public.t", true);
        let mut column = made("r0", Direction::Upgrade, 7, "public.t.c", true);
        column.object.part = 2;
        let done = [table, column.clone()];
        let at = |name| brought(&done, "r1", Direction::Upgrade, column.object, name);
        assert!(at("public.t.c"));
        assert!(!at("public.t.d"), "renamed by hand");
        assert!(!at("public.scratch.c"), "its table was renamed by hand");
        assert!(!brought(&done, "r1", Direction::Upgrade, Address { part: 3, ..column.object }, "public.t.c"));
    }
}
