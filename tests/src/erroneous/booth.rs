//! A booth: one login in one database of a server with the library, and the same login on the bare server.

use super::breakage::Breaker;
use super::judge::{difference, error, main, outcome, refuses};
use super::report::{Outcome, Report, shorten, tell};
use super::rng::Rng;
use super::scene::Guard;
use super::spoils::BEFORE;
use super::way::Way;
use super::wire::{Answer, Step, Wire};
use crate::{Server, wait_until};
use postgres::NoTls;

/// What a statement may take.
const OPTIONS: &str = "-c statement_timeout=20s -c lock_timeout=10s";

/// More is sent in several round trips, so that nobody waits for a full buffer.
const BATCH: usize = 60_000;

/// One in so many statements is a systematic one.
const SYSTEMATIC: usize = 5;

/// Puts back what statements outside of a transaction leave behind.
const MEND: [&str; 3] = ["DROP INDEX IF EXISTS public.made, archive.made", "ALTER SYSTEM RESET ALL", "RESET ALL"];

/// The names of what stands in a database, outside of our schema.
const SIGNATURE: &str = "
SELECT concat((SELECT string_agg(relname, ' ' ORDER BY relname) FROM pg_class WHERE relnamespace IN ('public'::regnamespace, 'archive'::regnamespace)),
    (SELECT string_agg(datname, ' ' ORDER BY datname) FROM pg_database), (SELECT string_agg(spcname, ' ' ORDER BY spcname) FROM pg_tablespace),
    (SELECT string_agg(subname, ' ' ORDER BY subname) FROM pg_subscription))";

/// A login in a state, and how its statements are sent.
#[derive(Debug)]
pub struct Booth<'a> {
    /// How the state is called in the report.
    pub name: String,
    guard: Guard,
    preloaded: bool,
    user: &'static str,
    ours: &'a Server,
    bare: &'a Server,
    wires: Option<(Wire, Wire)>,
    done: usize,
}

/// A statement on its way.
struct Case {
    before: &'static str,
    way: Way,
    sql: Vec<u8>,
    ours: Vec<Step>,
    bare: Vec<Step>,
}

impl<'a> Booth<'a> {
    /// The booths of a server: its states, and in each a superuser, the owner of the objects, somebody
    /// without rights, and who submits and applies.
    pub fn all(ours: &'a Server, bare: &'a Server, preloaded: bool) -> Vec<Self> {
        let logins = |guard| match guard {
            Guard::Absent if !preloaded => vec![],
            Guard::Absent | Guard::Record | Guard::Off => vec!["postgres", "app_owner", "mallory"],
            Guard::Inert | Guard::Active => vec!["postgres", "app_owner", "mallory", "gina"],
            Guard::Apply => vec!["gina"],
        };
        let booth = |guard: Guard, user| Self {
            name: format!("{}, {guard:?}, {user}", if preloaded { "preloaded" } else { "not preloaded" }),
            guard,
            preloaded,
            user,
            ours,
            bare,
            wires: None,
            done: 0,
        };
        Guard::ALL.into_iter().flat_map(|guard| logins(guard).into_iter().map(move |user| booth(guard, user))).collect()
    }

    /// Sends `count` statements and compares the answers. `place` and `places` say which of the systematic ones are its share.
    pub fn run(&mut self, breaker: &Breaker, seed: u64, (place, places): (usize, usize), count: usize, report: &mut Report) {
        // Without preloading, each revision that fails starts a worker that records it.
        let count = if !self.preloaded && self.guard == Guard::Apply { count / 5 } else { count };
        let systematic = breaker.systematic();
        let cases: Vec<Case> = (0..count)
            .map(|_| {
                let mut rng = self.chance(seed, place);
                let wanted = (self.done / SYSTEMATIC + place * systematic / places) % systematic;
                let wanted = self.done.is_multiple_of(SYSTEMATIC).then_some(wanted);
                self.done += 1;
                self.case(breaker.statement(wanted, &mut rng), &mut rng)
            })
            .collect();
        let mut rest = cases.as_slice();
        while !rest.is_empty() {
            let mut bytes = 0;
            let fits = rest.iter().take_while(|case| {
                bytes += case.sql.len() * 2 + 100;
                bytes <= BATCH
            });
            let done = self.send(&rest[..fits.count().max(1)], report);
            rest = &rest[done..];
        }
    }

    /// Sends statements outside of a transaction, each to our server first: what the guard refuses must not happen on the other.
    pub fn run_alone(&mut self, breaker: &Breaker, seed: u64, place: usize, count: usize, report: &mut Report) {
        if self.user == "gina" {
            return;
        }
        let before = self.scenes();
        assert_eq!(before[0], before[1], "{}: a statement was committed", self.name);
        for _ in 0..count {
            let (mut ours, mut bare) = self.wires.take().unwrap_or_else(|| self.connect());
            let mut rng = self.chance(seed, place);
            self.done += 1;
            let way = *rng.pick(&[Way::Simple, Way::Extended]);
            let sql = self.here(breaker.alone(&mut rng));
            let steps = way.steps(&sql);
            let run = |wire: &mut Wire| {
                wire.send(&steps);
                wire.answers(steps.len())
            };
            let here = run(&mut ours);
            let there = if here.iter().any(refuses) { vec![] } else { run(&mut bare) };
            self.judge(("", way), &sql, &here, &there, report);
            if !here.iter().chain(&there).any(|answer| answer.closed) {
                self.wires = Some((ours, bare));
            }
        }
        for server in [self.ours, self.bare] {
            let mut admin =
                server.config(self.guard.database(), "postgres").options("-c runbook.mode=off").connect(NoTls).unwrap();
            MEND.iter().for_each(|sql| admin.batch_execute(sql).unwrap());
        }
        assert_eq!(self.scenes(), before, "{}: the statements left something behind", self.name);
    }

