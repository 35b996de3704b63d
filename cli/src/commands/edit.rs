//! `runbook edit`: opens a revision file.

use crate::args::One;
use crate::context::Context;
use crate::error::{Error, Kind, Result};
use crate::files;
use runbook_core::target::Resolver;
use std::env;
use std::process::Command;

/// Opens the file of a revision in the editor, waits for its end, and reads the file again to find errors.
pub fn run(args: &One, context: &Context) -> Result<()> {
    let files = files::load(context)?;
    let node = Resolver::new(&files.graph, &[]).one(&args.revision)?;
    let node = node.ok_or_else(|| Error::new(Kind::Target, "base has no file", ""))?;
    let path = &files.revisions[node].1;
    let editor = env::var("VISUAL").or_else(|_| env::var("EDITOR")).unwrap_or_else(|_| "vi".to_owned());
    let mut words = editor.split_whitespace();
    let program = words.next().unwrap_or("vi");
    let status = Command::new(program).args(words).arg(path).status().map_err(|error| {
        Error::new(Kind::Failed, format!("{program}: {error}"), "Set $EDITOR to an editor that is installed.")
    })?;
    if !status.success() {
        return Err(Error::new(Kind::Failed, format!("{program} ended with {status}"), ""));
    }
    files::read(path).map(|_| ())
}
