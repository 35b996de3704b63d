//! Breaks statements.

use super::grammar::Grammar;
use super::rng::Rng;
use super::spoils::{CLAUSES, EDGES, EXPRESSIONS, FRONTS, NAMES, TYPES, VALUES};
use super::tokens::{Kind, Token, cut, join};

/// The examples to break.
#[derive(Debug)]
pub struct Breaker {
    examples: Vec<Vec<Token>>,
    systematic: Vec<(usize, usize)>,
    grammar: Grammar,
}

/// What is done at every token, in turn.
const TURNS: usize = 4;

/// Deep enough that recursion is felt; the last is beyond what a parser takes.
const DEPTHS: [usize; 6] = [3, 30, 100, 300, 1000, 12_000];

const PLACES: [&str; 10] =
    ["int", "text", "bigint", "float", "bigserial", "varchar", "numeric", "timestamp", "date", "boolean"];

impl Breaker {
    /// A breaker of these statements, and of those of a grammar.
    pub fn new(examples: &[String], grammar: Grammar) -> Self {
        let examples: Vec<Vec<Token>> = examples.iter().map(|sql| cut(sql)).collect();
        let turns = |(example, tokens): (usize, &Vec<Token>)| {
            let count = tokens.len() * TURNS;
            (0..count).map(move |turn| (example, turn))
        };
        let systematic = examples.iter().enumerate().flat_map(turns).collect();
        Self { examples, systematic, grammar }
    }

    /// How many statements are made without chance.
    pub fn systematic(&self) -> usize {
        self.systematic.len()
    }

    /// A statement: one of the systematic ones, where an example is cut off, or lacks a token, or has one twice, or two
    /// swapped, at every token in turn; else one by chance. It may be no UTF-8.
    pub fn statement(&self, systematic: Option<usize>, rng: &mut Rng) -> Vec<u8> {
        if let Some(&(example, turn)) = systematic.and_then(|at| self.systematic.get(at)) {
            let (mut tokens, at) = (self.examples[example].clone(), turn / TURNS);
            match turn % TURNS {
                0 => tokens.truncate(at),
                1 => drop(tokens.remove(at)),
                2 => tokens.insert(at, tokens[at].clone()),
                _ => tokens.swap(at.saturating_sub(1), at),
            }
            return join(&tokens).into_bytes();
        }
        // Some examples stay whole, and some are broken several times. What the grammar makes is wrong by itself.
        let (mut tokens, times) = if rng.once_in(5) {
            (rng.pick(&self.examples).clone(), [0, 1, 1, 1, 1, 1, 1, 2, 2, 3][rng.below(10)])
        } else {
            (cut(&self.grammar.text("statement", rng)), usize::from(rng.once_in(5)))
        };
        for _ in 0..times {
            self.damage(&mut tokens, rng);
        }
        let sql = join(&tokens);
        // What comes after a COMMIT would last.
        let sql = if sql.contains("COMMIT") { sql.replace(';', ",") } else { sql };
        if rng.once_in(40) { edge(&sql, rng) } else { sql.into_bytes() }
    }

    /// A statement of the grammar that runs outside of a transaction. Nothing of another is put into it, since what it does
    /// can't be rolled back.
    pub fn alone(&self, rng: &mut Rng) -> Vec<u8> {
        let mut tokens = cut(&self.grammar.text("alone", rng));
        let at = rng.below(tokens.len());
        match rng.below(12) {
            0 => replace(&mut tokens, rng, Kind::Name, &NAMES),
            1 => deepen(&mut tokens, rng),
            2 => tokens.insert(at + 1, sign(rng.word(&CLAUSES))),
            3 => arity(&mut tokens, rng),
            4 => tokens.insert(at, tokens[at].clone()),
            _ => {}
        }
        join(&tokens).into_bytes()
    }

