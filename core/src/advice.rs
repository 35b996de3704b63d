//! What to do about errors of PostgreSQL's own that come up while a revision runs: PostgreSQL knows nothing of revisions.

/// What helps against an error, by its SQLSTATE and its message.
pub fn advice(sqlstate: &str, message: &str) -> Option<&'static str> {
    Some(match sqlstate {
        // 55P04: a new value of an enum can be used once it is committed. 2D000: a procedure or a DO block that ends its transaction.
        "25001" | "55P04" | "2D000" => {
            "Write \"-- transaction: off\" in the revision's header. A worker then runs each statement by itself: runbook \
             upgrade, or SELECT runbook.start_upgrade();"
        }
        "42501" if message.contains("row-level security") => {
            "Revisions run with row_security = off, so that no row is left out without a word. Let the migration role see all rows: \
             ALTER ROLE … BYPASSRLS. If the policy is to apply, begin the revision with SET LOCAL row_security = on;"
        }
        "42501" if message.starts_with("must be owner of") => {
            "Revisions run as the migration role (runbook.settings). Give it the object: ALTER … OWNER TO it, or make it a member of \
             the owner: GRANT owner TO it."
        }
        "55006" if message.contains("pending trigger events") => {
            "Put SET CONSTRAINTS ALL IMMEDIATE; before this statement, or write it into a revision of its own."
        }
        "0A000" if message.contains("partitioned table") && message.contains("concurrently") => {
            "Create the index ON ONLY the partitioned table, then CREATE INDEX CONCURRENTLY on each partition and ALTER INDEX … ATTACH \
             PARTITION."
        }
        "57014" if message.contains("statement timeout") => {
            "The limit is the client's or the login's: SET statement_timeout = 0, or start the upgrade as a job: runbook upgrade \
             without --atomic."
        }
        _ => return None,
    })
}

/// What to do about a text that PostgreSQL can't parse, where it seems to be written for psql.
pub fn for_psql(sql: &str, message: &str) -> Option<String> {
    let command = |(at, line): (usize, &str)| {
        let word = line.strip_prefix('\\')?.split_whitespace().next()?;
        Some((at + 1, word.to_owned()))
    };
    if let Some((line, word)) = sql.lines().enumerate().find_map(command) {
        let way = match word.as_str() {
            "restrict" | "unrestrict" => "Remove the lines \\restrict and \\unrestrict: pg_dump writes them for psql alone.",
            "." => "Rows of COPY … FROM stdin are read by psql alone: write INSERT, or dump with pg_dump --inserts.",
            "i" | "ir" | "include" => "Put the text of that file here.",
            "c" | "connect" => "A revision runs in the database to which it was submitted.",
            _ => "Write its effect as SQL, or remove it.",
        };
        return Some(format!("Line {line}: \\{word} is a command of psql, and not SQL. {way}"));
    }
    let has_variable = message.contains("near \":\"") && [":'", ":\"", ":"].iter().any(|start| sql.contains(start));
    has_variable.then(|| "Variables of psql, such as :'name', are not SQL: write the value itself.".to_owned())
}

#[cfg(test)]
mod tests {
    use super::{advice, for_psql};

    #[test]
    fn only_what_has_a_known_way_out_gets_advice() {
        for (sqlstate, message) in [
            ("2D000", "invalid transaction termination"),
            ("42501", "query would be affected by row-level security policy for table \"t\""),
            ("42501", "must be owner of table legacy"),
            ("55006", "cannot ALTER TABLE \"b\" because it has pending trigger events"),
            ("0A000", "cannot create index on partitioned table \"m\" concurrently"),
            ("57014", "canceling statement due to statement timeout"),
        ] {
            assert!(advice(sqlstate, message).is_some(), "{message}");
        }
        for (sqlstate, message) in [
            ("42501", "permission denied for table t"),
            ("55006", "cannot drop the currently open database"),
            ("57014", "canceling statement due to user request"),
            ("42P01", "relation \"t\" does not exist"),
        ] {
            assert_eq!(advice(sqlstate, message), None, "{message}");
        }
    }

    #[test]
    fn what_is_written_for_psql_is_told_with_its_line() {
        let syntax = "syntax error at or near \"\\\"";
        assert!(for_psql("SELECT 1;\n\\restrict abc\n", syntax).unwrap().starts_with("Line 2: \\restrict"));
        assert!(for_psql("\\set ON_ERROR_STOP on", syntax).unwrap().contains("\\set"));
        assert!(for_psql("COPY t FROM stdin;\n1\tone\n\\.\n", "syntax error at or near \"1\"").unwrap().contains("--inserts"));
        assert!(for_psql("SELECT :'name'", "syntax error at or near \":\"").unwrap().contains(":'name'"));
        assert_eq!(for_psql("SELEC 1", "syntax error at or near \"SELEC\""), None);
        assert_eq!(for_psql("SELECT E'\\n' FROM", "syntax error at end of input"), None);
    }
}
