//! The names and operators that a text of SQL may mean: what has to be looked up to know which code it reaches.
//!
//! Owns an over-approximation. Every identifier counts as a name of anything, every part of a run of operator characters as an
//! operator, and string constants are read as SQL too, since a DO block or EXECUTE may run them. What a text puts together only when it
//! runs can't be known from it; [`Words::dynamic`] says so.

mod escapes;

use crate::statement::{skip_blank, token_length};
use std::collections::BTreeSet;

/// Bytes of a name; PostgreSQL cuts the rest off (NAMEDATALEN).
const LONGEST_NAME: usize = 63;

/// Strings in strings are read this deep.
const DEPTH: usize = 8;

/// Bytes of an operator; PostgreSQL refuses longer ones (NAMEDATALEN).
const LONGEST_OPERATOR: usize = 63;

/// More names, or operators, than this are not told apart.
const MOST: usize = 100_000;

/// More of a text, in bytes, or of a run of operator characters, is not read.
const LONGEST_TEXT: usize = 4 << 20;
const LONGEST_RUN: usize = 1024;

/// What texts may mean.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Words {
    /// Identifiers, folded and unquoted.
    pub names: BTreeSet<String>,
    /// Operators.
    pub operators: BTreeSet<String>,
    /// What runs, or names, something that only exists when it runs: `EXECUTE`, `query_to_xml`.
    pub dynamic: BTreeSet<String>,
    /// Whether all columns of a relation may be meant without being named: `*`, `INSERT INTO t SELECT`, `TABLE t`.
    pub all_columns: bool,
}

impl Words {
    /// Reads a text of SQL or PL/pgSQL.
    pub fn read(&mut self, sql: &str) {
        let sql = self.readable(sql);
        self.scan(sql, 0);
        // Where a string ends depends on how a backslash is read: by an E before it or before what it continues in the next line, by a
        // parameter of the session or of a function. What seems to be a string or a comment may be code then.
        if sql.contains('\\') {
            self.read_anything(sql);
        }
    }

    /// Reads a text of which it is not known where its strings and comments begin and end: whatever may be a name or an operator in it counts.
    fn read_anything(&mut self, text: &str) {
        // An escape may stand for a blank, for the character itself, or be none.
        let blanked = without_escapes(text, |_| ' ');
        let bared = without_escapes(text, |escaped| escaped);
        for text in [text, &blanked, &bared] {
            self.read_foreign(text);
            let is_word = |c: char| c.is_alphanumeric() || c == '_' || c == '$' || !c.is_ascii();
            text.split(|c| !is_word(c)).filter(|word| word.contains('$')).for_each(|word| self.name(word.to_ascii_lowercase()));
            let is_operator = |c: char| crate::statement::OPERATOR.contains(c);
            text.split(|c| !is_operator(c)).filter(|run| !run.is_empty()).for_each(|run| self.operator(run));
            for (at, _) in text.match_indices('"') {
                // A name that is longer is cut off; each of its characters may be two in quotes.
                let end = (at..=text.len().min(at + 3 * LONGEST_NAME)).rev().find(|end| text.is_char_boundary(*end));
                let rest = &text[at..end.unwrap_or(text.len())];
                self.name(unquoted(&rest[..token_length(rest, '"')], '"'));
            }
        }
        if text.to_ascii_lowercase().contains("u&") {
            self.dynamic.insert(ESCAPES.to_owned());
        }
    }

    /// Takes a name as PostgreSQL shortens it.
    fn name(&mut self, mut name: String) {
        if name.len() > LONGEST_NAME {
            name.truncate((0..=LONGEST_NAME).rev().find(|end| name.is_char_boundary(*end)).unwrap_or_default());
        }
        if self.names.len() < MOST {
            self.names.insert(name);
        } else {
            self.too_many();
        }
    }

