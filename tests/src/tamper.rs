//! Ways to falsify a ledger, as data: `tests/tamper.txt` is run by the test `tamper`, and `docs/tampering.md` is generated from it.
//!
//! A paragraph is a falsification: `# title`, then steps, a line each (a line that starts with blanks goes on):
//!
//! - `from NAME`: the copy of the database to begin with, `now` unless it says otherwise.
//! - `sql: SQL` is run as a superuser with the guard off and all triggers disabled.
//! - `sh: COMMAND` is run in a directory with the auditor's files, for what is done to those.
//! - `run: ARGUMENTS` of `runbook`, `{verify}` unless it says otherwise; it must end with exit code 9.
//! - `finds: TEXT` must be in what it prints.

/// One falsification.
#[derive(Clone, Debug, Default)]
pub struct Tampering {
    /// The heading that it stands under.
    pub group: String,
    /// What is done.
    pub title: String,
    /// The copy of the database to begin with.
    pub from: String,
    /// Statements.
    pub sql: Vec<String>,
    /// Shell commands.
    pub sh: Vec<String>,
    /// Arguments of the command that finds it.
    pub run: String,
    /// What that says.
    pub finds: String,
}

/// Reads the data.
///
/// # Panics
/// Where a line doesn't follow the format.
pub fn parse(text: &str) -> Vec<Tampering> {
    let mut found: Vec<Tampering> = Vec::new();
    let mut group = String::new();
    let mut last = String::new();
    for (at, line) in text.lines().enumerate() {
        let at = at + 1;
        if line.trim().is_empty() {
            continue;
        }
        if let Some(heading) = line.strip_prefix("## ") {
            heading.clone_into(&mut group);
            continue;
        }
        if let Some(title) = line.strip_prefix("# ") {
            found.push(Tampering {
                group: group.clone(),
                title: title.to_owned(),
                from: "now".to_owned(),
                run: "{verify}".to_owned(),
                ..Tampering::default()
            });
            continue;
        }
        let tampering = found.last_mut().unwrap_or_else(|| panic!("line {at}: a step of nothing"));
        if line.starts_with(' ') {
            let steps = if last == "sql" { &mut tampering.sql } else { &mut tampering.sh };
            let step = steps.last_mut().unwrap_or_else(|| panic!("line {at}: goes on with nothing"));
            step.push('\n');
            step.push_str(line.trim());
            continue;
        }
        let (key, value) =
            line.split_once(": ").or_else(|| line.split_once(' ')).unwrap_or_else(|| panic!("line {at}: {line}"));
        key.clone_into(&mut last);
        match key {
            "from" => value.clone_into(&mut tampering.from),
            "sql" => tampering.sql.push(value.to_owned()),
            "sh" => tampering.sh.push(value.to_owned()),
            "run" => value.clone_into(&mut tampering.run),
            "finds" => value.clone_into(&mut tampering.finds),
            _ => panic!("line {at}: {key}"),
        }
    }
    found
}

/// The page of the docs.
pub fn page(all: &[Tampering]) -> String {
    let mut page = format!(
        "# Tampering\n\nHow a ledger can be falsified, by a superuser with the guard off and every trigger disabled, or by whoever holds \
         the auditor's files; and what `runbook audit` says of it. Generated from `tests/tamper.txt`, which the test `tamper` runs: \
         {} ways, each found. The ledger has 1,300 entries; checkpoints were signed at 300, 700 and 1,300.\n\n\
         What no checkpoint covers yet can be changed by a superuser without a trace: sign often. A position can be named exactly \
         where the falsifier has left one hash as it was; where every hash was computed again, it is between two checkpoints.\n",
        all.len()
    );
    let mut group = "";
    for tampering in all {
        if tampering.group != group {
            group = &tampering.group;
            page += &format!("\n## {group}\n\n| what is done | what is said |\n|---|---|\n");
        }
        page += &format!("| {} | {} |\n", tampering.title.replace('|', "\\|"), tampering.finds.replace('|', "\\|"));
    }
    page
}
