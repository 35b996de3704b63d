//! Older versions of the extension, made of the current one: the same script, and at its end some statements that take things away and
//! add others. They are added to a copy of PostgreSQL's programs.

use crate::{Copy, Server, copy_of_postgresql, hand_over};
use std::path::Path;

/// The version that is current.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// A version that a script leads from to the current one.
pub const OLDER: &str = "0.0.9";

/// What makes an older version of the current one. The grants and comments of its script name the function that goes: so it goes at the end.
const TAKEN_BACK: &str = "
DROP FUNCTION runbook.tree_head();
ALTER TABLE runbook.setting ADD COLUMN older int DEFAULT 1 CONSTRAINT older CHECK (older > 0);
CREATE INDEX older ON runbook.setting (older);
COMMENT ON FUNCTION runbook.plan(text, text) IS 'older';
";

/// What leads from there to the current version, with everything that such a script may do.
const SCRIPT: &str = "{tree_head}
ALTER TABLE runbook.setting ALTER COLUMN older TYPE bigint;
UPDATE runbook.setting SET older = 2;
ALTER TABLE runbook.setting DROP CONSTRAINT older;
DROP INDEX runbook.older;
ALTER TABLE runbook.setting DROP COLUMN older;
DROP VIEW runbook.protected_tables CASCADE;
{protected_tables}
COMMENT ON FUNCTION runbook.plan(text, text) IS 'newer';";

/// A server in a copy of PostgreSQL's programs, made in `directory`, with [`OLDER`] and the versions that `scripts` lead from: the version
/// before, the version after, and the SQL between them.
///
/// # Panics
/// Where files can't be written, or the current script has changed beyond recognition.
pub fn server(directory: &Path, parameters: &[&str], scripts: &[(&str, &str, &str)]) -> Server {
    let Copy { extensions, pg_config, .. } = copy_of_postgresql(directory);
    let current = std::fs::read_to_string(extensions.join(format!("pg_runbook--{VERSION}.sql"))).unwrap();
    let statement = |from: &str, to: &str| {
        let rest = &current[current.find(from).unwrap()..];
        rest[..rest.find(to).unwrap() + to.len()].to_owned()
    };
    let update = SCRIPT
        .replace("{tree_head}", &statement("CREATE  FUNCTION \"tree_head\"", "'tree_head_wrapper';"))
        .replace("{protected_tables}", &statement("CREATE VIEW runbook.protected_tables", ";\n"));
    for (from, to, script) in [(OLDER, VERSION, &*update)].iter().chain(scripts) {
        let write = |name: &str, text: &str| std::fs::write(extensions.join(format!("pg_runbook--{name}.sql")), text).unwrap();
        write(from, &format!("{current}\n{TAKEN_BACK}"));
        write(&format!("{from}--{to}"), script);
    }
    hand_over(directory);
    Server::start_from(&pg_config, parameters)
}
