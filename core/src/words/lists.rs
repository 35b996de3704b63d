//! Whether a text means columns that it does not name.

/// Where a text stands with respect to lists of columns.
#[derive(Debug, Default)]
pub struct Lists {
    place: Place,
    previous: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    #[default]
    Elsewhere,
    /// After INSERT, up to what follows the name.
    Inserting,
    /// After the parenthesis that opens a list, or a query.
    Opened,
}

impl Lists {
    /// Whether this token shows that columns are meant that are not named.
    pub fn lacks_columns(&mut self, token: &str, word: &str, first: char) -> bool {
        let queries = ["select", "values", "with", "table", "default", "overriding"];
        let (place, lacks) = match self.place {
            _ if word == "insert" => (Place::Inserting, false),
            Place::Inserting if first == '(' => (Place::Opened, false),
            Place::Inserting if queries.contains(&word) || first == ';' || first == ')' => (Place::Elsewhere, true),
            // A trigger, a rule, a grant, a policy.
            Place::Inserting if self.previous == "insert" && !["into", "values"].contains(&word) => (Place::Elsewhere, false),
            Place::Inserting => (Place::Inserting, false),
            Place::Opened if first == '(' => (Place::Opened, false),
            Place::Opened => (Place::Elsewhere, queries.contains(&word)),
            Place::Elsewhere => (Place::Elsewhere, false),
        };
        self.place = place;
        // What these come after names an object, and is no query.
        let objects = [
            "alter",
            "create",
            "drop",
            "truncate",
            "temp",
            "temporary",
            "unlogged",
            "foreign",
            "lock",
            "on",
            "returns",
            "vacuum",
            "analyze",
            "cluster",
            "reindex",
            "add",
            "for",
            "global",
            "local",
            "verbose",
        ];
        let is_query = word == "table" && !objects.contains(&self.previous.as_str());
        word.clone_into(&mut self.previous);
        lacks || is_query || token == "*" || WHOLE_ROWS.contains(&word)
    }

    /// Whether the text ends with an INSERT that has named no columns.
    pub fn is_inserting(&self) -> bool {
        self.place == Place::Inserting
    }
}

/// Words that stand for, or usually go with, all columns of a row.
const WHOLE_ROWS: [&str; 12] = [
    "natural",
    "copy",
    "rowtype",
    "row_to_json",
    "to_json",
    "to_jsonb",
    "json_agg",
    "jsonb_agg",
    "array_agg",
    "xmlforest",
    "table_to_xml",
    "hstore",
];
