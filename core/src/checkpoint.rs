//! Checkpoints and the notes that carry them: the texts, not the signatures.
//!
//! A checkpoint is three lines (C2SP tlog-checkpoint): origin, tree size, root hash in base64. A note (C2SP signed-note) is a text,
//! an empty line, and signature lines. A note says nothing by itself: whoever reads one checks a signature over [`Note::text`]
//! first.

use crate::merkle::Hash;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use sha2::{Digest, Sha256};

/// More than a note may have; those that anybody sends are not read further.
pub const LONGEST_NOTE: usize = 1_000_000;

/// What a note about a ledger says: how long it is, and the root over all of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Which ledger, and which epoch of it: see [`Origin`].
    pub origin: String,
    /// Number of leaves.
    pub size: u64,
    /// Root of the Merkle tree over them.
    pub root: Hash,
}

impl Checkpoint {
    /// The text that is signed.
    pub fn text(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, BASE64.encode(self.root))
    }

    /// Reads what [`Checkpoint::text`] writes. Further lines are allowed, as the format says, and mean nothing here.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let body = text.strip_suffix('\n').ok_or("the text does not end with a newline")?;
        let mut lines = body.split('\n');
        let origin = lines.next().filter(|line| !line.is_empty()).ok_or("there is no origin line")?;
        let size = lines.next().and_then(parse_size).ok_or("the second line is not a tree size")?;
        let root = lines.next().and_then(parse_hash).ok_or("the third line is not a root hash")?;
        if lines.any(str::is_empty) {
            return Err("there is an empty line in the text");
        }
        Ok(Self { origin: origin.to_owned(), size, root })
    }
}

/// A decimal number in its one way of writing.
pub fn parse_size(text: &str) -> Option<u64> {
    text.parse::<u64>().ok().filter(|size| size.to_string() == text)
}

/// A hash in base64, in its one way of writing.
pub fn parse_hash(text: &str) -> Option<Hash> {
    BASE64.decode(text).ok()?.try_into().ok()
}

/// A hash in base64.
pub fn format_hash(hash: &Hash) -> String {
    BASE64.encode(hash)
}

/// The origin line: where the ledger is kept, which ledger it is, and its epoch.
///
/// The first entry's id says which ledger it is: it is random, and the tree covers it. A restored copy or an upgraded cluster
/// carries the ledger on under another system identifier or database OID.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// `system_identifier` of pg_control.
    pub system_identifier: String,
    /// OID of the database.
    pub database_oid: u32,
    /// Id of the entry at position 0.
    pub ledger: String,
    /// Counts from 1; an operator opens the next after history was rolled back on purpose.
    pub epoch: u32,
}

impl Origin {
    /// `pg_runbook/SYSTEM/DATABASE/LEDGER/EPOCH`.
    pub fn line(&self) -> String {
        format!("pg_runbook/{}/{}/{}/{}", self.system_identifier, self.database_oid, self.ledger, self.epoch)
    }

    /// Reads what [`Origin::line`] writes.
    pub fn parse(line: &str) -> Option<Self> {
        let mut parts = line.split('/');
        let mut next = || parts.next().filter(|part| !part.is_empty());
        if next()? != "pg_runbook" {
            return None;
        }
        let origin = Self {
            system_identifier: next()?.to_owned(),
            database_oid: next()?.parse().ok()?,
            ledger: next()?.to_owned(),
            epoch: next()?.parse().ok()?,
        };
        let is_number = origin.system_identifier.bytes().all(|byte| byte.is_ascii_digit());
        (is_number && is_uuid(&origin.ledger) && origin.line() == line).then_some(origin)
    }
}

/// Whether a text is a UUID in its canonical form.
fn is_uuid(text: &str) -> bool {
    let hyphens = [8, 13, 18, 23];
    let fits = |(at, byte): (usize, u8)| {
        if hyphens.contains(&at) { byte == b'-' } else { byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte) }
    };
    text.len() == 36 && text.bytes().enumerate().all(fits)
}

/// The algorithm byte of Ed25519 in keys and key hashes.
pub const ED25519: u8 = 1;

/// Four bytes that tell keys of one name apart (C2SP signed-note): SHA-256(name ‖ newline ‖ algorithm ‖ key), cut off.
pub fn key_hash(name: &str, public_key: &[u8; 32]) -> [u8; 4] {
    let hash = Sha256::new().chain_update(name).chain_update(b"\n").chain_update([ED25519]).chain_update(public_key).finalize();
    [hash[0], hash[1], hash[2], hash[3]]
}

/// Whether a key may have this name.
pub fn is_key_name(name: &str) -> bool {
    !name.is_empty() && !name.chars().any(|character| character.is_whitespace() || character.is_control() || character == '+')
}

/// One signature line of a note.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    /// Name of the key.
    pub name: String,
    /// See [`key_hash`].
    pub key_hash: [u8; 4],
    /// The signature itself.
    pub bytes: Vec<u8>,
}

