//! Statements that are well-formed and mostly wrong, from the grammar in `tests/erroneous.txt`.

use super::rng::Rng;
use std::collections::BTreeMap;

/// How deep a rule may call others before the shortest way out is taken.
const DEPTH: usize = 7;

/// The rules of the grammar, each with its texts.
#[derive(Debug)]
pub struct Grammar {
    rules: BTreeMap<String, Vec<String>>,
}

impl Grammar {
    /// Reads the grammar.
    ///
    /// # Panics
    /// Where a line is not a rule, or a rule is used that is not there.
    pub fn parse(text: &str) -> Self {
        let mut rules: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for line in text.lines().filter(|line| !line.starts_with("//") && !line.is_empty()) {
            let (rule, text) = line.split_once(" |").unwrap_or_else(|| panic!("{line}: no rule"));
            rules.entry(rule.to_owned()).or_default().push(text.trim().to_owned());
        }
        let grammar = Self { rules };
        for (_, rule) in grammar.rules.values().flatten().flat_map(|text| pieces(text)) {
            assert!(rule.is_none_or(|rule| grammar.rules.contains_key(rule)), "the grammar has no rule {rule:?}");
        }
        grammar
    }

    /// A text of this rule.
    pub fn text(&self, rule: &str, rng: &mut Rng) -> String {
        let mut sql = String::new();
        self.expand(rule, DEPTH, rng, &mut sql);
        sql
    }

    fn expand(&self, rule: &str, depth: usize, rng: &mut Rng, sql: &mut String) {
        let texts = &self.rules[rule];
        let mut text = rng.pick(texts);
        if depth == 0 {
            text = texts.iter().min_by_key(|text| text.matches('<').count()).expect("a rule has a text");
        }
        for (plain, rule) in pieces(text) {
            sql.push_str(plain);
            if let Some(rule) = rule {
                self.expand(rule, depth.saturating_sub(1), rng, sql);
            }
        }
    }
}

/// The parts of a text: what stands there, and the rule that comes after it.
fn pieces(text: &str) -> Vec<(&str, Option<&str>)> {
    let mut pieces = Vec::new();
    let (mut start, mut from) = (0, 0);
    while let Some(open) = text[from..].find('<').map(|at| from + at) {
        let length = text[open + 1..].bytes().take_while(u8::is_ascii_lowercase).count();
        from = open + 1 + length;
        if length > 0 && text[from..].starts_with('>') {
            pieces.push((&text[start..open], Some(&text[open + 1..from])));
            from += 1;
            start = from;
        }
    }
    pieces.push((&text[start..], None));
    pieces
}
