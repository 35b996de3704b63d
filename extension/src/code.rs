//! The code that statements reach: what their words may mean, what that depends on, and what it calls, until nothing new comes.
//!
//! Owns the search; hashes and comparison are `runbook_core::code`. It takes too much rather than too little: a name counts in every
//! schema, whatever is called by it. It reads what the catalogs say, and no data: a text that is put together when it runs can't be known.

mod search;

use crate::catalog::names;
use crate::code::search::Search;
use crate::error::{self, internal};
use crate::pg::execute::statements::{self, Statement};
use crate::pg::execute::subtransaction;
use crate::pg::failure::Failure;
use crate::pg::parse::catalogs;
use crate::store::{code, graph};
use runbook_core::Revision;
use runbook_core::code::{Bound, Code, Key, NAMES};
use runbook_core::command::{Change, Command};
use runbook_core::graph::Along;
use runbook_core::identity::RELATIONS;
use runbook_core::plan::Direction;
use runbook_core::words::Words;
use std::collections::{BTreeMap, BTreeSet};

/// The catalog of schemas.
const SCHEMAS: u32 = 2615;

/// Text search configurations: dropping a mapping leaves no row that says who did it.
const CONFIGURATIONS: u32 = 3602;

/// The texts of some statements.
#[derive(Clone, Debug, Default)]
pub struct Texts {
    /// Of those that run code by themselves.
    pub running: Vec<String>,
    /// Of those that only drop, rename or give away: what they do to what later ones rely upon is remembered.
    pub quiet: Vec<String>,
}

/// Code that some texts reach, as it is at one moment.
#[derive(Debug, Default)]
pub struct Reached {
    /// It.
    pub code: Code,
    /// Everything that was found, be it bound or not.
    found: BTreeSet<Key>,
    /// Whether that is all that can run.
    all: bool,
    /// The texts.
    texts: Texts,
    /// The hash of each object that is bound, or that the texts may change.
    seen: BTreeMap<Key, String>,
    /// The transaction that has written each object's row.
    written: BTreeMap<Key, u32>,
    /// What older transactions wrote was there at that moment.
    horizon: u32,
}

/// An object, and the transaction that has written it.
pub type Version = (Key, u32);

/// What has become of code meanwhile.
#[derive(Debug, Default)]
pub struct Meanwhile {
    /// What the current transaction did.
    pub own: Vec<runbook_core::code::Change>,
    /// Code that another session has replaced.
    pub replaced: Option<String>,
}

/// The texts of some statements, by whether they run code by themselves.
pub fn texts<'a>(parsed: impl IntoIterator<Item = &'a Statement>) -> Texts {
    let (running, quiet): (Vec<_>, Vec<_>) = parsed.into_iter().partition(|one| runs(&one.command));
    let texts = |all: Vec<&Statement>| all.into_iter().map(|one| one.sql.clone()).collect();
    Texts { running: texts(running), quiet: texts(quiet) }
}

/// The texts of one direction of a revision, in the current session.
///
/// # Errors
/// Those of the parser.
pub fn texts_of(revision: &Revision, direction: Direction) -> Result<Texts, Failure> {
    let (sections, header) = match direction {
        Direction::Upgrade => (
            vec![revision.upgrade_for_parser().into_owned(), revision.verify.clone().unwrap_or_default()],
            revision.backfill.clone(),
        ),
        Direction::Downgrade => (vec![revision.downgrade.clone().unwrap_or_default()], None),
    };
    let mut all = Texts::default();
    for section in sections {
        let mut more = texts(&statements::parse(&section)?);
        all.running.append(&mut more.running);
        all.quiet.append(&mut more.quiet);
    }
    // Its condition runs with every batch.
    all.running.extend(header);
    Ok(all)
}

