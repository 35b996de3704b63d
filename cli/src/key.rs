//! Keys that sign checkpoints: Ed25519, in the text format of signed notes (C2SP signed-note, Go's sumdb/note).
//!
//! A private key never leaves the machine of whoever signs; the server has no part in it.

use crate::error::{Error, Kind, Result};
use openssl::base64;
use openssl::pkey::{Id, PKey, Private, Public};
use openssl::sign::{Signer, Verifier};
use runbook_core::checkpoint::{ED25519, Note, Signature, is_key_name, key_hash};
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

/// A key that signs.
pub struct PrivateKey {
    name: String,
    key: PKey<Private>,
}

/// A key that checks signatures.
pub struct PublicKey {
    /// Its name, which signature lines carry.
    pub name: String,
    hash: [u8; 4],
    key: PKey<Public>,
}

fn failed(error: openssl::error::ErrorStack) -> Error {
    Error::new(Kind::Failed, format!("OpenSSL failed: {error}"), "")
}

impl PrivateKey {
    /// A new key.
    pub fn generate(name: &str) -> Result<Self> {
        if !is_key_name(name) {
            let hint = "Say who signs: runbook audit keygen auditor.example.com --out auditor.key";
            return Err(Error::new(
                Kind::Input,
                format!("\"{name}\" can't be the name of a key: a name has no spaces and no +"),
                hint,
            ));
        }
        Ok(Self { name: name.to_owned(), key: PKey::generate_ed25519().map_err(failed)? })
    }

    /// Reads a key that [`PrivateKey::save`] has written.
    pub fn load(file: &Path) -> Result<Self> {
        let text = fs::read_to_string(file).map_err(|error| no_key(file, &error))?;
        let parse = || {
            // Names have no +, base64 has.
            let (name, rest) = text.trim().strip_prefix("PRIVATE+KEY+")?.split_once('+')?;
            let (hash, encoded) = rest.split_once('+')?;
            let decoded = base64::decode_block(encoded).ok()?;
            let (algorithm, seed) = decoded.split_first()?;
            let key = PKey::private_key_from_raw_bytes(seed, Id::ED25519).ok().filter(|_| *algorithm == ED25519)?;
            let key = Self { name: name.to_owned(), key };
            (key.public().ok()?.hash == parse_hash(hash)?).then_some(key)
        };
        let key = parse().ok_or_else(|| not_a_key(file, "private"))?;
        let mode = fs::metadata(file).map_err(|error| no_key(file, &error))?.mode();
        if mode & 0o077 != 0 {
            let hint = format!("chmod 600 {}", file.display());
            return Err(Error::new(Kind::Input, format!("others can read the private key in {}", file.display()), hint));
        }
        Ok(key)
    }

    /// Writes the private key for its owner alone, and the public one beside it, with `.pub`. Neither may be there.
    pub fn save(&self, file: &Path) -> Result<()> {
        let public = self.public()?;
        let seed = [&[ED25519][..], &self.key.raw_private_key().map_err(failed)?].concat();
        let line = format!("PRIVATE+KEY+{}+{}+{}\n", self.name, hex(public.hash), base64::encode_block(&seed));
        create(file, 0o600, &line)?;
        create(&public_file(file), 0o644, &(public.line()? + "\n"))
    }

    /// The public half.
    pub fn public(&self) -> Result<PublicKey> {
        PublicKey::new(&self.name, &self.key.raw_public_key().map_err(failed)?)
    }

    /// Signs a text.
    pub fn sign(&self, text: String) -> Result<Note> {
        let mut signer = Signer::new_without_digest(&self.key).map_err(failed)?;
        let bytes = signer.sign_oneshot_to_vec(text.as_bytes()).map_err(failed)?;
        let signature = Signature { name: self.name.clone(), key_hash: self.public()?.hash, bytes };
        Ok(Note { text, signatures: vec![signature] })
    }
}

/// Where the public half of a private key is written.
pub fn public_file(file: &Path) -> std::path::PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".pub");
    name.into()
}

impl PublicKey {
    fn new(name: &str, raw: &[u8]) -> Result<Self> {
        let key = PKey::public_key_from_raw_bytes(raw, Id::ED25519).map_err(failed)?;
        let raw: &[u8; 32] = raw.try_into().map_err(|_| Error::new(Kind::Input, "an Ed25519 key has 32 bytes", ""))?;
        Ok(Self { name: name.to_owned(), hash: key_hash(name, raw), key })
    }

    /// The key as it is handed around: `NAME+HASH+BASE64`.
    pub fn line(&self) -> Result<String> {
        let raw = [&[ED25519][..], &self.key.raw_public_key().map_err(failed)?].concat();
        Ok(format!("{}+{}+{}", self.name, hex(self.hash), base64::encode_block(&raw)))
    }

