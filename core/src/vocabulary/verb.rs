//! What actions do.

use super::words;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

words! {
    /// What an action does to its object. Approvals, permits and the ledger hold the text.
    #[derive(Clone, Debug, PartialEq, Eq, Hash)]
    #[allow(missing_docs, reason = "each is described by its text")]
    Verb {
        Add = "add",
        AddConstraint = "add constraint to",
        AddMember = "add a member to",
        Alter = "alter",
        AlterSecurityDefiner = "alter security definer",
        Attach = "attach",
        Call = "call",
        ChangeDefault = "change default of",
        ChangeExtension = "change extension of",
        ChangeIdentity = "change identity of",
        ChangeManyRows = "change many rows of",
        ChangeOwner = "change owner of",
        ChangeProtection = "change protection of",
        ChangeReplicaIdentity = "change replica identity of",
        ChangeSecurityOptions = "change security options of",
        ChangeType = "change type of",
        Cluster = "cluster",
        /// As a command tag has it.
        Comment = "comment",
        CommentOn = "comment on",
        Create = "create",
        CreateOrReplace = "create or replace",
        Detach = "detach",
        Disable = "disable",
        DisableTriggers = "disable triggers of",
        Drop = "drop",
        DropConstraint = "drop constraint of",
        DropExpression = "drop expression of",
        DropIdentity = "drop identity of",
        DropNotNull = "drop not null on",
        DropOwned = "drop owned by",
        Empty = "empty",
        Enable = "enable",
        EnableRowSecurity = "enable row security on",
        EnableTriggers = "enable triggers of",
        /// As a command tag has it.
        GrantAsReported = "grant",
        /// As a command tag has it.
        Import = "import",
        InheritFrom = "inherit from",
        Load = "load",
        Lock = "lock",
        Log = "log",
        MakeSecurityDefiner = "make a security definer of",
        MakeHeir = "make an heir of",
        Move = "move",
        PutForeignKeys = "put foreign keys to",
        Read = "read",
        ReassignOwned = "reassign owned by",
        Recompute = "recompute",
        Refresh = "refresh",
        RefreshConcurrently = "refresh concurrently",
        Reindex = "reindex",
        ReindexConcurrently = "reindex concurrently",
        RemoveInheritance = "remove inheritance of",
        RemoveMember = "remove a member from",
        RemoveReplicaIdentity = "remove replica identity of",
        Rename = "rename",
        RenamePart = "rename part of",
        /// As a command tag has it.
        RevokeAsReported = "revoke",
        Rewrite = "rewrite",
        Run = "run",
        /// As the command tag of SECURITY LABEL has it.
        Security = "security",
        /// As the command tag of SELECT INTO has it.
        Select = "select",
        Set = "set",
        SetAccessMethod = "set access method of",
        SetForCluster = "set for the whole cluster",
        SetNotNull = "set not null on",
        SetTablespace = "set tablespace of",
        Switch = "switch",
        SwitchRules = "switch rules of",
        TieToExtension = "tie to an extension",
        TieToTemporary = "tie to a temporary object",
        Truncate = "truncate",
        TruncateCascade = "truncate with cascade",
        Tune = "tune",
        Unlog = "unlog",
        Update = "update",
        VacuumFull = "vacuum full",
        Validate = "validate",
        ValidateConstraint = "validate constraint of",
        WeakenRowSecurity = "weaken row security on",
        Widen = "widen",
        Write = "write",
        WriteTo = "write to",
    } besides {
        /// `grant select, update (note) to app on`: what lies between the first word and the last.
        Grant(Box<str>),
        /// `revoke select from app on`.
        Revoke(Box<str>),
        /// `make alice, bob members of`.
        MakeMembers(Box<str>),
        /// `remove alice, bob members of`.
        RemoveMembers(Box<str>),
        /// `set search_path of` a role or a database.
        SetParameter(Parameter),
    }
}

/// A parameter that is set for a role or a database.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Parameter {
    /// Its name, or `all parameters`.
    pub name: Box<str>,
    /// The one database where a role has it, quoted.
    pub database: Option<Box<str>>,
}

impl Parameter {
    /// Whether this is about a certain parameter, or about all.
    pub fn is_about(&self, name: &str) -> bool {
        &*self.name == name || &*self.name == "all parameters"
    }
}

