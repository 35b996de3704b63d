//! `runbook heads`: revisions that no other revision follows.

use crate::args::Verbose;
use crate::context::{Context, rows};
use crate::error::Result;
use crate::{files, output};
use runbook_core::graph::Node;

/// Prints the heads, from the server or from the files.
pub fn run(args: &Verbose, context: &Context) -> Result<()> {
    let heads = if context.is_local() {
        let files = files::load(context)?;
        files.graph.heads().iter().map(|&node| local(&files, node)).collect()
    } else {
        rows(&mut context.connect()?, "SELECT * FROM runbook.heads()", &[])?
    };
    let columns: &[&str] = match (args.verbose, context.is_local()) {
        (false, _) => &["revision", "branch_labels", "message"],
        (true, true) => &["revision", "parents", "branch_labels", "message", "file"],
        (true, false) => &["revision", "parents", "branch_labels", "phase", "status", "message"],
    };
    output::rows(context.format(), &heads, columns, "there are no revisions")
}

/// A row about a revision file, with the names of the server's columns.
pub fn local(files: &files::Files, node: Node) -> crate::output::Row {
    let (revision, path) = &files.revisions[node];
    let row = serde_json::json!({
        "revision": revision.revision,
        "parents": revision.parents,
        "children": files.graph.ids(files.graph.children(node)),
        "branch_labels": revision.branch_labels,
        "message": revision.message,
        "file": path.display().to_string(),
        "is_head": files.graph.children(node).is_empty(),
        "is_branch_point": files.graph.children(node).len() > 1,
        "is_merge_point": revision.parents.len() > 1,
    });
    row.as_object().cloned().unwrap_or_default()
}
