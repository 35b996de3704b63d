//! `runbook plan`: the steps to a target, what they need, and where an upgrade stops. `--dry-run` prints the same.

use crate::args::{Format, Plan};
use crate::client::Client;
use crate::context::{Context, rows, tell_of_parts};
use crate::error::Result;
use crate::output::{self, Line, Row, text};
use runbook_core::Phase;
use serde_json::{Value, json};

/// Prints the steps that the server would take to a target, and what each still needs.
pub fn run(args: &Plan, context: &Context) -> Result<()> {
    if args.downgrade {
        downgrade(args.target.as_deref().unwrap_or("head"), context)
    } else {
        upgrade(args.target.as_deref(), None, context)
    }
}

/// Prints the steps of an upgrade, with a line where it would stop.
pub fn upgrade(target: Option<&str>, through: Option<&str>, context: &Context) -> Result<()> {
    let mut client = context.connect()?;
    let mut plan = steps(&mut client, target.unwrap_or("head"), "upgrade")?;
    tell_of_parts(&mut client)?;
    if context.format() == Format::Table
        && let Some(stop) = stop(&plan, target, through)
    {
        let line =
            json!({"revision": "--", "message": format!("upgrade stops here: phase {} begins", text(plan[stop].get("phase")))});
        plan.insert(stop, line.as_object().cloned().unwrap_or_default());
    }
    print(&plan, context)?;
    for step in plan.iter().filter(|step| context.format() == Format::Table && !text(step.get("way_back")).is_empty()) {
        output::line(&Line::new(format!(
            "the way back of {} will need {}",
            text(step.get("revision")),
            text(step.get("way_back"))
        )))?;
    }
    Ok(())
}

/// Prints the steps of a downgrade.
pub fn downgrade(target: &str, context: &Context) -> Result<()> {
    let mut client = context.connect()?;
    let plan = steps(&mut client, target, "downgrade")?;
    tell_of_parts(&mut client)?;
    print(&plan, context)
}

fn print(plan: &[Row], context: &Context) -> Result<()> {
    output::rows(context.format(), plan, &["step", "revision", "phase", "message", "needs"], "nothing to do")
}

/// The steps to a target.
pub fn steps(client: &mut Client, target: &str, direction: &str) -> Result<Vec<Row>> {
    rows(client, "SELECT * FROM runbook.plan($1, $2)", &[&target, &direction])
}

/// How many of the steps an upgrade takes, if it stops at the border of a phase.
pub fn stop(steps: &[Row], target: Option<&str>, through: Option<&str>) -> Option<usize> {
    match (target, through) {
        (_, Some(last)) => {
            let last = Phase::parse(last)?;
            steps.iter().position(|step| Phase::parse(&text(step.get("phase"))).is_some_and(|phase| phase > last))
        }
        (None, None) => steps.iter().position(|step| step.get("border") == Some(&Value::Bool(true))),
        (Some(_), None) => None,
    }
}

/// Says before which step an upgrade has stopped.
pub fn stops_before(step: &Row) -> Line {
    let (id, phase) = (text(step.get("revision")), text(step.get("phase")));
    Line::new(format!(
        "the upgrade stops before revision \"{id}\", where phase {phase} begins; to go on after the release: runbook upgrade --through {phase}"
    ))
}
