//! Statements that PostgreSQL runs only by themselves, outside of a transaction block, and what to do when one was interrupted.

use crate::command::Name;
use crate::vocabulary::object_kind::ObjectKind;

/// A statement that can't be part of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TopLevelOnly {
    /// CREATE INDEX CONCURRENTLY. An interrupted one leaves an index behind that is INVALID.
    BuildIndex {
        /// The table.
        table: Name,
        /// The index's name; empty where PostgreSQL chooses one.
        index: String,
    },
    /// DROP INDEX CONCURRENTLY. An interrupted one leaves the index behind, INVALID.
    DropIndex {
        /// The index.
        index: Name,
    },
    /// REINDEX … CONCURRENTLY. An interrupted one leaves copies behind, `…_ccnew` or `…_ccold`, INVALID.
    Reindex {
        /// The index or the table; no name for a whole schema or database.
        relation: Name,
    },
    /// ALTER TABLE … DETACH PARTITION … CONCURRENTLY. An interrupted one waits to be finalised.
    Detach {
        /// The partitioned table.
        table: Name,
        /// The partition.
        partition: Name,
    },
    /// CREATE DATABASE, TABLESPACE or SUBSCRIPTION: it is there, or it is not.
    Create {
        /// A database, a tablespace or a subscription.
        kind: ObjectKind,
        /// Its name.
        name: String,
    },
    /// DROP of these.
    Drop {
        /// A database, a tablespace or a subscription.
        kind: ObjectKind,
        /// Its name.
        name: String,
    },
    /// VACUUM, REINDEX DATABASE, ALTER SYSTEM, … : doing it again does no harm.
    Repeatable,
    /// CALL or DO of what ends transactions: how far an interrupted one has come is not known.
    Commits,
}

impl TopLevelOnly {
    /// Whether it may wait for a lock as long as it takes: a concurrent build that gives up leaves an INVALID index behind, and
    /// while it waits nobody queues up behind it.
    pub fn is_patient(&self) -> bool {
        matches!(self, Self::BuildIndex { .. } | Self::DropIndex { .. } | Self::Reindex { .. } | Self::Detach { .. })
    }

    /// Whether PostgreSQL refuses it in a transaction that has an id already (`index_drop` in src/backend/catalog/index.c).
    pub fn comes_first(&self) -> bool {
        matches!(self, Self::DropIndex { .. })
    }
}
