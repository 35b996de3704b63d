//! A progress bar on stderr.

use indicatif::{ProgressBar, ProgressStyle};
use runbook_core::visible::visible_line;
use std::io::IsTerminal;

/// A bar, on a terminal that can draw one.
pub struct Progress {
    bar: Option<ProgressBar>,
}

impl Progress {
    /// A bar, if one is wanted and can be drawn.
    pub fn new(wanted: bool) -> Self {
        let terminal = std::io::stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        let bar = (wanted && terminal).then(|| {
            let bar = ProgressBar::new(1000);
            if let Ok(style) = ProgressStyle::with_template("{prefix} {bar:30} {wide_msg}") {
                bar.set_style(style.progress_chars("━╸─"));
            }
            bar
        });
        Self { bar }
    }

    /// Whether there is a bar.
    pub fn is_shown(&self) -> bool {
        self.bar.is_some()
    }

    /// Draws it: how far, from 0 to 1, and what stands on both sides.
    pub fn draw(&self, share: f64, before: &str, behind: &str) {
        if let Some(bar) = &self.bar {
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to 1000")]
            bar.set_position((share * 1000.0).round() as u64);
            bar.set_prefix(visible_line(before).into_owned());
            bar.set_message(visible_line(behind).into_owned());
        }
    }

    /// Takes it away while something else is printed.
    pub fn suspend<T>(&self, print: impl FnOnce() -> T) -> T {
        match &self.bar {
            Some(bar) => bar.suspend(print),
            None => print(),
        }
    }

    /// Takes it away.
    pub fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
