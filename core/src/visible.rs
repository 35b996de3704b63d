//! Text of strangers, made visible before a terminal or a log shows it.
//!
//! Owns the list of characters that a reader cannot see or that change what surrounds them. They are written out, so that
//! what stands on the screen is what the server stores. Printable text comes back unchanged and unallocated.
//!
//! Source of the list: Unicode 16, general categories Cc, Cf, Zl and Zp, and the property `Default_Ignorable_Code_Point`
//! (`DerivedCoreProperties.txt`). Odd blanks, such as U+00A0, stay as they are: a reader sees that there is a blank.

use std::borrow::Cow;
use std::fmt::Write as _;

/// First and last of each range of characters that have no shape of their own, or turn the direction of others.
const INVISIBLE: [(u32, u32); 25] = [
    (0x00AD, 0x00AD),
    (0x034F, 0x034F),
    (0x0600, 0x0605),
    (0x061C, 0x061C),
    (0x06DD, 0x06DD),
    (0x070F, 0x070F),
    (0x0890, 0x0891),
    (0x08E2, 0x08E2),
    (0x115F, 0x1160),
    (0x17B4, 0x17B5),
    (0x180B, 0x180F),
    (0x200B, 0x200F),
    (0x2028, 0x202E),
    (0x2060, 0x206F),
    (0x3164, 0x3164),
    (0xFE00, 0xFE0F),
    (0xFEFF, 0xFEFF),
    (0xFFA0, 0xFFA0),
    (0xFFF0, 0xFFFB),
    (0x110BD, 0x110BD),
    (0x110CD, 0x110CD),
    (0x13430, 0x1343F),
    (0x1BCA0, 0x1BCA3),
    (0x1D173, 0x1D17A),
    (0xE0000, 0xE0FFF),
];

/// Whether a character has no shape of its own, or changes the direction of those beside it. Control characters are not
/// among them: see [`char::is_control`].
pub fn is_invisible(c: char) -> bool {
    let code = u32::from(c);
    code >= INVISIBLE[0].0 && INVISIBLE.iter().any(|(first, last)| (*first..=*last).contains(&code))
}

/// A text as one line: line breaks and tabs are written out too.
pub fn visible_line(text: &str) -> Cow<'_, str> {
    escaped(text, |c| c.is_control() || is_invisible(c))
}

/// A text of several lines: `\n` and `\t` stay, everything else that cannot be seen is written out.
pub fn visible_text(text: &str) -> Cow<'_, str> {
    escaped(text, |c| (c.is_control() && c != '\n' && c != '\t') || is_invisible(c))
}

/// A text as one SQL comment, with the line's end.
///
/// PostgreSQL's lexer ends a `--` comment at `\n` and at `\r` (`scan.l`), and other readers at more characters. So each run of
/// blanks and line breaks becomes one blank, and what cannot be seen is written out: nothing of the text can become SQL.
pub fn comment(text: &str) -> String {
    format!("-- {}\n", visible_line(&text.split_whitespace().collect::<Vec<_>>().join(" ")))
}

/// A JSON document with the same content, in which every character that cannot be seen is a `\u` escape.
///
/// The document must be JSON already: such characters stand only inside of its strings.
pub fn visible_json(json: &str) -> Cow<'_, str> {
    let hides = |c: char| (c.is_control() && c != '\n') || is_invisible(c);
    if !json.contains(hides) {
        return json.into();
    }
    let mut out = String::with_capacity(json.len() + 16);
    for c in json.chars() {
        if hides(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _ = write!(out, "\\u{unit:04x}");
            }
        } else {
            out.push(c);
        }
    }
    out.into()
}

