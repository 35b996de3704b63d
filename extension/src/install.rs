//! The SQL that CREATE EXTENSION runs, in order: fragments of `sql/`, around the functions that pgrx writes.

use pgrx::extension_sql_file;

extension_sql_file!("../../sql/roles.sql", name = "roles", bootstrap);
extension_sql_file!("../../sql/tables.sql", name = "tables", requires = ["roles"]);
extension_sql_file!(
    "../../sql/ledger.sql",
    name = "ledger",
    requires = ["tables", api::ledger::ledger_terms, api::ledger::payload_or_null]
);
extension_sql_file!(
    "../../sql/views.sql",
    name = "views",
    requires = ["tables", api::approvals::approval_void, api::permits::permits_in_force, api::jobs::jobs_in_force]
);
extension_sql_file!("../../sql/fingerprint.sql", name = "fingerprint", requires = ["tables"]);
extension_sql_file!("../../sql/functions.sql", name = "functions", requires = ["tables"]);
extension_sql_file!(
    "../../sql/guard.sql",
    name = "guard",
    requires = [
        "functions",
        "views",
        "ledger",
        guard::layers::event_triggers::guard_command_start,
        guard::layers::event_triggers::guard_sql_drop,
        guard::layers::event_triggers::guard_table_rewrite,
        guard::layers::event_triggers::guard_command_end
    ]
);
extension_sql_file!("../../sql/protect.sql", name = "protect", requires = ["tables"]);
extension_sql_file!(
    "../../sql/policy.sql",
    name = "policy",
    requires = ["tables", "views", api::policy::policy_in_force, api::policy::settings_in_force]
);
extension_sql_file!(
    "../../sql/grants.sql",
    name = "grants",
    requires = ["guard", "policy", "fingerprint", "protect"],
    finalize
);
