//! Everything that can be wrong before a database is asked.
//!
//! A variant has one SQLSTATE, a primary message in PostgreSQL's style, and, where they help, a DETAIL
//! and a HINT in full sentences. The extension raises them as they are; the CLI maps [`Kind`] to an exit code.

use crate::visible::visible_line;
use std::fmt;

/// The result of everything fallible in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What sort of failure an [`Error`] is. Exit codes and retry decisions depend on this, not on the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A file or a submission is malformed.
    Input,
    /// A revision, branch or range does not exist, or is not reachable.
    NotFound,
    /// A target names more than one revision.
    Ambiguous,
    /// The graph can't be as described: cycle, duplicate, missing parent.
    Graph,
}

/// What is wrong with a revision file, a submission, a graph or a target.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields are named by the message that prints them")]
pub enum Error {
    /// A revision file doesn't follow the format.
    File { file: String, line: usize, problem: String, fix: String },
    /// The jsonb given to `submit` doesn't follow its shape.
    Submission { problem: String, fix: String },
    /// A revision that no file can hold.
    Unwritable { revision: String, difference: String },
    /// Larger than a revision may be.
    TooLarge { what: String, bytes: u64, limit: u64 },
    /// Characters that an id may not have.
    RevisionId { id: String, why: String },
    /// Two revisions with one id.
    Duplicate { id: String, first: String, second: String },
    /// A parent or a dependency that was not submitted.
    MissingParent { revision: String, parent: String, relation: &'static str },
    /// Revisions that are their own ancestors.
    Cycle { revisions: Vec<String>, relation: &'static str },
    /// A branch label that another revision holds.
    LabelTaken { label: String, revision: String, owner: String },
    /// Nothing has that name.
    NoSuchRevision { target: String, nearest: Vec<String> },
    /// A prefix of several names.
    AmbiguousPrefix { prefix: String, candidates: Vec<String> },
    /// `head` where there are several.
    MultipleHeads { target: String, heads: Vec<String> },
    /// `label@revision` where the revision is on another branch.
    NotOnBranch { revision: String, branch: String },
    /// A relative step with more than one way to go.
    AmbiguousWalk { target: String, candidates: Vec<String> },
    /// A relative step beyond the ends of the graph.
    TooFar { target: String },
    /// Steps in the direction that the verb does not go.
    WrongWay { target: String, direction: &'static str },
    /// Targets that contain one another.
    Overlap { revision: String, other: Vec<String> },
    /// A target that isn't on the way in that direction.
    NotOnTheWay { target: String, direction: &'static str, current: Vec<String> },
}

impl Error {
    /// The sort of failure.
    pub fn kind(&self) -> Kind {
        match self {
            Self::File { .. }
            | Self::Submission { .. }
            | Self::Unwritable { .. }
            | Self::TooLarge { .. }
            | Self::RevisionId { .. } => Kind::Input,
            Self::Duplicate { .. } | Self::MissingParent { .. } | Self::Cycle { .. } | Self::LabelTaken { .. } => Kind::Graph,
            Self::NoSuchRevision { .. }
            | Self::NotOnBranch { .. }
            | Self::TooFar { .. }
            | Self::WrongWay { .. }
            | Self::NotOnTheWay { .. } => Kind::NotFound,
            Self::AmbiguousPrefix { .. } | Self::MultipleHeads { .. } | Self::AmbiguousWalk { .. } | Self::Overlap { .. } => {
                Kind::Ambiguous
            }
        }
    }

    /// The five characters of the SQLSTATE, from PostgreSQL's Appendix A.
    pub fn sqlstate(&self) -> &'static str {
        match self {
            Self::File { .. } | Self::Submission { .. } | Self::Unwritable { .. } | Self::RevisionId { .. } => "22023",
            Self::TooLarge { .. } => "54000",
            Self::Duplicate { .. } | Self::LabelTaken { .. } => "42710",
            Self::Cycle { .. } => "42P17",
            Self::MissingParent { .. } | Self::NoSuchRevision { .. } | Self::NotOnBranch { .. } => "42704",
            Self::TooFar { .. } | Self::WrongWay { .. } | Self::NotOnTheWay { .. } => "22023",
            Self::AmbiguousPrefix { .. } | Self::MultipleHeads { .. } | Self::AmbiguousWalk { .. } | Self::Overlap { .. } => {
                "42P08"
            }
        }
    }

    /// More about the circumstances, in full sentences.
    pub fn detail(&self) -> Option<String> {
        match self {
            Self::AmbiguousPrefix { candidates, .. } | Self::AmbiguousWalk { candidates, .. } => {
                Some(format!("Candidates: {}.", candidates.join(", ")))
            }
            Self::MultipleHeads { heads, .. } => Some(format!("The heads are {}.", heads.join(", "))),
            Self::Cycle { revisions, .. } => Some(format!("Revisions on the cycle or after it: {}.", revisions.join(", "))),
            Self::Duplicate { first, second, .. } => Some(format!("It is defined by {first} and by {second}.")),
            Self::NotOnTheWay { current, .. } => Some(if current.is_empty() {
                "The database is at base: no revision is applied.".into()
            } else {
                format!("The database is at {}.", current.join(", "))
            }),
            Self::NoSuchRevision { nearest, .. } if !nearest.is_empty() => {
                Some(format!("Similar names: {}.", nearest.join(", ")))
            }
            Self::Unwritable { difference, .. } => Some(format!("Reading the file back shows a difference: {difference}.")),
            _ => None,
        }
    }

    /// The next thing to type.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::File { fix, .. } | Self::Submission { fix, .. } => fix.clone(),
            Self::Unwritable { revision, .. } => format!("runbook show {revision} --format json"),
            Self::TooLarge { .. } => "Load bulk data with COPY outside the revision, or split the revision.".into(),
            Self::RevisionId { .. } => "Let \"runbook revision -m MESSAGE\" choose an id.".into(),
            Self::Duplicate { .. } => {
                "Give one of them a new id, and write that id into the \"parents\" header of its children.".into()
            }
            Self::MissingParent { parent, .. } => format!("Submit revision {parent} first, or correct the header."),
            Self::Cycle { .. } => "Correct the parents of one of them so that every revision leads back to base.".into(),
            Self::LabelTaken { .. } => "Choose another branch_label.".into(),
            Self::NoSuchRevision { .. } => {
                "List what exists with \"runbook history\" or SELECT * FROM runbook.revisions.".into()
            }
            Self::AmbiguousPrefix { .. } => "Type more of the revision id.".into(),
            Self::MultipleHeads { heads, .. } => format!(
                "Name one of them, use \"heads\" for all, or join them with \"runbook merge -m MESSAGE {}\".",
                heads.join(" ")
            ),
            Self::NotOnBranch { .. } => "See the branches with \"runbook branches\".".into(),
            Self::AmbiguousWalk { .. } => "Name the revision, or the branch, as in label@+1.".into(),
            Self::TooFar { .. } => "Use \"head\" to go to the end or \"base\" to go to the start.".into(),
            Self::WrongWay { direction, .. } => {
                let back = *direction == "downgrade";
                format!("Write runbook {direction} {}, or use the other verb.", if back { "-1" } else { "+1" })
            }
            Self::Overlap { .. } => "Name only the later of them.".into(),
            Self::NotOnTheWay { direction, .. } => {
                let other = if *direction == "upgrade" { "downgrade" } else { "upgrade" };
                format!("See \"runbook current\" and \"runbook history\"; to go the other way, use \"runbook {other}\".")
            }
        })
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { file, line, problem, .. } => write!(f, "{file}:{line}: {problem}"),
            Self::Submission { problem, .. } => write!(f, "invalid revision: {problem}"),
            Self::Unwritable { revision, .. } => {
                write!(f, "revision \"{revision}\" can't be written as a file: reading the file would give another revision")
            }
            Self::TooLarge { what, bytes, limit } => {
                write!(f, "{what} has {bytes} bytes, more than the limit of {limit}")
            }
            Self::RevisionId { id, why } => write!(f, "invalid revision id \"{}\": {why}", visible_line(id)),
            Self::Duplicate { id, .. } => write!(f, "revision \"{id}\" is present more than once"),
            Self::MissingParent { revision, parent, relation } => {
                write!(f, "revision \"{revision}\" names {relation} \"{parent}\", which does not exist")
            }
            Self::Cycle { relation, .. } => write!(f, "{relation} between revisions"),
            Self::LabelTaken { label, revision, owner } => {
                write!(f, "branch label \"{label}\" of revision \"{revision}\" is already used by revision \"{owner}\"")
            }
            Self::NoSuchRevision { target, .. } => write!(f, "no such revision or branch \"{}\"", visible_line(target)),
            Self::AmbiguousPrefix { prefix, .. } => write!(f, "several revisions start with \"{prefix}\""),
            Self::MultipleHeads { target, .. } => write!(f, "target \"{target}\" is ambiguous: there are several heads"),
            Self::NotOnBranch { revision, branch } => {
                write!(f, "revision \"{revision}\" is not a member of branch \"{branch}\"")
            }
            Self::AmbiguousWalk { target, .. } => write!(f, "target \"{target}\" is ambiguous: the path forks"),
            Self::TooFar { target } => write!(f, "target \"{target}\" walks past the end of the graph"),
            Self::WrongWay { target, direction } => {
                write!(f, "target \"{target}\" is no step of {direction}: it goes the other way")
            }
            Self::Overlap { revision, other } => {
                write!(f, "requested revision \"{revision}\" overlaps with other requested revisions {}", other.join(", "))
            }
            Self::NotOnTheWay { target, direction, .. } => {
                write!(f, "\"{target}\" is not a valid {direction} target from the current heads")
            }
        }
    }
}

impl std::error::Error for Error {}
