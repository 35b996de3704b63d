//! The code that statements reach: what their words may mean, what that depends on, and what it calls, until nothing new comes.
//!
//! Owns the search; hashes and comparison are `runbook_core::code`. It takes too much rather than too little: a name counts in every
//! schema, whatever is called by it. It reads what the catalogs say, and no data: a text that is put together when it runs can't be known.

use crate::catalog::names;
use crate::error::{self, internal};
use crate::pg::execute::statements::{self, Statement};
use crate::pg::execute::subtransaction;
use crate::pg::failure::Failure;
use crate::pg::parse::catalogs;
use crate::store::code;
use runbook_core::Revision;
use runbook_core::code::{Bound, Code, Key, NAMES};
use runbook_core::command::{Change, Command};
use runbook_core::identity::{FUNCTIONS, RELATIONS};
use runbook_core::plan::Direction;
use runbook_core::words::Words;
use std::collections::{BTreeMap, BTreeSet};

/// More than this can't be told.
const MOST: usize = 5_000;

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
    /// The texts.
    texts: Texts,
    /// The hash of each object that is bound, or that the texts may change.
    seen: BTreeMap<Key, String>,
    /// The transaction that has written each object's row.
    written: BTreeMap<Key, u32>,
    /// What older transactions wrote was there at that moment.
    horizon: u32,
}

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
    let mut reached = Reached { texts, horizon, ..Reached::default() };
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

/// Why an approval of `approved`, given at `decided_at`, does not cover what is reached now.
///
/// # Errors
/// Those of reading what revisions have done since.
pub fn objection(approved: &Code, now: &Reached, decided_at: i64) -> error::Result<Option<String>> {
    if approved.is(&now.code) {
        return Ok(None);
    }
    let lost =
        standing(&approved.missing_from(&now.code)).into_iter().map(|(key, now)| (key, now.map(|(hash, _)| hash))).collect();
    Ok(approved.objection(&now.code, &code::changes_since(decided_at)?, &lost))
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
    /// A piece of code that somebody has replaced since the statement at hand began, be it by what it was before.
    pub fn replaced_since_the_statement_began(&self) -> Option<&str> {
        let is_new = |bound: &&Bound| self.written.get(&bound.key()).is_some_and(|xmin| catalogs::is_unseen(*xmin));
        self.code.objects.iter().find(is_new).map(|bound| bound.name.as_str())
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

/// The search for what texts reach.
struct Search {
    words: Words,
    found: BTreeSet<Key>,
    /// Relations whose names the texts have, and composite types.
    named: BTreeSet<u32>,
    /// Those, and what they depend on; not what only belongs to them.
    strong: BTreeSet<u32>,
    unknown: BTreeSet<String>,
}

impl Search {
    /// All objects that texts reach, and what can't be known of them.
    fn of(texts: &[String], roots: &[Key]) -> Self {
        let mut words = Words::default();
        texts.iter().for_each(|text| words.read(text));
        let unknown = words.dynamic.iter().map(|what| dynamic(what, "its own text")).collect();
        let mut fresh: Vec<Key> = code::everywhere(!texts.is_empty()).into_iter().chain(roots.iter().copied()).collect();
        let named: BTreeSet<u32> = relations(roots).collect();
        let found = fresh.iter().copied().collect();
        let mut search = Self { words, found, strong: named.clone(), named, unknown };
        let mut known = Words::default();
        loop {
            let names: Vec<String> = search.words.names.difference(&known.names).cloned().collect();
            let operators: Vec<String> = search.words.operators.difference(&known.operators).cloned().collect();
            known.names.extend(names.iter().cloned());
            known.operators.extend(operators.iter().cloned());
            let mut more = BTreeSet::new();
            if !names.is_empty() || !operators.is_empty() {
                more = search.look_up(&names, &operators);
            }
            if !fresh.is_empty() {
                more.extend(search.look_around(&fresh));
                let functions: Vec<u32> = fresh.iter().filter(|(class, _)| *class == FUNCTIONS).map(|(_, oid)| *oid).collect();
                if !functions.is_empty() {
                    code::bodies(&functions).iter().for_each(|body| read_body(body, &mut search.words, &mut search.unknown));
                }
            }
            fresh = more.into_iter().filter(|key| search.found.insert(*key)).collect();
            if search.found.len() > MOST {
                search.unknown.insert(format!("run more code than an approval can bind: over {MOST} objects"));
                break;
            }
            let is_known =
                search.words.names.len() == known.names.len() && search.words.operators.len() == known.operators.len();
            if fresh.is_empty() && is_known {
                break;
            }
        }
        search
    }

    fn look_up(&mut self, names: &[String], operators: &[String]) -> BTreeSet<Key> {
        let keys = code::named(names, operators);
        let of_names: Vec<Key> = keys.iter().copied().collect();
        self.named.extend(relations(&of_names));
        self.strong.extend(relations(&of_names));
        keys
    }

    fn look_around(&mut self, objects: &[Key]) -> BTreeSet<Key> {
        let around = code::around(objects);
        let strong: Vec<Key> = around.iter().filter(|(_, weak)| !weak).map(|(key, _)| *key).collect();
        self.strong.extend(relations(&strong));
        around.into_iter().map(|(key, _)| key).collect()
    }

    /// What quiet texts name, and what belongs to that, once.
    fn aside(&mut self, texts: &[String]) -> Vec<Key> {
        let mut words = Words::default();
        texts.iter().for_each(|text| words.read(text));
        let mut more = self.look_up(&words.names.into_iter().collect::<Vec<_>>(), &[]);
        let around = self.look_around(&more.iter().copied().collect::<Vec<_>>());
        more.extend(around);
        let more: Vec<Key> = more.into_iter().filter(|key| !self.found.contains(key)).collect();
        self.found.extend(more.iter().copied());
        more
    }

    fn places(&self) -> names::Places {
        let all: Vec<Key> = self.found.iter().copied().collect();
        names::Places {
            all: relations(&all).collect(),
            relations: self.strong.iter().copied().collect(),
            columns: self.named.iter().copied().collect(),
        }
    }

    /// Whether what statements do depends on it.
    fn relies_on(&self, one: &names::Relied) -> bool {
        match &one.when {
            names::When::Always => true,
            names::When::Named(column) => self.words.all_columns || self.words.names.contains(column),
            names::When::Conflict => ["conflict", "exception"].iter().any(|&word| self.words.names.contains(word)),
        }
    }
}

fn relations(keys: &[Key]) -> impl Iterator<Item = u32> {
    keys.iter().filter(|(class, _)| *class == RELATIONS).map(|(_, oid)| *oid)
}

fn read_body(body: &code::Body, words: &mut Words, unknown: &mut BTreeSet<String>) {
    match (body.language.as_str(), &body.extension) {
        ("sql" | "plpgsql", _) => {
            let mut own = Words::default();
            own.read(&body.text);
            unknown.extend(own.dynamic.iter().map(|what| dynamic(what, &body.name)));
            words.all_columns |= own.all_columns;
            words.names.append(&mut own.names);
            words.operators.append(&mut own.operators);
        }
        ("internal", _) => {}
        ("c", Some(extension)) => {
            unknown.insert(format!("call code of extension {extension}, in language c"));
        }
        ("c", None) => {
            unknown.insert(format!("call {}, whose body is in language c", body.name));
        }
        (language, _) => {
            words.read_foreign(&body.text);
            unknown.insert(format!("call {}, whose body is in language {language}", body.name));
        }
    }
}

fn dynamic(what: &str, place: &str) -> String {
    format!("run text that only exists when it runs: {what} in {place}")
}
