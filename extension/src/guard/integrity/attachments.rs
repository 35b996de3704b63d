//! Triggers, rules, heirs and the like that others attached to the runbook's own objects while the guard was not active.
//!
//! While it is active, none of it can come to be. An heir of a table of ours would have its rows counted as ours; a trigger, a rule or a
//! foreign key runs with what we write; a function or a policy would stand in for one of ours. So a guard is activated on a whole
//! extension only.

use crate::catalog::own;
use crate::error::{self, refusal};
use std::sync::LazyLock;

/// The bodies of our functions that are not in the library.
const SOURCES: [&str; 2] = [include_str!("../../../../sql/guard.sql"), include_str!("../../../../sql/fingerprint.sql")];

/// The fragments that make our views.
const FRAGMENTS: [&str; 4] = [
    include_str!("../../../../sql/views.sql"),
    include_str!("../../../../sql/ledger.sql"),
    include_str!("../../../../sql/policy.sql"),
    include_str!("../../../../sql/protect.sql"),
];

/// Names and queries of our views.
static VIEWS: LazyLock<Vec<own::View>> = LazyLock::new(|| {
    let views = FRAGMENTS.iter().flat_map(|fragment| fragment.split("CREATE VIEW runbook.").skip(1));
    let read = |text: &'static str| {
        let (name, rest) = text.split_once(" AS\n")?;
        let (query, _) = rest.split_once(";\n")?;
        Some(own::View::new(name, query))
    };
    views.filter_map(read).collect()
});

/// How many findings a message tells.
const TOLD: usize = 5;

/// Refuses to go on with an extension that is not as it was made; `then` is what to run when it is again.
///
/// # Errors
/// 55000.
pub fn refuse_strangers(then: &str) -> error::Result<()> {
    let mut found = own::strangers()?;
    for (name, body) in own::bodies()? {
        if body.trim().len() < 20 || !SOURCES.iter().any(|source| source.contains(&body)) {
            found.push(format!("function runbook.{name} has a changed body"));
        }
    }
    found.extend(own::changed_views(&VIEWS)?.into_iter().map(|name| format!("view runbook.{name} has a changed query")));
    if found.is_empty() {
        return Ok(());
    }
    let count = found.len();
    found.truncate(TOLD);
    let more = if count > TOLD { format!("; and {} more", count - TOLD) } else { String::new() };
    Err(refusal(
        "55000",
        "pg_runbook is not as it was installed",
        Some(format!("{}{more}.", found.join("; "))),
        Some(format!("Undo the changes, and find out who made them. Then run: {then}")),
    ))
}
