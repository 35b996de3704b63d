//! Verbs of database administrators.

use super::page::{Group, Page, Role, WEAKENS};
use runbook_core::changing;

/// Those who install pg_runbook, set policy, and act in an emergency.
pub const GROUP: Group = Group {
    title: "DBA",
    pages: &[
        Page {
            verb: "status",
            does: "Shows which protections are on, where the database stands, and which submitted revisions are pending.",
            prints: "three lists: guard, database and pending.",
            role: Role::Any(""),
            examples: &["runbook status", "runbook status --format json"],
        },
        Page {
            verb: "policy",
            does: "Shows and sets policy: what the guard does about each class of actions.",
            prints: "what its verbs print.",
            role: Role::Any("All but \"policy show\" need runbook_admin."),
            examples: &["runbook policy show", "runbook policy set blocking record"],
        },
        Page {
            verb: "policy show",
            does: "Shows the rules in force, the maintenance windows and the protected tables.",
            prints: "a table of rules and, if there are any, a table of windows and one of protected tables.",
            role: Role::Any(""),
            examples: &["runbook policy show"],
        },
        Page {
            verb: "policy set",
            does: "Sets the rule of a class, on all objects or on those that match a pattern. The verdict \"default\" removes the rule.",
            prints: "the class and its verdict.",
            role: Role::Caller(&changing::SET_POLICY, WEAKENS),
            examples: &[
                "runbook policy set blocking require_approval",
                "runbook policy set destructive require_approval \\\n    --approvals 2 --objects 'billing.*'",
            ],
        },
        Page {
            verb: "policy preset",
            does: "Chooses the preset of the policy. A preset has a rule for each class; rules that you set stay on top of it.",
            prints: "the name of the preset.",
            role: Role::Caller(&changing::CONFIGURE, WEAKENS),
            examples: &["runbook policy preset production"],
        },
        Page {
            verb: "policy window",
            does: "Sets a maintenance window. Actions of its classes run only while one of their windows is open.",
            prints: "the name of the window.",
            role: Role::Caller(&changing::SET_MAINTENANCE_WINDOW, WEAKENS),
            examples: &[
                "runbook policy window nights --classes blocking,breaking \\\n    --opens 22:00 --closes 04:00 --time-zone Europe/Berlin",
            ],
        },
        Page {
            verb: "policy drop-window",
            does: "Removes a maintenance window.",
            prints: "whether there was one.",
            role: Role::Caller(&changing::DROP_MAINTENANCE_WINDOW, WEAKENS),
            examples: &["runbook policy drop-window nights"],
        },
        Page {
            verb: "policy protect",
            does: "Protects a table against TRUNCATE, and against transactions that delete or update more than so many rows.",
            prints: "the table.",
            role: Role::Caller(&changing::PROTECT_TABLE, WEAKENS),
            examples: &["runbook policy protect public.orders --max-rows 1000"],
        },
        Page {
            verb: "policy unprotect",
            does: "Removes the protection of a table.",
            prints: "whether it had one.",
            role: Role::Caller(&changing::UNPROTECT_TABLE, WEAKENS),
            examples: &["runbook policy unprotect public.orders"],
        },
        Page {
            verb: "guard",
            does: "Reports what the guard has refused, or would have refused.",
            prints: "what its verb prints.",
            role: Role::Reader(""),
            examples: &["runbook guard report"],
        },
        Page {
            verb: "guard report",
            does: "Counts the statements of a period that the guard has refused, or would have refused in mode record. Use it before you \
                   enforce policy.",
            prints: "the totals, then a table by role, one by class and one by object.",
            role: Role::Reader(""),
            examples: &["runbook guard report", "runbook guard report --since '7 days' --limit 50"],
        },
        Page {
            verb: "break-glass",
            does: "Sets policy aside in one session, runs SQL or an upgrade there, and puts policy in force again. The ledger records \
                   the reason and every statement.",
            prints: "the revisions that were applied, or \"done\". The server's warning says when break-glass ends.",
            role: Role::Caller(
                &changing::BREAK_GLASS,
                "The login also needs the privileges of the SQL, and runbook_operator for --upgrade.",
            ),
            examples: &[
                "runbook break-glass -m 'the disk is full' --for '5 minutes' \\\n    --sql 'DROP TABLE log_archive'",
                "runbook break-glass -m 'no approver answers' --upgrade +1",
            ],
        },
    ],
};
