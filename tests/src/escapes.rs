//! Ways around the guard, as data: `tests/escapes.txt` is run by the test `escapes`, through real connections, on a server that
//! preloads the library and on one that does not, and `docs/escapes.md` is generated from it.
//!
//! A paragraph is an attempt:
//!
//! - `# title`
//! - `preloaded: OUTCOME` and `plain: OUTCOME`, or `both: OUTCOME`.
//! - Steps: `WHO: SQL` must succeed; `WHO tries: SQL` is the attempt itself; `WHO tries extended: SQL` sends it with the extended
//!   protocol; `WHO tries replication: SQL` over a replication connection; `WHO tries swallowing: SQL` may succeed, since it
//!   catches the refusal.
//! - `WHO finally: SQL` puts back what all databases share.
//! - `check: SQL` must be true at the end, asked by a superuser of the database.
//!
//! WHO is a login, with `/2` for a second session of it and `@NAME` for another database; `{db}` stands for the name of the
//! database. A line that starts with blanks goes on.
//!
//! Outcomes:
//!
//! - `blocked`: refused with 42501, in the ledger, and nothing is gone.
//! - `recorded`: passes, and the ledger has an entry about it.
//! - `denied [WHY]`: refused without an entry, by PostgreSQL itself.
//! - `harmless`: passes, and nothing is gone.
//! - `detectable WHAT`: passes; `check:` lines show what tells.
//! - `uncovered WHY`: passes unseen, as `guard_status()` says.
//!
//! A matrix multiplies: `statement NAME: SQL` and `vehicle NAME: SQL with {sql}, or {text} in a string`; outcomes of a statement
//! stand in brackets after its name, `[preloaded OUTCOME; plain OUTCOME]`; after a vehicle's, how it is sent, and the statement
//! that it does not carry: `[simple, not NAME]`.

/// What must come of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Refused by the guard, recorded, and nothing is gone.
    Blocked,
    /// Passes with an entry.
    Recorded,
    /// Refused without an entry; by PostgreSQL itself unless it says otherwise.
    Denied(String),
    /// Passes, and nothing is gone.
    Harmless,
    /// Passes; what tells.
    Detectable(String),
    /// Passes unseen; why.
    Uncovered(String),
}

impl Outcome {
    fn parse(text: &str) -> Option<Self> {
        let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
        Some(match word {
            "blocked" => Self::Blocked,
            "recorded" => Self::Recorded,
            "denied" => Self::Denied(rest.to_owned()),
            "harmless" => Self::Harmless,
            "detectable" => Self::Detectable(rest.to_owned()),
            "uncovered" => Self::Uncovered(rest.to_owned()),
            _ => return None,
        })
    }

    /// For a table.
    pub fn describe(&self) -> String {
        match self {
            Self::Blocked => "blocked".to_owned(),
            Self::Recorded => "recorded".to_owned(),
            Self::Denied(why) if why.is_empty() => "denied by PostgreSQL".to_owned(),
            Self::Denied(why) => format!("denied: {why}"),
            Self::Harmless => "harmless".to_owned(),
            Self::Detectable(what) => format!("only detectable: {what}"),
            Self::Uncovered(why) => format!("not covered: {why}"),
        }
    }
}

/// How SQL is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Must succeed, with the simple protocol.
    Prepares,
    /// The attempt, with the simple protocol.
    Simple,
    /// The attempt, with the extended protocol.
    Extended,
    /// The attempt, over a replication connection.
    Replication,
    /// The attempt, which catches errors itself.
    Swallowing,
    /// Must be true.
    Checks,
    /// Puts back what is shared by all databases.
    Finally,
}

/// One step.
#[derive(Clone, Debug)]
pub struct Step {
    /// The session.
    pub who: String,
    /// How it is sent.
    pub way: Way,
    /// The SQL.
    pub sql: String,
}

/// One attempt.
#[derive(Clone, Debug)]
pub struct Escape {
    /// The heading that it stands under.
    pub group: String,
    /// What is tried.
    pub title: String,
    /// What must come of it with the library preloaded.
    pub preloaded: Outcome,
    /// What must come of it without.
    pub plain: Outcome,
    /// The steps.
    pub steps: Vec<Step>,
}

