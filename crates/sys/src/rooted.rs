//! Files below a directory that is, or will be, the root directory of a system: an image, a chroot, or `/` itself.
//!
//! Links are followed as that system follows them (path_resolution(7)): an absolute link begins at its root,
//! and `..` does not leave the root. Each name is looked up in a directory that is already open, and the
//! kernel never follows a link. So concurrent changes of the tree cannot lead outside either, and this works
//! on kernels without openat2(2).

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
    /// The user whose directories and links are followed in addition to root's; `None` follows everyone's.
    owner: Option<u32>,
}

impl Root {
    /// Opens the root directory at `path`. The path is resolved once; later changes of it have no effect.
    ///
    /// # Errors
    /// The directory does not exist or cannot be reached.
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

    /// Returns the same root directory, but refuses directories and links that users other than root and this
    /// user have created. Such a user could otherwise choose where the caller writes.
    #[must_use]
    pub fn made_by(self, user: u32) -> Self {
        Self {
            owner: Some(user),
            ..self
        }
    }

    /// Returns whether this is the root directory of this process.
    pub fn is_ours(&self) -> bool {
        self.is_ours
    }

    /// Returns the path of the root directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the outside path of `inside`, a path in that system, if no link is on the way. Use it only for
    /// messages.
    pub fn outside(&self, inside: &Path) -> PathBuf {
        self.path.join(inside.strip_prefix("/").unwrap_or(inside))
    }

    /// Finds the file that `inside` names in that system, and follows all links. The file itself need not exist.
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

    /// Opens the regular file that `inside` names in that system for reading.
    ///
    /// # Errors
    /// [`crate::regular::Unfit`]; as for [`Root::find`]; the errors of `openat(2)`.
    pub fn open_file(&self, inside: &Path) -> io::Result<File> {
        self.find(inside)?.open()
    }

    /// Reads that file, if it has at most `limit` bytes.
    ///
    /// # Errors
    /// As [`Root::open_file`]; the errors of `read(2)`.
    pub fn read(&self, inside: &Path, limit: u64) -> io::Result<Vec<u8>> {
        regular::read_whole(self.open_file(inside)?, limit)
    }

    /// Opens the directory that `inside` names in that system.
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

    /// Opens that directory. Creates it and its parents with mode 0755 if they are missing.
    ///
    /// # Errors
    /// As [`Root::directory`]; the errors of `mkdirat(2)`.
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
