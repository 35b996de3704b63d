//! `runbook audit verify`.

use crate::args::{Format, Verify};
use crate::audit::finding::failed;
use crate::audit::{blocks, files, notes, server};
use crate::client::Client;
use crate::context::Context;
use crate::error::{Error, Kind, Result};
use crate::output;
use runbook_core::audit::{Auditor, Finding, Opening, abandoned_by};
use runbook_core::checkpoint::{Checkpoint, Origin};
use runbook_core::merkle::{self, Frontier};
use serde_json::json;

/// Verifies a server's ledger, or exports of it, against the checkpoints that are given.
pub fn run(args: &Verify, context: &Context) -> Result<()> {
    let keys = notes::keys(&args.keys.keys)?;
    let mut checkpoints = Vec::new();
    for file in &args.checkpoints {
        checkpoints.push(notes::checkpoint(file, &keys)?.1);
    }
    let since = args.since.as_deref().map(|file| notes::checkpoint(file, &keys)).transpose()?.map(|(_, checkpoint)| checkpoint);
    if !args.exports.is_empty() {
        let auditor = Auditor::new(Frontier::default(), &checkpoints).map_err(|finding| failed(&finding))?;
        let sizes: Vec<u64> = checkpoints.iter().map(|checkpoint| checkpoint.size).collect();
        let covered = sizes.iter().copied().max().unwrap_or(0);
        let (auditor, _) = blocks::audit(auditor, &sizes, |sink| files::read(&args.exports, covered, sink))?;
        let head = server::Head { origin: None, size: 0, root: None, unsealed: 0, oldest_unsealed: None };
        let found = Found { checkpoints: checkpoints.len(), covered: Some(covered), archived: None };
        return report(context, auditor, &head, &found);
    }
    let mut client = server::connect(context)?;
    server::begin(&mut client)?;
    let head = server::head(&mut client)?;
    server::same_ledger(&head, checkpoints.iter().chain(&since).map(|checkpoint| checkpoint.origin.as_str()))?;
    let openings = server::openings(&mut client)?;
    let met = in_force(&checkpoints, &openings, &args.accept_epoch)?;
    if met.is_empty() && since.is_none() && !checkpoints.is_empty() {
        let hint = "A new epoch discarded the entries that they cover; sign a new checkpoint: runbook audit checkpoint --key \
                    FILE --out NOTE";
        return Err(Error::new(
            Kind::Check,
            "none of the checkpoints applies any more, so they prove nothing about the ledger",
            hint,
        ));
    }
    let question = Question { since: since.as_ref(), checkpoints: &met, archived: args.accept_archived };
    let auditor = audit(&mut client, &head, &question)?;
    let found = Found {
        checkpoints: met.len() + usize::from(since.is_some()),
        covered: None,
        archived: args.accept_archived.filter(|_| since.is_none()),
    };
    report(context, auditor, &head, &found)
}

/// What is asked about a ledger.
pub struct Question<'a> {
    /// A checkpoint that is believed: what is behind it is read.
    pub since: Option<&'a Checkpoint>,
    /// Checkpoints that must be met.
    pub checkpoints: &'a [Checkpoint],
    /// The first position that is still in the database, where the auditor knows that.
    pub archived: Option<u64>,
}

/// Reads a server's ledger, from `since` on, and compares it with checkpoints and with the tree that the server keeps.
pub fn audit(client: &mut Client, head: &server::Head, question: &Question) -> Result<Auditor> {
    let Question { since, checkpoints, archived } = *question;
    let first = server::first_position(client)?;
    let wanted = since.map_or(0, |checkpoint| checkpoint.size);
    if first > wanted && archived != Some(first) {
        return Err(Error::new(
            Kind::Check,
            format!("positions {wanted} to {} are not in the database", first - 1),
            format!(
                "If they were archived, verify their export (runbook audit verify --export FILE), and add --accept-archived \
                 {first}. If not, they were removed."
            ),
        ));
    }
    let start = wanted.max(first);
    if start > head.size {
        return Err(failed(&Finding::Short { size: head.size, checkpoint: start }));
    }
    let frontier = server::frontier(client, start)?;
    if let Some(since) = since.filter(|since| since.size == start)
        && frontier.root() != since.root
    {
        let good = 0;
        return Err(located(client, Finding::Root { good, checkpoint: since.size })?);
    }
    // Checkpoints of smaller trees than the one to begin at are compared by the tree that goes on from them.
    for earlier in checkpoints.iter().chain(since).filter(|checkpoint| checkpoint.size < start) {
        let proof = server::consistency_proof(client, earlier.size, start)?;
        if merkle::check_consistency((earlier.size, &earlier.root), (start, &frontier.root()), &proof).is_err() {
            return Err(failed(&Finding::Root { good: 0, checkpoint: earlier.size }));
        }
    }
    let auditor = read(client, head, question, (start, frontier))?;
    match auditor.first() {
        Some(finding) => Err(located(client, finding.clone())?),
        None => Ok(auditor),
    }
}

