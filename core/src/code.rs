//! The code that an approval binds: what the approved statements call, and what that calls, by hash.
//!
//! Invariant: code that is reached and was not approved is not covered, unless revisions brought it, step by step, from what was
//! approved to what is there now. What they did to it is told by hashes before and after, so that nothing that somebody else
//! did in between can hide behind a revision.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};

/// Catalog and OID of an object. What has no OID of its own has a number from [`NAMES`] on for its catalog.
pub type Key = (u32, u32);

/// From here on no number is that of a catalog: relations by what names mean, columns, heirs, unique indexes. See `store::names`.
pub const NAMES: u32 = 100_000_000;

/// An object that may run, and what it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bound {
    /// OID of the catalog that lists it.
    pub class: u32,
    /// Its OID.
    pub object: u32,
    /// SHA-256 of what defines it, in hex.
    pub hash: String,
    /// As a message says it: `function public.f(integer)`.
    pub name: String,
    /// Whether only what revisions that are still to be applied say leads to it. It need not be reached; if it is, it must be the same.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub also: bool,
}

impl Bound {
    /// Which object it is.
    pub fn key(&self) -> Key {
        (self.class, self.object)
    }

    /// Whether it is what a name means, and no code.
    pub fn is_name(&self) -> bool {
        self.class >= NAMES
    }
}

/// All the code that some statements reach.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Code {
    /// Whether the statements run nothing by themselves; then only event triggers are bound.
    #[serde(default)]
    pub inert: bool,
    /// What is bound, in the order of its keys.
    pub objects: Vec<Bound>,
    /// What can't be known, as an inbox says it.
    #[serde(default)]
    pub unknown: Vec<String>,
}

/// What a revision did to code, or found where it began to call it (`before` and `after` are the same).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Which object.
    pub key: Key,
    /// Its hash before; `None` if it was not there.
    pub before: Option<String>,
    /// Its hash after; `None` if it was not there any more.
    pub after: Option<String>,
    /// When, in microseconds since 1970.
    pub at: i64,
}

impl Code {
    /// The bound object with that key.
    pub fn get(&self, key: Key) -> Option<&Bound> {
        self.objects.iter().find(|one| one.key() == key)
    }

    /// What the statements themselves reach.
    fn own(&self) -> impl Iterator<Item = &Bound> {
        self.objects.iter().filter(|one| !one.also)
    }

    /// What they reach that `now` does not.
    pub fn missing_from(&self, now: &Self) -> Vec<Key> {
        let now: BTreeSet<Key> = now.objects.iter().map(Bound::key).collect();
        self.own().map(Bound::key).filter(|key| !now.contains(key)).collect()
    }

    /// Whether nothing at all is different.
    pub fn is(&self, now: &Self) -> bool {
        self.own().eq(now.own())
    }

    /// Why an approval of `self` does not cover `now`, in the light of what revisions have done since, in that order. `gone` are
    /// the objects of `self` that are not reached any more since they don't exist (`None`), or have another name.
    pub fn objection(&self, now: &Self, since: &[Change], gone: &BTreeMap<Key, Option<String>>) -> Option<String> {
        let mut known: BTreeMap<Key, &str> = self.objects.iter().map(|one| (one.key(), one.hash.as_str())).collect();
        for change in since {
            let found = known.get(&change.key).copied();
            let begins = found.is_none() && change.before == change.after;
            if begins || found == change.before.as_deref() {
                match &change.after {
                    Some(hash) => known.insert(change.key, hash),
                    None => known.remove(&change.key),
                };
            }
        }
        let names: BTreeSet<&str> = self.objects.iter().map(|one| one.name.as_str()).collect();
        let other = now.objects.iter().find(|one| known.get(&one.key()) != Some(&one.hash.as_str()));
        if let Some(other) = other {
            let was_there = names.contains(other.name.as_str()) || self.get(other.key()).is_some();
            return Some(if was_there {
                format!("{} is not what it was when it was approved", other.name)
            } else {
                format!("{} would run too, and was not among what was approved", other.name)
            });
        }
        let lost = self.own().find_map(|one| {
            let (known, now) = (known.get(&one.key())?, gone.get(&one.key())?);
            (now.as_deref() != Some(*known)).then_some((one, now))
        });
        lost.map(|(one, now)| match now {
            None => format!("{} was dropped since it was approved", one.name),
            Some(_) => format!("{} is not what it was when it was approved", one.name),
        })
    }

