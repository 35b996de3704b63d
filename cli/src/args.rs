//! The command line. Where Alembic has the verb, arguments and flags mean the same.

mod approval;
mod audit;
pub mod import;

pub use approval::{Approve, BreakGlass, Decide, DecidePermit, Permit, Policy};
pub use audit::{Archive, Audit, CheckProof, CheckpointArgs, Export, Keygen, Prove, Shape, Verify};

use crate::args::import::Import;
use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

const AFTER: &str = "Exit codes: 0 done, 1 failed, 2 wrong usage, 3 malformed revision or file, 4 refused by policy or privilege, \
                     5 no such target or ambiguous, 6 no connection, 7 timed out waiting for a lock, 8 a revision's SQL failed, \
                     9 a check failed.";

/// Database migrations that the database itself enforces.
#[derive(Debug, Parser)]
#[command(name = "runbook", version, after_help = AFTER, propagate_version = true)]
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
    #[arg(long, global = true, env = "DATABASE_URL", hide_env_values = true)]
    pub url: Option<String>,
    /// Environment of runbook.toml to use
    #[arg(long, short = 'e', global = true, env = "RUNBOOK_ENV", value_name = "NAME")]
    pub env: Option<String>,
    /// Configuration file; stands before the verb, as in Alembic
    #[arg(long, short = 'c', env = "RUNBOOK_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Shape of the output
    #[arg(long, global = true, value_enum, default_value_t = Format::Table)]
    pub format: Format,
    /// Read revision files instead of the database (heads, branches, history, show)
    #[arg(long, global = true)]
    pub local: bool,
    /// Say on stderr what is being done
    #[arg(long, global = true)]
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
    /// Show what waits for you to approve, what it would destroy, and the command that approves it
    Inbox,
    /// Approve a revision that somebody else submitted
    Approve(Approve),
    /// Reject a revision
    Reject(Decide),
    /// Take your own decision on a revision back
    Revoke(Decide),
    /// Ask for, approve and list permits: one statement, once
    #[command(subcommand)]
    Permit(Permit),
    /// Set policy aside for one session: run SQL or an upgrade under it, then put it back
    BreakGlass(BreakGlass),
    /// Show and set what is done about each class of actions
    #[command(subcommand)]
    Policy(Policy),
    /// Show what upgrade or downgrade would do, and what each step still needs
    Plan(Plan),
    /// Apply revisions up to a target: a worker of the server does it, one transaction each
    Upgrade(Migrate),
    /// Revert revisions down to a target, in one transaction
    Downgrade(Downgrade),
    /// Show upgrades and downgrades that a worker applies, or has applied
    Jobs,
    /// Follow a job until it has ended
    Wait(Job),
    /// Cancel a job: the statement at hand is rolled back, what is applied stays
    Cancel(Job),
    /// Have a job stop before its next revision, statement or batch
    Pause(Job),
    /// Have a job go on that is interrupted, paused, failed or cancelled
    Resume(Resume),
    /// Show where the database stands
    Current(Current),
    /// Show revisions that nobody follows
    Heads(Verbose),
    /// Show revisions that more than one other follows
    Branches(Verbose),
    /// List revisions, newest first
    History(History),
    /// Show one revision
    Show(Show),
    /// Say where the database stands without running anything
    Stamp(Stamp),
    /// Read the ledger
    Log(Log),
    /// Verify, sign, prove, export and archive the ledger
    #[command(subcommand)]
    Audit(Audit),
    /// Show where the database stands, what is pending, and which protections are live
    Status,
    /// Sum up what the guard has refused, or would have
    #[command(subcommand)]
    Guard(Guard),
    /// Turn another tool's migrations into revision files
    #[command(subcommand)]
    Import(Import),
    /// Print a completion script
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page
    Man,
}

impl Command {
    /// Whether runbook.toml can change what it does.
    pub fn wants_configuration(&self) -> bool {
        !matches!(self, Self::Init(_) | Self::Completions { .. } | Self::Man)
    }
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
    /// One line that says what it does
    #[arg(long, short)]
    pub message: Option<String>,
    /// Revision or branch to build upon
    #[arg(long, default_value = "head")]
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
    /// Phase: expand, migrate or contract
    #[arg(long)]
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
    /// Print the revision file itself; refused where it would be read otherwise
    #[arg(long)]
    pub as_file: bool,
}

/// `submit`.
#[derive(Debug, ClapArgs)]
pub struct Submit {
    /// Revision files; all of the directory if none is named
    pub files: Vec<PathBuf>,
}

