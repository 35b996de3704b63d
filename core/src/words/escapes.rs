//! What the escapes in strings and names stand for (parser/scan.l, parser/parser.c).

/// The inside of `E'…'` with its escapes undone; `None` if what they make is no text.
pub fn of_string(inner: &str) -> Option<String> {
    let mut out: Vec<u8> = Vec::with_capacity(inner.len());
    let mut rest = inner;
    while let Some(at) = rest.find('\\') {
        out.extend_from_slice(&rest.as_bytes()[..at]);
        rest = &rest[at + 1..];
        let Some(first) = rest.chars().next() else { break };
        let number = |text: &str, most: usize, radix: u32| {
            let digits = text.chars().take(most).take_while(|c| c.is_digit(radix)).count();
            (digits > 0).then(|| (digits, u32::from_str_radix(&text[..digits], radix).unwrap_or_default()))
        };
        let mut byte = |value: u32| out.push(u8::try_from(value & 0xff).unwrap_or_default());
        let taken = match first {
            '0'..='7' => number(rest, 3, 8).map(|(digits, value)| {
                byte(value);
                digits
            }),
            'x' => number(&rest[1..], 2, 16).map(|(digits, value)| {
                byte(value);
                1 + digits
            }),
            'u' | 'U' => {
                let length = if first == 'u' { 4 } else { 8 };
                let mut units = vec![code(rest.get(1..=length)?)?];
                let mut taken = 1 + length;
                // The second half of a pair.
                if (0xd800..0xdc00).contains(&units[0]) {
                    let second = rest.get(taken..)?.strip_prefix(['\\']).filter(|more| more.starts_with(['u', 'U']))?;
                    let length = if second.starts_with('u') { 4 } else { 8 };
                    units.push(code(second.get(1..=length)?)?);
                    taken += 2 + length;
                }
                out.extend_from_slice(character(&units)?.to_string().as_bytes());
                Some(taken)
            }
            _ => None,
        };
        let taken = taken.unwrap_or_else(|| {
            let plain = match first {
                'b' => '\u{8}',
                'f' => '\u{c}',
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                other => other,
            };
            out.extend_from_slice(plain.to_string().as_bytes());
            first.len_utf8()
        });
        rest = &rest[taken..];
    }
    out.extend_from_slice(rest.as_bytes());
    String::from_utf8(out).ok()
}

/// The inside of `U&'…'` or `U&"…"` with its escapes undone; `None` where PostgreSQL would refuse it.
pub fn of_unicode(inner: &str, escape: char) -> Option<String> {
    let mut out = String::with_capacity(inner.len());
    let mut rest = inner;
    let mut first_half = None;
    while let Some(next) = rest.chars().next() {
        let after = &rest[next.len_utf8()..];
        if next != escape || after.starts_with(escape) {
            out.push(next);
            rest = if next == escape { &after[escape.len_utf8()..] } else { after };
            continue;
        }
        let (digits, taken) = match after.strip_prefix('+') {
            Some(long) => (long.get(..6)?, 7),
            None => (after.get(..4)?, 4),
        };
        let unit = code(digits)?;
        rest = &after[taken..];
        match first_half.take() {
            None if (0xd800..0xdc00).contains(&unit) => first_half = Some(unit),
            half => out.push(character(&half.into_iter().chain([unit]).collect::<Vec<_>>())?),
        }
    }
    first_half.is_none().then_some(out)
}

fn code(digits: &str) -> Option<u32> {
    digits.chars().all(|c| c.is_ascii_hexdigit()).then(|| u32::from_str_radix(digits, 16).ok())?
}

fn character(units: &[u32]) -> Option<char> {
    match *units {
        [one] => char::from_u32(one),
        [high, low] if (0xdc00..0xe000).contains(&low) => char::from_u32(0x1_0000 + ((high - 0xd800) << 10) + (low - 0xdc00)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_of_strings() {
        assert_eq!(of_string(r"a\rb\fc\x67\147\u0067\U00000067\q\'").as_deref(), Some("a\rb\u{c}cggggq'"));
        assert_eq!(of_string(r"\xc3\xa4\d").as_deref(), Some("äd"));
        assert_eq!(of_string(r"\ud83d\ude00").as_deref(), Some("😀"));
        assert_eq!(of_string(r"\xzz").as_deref(), Some("xzz"));
        for broken in [r"\xff", r"\u12", r"\ud83d", r"\udead\u0067", r"\uää12"] {
            assert_eq!(of_string(broken), None, "{broken}");
        }
        assert_eq!(of_string("a\\").as_deref(), Some("a"));
    }

    #[test]
    fn escapes_of_unicode_names() {
        assert_eq!(of_unicode("!0067g!!", '!').as_deref(), Some("gg!"));
        assert_eq!(of_unicode(r"\+000067\D83D\DE00x", '\\').as_deref(), Some("g😀x"));
        for broken in ["!00", "!zzzz", "!D83D", "!ää", "!+00"] {
            assert_eq!(of_unicode(broken, '!'), None, "{broken}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_has_escapes(text in "[\\\\!+'uUx0-9a-fäß]{0,30}") {
            let _ = (of_string(&text), of_unicode(&text, '\\'), of_unicode(&text, '!'));
        }
    }
}