    /// As much of a text as is read.
    fn readable<'a>(&mut self, text: &'a str) -> &'a str {
        if text.len() <= LONGEST_TEXT {
            return text;
        }
        self.too_many();
        let end = (0..=LONGEST_TEXT).rev().find(|end| text.is_char_boundary(*end)).unwrap_or_default();
        &text[..end]
    }

    fn too_many(&mut self) {
        self.dynamic.insert("more names and operators than can be told".to_owned());
    }

    /// Reads a text of a language whose tokens are not those of SQL: every word in it may be a name.
    pub fn read_foreign(&mut self, text: &str) {
        let text = self.readable(text);
        let words = text.split(|c: char| !(c.is_alphanumeric() || c == '_' || !c.is_ascii()));
        for word in words.filter(|word| !word.is_empty()) {
            self.name(word.to_owned());
            self.name(word.to_ascii_lowercase());
        }
    }

    fn scan(&mut self, text: &str, depth: usize) {
        let mut rest = text;
        let mut executes = false;
        let mut lists = Lists::default();
        loop {
            rest = skip_blank(rest);
            let Some(first) = rest.chars().next() else { break };
            let (token, after) = rest.split_at(token_length(rest, first));
            rest = after;
            let word = is_word(first) && !token.contains(['\'', '"']);
            let folded = if word { token.to_ascii_lowercase() } else { String::new() };
            // EXECUTE FUNCTION belongs to CREATE TRIGGER, EXECUTE ON to GRANT.
            if executes && !["function", "procedure", "on"].contains(&folded.as_str()) {
                self.dynamic.insert("EXECUTE".to_owned());
            }
            executes = folded == "execute";
            self.all_columns |= lists.lacks_columns(token, &folded, first);
            if word {
                self.word(folded);
            } else if first == '"' {
                self.name(unquoted(token, '"'));
            } else if let Some(quote) = token.find(['\'', '"']).filter(|_| first != '$') {
                self.prefixed(token, quote, escape_after(rest), depth);
            } else if first == '$' {
                self.dollar(token, depth);
            } else if first.is_ascii_digit() || (first == '.' && token.len() > 1) {
                // "1..f(x)" in a loop.
                for part in token.split('.').map(|part| part.trim_start_matches(|c: char| c.is_ascii_digit())) {
                    if part.starts_with(is_word) {
                        self.word(part.to_ascii_lowercase());
                    }
                }
            } else if crate::statement::OPERATOR.contains(first) {
                self.operator(token);
            }
        }
        if executes {
            self.dynamic.insert("EXECUTE".to_owned());
        }
        self.all_columns |= lists.is_inserting();
    }

    fn word(&mut self, word: String) {
        let operators: &[&str] = match word.as_str() {
            "like" => &["~~", "!~~"],
            "ilike" => &["~~*", "!~~*"],
            "similar" => &["~", "!~"],
            "between" => &["<", ">", "<=", ">="],
            "in" | "any" | "all" | "some" | "distinct" | "nullif" | "case" | "using" | "natural" | "group" | "union"
            | "intersect" | "except" | "partition" | "unique" | "primary" => &["=", "<>"],
            "order" | "greatest" | "least" | "over" | "within" => &["=", "<", ">", "<=", ">="],
            _ => &[],
        };
        self.operators.extend(operators.iter().map(|&operator| operator.to_owned()));
        let runs_text = [
            "query_to_xml",
            "query_to_xmlschema",
            "query_to_xml_and_xmlschema",
            "ts_stat",
            "ts_rewrite",
            "dblink",
            "crosstab",
            "connectby",
            "refcursor",
            "xpath_table",
        ];
        let reads_all = ["schema_to_xml", "database_to_xml", "table_to_xml", "cursor_to_xml", "dblink_", "crosstab"];
        if runs_text.contains(&word.as_str()) || reads_all.iter().any(|start| word.starts_with(start)) {
            self.dynamic.insert(word.clone());
        }
        self.name(word);
    }

    /// `'…'`, `E'…'`, `U&"…"` and their like, whose quote is at `at`; `escape` is what stands before numbers in the latter.
    fn prefixed(&mut self, token: &str, at: usize, escape: char, depth: usize) {
        let quote = if token[at..].starts_with('"') { '"' } else { '\'' };
        let inner = unquoted(&token[at..], quote);
        let meant = match token[..at].to_ascii_lowercase().as_str() {
            "b" | "x" => return,
            "e" => escapes::of_string(&inner),
            "u&" => escapes::of_unicode(&inner, escape),
            _ => Some(inner.clone()),
        };
        let meant = meant.unwrap_or_else(|| {
            self.dynamic.insert(ESCAPES.to_owned());
            inner
        });
        if quote == '"' {
            self.name(meant);
        } else {
            self.string(meant, depth);
        }
    }

    fn dollar(&mut self, token: &str, depth: usize) {
        let Some(tag) = token[1..].find('$').map(|end| end + 2) else { return };
        let end = if token.len() >= 2 * tag && token.ends_with(&token[..tag]) { token.len() - tag } else { token.len() };
        self.string(token[tag..end].to_owned(), depth);
    }

    /// A string may be a name, as in `'f'::regproc`, or text that is run.
    fn string(&mut self, text: String, depth: usize) {
        if depth < DEPTH {
            self.scan(&text, depth + 1);
        } else {
            self.read_foreign(&text);
        }
        if text.len() < 256 {
            self.name(text);
        }
    }

    /// PostgreSQL may read a run of operator characters as several operators (`a<-b`), so all its parts count.
    fn operator(&mut self, run: &str) {
        let whole = run;
        let run = &run[..run.len().min(LONGEST_RUN)];
        if run.len() < whole.len() {
            self.too_many();
        }
        for start in 0..run.len() {
            for end in start + 1..=run.len().min(start + LONGEST_OPERATOR) {
                if self.operators.len() == MOST {
                    return self.too_many();
                }
                if !self.operators.contains(&run[start..end]) {
                    self.operators.insert(run[start..end].to_owned());
                }
            }
        }
        if run.contains("!=") {
            self.operators.insert("<>".to_owned());
        }
    }
}

