//! Attempts to get unapproved work through, as data: `tests/attempts.txt` is run by the test `attempts`, through real
//! connections, and `docs/attempts.md` is generated from it.
//!
//! A paragraph is an attempt: `# title`, then steps, a line each (a line that starts with blanks goes on):
//!
//! - `WHO: SQL` must succeed.
//! - `WHO keeps NAME: SQL` keeps the first column for `{NAME}` in later lines.
//! - `WHO submits ID (PARENTS): UPGRADE || DOWNGRADE` submits a revision.
//! - `WHO refused SQLSTATE: SQL` must fail so, and must leave a refusal in the ledger; `WHO denied SQLSTATE` must fail so without
//!   an entry: by PostgreSQL's own privileges, or as bad input.
//! - `WHO starts: SQL` runs in the background until it waits for a lock; `WHO ends SQLSTATE` waits for its refusal.
//! - `check: SQL` must return true.
//! - `WHO recorded: SQL` must fail, in whatever way, and must leave a refusal in the ledger.
//! - `WHO copies: NAME` makes a copy of the database, as a restore would.
//!
//! WHO is a login, with `/2` for a second session of it and `@NAME` for another database.

/// One step.
#[derive(Clone, Debug)]
pub struct Step {
    /// The session: login, and what tells it from others of the same login.
    pub who: String,
    /// What is done.
    pub act: Act,
    /// The SQL, or what [`Act::Submits`] takes.
    pub text: String,
}

/// What a step does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// Runs SQL.
    Runs,
    /// Runs SQL and keeps the first column under a name.
    Keeps(String),
    /// Submits a revision with this id and these parents.
    Submits(String, Vec<String>),
    /// Runs SQL that must fail with this SQLSTATE and be in the ledger.
    Refused(String),
    /// Runs SQL that must fail and be in the ledger.
    Recorded,
    /// Runs SQL that PostgreSQL itself must refuse with this SQLSTATE.
    Denied(String),
    /// Starts SQL in the background.
    Starts,
    /// Waits for the refusal of what was started.
    Ends(String),
    /// Copies the database.
    Copies,
    /// Asks for something that must be true.
    Checks,
}

/// One attempt.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// The heading that it stands under.
    pub group: String,
    /// What is tried.
    pub title: String,
    /// Its steps.
    pub steps: Vec<Step>,
}

/// Reads the data.
///
/// # Panics
/// Where a line doesn't follow the format.
pub fn parse(text: &str) -> Vec<Attempt> {
    let mut attempts: Vec<Attempt> = Vec::new();
    let mut group = String::new();
    for (at, line) in text.lines().enumerate() {
        if line.trim().is_empty() {
            continue;
        } else if let Some(heading) = line.strip_prefix("## ") {
            group = heading.to_owned();
        } else if let Some(title) = line.strip_prefix("# ") {
            attempts.push(Attempt { group: group.clone(), title: title.to_owned(), steps: vec![] });
        } else if line.starts_with(' ') {
            let step = attempts.last_mut().and_then(|attempt| attempt.steps.last_mut()).expect("a line goes on with nothing");
            step.text.push(' ');
            step.text.push_str(line.trim());
        } else {
            let step = step(line).unwrap_or_else(|| panic!("line {}: {line}", at + 1));
            attempts.last_mut().expect("a step before the first attempt").steps.push(step);
        }
    }
    attempts
}

fn step(line: &str) -> Option<Step> {
    let (head, text) = line.split_once(':').unwrap_or((line, ""));
    let words: Vec<&str> = head.split_whitespace().collect();
    let act = match &words[1..] {
        [] if words[0] == "check" => Act::Checks,
        [] => Act::Runs,
        ["keeps", name] => Act::Keeps((*name).to_owned()),
        ["submits", id] => Act::Submits((*id).to_owned(), vec![]),
        ["submits", id, parents] => {
            let parents = parents.strip_prefix('(')?.strip_suffix(')')?;
            Act::Submits((*id).to_owned(), parents.split(',').map(str::to_owned).collect())
        }
        ["refused", code] => Act::Refused((*code).to_owned()),
        ["denied", code] => Act::Denied((*code).to_owned()),
        ["recorded"] => Act::Recorded,
        ["copies"] => Act::Copies,
        ["starts"] => Act::Starts,
        ["ends", code] => Act::Ends((*code).to_owned()),
        _ => return None,
    };
    Some(Step { who: words[0].to_owned(), act, text: text.trim().to_owned() })
}
