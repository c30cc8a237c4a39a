//! Where things are: the file, the library's copies, and what an interrupted run may have left.

use super::failed;
use crate::error::{Error, FAILED};
use keepalive_linux::rooted::Root;
use rustix::fd::OwnedFd;
use rustix::fs::{FlockOperation, Mode, OFlags, flock, open};
use std::io;
use std::path::{Path, PathBuf};

/// The file that glibc's loader reads.
pub(super) const FILE: &str = "/etc/ld.so.preload";
/// The name of the library's copy. It is `enable`'s alone, so that nobody has to remember who put it there: a package has
/// the library under its own name, and can be upgraded or removed without a moment in which programs lack what the line
/// names.
pub(super) const LIBRARY: &str = "keepalive-system.so";
/// What is written before it takes its place.
pub(super) const NEW: &str = ".keepalive-new";
/// What is replaced, until all is well.
pub(super) const OLD: &str = ".keepalive-old";
/// The file as it was before the last change, if it named anything else; it stays.
pub(super) const BACKUP: &str = ".before-keepalive";

/// `path` with `suffix` after its name.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Where the file is for us. Where it is a link, this is what it points to: that is what is replaced, so that the link of
/// whoever manages /etc by links stays.
pub(super) fn file(root: &Root) -> Result<PathBuf, Error> {
    let path = root
        .resolve(Path::new(FILE))
        .map_err(|error| failed("find", Path::new(FILE), "open", &error))?;
    match path.symlink_metadata() {
        Ok(found) if !found.is_file() => Err(Error::new(
            FAILED,
            format!("cannot use '{}': it is no regular file", path.display()),
        )),
        _ => Ok(path),
    }
}

/// All directories in which there may be a copy of the library: those of every distribution, whether or not programs need
/// them any more. Each once.
pub(super) fn library_directories(root: &Root) -> Vec<PathBuf> {
    let mut directories = Vec::new();
    for base in ["/usr", "/"] {
        for name in ["lib", "lib64", "lib32", "libx32"] {
            let Ok(directory) = root.resolve(&Path::new(base).join(name)) else {
                continue;
            };
            // Debian's multiarch: /usr/lib/x86_64-linux-gnu.
            let entries = directory.read_dir().into_iter().flatten().flatten();
            let deeper = entries.filter(|entry| entry.file_name().to_string_lossy().contains("-linux-gnu"));
            let inside: Vec<PathBuf> = deeper.map(|entry| root.inside(&entry.path())).collect();
            directories.push(directory);
            directories.extend(inside.iter().filter_map(|path| root.resolve(path).ok()));
        }
    }
    directories.retain(|directory| directory.is_dir());
    directories.sort();
    directories.dedup();
    directories
}

/// What interrupted runs may have left, where it is.
pub(super) fn leftovers(root: &Root, file: &Path) -> Vec<PathBuf> {
    let copies = library_directories(root)
        .into_iter()
        .map(|directory| directory.join(LIBRARY));
    copies
        .chain([file.to_owned()])
        .flat_map(|path| {
            let (old, backup) = (beside(&path, OLD), beside(&path, BACKUP));
            [beside(&path, NEW), beside(&old, NEW), beside(&backup, NEW), old]
        })
        .filter(|path| path.symlink_metadata().is_ok())
        .collect()
}

/// Keeps others like this one from working on the same system, as long as it lives.
///
/// # Errors
/// One is at work; or there is no directory for the file.
pub(super) fn lock(root: &Root) -> Result<OwnedFd, Error> {
    let directory = Path::new("/etc");
    let path = root
        .resolve(directory)
        .map_err(|error| failed("open", directory, "open", &error))?;
    let opened = open(
        &path,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .map_err(|error| failed("open", &path, "open", &error.into()))?;
    match flock(&opened, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(opened),
        Err(error) if error == rustix::io::Errno::WOULDBLOCK => Err(Error::new(
            FAILED,
            "cannot change /etc/ld.so.preload: another keepalive system is at work",
        )),
        Err(error) => Err(failed("lock", &path, "flock", &io::Error::from(error))),
    }
}
