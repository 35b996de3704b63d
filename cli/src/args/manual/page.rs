//! What the manual says about a verb, and which role it says that the verb needs.

use runbook_core::changing::Changing;

/// Verbs that the same people use.
#[derive(Debug)]
pub struct Group {
    /// Who they are.
    pub title: &'static str,
    /// Their verbs in the order of a day's work, each followed by the verbs below it.
    pub pages: &'static [Page],
}

/// What the manual says about a verb.
#[derive(Debug)]
pub struct Page {
    /// The words behind `runbook`: `submit`, `permit request`.
    pub verb: &'static str,
    /// What the verb does, in one or two sentences.
    pub does: &'static str,
    /// What it prints.
    pub prints: &'static str,
    /// The role that the login needs.
    pub role: Role,
    /// Commands to copy; at least one. A long one has more lines, since clap would break it anywhere.
    pub examples: &'static [&'static str],
}

/// The role that a verb needs in the database.
#[derive(Debug)]
pub enum Role {
    /// None, for this reason.
    Nothing(&'static str),
    /// Any role of pg_runbook; a remark may follow.
    Any(&'static str),
    /// One that may read the ledger; a remark may follow.
    Reader(&'static str),
    /// The one that a function asks for; a remark may follow.
    Caller(&'static Changing, &'static str),
}

/// The roles that may read the ledger, as `sql/grants.sql` has it.
pub const READERS: [&str; 2] = ["runbook_auditor", "runbook_admin"];

/// The remark about calls that can weaken the guard.
pub const WEAKENS: &str = "Where policy asks for approvals of control actions, the call also needs a permit.";

impl Role {
    /// The role in words.
    pub fn text(&self) -> String {
        let any = || "any role of pg_runbook, such as runbook_author".to_owned();
        let (role, remark) = match self {
            Self::Nothing(why) => return format!("none: {why}."),
            Self::Any(remark) => (any(), remark),
            Self::Reader(remark) => (either(&READERS), remark),
            Self::Caller(function, remark) if function.roles.is_empty() => (any(), remark),
            Self::Caller(function, remark) => (either(function.roles), remark),
        };
        if remark.is_empty() { format!("{role}.") } else { format!("{role}. {remark}") }
    }
}

fn either(roles: &[&str]) -> String {
    match roles.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        _ => roles.concat(),
    }
}
