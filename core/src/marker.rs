//! Lines that look like the start of a section and are not.
//!
//! A comment that is almost a marker hides an expensive mistake: what follows it, the way back, would run as part of the way forth. So
//! such a line is an error. Sentences that mention a runbook, a rollback or a downgrade stay comments.

use crate::visible::is_invisible;

/// Sections of a revision file.
pub const SECTIONS: [&str; 3] = ["upgrade", "downgrade", "verify"];

/// A line that is almost a marker, or the marker of another tool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AlmostMarker {
    /// The tool, if it is not ours.
    pub tool: Option<&'static str>,
    /// The section that it seems to begin.
    pub section: Option<&'static str>,
}

/// What a comment says, in lower case and without blanks.
#[derive(Clone, Copy)]
enum Text {
    Whole(&'static str),
    Beginning(&'static str),
}

/// The first that fits counts.
const OTHERS: [(Text, &str, Option<&str>); 21] = [
    // https://pressly.github.io/goose/documentation/annotations/
    (Text::Beginning("+gooseup"), "goose", Some("upgrade")),
    (Text::Beginning("+goosedown"), "goose", Some("downgrade")),
    (Text::Beginning("+goose"), "goose", None),
    // https://github.com/rubenv/sql-migrate
    (Text::Beginning("+migrateup"), "sql-migrate", Some("upgrade")),
    (Text::Beginning("+migratedown"), "sql-migrate", Some("downgrade")),
    (Text::Beginning("+migrate"), "sql-migrate", None),
    // https://github.com/amacneil/dbmate
    (Text::Whole("migrate:up"), "dbmate", Some("upgrade")),
    (Text::Beginning("migrate:uptransaction:"), "dbmate", Some("upgrade")),
    (Text::Whole("migrate:down"), "dbmate", Some("downgrade")),
    (Text::Beginning("migrate:downtransaction:"), "dbmate", Some("downgrade")),
    // https://docs.liquibase.com, "Formatted SQL"
    (Text::Beginning("liquibaseformattedsql"), "Liquibase", None),
    (Text::Whole("rollback"), "Liquibase", Some("downgrade")),
    (Text::Whole("rollback:"), "Liquibase", Some("downgrade")),
    // https://github.com/elwinar/rambler
    (Text::Whole("ramblerup"), "rambler", Some("upgrade")),
    (Text::Whole("ramblerdown"), "rambler", Some("downgrade")),
    // https://salsita.github.io/node-pg-migrate
    (Text::Whole("upmigration"), "node-pg-migrate", Some("upgrade")),
    (Text::Whole("downmigration"), "node-pg-migrate", Some("downgrade")),
    // https://www.playframework.com/documentation/latest/Evolutions
    (Text::Whole("!ups"), "Play", Some("upgrade")),
    (Text::Whole("!downs"), "Play", Some("downgrade")),
    // https://mybatis.org/migrations
    (Text::Whole("@undo"), "MyBatis", Some("downgrade")),
    // https://github.com/jackc/tern
    (Text::Beginning("createabove/dropbelow"), "tern", Some("downgrade")),
];

/// Whether a line that is no marker looks like one.
pub fn almost_marker(line: &str) -> Option<AlmostMarker> {
    // Some of these end a comment for PostgreSQL, and all of them a line for some editor.
    line.split(['\r', '\u{b}', '\u{c}', '\u{85}', '\u{2028}', '\u{2029}']).find_map(in_piece)
}

fn in_piece(piece: &str) -> Option<AlmostMarker> {
    let said = said(piece);
    let ours = |section| Some(AlmostMarker { tool: None, section });
    if !["--", "/*", "#"].iter().any(|start| said.starts_with(start)) {
        // Behind SQL, only what names a section and says nothing else is taken for a marker.
        let behind = said.rsplit_once("--").and_then(|(_, comment)| comment.strip_prefix("runbook:"))?;
        return SECTIONS.into_iter().find(|section| behind == *section).and_then(|section| ours(Some(section)));
    }
    let text = said.trim_start_matches(['-', '/', '*', '#']).trim_end_matches(['-', '/', '*', '#', ';']);
    if let Some(rest) = text.strip_prefix("runbook:") {
        return ours(SECTIONS.into_iter().find(|section| rest.starts_with(section)));
    }
    let alone = |section: &&str| text.strip_prefix("runbook") == Some(section) || (text == *section && text != "verify");
    if let Some(section) = SECTIONS.into_iter().find(alone) {
        return ours(Some(section));
    }
    let other = OTHERS.iter().find(|(known, ..)| known.fits(text));
    other.map(|(_, tool, section)| AlmostMarker { tool: Some(tool), section: *section })
}

impl Text {
    fn fits(self, text: &str) -> bool {
        match self {
            Self::Whole(whole) => text == whole,
            Self::Beginning(beginning) => text.starts_with(beginning),
        }
    }
}

/// A line in lower case, without blanks and without what cannot be seen.
fn said(line: &str) -> String {
    line.chars().filter(|c| !c.is_whitespace() && !c.is_control() && !is_invisible(*c)).flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_almost_a_marker_is_seen() {
        for line in [
            "--runbook: downgrade",
            "--  runbook: downgrade",
            "  -- runbook: downgrade",
            "\u{a0}-- runbook: downgrade",
            "\u{feff}-- runbook: downgrade",
            "--\u{a0}runbook: downgrade",
            "-- run\u{200b}book: downgrade",
            "-- Runbook: downgrade",
            "-- RUNBOOK: DOWNGRADE",
            "-- runbook : downgrade",
            "-- runbook downgrade",
            "--- runbook: downgrade",
            "/* runbook: downgrade */",
            "# runbook: downgrade",
            "-- downgrade",
            "SELECT 1; -- runbook: downgrade",
            "-- x\r-- runbook: downgrade",
            "SELECT 1;\r-- runbook: downgrade\rDROP TABLE t;",
            "-- x\u{2028}-- runbook: downgrade",
        ] {
            let seen = almost_marker(line);
            assert_eq!(seen, Some(AlmostMarker { tool: None, section: Some("downgrade") }), "{line:?}");
        }
        let unknown = Some(AlmostMarker { tool: None, section: None });
        assert_eq!(almost_marker("--runbook: the way back"), unknown);
    }

    #[test]
    fn markers_of_other_tools_are_seen() {
        for (line, tool, section) in [
            ("-- +goose Down", "goose", Some("downgrade")),
            ("-- +goose StatementBegin", "goose", None),
            ("-- +migrate Down notransaction", "sql-migrate", Some("downgrade")),
            ("-- migrate:down", "dbmate", Some("downgrade")),
            ("-- migrate:up transaction:false", "dbmate", Some("upgrade")),
            ("--liquibase formatted sql", "Liquibase", None),
            ("-- rollback", "Liquibase", Some("downgrade")),
            ("--rollback;", "Liquibase", Some("downgrade")),
            ("-- rambler down", "rambler", Some("downgrade")),
            ("-- Down Migration", "node-pg-migrate", Some("downgrade")),
            ("# --- !Downs", "Play", Some("downgrade")),
            ("-- //@UNDO", "MyBatis", Some("downgrade")),
            ("---- create above / drop below ----", "tern", Some("downgrade")),
        ] {
            assert_eq!(almost_marker(line), Some(AlmostMarker { tool: Some(tool), section }), "{line:?}");
        }
    }

    #[test]
    fn sentences_and_sql_stay_what_they_are() {
        for line in [
            "-- The runbook: upgrade first, then vacuum.",
            "-- see the runbook for the downgrade",
            "-- runbook 12 says so",
            "-- runbooks: see the wiki",
            "-- rollback is not possible here",
            "-- downgrade needs an outage",
            "-- migrate: old rows first",
            "-- down the road",
            "-- verify",
            "-- up",
            "-- message: explain -- runbook: downgrade",
            "--",
            "",
            "ROLLBACK;",
            "SELECT 'runbook: downgrade';",
            "SELECT '-- runbook: downgrade';",
            "runbook: downgrade",
            "COMMENT ON TABLE t IS 'x'; -- the runbook: downgrade",
        ] {
            assert_eq!(almost_marker(line), None, "{line:?}");
        }
    }
}
