//! Streams for what is no line of ours: exports, SQL to run elsewhere, generated pages, traces.

use runbook_core::visible::visible_text;
use std::io::{IsTerminal, Result, Write};

/// stdout: exact bytes into a file or a pipe; on a terminal, what cannot be seen is written out.
pub fn stdout() -> Box<dyn Write> {
    let out = std::io::stdout();
    if out.is_terminal() { Box::new(Visible { out, line: Vec::new() }) } else { Box::new(out.lock()) }
}

/// stderr, for traces.
pub fn stderr() -> impl Write {
    Visible { out: std::io::stderr(), line: Vec::new() }
}

/// Writes whole lines, and makes them visible.
struct Visible<W: Write> {
    out: W,
    line: Vec<u8>,
}

impl<W: Write> Visible<W> {
    fn hand_over(&mut self, end: usize) -> Result<()> {
        let rest = self.line.split_off(end);
        let text = std::mem::replace(&mut self.line, rest);
        self.out.write_all(visible_text(&String::from_utf8_lossy(&text)).as_bytes())
    }
}

impl<W: Write> Write for Visible<W> {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        self.line.extend_from_slice(bytes);
        if let Some(end) = self.line.iter().rposition(|byte| *byte == b'\n') {
            self.hand_over(end + 1)?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> Result<()> {
        self.hand_over(self.line.len())?;
        self.out.flush()
    }
}

impl<W: Write> Drop for Visible<W> {
    fn drop(&mut self) {
        let _ = self.flush();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_in_pieces_is_made_visible() {
        let mut out = Vec::new();
        let mut visible = Visible { out: &mut out, line: Vec::new() };
        let text = "a\x1b[2Jé\u{202e}\nb".as_bytes();
        for byte in text {
            visible.write_all(&[*byte]).unwrap();
        }
        drop(visible);
        assert_eq!(String::from_utf8(out).unwrap(), "a\\x1b[2Jé<U+202E>\nb");
    }
}
