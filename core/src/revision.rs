//! One revision: what an author writes and what the server stores.
//!
//! Owns the shape that `runbook.submit(jsonb)` takes and the digest that approvals are bound to.
//! Invariant: a [`Revision`] in memory has valid names, headers that can be written on one line each, no NUL byte, and no
//! section above [`MAX_BYTES`]. [`Revision::checked`] enforces what the types do not.

use crate::error::{Error, Result};
use crate::visible::visible_line;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::fmt;

/// The largest revision, in bytes of SQL and headers together.
pub const MAX_BYTES: u64 = 16 * 1024 * 1024;

/// The id of a revision, or a branch label: 1 to 128 ASCII letters, digits, `_` and `.`; the first is no dot.
///
/// People compare ids with their eyes, type them, and paste them into a shell; files are named after them. Letters of other
/// scripts look like ASCII ones, and other punctuation has a meaning in targets (`@ - + : ,`), in a path or in a shell.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RevisionId(String);

impl RevisionId {
    /// Checks `id` and takes it.
    ///
    /// # Errors
    /// [`Error::RevisionId`] for other characters, and for words that targets reserve. Alembic's `verify_rev_id` refuses
    /// `@ - + :` only.
    pub fn new(id: impl Into<String>) -> Result<Self> {
        let id = id.into();
        let bad = id.chars().find(|c| !(c.is_ascii_alphanumeric() || "_.".contains(*c)));
        let why = if id.is_empty() {
            "it is empty".to_owned()
        } else if id.chars().count() > 128 {
            "it is longer than 128 characters".to_owned()
        } else if let Some(bad) = bad {
            format!("\"{}\" is not an ASCII letter, a digit, \"_\" or \".\"", visible(bad))
        } else if id.starts_with('.') {
            "it starts with a dot".to_owned()
        } else if ["head", "heads", "base", "current"].contains(&id.as_str()) {
            "it is a reserved word".to_owned()
        } else {
            return Ok(Self(id));
        };
        Err(Error::RevisionId { id, why })
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A character as a message shows it: one that is not ASCII is named too, since it may look like one that is.
fn visible(c: char) -> String {
    match visible_line(&c.to_string()) {
        shown if c.is_ascii() || crate::visible::is_invisible(c) => shown.into_owned(),
        shown => format!("{shown} (U+{:04X})", u32::from(c)),
    }
}

impl TryFrom<String> for RevisionId {
    type Error = Error;
    fn try_from(id: String) -> Result<Self> {
        Self::new(id)
    }
}

impl From<RevisionId> for String {
    fn from(id: RevisionId) -> Self {
        id.0
    }
}

impl fmt::Display for RevisionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// SHA-256 over the canonical encoding of everything in a revision that changes its meaning; 64 hex digits.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Digest(String);

impl Digest {
    /// The digest as 64 lower-case hex digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where a revision stands in expand → migrate → contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Additive: old code keeps working.
    Expand,
    /// Data moves.
    Migrate,
    /// Removes what is no longer used.
    Contract,
}

impl Phase {
    /// The phase as files and tables spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Expand => "expand",
            Self::Migrate => "migrate",
            Self::Contract => "contract",
        }
    }

    /// Reads what [`Phase::as_str`] writes.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Expand, Self::Migrate, Self::Contract].into_iter().find(|phase| phase.as_str() == text)
    }
}

/// A migration step with its way back. The serde shape is the one that `submit` takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Revision {
    /// Its id.
    pub revision: RevisionId,
    /// The revisions it follows (Alembic's `down_revision`); empty for a base.
    #[serde(default)]
    pub parents: Vec<RevisionId>,
    /// Revisions or branch labels that must be applied first without being parents.
    #[serde(default)]
    pub depends_on: Vec<String>,
    /// Names for the branch that starts here.
    #[serde(default)]
    pub branch_labels: Vec<String>,
    /// One line for people.
    #[serde(default)]
    pub message: String,
    /// The phase its author declares; what the classification says if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,
    /// Who wrote it, for people; the identity that counts is the session user who submits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// Whether it runs inside one transaction.
    #[serde(default = "yes")]
    pub transaction: bool,
    /// SQL of the upgrade.
    pub upgrade: String,
    /// SQL of the way back; `None` if there is none.
    #[serde(default)]
    pub downgrade: Option<String>,
    /// Why there is no way back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub irreversible_reason: Option<String>,
    /// SQL that must succeed after the upgrade.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verify: Option<String>,
    /// The application version that must be deployed first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requires_release: Option<String>,
    /// How long what it removes must have been unused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unused_for: Option<String>,
    /// A batched data change that belongs to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backfill: Option<String>,
}

fn yes() -> bool {
    true
}

impl Revision {
    /// Reads the jsonb that `submit` takes.
    ///
    /// # Errors
    /// [`Error::Submission`] with the key at fault; [`Error::RevisionId`]; [`Error::TooLarge`].
    pub fn from_json(json: &serde_json::Value) -> Result<Self> {
        const SHAPE: &str = "The keys are revision, parents, depends_on, branch_labels, message, phase, author, transaction, \
                             upgrade, downgrade, irreversible_reason, verify, requires_release, unused_for and backfill; \
                             \"runbook submit FILE\" builds them from a revision file.";
        if !json.is_object() {
            return Err(Error::Submission { problem: "it is not a JSON object".into(), fix: SHAPE.into() });
        }
        if let Some(id) = json.get("revision").and_then(|id| id.as_str()) {
            RevisionId::new(id)?;
        }
        let revision: Self = serde_json::from_value(json.clone())
            .map_err(|error| Error::Submission { problem: error.to_string(), fix: SHAPE.into() })?;
        revision.checked()
    }

