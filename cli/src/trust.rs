//! Whether a file that was found, and not named, can be believed.
//!
//! `runbook.toml` says where to connect to, and the caller's password goes there. In a directory such as /tmp anybody can leave one
//! for those who work below it (compare CVE-2022-24765 of Git). So file and directory must belong to the caller or to root, and
//! nobody else may be able to change or replace the file. A file that is named on the command line is not judged.

use crate::error::{Error, Kind, Result};
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

const WORLD_WRITABLE: u32 = 0o002;
const GROUP_WRITABLE: u32 = 0o020;
const STICKY: u32 = 0o1000;

/// What counts of a file or a directory.
#[derive(Clone, Copy, Debug)]
struct Place {
    owner: u32,
    group: u32,
    mode: u32,
}

impl Place {
    fn of(metadata: &Metadata) -> Self {
        Self { owner: metadata.uid(), group: metadata.gid(), mode: metadata.mode() }
    }
}

/// Who runs the command.
#[derive(Clone, Copy, Debug)]
struct Caller {
    user: u32,
    group: u32,
}

impl Caller {
    /// Why another user may have written the file at a path.
    fn doubt(self, place: Place, is_directory: bool) -> Option<String> {
        if place.owner != self.user && place.owner != 0 {
            return Some(format!("is owned by {}", user_name(place.owner)));
        }
        // In a sticky directory nobody replaces the file of another.
        let others_write = if is_directory && place.mode & STICKY != 0 { 0 } else { place.mode };
        if others_write & WORLD_WRITABLE != 0 {
            return Some("can be written by every user".to_owned());
        }
        // Many systems give each user a group of his own.
        if others_write & GROUP_WRITABLE != 0 && place.group != self.group && place.group != 0 {
            return Some(format!("can be written by the members of group {}", place.group));
        }
        None
    }
}

/// Refuses a file that was found if somebody else may have written it. `opened` is what is read: the file can't be exchanged in between.
pub fn check(file: &Path, opened: &fs::File) -> Result<()> {
    let caller = Caller { user: rustix::process::geteuid().as_raw(), group: rustix::process::getegid().as_raw() };
    let refuse = |what: &Path, why: String| {
        Error::new(
            Kind::Input,
            format!("{} was found, but not used: {} {why}", file.display(), what.display()),
            format!("If you trust it, name it: runbook --config {}", file.display()),
        )
    };
    // A link counts as its owner's choice of a file.
    let link = fs::symlink_metadata(file)?;
    let link = link.is_symlink().then(|| Place { mode: 0, ..Place::of(&link) });
    for place in link.into_iter().chain([Place::of(&opened.metadata()?)]) {
        if let Some(why) = caller.doubt(place, false) {
            return Err(refuse(file, why));
        }
    }
    let real = fs::canonicalize(file)?;
    for directory in [file.parent(), real.parent()].into_iter().flatten() {
        if let Some(why) = caller.doubt(Place::of(&fs::metadata(directory)?), true) {
            return Err(refuse(directory, why));
        }
    }
    Ok(())
}

/// The user's name, if this machine has one for it.
fn user_name(user: u32) -> String {
    let known = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name = known.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, number) = (fields.next()?, fields.nth(1)?);
        (number == user.to_string()).then(|| name.to_owned())
    });
    name.map_or_else(|| format!("user {user}"), |name| format!("user \"{name}\""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    const ALICE: Caller = Caller { user: 1000, group: 1000 };

    fn place(owner: u32, group: u32, mode: u32) -> Place {
        Place { owner, group, mode }
    }

    #[test]
    fn a_file_of_a_stranger_is_refused_and_one_of_root_is_not() {
        assert!(ALICE.doubt(place(1000, 1000, 0o644), false).is_none());
        assert!(ALICE.doubt(place(0, 0, 0o644), false).is_none());
        let why = ALICE.doubt(place(4_000_001, 1000, 0o600), false).unwrap();
        assert_eq!(why, "is owned by user 4000001");
        let root = Caller { user: 0, group: 0 };
        assert!(root.doubt(place(1000, 1000, 0o600), false).is_some(), "root is the one to lead astray");
    }

    #[test]
    fn what_others_can_write_is_refused() {
        for is_directory in [false, true] {
            assert!(ALICE.doubt(place(1000, 1000, 0o666), is_directory).is_some());
            assert!(ALICE.doubt(place(1000, 50, 0o664), is_directory).is_some(), "a group of several users");
            assert!(ALICE.doubt(place(1000, 1000, 0o664), is_directory).is_none(), "the user's own group");
        }
        assert!(ALICE.doubt(place(0, 0, 0o1777), true).is_none(), "/tmp");
        assert!(ALICE.doubt(place(0, 0, 0o777), true).is_some());
        assert!(ALICE.doubt(place(1000, 1000, 0o1666), false).is_some(), "sticky means nothing for a file");
    }

    #[test]
    fn file_link_and_directory_are_looked_at() {
        let directory = tempfile::tempdir().unwrap();
        let (file, link) = (directory.path().join("runbook.toml"), directory.path().join("link.toml"));
        fs::write(&file, "").unwrap();
        symlink(&file, &link).unwrap();
        let judged = |file: &Path| check(file, &fs::File::open(file).unwrap());
        let set = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        assert!(judged(&file).is_ok() && judged(&link).is_ok());
        set(&file, 0o666);
        let error = judged(&link).unwrap_err();
        assert!(error.message().contains("every user"), "{}", error.message());
        let told: String = error.lines().iter().map(|line| line.render(false, None)).collect();
        assert!(told.contains(&format!("runbook --config {}", link.display())), "{told}");
        set(&file, 0o600);
        set(directory.path(), 0o777);
        assert!(judged(&file).is_err());
        set(directory.path(), 0o1777);
        assert!(judged(&file).is_ok());
    }
}
