//! `runbook man` and `runbook completions`: generated from the arguments themselves.

use crate::args::Args;
use crate::error::Result;
use crate::output;
use clap::CommandFactory;
use std::io::Write;

pub fn page() -> Result<()> {
    let command = Args::command();
    let mut out = Vec::new();
    clap_mangen::Man::new(command.clone()).render(&mut out)?;
    for verb in command.get_subcommands() {
        let name = format!("runbook-{}", verb.get_name());
        clap_mangen::Man::new(verb.clone().name(name)).render(&mut out)?;
    }
    Ok(output::stdout().write_all(&out)?)
}

pub fn completions(shell: clap_complete::Shell) -> Result<()> {
    clap_complete::generate(shell, &mut Args::command(), "runbook", &mut output::stdout());
    Ok(())
}
