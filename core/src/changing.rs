//! The functions that change the runbook, and who may call them.
//!
//! Each of them stands here, once. What a login must be a member of, how a call must have been made, and which functions the
//! test of all ways to call them goes through, derives from this list.

/// A function of schema `runbook` that changes something.
#[derive(Debug, PartialEq, Eq)]
pub struct Changing {
    /// Its name.
    pub name: &'static str,
    /// The roles of which the login must be a member of one; none: any login that may call it.
    pub roles: &'static [&'static str],
    /// What a call can weaken.
    pub weakens: Weakens,
}

impl Changing {
    /// Whether it changes what the guard decides by. Such calls are made one after the other: each is judged by the rules that the one before
    /// has left.
    pub fn changes_rules(&self) -> bool {
        self.weakens != Weakens::Nothing || self.name == ACTIVATE.name
    }
}

/// What a call can weaken. Where policy asks for an approval of `control` actions, such a call needs a permit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weakens {
    /// Nothing.
    Nothing,
    /// A rule, a setting, the ledger: whatever its arguments say.
    Runbook,
    /// The protection of the table that its argument `table`, the first one, names.
    Table,
}

macro_rules! changing {
    (@weakens) => { Weakens::Nothing };
    (@weakens $weakens:ident) => { Weakens::$weakens };
    ($($constant:ident: $name:literal by $roles:expr $(, weakens $weakens:ident)?;)*) => {
        $(
            #[doc = concat!("`runbook.", $name, "`.")]
            pub const $constant: Changing =
                Changing { name: $name, roles: $roles, weakens: changing!(@weakens $($weakens)?) };
        )*

        /// All of them, by name.
        pub const ALL: &[&Changing] = &[$(&$constant),*];
    };
}

const ADMIN: &[&str] = &["runbook_admin"];
const APPROVER: &[&str] = &["runbook_approver"];
const OPERATOR: &[&str] = &["runbook_operator"];
const REQUESTERS: &[&str] = &["runbook_author", "runbook_operator", "runbook_approver", "runbook_admin", "runbook_break_glass"];

changing! {
    ACTIVATE: "activate" by ADMIN;
    APPROVE: "approve" by APPROVER;
    APPROVE_PERMIT: "approve_permit" by APPROVER;
    ARCHIVE_LEDGER: "archive_ledger" by ADMIN, weakens Runbook;
    BREAK_GLASS: "break_glass" by &["runbook_break_glass"];
    CANCEL: "cancel" by OPERATOR;
    CLOSE_BREAK_GLASS: "close_break_glass" by &[];
    CONFIGURE: "configure" by ADMIN, weakens Runbook;
    DEACTIVATE: "deactivate" by ADMIN, weakens Runbook;
    DOWNGRADE: "downgrade" by OPERATOR;
    DROP_MAINTENANCE_WINDOW: "drop_maintenance_window" by ADMIN, weakens Runbook;
    OPEN_EPOCH: "open_epoch" by ADMIN, weakens Runbook;
    PAUSE: "pause" by OPERATOR;
    PROTECT_TABLE: "protect_table" by ADMIN, weakens Table;
    RECORD_CHECKPOINT: "record_checkpoint" by &["runbook_auditor", "runbook_admin"];
    REJECT: "reject" by APPROVER;
    REJECT_PERMIT: "reject_permit" by APPROVER;
    REQUEST_PERMIT: "request_permit" by REQUESTERS;
    RESUME: "resume" by OPERATOR;
    REVOKE: "revoke" by APPROVER;
    SET_MAINTENANCE_WINDOW: "set_maintenance_window" by ADMIN, weakens Runbook;
    SET_POLICY: "set_policy" by ADMIN, weakens Runbook;
    STAMP: "stamp" by OPERATOR;
    START_DOWNGRADE: "start_downgrade" by OPERATOR;
    START_UPGRADE: "start_upgrade" by OPERATOR;
    SUBMIT: "submit" by &["runbook_author"];
    UNPROTECT_TABLE: "unprotect_table" by ADMIN, weakens Table;
    UPGRADE: "upgrade" by OPERATOR;
    WITHDRAW: "withdraw" by &["runbook_author", "runbook_operator"];
}

/// Those that a client may also call in a DO block of its own, as scripts do.
pub const IN_DO_BLOCKS: &[&Changing] = &[&DOWNGRADE, &STAMP, &SUBMIT, &UPGRADE];

/// The function of that name that can weaken something.
pub fn weakening(name: &str) -> Option<&'static Changing> {
    ALL.iter().copied().find(|one| one.name == name && one.weakens != Weakens::Nothing)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_stands_once_and_in_order() {
        assert!(ALL.windows(2).all(|pair| pair[0].name < pair[1].name));
    }
}
