//! The normal form of a statement's text, to which permits are bound.
//!
//! Comments, layout and the case of unquoted words don't matter; everything else does. This is a lexer of PostgreSQL's
//! tokens (src/backend/parser/scan.l) under `standard_conforming_strings`, not a parser: two texts with one normal form
//! have the same tokens.

use sha2::{Digest, Sha256};

/// The tokens of `sql`, one blank between them, without a closing semicolon. `None` where a string constant goes on in the
/// next line (`'a'` newline `'b'`): how the second part is read depends on the first.
pub fn normal_form(sql: &str) -> Option<String> {
    let tokens = tokens(sql);
    let continued = tokens.windows(2).any(|pair| pair[0].ends_with('\'') && pair[1].starts_with('\''));
    (!continued).then(|| tokens.join(" "))
}

/// An argument of a call, as a text writes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Argument {
    /// A constant, with what its quotes hold.
    Constant(String),
    /// NULL.
    Null,
    /// One that is given by name, wherever it stands.
    Named(String, Box<Self>),
    /// A parameter, a column or an expression: the text does not say what it is.
    Unknown,
}

/// The arguments of a call of `function` that stands at `offset` of the text, with or without its schema; `None` if there is none: the offset
/// may lie in the middle of a comment or of a string.
pub fn call_at(sql: &str, offset: usize, function: &str) -> Option<Vec<Argument>> {
    let tokens = tokens_with_offsets(sql);
    let at = tokens.iter().position(|(start, _)| *start == offset)?;
    call_of(&tokens[at..], function)
        .filter(|(qualified, _)| *qualified || is_bare(&tokens[at].1, function))
        .map(|(_, arguments)| arguments)
}

fn is_bare(token: &str, function: &str) -> bool {
    word(token) == function
}

/// A token as an identifier: without its quotes.
fn word(token: &str) -> String {
    token.trim_matches('"').to_owned()
}

/// What a text says that is an argument by itself, such as a default as PostgreSQL prints it.
pub fn argument_of(text: &str) -> Argument {
    let tokens = tokens(text);
    argument(&tokens.iter().map(String::as_str).collect::<Vec<_>>())
}

/// A call at the start of `tokens`: whether it names the schema, and its arguments.
fn call_of(tokens: &[(usize, String)], function: &str) -> Option<(bool, Vec<Argument>)> {
    let at = |place: usize| tokens.get(place).map(|(_, token)| token.as_str()).unwrap_or_default();
    let qualified = word(at(0)) == "runbook" && at(1) == ".";
    let name = if qualified { 2 } else { 0 };
    if word(at(name)) != function || at(name + 1) != "(" {
        return None;
    }
    let (mut depth, mut one, mut all) = (1, Vec::new(), Vec::new());
    for (_, token) in &tokens[name + 2..] {
        match token.as_str() {
            "(" | "[" => depth += 1,
            ")" | "]" => depth -= 1,
            _ => {}
        }
        if depth == 0 || depth == 1 && token == "," {
            if !one.is_empty() {
                all.push(argument(&one));
            }
            one.clear();
            if depth == 0 {
                return Some((qualified, all));
            }
        } else {
            one.push(token.as_str());
        }
    }
    None
}

/// One argument: a constant with or without a cast, by position or by name.
fn argument(tokens: &[&str]) -> Argument {
    let value = match tokens {
        [name, "=>" | ":=", rest @ ..] => return Argument::Named(word(name), Box::new(argument(rest))),
        [value, rest @ ..] if rest.is_empty() || rest[0] == "::" => *value,
        _ => return Argument::Unknown,
    };
    if value == "null" {
        return Argument::Null;
    }
    if let Some(text) = value.strip_prefix('\'').and_then(|text| text.strip_suffix('\'')) {
        return Argument::Constant(text.replace("''", "'"));
    }
    if value.starts_with('$') && value.len() > 1 && !value[1..].starts_with(|c: char| c.is_ascii_digit()) {
        let tag = value[1..].find('$').map_or(0, |end| end + 2);
        if tag > 0 && value.len() >= 2 * tag {
            return Argument::Constant(value[tag..value.len() - tag].to_owned());
        }
    }
    let is_number = value.starts_with(|c: char| c.is_ascii_digit());
    if is_number || value == "true" || value == "false" { Argument::Constant(value.to_owned()) } else { Argument::Unknown }
}

