//! A proof that one entry is in a ledger, as a small file (C2SP tlog-proof): position, hashes, and the checkpoint that they lead
//! to. The entry itself travels along in the file's `extra` line.
//!
//! A proof says nothing until the signature of its checkpoint has been checked; what is said here is about hashes alone.

use crate::checkpoint::{Checkpoint, Note, format_hash, parse_hash, parse_size};
use crate::merkle::{self, Hash};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

/// The first line.
const HEADER: &str = "c2sp.org/tlog-proof@v1";

/// More than a proof may have.
const LONGEST: usize = 16 << 20;

/// More hashes than any tree has levels are not read.
const MOST_HASHES: usize = 64;

/// An entry, where it stands, and what shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// The entry's payload: exactly the bytes that the leaf hash covers.
    pub payload: Vec<u8>,
    /// Its position.
    pub position: u64,
    /// The hashes beside its path to the root, from the leaf upwards.
    pub hashes: Vec<Hash>,
    /// The note whose checkpoint has that root.
    pub note: Note,
}

impl Proof {
    /// The file.
    pub fn encode(&self) -> String {
        let mut out = format!("{HEADER}\nextra {}\nindex {}\n", BASE64.encode(&self.payload), self.position);
        for hash in &self.hashes {
            out += &format_hash(hash);
            out.push('\n');
        }
        out.push('\n');
        out + &self.note.encode()
    }

    /// Reads a file.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        if text.len() > LONGEST {
            return Err("it is longer than a proof may be");
        }
        let rest =
            text.strip_prefix(HEADER).and_then(|rest| rest.strip_prefix('\n')).ok_or("it does not begin like a proof")?;
        let (head, note) = rest.split_once("\n\n").ok_or("there is no empty line before the checkpoint")?;
        let mut lines = head.split('\n');
        let payload = lines.next().and_then(|line| line.strip_prefix("extra ")).ok_or("it does not carry the entry")?;
        let payload = BASE64.decode(payload).map_err(|_| "the entry is not in base64")?;
        let position = lines.next().and_then(|line| line.strip_prefix("index ")).and_then(parse_size);
        let position = position.ok_or("there is no position")?;
        let hashes = lines.map(parse_hash).collect::<Option<Vec<_>>>().ok_or("a line is not a hash")?;
        if hashes.len() > MOST_HASHES {
            return Err("it has more hashes than a tree has levels");
        }
        Ok(Self { payload, position, hashes, note: Note::parse(note)? })
    }

    /// Checks the hashes against the note's checkpoint, and returns that. Whether to believe the note is for the caller to say.
    ///
    /// # Errors
    /// Why nothing is shown, in words.
    pub fn check(&self) -> Result<Checkpoint, String> {
        let checkpoint = Checkpoint::parse(&self.note.text)?;
        let leaf = merkle::leaf(&self.payload);
        merkle::check_inclusion(leaf, self.position, checkpoint.size, &self.hashes, &checkpoint.root)
            .map_err(|refuted| refuted.to_string())?;
        Ok(checkpoint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::Signature;
    use proptest::prelude::*;

    fn proof(size: u64, position: u64) -> Proof {
        let payload = |number: u64| format!("{{\"n\":{number}}}").into_bytes();
        let leaves: Vec<Hash> = (0..size).map(|number| merkle::leaf(&payload(number))).collect();
        let checkpoint = Checkpoint { origin: "o".into(), size, root: merkle::root(size, &leaves[..]).unwrap() };
        Proof {
            payload: payload(position),
            position,
            hashes: merkle::inclusion_proof(position, size, &leaves[..]).unwrap(),
            note: Note {
                text: checkpoint.text(),
                signatures: vec![Signature { name: "k".into(), key_hash: [0; 4], bytes: vec![1; 64] }],
            },
        }
    }

    #[test]
    fn a_proof_comes_back_as_it_was_written_and_holds() {
        for (size, position) in [(1, 0), (2, 1), (77, 76), (300, 128)] {
            let proof = proof(size, position);
            let read = Proof::parse(&proof.encode()).unwrap();
            assert_eq!(read, proof);
            assert_eq!(read.check().unwrap().size, size);
        }
    }

    #[test]
    fn another_payload_or_position_is_refuted() {
        let holds = proof(77, 30);
        assert!(Proof { payload: b"{\"n\":31}".to_vec(), ..holds.clone() }.check().is_err());
        assert!(Proof { position: 31, ..holds.clone() }.check().is_err());
        let mut hashes = holds.hashes.clone();
        hashes[2][0] ^= 1;
        assert!(Proof { hashes, ..holds.clone() }.check().is_err());
        assert!(Proof { note: proof(78, 30).note, ..holds }.check().is_err());
    }

    proptest! {
        /// A byte of the file is changed: it is not read, or it is read as what it was, or it is refuted, unless only the signature
        /// or the origin has changed, which the signature covers.
        #[test]
        fn no_changed_file_proves_anything_else(at: usize, byte: u8) {
            let honest = proof(20, 7);
            let mut bytes = honest.encode().into_bytes();
            let at = at % bytes.len();
            bytes[at] = byte;
            if let Ok(text) = String::from_utf8(bytes)
                && let Ok(read) = Proof::parse(&text)
                && read.check().is_ok()
            {
                prop_assert_eq!((&read.payload, read.position), (&honest.payload, honest.position));
            }
        }

        #[test]
        fn no_text_makes_the_reader_panic(text in "(c2sp.org/tlog-proof@v1\n)?(extra [A-Za-z0-9=]{0,8}\n)?(index [0-9]{1,20}\n)?([A-Za-z0-9+/]{43}=\n){0,3}\n?.{0,60}") {
            let _ = Proof::parse(&text).map(|proof| proof.check());
        }
    }
}
