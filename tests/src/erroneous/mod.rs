//! Erroneous statements: every example of `tests/statements.txt`, broken in many ways, sent to a server with the library and to a
//! bare one. What a client reads must be the same.
//!
//! Everything follows from a seed: the environment variable `RUNBOOK_SEED`, or a fixed one. `RUNBOOK_ERRONEOUS` says how many
//! statements are tried.

pub mod booth;
pub mod breakage;
pub mod grammar;
pub mod judge;
pub mod report;
pub mod rng;
pub mod scene;
pub mod spoils;
pub mod tokens;
pub mod way;
pub mod wire;

/// The examples of `tests/statements.txt` for a database, but for those that speak of our own parameters.
pub fn examples(text: &str) -> Vec<String> {
    let rows = text.lines().filter(|line| !line.starts_with("//") && !line.is_empty());
    let sql = rows.filter_map(|row| row.splitn(3, " | ").nth(2)).filter(|sql| !sql.contains("runbook"));
    let safe = |sql: &str| sql.replace("shop", "{db}").replace("host=x", "host=/nosuch").replace("/tmp/file", "/nosuch/file");
    sql.map(safe).collect()
}
