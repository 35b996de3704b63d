//! `runbook submit`: revision files to the database, parents first, all or none.

use crate::args::Submit;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::{files, output};
use runbook_core::graph::NodeSet;
use serde_json::{Value, json};

/// Submits the named files, or all of the directory, in one transaction.
pub fn run(args: &Submit, context: &Context) -> Result<()> {
    let all = files::load(context);
    let (files, chosen) = if args.files.is_empty() {
        let files = all?;
        let count = files.graph.len();
        (files, (0..count).collect::<Vec<_>>())
    } else {
        let named: Result<Vec<_>> = args.files.iter().map(|path| Ok((files::read(path)?, path.clone()))).collect();
        let named = named?;
        // The directory gives the order; files from elsewhere keep the order in which they are named.
        match all {
            Ok(files) if named.iter().all(|(one, _)| files.graph.find(one.revision.as_str()).is_some()) => {
                let chosen = named.iter().filter_map(|(one, _)| files.graph.find(one.revision.as_str())).collect();
                (files, chosen)
            }
            _ => return send(context, named.iter().map(|(one, _)| one)),
        }
    };
    let mut wanted = NodeSet::new(files.graph.len());
    for node in chosen {
        wanted.insert(node);
    }
    send(context, files.graph.topological(&wanted).into_iter().map(|node| &files.revisions[node].0))
}

fn send<'a>(context: &Context, revisions: impl Iterator<Item = &'a runbook_core::Revision>) -> Result<()> {
    let mut client = context.connect()?;
    let mut transaction = client.transaction()?;
    let submit =
        transaction.prepare("SELECT runbook.submit($1::text::jsonb)").map_err(|error| Error::from_server(&error, false))?;
    let mut ids = Vec::new();
    for revision in revisions {
        let json =
            serde_json::to_string(revision).map_err(|error| Error::new(crate::error::Kind::Failed, error.to_string(), ""))?;
        let row = transaction.query_one(&submit, &[&json]).map_err(|error| Error::from_server(&error, true))?;
        ids.push(Value::from(row.try_get::<_, String>(0)?));
    }
    transaction.commit()?;
    let line = match ids.len() {
        1 => format!("submitted {}", output::text(ids.first())),
        count => format!("submitted {count} revisions"),
    };
    output::message(context.format(), "submitted", json!(ids), &line)
}
