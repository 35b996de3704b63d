//! One line of output: pieces of text with a style, none of which can leave the line.

use runbook_core::visible::{visible_line, visible_text};

/// How a piece of a line looks on a terminal that has colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Style {
    /// As it is.
    #[default]
    Plain,
    /// What the eye looks for.
    Bold,
    /// What a person has to decide about.
    Red,
    /// What is well.
    Green,
    /// The word "error".
    Error,
    /// What stands before a detail.
    Label,
}

impl Style {
    fn codes(self) -> (&'static str, &'static str) {
        let begin = match self {
            Self::Plain => return ("", ""),
            Self::Bold => "\x1b[1m",
            Self::Red => "\x1b[31m",
            Self::Green => "\x1b[32m",
            Self::Error => "\x1b[31;1m",
            Self::Label => "\x1b[36m",
        };
        (begin, "\x1b[0m")
    }
}

/// A line. Whatever is added to it is made visible, so that it stays one line and moves no cursor.
#[derive(Clone, Debug)]
pub struct Line {
    pieces: Vec<(Style, String)>,
    hang: String,
    is_command: bool,
}

impl Default for Line {
    fn default() -> Self {
        Self { pieces: Vec::new(), hang: " ".repeat(8), is_command: false }
    }
}

impl Line {
    /// A line that begins with a text.
    pub fn new(text: impl AsRef<str>) -> Self {
        Self::default().then(text)
    }

    /// Adds a text.
    pub fn then(self, text: impl AsRef<str>) -> Self {
        self.styled(Style::Plain, text)
    }

    /// Adds a text that looks otherwise.
    pub fn styled(mut self, style: Style, text: impl AsRef<str>) -> Self {
        self.pieces.push((style, visible_line(text.as_ref()).into_owned()));
        self
    }

    /// A command to paste: it must not be broken into lines on a narrow terminal.
    pub fn command(mut self) -> Self {
        self.is_command = true;
        self
    }

    /// The line, without its end. On a terminal of `width` columns it is broken, so that no text reaches the first column of the
    /// next row by its length.
    pub fn render(&self, coloured: bool, width: Option<usize>) -> String {
        let mut out = String::new();
        let mut column = 0;
        for (style, text) in &self.pieces {
            let (begin, end) = if coloured { style.codes() } else { ("", "") };
            out.push_str(begin);
            match width.filter(|width| !self.is_command && *width > self.hang.len() + 8) {
                None => out.push_str(text),
                Some(width) => self.broken(text, width, &mut column, &mut out),
            }
            out.push_str(end);
        }
        out
    }

    fn broken(&self, text: &str, width: usize, column: &mut usize, out: &mut String) {
        for c in text.chars() {
            // What is not ASCII has at most two columns.
            let next = match c {
                '\t' => (*column / 8 + 1) * 8,
                _ => *column + if c.is_ascii() { 1 } else { 2 },
            };
            if next > width {
                out.push('\n');
                out.push_str(&self.hang);
                *column = self.hang.len();
            }
            *column = if next > width { *column + 2 } else { next };
            out.push(c);
        }
    }
}

/// Lines of SQL behind a gutter with their numbers: no line of it can be taken for a heading.
pub fn code(sql: &str) -> Vec<Line> {
    let sql = sql.trim_matches('\n');
    if sql.trim().is_empty() {
        return vec![];
    }
    let count = sql.split('\n').count();
    let digits = count.to_string().len().max(3);
    let numbered = sql.split('\n').enumerate().map(|(index, text)| {
        let pieces =
            vec![(Style::Label, format!("{:>digits$} | ", index + 1)), (Style::Plain, visible_text(text).into_owned())];
        Line { pieces, hang: format!("{:>digits$} | ", ""), is_command: false }
    });
    numbered.collect()
}

/// A text of several lines behind what begins the first; the others are indented.
pub fn paragraph(first: Line, text: &str) -> Vec<Line> {
    let (head, rest) = text.split_once('\n').map_or((text, None), |(head, rest)| (head, Some(rest)));
    let is_command = first.is_command;
    let more = rest.into_iter().flat_map(|rest| rest.split('\n'));
    let more = more.map(|text| Line { is_command, ..Line::new("         ").then(text) });
    std::iter::once(first.then(head)).chain(more).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(line: &Line) -> String {
        line.render(false, None)
    }

    #[test]
    fn a_line_stays_one_line_whatever_is_in_it() {
        let line = Line::new("revision ").styled(Style::Bold, "a\n    then  runbook approve b\r\x1b[2K").then("\u{202e}");
        assert_eq!(plain(&line), "revision a\\n    then  runbook approve b\\r\\x1b[2K<U+202E>");
        assert!(!line.render(true, Some(40)).replace("\x1b[1m", "").replace("\x1b[0m", "").contains('\x1b'));
    }

    #[test]
    fn colours_are_ours_alone() {
        assert_eq!(Line::new("a").styled(Style::Red, "b").render(true, None), "a\x1b[31mb\x1b[0m");
        assert_eq!(Line::new("a").styled(Style::Red, "b").render(false, None), "ab");
    }

    #[test]
    fn no_length_brings_a_text_to_the_first_column() {
        let line = Line::new(format!("{}-- runbook: downgrade", "x".repeat(40)));
        let shown = line.render(false, Some(40));
        assert_eq!(shown, format!("{}\n        -- runbook: downgrade", "x".repeat(40)));
        for row in Line::new("注".repeat(100)).render(false, Some(41)).lines() {
            assert!(row.chars().map(|c| if c.is_ascii() { 1 } else { 2 }).sum::<usize>() <= 41, "{row}");
        }
        let heading = Line::default().styled(Style::Bold, "x".repeat(50));
        assert!(heading.render(false, Some(40)).ends_with("\n        xxxxxxxxxx"));
        let command = Line::new("x".repeat(90)).command();
        assert_eq!(command.render(false, Some(40)), "x".repeat(90));
    }

    #[test]
    fn sql_stands_behind_a_gutter() {
        let shown: Vec<String> = code("\nSELECT 1;\n\n-- runbook: downgrade\r\n\tDROP TABLE t;\n").iter().map(plain).collect();
        assert_eq!(shown, ["  1 | SELECT 1;", "  2 | ", "  3 | -- runbook: downgrade\\r", "  4 | \tDROP TABLE t;"]);
        assert!(code(" \n").is_empty());
        let long = code(&format!("{}-- runbook: downgrade", " ".repeat(34)))[0].render(false, Some(40));
        assert!(long.lines().all(|row| row[..6].ends_with("| ")), "{long}");
        assert_eq!(code(&"a\n".repeat(1200))[1199].render(false, None), "1200 | a");
    }

    #[test]
    fn more_lines_of_a_paragraph_are_indented() {
        let shown: Vec<String> = paragraph(Line::new("detail: "), "one\nhint: two").iter().map(plain).collect();
        assert_eq!(shown, ["detail: one", "         hint: two"]);
    }
}
