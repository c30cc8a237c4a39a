//! keepalive's directory in the BPF file system, and who may change it.

use super::Obstacle;
use super::lock::{Interrupts, lock};
use keepalive_sys::bpf::file_system;
use rustix::fd::OwnedFd;
use rustix::process::geteuid;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

/// The name of keepalive's directory in the BPF file system.
pub(super) const OURS: &str = "keepalive";

/// Returns keepalive's directory in the BPF file system, if it exists.
///
/// # Errors
/// Users other than root and this user can change the directory.
pub(super) fn directory() -> io::Result<Option<PathBuf>> {
    let Some(mount) = file_system::find() else {
        return Ok(None);
    };
    let all = mount.join(OURS);
    match fs::symlink_metadata(&all) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        about => trust(&all, &about?).map(|()| Some(all)),
    }
}

/// Refuses an untrusted directory. A BPF file system that was mounted without a mode allows every user to
/// create directories.
fn trust(all: &Path, about: &fs::Metadata) -> io::Result<()> {
    let path = all.display();
    let wrong = if !about.is_dir() {
        format!("{path} is not a directory")
    } else if about.uid() != 0 && about.uid() != geteuid().as_raw() {
        format!("{path} belongs to user {}", about.uid())
    } else if about.mode() & 0o022 != 0 {
        format!(
            "{path} may be changed by other users: its mode is {:o}",
            about.mode() & 0o7777
        )
    } else {
        return Ok(());
    };
    Err(io::Error::other(wrong + "; remove it first"))
}

/// Creates the directory, if it is missing, and locks it against changes by other keepalive commands.
pub(super) fn make_and_lock(directory: &Path, interrupts: Interrupts<'_>) -> Result<OwnedFd, Obstacle> {
    loop {
        make_directory(directory)?;
        match fs::symlink_metadata(directory) {
            // Another command has removed the directory meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            about => trust(directory, &about?)?,
        }
        if let Some(lock) = lock(directory, interrupts)? {
            return Ok(lock);
        }
    }
}

/// Creates a directory that only this user can enter, unless it exists.
pub(super) fn make_directory(path: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        result => result,
    }
}
