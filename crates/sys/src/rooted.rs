//! Files below a directory that is, or will be, the root directory of a system: an image, a chroot, or `/` itself.
//!
//! Links are followed as that system follows them (path_resolution(7)): an absolute one begins at its root, and `..` does
//! not leave it. Each name is looked up in a directory that is open already, and no link is ever followed by the kernel. So
//! a tree that is changed at the same time leads nowhere else either, and this works on kernels without openat2(2).

mod place;
mod walk;

pub use place::{Attributes, Directory, NEW, Place};

use crate::regular;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{CWD, Mode, OFlags, fstat, openat};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use walk::{Walk, mount_of};

/// A root directory.
#[derive(Debug)]
pub struct Root {
    directory: OwnedFd,
    path: PathBuf,
    is_ours: bool,
    /// Whose directories and links are followed beside root's, where not everybody's are.
    owner: Option<u32>,
}

impl Root {
    /// Opens the root directory at `path`. The path is followed once: what it leads to later does not count.
    ///
    /// # Errors
    /// There is no such directory, or it cannot be reached.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let open = |path: &Path| openat(CWD, path, flags, Mode::empty());
        let identity = |directory: &OwnedFd| -> io::Result<_> {
            let about = fstat(directory)?;
            Ok((about.st_dev, about.st_ino, mount_of(directory)?))
        };
        let directory = open(path)?;
        let is_ours = identity(&directory)? == identity(&open(Path::new("/"))?)?;
        Ok(Self {
            directory,
            path: path.canonicalize()?,
            is_ours,
            owner: None,
        })
    }

    /// The same, with nothing below it reached through a directory or link that a user has made other than this one and
    /// root: what such a user makes would otherwise decide where the caller writes.
    #[must_use]
    pub fn made_by(self, user: u32) -> Self {
        Self {
            owner: Some(user),
            ..self
        }
    }

    /// Returns whether this is our own root directory.
    pub fn is_ours(&self) -> bool {
        self.is_ours
    }

    /// Returns where it is for us.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns where `inside`, a path of that system, is for us if no link is on the way. For messages only.
    pub fn outside(&self, inside: &Path) -> PathBuf {
        self.path.join(inside.strip_prefix("/").unwrap_or(inside))
    }

    /// Finds the file that the system there calls `inside`, all links followed. The file itself need not exist.
    ///
    /// # Errors
    /// A directory on the way is missing or cannot be searched; `ELOOP`; `EISDIR` for the root directory.
    pub fn find(&self, inside: &Path) -> io::Result<Place> {
        let mut walk = Walk::new(self);
        let name = walk.go(inside)?;
        match name.or_else(|| walk.up()) {
            Some(name) => Ok(Place::new(Rc::new(walk.directory()?), name)),
            None => Err(io::Error::from_raw_os_error(libc::EISDIR)),
        }
    }

    /// Opens the regular file that the system there calls `inside` for reading.
    ///
    /// # Errors
    /// [`crate::regular::Unfit`]; as for [`Root::find`]; what `openat(2)` returns.
    pub fn open_file(&self, inside: &Path) -> io::Result<File> {
        self.find(inside)?.open()
    }

    /// Reads that file, if it has at most `limit` bytes.
    ///
    /// # Errors
    /// As [`Root::open_file`]; what `read(2)` returns.
    pub fn read(&self, inside: &Path, limit: u64) -> io::Result<Vec<u8>> {
        regular::read_whole(self.open_file(inside)?, limit)
    }

    /// Opens the directory that the system there calls `inside`.
    ///
    /// # Errors
    /// `ENOTDIR`; as for [`Root::find`].
    pub fn directory(&self, inside: &Path) -> io::Result<Directory> {
        let mut walk = Walk::new(self);
        match walk.go(inside)? {
            None => walk.directory(),
            Some(name) => Err(walk.not_a_directory(&name)),
        }
    }

    /// Opens that directory, and makes it and those above it where they are missing, with mode 0755.
    ///
    /// # Errors
    /// As [`Root::directory`]; what `mkdirat(2)` returns.
    pub fn make_directory(&self, inside: &Path) -> io::Result<Directory> {
        let mut walk = Walk::new(self);
        walk.make(inside)?;
        walk.directory()
    }
}

impl AsFd for Root {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }
}

#[cfg(test)]
mod tests;