/// Whether a statement runs code by itself. What it drops, renames or gives away does not run.
fn runs(command: &Command) -> bool {
    let is_quiet = |change: &Change| {
        matches!(
            change,
            Change::DropColumn { .. } | Change::DropConstraint { .. } | Change::DropNotNull { .. } | Change::Owner { .. }
        )
    };
    match command {
        Command::Drop { .. }
        | Command::DropOne { .. }
        | Command::DropPart { .. }
        | Command::DropOwned { .. }
        | Command::Rename { .. }
        | Command::SetSchema { .. }
        | Command::Owner { .. }
        | Command::Grant { .. }
        | Command::Membership { .. }
        | Command::Lock { .. } => false,
        Command::AlterTable { changes, .. } => !changes.iter().all(is_quiet),
        Command::Several(all) => all.iter().any(runs),
        _ => true,
    }
}

/// The code that `texts` reach now. `roots` are objects that are reached besides.
pub fn reach(texts: Texts, roots: &[Key]) -> Reached {
    let horizon = catalogs::horizon();
    let mut search = Search::of(&texts.running, roots);
    let keys: Vec<Key> = search.found.iter().copied().collect();
    let mut all: Vec<(Bound, u32, bool)> = code::hashed(&keys).into_iter().map(|(one, xmin)| (one, xmin, true)).collect();
    let relied = names::of(&search.places());
    all.extend(relied.into_iter().map(|one| {
        let is_bound = !texts.running.is_empty() && search.relies_on(&one);
        (one.bound, one.written, is_bound)
    }));
    if !texts.quiet.is_empty() {
        let quiet = search.aside(&texts.quiet);
        all.extend(code::hashed(&quiet).into_iter().map(|(one, xmin)| (one, xmin, false)));
        all.extend(names::of(&search.places()).into_iter().map(|one| (one.bound, one.written, false)));
    }
    let (found, is_all) = (std::mem::take(&mut search.found), search.is_all);
    let mut reached = Reached { texts, horizon, found, all: is_all, ..Reached::default() };
    for (bound, xmin, is_bound) in all {
        reached.written.insert(bound.key(), xmin);
        reached.seen.entry(bound.key()).or_insert_with(|| bound.hash.clone());
        if is_bound {
            reached.code.objects.push(bound);
        }
    }
    reached.code.objects.sort_by_key(Bound::key);
    reached.code.objects.dedup_by_key(|one| one.key());
    reached.code.inert = reached.texts.running.is_empty();
    reached.code.unknown = search.unknown.into_iter().collect();
    reached
}

/// The same for an approval of a revision: with what revisions that are still to be applied may make it reach.
///
/// # Errors
/// Those of reading them.
pub fn reach_for_approval(revision: &str, texts: Texts) -> error::Result<Code> {
    let texts = Texts { quiet: vec![], ..texts };
    let mut code = reach(texts.clone(), &[]).code;
    if !code.inert {
        let running = texts.running.into_iter().chain(code::open_texts(revision)?).collect();
        let all = reach(Texts { running, quiet: vec![] }, &[]).code;
        let known: BTreeSet<Key> = code.objects.iter().map(Bound::key).collect();
        let others = all.objects.into_iter().filter(|one| !known.contains(&one.key()));
        code.objects.extend(others.map(|one| Bound { also: true, ..one }));
    }
    // Whoever approves has temporary tables of their own.
    code.objects.retain(|one| !one.name.contains(" pg_temp."));
    Ok(code)
}

/// The code of a text that may not be readable any more, for an inbox.
pub fn lines(texts: impl FnOnce() -> Result<Texts, Failure>) -> Vec<String> {
    subtransaction::attempt(texts).map_or_else(Vec::new, |texts| reach(texts, &[]).code.lines())
}

/// Why an approval of `approved`, given at `decided_at`, does not cover what is reached now. What other revisions have done since counts
/// where the approval is for `revision`, which comes after or before them, and whoever gave it could know them.
///
/// # Errors
/// Those of reading what revisions have done since.
pub fn objection(approved: &Code, now: &Reached, decided_at: i64, revision: Option<&str>) -> error::Result<Option<String>> {
    if approved.is(&now.code) {
        return Ok(None);
    }
    let lost =
        standing(&approved.missing_from(&now.code)).into_iter().map(|(key, now)| (key, now.map(|(hash, _)| hash))).collect();
    let since = revision.map(|revision| changes_on_lineage(approved, revision, decided_at)).transpose()?.unwrap_or_default();
    Ok(approved.objection(&now.code, &since, &lost))
}

