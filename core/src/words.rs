//! The names and operators that a text of SQL may mean: what has to be looked up to know which code it reaches.
//!
//! Owns an over-approximation. Every identifier counts as a name of anything, every part of a run of operator characters as an
//! operator, and string constants are read as SQL too, since a DO block or EXECUTE may run them. What a text puts together only when it
//! runs can't be known from it; [`Words::dynamic`] says so.

mod escapes;
mod lists;

use self::lists::Lists;
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

/// More parts of runs of operator characters than this are not looked at.
const MOST_PARTS: usize = 2_000_000;

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
    /// Parts of runs of operator characters that were looked at.
    parts: usize,
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
            // Names may go on in the next line.
            if sql.split(['\n', '\r']).skip(1).any(|line| line.trim_start().starts_with('\'')) {
                self.dynamic.insert(ESCAPES.to_owned());
            }
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
                self.identifier(unquoted(&rest[..token_length(rest, '"')], '"'));
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
        // Strings up to here, counted from the end, have been joined.
        let mut joined_to = usize::MAX;
        let mut lists = Lists::default();
        loop {
            rest = skip_blank(rest);
            let Some(first) = rest.chars().next() else { break };
            let (token, after) = rest.split_at(token_length(rest, first));
            rest = after;
            let word = is_word(first) && !token.contains(['\'', '"']);
            let folded = if word { token.to_ascii_lowercase() } else { String::new() };
            if executes && !runs_no_text(&folded, rest) {
                self.dynamic.insert("EXECUTE".to_owned());
            }
            executes = folded == "execute";
            self.all_columns |= lists.lacks_columns(token, &folded, first);
            if word {
                self.word(folded);
            } else if first == '"' {
                self.identifier(unquoted(token, '"'));
            } else if let Some(quote) = token.find(['\'', '"']).filter(|_| first != '$') {
                self.prefixed(token, quote, escape_after(rest), depth);
                if let Some((whole, left)) =
                    Some(rest).filter(|rest| rest.len() < joined_to).and_then(|rest| joined(&token[quote..], rest))
                {
                    joined_to = left;
                    self.prefixed(&format!("{}{whole}", &token[..quote]), quote, None, depth);
                }
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
        self.identifier(word);
    }

    /// A name that may be called.
    fn identifier(&mut self, word: String) {
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
    fn prefixed(&mut self, token: &str, at: usize, escape: Option<char>, depth: usize) {
        let quote = if token[at..].starts_with('"') { '"' } else { '\'' };
        let inner = unquoted(&token[at..], quote);
        let meant = match token[..at].to_ascii_lowercase().as_str() {
            "b" | "x" => return,
            "e" => escapes::of_string(&inner),
            "u&" => escape.and_then(|escape| escapes::of_unicode(&inner, escape)),
            _ => Some(inner.clone()),
        };
        let meant = meant.unwrap_or_else(|| {
            self.dynamic.insert(ESCAPES.to_owned());
            inner
        });
        if quote == '"' {
            self.identifier(meant);
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
            self.dynamic.insert("text in text in text".to_owned());
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
                self.parts += 1;
                if self.operators.len() == MOST || self.parts > MOST_PARTS {
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

/// The escape character of a `U&"…"` that ends before `rest`; none where it is given in another way than as `'!'`.
fn escape_after(rest: &str) -> Option<char> {
    let rest = skip_blank(rest);
    let Some(word) = rest.get(.."uescape".len()).filter(|word| word.eq_ignore_ascii_case("uescape")) else {
        return Some('\\');
    };
    let mut given = skip_blank(&rest[word.len()..]).strip_prefix('\'')?.chars();
    let escape = given.next()?;
    (given.next() == Some('\'') && given.next() != Some('\'')).then_some(escape)
}

/// Whether `EXECUTE` and this word belong to CREATE TRIGGER or GRANT, and run no text: `EXECUTE FUNCTION f(`, `EXECUTE ON`. `rest` follows.
fn runs_no_text(word: &str, rest: &str) -> bool {
    if word == "on" {
        return true;
    }
    let called = skip_blank(rest);
    let Some(first) = called.chars().next().filter(|first| is_word(*first) || *first == '"') else { return false };
    let (name, after) = called.split_at(token_length(called, first));
    let is_call = skip_blank(after).starts_with(['(', '.']);
    ["function", "procedure"].contains(&word) && is_call && !["into", "using"].contains(&name.to_ascii_lowercase().as_str())
}

/// The string that goes on in the next line, after what ends before `rest`; and what follows it.
fn continued(rest: &str) -> Option<(&str, &str)> {
    let next = skip_blank(rest);
    let between = &rest[..rest.len() - next.len()];
    (next.starts_with('\'') && between.contains(['\n', '\r'])).then(|| next.split_at(token_length(next, '\'')))
}

/// A string in quotes with what continues it in the next lines, in quotes, and how much of the text is left then; none if nothing does.
fn joined(token: &str, rest: &str) -> Option<(String, usize)> {
    let (mut part, mut rest) = continued(rest)?;
    let inner = |token: &str| token[1..].strip_suffix('\'').unwrap_or(&token[1..]).to_owned();
    let mut whole = format!("'{}{}", inner(token), inner(part));
    while let Some(next) = continued(rest) {
        (part, rest) = next;
        whole.push_str(&inner(part));
    }
    Some((whole + "'", rest.len()))
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
