//! The code that statements reach: what their words may mean, what that depends on, and what it calls, until nothing new comes.
//!
//! Owns the search; hashes and comparison are `runbook_core::code`. It takes too much rather than too little: a name counts in every
//! schema, whatever is called by it. It reads what the catalogs say, and no data: a text that is put together when it runs can't be known.

use crate::error::internal;
use crate::pg::catalogs;
use crate::pg::entry::Failure;
use crate::pg::statements::{self, Statement};
use crate::pg::subtransaction;
use crate::store::{self, code};
use runbook_core::Revision;
use runbook_core::code::{Code, Key};
use runbook_core::command::{Change, Command};
use runbook_core::plan::Direction;
use runbook_core::words::Words;
use std::collections::{BTreeMap, BTreeSet};

/// More than this can't be told.
const MOST: usize = 5_000;

/// `pg_proc`.
const FUNCTIONS: u32 = 1255;

/// Code that some texts reach, as it is at one moment.
#[derive(Debug, Default)]
pub struct Reached {
    /// It.
    pub code: Code,
    /// The texts.
    texts: Vec<String>,
    /// The transaction that has written each object's row.
    written: BTreeMap<Key, u32>,
    /// What older transactions wrote was there at that moment.
    horizon: u32,
}

/// What has become of code meanwhile.
#[derive(Debug, Default)]
pub struct Meanwhile {
    /// What the transaction at hand did.
    pub own: Vec<runbook_core::code::Change>,
    /// A piece of code that somebody else has replaced.
    pub replaced: Option<String>,
}

/// The texts of those of some statements that run code by themselves.
pub fn texts<'a>(parsed: impl IntoIterator<Item = &'a Statement>) -> Vec<String> {
    parsed.into_iter().filter(|one| runs(&one.command)).map(|one| one.sql.clone()).collect()
}

