//! What the extension is made of: names that the guard, the functions and the tests need to know. Each stands here, once.

/// Our roles, in alphabetical order.
pub const ROLES: [&str; 6] =
    ["runbook_admin", "runbook_approver", "runbook_auditor", "runbook_author", "runbook_break_glass", "runbook_operator"];

/// The schema of what people call and read: API, views, and the tables behind them.
pub const SCHEMA: &str = "runbook";

/// Our schemas; in the second one are functions that nobody need call: of triggers, and those behind views.
pub const SCHEMAS: [&str; 2] = [SCHEMA, "runbook_internal"];

/// Our event triggers, and the functions that they call.
pub const EVENT_TRIGGERS: [(&str, &str); 4] = [
    ("a_runbook_command_start", "guard_command_start"),
    ("a_runbook_sql_drop", "guard_sql_drop"),
    ("a_runbook_table_rewrite", "guard_table_rewrite"),
    ("a_runbook_command_end", "guard_command_end"),
];

/// Our tables, in alphabetical order.
pub const TABLES: [&str; 21] = [
    "activation",
    "applied_head",
    "approval",
    "backfill",
    "branch_label",
    "built_relation",
    "code_change",
    "entry",
    "graph_version",
    "job",
    "job_step",
    "maintenance_window",
    "object_change",
    "permit",
    "permit_decision",
    "policy_rule",
    "revision",
    "setting",
    "statement_progress",
    "tile",
    "unsealed",
];

/// Numbers of our locks, as `pg_locks.objsubid` shows them. PostgreSQL's advisory locks have 1 and 2.
pub mod locks {
    /// One migrator at a time applies revisions.
    pub const MIGRATOR: u16 = 4242;
    /// One process at a time seals the ledger.
    pub const SEALER: u16 = 4243;
    /// One worker at a time looks for jobs.
    pub const RUNNER: u16 = 4244;
    /// One session at a time opens an epoch.
    pub const EPOCH: u16 = 4245;
    /// One session at a time changes the guard's rules.
    pub const RULES: u16 = 4246;
}