fn tokens(sql: &str) -> Vec<String> {
    tokens_with_offsets(sql).into_iter().map(|(_, token)| token).collect()
}

fn tokens_with_offsets(sql: &str) -> Vec<(usize, String)> {
    let mut tokens = Vec::new();
    let mut rest = sql;
    loop {
        rest = skip_blank(rest);
        let Some(first) = rest.chars().next() else { break };
        let length = token_length(rest, first);
        let (token, after) = rest.split_at(length);
        let word = starts_word(first);
        let quoted = token.contains(['\'', '"', '$']);
        let token = if word && !quoted { token.to_ascii_lowercase() } else { token.to_owned() };
        tokens.push((sql.len() - rest.len(), token));
        rest = after;
    }
    while tokens.last().is_some_and(|(_, token)| token == ";") {
        tokens.pop();
    }
    tokens
}

/// The arguments of every call of `runbook.function` in the code of a DO block; none if the text is anything else.
pub fn block_calls(sql: &str, function: &str) -> Vec<Vec<Argument>> {
    let tokens = tokens(sql);
    if tokens.first().is_none_or(|word| word != "do") || tokens.iter().any(|token| token == ";") {
        return vec![];
    }
    let bodies = tokens.iter().filter(|token| token.starts_with('$') || token.starts_with('\''));
    let code = |body: &String| {
        let start = body.strip_prefix('$').map_or(1, |rest| rest.find('$').map_or(body.len(), |at| at + 2));
        let text = body.get(start..).unwrap_or_default();
        // In a string each quote is doubled.
        let text = if body.starts_with('$') { text.to_owned() } else { text.replace("''", "'") };
        let tokens = tokens_with_offsets(&text);
        let calls = (0..tokens.len()).filter_map(|at| call_of(&tokens[at..], function)).filter(|(qualified, _)| *qualified);
        calls.map(|(_, arguments)| arguments).collect::<Vec<_>>()
    };
    bodies.flat_map(code).collect()
}

/// Whether a statement is of a kind that can carry a password, by its command tag, or speaks of one. Its text belongs into no ledger.
pub fn may_hold_a_secret(tag: &str, sql: &str) -> bool {
    const TAGS: [&str; 7] = ["ROLE", "USER", "GROUP", "SUBSCRIPTION", "SERVER", "SYSTEM", "FOREIGN"];
    const WORDS: [&str; 4] = ["password", "passwd", "secret", "credential"];
    let lower = sql.to_ascii_lowercase();
    TAGS.iter().any(|word| tag.contains(word)) || WORDS.iter().any(|word| lower.contains(word))
}

/// SHA-256 of the normal form; 64 hex digits.
pub fn digest(sql: &str) -> Option<String> {
    normal_form(sql).map(|text| hex::encode(Sha256::digest(text.as_bytes())))
}

/// The first parameter of a text, such as `$1`, whose value comes with its execution.
pub fn parameter(sql: &str) -> Option<String> {
    let is_parameter =
        |token: &String| token.strip_prefix('$').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    tokens(sql).into_iter().find(is_parameter)
}

/// Whether a text means the same whatever parameters it is read under: it has no string constant, no parameter, and no NULL that
/// `transform_null_equals` could compare.
pub fn is_read_one_way(sql: &str) -> bool {
    let lower = sql.to_ascii_lowercase();
    !lower.contains(['\'', '$']) && !lower.split(|c| !in_word(c)).any(|word| word == "null")
}

/// White space as the lexer knows it; a no-break space is part of an identifier.
const BLANK: [char; 6] = [' ', '\t', '\n', '\r', '\u{c}', '\u{b}'];

fn starts_word(c: char) -> bool {
    c.is_ascii_alphabetic() || c == '_' || !c.is_ascii()
}

fn in_word(c: char) -> bool {
    starts_word(c) || c.is_ascii_digit() || c == '$'
}