/// What the revision itself, its ancestors and its descendants have done to code since a moment, as far as they were submitted by then, and
/// as far as they could run nothing but what was there when `approved` was given, or what such a change has made.
fn changes_on_lineage(approved: &Code, revision: &str, moment: i64) -> error::Result<Vec<runbook_core::code::Change>> {
    let changes = code::changes_since(moment)?;
    if changes.is_empty() {
        return Ok(vec![]);
    }
    let graph = graph::graph()?;
    let node = graph.find(revision);
    let is_near = |by: &str| {
        by == revision
            || matches!((node, graph.find(by)), (Some(own), Some(by)) if graph.shares_lineage(own, &[by], Along::All))
    };
    let mut known: BTreeMap<Key, String> = approved.objects.iter().map(|one| (one.key(), one.hash.clone())).collect();
    let mut covered = vec![];
    let mut is_known = false;
    for one in changes {
        if let Some(reached) = &one.reached {
            is_known = reached.iter().all(|(class, oid, hash)| known.get(&(*class, *oid)) == Some(hash));
        }
        if !(is_known && is_near(&one.by)) {
            continue;
        }
        let (key, found) = (one.change.key, known.get(&one.change.key));
        let begins = found.is_none() && one.change.before == one.change.after;
        if begins || found == one.change.before.as_ref() {
            match &one.change.after {
                Some(after) => known.insert(key, after.clone()),
                None => known.remove(&key),
            };
        }
        covered.push(one.change);
    }
    Ok(covered)
}

/// Of objects that are not reached any more: code that is gone, and what names meant, with hash and transaction if it is there.
fn standing(missing: &[Key]) -> BTreeMap<Key, Option<(String, u32)>> {
    let (relied, code): (Vec<Key>, Vec<Key>) = missing.iter().copied().partition(|key| key.0 >= NAMES);
    let mut all: BTreeMap<Key, Option<(String, u32)>> = code::gone(&code).into_iter().map(|key| (key, None)).collect();
    all.extend(relied.iter().map(|key| (*key, None)));
    for one in names::of(&names::Places::of(&relied)) {
        if let Some(place) = all.get_mut(&one.bound.key()) {
            *place = Some((one.bound.hash, one.written));
        }
    }
    all
}

impl Reached {
    /// Whether nothing else can run than what was found; else the approver was told of that.
    pub fn is_all(&self) -> bool {
        self.all
    }

    /// Whether it was found.
    pub fn has(&self, key: Key) -> bool {
        self.found.contains(&key)
    }

    /// What it is that runs, with its hashes: functions and whatever calls them. Where that can't be known, it is something that nobody knows.
    pub fn running(&self) -> Vec<(u32, u32, &str)> {
        if !self.all {
            return vec![(0, 0, "unknown")];
        }
        let runs = |one: &&Bound| one.key().0 < NAMES;
        self.code.objects.iter().filter(runs).map(|one| (one.class, one.object, one.hash.as_str())).collect()
    }

    /// The objects of a catalog that were found.
    pub fn of(&self, catalog: u32) -> impl Iterator<Item = u32> {
        self.found.iter().filter(move |(class, _)| *class == catalog).map(|(_, oid)| *oid)
    }

    /// What is bound, with the transaction that has written it: who writes it anew, be it as it was, is told by that.
    pub fn versions(&self) -> Vec<Version> {
        let objects = self.code.objects.iter().map(Bound::key);
        let objects = objects.map(|key| (key, self.written.get(&key).copied().unwrap_or_default()));
        objects.chain(code::schemas()).collect()
    }

