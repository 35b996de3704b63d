//! `runbook branches`: revisions that more than one other revision follows.

use crate::args::Verbose;
use crate::commands::heads::local;
use crate::context::{Context, rows};
use crate::error::Result;
use crate::{files, output};

/// Prints the branch points, from the server or from the files.
pub fn run(args: &Verbose, context: &Context) -> Result<()> {
    let branches = if context.is_local() {
        let files = files::load(context)?;
        files.graph.nodes().filter(|&node| files.graph.children(node).len() > 1).map(|node| local(&files, node)).collect()
    } else {
        rows(&mut context.connect()?, "SELECT * FROM runbook.branches()", &[])?
    };
    let columns: &[&str] = if args.verbose { &["revision", "children", "message"] } else { &["revision", "children"] };
    output::rows(context.format(), &branches, columns, "there are no branches")
}