fn escaped(text: &str, hides: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&hides) {
        return text.into();
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        let _ = match c {
            _ if !hides(c) => out.write_char(c),
            '\n' => out.write_str("\\n"),
            '\r' => out.write_str("\\r"),
            '\t' => out.write_str("\\t"),
            _ if c.is_control() => write!(out, "\\x{:02x}", u32::from(c)),
            _ => write!(out, "<U+{:04X}>", u32::from(c)),
        };
    }
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_written_out() {
        assert_eq!(visible_line("a\x1b[2Jb\u{9b}1m\x07\x7f\0"), "a\\x1b[2Jb\\x9b1m\\x07\\x7f\\x00");
        assert_eq!(visible_line("one\r\ntwo\tthree"), "one\\r\\ntwo\\tthree");
    }

    #[test]
    fn a_text_keeps_its_lines_and_tabs_alone() {
        assert_eq!(visible_text("SELECT\t1;\r\n\x1b[8mDROP\n"), "SELECT\t1;\\r\n\\x1b[8mDROP\n");
    }

    #[test]
    fn nothing_in_a_comment_ends_it() {
        for end in ["\n", "\r", "\r\n", "\u{b}", "\u{c}", "\u{85}", "\u{2028}", "\u{2029}", "\t"] {
            assert_eq!(comment(&format!("SELECT 1 /* x {end}DROP TABLE t; -- */")), "-- SELECT 1 /* x DROP TABLE t; -- */\n");
        }
        assert_eq!(comment("a\0b\x1b\u{202e}"), "-- a\\x00b\\x1b<U+202E>\n");
    }

    #[test]
    fn what_turns_or_hides_text_is_named() {
        for (c, name) in [
            ('\u{202e}', "<U+202E>"),
            ('\u{2066}', "<U+2066>"),
            ('\u{200b}', "<U+200B>"),
            ('\u{200d}', "<U+200D>"),
            ('\u{2028}', "<U+2028>"),
            ('\u{2029}', "<U+2029>"),
            ('\u{feff}', "<U+FEFF>"),
            ('\u{ad}', "<U+00AD>"),
            ('\u{61c}', "<U+061C>"),
            ('\u{180e}', "<U+180E>"),
            ('\u{3164}', "<U+3164>"),
            ('\u{115f}', "<U+115F>"),
            ('\u{fe0f}', "<U+FE0F>"),
            ('\u{e0041}', "<U+E0041>"),
            ('\u{e0100}', "<U+E0100>"),
            ('\u{fff9}', "<U+FFF9>"),
        ] {
            assert_eq!(visible_text(&c.to_string()), name);
            assert_eq!(visible_line(&format!("a{c}b")), format!("a{name}b"));
        }
    }

    #[test]
    fn what_can_be_seen_stays_and_is_not_copied() {
        for text in ["", "größe 注文 заказ نظام 🚀 a\u{a0}b \u{1F469}", "back\\slash \"quotes\" <tags>"] {
            assert!(matches!(visible_line(text), Cow::Borrowed(same) if same == text), "{text}");
            assert!(matches!(visible_json(text), Cow::Borrowed(same) if same == text), "{text}");
        }
        assert!(matches!(visible_text("a\n\tb\n"), Cow::Borrowed(_)));
    }

    #[test]
    fn the_ranges_are_in_order_and_apart() {
        assert!(INVISIBLE.iter().all(|(first, last)| first <= last));
        assert!(INVISIBLE.windows(2).all(|pair| pair[0].1 < pair[1].0));
    }

    proptest::proptest! {
        #[test]
        fn nothing_that_is_printed_can_hide(text in proptest::collection::vec(proptest::char::any(), 0..40)) {
            let text: String = text.into_iter().collect();
            proptest::prop_assert!(!visible_line(&text).contains(|c: char| c.is_control() || is_invisible(c)));
            let line = comment(&text);
            proptest::prop_assert!(line.starts_with("-- ") && !line.trim_end_matches('\n').contains(|c: char| c.is_control()));
            let kept = |c: char| c == '\n' || c == '\t';
            proptest::prop_assert!(!visible_text(&text).contains(|c: char| (c.is_control() && !kept(c)) || is_invisible(c)));
        }

        #[test]
        fn json_keeps_its_content(text in proptest::collection::vec(proptest::char::any(), 0..40)) {
            let value = serde_json::json!({ "text": text.into_iter().collect::<String>() });
            let pretty = serde_json::to_string_pretty(&value).unwrap();
            let shown = visible_json(&pretty);
            proptest::prop_assert!(!shown.contains(|c: char| (c.is_control() && c != '\n') || is_invisible(c)));
            proptest::prop_assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).unwrap(), value);
        }
    }
}
