//! A statement as the guard sees it: what it would do, to which objects, without its text.
//!
//! The extension fills this model from PostgreSQL's raw parse trees (`extension/src/pg/nodes.rs`), so that
//! classification ([`crate::action`]) is a pure function and comments, quoting and layout can't matter.

use crate::identity::Identity;
use crate::vocabulary::object_kind::ObjectKind;
use crate::vocabulary::verb::Verb;

/// A name as the parser gives it, with what name resolution found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Name {
    /// Schema: as written, or as found; `None` if neither.
    pub schema: Option<String>,
    /// Unqualified name.
    pub name: String,
    /// Whether it lies in a temporary schema.
    pub temporary: bool,
    /// What name resolution found; for a part of an object (a column, a trigger), what it found for the whole.
    pub identity: Identity,
}

impl Name {
    /// A name without a schema.
    pub fn bare(name: impl Into<String>) -> Self {
        Self { name: name.into(), ..Self::default() }
    }

    /// The parts, schema first if there is one.
    pub fn path(&self) -> Vec<String> {
        self.schema.iter().cloned().chain([self.name.clone()]).collect()
    }
}

/// What ALTER COLUMN … TYPE does to the values that are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TypeChange {
    /// Nothing: a wider varchar, a numeric of more digits.
    Widens,
    /// Each value is rewritten, and stays what it is.
    Converts,
    /// Some can lose what they were: a USING expression, a cast that rounds or cuts.
    Loses,
}

/// What a rule does to the rows of clients that know nothing of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuleEffect {
    /// Writes vanish, or rows are changed or deleted along with them.
    Loses,
    /// Rows are read or written elsewhere.
    Redirects,
}

/// One subcommand of ALTER TABLE (or ALTER VIEW, INDEX, SEQUENCE, …) by its meaning.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "named after PostgreSQL's AlterTableType")]
pub enum Change {
    /// `rewrites` if every row gets a value of its own: a volatile default, an identity, a stored expression.
    AddColumn {
        column: String,
        rewrites: bool,
    },
    DropColumn {
        column: String,
    },
    ColumnType {
        column: String,
        effect: TypeChange,
    },
    /// `gone` if it has none any more.
    ColumnDefault {
        column: String,
        gone: bool,
    },
    /// `scans` where every row is looked at: no valid CHECK says that it has a value.
    SetNotNull {
        column: String,
        scans: bool,
    },
    DropNotNull {
        column: String,
    },
    DropExpression {
        column: String,
    },
    DropIdentity {
        column: String,
    },
    /// SET GENERATED, RESTART and other changes of an identity column's sequence.
    ResetIdentity {
        column: String,
    },
    AddConstraint {
        name: String,
        scans: bool,
    },
    /// A constraint that rows which clients write from now on may fail: a CHECK, or one that is NOT VALID.
    AddRestriction {
        name: String,
    },
    /// VALIDATE CONSTRAINT.
    ValidateConstraint {
        name: String,
    },
    /// A foreign key whose rows go, or change, with those that they refer to.
    AddCascade {
        name: String,
        scans: bool,
    },
    DropConstraint {
        name: String,
    },
    Owner {
        role: Name,
    },
    DetachPartition {
        partition: Name,
    },
    AttachPartition {
        partition: Name,
    },
    NoInherit {
        parent: Name,
    },
    RowSecurity {
        enable: bool,
    },
    /// All of them, or the one that is named.
    Triggers {
        enable: bool,
        name: Option<String>,
    },
    Rules {
        enable: bool,
    },
    Unlogged,
    Logged,
    Rewrite {
        verb: Verb,
    },
    /// `nothing` if updates and deletes can't be replicated any more.
    ReplicaIdentity {
        nothing: bool,
    },
    /// It becomes an heir of another table, whose rows then seem to have more.
    Inherit {
        parent: Name,
    },
    /// Options of a view that say whose privileges and which rows count: security_invoker, security_barrier, check_option.
    ViewSecurity,
    /// Statistics, storage, compression, reloptions, … : nothing that a client notices.
    Tuning,
    /// What this version doesn't know.
    Unknown {
        subtype: u32,
    },
}