    /// A piece of code that has been written since, or was not there.
    pub fn written_since(&self, then: &[Version]) -> Option<String> {
        let known: BTreeMap<Key, u32> = then.iter().copied().collect();
        let is_new = |bound: &&Bound| self.written.get(&bound.key()) != known.get(&bound.key());
        if let Some(bound) = self.code.objects.iter().find(is_new) {
            return Some(bound.name.clone());
        }
        let schemas: BTreeMap<Key, u32> = code::schemas().into_iter().collect();
        let is_other = |(key, xmin): &&Version| key.0 == SCHEMAS && schemas.get(key) != Some(xmin);
        then.iter().find(is_other).map(|_| "a schema".to_owned())
    }

    /// A piece of code that somebody has replaced since the statement at hand began, be it by what it was before.
    pub fn replaced_since_the_statement_began(&self) -> Option<&str> {
        let is_new = |bound: &&Bound| self.written.get(&bound.key()).is_some_and(|xmin| catalogs::is_unseen(*xmin));
        self.code.objects.iter().find(is_new).map(|bound| bound.name.as_str())
    }

    /// The code of indexes that were built since.
    pub fn built(&self, indexes: &[u32]) -> Vec<runbook_core::code::Change> {
        let made: Vec<Key> = indexes.iter().map(|index| (RELATIONS, *index)).collect();
        let is_new = |key: &Key| indexes.contains(&key.1) && !self.seen.contains_key(key);
        let now = reach(self.texts.clone(), &made);
        let mut built = Meanwhile::default();
        now.seen.iter().filter(|(key, _)| is_new(key)).for_each(|(key, hash)| built.changed(*key, None, Some(hash.clone())));
        built.own
    }

    /// Looks again; `made` are objects that were created since.
    pub fn meanwhile(&self, made: &[Key]) -> Meanwhile {
        let now = reach(self.texts.clone(), made);
        let mut meanwhile = Meanwhile::default();
        for (&key, hash) in &now.seen {
            let (before, xmin) = (self.seen.get(&key), now.written.get(&key).copied().unwrap_or_default());
            let same = before == Some(hash);
            if same && (key.0 >= NAMES || self.written.get(&key) == Some(&xmin)) {
                continue;
            }
            if catalogs::is_own_write(xmin) || (key.0 == CONFIGURATIONS && before.is_some() && self.configures()) {
                if !same {
                    meanwhile.changed(key, before.cloned(), Some(hash.clone()));
                }
            } else if let Some(bound) = now.code.get(key)
                && (before.is_some() || !catalogs::was_before(xmin, self.horizon))
            {
                meanwhile.replaced.get_or_insert_with(|| bound.name.clone());
            }
        }
        let missing: Vec<Key> = self.seen.keys().copied().filter(|key| !now.seen.contains_key(key)).collect();
        for (key, left) in standing(&missing) {
            let before = self.seen.get(&key).cloned();
            match left {
                None => meanwhile.changed(key, before, None),
                Some((hash, xmin)) if catalogs::is_own_write(xmin) => meanwhile.changed(key, before, Some(hash)),
                Some((hash, _)) if before.as_ref() == Some(&hash) => {}
                Some(_) => {
                    let bound = self.code.get(key).map(|bound| bound.name.clone());
                    meanwhile.replaced = meanwhile.replaced.or(bound);
                }
            }
        }
        meanwhile
    }

    /// Whether the statements change text search configurations themselves.
    fn configures(&self) -> bool {
        let mut words = Words::default();
        self.texts.running.iter().chain(&self.texts.quiet).for_each(|text| words.read(text));
        words.names.contains("configuration") && words.names.contains("mapping")
    }
}

impl Meanwhile {
    fn changed(&mut self, key: Key, before: Option<String>, after: Option<String>) {
        self.own.push(runbook_core::code::Change { key, before, after, at: i64::MAX });
    }
}

/// The code as it is stored.
///
/// # Errors
/// None that can happen.
pub fn stored(code: &Code) -> error::Result<String> {
    serde_json::to_string(code).map_err(|error| internal(error.to_string()))
}
