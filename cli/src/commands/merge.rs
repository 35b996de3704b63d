//! `runbook merge`: a revision that joins several heads.

use crate::args::Merge;
use crate::commands::revision;
use crate::context::Context;
use crate::error::{Error, Kind, Result};
use crate::files;
use crate::output::{self, Line};
use runbook_core::target::Resolver;

/// Writes a revision that follows all that are named; refuses fewer than two.
pub fn run(args: &Merge, context: &Context) -> Result<()> {
    let files = files::load(context)?;
    let resolver = Resolver::new(&files.graph, &[]);
    let mut parents = Vec::new();
    for target in &args.revisions {
        // Alembic's merge joins all heads, those that others only depend on included.
        let nodes = if target == "heads" { files.graph.heads().to_vec() } else { resolver.many(target)? };
        parents.extend(nodes);
    }
    parents.sort_unstable();
    parents.dedup();
    if parents.len() < 2 {
        return Err(Error::new(
            Kind::Target,
            "there is nothing to merge",
            "Name at least two heads; \"runbook heads --local\" lists them.",
        ));
    }
    let parents = files.graph.ids(&parents);
    let message = args.message.clone().unwrap_or_else(|| format!("merge {}", parents.join(" and ")));
    let path = revision::create(
        context,
        args.rev_id.clone(),
        parents,
        Some(message),
        args.branch_label.clone(),
        vec![],
        None,
        "",
        "",
    )?;
    output::line(&Line::new(format!("wrote {}", path.display())))
}
