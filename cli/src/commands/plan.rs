//! `runbook plan`: the steps to a target and what they need.

use crate::args::Plan;
use crate::context::{Context, rows, tell_of_parts};
use crate::error::Result;
use crate::output;

/// Prints the steps that the server would take to a target, and what each still needs.
pub fn run(args: &Plan, context: &Context) -> Result<()> {
    let direction = if args.downgrade { "downgrade" } else { "upgrade" };
    let mut client = context.connect()?;
    let plan = rows(&mut client, "SELECT * FROM runbook.plan($1, $2)", &[&args.target, &direction])?;
    tell_of_parts(&mut client)?;
    output::rows(context.format(), &plan, &["step", "revision", "phase", "needs", "message"], "nothing to do")
}
