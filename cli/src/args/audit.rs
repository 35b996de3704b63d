//! Arguments of `audit`.

use clap::{Args as ClapArgs, Subcommand, ValueEnum};
use runbook_core::audit::Opening;
use std::path::PathBuf;

/// `audit`.
#[derive(Debug, Subcommand)]
pub enum Audit {
    /// Make a key that signs checkpoints; keep it away from the server
    Keygen(Keygen),
    /// Verify the new entries of the ledger, and sign a checkpoint
    Checkpoint(CheckpointArgs),
    /// Compute every hash of the ledger, and compare with checkpoints
    Verify(Verify),
    /// Write a file that proves that one entry is in the ledger
    Prove(Prove),
    /// Check a proof without a database, and show its entry
    CheckProof(CheckProof),
    /// Write the ledger to a file, exactly or as events for a SIEM
    Export(Export),
    /// Move the beginning of the ledger to an export; the tree stays verifiable
    Archive(Archive),
    /// Continue the ledger after its history was rolled back on purpose
    OpenEpoch(OpenEpoch),
}

/// `audit keygen`.
#[derive(Debug, ClapArgs)]
pub struct Keygen {
    /// Name of the key, such as auditor.example.com
    pub name: String,
    /// File for the private key; the public one goes to FILE.pub
    #[arg(long, short, value_name = "FILE")]
    pub out: PathBuf,
}

/// `audit checkpoint`.
#[derive(Debug, ClapArgs)]
pub struct CheckpointArgs {
    /// Private key; FILE.signed beside it keeps what the key has signed
    #[arg(long, short, value_name = "FILE")]
    pub key: PathBuf,
    /// File for the checkpoint
    #[arg(long, short, value_name = "FILE")]
    pub out: PathBuf,
    /// Accept that history was rolled back to this position when this epoch was opened
    #[arg(long, value_name = "EPOCH:POSITION")]
    pub accept_epoch: Option<Opening>,
    /// Accept a ledger that this key has not signed before
    #[arg(long)]
    pub new_ledger: bool,
    /// Accept that the entries before this position were archived
    #[arg(long, value_name = "POSITION")]
    pub accept_archived: Option<u64>,
}

/// Keys that are trusted.
#[derive(Debug, ClapArgs)]
pub struct Keys {
    /// Trusted public key; may be repeated
    #[arg(long = "key", short, value_name = "FILE")]
    pub keys: Vec<PathBuf>,
}

/// `audit verify`.
#[derive(Debug, ClapArgs)]
pub struct Verify {
    /// Checkpoint that the ledger must fit; may be repeated
    #[arg(long = "checkpoint", value_name = "FILE")]
    pub checkpoints: Vec<PathBuf>,
    /// Keys that signatures are checked with.
    #[command(flatten)]
    pub keys: Keys,
    /// Begin at this checkpoint instead of at the first entry
    #[arg(long, value_name = "FILE")]
    pub since: Option<PathBuf>,
    /// Read exports, in order, instead of the database
    #[arg(long = "export", value_name = "FILE", conflicts_with_all = ["since", "accept_epoch", "accept_archived"])]
    pub exports: Vec<PathBuf>,
    /// Accept that history was rolled back to this position when this epoch was opened; may be repeated
    #[arg(long, value_name = "EPOCH:POSITION")]
    pub accept_epoch: Vec<Opening>,
    /// Accept that the entries before this position were archived, and are not read
    #[arg(long, value_name = "POSITION")]
    pub accept_archived: Option<u64>,
}

/// `audit prove`.
#[derive(Debug, ClapArgs)]
pub struct Prove {
    /// Position or id of the entry
    pub entry: String,
    /// Checkpoint that covers it
    #[arg(long, value_name = "FILE")]
    pub checkpoint: PathBuf,
    /// Keys that signatures are checked with.
    #[command(flatten)]
    pub keys: Keys,
    /// File for the proof
    #[arg(long, short, value_name = "FILE")]
    pub out: PathBuf,
}

/// `audit check-proof`.
#[derive(Debug, ClapArgs)]
pub struct CheckProof {
    /// File with the proof
    pub proof: PathBuf,
    /// Keys that signatures are checked with.
    #[command(flatten)]
    pub keys: Keys,
}

/// Shape of an export.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Shape {
    /// JSON Lines: exactly the bytes that are hashed
    Jsonl,
    /// ArcSight Common Event Format
    Cef,
    /// Open Cybersecurity Schema Framework, JSON Lines
    Ocsf,
}

/// `audit export`.
#[derive(Debug, ClapArgs)]
pub struct Export {
    /// File to write; "-" is standard output
    #[arg(long, short, value_name = "FILE")]
    pub out: PathBuf,
    /// First position
    #[arg(long, default_value_t = 0)]
    pub from: u64,
    /// Position to stop before; by default the end of the sealed entries
    #[arg(long)]
    pub to: Option<u64>,
    /// Continue where the file ends
    #[arg(long)]
    pub resume: bool,
    /// Format of the export
    #[arg(long = "as", value_enum, default_value_t = Shape::Jsonl)]
    pub shape: Shape,
}

/// `audit archive`.
#[derive(Debug, ClapArgs)]
pub struct Archive {
    /// Archive the entries before this position, rounded down to a multiple of 256
    #[arg(long)]
    pub before: u64,
    /// File for the archived entries
    #[arg(long, short, value_name = "FILE")]
    pub out: PathBuf,
    /// Checkpoint that covers them
    #[arg(long, value_name = "FILE")]
    pub checkpoint: PathBuf,
    /// Keys that signatures are checked with.
    #[command(flatten)]
    pub keys: Keys,
    /// Reason, kept in the ledger
    #[arg(long, short = 'm', alias = "message")]
    pub reason: String,
}

/// `audit open-epoch`.
#[derive(Debug, ClapArgs)]
pub struct OpenEpoch {
    /// Reason why history was rolled back, kept in the ledger
    #[arg(long, short = 'm', alias = "message")]
    pub reason: String,
    /// Number of entries that are left of the old history; by default all that are sealed now
    #[arg(long, value_name = "POSITION")]
    pub position: Option<i64>,
}
