//! What came of the statements, counted, and one example of each kind of difference.

use super::wire::{Answer, Fields, Said};
use std::collections::BTreeMap;
use std::fmt;

/// What came of a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// Both servers say the same.
    Same,
    /// The guard refuses it, and policy says so.
    Refused,
    /// It took too long, or too much of the stack, on one of the servers.
    Late,
    /// There is nothing to compare with, and the answer is sane.
    Sane,
    /// The servers say different things.
    Different,
    /// The server with the library is gone.
    Crashed,
}

/// One example of a kind of difference, and how often it was seen.
#[derive(Clone, Debug)]
pub struct Finding {
    /// What it is.
    pub outcome: Outcome,
    /// Where, how and what was sent.
    pub example: String,
    /// How often the like was seen.
    pub times: usize,
}

/// The figures.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// By state, and by outcome.
    pub counts: BTreeMap<(String, Outcome), usize>,
    /// How often each SQLSTATE was read.
    pub codes: BTreeMap<String, usize>,
    /// By what tells them apart.
    pub findings: BTreeMap<String, Finding>,
}

impl Report {
    /// Counts a statement.
    pub fn count(&mut self, state: &str, outcome: Outcome, error: Option<&Fields>) {
        let code = error.map_or("00000", |error| error.get('C'));
        *self.codes.entry(code.to_owned()).or_default() += 1;
        *self.counts.entry((state.to_owned(), outcome)).or_default() += 1;
    }

    /// Keeps a finding, and prints it if it is the first of its kind; the shortest example of each kind stays.
    pub fn find(&mut self, outcome: Outcome, kind: String, example: String) {
        if !self.findings.contains_key(&kind) {
            println!("\n{outcome:?}: {kind}\n{example}");
        }
        let finding = self.findings.entry(kind).or_insert_with(|| Finding { outcome, example: example.clone(), times: 0 });
        finding.times += 1;
        if example.len() < finding.example.len() {
            finding.example = example;
        }
    }

    /// How many statements had this outcome.
    pub fn total(&self, outcome: Outcome) -> usize {
        self.counts.iter().filter(|((_, known), _)| *known == outcome).map(|(_, count)| count).sum()
    }

    /// The sums of all states, in one line.
    pub fn sum(&self) -> String {
        let outcomes = [Outcome::Different, Outcome::Refused, Outcome::Late, Outcome::Crashed];
        let [different, refused, late, crashed] = outcomes.map(|outcome| self.total(outcome));
        let tried = self.tried();
        format!("{tried} statements, {different} differences, {refused} refusals, {late} timeouts, {crashed} crashes")
    }

    /// How many statements were tried.
    pub fn tried(&self) -> usize {
        self.counts.values().sum()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for ((state, outcome), count) in &self.counts {
            writeln!(f, "{state:<40} {:<10} {count:>8}", format!("{outcome:?}"))?;
        }
        let codes: Vec<String> = self.codes.iter().map(|(code, times)| format!("{code} {times}")).collect();
        writeln!(f, "{} SQLSTATEs: {}", codes.len(), codes.join(", "))?;
        writeln!(f, "{}", self.sum())?;
        let mut findings: Vec<_> = self.findings.iter().collect();
        findings.sort_by_key(|(_, finding)| std::cmp::Reverse((finding.outcome, finding.times)));
        for (kind, finding) in findings {
            writeln!(f, "\n{:?}, {} times: {kind}\n{}", finding.outcome, finding.times, finding.example)?;
        }
        Ok(())
    }
}

/// What an answer says, for a reader.
pub fn tell(answer: &Answer) -> String {
    let field = |(letter, text): &(char, String)| format!("{letter}={}", shorten(text, 300));
    let line = |said: &Said| match said {
        Said::Complete(tag) => format!("  {tag}"),
        Said::Report(fields) => {
            format!("  {}", fields.0.iter().filter(|field| field.0 != 'S').map(field).collect::<Vec<_>>().join(" | "))
        }
    };
    let mut lines: Vec<String> = answer.said.iter().map(line).collect();
    if answer.closed {
        lines.push("  (closed)".to_owned());
    }
    lines.join("\n")
}

/// Cuts the middle out of a long text.
pub fn shorten(text: &str, most: usize) -> String {
    let letters: Vec<char> = text.chars().collect();
    if letters.len() <= most {
        return text.to_owned();
    }
    let part = |letters: &[char]| letters.iter().collect::<String>();
    format!("{}… {} letters …{}", part(&letters[..most / 2]), letters.len(), part(&letters[letters.len() - most / 2..]))
}

/// A message without the names and numbers in it, to tell kinds of messages apart.
pub fn shape(fields: Option<&Fields>) -> String {
    let Some(fields) = fields else { return "no error".to_owned() };
    let mut shape = format!("{} ", fields.get('C'));
    let mut quoted = false;
    for c in fields.get('M').chars() {
        quoted ^= c == '"';
        if !quoted && !c.is_ascii_digit() {
            shape.push(c);
        }
    }
    shorten(&shape, 100)
}

/// The tag of a command, without the number of rows where so many come from the catalogs.
fn rows(tag: &str) -> String {
    let (command, count) = tag.rsplit_once(' ').unwrap_or((tag, ""));
    if count.len() > 2 { format!("{command} #") } else { tag.to_owned() }
}

/// What differs from server to server for no reason of ours: numbers of objects, directories of sockets, the order of notices, what
/// VERBOSE prints.
pub fn settle(answer: &Answer) -> Answer {
    let text = |text: &str| {
        let mut out = String::new();
        let mut digits = String::new();
        for c in text.chars().chain(['\0']) {
            if c.is_ascii_digit() {
                digits.push(c);
                continue;
            }
            let temporary = out.ends_with("pg_temp_") || out.ends_with("pg_toast_temp_");
            out.push_str(if digits.len() >= 5 || temporary { "#" } else { &digits });
            digits.clear();
            out.push(c);
        }
        out.pop();
        // PL/pgSQL names a function as the search path has it that is there when the session, or the one after it, first calls it.
        let out = out.replace("function public.run(text)", "function run(text)");
        match out.split_once("/tmp/runbook-") {
            Some((before, after)) => format!("{before}/tmp/runbook-{}", &after[after.len().min(6)..]),
            None => out,
        }
    };
    // Dependent objects are listed in the order of their databases' OIDs.
    let sorted = |text: String| {
        let mut lines: Vec<&str> = text.lines().collect();
        lines.sort_unstable();
        lines.join("\n")
    };
    let field = |(letter, value): &(char, String)| (*letter, if *letter == 'D' { sorted(text(value)) } else { text(value) });
    // VERBOSE tells numbers of pages and seconds.
    let is_verbose = |said: &&Said| matches!(said, Said::Report(fields) if fields.get('V') == "INFO");
    let said = answer.said.iter().filter(|said| !is_verbose(said)).map(|said| match said {
        Said::Report(fields) => Said::Report(Fields(fields.0.iter().map(field).collect())),
        Said::Complete(tag) => Said::Complete(rows(tag)),
    });
    let mut said: Vec<Said> = said.collect();
    said.sort_by_key(|said| format!("{said:?}"));
    Answer { said, closed: answer.closed }
}
