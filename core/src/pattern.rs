//! Patterns of object names.

use std::fmt;

/// Objects by name: parts with `*` and `?`, from the schema down; what lies below a match matches too.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pattern(Vec<String>);

impl Pattern {
    /// Reads `billing`, `billing.*`, `public.audit_*`, `public.orders.legacy_?`, `"My.Schema".t`; `None` if a part is empty.
    pub fn parse(text: &str) -> Option<Self> {
        let (mut parts, mut quoted) = (vec![String::new()], false);
        for c in text.chars() {
            match c {
                '"' => quoted = !quoted,
                '.' if !quoted => parts.push(String::new()),
                _ => parts.last_mut()?.push(c),
            }
        }
        (!quoted && parts.iter().all(|part| !part.is_empty())).then_some(Self(parts))
    }

    /// Whether an object with this path, or what it belongs to, matches.
    pub fn matches(&self, path: &[String]) -> bool {
        self.0.len() <= path.len() && self.0.iter().zip(path).all(|(glob, part)| glob_matches(glob, part))
    }

    /// Whether it matches something that lies in an object with this path, and not that object itself.
    pub fn reaches_into(&self, path: &[String]) -> bool {
        self.0.len() > path.len() && self.0.iter().zip(path).all(|(glob, part)| glob_matches(glob, part))
    }

    /// Whether it could match an object of which only the last names are known.
    pub fn may_match(&self, path: &[String]) -> bool {
        self.matches(path) || self.0.get(1..).is_none_or(|rest| Self(rest.to_vec()).matches(path) || rest.is_empty())
    }

    /// Whether some object could match both.
    pub fn overlaps(&self, other: &Self) -> bool {
        let literal = |glob: &str| !glob.contains(['*', '?']);
        self.0.iter().zip(&other.0).all(|(one, two)| match (literal(one), literal(two)) {
            (true, true) => one == two,
            (true, false) => glob_matches(two, one),
            (false, true) => glob_matches(one, two),
            (false, false) => true,
        })
    }

    /// More parts are more specific, then more literal characters.
    pub fn specificity(&self) -> (usize, usize) {
        (self.0.len(), self.0.iter().flat_map(|part| part.chars()).filter(|c| !"*?".contains(*c)).count())
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quoted = |part: &String| if part.contains('.') { format!("\"{part}\"") } else { part.clone() };
        f.write_str(&self.0.iter().map(quoted).collect::<Vec<_>>().join("."))
    }
}

/// Linear in both lengths for the patterns that people write; `*` matches any run of characters, `?` one.
fn glob_matches(glob: &str, text: &str) -> bool {
    let (glob, text): (Vec<char>, Vec<char>) = (glob.chars().collect(), text.chars().collect());
    let (mut g, mut t, mut star) = (0, 0, None);
    while t < text.len() {
        if g < glob.len() && glob[g] == '*' {
            star = Some((g, t));
            g += 1;
        } else if g < glob.len() && (glob[g] == '?' || glob[g] == text[t]) {
            (g, t) = (g + 1, t + 1);
        } else if let Some((at, from)) = star {
            star = Some((at, from + 1));
            (g, t) = (at + 1, from + 1);
        } else {
            return false;
        }
    }
    glob[g..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_covers_what_lies_below_and_not_what_lies_beside() {
        let path = |text: &str| text.split('.').map(str::to_owned).collect::<Vec<_>>();
        let pattern = Pattern::parse("public.audit_?").unwrap();
        assert!(pattern.matches(&path("public.audit_a")));
        assert!(pattern.matches(&path("public.audit_a.column")));
        assert!(!pattern.matches(&path("public.audit_ab")));
        assert!(!pattern.matches(&path("public")));
        assert!(Pattern::parse("a..b").is_none() && Pattern::parse("").is_none() && Pattern::parse("\"a").is_none());
    }
}
