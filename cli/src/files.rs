//! The directory of revision files.

use crate::context::Context;
use crate::error::{Error, Kind, Result};
use runbook_core::graph::{Graph, Vertex};
use runbook_core::{Revision, RevisionId, file, revision};
use rustix::fs::OFlags;
use std::collections::{HashMap, HashSet};
use std::fs;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
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
    let revisions: Result<Vec<_>> = list(&context.revisions())?.into_iter().map(|path| Ok((read(&path)?, path))).collect();
    arrange(revisions?)
}

/// The ids of the revisions in the directory, in the order of their files. A file that cannot be read is left out.
pub fn ids(context: &Context) -> Result<Vec<RevisionId>> {
    Ok(list(&context.revisions())?.iter().filter_map(|path| Some(read(path).ok()?.revision)).collect())
}

/// Reads the named files, and every `*.sql` of named directories. Parents that are not among them are on the server.
pub fn named(paths: &[PathBuf]) -> Result<Files> {
    let mut all = vec![];
    for path in paths {
        if !path.is_dir() {
            all.push(path.clone());
            continue;
        }
        let found = list(path)?;
        if found.is_empty() {
            let hint = "Name a directory with *.sql files, or the files themselves.";
            return Err(Error::new(Kind::Input, format!("there are no revision files in {}", path.display()), hint));
        }
        all.extend(found);
    }
    let revisions: Result<Vec<_>> = all.into_iter().map(|path| Ok((read(&path)?, path))).collect();
    let revisions = revisions?;
    refuse_duplicates(&revisions)?;
    let ids: HashSet<String> = revisions.iter().map(|(one, _)| one.revision.as_str().to_owned()).collect();
    let labels = revisions.iter().flat_map(|(one, _)| one.branch_labels.iter().cloned());
    let here: HashSet<String> = ids.iter().cloned().chain(labels).collect();
    let inside = |(one, _): &(Revision, PathBuf)| {
        let mut vertex = vertex(one);
        vertex.parents.retain(|parent| ids.contains(parent));
        vertex.depends_on.retain(|name| here.contains(name));
        vertex
    };
    let graph = Graph::new(revisions.iter().map(inside).collect())?;
    Ok(Files { revisions, graph })
}

/// The paths of every `*.sql` of a directory, sorted.
fn list(directory: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(directory).map_err(|error| {
        let hint = "Run \"runbook init\", or name the directory in runbook.toml.";
        Error::new(Kind::Input, format!("{}: {error}", directory.display()), hint)
    })?;
    let mut paths: Vec<PathBuf> = entries.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "sql"));
    paths.sort();
    Ok(paths)
}

/// Reads one file. A link may lead to it; a pipe, a device or a directory is refused, and never waited for.
pub fn read(path: &Path) -> Result<Revision> {
    let name = path.display().to_string();
    let bytes = contents(path, revision::MAX_BYTES)?;
    Ok(file::parse(&name, &bytes)?)
}

/// The bytes of a regular file, which may have as many as `limit`.
fn contents(path: &Path, limit: u64) -> Result<Vec<u8>> {
    let name = path.display().to_string();
    // Without NONBLOCK, opening a pipe waits for a writer; what was opened can't be exchanged before it is judged.
    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed();
    let opened = fs::File::options().read(true).custom_flags(flags).open(path).map_err(|error| unreadable(&name, &error))?;
    let metadata = opened.metadata().map_err(|error| unreadable(&name, &error))?;
    if !metadata.is_file() {
        let hint = format!("ls -lL {name}");
        return Err(Error::new(Kind::Input, format!("\"{name}\" is not a regular file"), hint));
    }
    // The size may grow, and files of /proc tell none.
    let mut bytes = Vec::new();
    let size = opened.take(limit + 1).read_to_end(&mut bytes).map_err(|error| unreadable(&name, &error))?;
    if size as u64 > limit {
        let bytes = metadata.len().max(size as u64);
        return Err(runbook_core::Error::TooLarge { what: name, bytes, limit }.into());
    }
    Ok(bytes)
}

fn unreadable(name: &str, error: &std::io::Error) -> Error {
    Error::new(Kind::Input, format!("{name}: {error}"), "Check the path and its permissions.")
}

/// Builds the graph of revisions that were read.
pub fn arrange(revisions: Vec<(Revision, PathBuf)>) -> Result<Files> {
    refuse_duplicates(&revisions)?;
    let graph = Graph::new(revisions.iter().map(|(one, _)| vertex(one)).collect())?;
    Ok(Files { revisions, graph })
}

fn refuse_duplicates(revisions: &[(Revision, PathBuf)]) -> Result<()> {
    let mut seen: HashMap<&str, &Path> = HashMap::new();
    for (one, path) in revisions {
        if let Some(first) = seen.insert(one.revision.as_str(), path) {
            let (first, second) = (first.display().to_string(), path.display().to_string());
            return Err(runbook_core::Error::Duplicate { id: one.revision.to_string(), first, second }.into());
        }
    }
    Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn what_is_no_regular_file_is_refused_and_not_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let place = |name: &str| directory.path().join(name);
        let made = std::process::Command::new("mkfifo").arg(place("pipe.sql")).status().unwrap();
        assert!(made.success());
        symlink("/dev/zero", place("zero.sql")).unwrap();
        symlink(place("pipe.sql"), place("link.sql")).unwrap();
        fs::create_dir(place("directory.sql")).unwrap();
        for name in ["pipe.sql", "zero.sql", "link.sql", "directory.sql"] {
            let error = read(&place(name)).unwrap_err();
            assert_eq!(error.exit_code(), 3, "{name}");
            assert!(error.message().contains(name) && error.message().contains("regular file"), "{}", error.message());
        }
        assert!(read(&place("missing.sql")).is_err());
    }

    #[test]
    fn a_link_to_a_file_is_read_and_no_more_than_the_limit() {
        let directory = tempfile::tempdir().unwrap();
        let (file, link) = (directory.path().join("a.sql"), directory.path().join("b.sql"));
        fs::write(&file, "12345").unwrap();
        symlink(&file, &link).unwrap();
        assert_eq!(contents(&link, 5).unwrap(), b"12345");
        assert!(contents(&link, 4).unwrap_err().message().contains("5 bytes"));
    }
}
