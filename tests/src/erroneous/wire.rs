//! A client of PostgreSQL's protocol, version 3.0, that sends many statements in one round trip and keeps every field of what it reads.
//!
//! The crate `postgres` stops at the first error of a batch and forgets notices. Here each step has an answer of its own.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// A message that the server sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// An error or a notice.
    Report(Fields),
    /// The tag of a command that is complete.
    Complete(String),
}

/// What an error or a notice says: the letter of a field and its text, without the place in the server's source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields(pub Vec<(char, String)>);

impl Fields {
    /// The text of a field, or nothing.
    pub fn get(&self, letter: char) -> &str {
        self.0.iter().find(|(known, _)| *known == letter).map_or("", |(_, text)| text)
    }

    /// Whether it ends the statement.
    pub fn is_error(&self) -> bool {
        matches!(self.get('V'), "ERROR" | "FATAL" | "PANIC")
    }
}

/// The answer to one step.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// What the server said, in order.
    pub said: Vec<Said>,
    /// Whether the connection was closed instead of ready for more.
    pub closed: bool,
}

impl Answer {
    /// The error that ended the step.
    pub fn error(&self) -> Option<&Fields> {
        self.said.iter().find_map(|said| match said {
            Said::Report(fields) if fields.is_error() => Some(fields),
            _ => None,
        })
    }
}

/// What is sent; each gets one answer.
#[derive(Clone, Debug)]
pub enum Step {
    /// The simple protocol.
    Simple(Vec<u8>),
    /// The extended protocol: parse, bind, describe, execute.
    Extended(Vec<u8>),
    /// Several statements by the extended protocol, before one Sync.
    Pipeline(Vec<String>),
}

/// A connection.
#[derive(Debug)]
pub struct Wire {
    stream: UnixStream,
    buffer: Vec<u8>,
    start: usize,
}

fn message(out: &mut Vec<u8>, letter: u8, body: &[&[u8]]) {
    let length: usize = 4 + body.iter().map(|part| part.len()).sum::<usize>();
    out.push(letter);
    out.extend(i32::try_from(length).expect("a message is shorter than 2 GB").to_be_bytes());
    body.iter().for_each(|part| out.extend(*part));
}

impl Wire {
    /// Connects to a unix socket; nothing if the server does not accept it now.
    pub fn connect(socket: &str, database: &str, user: &str, options: &str) -> Option<Self> {
        let stream = UnixStream::connect(format!("{socket}/.s.PGSQL.{}", crate::PORT)).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        let mut wire = Self { stream, buffer: Vec::new(), start: 0 };
        let mut body = 196_608_i32.to_be_bytes().to_vec();
        for (name, value) in [("user", user), ("database", database), ("options", options), ("client_encoding", "UTF8")] {
            body.extend([name.as_bytes(), b"\0", value.as_bytes(), b"\0"].concat());
        }
        body.push(0);
        let length = i32::try_from(body.len() + 4).ok()?;
        wire.stream.write_all(&[&length.to_be_bytes()[..], &body].concat()).ok()?;
        let answer = wire.answer();
        (!answer.closed && answer.error().is_none()).then_some(wire)
    }

    /// Sends steps. CopyFail ends a COPY FROM STDIN and is ignored otherwise.
    pub fn send(&mut self, steps: &[Step]) {
        let mut out = Vec::new();
        for step in steps {
            match step {
                Step::Simple(sql) => {
                    message(&mut out, b'Q', &[sql, b"\0"]);
                    message(&mut out, b'f', &[b"\0"]);
                }
                Step::Extended(sql) => {
                    message(&mut out, b'P', &[b"\0", sql, b"\0\0\0"]);
                    message(&mut out, b'B', &[b"\0\0\0\0\0\0\0\0"]);
                    message(&mut out, b'D', &[b"P\0"]);
                    message(&mut out, b'E', &[b"\0\0\0\0\0"]);
                    message(&mut out, b'f', &[b"\0"]);
                    message(&mut out, b'S', &[]);
                }
                Step::Pipeline(statements) => {
                    for sql in statements {
                        message(&mut out, b'P', &[b"\0", sql.as_bytes(), b"\0\0\0"]);
                        message(&mut out, b'B', &[b"\0\0\0\0\0\0\0\0"]);
                        message(&mut out, b'E', &[b"\0\0\0\0\0"]);
                    }
                    message(&mut out, b'S', &[]);
                }
            }
        }
        // Where the server has closed the connection, reading tells.
        let _ = self.stream.write_all(&out);
    }

    /// Reads the answers to `count` steps; fewer if the connection is closed.
    pub fn answers(&mut self, count: usize) -> Vec<Answer> {
        let mut answers = Vec::with_capacity(count);
        for _ in 0..count {
            let answer = self.answer();
            let closed = answer.closed;
            answers.push(answer);
            if closed {
                break;
            }
        }
        answers
    }

    /// One step and its answer.
    pub fn run(&mut self, sql: &str) -> Answer {
        self.send(&[Step::Simple(sql.as_bytes().to_vec())]);
        self.answer()
    }

    fn answer(&mut self) -> Answer {
        let mut answer = Answer::default();
        loop {
            let Some((letter, body)) = self.message() else {
                answer.closed = true;
                return answer;
            };
            match letter {
                b'Z' => return answer,
                b'E' | b'N' => answer.said.push(Said::Report(fields(&body))),
                b'C' => answer.said.push(Said::Complete(String::from_utf8_lossy(&body[..body.len() - 1]).into_owned())),
                _ => {}
            }
        }
    }

    fn message(&mut self) -> Option<(u8, Vec<u8>)> {
        self.fill(5)?;
        let head: [u8; 4] = self.buffer[self.start + 1..self.start + 5].try_into().ok()?;
        let length = usize::try_from(i32::from_be_bytes(head)).ok()?;
        self.fill(length + 1)?;
        let letter = self.buffer[self.start];
        let body = self.buffer[self.start + 5..self.start + 1 + length].to_vec();
        self.start += length + 1;
        Some((letter, body))
    }

    /// Reads until `wanted` bytes are there; nothing at the end of the stream.
    ///
    /// # Panics
    /// Where the server is silent for too long.
    fn fill(&mut self, wanted: usize) -> Option<()> {
        while self.buffer.len() - self.start < wanted {
            self.buffer.drain(..self.start);
            self.start = 0;
            let mut chunk = [0; 65_536];
            match self.stream.read(&mut chunk) {
                Ok(0) => return None,
                Ok(count) => self.buffer.extend(&chunk[..count]),
                Err(error) => match error.kind() {
                    ErrorKind::Interrupted => {}
                    ErrorKind::WouldBlock | ErrorKind::TimedOut => panic!("the server was silent for {PATIENCE:?}"),
                    _ => return None,
                },
            }
        }
        Some(())
    }
}

fn fields(body: &[u8]) -> Fields {
    let parts = body.split(|byte| *byte == 0).filter(|part| !part.is_empty());
    let read = parts.map(|part| (char::from(part[0]), String::from_utf8_lossy(&part[1..]).into_owned()));
    Fields(read.filter(|(letter, _)| !matches!(letter, 'F' | 'L' | 'R')).collect())
}
