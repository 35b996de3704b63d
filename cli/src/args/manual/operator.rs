//! Verbs of operators, and of applications that migrate when they start.

use super::page::{Group, Page, Role};
use runbook_core::changing;

const MIGRATES: &str = "With --sql: none.";

/// Those who apply revisions.
pub const GROUP: Group = Group {
    title: "Operator and application",
    pages: &[
        Page {
            verb: "current",
            does: "Shows which revisions the database stands at. With --check-heads it exits with 9 unless every head is applied.",
            prints: "a table with each of these revisions, and whether it is a head.",
            role: Role::Any(""),
            examples: &["runbook current", "runbook current --check-heads"],
        },
        Page {
            verb: "plan",
            does: "Shows the steps of an upgrade to a target, or of a downgrade. It changes nothing.",
            prints: "a table with each step, its phase, and the approvals that it still needs.",
            role: Role::Any(""),
            examples: &["runbook plan", "runbook plan --downgrade -1"],
        },
        Page {
            verb: "upgrade",
            does: "Applies revisions up to a target. A worker of the server applies them as a job, each in a transaction of its own, and \
                   the command follows the job.",
            prints: "a line and a time for each revision, then their number.",
            role: Role::Caller(&changing::START_UPGRADE, MIGRATES),
            examples: &["runbook upgrade", "runbook upgrade +1 --detach", "runbook upgrade --sql base:head > schema.sql"],
        },
        Page {
            verb: "downgrade",
            does: "Reverts revisions down to a target, in one transaction. If a revision runs outside of transactions, a job reverts them \
                   one by one.",
            prints: "a line for each revision, then their number.",
            role: Role::Caller(&changing::DOWNGRADE, MIGRATES),
            examples: &["runbook downgrade -1", "runbook downgrade base"],
        },
        Page {
            verb: "stamp",
            does: "Records where the database stands, without running SQL of any revision. Use it for a database that already has the \
                   objects.",
            prints: "the revisions that the database now stands at.",
            role: Role::Caller(&changing::STAMP, ""),
            examples: &["runbook stamp head", "runbook stamp --purge base"],
        },
        Page {
            verb: "jobs",
            does: "Lists the upgrades and downgrades that a worker applies, or has applied.",
            prints: "a table with each job, its state, its progress, and what it waits for.",
            role: Role::Any(""),
            examples: &["runbook jobs", "runbook jobs --format json"],
        },
        Page {
            verb: "wait",
            does: "Follows a job until it ends. Ctrl-C leaves the job running; on a terminal, it asks first.",
            prints: "a line and a time for each revision, then their number.",
            role: Role::Any("Only runbook_operator can restart a job that has lost its worker."),
            examples: &["runbook wait 1"],
        },
        Page {
            verb: "pause",
            does: "Stops a job before its next revision, statement or batch. \"runbook resume\" continues it.",
            prints: "whether the job stops, or had ended.",
            role: Role::Caller(&changing::PAUSE, ""),
            examples: &["runbook pause 1"],
        },
        Page {
            verb: "resume",
            does: "Continues a job that is interrupted, paused, failed or cancelled, and follows it. Without a number it continues every \
                   interrupted job.",
            prints: "a line and a time for each revision, then their number.",
            role: Role::Caller(&changing::RESUME, ""),
            examples: &["runbook resume", "runbook resume 1 --detach"],
        },
        Page {
            verb: "cancel",
            does: "Cancels a job. The server rolls back the running statement; what the job has applied stays.",
            prints: "whether the job is cancelled, or had ended.",
            role: Role::Caller(&changing::CANCEL, ""),
            examples: &["runbook cancel 1"],
        },
    ],
};
