//! `runbook submit`: revision files to the database, parents first, all or none.

use crate::args::Submit;
use crate::client::Queries;
use crate::context::Context;
use crate::error::{Error, Kind, Result};
use crate::{files, output};
use runbook_core::Revision;
use runbook_core::graph::NodeSet;
use serde_json::{Value, json};
use std::collections::{HashMap, HashSet};
use std::path::PathBuf;

/// Submits the named files, those of named directories, or all of the project, in one transaction. What is there already, unchanged, is left out.
/// A withdrawn revision comes back only where its file, or the directory of it, is named: whoever submits all that there is has not asked for it.
pub fn run(args: &Submit, context: &Context) -> Result<()> {
    let files = if args.files.is_empty() { files::load(context)? } else { files::named(&args.files)? };
    let mut wanted = NodeSet::new(files.graph.len());
    for node in 0..files.graph.len() {
        wanted.insert(node);
    }
    let ordered: Vec<&(Revision, PathBuf)> =
        files.graph.topological(&wanted).into_iter().map(|node| &files.revisions[node]).collect();
    send(context, &ordered, !args.files.is_empty())
}

fn send(context: &Context, files: &[&(Revision, PathBuf)], named: bool) -> Result<()> {
    let revisions: Vec<&Revision> = files.iter().map(|(revision, _)| revision).collect();
    let mut client = context.connect()?;
    let ids: Vec<&str> = revisions.iter().map(|one| one.revision.as_str()).collect();
    let mut transaction = client.transaction()?;
    let sql = "SELECT r.revision, r.digest, r.status = 'withdrawn' FROM runbook.revisions AS r WHERE r.revision = ANY ($1)";
    let (mut known, mut withdrawn) = (HashMap::new(), HashSet::new());
    for row in transaction.query(sql, &[&ids])? {
        let id: String = row.try_get(0)?;
        if row.try_get(2)? {
            withdrawn.insert(id);
        } else {
            known.insert(id, row.try_get::<_, String>(1)?);
        }
    }
    let left: Vec<&&(Revision, PathBuf)> =
        files.iter().filter(|(revision, _)| !named && withdrawn.contains(revision.revision.as_str())).collect();
    for (revision, path) in left.iter().filter(|_| !context.is_quiet()) {
        let (id, path) = (&revision.revision, path.display());
        output::notice(
            "notice",
            &format!("revision \"{id}\" was withdrawn; to submit it again, name its file: runbook submit {path}"),
        );
    }
    let files: Vec<&&(Revision, PathBuf)> =
        files.iter().filter(|(revision, _)| named || !withdrawn.contains(revision.revision.as_str())).collect();
    // Who may not submit hears of it, also where there is nothing new.
    let may: bool =
        transaction.query_one("SELECT pg_catalog.pg_has_role(session_user, 'runbook_author', 'MEMBER')", &[])?.try_get(0)?;
    let is_new =
        |one: &&&Revision| !may || known.get(one.revision.as_str()).is_none_or(|digest| *digest != one.digest().as_str());
    let mut sent = Vec::new();
    for (revision, path) in files.iter().filter(|(revision, _)| is_new(&&revision)) {
        let json = serde_json::to_string(revision).map_err(|error| Error::new(Kind::Failed, error.to_string(), ""))?;
        let row = transaction
            .query_one("SELECT runbook.submit($1::text::jsonb)", &[&json])
            .map_err(|error| Error::from_server(&error, true).in_file(path))?;
        sent.push(Value::from(row.try_get::<_, String>(0)?));
    }
    transaction.commit()?;
    let line = match files.is_empty() && !left.is_empty() {
        true => "nothing to submit: what there is was withdrawn".to_owned(),
        false => said(sent.len(), files.len() - sent.len(), &output::text(sent.first())),
    };
    output::message(context.format(), "submitted", json!(sent), &line)
}

/// What has been done: so many sent, of which `first` is the first, and so many left out.
fn said(sent: usize, unchanged: usize, first: &str) -> String {
    let there = match unchanged {
        0 => String::new(),
        count => format!(", {count} unchanged"),
    };
    match sent {
        0 if unchanged == 0 => {
            "nothing to submit: there are no revision files; \"runbook revision -m MESSAGE\" writes one".to_owned()
        }
        0 if unchanged == 1 => "nothing to submit: the revision is there already, unchanged".to_owned(),
        0 => format!("nothing to submit: all {unchanged} revisions are there already, unchanged"),
        1 => format!("submitted {first}{there}"),
        count => format!("submitted {count} revisions{there}"),
    }
}
