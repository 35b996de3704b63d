//! `runbook revision`: a new revision file.

use crate::args::Revision as Args;
use crate::context::Context;
use crate::error::{Error, Kind, Result};
use crate::files;
use crate::output::{self, Line};
use runbook_core::target::Resolver;
use runbook_core::{Phase, Revision, RevisionId, file};
use std::path::PathBuf;

const UPGRADE: &str = "-- Write SQL here; it runs as the migration role, in one transaction.\n";
const DOWNGRADE: &str = "-- Write the way back here. Leave the section empty if nothing needs undoing;\n\
                         -- remove it, and say why with \"-- irreversible_reason: …\" above, if there is no way back.\n";

/// Writes a file for a new revision upon the head that is named; refuses one that is no head without `--splice`.
pub fn run(args: &Args, context: &Context) -> Result<()> {
    let files = files::load(context)?;
    if let Some(id) = args.rev_id.as_deref()
        && let Some((_, path)) = files.graph.find(id).map(|node| &files.revisions[node])
    {
        let message = format!("revision \"{id}\" exists already, in {}", path.display());
        return Err(Error::new(Kind::Input, message, "Choose another id, or leave --rev-id out: a new one is made then."));
    }
    let resolver = Resolver::new(&files.graph, &[]);
    let parents = if files.graph.is_empty() && args.head == "head" { vec![] } else { resolver.many(&args.head)? };
    if let Some(&parent) = parents.iter().find(|&&parent| !args.splice && !files.graph.children(parent).is_empty()) {
        let message = format!("revision \"{}\" is not a head", files.graph.id(parent));
        return Err(Error::new(Kind::Target, message, "Add --splice to start a branch from it."));
    }
    let phase = match args.phase.as_deref() {
        None => None,
        Some(text) => Some(Phase::parse(text).ok_or_else(|| {
            Error::new(Kind::Input, format!("unknown phase \"{text}\""), "The phases are expand, migrate and contract.")
        })?),
    };
    let path = create(
        context,
        args.rev_id.clone(),
        files.graph.ids(&parents),
        args.message.clone(),
        args.branch_label.clone(),
        args.depends_on.clone(),
        phase,
        UPGRADE,
        DOWNGRADE,
    )?;
    output::line(&Line::new(format!("wrote {}", path.display())))
}

/// Checks the headers and writes the file; returns its path. Without an id it makes a new one.
#[allow(clippy::too_many_arguments, reason = "each is a header of the file")]
pub fn create(
    context: &Context,
    id: Option<String>,
    parents: Vec<String>,
    message: Option<String>,
    label: Option<String>,
    depends_on: Vec<String>,
    phase: Option<Phase>,
    upgrade: &str,
    downgrade: &str,
) -> Result<PathBuf> {
    let parents: runbook_core::Result<Vec<RevisionId>> = parents.into_iter().map(RevisionId::new).collect();
    let revision = Revision {
        revision: RevisionId::new(id.unwrap_or_else(files::new_id))?,
        parents: parents?,
        depends_on,
        branch_labels: label.into_iter().collect(),
        message: message.unwrap_or_default(),
        phase,
        author: None,
        transaction: true,
        upgrade: upgrade.to_owned(),
        downgrade: Some(downgrade.to_owned()),
        irreversible_reason: None,
        verify: None,
        requires_release: None,
        unused_for: None,
        backfill: None,
    }
    .checked()?;
    files::write(&context.revisions(), &revision, &file::write(&revision))
}