/// `plan`.
#[derive(Debug, ClapArgs)]
pub struct Plan {
    /// Target
    #[arg(default_value = "head", allow_hyphen_values = true)]
    pub target: String,
    /// Plan the way back
    #[arg(long)]
    pub downgrade: bool,
}

/// `upgrade`.
#[derive(Debug, ClapArgs)]
pub struct Migrate {
    /// Target: head, heads, +N, id, prefix, label@head…
    #[arg(default_value = "head", allow_hyphen_values = true)]
    pub target: String,
    /// Print the SQL of the revision files instead (start:end); the database is not asked
    #[arg(long)]
    pub sql: bool,
    /// All revisions in one transaction, in this session
    #[arg(long, conflicts_with = "detach")]
    pub atomic: bool,
    /// Don't wait for the worker
    #[arg(long, short)]
    pub detach: bool,
}

/// A verb about one job.
#[derive(Debug, ClapArgs)]
pub struct Job {
    /// Its number
    pub job: i64,
}

/// `resume`.
#[derive(Debug, ClapArgs)]
pub struct Resume {
    /// Its number; without one, every job that is interrupted
    pub job: Option<i64>,
    /// Don't wait for the worker
    #[arg(long, short)]
    pub detach: bool,
}

/// `downgrade`.
#[derive(Debug, ClapArgs)]
pub struct Downgrade {
    /// Target: -N, base, id, prefix…
    #[arg(allow_hyphen_values = true)]
    pub target: String,
    /// Print the SQL of the revision files instead (start:end); the database is not asked
    #[arg(long)]
    pub sql: bool,
}

/// `current`.
#[derive(Debug, ClapArgs)]
pub struct Current {
    /// Exit with 9 unless every head is applied
    #[arg(long, short = 'c')]
    pub check_heads: bool,
    /// Show more
    #[arg(long, short)]
    pub verbose: bool,
}

/// `heads`, `branches`.
#[derive(Debug, ClapArgs)]
pub struct Verbose {
    /// Show more
    #[arg(long, short)]
    pub verbose: bool,
}

/// `history`.
#[derive(Debug, ClapArgs)]
pub struct History {
    /// Range, start:end; either side may be left out
    #[arg(long, short, value_name = "START:END", allow_hyphen_values = true, default_value = ":")]
    pub rev_range: String,
    /// Show more
    #[arg(long, short)]
    pub verbose: bool,
    /// Mark where the database stands
    #[arg(long, short)]
    pub indicate_current: bool,
}

/// `stamp`.
#[derive(Debug, ClapArgs)]
pub struct Stamp {
    /// Targets
    #[arg(required = true, allow_hyphen_values = true)]
    pub targets: Vec<String>,
    /// Forget where the database stands first
    #[arg(long)]
    pub purge: bool,
}

/// `log`.
#[derive(Debug, ClapArgs)]
pub struct Log {
    /// Only entries of this revision (an exact id)
    #[arg(long, short)]
    pub revision: Option<String>,
    /// Only entries of this kind, or of kinds that start like this
    #[arg(long, short)]
    pub kind: Option<String>,
    /// Only refused statements and calls
    #[arg(long, short)]
    pub blocked: bool,
    /// Only what this role did, as login or as role in force
    #[arg(long)]
    pub role: Option<String>,
    /// Only what touched this object or what it contains: schema.table, schema.table.column
    #[arg(long, short)]
    pub object: Option<String>,
    /// Only what ran under this permit
    #[arg(long)]
    pub permit: Option<String>,
    /// Only entries from this time on, as PostgreSQL writes times
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Only entries before this time
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
    /// Go on printing what comes
    #[arg(long, short)]
    pub follow: bool,
    /// At most so many, the newest
    #[arg(long, short = 'n', default_value_t = 50)]
    pub limit: i64,
    /// Show the payloads
    #[arg(long, short)]
    pub verbose: bool,
}

/// What is asked of the guard.
#[derive(Debug, Subcommand)]
pub enum Guard {
    /// Sum up a trial period by role, class and object
    Report(Report),
}

/// A report on a trial period.
#[derive(Debug, ClapArgs)]
pub struct Report {
    /// How far back to look, as PostgreSQL writes intervals
    #[arg(long, short, default_value = "30 days")]
    pub since: String,
    /// At most so many lines in each part
    #[arg(long, short = 'n', default_value_t = 20)]
    pub limit: i64,
}

#[cfg(test)]
mod tests;
