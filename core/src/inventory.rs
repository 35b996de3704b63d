//! What the extension is made of: names that the guard, the functions and the tests need to know. Each stands here, once.

/// Our roles, in alphabetical order.
pub const ROLES: [&str; 6] =
    ["runbook_admin", "runbook_approver", "runbook_auditor", "runbook_author", "runbook_break_glass", "runbook_operator"];

/// Our event triggers, and the functions that they call.
pub const EVENT_TRIGGERS: [(&str, &str); 4] = [
    ("a_runbook_command_start", "guard_command_start"),
    ("a_runbook_sql_drop", "guard_sql_drop"),
    ("a_runbook_table_rewrite", "guard_table_rewrite"),
    ("a_runbook_command_end", "guard_command_end"),
];
