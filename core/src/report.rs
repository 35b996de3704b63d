//! An error of PostgreSQL as data: every field that a client can show, so that it can be raised again elsewhere.

use serde::{Deserialize, Serialize};

/// An error with all its fields; those that it does not have are empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Report {
    /// SQLSTATE.
    pub sqlstate: String,
    /// The primary message.
    pub message: String,
    /// DETAIL.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// HINT.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub hint: String,
    /// CONTEXT.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub context: String,
    /// The schema that it is about.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub schema: String,
    /// The table.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub table: String,
    /// The column.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub column: String,
    /// The data type.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub data_type: String,
    /// The constraint.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub constraint: String,
    /// The function of PostgreSQL's that raised it; not kept.
    #[serde(skip)]
    pub routine: String,
    /// The statement that `position` counts in.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub query: String,
    /// One-based character position; 0 if there is none.
    #[serde(skip_serializing_if = "is_zero")]
    pub position: i32,
}

impl Report {
    /// The same, no longer than can be stored and shown: an author's text may have any length.
    #[must_use]
    pub fn bounded(mut self) -> Self {
        const MOST: usize = 64 << 10;
        for text in [&mut self.message, &mut self.detail, &mut self.hint, &mut self.context, &mut self.query] {
            if text.len() > MOST {
                text.truncate(text.floor_char_boundary(MOST));
                text.push('…');
            }
        }
        self
    }

    /// Without what may hold values of rows and texts of statements.
    #[must_use]
    pub fn reduced(self) -> Self {
        Self { sqlstate: self.sqlstate, message: self.message, ..Self::default() }
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde wants a reference")]
fn is_zero(position: &i32) -> bool {
    *position == 0
}