/// A text and what was signed under it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// What the signatures cover, with the newline at its end.
    pub text: String,
    /// At least one.
    pub signatures: Vec<Signature>,
}

impl Note {
    /// The note as it is written to a file.
    pub fn encode(&self) -> String {
        let mut out = self.text.clone() + "\n";
        for signature in &self.signatures {
            let bytes = [&signature.key_hash[..], &signature.bytes].concat();
            out += &format!("— {} {}\n", signature.name, BASE64.encode(bytes));
        }
        out
    }

    /// Reads a note.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn parse(note: &str) -> Result<Self, &'static str> {
        if note.len() > LONGEST_NOTE {
            return Err("it is longer than a note may be");
        }
        if note.chars().any(|character| character != '\n' && character.is_control()) {
            return Err("it has control characters");
        }
        let split = note.rfind("\n\n").ok_or("there is no empty line between text and signatures")?;
        let (text, signatures) = (&note[..=split], &note[split + 2..]);
        let signatures = signatures.strip_suffix('\n').ok_or("it does not end with a newline")?;
        if text == "\n" {
            return Err("there is no text");
        }
        let signatures = signatures.split('\n').map(Signature::parse).collect::<Option<Vec<_>>>();
        let signatures = signatures.ok_or("a signature line is not \"— NAME BASE64\"")?;
        Ok(Self { text: text.to_owned(), signatures })
    }
}

impl Signature {
    fn parse(line: &str) -> Option<Self> {
        let (name, encoded) = line.strip_prefix("— ")?.split_once(' ')?;
        let decoded = BASE64.decode(encoded).ok()?;
        let (key_hash, bytes) = decoded.split_first_chunk::<4>()?;
        (is_key_name(name) && !bytes.is_empty()).then(|| Self {
            name: name.to_owned(),
            key_hash: *key_hash,
            bytes: bytes.to_vec(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn checkpoint() -> Checkpoint {
        let origin = Origin {
            system_identifier: "7".into(),
            database_oid: 5,
            ledger: "0198c0de-0000-7000-8000-000000000000".into(),
            epoch: 1,
        };
        Checkpoint { origin: origin.line(), size: 12, root: [7; 32] }
    }

    #[test]
    fn a_checkpoint_is_three_lines() {
        let text = checkpoint().text();
        assert_eq!(
            text,
            "pg_runbook/7/5/0198c0de-0000-7000-8000-000000000000/1\n12\nBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=\n"
        );
        assert_eq!(Checkpoint::parse(&text), Ok(checkpoint()));
        assert_eq!(Origin::parse(&checkpoint().origin).unwrap().epoch, 1);
    }

    #[test]
    fn numbers_and_hashes_have_one_way_of_writing() {
        for text in
            ["o\n012\nBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=\n", "o\n+1\nBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=\n"]
        {
            assert_eq!(Checkpoint::parse(text), Err("the second line is not a tree size"));
        }
        for root in ["BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc", "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwd=", "Bwc="] {
            assert_eq!(Checkpoint::parse(&format!("o\n1\n{root}\n")), Err("the third line is not a root hash"));
        }
        let ledger = "0198c0de-0000-7000-8000-000000000000";
        assert!(Origin::parse(&format!("pg_runbook/7/5/{ledger}/1")).is_some());
        // Nobody can put lines of a checkpoint into an origin.
        for line in [
            format!("pg_runbook/7/05/{ledger}/1"),
            format!("pg_runbook/7/5/{ledger}/1/2"),
            format!("pg_runbook/7\n1\nx/5/{ledger}/1"),
            format!("pg_runbook/7/5/{ledger}\n1\nx/1"),
            "pg_runbook/7/5/x/1".to_owned(),
        ] {
            assert_eq!(Origin::parse(&line), None, "{line}");
        }
    }

    #[test]
    fn a_note_comes_back_as_it_was_written() {
        let signature = Signature { name: "auditor".into(), key_hash: [1, 2, 3, 4], bytes: vec![9; 64] };
        let note = Note { text: checkpoint().text(), signatures: vec![signature.clone(), signature] };
        assert_eq!(Note::parse(&note.encode()), Ok(note));
    }

    #[test]
    fn the_key_hash_is_that_of_the_specification() {
        // The published key of Go's checksum database: sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8.
        let key = BASE64.decode("Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8").unwrap();
        let (algorithm, key) = key.split_first_chunk::<1>().unwrap();
        assert_eq!(algorithm, &[ED25519]);
        assert_eq!(hex::encode(key_hash("sum.golang.org", key.try_into().unwrap())), "033de0ae");
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in "(o\n)?[0-9]{0,3}\n?[A-Za-z=+/]{0,44}\n{0,2}(— [a-z]{0,3} [A-Za-z0-9=]{0,12}\n){0,2}|.{0,80}") {
            if let Ok(note) = Note::parse(&text) {
                prop_assert_eq!(note.encode(), text.clone());
            }
            if let Ok(found) = Checkpoint::parse(&text) {
                prop_assert!(text.starts_with(found.text().trim_end()));
            }
        }
    }
}
