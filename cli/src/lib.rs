//! `runbook`: submits revisions to a server that has pg_runbook, and reads its ledger.
//!
//! Arguments are parsed first (`args`), resolved second (`context`), and handed to one command (`commands/<verb>.rs`).
//! stdout is the result, stderr the diagnostics; the kind of an error decides the exit code (`error`).
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a panic is how a test fails"))]

pub mod args;
mod audit;
mod client;
mod commands;
mod config;
mod connect;
mod context;
mod error;
mod files;
mod follow;
mod interrupt;
mod key;
mod line;
mod output;
mod place;
mod trust;

use args::{Args, Format};
use clap::FromArgMatches;
use std::process::ExitCode;

/// Parses the arguments, runs the command, prints what went wrong.
pub fn run() -> ExitCode {
    let mut matches = args::manual::command().get_matches();
    let args =
        Args::from_arg_matches_mut(&mut matches).unwrap_or_else(|error| error.format(&mut args::manual::command()).exit());
    let level = if args.global.debug { tracing::Level::DEBUG } else { tracing::Level::WARN };
    tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(output::stderr)
        .with_ansi(false)
        .without_time()
        .with_target(false)
        .init();
    let format = args.global.format;
    let (wants_configuration, changes) = (args.command.wants_configuration(), args.command.changes());
    let result = context::Context::new(args.global, wants_configuration, changes)
        .and_then(|context| commands::run(args.command, &context));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if !error.is_broken_pipe() {
                match format {
                    Format::Json => output::diagnostic_value(&error.json()),
                    Format::Table => error.lines().iter().for_each(output::diagnostic),
                }
            }
            ExitCode::from(error.exit_code())
        }
    }
}
