//! Verbs of auditors.

use super::page::{Group, Page, Role, WEAKENS};
use runbook_core::changing;

/// Those who read the ledger, and verify it.
pub const GROUP: Group = Group {
    title: "Auditor",
    pages: &[
        Page {
            verb: "log",
            does: "Prints entries of the ledger, oldest first. Options choose them by object, role, revision, permit, kind and time.",
            prints: "a table of entries; with --follow also each new entry, until Ctrl-C.",
            role: Role::Reader(""),
            examples: &[
                "runbook log -n 5",
                "runbook log --kind revision --since yesterday",
                "runbook log --blocked --follow --format json",
            ],
        },
        Page {
            verb: "audit",
            does: "Verifies the ledger without trusting the server, and signs, proves, exports and archives it.",
            prints: "what its verbs print.",
            role: Role::Reader("\"audit archive\" and \"audit open-epoch\" need runbook_admin."),
            examples: &["runbook audit verify", "runbook audit checkpoint --key auditor.key --out monday.note"],
        },
        Page {
            verb: "audit keygen",
            does: "Makes a key that signs checkpoints. The private key goes to FILE, the public key to FILE.pub.",
            prints: "the paths of both keys, and the public key.",
            role: Role::Nothing("works on files"),
            examples: &["runbook audit keygen auditor.example.com --out auditor.key"],
        },
        Page {
            verb: "audit checkpoint",
            does: "Verifies the entries since the last checkpoint of this key, and signs a new one. It refuses a ledger that does not \
                   continue the last checkpoint.",
            prints: "the number of entries, the root hash, and the file of the checkpoint.",
            role: Role::Caller(&changing::RECORD_CHECKPOINT, ""),
            examples: &["runbook audit checkpoint --key auditor.key --out monday.note"],
        },
        Page {
            verb: "audit verify",
            does: "Reads the ledger, computes every hash on this machine, and compares the result with checkpoints. It exits with 9 if \
                   something does not fit.",
            prints: "the number of entries, the root hash, and how many checkpoints fit.",
            role: Role::Reader("With --export: none."),
            examples: &[
                "runbook audit verify --checkpoint monday.note --key auditor.key.pub",
                "runbook audit verify --export ledger.jsonl \\\n    --checkpoint monday.note --key auditor.key.pub",
            ],
        },
        Page {
            verb: "audit prove",
            does: "Writes a small file that proves that one entry is in the ledger. A person without access to the database can check it.",
            prints: "the file of the proof.",
            role: Role::Reader(""),
            examples: &[
                "runbook audit prove 2 --checkpoint monday.note --key auditor.key.pub \\\n    --out created.tlog-proof",
            ],
        },
        Page {
            verb: "audit check-proof",
            does: "Checks a proof against the public key of the auditor. It needs no database.",
            prints: "the position of the entry, and the entry itself.",
            role: Role::Nothing("works on files"),
            examples: &["runbook audit check-proof created.tlog-proof --key auditor.key.pub"],
        },
        Page {
            verb: "audit export",
            does: "Writes the sealed entries to a file: exactly the bytes that are hashed, or events for a SIEM (CEF, OCSF).",
            prints: "nothing on stdout unless FILE is \"-\"; the exported positions go to stderr.",
            role: Role::Reader(""),
            examples: &[
                "runbook audit export --out ledger.jsonl",
                "runbook audit export --out ledger.jsonl --resume",
                "runbook audit export --out - --as cef > events.cef",
            ],
        },
        Page {
            verb: "audit archive",
            does: "Moves the oldest entries of the ledger to a file, after it has verified them. The hashes over them stay in the database.",
            prints: "how many entries were moved, their positions, and the file.",
            role: Role::Caller(&changing::ARCHIVE_LEDGER, WEAKENS),
            examples: &[
                "runbook audit archive --before 10000 --out 2025.jsonl -m 'older than a year' \\\n    --checkpoint monday.note --key auditor.key.pub",
            ],
        },
        Page {
            verb: "audit open-epoch",
            does: "Continues the ledger after its history was rolled back on purpose, such as by a restore. Auditors must accept the new \
                   epoch.",
            prints: "the epoch with its position, and the command that signs a checkpoint of it.",
            role: Role::Caller(&changing::OPEN_EPOCH, WEAKENS),
            examples: &["runbook audit open-epoch -m 'restored the backup of Sunday'"],
        },
    ],
};
