//! `runbook init`: a configuration file and a directory.

use crate::args::Init;
use crate::config::{NAME, TEMPLATE};
use crate::error::{Error, Kind, Result};
use crate::output::{self, Line};
use std::fs;
use std::io::Write;

/// Writes the configuration and makes the directory of revisions; refuses to replace a configuration.
pub fn run(args: &Init) -> Result<()> {
    let mut file = fs::File::create_new(NAME).map_err(|error| {
        Error::new(
            Kind::Input,
            format!("{NAME}: {error}"),
            "This directory already has a runbook; edit it, or remove it first.",
        )
    })?;
    file.write_all(TEMPLATE.replace("DIRECTORY", &args.directory.display().to_string()).as_bytes())?;
    fs::create_dir_all(&args.directory)?;
    output::line(&Line::new(format!("wrote {NAME} and {}/", args.directory.display())))?;
    output::line(&Line::new("next: runbook revision -m \"what it does\""))
}
