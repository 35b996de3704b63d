//! `runbook policy show`, `set`, `environment`.

use crate::args::{Format, Policy};
use crate::context::{Context, rows};
use crate::error::Result;
use crate::output;
use serde_json::json;

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
            let sql = "SELECT runbook.set_policy($1, $2, $3, $4, $5)";
            client.execute(sql, &[class, verdict, approvals, objects, approver_role])?;
            let which = objects.as_ref().map_or_else(String::new, |objects| format!(" on {objects}"));
            output::message(context.format(), "policy", json!(verdict), &format!("{class}{which}: {verdict}"))
        }
        Policy::Environment { name } => {
            client.execute("SELECT runbook.configure('environment', $1)", &[name])?;
            output::message(context.format(), "environment", json!(name), &format!("environment: {name}"))
        }
    }
}
