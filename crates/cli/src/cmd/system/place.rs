//! Paths of the file, of the library's copies, and of files that an interrupted run may have left.

use super::failed;
use crate::error::{Error, FAILED};
use keepalive_policy::protocol::LD_SO_PRELOAD;
use keepalive_sys::regular::Unfit;
use keepalive_sys::rooted::{Directory, Place, Root};
use rustix::fd::OwnedFd;
use rustix::fs::{FileType, FlockOperation, flock};
use std::io;
use std::path::Path;
use std::rc::Rc;

/// The file that glibc's loader reads.
pub(super) const FILE: &str = LD_SO_PRELOAD;
/// The name of the library's copy. Only `enable` uses this name, so the owner of the file is always known. A
/// package has the library under its own name. It can be upgraded or removed while programs still find the
/// library that the line names.
pub(super) const LIBRARY: &str = "keepalive-system.so";
/// The suffix of a replaced file, kept until the change is finished.
pub(super) const OLD: &str = ".keepalive-old";
/// The suffix of the file as it was before the last change, if it named other libraries. This copy stays.
pub(super) const BACKUP: &str = ".before-keepalive";

/// Returns the path of the file. If the file is a link, returns its target: the target is replaced, so that a
/// tool that manages /etc by links keeps its link.
pub(super) fn file(root: &Root) -> Result<Place, Error> {
    let place = root
        .find(Path::new(FILE))
        .map_err(|error| failed("find", Path::new(FILE), "open", &error))?;
    let about = place
        .about()
        .map_err(|error| failed("find", &place.outside(), "stat", &error))?;
    match about.map(|about| FileType::from_raw_mode(about.st_mode)) {
        None | Some(FileType::RegularFile) => Ok(place),
        Some(other) => Err(Error::new(
            FAILED,
            format!("cannot use '{}': {}", place.outside().display(), Unfit::Type(other)),
        )),
    }
}

/// Returns all directories that may contain a copy of the library, each once: those of every distribution,
/// even if no program needs them any more.
pub(super) fn library_directories(root: &Root) -> Vec<Rc<Directory>> {
    let mut directories: Vec<Rc<Directory>> = Vec::new();
    let mut add = |directory: Directory| {
        let is_known = directories.iter().any(|known| known.inside() == directory.inside());
        if directory.may_change() && !is_known {
            directories.push(Rc::new(directory));
        }
    };
    for base in ["/usr", "/"] {
        for name in ["lib", "lib64", "lib32", "libx32"] {
            let Ok(directory) = root.directory(&Path::new(base).join(name)) else {
                continue;
            };
            // Debian's multiarch directories: /usr/lib/x86_64-linux-gnu.
            let names = directory.names().unwrap_or_default().into_iter();
            let deeper = names.filter(|name| name.to_string_lossy().contains("-linux-gnu"));
            let deeper: Vec<_> = deeper.map(|name| directory.inside().join(name)).collect();
            add(directory);
            deeper
                .iter()
                .filter_map(|path| root.directory(path).ok())
                .for_each(&mut add);
        }
    }
    directories.sort_by(|one, other| one.inside().cmp(other.inside()));
    directories
}

/// Returns the files that interrupted runs may have left.
pub(super) fn leftovers(root: &Root, file: &Place) -> Vec<Place> {
    let copies = library_directories(root)
        .into_iter()
        .map(|directory| Place::new(directory, LIBRARY));
    copies
        .chain([file.clone()])
        .flat_map(|place| {
            let (old, backup) = (place.beside(OLD), place.beside(BACKUP));
            let mut left = [place.unfinished(), old.unfinished(), backup.unfinished()].concat();
            left.extend(Some(old).filter(is_there));
            left
        })
        .collect()
}

/// Returns whether a file or link exists at `place`.
pub(super) fn is_there(place: &Place) -> bool {
    place.about().is_ok_and(|about| about.is_some())
}

/// Takes the lock that keeps other instances from changing the same system, until the descriptor is closed.
///
/// # Errors
/// Another instance holds the lock; or the directory for the file does not exist.
pub(super) fn lock(root: &Root) -> Result<OwnedFd, Error> {
    let directory = Path::new("/etc");
    let opened = root
        .directory(directory)
        .and_then(|directory| directory.opened())
        .map_err(|error| failed("open", &root.outside(directory), "open", &error))?;
    match flock(&opened, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(opened),
        Err(error) if error == rustix::io::Errno::WOULDBLOCK => Err(Error::new(
            FAILED,
            "cannot change /etc/ld.so.preload: another keepalive system is at work",
        )),
        Err(error) => Err(failed(
            "lock",
            &root.outside(directory),
            "flock",
            &io::Error::from(error),
        )),
    }
}
