//! The command line. Where Alembic has the verb, arguments and flags mean the same.

mod approval;
mod audit;
pub mod import;
pub mod manual;
mod migrate;
mod words;

pub use approval::{Approve, BreakGlass, Decide, DecidePermit, Permit, Policy};
pub use audit::{Archive, Audit, CheckProof, CheckpointArgs, Export, Keygen, Prove, Shape, Verify};
pub use migrate::{Downgrade, Job, Migrate, Plan, Resume, Stamp};

use crate::args::import::Import;
use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

/// Database migrations that the database itself enforces.
#[derive(Debug, Parser)]
#[command(name = "runbook", version, propagate_version = true)]
pub struct Args {
    /// Options of all commands.
    #[command(flatten)]
    pub global: Global,
    /// The verb.
    #[command(subcommand)]
    pub command: Command,
}

/// Options of all commands.
#[derive(Clone, Debug, ClapArgs)]
pub struct Global {
    /// Connection URL or key=value string; PG* variables fill what it leaves out
    #[arg(long, global = true, env = "DATABASE_URL", hide_env_values = true, help_heading = "Connection")]
    pub url: Option<String>,
    /// Environment of runbook.toml to use
    #[arg(
        long,
        short = 'e',
        global = true,
        env = "RUNBOOK_ENV",
        hide_env_values = true,
        value_name = "NAME",
        help_heading = "Connection"
    )]
    pub env: Option<String>,
    /// Configuration file; the option stands before the verb, as in Alembic
    #[arg(long, short = 'c', env = "RUNBOOK_CONFIG", hide_env_values = true, value_name = "FILE", help_heading = "Connection")]
    pub config: Option<PathBuf>,
    /// Shape of the output
    #[arg(long, global = true, value_enum, default_value_t = Format::Table, help_heading = "Output")]
    pub format: Format,
    /// Print no notices, no progress, and not which database it is
    #[arg(long, short, global = true, help_heading = "Output")]
    pub quiet: bool,
    /// Read revision files instead of the database (heads, branches, history, show)
    #[arg(long, global = true, help_heading = "Connection")]
    pub local: bool,
    /// Print on stderr what the command asks the server, and how long it takes
    #[arg(long, global = true, help_heading = "Output")]
    pub debug: bool,
}

/// Shape of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people
    Table,
    /// For programs
    Json,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Write runbook.toml and the directory of revisions
    Init(Init),
    /// Write a new revision file
    Revision(Revision),
    /// Write a revision that joins several heads
    Merge(Merge),
    /// Open a revision file in $VISUAL or $EDITOR
    Edit(One),
    /// Submit revision files to the database, parents first
    Submit(Submit),
    /// Take back a revision that is not applied
    Withdraw(Withdraw),
    /// Show what waits for your approval, and the command that approves it
    Inbox,
    /// Approve a revision that another login submitted
    Approve(Approve),
    /// Reject a revision
    Reject(Decide),
    /// Take back your own decision on a revision
    Revoke(Decide),
    /// Request, approve and list permits: one statement, once
    #[command(subcommand)]
    Permit(Permit),
    /// Run SQL or an upgrade with policy set aside, in one session
    BreakGlass(BreakGlass),
    /// Show and set what the guard does about each class of actions
    #[command(subcommand)]
    Policy(Policy),
    /// Show the steps of an upgrade or downgrade, and what each still needs
    Plan(Plan),
    /// Apply revisions up to a target
    Upgrade(Migrate),
    /// Revert revisions down to a target
    Downgrade(Downgrade),
    /// List the jobs that apply or revert revisions
    Jobs,
    /// Follow a job until it ends
    Wait(Job),
    /// Cancel a job; what it has applied stays
    Cancel(Job),
    /// Stop a job before its next revision, statement or batch
    Pause(Job),
    /// Continue a job that is interrupted, paused, failed or cancelled
    Resume(Resume),
    /// Show where the database stands
    Current(Current),
    /// Show revisions that no other revision follows
    Heads(Verbose),
    /// Show revisions that several others follow
    Branches(Verbose),
    /// List revisions, newest first
    History(History),
    /// Show one revision
    Show(Show),
    /// Record where the database stands, without running anything
    Stamp(Stamp),
    /// Read the ledger
    Log(Log),
    /// Verify, sign, prove, export and archive the ledger
    #[command(subcommand)]
    Audit(Audit),
    /// Show the protections, where the database stands, and what is pending
    Status,
    /// Report what the guard has refused, or would have refused
    #[command(subcommand)]
    Guard(Guard),
    /// Convert another tool's migrations into revision files
    #[command(subcommand)]
    Import(Import),
    /// Print a completion script for a shell
    Completions {
        /// Shell that the script is for
        shell: clap_complete::Shell,
    },
    /// Print the manual pages, or write them to a directory
    Man(Man),
    /// Print what a completion script offers
    #[command(name = "__complete", hide = true)]
    Candidates {
        /// Kind of the candidates
        kind: Candidates,
    },
}

impl Command {
    /// Whether it changes something in a database.
    pub fn changes(&self) -> bool {
        match self {
            Self::Submit(_)
            | Self::Withdraw(_)
            | Self::Approve(_)
            | Self::Reject(_)
            | Self::Revoke(_)
            | Self::BreakGlass(_)
            | Self::Upgrade(_)
            | Self::Downgrade(_)
            | Self::Cancel(_)
            | Self::Pause(_)
            | Self::Resume(_)
            | Self::Stamp(_) => true,
            Self::Permit(permit) => !matches!(permit, Permit::List { .. }),
            Self::Policy(policy) => !matches!(policy, Policy::Show),
            Self::Audit(audit) => matches!(audit, Audit::Archive(_) | Audit::OpenEpoch(_)),
            _ => false,
        }
    }

