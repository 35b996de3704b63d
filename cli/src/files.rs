//! The directory of revision files.

use crate::context::Context;
use crate::error::{Error, Kind, Result};
use runbook_core::graph::{Graph, Vertex};
use runbook_core::{Revision, file, revision};
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Revision files with the graph that they make.
#[derive(Debug)]
pub struct Files {
    /// Revisions and their paths, in the graph's order of nodes.
    pub revisions: Vec<(Revision, PathBuf)>,
    /// Their graph.
    pub graph: Graph,
}

/// Reads every `*.sql` of the directory.
pub fn load(context: &Context) -> Result<Files> {
    let directory = context.revisions();
    let entries = fs::read_dir(&directory).map_err(|error| {
        let hint = "Run \"runbook init\", or name the directory in runbook.toml.";
        Error::new(Kind::Input, format!("{}: {error}", directory.display()), hint)
    })?;
    let mut paths: Vec<PathBuf> = entries.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "sql"));
    paths.sort();
    let revisions: Result<Vec<_>> = paths.into_iter().map(|path| Ok((read(&path)?, path))).collect();
    arrange(revisions?)
}

/// Reads one file.
pub fn read(path: &Path) -> Result<Revision> {
    let name = path.display().to_string();
    let size = fs::metadata(path).map_err(|error| unreadable(&name, &error))?.len();
    if size > revision::MAX_BYTES {
        return Err(runbook_core::Error::TooLarge { what: name, bytes: size, limit: revision::MAX_BYTES }.into());
    }
    let bytes = fs::read(path).map_err(|error| unreadable(&name, &error))?;
    Ok(file::parse(&name, &bytes)?)
}

fn unreadable(name: &str, error: &std::io::Error) -> Error {
    Error::new(Kind::Input, format!("{name}: {error}"), "Check the path and its permissions.")
}

/// Builds the graph of revisions that were read.
pub fn arrange(revisions: Vec<(Revision, PathBuf)>) -> Result<Files> {
    let mut seen: HashMap<&str, &Path> = HashMap::new();
    for (one, path) in &revisions {
        if let Some(first) = seen.insert(one.revision.as_str(), path) {
            let (first, second) = (first.display().to_string(), path.display().to_string());
            return Err(runbook_core::Error::Duplicate { id: one.revision.to_string(), first, second }.into());
        }
    }
    let graph = Graph::new(revisions.iter().map(|(one, _)| vertex(one)).collect())?;
    Ok(Files { revisions, graph })
}

fn vertex(revision: &Revision) -> Vertex {
    Vertex {
        id: revision.revision.as_str().to_owned(),
        parents: revision.parents.iter().map(|parent| parent.as_str().to_owned()).collect(),
        depends_on: revision.depends_on.clone(),
        labels: revision.branch_labels.clone(),
    }
}

/// Writes a revision file named after id and message; refuses to overwrite.
pub fn write(directory: &Path, revision: &Revision, body: &str) -> Result<PathBuf> {
    fs::create_dir_all(directory)?;
    let words: String =
        revision.message.chars().map(|c| if c.is_alphanumeric() { c.to_ascii_lowercase() } else { '_' }).collect();
    let words: Vec<&str> = words.split('_').filter(|word| !word.is_empty()).collect();
    let mut slug: String = words.join("_").chars().take(40).collect();
    if !slug.is_empty() {
        slug.insert(0, '_');
    }
    let path = directory.join(format!("{}{slug}.sql", revision.revision));
    let mut file = fs::File::create_new(&path).map_err(|error| {
        Error::new(Kind::Input, format!("{}: {error}", path.display()), "Existing files are never overwritten; move it away.")
    })?;
    std::io::Write::write_all(&mut file, body.as_bytes())?;
    Ok(path)
}

/// A fresh revision id: 12 hex digits, as Alembic makes them.
pub fn new_id() -> String {
    uuid::Uuid::new_v4().simple().to_string()[..12].to_owned()
}
