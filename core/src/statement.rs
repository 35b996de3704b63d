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

/// Whether the text begins with a call of `function`, with or without its schema.
pub fn begins_with_call(sql: &str, function: &str) -> bool {
    let mut rest = sql;
    let mut next = || {
        rest = skip_blank(rest);
        let (token, after) = rest.split_at(rest.chars().next().map_or(0, |first| token_length(rest, first)));
        rest = after;
        let is_bare = !token.contains(['\'', '"', '$']);
        if is_bare { token.to_ascii_lowercase() } else { token.trim_matches('"').to_owned() }
    };
    let first = next();
    let name = if first == "runbook" && next() == "." { next() } else { first };
    name == function && next() == "("
}

fn tokens(sql: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    let mut rest = sql;
    loop {
        rest = skip_blank(rest);
        let Some(first) = rest.chars().next() else { break };
        let length = token_length(rest, first);
        let (token, after) = rest.split_at(length);
        let word = starts_word(first);
        let quoted = token.contains(['\'', '"', '$']);
        tokens.push(if word && !quoted { token.to_ascii_lowercase() } else { token.to_owned() });
        rest = after;
    }
    while tokens.last().is_some_and(|token| token == ";") {
        tokens.pop();
    }
    tokens
}

/// Whether the text is one DO block whose own code calls `runbook.function`.
pub fn block_calls(sql: &str, function: &str) -> bool {
    let tokens = tokens(sql);
    if tokens.first().is_none_or(|word| word != "do") || tokens.iter().any(|token| token == ";") {
        return false;
    }
    tokens.iter().filter(|token| token.starts_with('$') || token.starts_with('\'')).any(|body| {
        let start = if body.starts_with('$') { body[1..].find('$').map_or(body.len(), |at| at + 2) } else { 1 };
        let code: Vec<String> = self::tokens(body.get(start..).unwrap_or_default())
            .iter()
            .map(|token| token.trim_matches('"').to_owned())
            .collect();
        code.windows(4).any(|four| four[0] == "runbook" && four[1] == "." && four[2] == function && four[3] == "(")
    })
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
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn comments_layout_and_case_do_not_matter() {
        let plain = normal_form("DROP TABLE public.orders, b CASCADE").unwrap();
        for same in [
            "drop table public.orders,b cascade;",
            "  DROP /* a /* nested */ one */ TABLE\n\tpublic . orders -- the end\n, B CASCADE ; ",
        ] {
            assert_eq!(normal_form(same).unwrap(), plain);
        }
    }

    #[test]
    fn everything_else_does() {
        let texts = [
            "DROP TABLE orders",
            "DROP TABLE \"Orders\"",
            "DROP TABLE orders CASCADE",
            "DROP TABLE IF EXISTS orders",
            "ALTER TABLE t ALTER c TYPE text USING 'a'",
            "ALTER TABLE t ALTER c TYPE text USING 'A'",
            "ALTER TABLE t ALTER c TYPE text USING E'a'",
            "ALTER TABLE t ALTER c TYPE text USING 'a -- b'",
            "ALTER TABLE t ALTER c TYPE text USING 'a /* b */'",
            "ALTER TABLE t ALTER c TYPE text USING $$a$$",
            "ALTER TABLE t ALTER c TYPE text USING $x$a$$b$x$",
            "ALTER TABLE t ALTER c TYPE text USING c - -1",
            "ALTER TABLE t ALTER c TYPE text USING c -1",
            "ALTER TABLE t ALTER c TYPE text USING 1.5",
            "ALTER TABLE t ALTER c TYPE text USING 1 .5",
        ];
        let forms: std::collections::HashSet<String> = texts.iter().map(|text| normal_form(text).unwrap()).collect();
        assert_eq!(forms.len(), texts.len());
    }

    #[test]
    fn what_can_carry_a_password_is_told_by_its_tag_or_its_words() {
        assert!(may_hold_a_secret("ALTER USER MAPPING", "ALTER USER MAPPING FOR a SERVER s OPTIONS (x 'y')"));
        assert!(may_hold_a_secret("DO", "DO $$ BEGIN EXECUTE $q$ALTER ROLE a PassWord 'x'$q$; END $$"));
        assert!(!may_hold_a_secret("ALTER TABLE", "ALTER TABLE orders ADD COLUMN note text"));
    }

    #[test]
    fn a_quote_inside_a_string_does_not_end_it() {
        assert_eq!(normal_form("x 'it''s -- no' Y").unwrap(), "x 'it''s -- no' y");
        assert_eq!(normal_form(r"x E'it\'s -- no' Y").unwrap(), r"x E'it\'s -- no' y");
        assert_eq!(normal_form("a+--b\nC").unwrap(), "a + c");
    }

    #[test]
    fn a_string_that_goes_on_in_the_next_line_has_no_normal_form() {
        assert_eq!(normal_form("USING f(E'\\r'\n'\\' -- '\n, '')"), None);
        assert_eq!(normal_form("USING f('a' -- b\n 'c')"), None);
        assert!(normal_form("USING f('a', 'c')").is_some());
    }

    #[test]
    fn a_call_is_in_the_text_or_it_is_not() {
        assert!(begins_with_call("runbook.approve('a')", "approve"));
        assert!(begins_with_call("\"runbook\" . \"approve\" /* x */ ('a'))", "approve"));
        assert!(begins_with_call("Approve ('a'), 1", "approve"), "the schema may be on the search path");
        assert!(!begins_with_call("SELECT runbook.approve('a')", "approve"));
        assert!(!begins_with_call("'runbook.approve(' FROM approve", "approve"));
        assert!(!begins_with_call("alices.approve('a')", "approve"));
        assert!(!begins_with_call("\"Approve\"('a')", "approve"));
        assert!(!begins_with_call("approve_permit('a')", "approve"));
        assert!(!begins_with_call("approve", "approve"));
        assert!(!begins_with_call("", "approve"));
        assert!(block_calls("DO $x$ BEGIN PERFORM runbook.upgrade('a'); END $x$;", "upgrade"));
        assert!(block_calls("do language plpgsql 'BEGIN PERFORM runbook.upgrade(''a''); END'", "upgrade"));
        assert!(!block_calls("SELECT f($$runbook.upgrade('a')$$)", "upgrade"));
        assert!(!block_calls("DO $$ BEGIN PERFORM f('runbook.upgrade('); END $$", "upgrade"));
        assert!(!block_calls("DO $$ BEGIN PERFORM runbook.upgrade('a'); END $$; SELECT f()", "upgrade"));
    }

    proptest! {
        #[test]
        fn any_text_has_a_normal_form_that_is_its_own(text in "\\PC{0,60}") {
            if let Some(once) = normal_form(&text) {
                prop_assert_eq!(normal_form(&once), Some(once));
            }
        }
    }
}
