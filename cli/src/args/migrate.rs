//! Arguments of the verbs that migrate, and of those about jobs.

use crate::args::words;
use clap::Args as ClapArgs;

/// `plan`.
#[derive(Debug, ClapArgs)]
pub struct Plan {
    /// Target: head, heads, +N, id, prefix, label@head… Without one: head, and where an upgrade would stop on its way
    #[arg(allow_hyphen_values = true, value_parser = words::target)]
    pub target: Option<String>,
    /// Show the steps of a downgrade
    #[arg(long)]
    pub downgrade: bool,
}

/// `upgrade`.
#[derive(Debug, ClapArgs)]
pub struct Migrate {
    /// Target: head, heads, +N, id, prefix, label@head… Without one: towards head, up to where a later phase begins
    #[arg(allow_hyphen_values = true, value_parser = words::target)]
    pub target: Option<String>,
    /// Go up to the end of this phase, and no further
    #[arg(long, value_name = "PHASE", value_parser = words::phases())]
    pub through: Option<String>,
    /// Print the steps and what each still needs, and change nothing
    #[arg(long, conflicts_with_all = ["sql", "detach", "atomic"])]
    pub dry_run: bool,
    /// Print the SQL of the revision files (start:end), without a connection
    #[arg(long, conflicts_with = "through")]
    pub sql: bool,
    /// Apply all revisions in one transaction, in this session
    #[arg(long, conflicts_with = "detach")]
    pub atomic: bool,
    /// Start the job and return, without following it
    #[arg(long, short)]
    pub detach: bool,
}

/// A verb about one job.
#[derive(Debug, ClapArgs)]
pub struct Job {
    /// Number of the job
    pub job: i64,
}

/// `resume`.
#[derive(Debug, ClapArgs)]
pub struct Resume {
    /// Number of the job; without it, every interrupted job
    pub job: Option<i64>,
    /// Start the job and return, without following it
    #[arg(long, short)]
    pub detach: bool,
}

/// `downgrade`.
#[derive(Debug, ClapArgs)]
pub struct Downgrade {
    /// Target: -N, base, id, prefix…
    #[arg(allow_hyphen_values = true, value_parser = words::target)]
    pub target: String,
    /// Print the steps and what each still needs, and change nothing
    #[arg(long, conflicts_with = "sql")]
    pub dry_run: bool,
    /// Print the SQL of the revision files (start:end), without a connection
    #[arg(long)]
    pub sql: bool,
}

/// `stamp`.
#[derive(Debug, ClapArgs)]
pub struct Stamp {
    /// Targets: head, base, id, prefix…
    #[arg(required = true, allow_negative_numbers = true, value_parser = words::target)]
    pub targets: Vec<String>,
    /// First forget which revisions are applied
    #[arg(long)]
    pub purge: bool,
}