    /// What is bound, and what can't be known, as an inbox says it.
    pub fn lines(&self) -> Vec<String> {
        const SHOWN: usize = 5;
        let mut lines = vec![];
        let names: Vec<&str> = self.own().filter(|one| !one.is_name()).map(|one| one.name.as_str()).collect();
        if !names.is_empty() {
            let more = names.len().saturating_sub(SHOWN);
            let names = &names[..names.len().min(SHOWN)];
            let more = if more == 0 { String::new() } else { format!(" and {more} more") };
            lines.push(format!("run code that the approval binds: {}{more}", names.join(", ")));
        }
        lines.extend(self.unknown.iter().take(2 * SHOWN).cloned());
        if self.unknown.len() > 2 * SHOWN {
            lines.push(format!("run {} more pieces of code that can't be known", self.unknown.len() - 2 * SHOWN));
        }
        lines
    }
}

/// SHA-256 of lists of code as they are stored, one in a line; 64 hex digits.
pub fn digest(stored: &[String]) -> String {
    hex::encode(Sha256::digest(stored.join("\n").as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(objects: &[(u32, &str)]) -> Code {
        let bound = |&(object, hash): &(u32, &str)| Bound {
            class: 1255,
            object,
            hash: hash.to_owned(),
            name: format!("function public.f{object}()"),
            also: false,
        };
        Code { objects: objects.iter().map(bound).collect(), ..Code::default() }
    }

    fn change(object: u32, before: Option<&str>, after: Option<&str>) -> Change {
        Change { key: (1255, object), before: before.map(str::to_owned), after: after.map(str::to_owned), at: 1 }
    }

    fn why(approved: &[(u32, &str)], now: &[(u32, &str)], since: &[Change]) -> Option<String> {
        code(approved).objection(&code(now), since, &BTreeMap::new())
    }

    #[test]
    fn what_is_as_it_was_is_covered() {
        assert_eq!(why(&[(1, "a"), (2, "b")], &[(1, "a"), (2, "b")], &[]), None);
        assert_eq!(why(&[(1, "a"), (2, "b")], &[(1, "a")], &[]), None, "it is not reached any more");
    }

    #[test]
    fn what_somebody_else_changed_is_not() {
        assert!(why(&[(1, "a")], &[(1, "b")], &[]).unwrap().contains("is not what it was"));
        assert!(why(&[(1, "a")], &[(1, "a"), (2, "b")], &[]).unwrap().contains("was not among what was approved"));
        let gone = BTreeMap::from([((1255, 1), None)]);
        assert!(code(&[(1, "a")]).objection(&code(&[]), &[], &gone).unwrap().contains("dropped"));
    }

    #[test]
    fn what_revisions_did_is_covered_step_by_step() {
        assert_eq!(why(&[(1, "a")], &[(1, "b")], &[change(1, Some("a"), Some("b"))]), None);
        assert_eq!(why(&[], &[(2, "b")], &[change(2, None, Some("b"))]), None);
        assert_eq!(why(&[], &[(2, "b")], &[change(2, Some("b"), Some("b"))]), None, "a revision began to call it");
        let gone = BTreeMap::from([((1255, 1), None)]);
        assert_eq!(code(&[(1, "a")]).objection(&code(&[]), &[change(1, Some("a"), None)], &gone), None);
    }

    #[test]
    fn what_has_another_name_is_lost_unless_a_revision_gave_it() {
        let gone = BTreeMap::from([((1255, 1), Some("b".to_owned()))]);
        assert!(code(&[(1, "a")]).objection(&code(&[]), &[], &gone).unwrap().contains("is not what it was"));
        assert_eq!(code(&[(1, "a")]).objection(&code(&[]), &[change(1, Some("a"), Some("b"))], &gone), None);
    }

    #[test]
    fn a_change_by_somebody_else_does_not_hide_behind_a_revision() {
        assert!(why(&[(1, "a")], &[(1, "c")], &[change(1, Some("b"), Some("c"))]).is_some(), "a to b was no revision");
        assert!(why(&[(1, "a")], &[(1, "c")], &[change(1, Some("a"), Some("b"))]).is_some(), "b to c was no revision");
        assert!(why(&[(1, "a")], &[(1, "b")], &[change(1, Some("b"), Some("b"))]).is_some(), "it was approved as a");
    }
}