    /// Whether runbook.toml is read before it runs.
    pub fn wants_configuration(&self) -> bool {
        !matches!(self, Self::Init(_) | Self::Completions { .. } | Self::Man(_) | Self::Candidates { .. })
    }
}

/// `man`.
#[derive(Debug, ClapArgs)]
pub struct Man {
    /// Write one file per command to this directory; files of the same names are replaced
    #[arg(long, value_name = "DIRECTORY", value_hint = clap::ValueHint::DirPath)]
    pub out: Option<PathBuf>,
}

/// What a completion script asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Candidates {
    /// Ids of the revision files
    Revisions,
    /// Environments of runbook.toml
    Environments,
}

/// `init`.
#[derive(Debug, ClapArgs)]
pub struct Init {
    /// Directory of revision files
    #[arg(default_value = "revisions")]
    pub directory: PathBuf,
}

/// `revision`.
#[derive(Debug, ClapArgs)]
pub struct Revision {
    /// One line that says what the revision does
    #[arg(long, short)]
    pub message: Option<String>,
    /// Revision or branch to build upon
    #[arg(long, value_name = "REVISION", default_value = "head")]
    pub head: String,
    /// Allow a revision that is not a head
    #[arg(long)]
    pub splice: bool,
    /// Name for the branch that starts here
    #[arg(long)]
    pub branch_label: Option<String>,
    /// Revisions that must be applied first
    #[arg(long, value_name = "REVISION")]
    pub depends_on: Vec<String>,
    /// Id instead of a generated one
    #[arg(long)]
    pub rev_id: Option<String>,
    /// Phase of a rollout that the revision belongs to
    #[arg(long, value_parser = words::phases())]
    pub phase: Option<String>,
}

/// `merge`.
#[derive(Debug, ClapArgs)]
pub struct Merge {
    /// Revisions to join, or "heads"
    #[arg(required = true)]
    pub revisions: Vec<String>,
    /// One line that says why
    #[arg(long, short)]
    pub message: Option<String>,
    /// Name for the branch that starts here
    #[arg(long)]
    pub branch_label: Option<String>,
    /// Id instead of a generated one
    #[arg(long)]
    pub rev_id: Option<String>,
}

/// A verb about one revision.
#[derive(Debug, ClapArgs)]
pub struct One {
    /// Target: id, prefix, head, label…
    pub revision: String,
}

/// `show`.
#[derive(Debug, ClapArgs)]
pub struct Show {
    /// Target: id, prefix, head, label…
    pub revision: String,
    /// Print the revision file itself; refused if the file would be read differently
    #[arg(long)]
    pub as_file: bool,
}

/// `submit`.
#[derive(Debug, ClapArgs)]
pub struct Submit {
    /// Revision files, or directories of them; without any, all files of the project
    pub files: Vec<PathBuf>,
}

/// `withdraw`.
#[derive(Debug, ClapArgs)]
pub struct Withdraw {
    /// Revision: its id, or the beginning of its id
    pub revision: String,
    /// Reason, kept in the ledger
    #[arg(long, short = 'm', alias = "message")]
    pub reason: String,
}

/// `current`.
#[derive(Debug, ClapArgs)]
pub struct Current {
    /// Exit with 9 unless every head is applied
    #[arg(long, short = 'c')]
    pub check_heads: bool,
    /// Print more columns
    #[arg(long, short)]
    pub verbose: bool,
}

/// `heads`, `branches`.
#[derive(Debug, ClapArgs)]
pub struct Verbose {
    /// Print more columns
    #[arg(long, short)]
    pub verbose: bool,
}

/// `history`.
#[derive(Debug, ClapArgs)]
pub struct History {
    /// Range, start:end; either side may be left out
    #[arg(long, short, value_name = "START:END", allow_hyphen_values = true, default_value = ":")]
    pub rev_range: String,
    /// Print more columns
    #[arg(long, short)]
    pub verbose: bool,
    /// Mark where the database stands
    #[arg(long, short)]
    pub indicate_current: bool,
}

/// `log`.
#[derive(Debug, ClapArgs)]
pub struct Log {
    /// Only entries of this revision (an exact id)
    #[arg(long, short)]
    pub revision: Option<String>,
    /// Only entries of this kind, or of kinds that start with this text
    #[arg(long, short)]
    pub kind: Option<String>,
    /// Only refused statements and calls
    #[arg(long, short)]
    pub blocked: bool,
    /// Only entries of this role, as login or as role in force
    #[arg(long)]
    pub role: Option<String>,
    /// Only entries about this object or its parts: schema.table, schema.table.column
    #[arg(long, short)]
    pub object: Option<String>,
    /// Only entries of statements under this permit
    #[arg(long)]
    pub permit: Option<String>,
    /// Only entries from this time on, in any format that PostgreSQL reads
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Only entries before this time
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
    /// Keep printing new entries
    #[arg(long, short)]
    pub follow: bool,
    /// Largest number of entries; the newest are printed
    #[arg(long, short = 'n', default_value_t = 50)]
    pub limit: i64,
    /// Show the payloads
    #[arg(long, short)]
    pub verbose: bool,
}

/// `guard`.
#[derive(Debug, Subcommand)]
pub enum Guard {
    /// Count refused statements by role, class and object
    Report(Report),
}

/// A report on a trial period.
#[derive(Debug, ClapArgs)]
pub struct Report {
    /// Length of the period until now, as a PostgreSQL interval
    #[arg(long, short, default_value = "30 days")]
    pub since: String,
    /// Largest number of lines in each table
    #[arg(long, short = 'n', default_value_t = 20)]
    pub limit: i64,
}

#[cfg(test)]
mod tests;
