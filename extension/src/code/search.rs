//! The search for the code that texts reach: step by step, until nothing new comes.

use crate::catalog::names;
use crate::pg::execute::transaction;
use crate::store::code;
use runbook_core::code::Key;
use runbook_core::identity::{FUNCTIONS, RELATIONS};
use runbook_core::words::Words;
use std::collections::BTreeSet;

/// More than this can't be told.
const MOST: usize = 5_000;
const MOST_BYTES: usize = 16 << 20;

/// The search for what texts reach.
pub struct Search {
    /// What the texts say.
    pub words: Words,
    /// What was found.
    pub found: BTreeSet<Key>,
    /// Relations whose names the texts have, and composite types.
    named: BTreeSet<u32>,
    /// Those, and what they depend on; not what only belongs to them.
    strong: BTreeSet<u32>,
    /// What can't be known.
    pub unknown: BTreeSet<String>,
    /// Whether nothing runs that was not found.
    pub is_all: bool,
    /// Bytes of bodies that were read.
    bytes: usize,
}

impl Search {
    /// All objects that texts reach, and what can't be known of them.
    pub fn of(texts: &[String], roots: &[Key]) -> Self {
        let mut words = Words::default();
        for text in texts {
            transaction::check_for_interrupts();
            words.read(text);
        }
        let unknown: BTreeSet<String> = words.dynamic.iter().map(|what| dynamic(what, "its own text")).collect();
        let mut fresh: Vec<Key> = code::everywhere(!texts.is_empty()).into_iter().chain(roots.iter().copied()).collect();
        let named: BTreeSet<u32> = relations(roots).collect();
        let found = fresh.iter().copied().collect();
        let is_all = unknown.is_empty();
        let mut search = Self { words, found, strong: named.clone(), named, unknown, is_all, bytes: 0 };
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
                    for body in code::bodies(&functions) {
                        transaction::check_for_interrupts();
                        search.read_body(&body);
                    }
                }
            }
            fresh = more.into_iter().filter(|key| search.found.insert(*key)).collect();
            if search.found.len() > MOST {
                search.is_all = false;
                search.unknown.insert(format!("run more code than an approval can bind: over {MOST} objects"));
                break;
            }
            let is_known =
                search.words.names.len() == known.names.len() && search.words.operators.len() == known.operators.len();
            if fresh.is_empty() && is_known {
                break;
            }
        }
        let all: Vec<Key> = search.found.iter().copied().collect();
        for name in code::run_text(&all) {
            search.is_all = false;
            search.unknown.insert(dynamic("a query", &name));
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

    fn read_body(&mut self, body: &code::Body) {
        self.bytes += body.text.len();
        if self.bytes > MOST_BYTES {
            self.is_all = false;
            self.unknown.insert(format!("run more code than an approval can bind: over {} MB", MOST_BYTES >> 20));
            return;
        }
        match (body.language.as_str(), &body.extension) {
            ("sql" | "plpgsql", _) => {
                let mut own = Words::default();
                own.read(&body.text);
                self.is_all &= own.dynamic.is_empty();
                self.unknown.extend(own.dynamic.iter().map(|what| dynamic(what, &body.name)));
                self.words.all_columns |= own.all_columns;
                self.words.names.append(&mut own.names);
                self.words.operators.append(&mut own.operators);
            }
            ("internal", _) => {}
            ("c", Some(extension)) => {
                self.unknown.insert(format!("call code of extension {extension}, in language c"));
            }
            ("c", None) => {
                self.is_all = false;
                self.unknown.insert(format!("call {}, whose body is in language c", body.name));
            }
            (language, _) => {
                self.is_all = false;
                self.words.read_foreign(&body.text);
                self.unknown.insert(format!("call {}, whose body is in language {language}", body.name));
            }
        }
    }

    /// What quiet texts name, and what belongs to that, once.
    pub fn aside(&mut self, texts: &[String]) -> Vec<Key> {
        let mut words = Words::default();
        texts.iter().for_each(|text| words.read(text));
        let mut more = self.look_up(&words.names.into_iter().collect::<Vec<_>>(), &[]);
        let around = self.look_around(&more.iter().copied().collect::<Vec<_>>());
        more.extend(around);
        let more: Vec<Key> = more.into_iter().filter(|key| !self.found.contains(key)).collect();
        self.found.extend(more.iter().copied());
        more
    }

    /// Where it looks for what names mean.
    pub fn places(&self) -> names::Places {
        let all: Vec<Key> = self.found.iter().copied().collect();
        names::Places {
            all: relations(&all).collect(),
            relations: self.strong.iter().copied().collect(),
            // Those of composite types, and of what functions return, are named without their relation.
            columns: self.named.union(&self.strong).copied().collect(),
        }
    }

    /// Whether what statements do depends on it.
    pub fn relies_on(&self, one: &names::Relied) -> bool {
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

fn dynamic(what: &str, place: &str) -> String {
    format!("run text that only exists when it runs: {what} in {place}")
}