/// `text` from its first byte that is neither white space nor comment.
pub fn skip_blank(text: &str) -> &str {
    let mut rest = text.trim_start_matches(BLANK);
    loop {
        if let Some(comment) = rest.strip_prefix("--") {
            rest = comment.find(['\n', '\r']).map_or("", |end| &comment[end..]).trim_start_matches(BLANK);
        } else if rest.starts_with("/*") {
            rest = after_block_comment(rest).trim_start_matches(BLANK);
        } else {
            return rest;
        }
    }
}

/// Block comments nest in SQL.
fn after_block_comment(text: &str) -> &str {
    let (mut depth, mut at) = (0, 0);
    let bytes = text.as_bytes();
    while at < bytes.len() {
        match &bytes[at..(at + 2).min(bytes.len())] {
            b"/*" => (depth, at) = (depth + 1, at + 2),
            b"*/" => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return &text[at..];
        }
    }
    ""
}

/// How many bytes the token at the start of `text` has; at least one character.
pub(crate) fn token_length(text: &str, first: char) -> usize {
    match first {
        '\'' => quoted(text, 0, '\'', false),
        '"' => quoted(text, 0, '"', false),
        '$' => dollar(text),
        _ if starts_word(first) => {
            let word = run(text, in_word);
            prefixed(text, &text[..word]).unwrap_or(word)
        }
        _ if first.is_ascii_digit() => run(text, |c| in_word(c) || c == '.'),
        '.' if text[1..].starts_with(|c: char| c.is_ascii_digit()) => 1 + run(&text[1..], |c| in_word(c) || c == '.'),
        _ if OPERATOR.contains(first) => operator(text),
        _ => first.len_utf8(),
    }
}

pub(crate) const OPERATOR: &str = "+-*/<>=~!@#%^&|`?:";

/// A run of operator characters ends where a comment starts.
fn operator(text: &str) -> usize {
    let whole = run(text, |c| OPERATOR.contains(c));
    let comment = ["--", "/*"].iter().filter_map(|start| text[..whole].find(start)).min();
    comment.filter(|at| *at > 0).unwrap_or(whole)
}

fn run(text: &str, belongs: impl Fn(char) -> bool) -> usize {
    text.find(|c| !belongs(c)).unwrap_or(text.len())
}

/// `E'…'`, `B'…'`, `X'…'`, `N'…'`, `U&'…'` and `U&"…"`: the prefix belongs to the token.
fn prefixed(text: &str, word: &str) -> Option<usize> {
    let after = &text[word.len()..];
    match word {
        "e" | "E" if after.starts_with('\'') => Some(quoted(text, 1, '\'', true)),
        "b" | "B" | "x" | "X" | "n" | "N" if after.starts_with('\'') => Some(quoted(text, 1, '\'', false)),
        "u" | "U" if after.starts_with("&'") => Some(quoted(text, 2, '\'', false)),
        "u" | "U" if after.starts_with("&\"") => Some(quoted(text, 2, '"', false)),
        _ => None,
    }
}

/// The end of a quoted token whose quote opens at `open`. Doubled quotes stay inside; backslashes count where they escape.
fn quoted(text: &str, open: usize, quote: char, escapes: bool) -> usize {
    let mut characters = text[open + 1..].char_indices().peekable();
    while let Some((at, c)) = characters.next() {
        if escapes && c == '\\' {
            characters.next();
        } else if c == quote {
            if characters.peek().is_some_and(|(_, next)| *next == quote) {
                characters.next();
            } else {
                return open + 1 + at + 1;
            }
        }
    }
    text.len()
}

/// A dollar-quoted string, or the dollar sign alone (with the digits of a parameter).
fn dollar(text: &str) -> usize {
    let tag = run(&text[1..], |c| in_word(c) && c != '$');
    let named = !text[1..].starts_with(|c: char| c.is_ascii_digit());
    if named && text[1 + tag..].starts_with('$') {
        let delimiter = &text[..tag + 2];
        return text[delimiter.len()..].find(delimiter).map_or(text.len(), |end| end + 2 * delimiter.len());
    }
    1 + run(&text[1..], |c| c.is_ascii_digit())
}

#[cfg(test)]
mod tests;