/// Where a text stands with respect to lists of columns.
#[derive(Debug, Default)]
struct Lists {
    place: Place,
    previous: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    #[default]
    Elsewhere,
    /// After INSERT, up to what follows the name.
    Inserting,
    /// After the parenthesis that opens a list, or a query.
    Opened,
}

impl Lists {
    /// Whether this token shows that columns are meant that are not named.
    fn lacks_columns(&mut self, token: &str, word: &str, first: char) -> bool {
        let queries = ["select", "values", "with", "table", "default", "overriding"];
        let (place, lacks) = match self.place {
            _ if word == "insert" => (Place::Inserting, false),
            Place::Inserting if first == '(' => (Place::Opened, false),
            Place::Inserting if queries.contains(&word) || first == ';' || first == ')' => (Place::Elsewhere, true),
            // A trigger, a rule, a grant, a policy.
            Place::Inserting if self.previous == "insert" && !["into", "values"].contains(&word) => (Place::Elsewhere, false),
            Place::Inserting => (Place::Inserting, false),
            Place::Opened if first == '(' => (Place::Opened, false),
            Place::Opened => (Place::Elsewhere, queries.contains(&word)),
            Place::Elsewhere => (Place::Elsewhere, false),
        };
        self.place = place;
        // What these come after names an object, and is no query.
        let objects = [
            "alter",
            "create",
            "drop",
            "truncate",
            "temp",
            "temporary",
            "unlogged",
            "foreign",
            "lock",
            "on",
            "returns",
            "vacuum",
            "analyze",
            "cluster",
            "reindex",
            "add",
            "for",
            "global",
            "local",
            "verbose",
        ];
        let is_query = word == "table" && !objects.contains(&self.previous.as_str());
        word.clone_into(&mut self.previous);
        lacks || is_query || token == "*" || WHOLE_ROWS.contains(&word)
    }

    fn is_inserting(&self) -> bool {
        self.place == Place::Inserting
    }
}

/// Words that stand for, or usually go with, all columns of a row.
const WHOLE_ROWS: [&str; 12] = [
    "natural",
    "copy",
    "rowtype",
    "row_to_json",
    "to_json",
    "to_jsonb",
    "json_agg",
    "jsonb_agg",
    "array_agg",
    "xmlforest",
    "table_to_xml",
    "hstore",
];

/// A text with each backslash and the character after it replaced by one.
fn without_escapes(text: &str, replace: impl Fn(char) -> char) -> String {
    let mut characters = text.chars();
    let mut out = String::with_capacity(text.len());
    while let Some(c) = characters.next() {
        out.push(if c == '\\' { characters.next().map_or(' ', &replace) } else { c });
    }
    out
}

/// What names and strings with escapes are called whose meaning is not known.
const ESCAPES: &str = "a name or string with escapes";

/// The escape character of a `U&"…"` that ends before `rest`.
fn escape_after(rest: &str) -> char {
    let rest = skip_blank(rest);
    let word = rest.get(.."uescape".len()).filter(|word| word.eq_ignore_ascii_case("uescape"));
    let given = word.and_then(|word| skip_blank(&rest[word.len()..]).strip_prefix('\''));
    given.and_then(|rest| rest.chars().next()).unwrap_or('\\')
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphabetic() || c == '_' || !c.is_ascii()
}

/// The inside of a quoted token, which may lack its end.
fn unquoted(token: &str, quote: char) -> String {
    let inner = &token[1..];
    let inner = inner.strip_suffix(quote).unwrap_or(inner);
    inner.replace(&String::from_iter([quote, quote]), &quote.to_string())
}

#[cfg(test)]
mod tests;
