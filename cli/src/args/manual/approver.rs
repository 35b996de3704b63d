//! Verbs of approvers.

use super::page::{Group, Page, Role};
use runbook_core::changing;

/// Those who decide about the revisions and statements of others.
pub const GROUP: Group = Group {
    title: "Approver",
    pages: &[
        Page {
            verb: "inbox",
            does: "Lists the revisions and permits that wait for your approval.",
            prints: "for each one its author, what it would destroy, and the commands that show and approve it.",
            role: Role::Caller(&changing::APPROVE, ""),
            examples: &["runbook inbox"],
        },
        Page {
            verb: "approve",
            does: "Approves the content of a revision as your login. The author of a revision cannot approve it.",
            prints: "the digest that is approved.",
            role: Role::Caller(&changing::APPROVE, ""),
            examples: &[
                "runbook approve 1c0ffee00aa1 -m 'no query has read the column since May'",
                "runbook approve 1c0ffee00aa1 --for '2 days' --catalog",
            ],
        },
        Page {
            verb: "reject",
            does: "Rejects the content of a revision as your login. The revision cannot run until you revoke this, or until its content \
                   changes.",
            prints: "the digest that is rejected.",
            role: Role::Caller(&changing::REJECT, ""),
            examples: &["runbook reject 1c0ffee00aa1 -m 'billing still reads the column'"],
        },
        Page {
            verb: "revoke",
            does: "Takes back your own approval or rejection of a revision. Decisions of other logins stay.",
            prints: "whether you had decided.",
            role: Role::Caller(&changing::REVOKE, ""),
            examples: &["runbook revoke 1c0ffee00aa1 -m 'wait for the next release'"],
        },
        Page {
            verb: "permit",
            does: "Requests, decides and lists permits. A permit lets one login run one statement, once, after another person has \
                   approved it.",
            prints: "what its verbs print.",
            role: Role::Any("\"permit approve\" and \"permit reject\" need runbook_approver."),
            examples: &["runbook permit list", "runbook permit request 'DROP TABLE old_orders' -m 'archived'"],
        },
        Page {
            verb: "permit request",
            does: "Requests a permit to run one statement once. It is bound to your login, your role and the text of the statement.",
            prints: "the id of the permit, and the command that approves it.",
            role: Role::Caller(&changing::REQUEST_PERMIT, ""),
            examples: &["runbook permit request 'DROP TABLE old_orders' -m 'archived' --for '2 hours'"],
        },
        Page {
            verb: "permit approve",
            does: "Approves a permit that another login requested. That login can then run the statement once.",
            prints: "the statement that is approved.",
            role: Role::Caller(&changing::APPROVE_PERMIT, ""),
            examples: &["runbook permit approve 4f2a91c0 -m 'the archive has all rows'"],
        },
        Page {
            verb: "permit reject",
            does: "Rejects a permit for good. The login must request another one.",
            prints: "the statement that is rejected.",
            role: Role::Caller(&changing::REJECT_PERMIT, ""),
            examples: &["runbook permit reject 4f2a91c0 -m 'billing still reads the table'"],
        },
        Page {
            verb: "permit list",
            does: "Lists the permits that are requested or approved. With --all it also lists used, rejected and expired ones.",
            prints: "a table with each permit, its status, its statement, and what it still needs.",
            role: Role::Any(""),
            examples: &["runbook permit list", "runbook permit list --all"],
        },
    ],
};
