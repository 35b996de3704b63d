//! Verbs of authors.

use super::page::{Group, Page, Role};
use runbook_core::changing;

const ANY_OR_LOCAL: Role = Role::Any("With --local: none.");

/// Those who write revisions.
pub const GROUP: Group = Group {
    title: "Author",
    pages: &[
        Page {
            verb: "revision",
            does: "Writes a new revision file with empty sections for upgrade and downgrade. The new revision follows the only head, \
                   or the revision that --head names.",
            prints: "the path of the new file.",
            role: Role::Nothing("works on files"),
            examples: &["runbook revision -m 'create orders'", "runbook revision -m 'drop orders.note' --phase contract"],
        },
        Page {
            verb: "edit",
            does: "Opens the file of a revision in $VISUAL, $EDITOR or vi. Afterwards it reads the file, and reports errors in it.",
            prints: "nothing, or the error and its line.",
            role: Role::Nothing("works on files"),
            examples: &["runbook edit head"],
        },
        Page {
            verb: "merge",
            does: "Writes a revision file that follows several heads, so that one head is left.",
            prints: "the path of the new file.",
            role: Role::Nothing("works on files"),
            examples: &["runbook merge heads -m 'join billing and shipping'"],
        },
        Page {
            verb: "submit",
            does: "Sends revision files to the database, parents first. The server stores all of them, or none.",
            prints: "the id of the revision, or the number of revisions.",
            role: Role::Caller(&changing::SUBMIT, ""),
            examples: &["runbook submit", "runbook submit revisions/1c0ffee00aa1_create_orders.sql"],
        },
        Page {
            verb: "withdraw",
            does: "Takes a revision that is not applied out of the graph, after those that build upon it. Submitting it again brings \
                   it back.",
            prints: "the id of the revision.",
            role: Role::Caller(&changing::WITHDRAW, ""),
            examples: &["runbook withdraw 1c0ffee00aa1 -m 'replaced by 2c0ffee00aa2'"],
        },
        Page {
            verb: "show",
            does: "Shows one revision: its headers, what it would do, and its SQL. With --as-file it prints the revision file itself.",
            prints: "headers as SQL comments, then each section with line numbers.",
            role: ANY_OR_LOCAL,
            examples: &["runbook show head", "runbook show 1c0ffee00aa1 --as-file > copy.sql"],
        },
        Page {
            verb: "history",
            does: "Lists the revisions of a range, newest first. Without a range it lists all.",
            prints: "one line per revision: its parents, its id, its labels, and its message.",
            role: ANY_OR_LOCAL,
            examples: &["runbook history -i -v", "runbook history --rev-range base:head --local"],
        },
        Page {
            verb: "heads",
            does: "Lists the heads: revisions that no other revision follows.",
            prints: "a table with id, branch labels and message.",
            role: ANY_OR_LOCAL,
            examples: &["runbook heads", "runbook heads --local -v"],
        },
        Page {
            verb: "branches",
            does: "Lists the revisions that more than one other revision follows.",
            prints: "a table with each such revision and the revisions that follow it.",
            role: ANY_OR_LOCAL,
            examples: &["runbook branches --local -v"],
        },
    ],
};