    /// Enforces the invariants that types can't express.
    ///
    /// # Errors
    /// [`Error::TooLarge`], [`Error::Submission`].
    pub fn checked(self) -> Result<Self> {
        let id = self.revision.as_str();
        let texts =
            [Some(&self.upgrade), self.downgrade.as_ref(), self.verify.as_ref(), Some(&self.message), self.author.as_ref()];
        let bytes = texts.iter().flatten().map(|text| text.len() as u64).sum();
        if bytes > MAX_BYTES {
            return Err(Error::TooLarge { what: format!("revision \"{id}\""), bytes, limit: MAX_BYTES });
        }
        if texts.iter().flatten().any(|text| text.contains('\0')) {
            return Err(Error::Submission {
                problem: format!("revision \"{id}\" contains a NUL byte"),
                fix: "PostgreSQL text can't hold NUL; remove it.".into(),
            });
        }
        if self.parents.contains(&self.revision) {
            return Err(Error::Cycle { revisions: vec![id.to_owned()], relation: "self-loop" });
        }
        if self.depends_on.iter().any(|dependency| dependency == id) {
            return Err(Error::Cycle { revisions: vec![id.to_owned()], relation: "dependency self-loop" });
        }
        let names = [("a branch label", &self.branch_labels), ("a dependency", &self.depends_on)];
        for (what, name) in names.iter().flat_map(|(what, names)| names.iter().map(move |name| (what, name))) {
            if RevisionId::new(name.as_str()).is_err() {
                return Err(Error::Submission {
                    problem: format!("\"{}\" can't be {what}", visible_line(name)),
                    fix: "Use ASCII letters, digits, \"_\" and \".\"; the words head, heads, base and current are reserved."
                        .into(),
                });
            }
        }
        self.check_headers()?;
        let mut names: Vec<&str> = self.branch_labels.iter().map(String::as_str).chain([id]).collect();
        names.sort_unstable();
        if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(Error::Submission {
                problem: format!("\"{}\" is used twice among the id and the branch labels of revision \"{id}\"", twice[0]),
                fix: "Choose another branch label.".into(),
            });
        }
        Ok(self)
    }

    /// Headers are printed on one line each: no value may begin another line, or move the cursor.
    fn check_headers(&self) -> Result<()> {
        // These are for people; line breaks in them were always read as blanks.
        let prose = [
            ("message", Some(&self.message)),
            ("author", self.author.as_ref()),
            ("irreversible_reason", self.irreversible_reason.as_ref()),
        ];
        let terms = [
            ("requires_release", self.requires_release.as_ref()),
            ("unused_for", self.unused_for.as_ref()),
            ("backfill", self.backfill.as_ref()),
        ];
        let is_bad = |c: char, breaks: &str| c.is_control() && !breaks.contains(c);
        let prose = prose.iter().map(|(key, value)| (key, value, "\n\t"));
        for (key, value, breaks) in prose.chain(terms.iter().map(|(key, value)| (key, value, ""))) {
            let Some(bad) = value.and_then(|value| value.chars().find(|c| is_bad(*c, breaks))) else { continue };
            return Err(Error::Submission {
                problem: format!("{key} of revision \"{}\" contains the control character \"{}\"", self.revision, visible(bad)),
                fix: format!("Write {key} on one line, without control characters."),
            });
        }
        Ok(())
    }

    /// The upgrade's SQL as the parser takes it: the bounds of a backfill's batches are parameters there.
    pub fn upgrade_for_parser(&self) -> std::borrow::Cow<'_, str> {
        if self.backfill.is_some() { crate::backfill::for_parser(&self.upgrade).into() } else { self.upgrade.as_str().into() }
    }

    /// The digest that approvals are bound to.
    ///
    /// Covered: id, parents, dependencies and labels (as sets), declared phase, transaction mode, all SQL,
    /// release, unused_for and backfill. Not covered: message, author and reason, which change nothing that runs.
    pub fn digest(&self) -> Digest {
        let canonical = crate::canonical::canonical(&serde_json::json!({
            "format": 1,
            "revision": self.revision,
            "parents": sorted(&self.parents),
            "depends_on": sorted(&self.depends_on),
            "branch_labels": sorted(&self.branch_labels),
            "phase": self.phase,
            "transaction": self.transaction,
            "upgrade": self.upgrade,
            "downgrade": self.downgrade,
            "verify": self.verify,
            "requires_release": self.requires_release,
            "unused_for": self.unused_for,
            "backfill": self.backfill,
        }));
        Digest(hex::encode(Sha256::digest(canonical.as_bytes())))
    }
}

fn sorted<T: Ord + Clone>(items: &[T]) -> Vec<T> {
    let mut items = items.to_vec();
    items.sort();
    items.dedup();
    items
}

#[cfg(test)]
mod tests;