    /// Reads the keys of a file, one a line.
    pub fn load(file: &Path) -> Result<Vec<Self>> {
        let text = fs::read_to_string(file).map_err(|error| cannot_read(file, &error))?;
        let keys: Option<Vec<Self>> = text.lines().filter(|line| !line.trim().is_empty()).map(Self::parse).collect();
        keys.filter(|keys| !keys.is_empty()).ok_or_else(|| not_a_key(file, "public"))
    }

    fn parse(line: &str) -> Option<Self> {
        let (name, rest) = line.trim().split_once('+')?;
        let (hash, encoded) = rest.split_once('+')?;
        let decoded = base64::decode_block(encoded).ok()?;
        let (algorithm, raw) = decoded.split_first()?;
        let key = Self::new(name, raw).ok().filter(|_| *algorithm == ED25519 && is_key_name(name))?;
        (key.hash == parse_hash(hash)?).then_some(key)
    }

    /// Whether the note carries a signature of this key that holds.
    pub fn has_signed(&self, note: &Note) -> bool {
        let own = |signature: &&Signature| signature.name == self.name && signature.key_hash == self.hash;
        let holds = |signature: &Signature| {
            let mut verifier = Verifier::new_without_digest(&self.key)?;
            verifier.verify_oneshot(&signature.bytes, note.text.as_bytes())
        };
        // As the format has it: of a key that is known, every signature must hold.
        let mut signatures = note.signatures.iter().filter(own).peekable();
        signatures.peek().is_some() && signatures.all(|signature| holds(signature).unwrap_or(false))
    }
}

fn hex(hash: [u8; 4]) -> String {
    format!("{:08x}", u32::from_be_bytes(hash))
}

fn parse_hash(text: &str) -> Option<[u8; 4]> {
    (text.len() == 8).then(|| u32::from_str_radix(text, 16).ok()).flatten().map(u32::to_be_bytes)
}

fn create(file: &Path, mode: u32, text: &str) -> Result<()> {
    let opened = OpenOptions::new().write(true).create_new(true).mode(mode).open(file);
    let mut opened = opened.map_err(|error| {
        Error::new(
            Kind::Failed,
            format!("can't write {}: {error}", file.display()),
            "Keys are never overwritten; choose another name.",
        )
    })?;
    opened.write_all(text.as_bytes())?;
    opened.sync_all()?;
    Ok(())
}

/// What is said of a file that can't be read.
pub fn cannot_read(file: &Path, error: &std::io::Error) -> Error {
    Error::new(Kind::Input, format!("can't read {}: {error}", file.display()), "Check the path and its permissions.")
}

fn no_key(file: &Path, error: &std::io::Error) -> Error {
    let error = cannot_read(file, error);
    let message = error.message().to_owned();
    error.told(
        message,
        "Check the path; runbook audit keygen NAME --out FILE writes a private key, and the public one to FILE.pub.",
    )
}

fn not_a_key(file: &Path, what: &str) -> Error {
    let hint = "runbook audit keygen NAME --out FILE writes a private key, and the public one to FILE.pub.";
    Error::new(Kind::Input, format!("{} holds no {what} key", file.display()), hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_signed_is_recognized_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("auditor.key");
        PrivateKey::generate("auditor.example.com").unwrap().save(&file).unwrap();
        let (private, public) = (PrivateKey::load(&file).unwrap(), PublicKey::load(&public_file(&file)).unwrap().remove(0));
        let note = private.sign("o\n1\n".to_owned()).unwrap();
        assert!(public.has_signed(&note));
        assert!(!public.has_signed(&Note { text: "o\n2\n".to_owned(), ..note.clone() }));
        let stranger = PrivateKey::generate("auditor.example.com").unwrap();
        assert!(!stranger.public().unwrap().has_signed(&note), "a key of the same name is another key");
        let mut doubled = note.clone();
        doubled.signatures.push(Signature { bytes: vec![0; 64], ..note.signatures[0].clone() });
        assert!(!public.has_signed(&doubled), "a bad signature of a known key spoils the note");
        assert!(PrivateKey::generate("two words").is_err());
        assert!(PrivateKey::load(&public_file(&file)).is_err());
    }

    #[test]
    fn every_key_is_read_as_it_was_written() {
        let directory = tempfile::tempdir().unwrap();
        for number in 0..40 {
            let file = directory.path().join(format!("{number}.key"));
            let key = PrivateKey::generate("a").unwrap();
            key.save(&file).unwrap();
            assert_eq!(
                PrivateKey::load(&file).unwrap().public().unwrap().line().unwrap(),
                key.public().unwrap().line().unwrap()
            );
        }
    }

    #[test]
    fn the_published_key_of_another_log_can_be_read() {
        let key = PublicKey::parse("sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8").unwrap();
        assert_eq!(key.line().unwrap(), "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8");
        assert!(PublicKey::parse("sum.golang.org+033de0af+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8").is_none());
    }
}