    fn damage(&self, tokens: &mut Vec<Token>, rng: &mut Rng) {
        let end = tokens.len();
        if end == 0 {
            return;
        }
        let at = rng.below(end);
        match rng.below(24) {
            0..=4 => replace(tokens, rng, Kind::Name, &NAMES),
            5 => deepen(tokens, rng),
            6..=8 => retype(tokens, rng),
            9 => replace(tokens, rng, Kind::Number, &VALUES),
            10 => replace(tokens, rng, Kind::Text, &VALUES),
            11 | 12 => replace(tokens, rng, Kind::Number, &EXPRESSIONS),
            13..=15 => tokens.insert(at + 1, sign(rng.word(&CLAUSES))),
            16 => arity(tokens, rng),
            17 => {
                let span = tokens[at..(at + 1 + rng.below(5)).min(end)].to_vec();
                let to = if rng.once_in(2) { at } else { end };
                tokens.splice(to..to, span);
            }
            18 => tokens.truncate(at),
            19 => drop(tokens.remove(at)),
            20 => tokens.swap(at, rng.below(end)),
            21 => self.splice(tokens, at, rng),
            22 => front(tokens, rng),
            _ if rng.once_in(4) => lengthen(tokens, rng),
            _ => nest(tokens, rng),
        }
    }

    /// The start of one statement with the end, a clause or a word of another, or all of it behind a semicolon.
    fn splice(&self, tokens: &mut Vec<Token>, at: usize, rng: &mut Rng) {
        let other = rng.pick(&self.examples);
        let from = rng.below(other.len());
        match rng.below(4) {
            0 => drop(tokens.splice(at.., other[from..].to_vec())),
            1 => tokens[at] = other[from].clone(),
            2 => drop(tokens.splice(at..at, other[from..(from + 3).min(other.len())].to_vec())),
            _ => {
                tokens.push(sign(";"));
                tokens.extend(other.iter().cloned());
            }
        }
    }
}

/// A token that has a blank before it.
fn sign(text: &str) -> Token {
    Token { kind: Kind::Sign, text: format!(" {text}") }
}

fn places(tokens: &[Token], wanted: impl Fn(&Token) -> bool) -> Vec<usize> {
    (0..tokens.len()).filter(|at| wanted(&tokens[*at])).collect()
}

