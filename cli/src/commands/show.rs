//! `runbook show`: one revision, as a file.

use crate::args::{Format, One};
use crate::context::Context;
use crate::error::{Error, Kind, Result};
use crate::{files, output};
use runbook_core::target::Resolver;
use runbook_core::{Revision, file};
use serde_json::Value;
use std::io::Write;

/// What the server adds to a revision's own keys.
const ADDED: [&str; 6] = ["digest", "status", "submitted_by", "upgrade_actions", "downgrade_actions", "children"];

pub fn run(args: &One, context: &Context) -> Result<()> {
    let mut out = std::io::stdout().lock();
    if context.is_local() {
        let files = files::load(context)?;
        let node = Resolver::new(&files.graph, &[]).one(&args.revision)?;
        let node = node.ok_or_else(|| Error::new(Kind::Target, "base is not a revision", ""))?;
        let (revision, path) = &files.revisions[node];
        writeln!(out, "-- file: {}\n-- digest: {}\n{}", path.display(), revision.digest(), file::write(revision))?;
        return Ok(());
    }
    let row = context.connect()?.query_one("SELECT runbook.show($1)::text", &[&args.revision])?;
    let text: String = row.get(0);
    let mut json: Value = serde_json::from_str(&text).map_err(|error| Error::new(Kind::Failed, error.to_string(), ""))?;
    if context.format() == Format::Json {
        writeln!(out, "{}", serde_json::to_string_pretty(&json).unwrap_or_default())?;
        return Ok(());
    }
    for key in ["status", "submitted_by", "digest"] {
        writeln!(out, "-- {key}: {}", output::text(json.get(key)))?;
    }
    for key in ["upgrade_actions", "downgrade_actions"] {
        for action in json[key].as_array().into_iter().flatten() {
            let direction = key.trim_end_matches("_actions");
            writeln!(
                out,
                "-- {direction} would {} ({})",
                output::text(action.get("action")),
                output::text(action.get("class"))
            )?;
        }
    }
    if let Some(object) = json.as_object_mut() {
        object.retain(|key, _| !ADDED.contains(&key.as_str()));
    }
    writeln!(out, "{}", file::write(&Revision::from_json(&json)?))?;
    Ok(())
}