impl Verb {
    /// Reads the text.
    pub fn parse(text: &str) -> Option<Self> {
        let between = |start: &str, end: &str| text.strip_prefix(start)?.strip_suffix(end);
        let parameter = || {
            let set = between("set ", " of")?;
            let (name, database) = match set.split_once(" in database ") {
                Some((name, database)) => (name, Some(database.into())),
                None => (set, None),
            };
            Some(Parameter { name: name.into(), database })
        };
        Self::parse_word(text)
            .or_else(|| between("grant ", " on").map(|what| Self::Grant(what.into())))
            .or_else(|| between("revoke ", " on").map(|what| Self::Revoke(what.into())))
            .or_else(|| between("make ", " members of").map(|members| Self::MakeMembers(members.into())))
            .or_else(|| between("remove ", " members of").map(|members| Self::RemoveMembers(members.into())))
            .or_else(|| parameter().map(Self::SetParameter))
    }

    /// What the command of a tag does, as far as its first word says.
    pub fn of_tag(tag: &str) -> Self {
        let word = tag.split(' ').next().unwrap_or_default().to_lowercase();
        Self::parse_word(&word).unwrap_or(Self::Run)
    }

    /// Whether it takes rows, with those that refer to them, and leaves the table.
    pub const fn empties(&self) -> bool {
        matches!(self, Self::Truncate | Self::TruncateCascade | Self::Empty | Self::ChangeManyRows)
    }

    /// Whether the object has another name or schema afterwards.
    pub const fn is_move(&self) -> bool {
        matches!(self, Self::Rename | Self::RenamePart | Self::Move)
    }

    /// Whether it makes something, whether or not something has the name.
    pub const fn creates(&self) -> bool {
        matches!(self, Self::Create | Self::CreateOrReplace)
    }

    /// Whether it grants nothing but to look, or to call.
    pub fn grants_reading(&self) -> bool {
        matches!(self, Self::Grant(what) if ["select to ", "execute to ", "usage to "].iter().any(|start| what.starts_with(start)))
    }

    /// Whether it changes who is a member of a role.
    pub const fn is_membership(&self) -> bool {
        matches!(self, Self::MakeMembers(_) | Self::RemoveMembers(_))
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self, self.word()) {
            (_, Some(word)) => f.write_str(word),
            (Self::Grant(what), _) => write!(f, "grant {what} on"),
            (Self::Revoke(what), _) => write!(f, "revoke {what} on"),
            (Self::MakeMembers(members), _) => write!(f, "make {members} members of"),
            (Self::RemoveMembers(members), _) => write!(f, "remove {members} members of"),
            (Self::SetParameter(Parameter { name, database: None }), _) => write!(f, "set {name} of"),
            (Self::SetParameter(Parameter { name, database: Some(database) }), _) => {
                write!(f, "set {name} in database {database} of")
            }
            _ => Ok(()),
        }
    }
}

impl Serialize for Verb {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Verb {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| D::Error::custom(format!("unknown verb \"{text}\"")))
    }
}

#[cfg(test)]
mod tests {
    use super::{Parameter, Verb};

    #[test]
    fn each_text_is_read_back() {
        let parameter = |database: Option<&str>| Parameter { name: "search_path".into(), database: database.map(Into::into) };
        let composed = [
            Verb::Grant("select, update (a, b) to app, x to y".into()),
            Verb::Revoke("all from public".into()),
            Verb::MakeMembers("alice, bob".into()),
            Verb::RemoveMembers("alice".into()),
            Verb::SetParameter(parameter(None)),
            Verb::SetParameter(parameter(Some("\"in database x\""))),
        ];
        for verb in Verb::WORDS.iter().chain(&composed) {
            assert_eq!(Verb::parse(&verb.to_string()), Some(verb.clone()));
        }
        assert_eq!(composed[0].to_string(), "grant select, update (a, b) to app, x to y on");
        assert!(!composed[0].grants_reading() && Verb::Grant("usage to app".into()).grants_reading());
        assert_eq!(Verb::parse("forget"), None);
        assert!(serde_json::from_str::<Verb>("\"forget\"").is_err());
    }

    #[test]
    fn a_tag_says_what_its_command_does() {
        assert_eq!(Verb::of_tag("ALTER TABLE"), Verb::Alter);
        assert_eq!(Verb::of_tag("SECURITY LABEL"), Verb::Security);
        assert_eq!(Verb::of_tag("MERGE"), Verb::Run);
    }
}