    /// What stands in both databases.
    fn scenes(&self) -> Vec<String> {
        let scene =
            |server: &Server| server.connect(self.guard.database(), "postgres").query_one(SIGNATURE, &[]).unwrap().get(0);
        [self.ours, self.bare].map(scene).to_vec()
    }

    fn chance(&self, seed: u64, place: usize) -> Rng {
        let number = u64::try_from(self.done).ok().zip(u64::try_from(place).ok());
        let (number, place) = number.expect("a usize has at most 64 bits");
        Rng::of_statement(seed, number << 8 | place)
    }

    /// The statement for the database of this booth.
    fn here(&self, sql: Vec<u8>) -> Vec<u8> {
        let text = String::from_utf8(sql).map(|text| text.replace("{db}", self.guard.database()).into_bytes());
        text.unwrap_or_else(|error| error.into_bytes())
    }

    fn case(&self, sql: Vec<u8>, rng: &mut Rng) -> Case {
        let sql = self.here(sql);
        let way = match (self.user, self.guard) {
            ("gina", Guard::Apply) => Way::Upgrade,
            ("gina", _) => *rng.pick(&[Way::Submit, Way::Permit]),
            _ => Way::pick(rng),
        };
        // The text of a revision is JSON, and so UTF-8. Its context is its own.
        let utf8 = |sql: &[u8]| String::from_utf8_lossy(sql).replace("PG_EXCEPTION_CONTEXT", "MESSAGE_TEXT").into_bytes();
        let sql = if self.user == "gina" { utf8(&sql) } else { sql };
        // What a statement commits would last.
        let commits = ["COMMIT", "END"].iter().any(|word| String::from_utf8_lossy(&sql).contains(word));
        let before = if way != Way::Upgrade && !commits && rng.once_in(4) { rng.word(&BEFORE) } else { "" };
        let within = |more: &str, steps: Vec<Step>| {
            let plain = |sql: String| Step::Simple(sql.into_bytes());
            [vec![plain(format!("BEGIN; {before}; {more}"))], steps, vec![plain("ROLLBACK".to_owned())]].concat()
        };
        let bare = match way {
            Way::Submit | Way::Permit => vec![],
            // A revision leaves no prepared statement to the next one.
            Way::Upgrade => within("DEALLOCATE ALL; SET ROLE app_owner", Way::Simple.steps(&sql)),
            _ => within("", way.steps(&sql)),
        };
        Case { before, way, ours: within("", way.steps(&sql)), bare, sql }
    }

    /// Sends cases in one round trip; returns how many were answered.
    fn send(&mut self, cases: &[Case], report: &mut Report) -> usize {
        let (mut ours, mut bare) = self.wires.take().unwrap_or_else(|| self.connect());
        let steps = |of: fn(&Case) -> &Vec<Step>| cases.iter().flat_map(of).cloned().collect::<Vec<_>>();
        let (to_ours, to_bare) = (steps(|case| &case.ours), steps(|case| &case.bare));
        ours.send(&to_ours);
        bare.send(&to_bare);
        let mut from_bare = bare.answers(to_bare.len()).into_iter();
        let mut from_ours = ours.answers(to_ours.len()).into_iter();
        for (at, case) in cases.iter().enumerate() {
            let here: Vec<Answer> = from_ours.by_ref().take(case.ours.len()).collect();
            let there: Vec<Answer> = from_bare.by_ref().take(case.bare.len()).collect();
            let closed = here.iter().chain(&there).any(|answer| answer.closed);
            self.judge((case.before, case.way), &case.sql, main(&here), main(&there), report);
            if closed {
                return at + 1;
            }
        }
        let reset = ours.run("DISCARD ALL").closed | bare.run("DISCARD ALL").closed;
        assert!(!reset, "{}: a connection is closed between two batches", self.name);
        self.wires = Some((ours, bare));
        cases.len()
    }

    fn connect(&self) -> (Wire, Wire) {
        let mut wires = None;
        wait_until(60, "the servers accept connections", || {
            let open = |server: &Server, user| Wire::connect(&server.socket(), self.guard.database(), user, OPTIONS);
            wires = open(self.ours, self.user).zip(open(self.bare, self.user));
            wires.is_some()
        });
        wires.expect("it was waited for")
    }

    fn judge(&self, (before, way): (&str, Way), sql: &[u8], ours: &[Answer], bare: &[Answer], report: &mut Report) {
        let outcome = outcome(self.guard, way, ours, bare);
        report.count(&self.name, outcome, error(ours));
        if !matches!(outcome, Outcome::Different | Outcome::Crashed) {
            return;
        }
        let kind = difference(ours, bare);
        let sql = shorten(&String::from_utf8_lossy(sql), 400);
        let told = |answers: &[Answer]| answers.iter().map(tell).filter(|told| !told.is_empty()).collect::<Vec<_>>().join("\n");
        let example = format!("{} | {before} | {way:?} | {sql}\n ours:\n{}\n bare:\n{}", self.name, told(ours), told(bare));
        report.find(outcome, kind, example);
    }
}
