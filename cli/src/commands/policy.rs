//! `runbook policy`: rules, the preset, maintenance windows and protected tables.

use crate::args::{Format, Policy};
use crate::client::{Client, Queries};
use crate::context::{Context, rows};
use crate::error::Result;
use crate::output;
use serde_json::json;

/// Prints what is in force, or sets a part of it.
pub fn run(args: &Policy, context: &Context) -> Result<()> {
    let mut client = context.connect()?;
    match args {
        Policy::Show => {
            let rules = rows(&mut client, "SELECT * FROM runbook.policy", &[])?;
            let tables = rows(&mut client, "SELECT * FROM runbook.protected_tables", &[])?;
            let windows = rows(&mut client, "SELECT * FROM runbook.maintenance_windows", &[])?;
            if context.format() == Format::Json {
                return output::value(&json!({"rules": rules, "windows": windows, "protected_tables": tables}));
            }
            let columns = ["class", "objects", "verdict", "approvals", "approver_role", "source"];
            output::rows(context.format(), &rules, &columns, "there is no rule")?;
            let windowed: &[&str] = &["name", "classes", "days", "opens", "closes", "time_zone"];
            for (found, columns) in [(windows, windowed), (tables, &["table", "max_rows", "enabled"])] {
                if !found.is_empty() {
                    output::blank()?;
                    output::rows(context.format(), &found, columns, "")?;
                }
            }
            Ok(())
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
        other => beside(other, &mut client, context),
    }
}

/// Sets or removes a window, or the protection of a table.
fn beside(args: &Policy, client: &mut Client, context: &Context) -> Result<()> {
    match args {
        Policy::Show | Policy::Set { .. } | Policy::Preset { .. } => Ok(()),
        Policy::Window { name, classes, days, opens, closes, time_zone } => {
            let classes: Vec<String> = classes.iter().map(|class| literal(class)).collect();
            let rest = [days, opens, closes, time_zone].map(|text| literal(text)).join(", ");
            let call =
                format!("SELECT runbook.set_maintenance_window({}, ARRAY[{}], {rest})", literal(name), classes.join(", "));
            client.batch_execute(&call)?;
            output::message(context.format(), "window", json!(name), &format!("window {name}: set"))
        }
        Policy::DropWindow { name } => {
            let sql = format!("SELECT runbook.drop_maintenance_window({})", literal(name));
            let was_there: bool = client.query_one(&sql, &[])?.try_get(0)?;
            let line = if was_there { format!("window {name}: removed") } else { format!("there was no window {name}") };
            output::message(context.format(), "removed", json!(was_there), &line)
        }
        Policy::Protect { table, max_rows } => {
            let limit = max_rows.map_or("NULL".to_owned(), |rows| rows.to_string());
            client.query_one(&format!("SELECT runbook.protect_table({}, {limit})", literal(table)), &[])?;
            output::message(context.format(), "protected", json!(table), &format!("{table}: protected"))
        }
        Policy::Unprotect { table } => {
            let sql = format!("SELECT runbook.unprotect_table({})", literal(table));
            let was_there: bool = client.query_one(&sql, &[])?.try_get(0)?;
            let line = if was_there { format!("{table}: no longer protected") } else { format!("{table} was not protected") };
            output::message(context.format(), "removed", json!(was_there), &line)
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
