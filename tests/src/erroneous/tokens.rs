//! SQL cut into tokens, as roughly as breaking it needs.

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A word in capitals.
    Keyword,
    /// Any other word: a name, a type, an option.
    Name,
    /// A number.
    Number,
    /// A string constant.
    Text,
    /// Everything else.
    Sign,
}

/// A token with the blanks before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// What it is.
    pub kind: Kind,
    /// Blanks, then the token.
    pub text: String,
}

/// Cuts SQL into tokens. Put together again they are the same text.
pub fn cut(sql: &str) -> Vec<Token> {
    let bytes = sql.as_bytes();
    let mut tokens = Vec::new();
    let mut start = 0;
    while start < bytes.len() {
        let first = start + bytes[start..].iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        let Some(&byte) = bytes.get(first) else { break };
        let word = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$') || *byte >= 128;
        let span = |keep: fn(&u8) -> bool| bytes[first..].iter().take_while(|byte| keep(byte)).count();
        let (kind, length) = match byte {
            b'\'' | b'"' => {
                let end = bytes[first + 1..].iter().position(|other| *other == byte).map_or(bytes.len() - first, |at| at + 2);
                (if byte == b'"' { Kind::Name } else { Kind::Text }, end)
            }
            b'$' => (Kind::Text, sql[first + 2..].find("$$").map_or(bytes.len() - first, |at| at + 4)),
            _ if byte.is_ascii_digit() => (Kind::Number, span(|byte| byte.is_ascii_digit() || *byte == b'.')),
            _ if word(&byte) => {
                let length = bytes[first..].iter().take_while(|byte| word(byte)).count();
                let lower = bytes[first..first + length].iter().any(u8::is_ascii_lowercase);
                (if lower { Kind::Name } else { Kind::Keyword }, length)
            }
            _ => (Kind::Sign, 1),
        };
        tokens.push(Token { kind, text: sql[start..first + length].to_owned() });
        start = first + length;
    }
    tokens
}

/// Puts tokens together. A token that comes after another without a blank gets one where they would melt into one.
pub fn join(tokens: &[Token]) -> String {
    let mut sql = String::new();
    for token in tokens {
        let word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '"' | '\'');
        if sql.ends_with(word) && token.text.starts_with(word) {
            sql.push(' ');
        }
        sql.push_str(&token.text);
    }
    sql
}