/// Replaces a token of a kind, or any.
fn replace(tokens: &mut [Token], rng: &mut Rng, kind: Kind, spoils: &[&'static str]) {
    let all = places(tokens, |token| token.kind == kind);
    let at = if all.is_empty() { rng.below(tokens.len()) } else { *rng.pick(&all) };
    tokens[at] = Token { kind, ..sign(rng.word(spoils)) };
}

/// Gives a name more parts.
fn deepen(tokens: &mut [Token], rng: &mut Rng) {
    let names = places(tokens, |token| token.kind == Kind::Name);
    if !names.is_empty() {
        let name = &mut tokens[*rng.pick(&names)];
        let parts = ["a.", "a.b.", "a.b.c.", "a.b.c.d.e.", "nosuch.", "pg_catalog.", "public.public.", "{db}.public.", "\"\"."];
        name.text = format!(" {}{}", rng.word(&parts), name.text.trim());
        if rng.once_in(4) {
            name.text.push_str(rng.word(&[".x", ".*", "[1]", ".x.y.z", "%TYPE", "()", "(*)", "(int)", "(nosuch, a.b.c.d)"]));
        }
    }
}

/// Replaces a type where one is recognized, and a name otherwise.
fn retype(tokens: &mut Vec<Token>, rng: &mut Rng) {
    let types = places(tokens, |token| PLACES.contains(&token.text.trim()));
    if types.is_empty() {
        return replace(tokens, rng, Kind::Name, &TYPES);
    }
    let at = *rng.pick(&types);
    let modified = tokens.get(at + 1).is_some_and(|next| next.text == "(");
    let end = tokens[at..].iter().position(|token| token.text == ")").filter(|_| modified).map_or(at + 1, |to| at + to + 1);
    tokens.splice(at..end, [sign(rng.word(&TYPES))]);
}

/// Changes how many arguments stand in parentheses.
fn arity(tokens: &mut Vec<Token>, rng: &mut Rng) {
    let open = places(tokens, |token| token.text.ends_with('('));
    if open.is_empty() {
        tokens.push(sign(rng.word(&["()", "(1)", "(int, int, int)", "(a, a)", "(*)", "(VARIADIC x)"])));
        return;
    }
    let more = ["1,", "int,", "nosuch,", "id, id,", ",", "*", "DISTINCT", "VARIADIC", "OUT x int,", "x => 1,", "ORDER BY 1,"];
    tokens.insert(*rng.pick(&open) + 1, sign(rng.word(&more)));
}

/// Puts a statement behind another's beginning.
fn front(tokens: &mut Vec<Token>, rng: &mut Rng) {
    let front = rng.word(&FRONTS);
    tokens.insert(0, sign(front));
    if front.ends_with('(') {
        tokens.push(sign(if front.starts_with("COPY") { ") TO STDOUT" } else { ") SELECT * FROM broken" }));
    }
}

/// Makes a list long: of names, of values, of commands.
fn lengthen(tokens: &mut [Token], rng: &mut Rng) {
    let at = rng.below(tokens.len());
    let times = *rng.pick(&[20, 200, 2000]);
    let from = if rng.once_in(2) { at } else { at.saturating_sub(1 + rng.below(3)) };
    let item = join(&tokens[from..=at]);
    tokens[at].text.push_str(&format!(", {item}").repeat(times));
}

/// Nests deeply: a value where there is one, else the whole statement.
fn nest(tokens: &mut Vec<Token>, rng: &mut Rng) {
    let most = *rng.pick(&DEPTHS);
    let values = places(tokens, |token| matches!(token.kind, Kind::Number | Kind::Text) || token.text.trim() == "true");
    if values.is_empty() {
        let [open, close] = *rng.pick(&[["EXPLAIN ", ""], ["(", ")"], ["/*", "*/"], ["EXPLAIN (", ")"], ["PREPARE p AS ", ""]]);
        // The scanner takes quadratic time for comments in comments.
        let depth = if open == "/*" { most.min(1000) } else { most };
        tokens.insert(0, sign(&open.repeat(depth)));
        tokens.push(sign(&close.repeat(depth)));
        return;
    }
    let value = &mut tokens[*rng.pick(&values)].text;
    let shapes = [
        ["(", ")"],
        ["ARRAY[", "]"],
        ["CASE WHEN true THEN ", " END"],
        ["f(", ")"],
        ["(SELECT ", ")"],
        ["ROW(", ")"],
        ["NOT ", ""],
        ["- ", ""],
        ["", "::int"],
        ["", " + 1"],
        ["", "[1]"],
        ["coalesce(1, ", ")"],
        ["(SELECT x FROM (SELECT ", ") AS s(x))"],
        ["{", "}"],
    ];
    let [open, close] = *rng.pick(&shapes);
    // So does the planner for queries in queries. The text of a row has twice as many quotes for each row around it.
    let depth = match open {
        "ROW(" => most.min(8),
        _ if open.contains("FROM") => most.min(100),
        _ => most,
    };
    *value = format!(" {}{}{}", open.repeat(depth), value.trim(), close.repeat(depth));
}

/// Puts an edge case of quoting or encoding in the place of a word.
fn edge(sql: &str, rng: &mut Rng) -> Vec<u8> {
    let words: Vec<&str> = sql.split(' ').collect();
    let at = rng.below(words.len());
    let long = "ä".repeat(40);
    let mut out = Vec::new();
    for (number, word) in words.iter().enumerate() {
        if number > 0 {
            out.push(b' ');
        }
        if number != at {
            out.extend(word.as_bytes());
        } else if rng.once_in(8) {
            out.extend(long.as_bytes());
        } else {
            let parts: Vec<&[u8]> = rng.pick(&EDGES).split(|byte| *byte == b'%').collect();
            out.extend(parts.join(word.as_bytes()));
        }
    }
    out
}
