//! Arguments of the verbs about approvals, permits, break-glass and policy.

use crate::args::words;
use clap::{Args as ClapArgs, Subcommand};
use std::path::PathBuf;

/// `approve`.
#[derive(Debug, ClapArgs)]
pub struct Approve {
    /// Revision: its id, or the beginning of its id
    #[arg(required_unless_present = "all")]
    pub revision: Option<String>,
    /// Show every revision that waits for your approval, ask, and approve them all; not permits
    #[arg(long, conflicts_with_all = ["revision", "digest"])]
    pub all: bool,
    /// Do not ask
    #[arg(long, short, requires = "all")]
    pub yes: bool,
    /// Reason for the decision, kept in the ledger
    #[arg(long, short = 'm', alias = "message")]
    pub comment: Option<String>,
    /// Approve only the content with this digest
    #[arg(long)]
    pub digest: Option<String>,
    /// Time after which the approval expires, as a PostgreSQL interval
    #[arg(long = "for", value_name = "INTERVAL")]
    pub valid_for: Option<String>,
    /// Approve only for the current state of the catalog
    #[arg(long)]
    pub catalog: bool,
}

/// `permit`.
#[derive(Debug, Subcommand)]
pub enum Permit {
    /// Request a permit to run one statement once
    Request {
        /// Statement, as it will be sent
        statement: String,
        /// Reason, kept in the ledger
        #[arg(long, short = 'm', alias = "message")]
        reason: String,
        /// Time after which the permit expires, as a PostgreSQL interval
        #[arg(long = "for", value_name = "INTERVAL", default_value = "1 hour")]
        valid_for: String,
    },
    /// Approve a permit that another login requested
    Approve(DecidePermit),
    /// Reject a permit for good
    Reject(DecidePermit),
    /// List permits
    List {
        /// List used, rejected and expired permits too
        #[arg(long, short)]
        all: bool,
    },
}

/// `permit approve`, `permit reject`.
#[derive(Debug, ClapArgs)]
pub struct DecidePermit {
    /// Permit: its id, or at least four characters of it
    pub permit: String,
    /// Reason for the decision, kept in the ledger
    #[arg(long, short = 'm', alias = "message")]
    pub comment: Option<String>,
}

/// `break-glass`.
#[derive(Debug, ClapArgs)]
#[command(group = clap::ArgGroup::new("what").required(true).args(["sql", "file", "upgrade"]))]
pub struct BreakGlass {
    /// Reason, kept in the ledger
    #[arg(long, short = 'm', alias = "message")]
    pub reason: String,
    /// Time after which policy is in force again, as a PostgreSQL interval
    #[arg(long = "for", value_name = "INTERVAL", default_value = "15 minutes")]
    pub valid_for: String,
    /// Run this SQL
    #[arg(long, value_name = "SQL")]
    pub sql: Option<String>,
    /// Run the SQL of this file; "-" is standard input
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Upgrade to this target
    #[arg(long, value_name = "TARGET", allow_hyphen_values = true)]
    pub upgrade: Option<String>,
}

/// `policy`.
#[derive(Debug, Subcommand)]
pub enum Policy {
    /// Show the rules in force and the maintenance windows
    Show,
    /// Set the rule of a class, on all objects or on those that match a pattern
    Set {
        /// Class of actions
        #[arg(value_parser = words::classes())]
        class: String,
        /// What the guard does about them; default removes the rule
        #[arg(value_parser = words::verdicts())]
        verdict: String,
        /// Number of approvals that are needed
        #[arg(long, default_value_t = 1)]
        approvals: i32,
        /// Only for these objects: schema, schema.table or schema.table.column, with * and ?
        #[arg(long, value_name = "PATTERN")]
        objects: Option<String>,
        /// Role that approvers must also be members of
        #[arg(long, value_name = "ROLE")]
        approver_role: Option<String>,
    },
    /// Choose the preset of the policy
    Preset {
        /// Preset
        #[arg(value_parser = words::presets())]
        name: String,
    },
    /// Set a weekly time in which actions of some classes run
    Window {
        /// Name of the window
        name: String,
        /// Classes of actions that run only in windows
        #[arg(long, required = true, value_delimiter = ',', value_parser = words::classes())]
        classes: Vec<String>,
        /// Days on which it opens: mon-fri, sat,sun, …
        #[arg(long, default_value = "mon-sun")]
        days: String,
        /// Time at which it opens
        #[arg(long, value_name = "HH:MM")]
        opens: String,
        /// Time at which it closes; before the opening time: on the next day
        #[arg(long, value_name = "HH:MM")]
        closes: String,
        /// Time zone: UTC or a full name
        #[arg(long, value_name = "ZONE", default_value = "UTC")]
        time_zone: String,
    },
    /// Remove a maintenance window
    DropWindow {
        /// Name of the window
        name: String,
    },
    /// Protect a table against TRUNCATE, and against changes of many rows
    Protect {
        /// Table, with its schema
        table: String,
        /// Most rows that one transaction may delete or update; without it there is no limit
        #[arg(long, value_name = "N")]
        max_rows: Option<i64>,
    },
    /// Remove the protection of a table
    Unprotect {
        /// Table, with its schema
        table: String,
    },
}

/// `reject`, `revoke`.
#[derive(Debug, ClapArgs)]
pub struct Decide {
    /// Revision: its id, or the beginning of its id
    pub revision: String,
    /// Reason for the decision, kept in the ledger
    #[arg(long, short = 'm', alias = "message")]
    pub comment: Option<String>,
}
