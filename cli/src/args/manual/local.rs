//! Verbs that set up the files of a project and the shell of its people.

use super::page::{Group, Page, Role};

/// Verbs for the machine that the command runs on.
pub const GROUP: Group = Group {
    title: "Local files and shell",
    pages: &[
        Page {
            verb: "init",
            does: "Writes runbook.toml in the working directory, and creates the directory of revision files.",
            prints: "what it has written, and the next command.",
            role: Role::Nothing("works on files"),
            examples: &["runbook init", "runbook init db/revisions"],
        },
        Page {
            verb: "import",
            does: "Converts the migrations of another tool into revision files.",
            prints: "what its verb prints.",
            role: Role::Nothing("the scratch server has no pg_runbook"),
            examples: &["runbook import alembic --ini alembic.ini"],
        },
        Page {
            verb: "import alembic",
            does: "Runs each revision of an Alembic environment on a scratch database, and writes the SQL that it sends to a revision file. \
                   It keeps ids, parents and labels.",
            prints: "the number of revisions, and those that a person should check.",
            role: Role::Nothing("the login only needs the attribute CREATEDB on the scratch server"),
            examples: &[
                "runbook import alembic --ini alembic.ini --python venv/bin/python",
                "runbook import alembic --scratch postgresql:///postgres --out revisions",
            ],
        },
        Page {
            verb: "completions",
            does: "Prints a script that completes verbs, options, revision ids and environments in a shell.",
            prints: "the script.",
            role: Role::Nothing("needs no connection"),
            examples: &["runbook completions bash > runbook.bash"],
        },
        Page {
            verb: "man",
            does: "Prints the manual pages of the command and of every verb. With --out it writes one file per page.",
            prints: "the pages in roff, or the number of files that it has written.",
            role: Role::Nothing("needs no connection"),
            examples: &["runbook man | man -l -", "runbook man --out man1"],
        },
    ],
};
