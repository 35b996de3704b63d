//! Judges what a server with the library says beside what a bare one says.

use super::report::{Outcome, settle, shape};
use super::scene::Guard;
use super::way::Way;
use super::wire::{Answer, Fields, Said};

/// What came of a statement that was sent in this way to a database in this state.
pub fn outcome(guard: Guard, way: Way, ours: &[Answer], bare: &[Answer]) -> Outcome {
    let closed = |answers: &[Answer]| answers.iter().any(|answer| answer.closed);
    if closed(ours) && !closed(bare) {
        return Outcome::Crashed;
    }
    let (here, there) = (error(ours), error(bare));
    // A hook takes some of the stack.
    let late = |error: Option<&Fields>| error.is_some_and(|error| matches!(error.get('C'), "57014" | "55P03" | "54001"));
    if late(here) || late(there) {
        return Outcome::Late;
    }
    match way {
        Way::Submit | Way::Permit => sane(here),
        Way::Upgrade if ours.first().is_some_and(|submitted| submitted.error().is_some()) => sane(here),
        Way::Upgrade if here.is_some_and(is_excluded) => sane(here),
        Way::Upgrade if essence(here) == essence(there) => Outcome::Same,
        _ if ours == bare => Outcome::Same,
        _ if matches!(guard, Guard::Active | Guard::Apply) && ours.iter().any(refuses) => Outcome::Refused,
        _ if ours.iter().map(settle).eq(bare.iter().map(settle)) => Outcome::Same,
        _ => Outcome::Different,
    }
}

/// The answers between BEGIN and ROLLBACK; to the end, if that is where the connection was closed.
pub fn main(answers: &[Answer]) -> &[Answer] {
    let closed = answers.last().is_none_or(|last| last.closed);
    if closed { &answers[answers.len().min(2) / 2..] } else { &answers[1..answers.len() - 1] }
}

/// The error that a statement ended with.
pub fn error(answers: &[Answer]) -> Option<&Fields> {
    answers.iter().find_map(Answer::error)
}

/// An answer that may be any error but one that says that something is broken.
fn sane(error: Option<&Fields>) -> Outcome {
    let broken = error.is_some_and(|error| error.get('C').starts_with("XX") || error.get('C').len() != 5);
    if broken { Outcome::Different } else { Outcome::Sane }
}

/// Whether the guard refuses by policy, or protects itself. A block that catches the error may say so in words of its own.
pub fn refuses(answer: &Answer) -> bool {
    let signs = ["and not approved", "would damage the guard", "could not be judged"];
    answer.said.iter().any(|said| match said {
        Said::Report(fields) => signs.iter().any(|sign| fields.get('M').contains(sign)),
        Said::Complete(_) => false,
    })
}

/// What an error of a revision has in common with that of the statement by itself.
fn essence(error: Option<&Fields>) -> Option<(&str, &str)> {
    error.map(|error| (error.get('C'), error.get('M')))
}

/// In what two answers differ.
pub fn difference(ours: &[Answer], bare: &[Answer]) -> String {
    if ours.iter().any(|answer| answer.closed) {
        return format!("closed: {}", shape(error(ours)));
    }
    let (here, there) = (error(ours), error(bare));
    if here.map(|error| error.get('M')) != there.map(|error| error.get('M')) {
        return format!("errors: {} | {}", shape(here), shape(there));
    }
    let settled = |answers: &[Answer]| answers.iter().map(settle).flat_map(|answer| answer.said).collect::<Vec<_>>();
    let (ours, bare) = (settled(ours), settled(bare));
    let differs = |said: &&Said| times(said, &ours) != times(said, &bare);
    let told = |said: &Said| match said {
        Said::Complete(tag) => tag.clone(),
        Said::Report(fields) => fields.get('V').to_owned() + " " + &shape(Some(fields)),
    };
    let mut told: Vec<String> = ours.iter().chain(&bare).filter(differs).map(told).collect();
    told.dedup();
    format!("more or fewer of: {}", told.join(", "))
}

fn times(wanted: &Said, all: &[Said]) -> usize {
    all.iter().filter(|said| *said == wanted).count()
}

/// What a revision can't hold although a session can, and what is said of the role of the session, which is not the migration role.
fn is_excluded(error: &Fields) -> bool {
    let signs = [
        "is not allowed in a revision",
        "must be called before any query",
        "leaves a cursor WITH HOLD open",
        "permission denied to rename role",
    ];
    signs.iter().any(|sign| error.get('M').contains(sign))
}
