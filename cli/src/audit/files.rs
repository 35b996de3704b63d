//! Exports: one payload a line, exactly the bytes that are hashed.

use crate::audit::blocks::Sink;
use crate::error::Result;
use crate::key::cannot_read;
use runbook_core::audit::Finding;
use runbook_core::ledger::id_of;
use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use uuid::Uuid;

/// Reads exports, one after the other. A checkpoint says what the entries before `covered` are; of those behind it is known only whether
/// they are entries, and none of them there twice.
pub fn read(files: &[PathBuf], covered: u64, sink: &mut Sink) -> Result<()> {
    let mut behind = HashMap::new();
    each_line(files, |line| {
        let position = sink.next();
        // A last line without its end was cut off: it is hashed as it is, and differs.
        let payload = line.strip_suffix(b"\n").unwrap_or(line);
        if position >= covered {
            match id(payload) {
                None => sink.note(entry(position, "this is not an entry: the line was cut off or changed")),
                Some(id) if behind.contains_key(&id) => sink.note(entry(position, TWICE)),
                Some(id) => drop(behind.insert(id, position)),
            }
        }
        sink.push(payload, None);
        true
    })?;
    // Those before may be a whole ledger. Where nothing is behind them, they need not be compared with it; a pipe can't be read again.
    let can_be_read_again = files.iter().all(|file| file.is_file());
    let mut position = 0;
    if !behind.is_empty() && can_be_read_again {
        each_line(files, |line| {
            if let Some(again) = id(line).and_then(|id| behind.get(&id)).filter(|_| position < covered) {
                sink.note(entry(*again, TWICE));
            }
            position += 1;
            position < covered
        })?;
    }
    Ok(())
}

const TWICE: &str = "the entry appears twice";

fn entry(position: u64, problem: &str) -> Finding {
    Finding::Entry { position, problem: problem.to_owned() }
}

fn id(payload: &[u8]) -> Option<Uuid> {
    Uuid::parse_str(&id_of(payload)?).ok()
}

/// Gives each line to `see`, with its end, until that returns false.
fn each_line(files: &[PathBuf], mut see: impl FnMut(&[u8]) -> bool) -> Result<()> {
    for file in files {
        let opened = File::open(file).map_err(|error| cannot_read(file, &error))?;
        let mut reader = BufReader::with_capacity(1 << 20, opened);
        let mut line = Vec::new();
        loop {
            line.clear();
            if reader.read_until(b'\n', &mut line)? == 0 {
                break;
            }
            if !see(&line) {
                return Ok(());
            }
        }
    }
    Ok(())
}
