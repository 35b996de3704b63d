//! Arguments of the verbs about approvals, permits, break-glass and policy.

use clap::{Args as ClapArgs, Subcommand};
use std::path::PathBuf;

/// `approve`.
#[derive(Debug, ClapArgs)]
pub struct Approve {
    /// The revision
    pub revision: String,
    /// Why
    #[arg(long, short = 'm', alias = "message")]
    pub comment: Option<String>,
    /// Approve this content only
    #[arg(long)]
    pub digest: Option<String>,
    /// How long it counts, as PostgreSQL writes intervals
    #[arg(long = "for", value_name = "INTERVAL")]
    pub valid_for: Option<String>,
    /// Approve for the present state of the catalog only
    #[arg(long)]
    pub catalog: bool,
}

/// `permit`.
#[derive(Debug, Subcommand)]
pub enum Permit {
    /// Ask for a permit to run one statement once
    Request {
        /// The statement
        statement: String,
        /// Why
        #[arg(long, short = 'm', alias = "message")]
        reason: String,
        /// How long it can be used, as PostgreSQL writes intervals
        #[arg(long = "for", value_name = "INTERVAL", default_value = "1 hour")]
        valid_for: String,
    },
    /// Approve a permit that somebody else asked for
    Approve(DecidePermit),
    /// Reject a permit for good
    Reject(DecidePermit),
    /// List permits
    List {
        /// Used, rejected and expired ones too
        #[arg(long, short)]
        all: bool,
    },
}

/// `permit approve`, `permit reject`.
#[derive(Debug, ClapArgs)]
pub struct DecidePermit {
    /// The permit, or how it starts
    pub permit: String,
    /// Why
    #[arg(long, short = 'm', alias = "message")]
    pub comment: Option<String>,
}

/// `break-glass`.
#[derive(Debug, ClapArgs)]
#[command(group = clap::ArgGroup::new("what").required(true).args(["sql", "file", "upgrade"]))]
pub struct BreakGlass {
    /// What is on fire
    #[arg(long, short = 'm', alias = "message")]
    pub reason: String,
    /// For how long at most, as PostgreSQL writes intervals
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
    /// Set the rule of a class, on all objects or on those that match
    Set {
        /// additive, blocking, breaking, security, control or destructive
        class: String,
        /// allow, record, require_approval, deny; default takes the rule back
        verdict: String,
        /// How many approvals are needed
        #[arg(long, default_value_t = 1)]
        approvals: i32,
        /// Only for these objects: schema, schema.table or schema.table.column, with * and ?
        #[arg(long, value_name = "PATTERN")]
        objects: Option<String>,
        /// Approvers must be members of this role, too
        #[arg(long, value_name = "ROLE")]
        approver_role: Option<String>,
    },
    /// Choose the preset: local, staging or production
    Environment {
        /// Its name
        name: String,
    },
}

/// `reject`, `revoke`.
#[derive(Debug, ClapArgs)]
pub struct Decide {
    /// The revision
    pub revision: String,
    /// Why
    #[arg(long, short = 'm', alias = "message")]
    pub comment: Option<String>,
}
