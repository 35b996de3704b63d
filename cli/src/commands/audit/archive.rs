//! `runbook audit archive`.

use crate::args::{Archive, Shape};
use crate::audit::finding::failed;
use crate::audit::{blocks, files, notes, server};
use crate::client::Queries;
use crate::commands::audit::{export, verify};
use crate::commands::policy::literal;
use crate::context::Context;
use crate::error::{Error, Kind, Result};
use crate::output;
use runbook_core::audit::Auditor;
use std::fs::OpenOptions;
use std::io::BufWriter;

/// Leaves in a tile: what is archived is whole tiles.
const TILE: u64 = 256;

/// Exports the oldest entries, reads the file again, and has the server remove them only if it holds what the checkpoint covers.
pub fn run(args: &Archive, context: &Context) -> Result<()> {
    let (_, checkpoint) = notes::checkpoint(&args.checkpoint, &notes::keys(&args.keys.keys)?)?;
    let mut client = server::connect(context)?;
    server::begin(&mut client)?;
    let head = server::head(&mut client)?;
    server::same_ledger(&head, std::iter::once(checkpoint.origin.as_str()))?;
    let first = server::first_position(&mut client)?;
    let before = args.before / TILE * TILE;
    if before <= first || before > checkpoint.size {
        return Err(Error::new(
            Kind::Input,
            format!("positions {first} to before {before} can't be archived"),
            format!(
                "Entries are archived in multiples of {TILE}, and only those that the checkpoint covers: it has {}.",
                checkpoint.size
            ),
        ));
    }
    // What leaves the server is what the checkpoint covers.
    let question = verify::Question { since: None, checkpoints: std::slice::from_ref(&checkpoint), archived: Some(first) };
    verify::audit(&mut client, &head, &question)?;
    let file = OpenOptions::new().write(true).create_new(true).open(&args.out);
    let file = file.map_err(|error| Error::new(Kind::Failed, format!("can't write {}: {error}", args.out.display()), ""))?;
    let mut out = BufWriter::with_capacity(1 << 20, file);
    export::write(&mut client, first, before, Shape::Jsonl, &mut out)?;
    out.into_inner().map_err(|error| Error::from(error.into_error()))?.sync_all()?;
    // Read again from the file: nothing is removed that is not there.
    let frontier = server::frontier(&mut client, first)?;
    let auditor = Auditor::new(frontier, &[]).map_err(|finding| failed(&finding))?;
    let (auditor, _) = blocks::audit(auditor, &[], |sink| files::read(std::slice::from_ref(&args.out), u64::MAX, sink))?;
    let kept = server::frontier(&mut client, before)?;
    if (auditor.size(), auditor.root()) != (before, kept.root()) {
        let hint = "Nothing was removed. Check the disk, and try again with another file.";
        return Err(Error::new(Kind::Check, format!("{} does not hold what was exported", args.out.display()), hint));
    }
    client.commit()?;
    // The text is what a permit covers: no parameters.
    let root: String = kept.root().iter().map(|byte| format!("{byte:02x}")).collect();
    let call = format!("SELECT runbook.archive_ledger({before}, '\\x{root}', {})", literal(&args.reason));
    let row = client.query_one(&call, &[])?;
    let removed: i64 = row.try_get(0)?;
    let text = format!(
        "archived: {removed} entries, positions {first} to before {before}, are in {} and no longer in the database",
        args.out.display()
    );
    output::message(context.format(), "archived", removed.into(), &text)
}