/// Reads the data.
///
/// # Panics
/// Where a line doesn't follow the format.
pub fn parse(text: &str) -> Vec<Escape> {
    let mut lines: Vec<(usize, String)> = Vec::new();
    for (at, line) in text.lines().enumerate() {
        if line.starts_with(' ') {
            let last = &mut lines.last_mut().expect("a line goes on with nothing").1;
            last.push(' ');
            last.push_str(line.trim());
        } else if !line.trim().is_empty() && !line.starts_with("//") {
            lines.push((at + 1, line.to_owned()));
        }
    }
    let mut escapes: Vec<Escape> = Vec::new();
    let (mut group, mut statements, mut vehicles) = (String::new(), Vec::new(), Vec::new());
    for (at, line) in lines {
        let wrong = || -> ! { panic!("line {at}: {line}") };
        if let Some(heading) = line.strip_prefix("## ") {
            group = heading.to_owned();
        } else if let Some(title) = line.strip_prefix("# ") {
            let (group, title) = (group.clone(), title.to_owned());
            let blocked = Outcome::Blocked;
            escapes.push(Escape { group, title, preloaded: blocked.clone(), plain: blocked, steps: vec![] });
        } else if let Some(rest) = line.strip_prefix("statement ") {
            statements.push(statement(rest).unwrap_or_else(|| wrong()));
        } else if let Some(rest) = line.strip_prefix("vehicle ") {
            vehicles.push(vehicle(rest).unwrap_or_else(|| wrong()));
        } else {
            let (head, rest) = line.split_once(": ").unwrap_or_else(|| wrong());
            let escape = escapes.last_mut().unwrap_or_else(|| wrong());
            match head {
                "both" => {
                    escape.preloaded = Outcome::parse(rest).unwrap_or_else(|| wrong());
                    escape.plain = escape.preloaded.clone();
                }
                "preloaded" => escape.preloaded = Outcome::parse(rest).unwrap_or_else(|| wrong()),
                "plain" => escape.plain = Outcome::parse(rest).unwrap_or_else(|| wrong()),
                _ => escape.steps.push(step(head, rest).unwrap_or_else(|| wrong())),
            }
        }
    }
    for (vehicle, way, without, template) in &vehicles {
        for (name, preloaded, plain, sql) in statements.iter().filter(|statement| statement.0 != *without) {
            let steps: Vec<Step> = template
                .split(" ;; ")
                .map(|part| part.replace("{sql}", sql).replace("{text}", &sql.replace('\'', "''")))
                .map(|sql| Step { who: "dba".to_owned(), way: Way::Prepares, sql })
                .collect();
            let mut steps = steps;
            if let Some(last) = steps.last_mut() {
                last.way = *way;
            }
            escapes.push(Escape {
                group: format!("By {vehicle}"),
                title: name.clone(),
                preloaded: preloaded.clone(),
                plain: plain.clone(),
                steps,
            });
        }
    }
    escapes
}

fn step(head: &str, sql: &str) -> Option<Step> {
    let words: Vec<&str> = head.split_whitespace().collect();
    let way = match &words[..] {
        ["check"] => Way::Checks,
        [_] => Way::Prepares,
        [_, "tries"] => Way::Simple,
        [_, "finally"] => Way::Finally,
        [_, "tries", how] => way(how)?,
        _ => return None,
    };
    Some(Step { who: words[0].to_owned(), way, sql: sql.to_owned() })
}

fn way(word: &str) -> Option<Way> {
    Some(match word {
        "simple" => Way::Simple,
        "extended" => Way::Extended,
        "replication" => Way::Replication,
        "swallowing" => Way::Swallowing,
        _ => return None,
    })
}

/// `NAME [preloaded OUTCOME; plain OUTCOME]: SQL`
fn statement(text: &str) -> Option<(String, Outcome, Outcome, String)> {
    let (head, sql) = text.split_once("]: ")?;
    let (name, outcomes) = head.split_once(" [")?;
    let (preloaded, plain) = outcomes.split_once("; ")?;
    let preloaded = Outcome::parse(preloaded.strip_prefix("preloaded ")?)?;
    let plain = Outcome::parse(plain.strip_prefix("plain ")?)?;
    Some((name.to_owned(), preloaded, plain, sql.to_owned()))
}

/// `NAME [WAY]: SQL` or `NAME [WAY, not STATEMENT]: SQL`
fn vehicle(text: &str) -> Option<(String, Way, String, String)> {
    let (head, sql) = text.split_once("]: ")?;
    let (name, how) = head.split_once(" [")?;
    let (how, without) = how.split_once(", not ").unwrap_or((how, ""));
    Some((name.to_owned(), way(how)?, without.to_owned(), sql.to_owned()))
}
