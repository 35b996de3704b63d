//! `runbook policy show`, `set`, `environment`.

use crate::args::{Format, Policy};
use crate::context::{Context, rows};
use crate::error::Result;
use crate::output;
use serde_json::json;

/// Prints the rules and windows, or sets a rule or the preset.
pub fn run(args: &Policy, context: &Context) -> Result<()> {
    let mut client = context.connect()?;
    match args {
        Policy::Show => {
            let rules = rows(&mut client, "SELECT * FROM runbook.policy", &[])?;
            let windows = rows(&mut client, "SELECT * FROM runbook.maintenance_windows", &[])?;
            if context.format() == Format::Json {
                return output::value(&json!({"rules": rules, "windows": windows}));
            }
            let columns = ["class", "objects", "verdict", "approvals", "approver_role", "source"];
            output::rows(context.format(), &rules, &columns, "there is no rule")?;
            if windows.is_empty() {
                return Ok(());
            }
            output::blank()?;
            let columns = ["name", "classes", "days", "opens", "closes", "time_zone"];
            output::rows(context.format(), &windows, &columns, "there is no maintenance window")
        }
        Policy::Set { class, verdict, approvals, objects, approver_role } => {
            // With constants, not parameters: a permit is for a text, and the server's hint shows this one.
            let arguments = [
                literal(class),
                literal(verdict),
                approvals.to_string(),
                objects.as_deref().map_or("NULL".to_owned(), literal),
                approver_role.as_deref().map_or("NULL".to_owned(), literal),
            ];
            client.batch_execute(&format!("SELECT runbook.set_policy({})", arguments.join(", ")))?;
            let which = objects.as_ref().map_or_else(String::new, |objects| format!(" on {objects}"));
            output::message(context.format(), "policy", json!(verdict), &format!("{class}{which}: {verdict}"))
        }
        Policy::Preset { name } => {
            client.batch_execute(&format!("SELECT runbook.configure('preset', {})", literal(name)))?;
            output::message(context.format(), "preset", json!(name), &format!("preset: {name}"))
        }
    }
}

/// A string constant that means the same whatever `standard_conforming_strings` is.
pub fn literal(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    if quoted.contains('\\') { format!("E'{}'", quoted.replace('\\', "\\\\")) } else { format!("'{quoted}'") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_and_backslashes_stay_what_they_are() {
        assert_eq!(literal("a'b"), "'a''b'");
        assert_eq!(literal(r"a\'b"), r"E'a\\''b'");
    }
}
