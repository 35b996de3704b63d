//! Exports: one payload a line, exactly the bytes that are hashed.

use crate::audit::blocks::Sink;
use crate::error::Result;
use crate::key::cannot_read;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;

/// Reads exports, one after the other.
pub fn read(files: &[PathBuf], sink: &mut Sink) -> Result<()> {
    for file in files {
        let opened = File::open(file).map_err(|error| cannot_read(file, &error))?;
        let mut reader = BufReader::with_capacity(1 << 20, opened);
        let mut line = Vec::new();
        loop {
            line.clear();
            if reader.read_until(b'\n', &mut line)? == 0 {
                break;
            }
            // A last line without its end was cut off: it is hashed as it is, and differs.
            sink.push(line.strip_suffix(b"\n").unwrap_or(&line), None);
        }
    }
    Ok(())
}
