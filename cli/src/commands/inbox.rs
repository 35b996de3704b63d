//! `runbook inbox`: what waits for this login to decide, what it would do, and the command that approves it.

use crate::args::Format;
use crate::context::{Context, rows};
use crate::error::Result;
use crate::output::{self, Line, Row, Style};

/// Prints what waits for the login, with commands that approve exactly what is shown.
pub fn run(context: &Context) -> Result<()> {
    let waiting = rows(&mut context.connect()?, "SELECT * FROM runbook.inbox()", &[])?;
    if context.format() == Format::Json {
        return output::value(&waiting);
    }
    show(&waiting)
}

/// Prints what waits, for people.
pub fn show(waiting: &[Row]) -> Result<()> {
    if waiting.is_empty() {
        output::line(&Line::new("nothing waits for you"))?;
    }
    for one in waiting {
        let text = |key: &str| output::text(one.get(key));
        let word = |key: &str| shell_word(&text(key));
        let first = Line::new(text("kind")).then(" ").styled(Style::Bold, text("id"));
        output::line(&first.then(format!("  {}  ({})", text("message"), text("requested_by"))))?;
        for action in one.get("would").and_then(serde_json::Value::as_array).into_iter().flatten() {
            output::line(&Line::new("    would ").styled(Style::Red, output::text(Some(action))))?;
        }
        output::line(&Line::new(format!("    needs {}", text("needs"))))?;
        // With the digest, it approves what was read and nothing that was submitted since.
        let command = match text("kind").as_str() {
            "permit" => format!("runbook permit approve {} -m COMMENT", word("id")),
            _ => format!("runbook approve {} --digest {} -m COMMENT", word("id"), word("digest")),
        };
        let read = match text("kind").as_str() {
            "permit" => "runbook permit list".to_owned(),
            _ => format!("runbook show {}", word("id")),
        };
        output::line(&Line::new("    read  ").then(read).command())?;
        output::line(&Line::new("    then  ").styled(Style::Bold, command).command())?;
    }
    Ok(())
}

/// A text as one word of a command to paste, whatever a server calls its revisions.
fn shell_word(text: &str) -> String {
    let is_plain = !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c));
    if is_plain { text.to_owned() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stays_one_word_of_the_command() {
        assert_eq!(shell_word("1c0ffee00aa1"), "1c0ffee00aa1");
        assert_eq!(shell_word("a; $(id)"), "'a; $(id)'");
        assert_eq!(shell_word("it's"), r"'it'\''s'");
    }
}
