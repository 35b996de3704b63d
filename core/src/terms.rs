//! What an entry is about, for look-ups.

use crate::ledger::bounded;
use serde::Deserialize;
use std::borrow::Cow;

/// What an entry is about, for look-ups: `kind:`, `role:`, `revision:`, `permit:`, and `object:` with the identity of each object and of
/// whatever contains it, its schema too. Sorted, each once; empty if the payload is no entry.
pub fn terms(payload: &str) -> Vec<String> {
    let Ok(about) = serde_json::from_str::<About>(payload) else { return Vec::new() };
    let mut terms = Vec::with_capacity(8);
    for (term, text) in [
        ("kind", about.kind),
        ("role", about.session_role),
        ("role", about.current_role),
        ("revision", about.revision),
        ("permit", about.permit),
    ] {
        terms.extend(text.map(|text| self::term(term, &text)));
    }
    for identity in about.objects.into_iter().filter_map(|object| object.identity) {
        terms.push(self::term("object", &identity));
        let dots = dots(&identity);
        terms.extend(dots.iter().take(4).map(|dot| self::term("object", &identity[..*dot])));
    }
    terms.sort_unstable();
    terms.dedup();
    terms
}

/// A term to look up by. An index takes no long ones: what is longer than names are is cut off, and ends with its hash.
pub fn term(kind: &str, text: &str) -> String {
    format!("{kind}:{}", bounded(text, 400))
}

/// The members of a payload that entries are looked up by. Every sealed entry is read like this, by the index.
#[derive(Deserialize)]
struct About<'a> {
    #[serde(borrow)]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow)]
    session_role: Option<Cow<'a, str>>,
    #[serde(borrow)]
    current_role: Option<Cow<'a, str>>,
    #[serde(borrow)]
    revision: Option<Cow<'a, str>>,
    #[serde(borrow)]
    permit: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    objects: Vec<AboutObject<'a>>,
}

#[derive(Deserialize)]
struct AboutObject<'a> {
    #[serde(borrow)]
    identity: Option<Cow<'a, str>>,
}

/// Where the dots between the parts of a quoted identity are.
fn dots(identity: &str) -> Vec<usize> {
    let mut quoted = false;
    let between = |(at, character): (usize, char)| {
        quoted ^= character == '"';
        (character == '.' && !quoted).then_some(at)
    };
    identity.char_indices().filter_map(between).collect()
}