/// Reads the entries from `start` on, behind the tree that `frontier` is of, and notes what does not fit.
fn read(client: &mut Client, head: &server::Head, question: &Question, (start, frontier): (u64, Frontier)) -> Result<Auditor> {
    let Question { since, checkpoints, .. } = *question;
    let sizes: Vec<u64> = checkpoints.iter().map(|checkpoint| checkpoint.size).collect();
    // What a checkpoint says is believed before what the server says.
    let signed = checkpoints.iter().chain(since).next().map(|checkpoint| checkpoint.origin.as_str());
    let own = head.origin.as_deref().and_then(Origin::parse);
    let ledger = signed.and_then(Origin::parse).or_else(|| own.clone()).map(|origin| origin.ledger);
    let at_start = since.filter(|since| since.size == start).and_then(|since| Origin::parse(&since.origin));
    let epoch = if start == 0 { Some(1) } else { at_start.and_then(|origin| i32::try_from(origin.epoch).ok()) };
    let known = server::Known { ledger: ledger.as_deref(), epoch };
    let mut epoch = None;
    let auditor = Auditor::new(frontier, checkpoints).map_err(|finding| failed(&finding))?;
    let (mut auditor, tiles) = blocks::audit(auditor, &sizes, |sink| {
        epoch = server::entries(client, start, head.size, &known, sink)?;
        Ok(())
    })?;
    auditor.end();
    if let (Some(own), Some(epoch)) = (own, epoch)
        && i64::from(own.epoch) != i64::from(epoch)
    {
        let problem = format!("the server says that this is epoch {}, but the entries say {epoch}", own.epoch);
        auditor.note(Finding::Entry { position: head.size.saturating_sub(1), problem });
    }
    // A tile that does not fit its entries says less than an entry that does not fit itself.
    if auditor.first().is_none()
        && let Some(finding) = server::check_tiles(client, tiles, head.size)?
    {
        auditor.note(finding);
    }
    if auditor.first().is_none() && (auditor.size() != head.size || head.root.is_some_and(|root| auditor.root() != root)) {
        let problem = format!("the server says that it has {} entries with a different root", head.size);
        auditor.note(Finding::Entry { position: auditor.size().min(head.size), problem });
    }
    Ok(auditor)
}

/// The failure, with the position named where the server's own tree tells it.
fn located(client: &mut Client, finding: Finding) -> Result<Error> {
    if let Finding::Root { good, checkpoint } = finding
        && let Some(position) = server::first_difference(client, good, checkpoint)?
    {
        let problem = format!("this is not the entry that the checkpoint of {checkpoint} entries covers");
        return Ok(failed(&Finding::Entry { position, problem }));
    }
    Ok(failed(&finding))
}

/// The checkpoints that can still be met: those that an accepted epoch has given up can't.
pub fn in_force(checkpoints: &[Checkpoint], openings: &[Opening], accepted: &[Opening]) -> Result<Vec<Checkpoint>> {
    let mut met = Vec::new();
    for checkpoint in checkpoints {
        match abandoned_by(checkpoint, openings) {
            None => met.push(checkpoint.clone()),
            Some(opening) if accepted.contains(&opening) => output::notice(
                "notice",
                &format!(
                    "the checkpoint of {} entries was discarded by epoch {}, which continues from position {}",
                    checkpoint.size, opening.epoch, opening.size
                ),
            ),
            Some(opening) => {
                return Err(Error::new(
                    Kind::Check,
                    format!(
                        "epoch {} discarded positions {} to {}, which a checkpoint covers",
                        opening.epoch,
                        opening.size,
                        checkpoint.size - 1
                    ),
                    format!("To see why: runbook log --kind epoch.opened. If it was on purpose, add --accept-epoch {opening}"),
                ));
            }
        }
    }
    Ok(met)
}

/// What was found good.
struct Found {
    /// How many checkpoints were met.
    checkpoints: usize,
    /// Of an export, how many entries the last of them covers: nothing says what those behind are.
    covered: Option<u64>,
    /// The first position that was read.
    archived: Option<u64>,
}

fn report(context: &Context, auditor: Auditor, head: &server::Head, found: &Found) -> Result<()> {
    let Found { checkpoints, covered, archived } = *found;
    let (size, root) = (auditor.size(), runbook_core::checkpoint::format_hash(&auditor.root()));
    if let Some(finding) = auditor.finish() {
        return Err(failed(&finding));
    }
    let first = archived.unwrap_or(0);
    if context.format() == Format::Json {
        return output::value(&json!({
            "ok": true, "first": first, "size": size, "root": root, "checkpoints": checkpoints,
            "unsealed": head.unsealed, "oldest_unsealed": head.oldest_unsealed, "covered": covered,
        }));
    }
    let met = match checkpoints {
        0 => "no checkpoint was given, so it is not known whether the ledger was replaced".to_owned(),
        1 => "1 checkpoint met".to_owned(),
        more => format!("{more} checkpoints met"),
    };
    let text = match first {
        0 if covered.is_some() => format!("the export is whole: {size} entries, root {root}; {met}"),
        0 => format!("the ledger is whole: {size} entries, root {root}; {met}"),
        first => format!(
            "the ledger is whole from position {first} on: {size} entries, root {root}; {met}; the entries before it were not \
             read"
        ),
    };
    let waiting = head.oldest_unsealed.as_ref().filter(|_| head.unsealed > 0);
    let waiting = waiting.map(|oldest| format!("{} entries wait to be sealed, the oldest since {oldest}", head.unsealed));
    let open = covered
        .filter(|covered| (1..size).contains(covered))
        .map(|covered| format!("positions {covered} to {} come after the last checkpoint, so nothing proves them", size - 1));
    let lines: Vec<&str> = std::iter::once(text.as_str()).chain(waiting.as_deref()).chain(open.as_deref()).collect();
    output::messages(context.format(), "ok", true.into(), &lines)
}