/// The texts of one direction of a revision that run code by themselves, in the session at hand.
///
/// # Errors
/// Those of the parser.
pub fn texts_of(revision: &Revision, direction: Direction) -> Result<Vec<String>, Failure> {
    let (sections, header) = match direction {
        Direction::Upgrade => (
            vec![revision.upgrade_for_parser().into_owned(), revision.verify.clone().unwrap_or_default()],
            revision.backfill.clone(),
        ),
        Direction::Downgrade => (vec![revision.downgrade.clone().unwrap_or_default()], None),
    };
    let mut all = vec![];
    for section in sections {
        all.extend(texts(&statements::parse(&section)?));
    }
    // Its condition runs with every batch.
    all.extend(header);
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
pub fn reach(texts: Vec<String>, roots: &[Key]) -> Reached {
    let horizon = catalogs::horizon();
    let (found, unknown) = search(&texts, roots);
    let keys: Vec<Key> = found.into_iter().collect();
    let (objects, written) = code::hashed(&keys).into_iter().map(|(bound, xmin)| (bound.clone(), (bound.key(), xmin))).unzip();
    Reached { code: Code { inert: texts.is_empty(), objects, unknown }, texts, written, horizon }
}

/// The same for an approval of a revision: with what revisions that are still to be applied may make it reach.
///
/// # Errors
/// Those of reading them.
pub fn reach_for_approval(revision: &str, texts: Vec<String>) -> store::Result<Code> {
    let mut code = reach(texts.clone(), &[]).code;
    if !code.inert {
        let all = reach(texts.into_iter().chain(code::open_texts(revision)?).collect(), &[]).code;
        let known: BTreeSet<Key> = code.objects.iter().map(|one| one.key()).collect();
        let others = all.objects.into_iter().filter(|one| !known.contains(&one.key()));
        code.objects.extend(others.map(|one| runbook_core::code::Bound { also: true, ..one }));
    }
    Ok(code)
}

/// The code of a text that may not be readable any more, for an inbox.
pub fn lines(texts: impl FnOnce() -> Result<Vec<String>, Failure>) -> Vec<String> {
    subtransaction::attempt(texts).map_or_else(Vec::new, |texts| reach(texts, &[]).code.lines())
}

/// Why an approval of `approved`, given at `decided_at`, does not cover what is reached now.
///
/// # Errors
/// Those of reading what revisions have done since.
pub fn objection(approved: &Code, now: &Reached, decided_at: i64) -> store::Result<Option<String>> {
    if approved.is(&now.code) {
        return Ok(None);
    }
    let gone = code::gone(&approved.missing_from(&now.code));
    Ok(approved.objection(&now.code, &code::changes_since(decided_at)?, &gone))
}

impl Reached {
    /// Looks again; `made` are objects that were created since.
    pub fn meanwhile(&self, made: &[Key]) -> Meanwhile {
        let now = reach(self.texts.clone(), made);
        let mut meanwhile = Meanwhile::default();
        for one in &now.code.objects {
            let key = one.key();
            let (before, xmin) = (self.code.get(key), now.written.get(&key).copied().unwrap_or_default());
            let same = before.is_some_and(|before| before.hash == one.hash);
            if same && self.written.get(&key) == Some(&xmin) {
                continue;
            }
            if catalogs::is_own_write(xmin) {
                if !same {
                    let before = before.map(|before| before.hash.clone());
                    meanwhile.own.push(runbook_core::code::Change { key, before, after: Some(one.hash.clone()), at: i64::MAX });
                }
            } else if before.is_some() || !catalogs::was_before(xmin, self.horizon) {
                meanwhile.replaced.get_or_insert_with(|| one.name.clone());
            }
        }
        for key in code::gone(&self.code.missing_from(&now.code)) {
            let before = self.code.get(key).map(|before| before.hash.clone());
            meanwhile.own.push(runbook_core::code::Change { key, before, after: None, at: i64::MAX });
        }
        meanwhile
    }
}

/// The code as it is stored.
///
/// # Errors
/// None that can happen.
pub fn stored(code: &Code) -> store::Result<String> {
    serde_json::to_string(code).map_err(|error| internal(error.to_string()))
}

/// All objects that texts reach, and what can't be known of them.
fn search(texts: &[String], roots: &[Key]) -> (BTreeSet<Key>, Vec<String>) {
    let mut words = Words::default();
    texts.iter().for_each(|text| words.read(text));
    let mut unknown: BTreeSet<String> = words.dynamic.iter().map(|what| dynamic(what, "its own text")).collect();
    let mut fresh: Vec<Key> = code::everywhere(!texts.is_empty()).into_iter().chain(roots.iter().copied()).collect();
    let mut found: BTreeSet<Key> = fresh.iter().copied().collect();
    let mut known = Words::default();
    loop {
        let names: Vec<String> = words.names.difference(&known.names).cloned().collect();
        let operators: Vec<String> = words.operators.difference(&known.operators).cloned().collect();
        known.names.extend(names.iter().cloned());
        known.operators.extend(operators.iter().cloned());
        let mut more = BTreeSet::new();
        if !names.is_empty() || !operators.is_empty() {
            more = code::named(&names, &operators);
        }
        if !fresh.is_empty() {
            more.extend(code::around(&fresh));
            let functions: Vec<u32> = fresh.iter().filter(|(class, _)| *class == FUNCTIONS).map(|(_, oid)| *oid).collect();
            if !functions.is_empty() {
                code::bodies(&functions).iter().for_each(|body| read_body(body, &mut words, &mut unknown));
            }
        }
        fresh = more.into_iter().filter(|key| found.insert(*key)).collect();
        if found.len() > MOST {
            unknown.insert(format!("run more code than an approval can bind: over {MOST} objects"));
            break;
        }
        if fresh.is_empty() && words.names.len() == known.names.len() && words.operators.len() == known.operators.len() {
            break;
        }
    }
    (found, unknown.into_iter().collect())
}

fn read_body(body: &code::Body, words: &mut Words, unknown: &mut BTreeSet<String>) {
    match (body.language.as_str(), &body.extension) {
        ("sql" | "plpgsql", _) => {
            let mut own = Words::default();
            own.read(&body.text);
            unknown.extend(own.dynamic.iter().map(|what| dynamic(what, &body.name)));
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