/// What a statement would do.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "named after PostgreSQL's statements")]
pub enum Command {
    Drop {
        kind: ObjectKind,
        names: Vec<Name>,
        cascade: bool,
    },
    DropOne {
        kind: ObjectKind,
        name: Name,
    },
    /// DROP TRIGGER, RULE, POLICY … ON a relation.
    DropPart {
        kind: ObjectKind,
        name: Name,
        part: String,
    },
    DropOwned {
        roles: Vec<Name>,
        cascade: bool,
    },
    Reassign {
        roles: Vec<Name>,
    },
    AlterTable {
        kind: ObjectKind,
        name: Name,
        changes: Vec<Change>,
    },
    Rename {
        kind: ObjectKind,
        name: Name,
        part: Option<String>,
        new_name: String,
    },
    SetSchema {
        kind: ObjectKind,
        name: Name,
        schema: String,
    },
    Owner {
        kind: ObjectKind,
        name: Name,
        role: Name,
    },
    /// ALTER TYPE … for composite types arrives as [`Command::AlterTable`].
    AddEnumValue {
        name: Name,
        value: String,
    },
    RenameEnumValue {
        name: Name,
        value: String,
    },
    AlterDomain {
        name: Name,
        verb: Verb,
        scans: bool,
    },
    Create {
        kind: ObjectKind,
        name: Name,
        replace: bool,
    },
    /// CREATE POLICY.
    Policy {
        table: Name,
        name: String,
    },
    CreateIndex {
        table: Name,
        name: String,
        concurrently: bool,
        unique: bool,
    },
    Truncate {
        names: Vec<Name>,
        cascade: bool,
    },
    Delete {
        name: Name,
        filtered: bool,
    },
    /// GRANT and REVOKE on objects; `ALL` where no privilege is named.
    Grant {
        kind: ObjectKind,
        names: Vec<Name>,
        privileges: Vec<String>,
        roles: Vec<Name>,
        revoke: bool,
    },
    /// CREATE SCHEMA with its elements.
    Several(Vec<Self>),
    /// A SELECT that only calls a function which weakens the guard.
    Control {
        function: Name,
        /// The table whose protection it changes.
        table: Option<Name>,
    },
    /// Something on an object that the whole cluster shares, or on the guard's own kind: a role, a database, a tablespace, a
    /// parameter, an event trigger.
    Shared {
        verb: Verb,
        kind: ObjectKind,
        name: Name,
    },
    /// What changes nothing that a client notices, and is recorded all the same: COMMENT ON a shared object, REINDEX and
    /// REFRESH CONCURRENTLY.
    Harmless {
        verb: Verb,
        kind: ObjectKind,
        names: Vec<Name>,
    },
    /// Several statements' worth of [`Command::Shared`] in one: roles that are granted to roles.
    Membership {
        granted: Vec<Name>,
        members: Vec<Name>,
        revoke: bool,
    },
    /// Something that reaches out of the database: a program, a file of the server, a library.
    Outside {
        verb: Verb,
        kind: ObjectKind,
        name: String,
    },
    /// LOCK TABLE; `exclusive` IN ACCESS EXCLUSIVE MODE.
    Lock {
        names: Vec<Name>,
        exclusive: bool,
    },
    /// ALTER EXTENSION; `member` of what is added or dropped, `to` the version that UPDATE names.
    Extension {
        verb: Verb,
        name: Name,
        to: Option<String>,
        member: Option<(ObjectKind, Name)>,
    },
    /// CREATE RULE.
    Rule {
        table: Name,
        name: String,
        replace: bool,
        effect: RuleEffect,
    },
    /// CREATE TRIGGER: it runs with every write, and can change it, skip it or fail it.
    Trigger {
        table: Name,
        name: String,
        replace: bool,
    },
    /// CREATE FUNCTION and ALTER FUNCTION … SECURITY DEFINER.
    Definer {
        verb: Verb,
        kind: ObjectKind,
        name: Name,
    },
    /// ALTER … DEPENDS ON EXTENSION: it goes with the extension.
    DependsOnExtension {
        kind: ObjectKind,
        name: Name,
        part: Option<String>,
    },
    /// A table that inherits from others, besides being created.
    Heir {
        parents: Vec<Name>,
    },
    /// Foreign keys to tables of the runbook, besides what makes them: what they set off runs with whatever is written there.
    References {
        tables: Vec<Name>,
    },
    /// VACUUM FULL, CLUSTER, REINDEX, REFRESH; no names: the whole database.
    Rewrite {
        verb: Verb,
        kind: ObjectKind,
        names: Vec<Name>,
    },
    /// INSERT, COPY FROM: data, not schema.
    Data {
        tag: String,
    },
    /// UPDATE and MERGE, which change rows that are there.
    Change {
        name: Name,
    },
    /// Ends, opens or nests transactions.
    Transaction {
        tag: String,
    },
    /// SET ROLE and SET SESSION AUTHORIZATION.
    SwitchRole {
        setting: String,
    },
    /// Anything whose effects only show when it runs (DO, CALL, SELECT, EXECUTE), or that has none on objects.
    Opaque {
        tag: String,
    },
    /// Default privileges, row security policies, security labels.
    Protection {
        tag: String,
    },
    /// Everything else that changes the catalog.
    Other {
        tag: String,
    },
}
