//! Names in open directories. Operations stay in the directory, even if it is moved.

use super::walk::astray;
use crate::regular;
use crate::selinux::ATTRIBUTE;
use rustix::fd::OwnedFd;
use rustix::fs::{
    AtFlags, Dir, Gid, Mode, OFlags, Stat, Uid, XattrFlags, fchmod, fchown, fsetxattr, fsync, openat, readlinkat,
    renameat, statat, unlinkat,
};
use rustix::io::Errno;
use std::collections::hash_map::RandomState;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::hash::{BuildHasher as _, Hasher as _};
use std::io::{self, Write as _};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// The suffix of a file that is being written, followed by a random number, before the file gets its final name.
pub const NEW: &str = ".keepalive-new";

/// The limit of names that are read in a directory.
const NAMES: usize = 65536;

/// An open directory of a tree.
#[derive(Debug)]
pub struct Directory {
    fd: OwnedFd,
    outside: PathBuf,
    inside: PathBuf,
    is_astray: bool,
}

/// The mode, owner and label of a new file.
#[derive(Clone, Debug)]
pub struct Attributes {
    /// The permission bits, including set-user-ID.
    pub mode: u32,
    /// The user and group; `None` for those of this process.
    pub owner: Option<(u32, u32)>,
    /// SELinux's context; `None` for the policy's default.
    pub label: Option<Vec<u8>>,
}

impl Directory {
    pub(super) fn new(fd: OwnedFd, outside: PathBuf, inside: PathBuf, is_astray: bool) -> Self {
        Self {
            fd,
            outside,
            inside,
            is_astray,
        }
    }

    /// Returns the path of the directory inside that system.
    pub fn inside(&self) -> &Path {
        &self.inside
    }

    /// Returns the path of the directory from outside, for messages.
    pub fn outside(&self) -> &Path {
        &self.outside
    }

    /// Returns the names in the directory, sorted, if there are at most 65536.
    ///
    /// # Errors
    /// The errors of `openat(2)` and `getdents(2)`.
    pub fn names(&self) -> io::Result<Vec<OsString>> {
        let mut names = Vec::new();
        for entry in Dir::new(self.opened()?)? {
            if names.len() == NAMES {
                return Err(io::Error::new(
                    io::ErrorKind::FileTooLarge,
                    format!("it has more than {NAMES} names"),
                ));
            }
            let name = OsString::from_vec(entry?.file_name().to_bytes().to_vec());
            if name != "." && name != ".." {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    /// Removes the directory with this name, if it is empty.
    ///
    /// # Errors
    /// The errors of `unlinkat(2)`.
    pub fn remove_directory(&self, name: &OsStr) -> io::Result<()> {
        self.permit()?;
        Ok(unlinkat(&self.fd, name, AtFlags::REMOVEDIR)?)
    }

    /// Waits until the names in the directory are on the disk.
    ///
    /// # Errors
    /// The errors of `openat(2)` and `fsync(2)`.
    pub fn sync(&self) -> io::Result<()> {
        match fsync(self.opened()?) {
            // Some file systems do not support this (fsync(2)).
            Err(Errno::INVAL) | Ok(()) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Returns a descriptor of the directory that can be read, synced and locked.
    ///
    /// # Errors
    /// The errors of `openat(2)`.
    pub fn opened(&self) -> io::Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(openat(&self.fd, ".", flags, Mode::empty())?)
    }

    /// Returns whether files in the directory may be changed: false if a link in another system's tree has
    /// led from one mount to another.
    pub fn may_change(&self) -> bool {
        !self.is_astray
    }

    fn permit(&self) -> io::Result<()> {
        if self.is_astray {
            return Err(astray(&self.inside));
        }
        Ok(())
    }
}

/// A name in an open directory.
#[derive(Clone, Debug)]
pub struct Place {
    directory: Rc<Directory>,
    name: OsString,
}

impl Place {
    /// Creates a place from a directory and a name without `/`.
    pub fn new(directory: Rc<Directory>, name: impl Into<OsString>) -> Self {
        let name = name.into();
        debug_assert!(!name.as_bytes().contains(&b'/') && name != "..");
        Self { directory, name }
    }

    /// Returns the directory.
    pub fn directory(&self) -> &Rc<Directory> {
        &self.directory
    }

    /// Returns the name.
    pub fn name(&self) -> &OsStr {
        &self.name
    }

    /// Returns the path inside that system.
    pub fn inside(&self) -> PathBuf {
        self.directory.inside.join(&self.name)
    }

    /// Returns the path from outside, for messages.
    pub fn outside(&self) -> PathBuf {
        self.directory.outside.join(&self.name)
    }

    /// Returns the place in the same directory whose name has `suffix` appended.
    #[must_use]
    pub fn beside(&self, suffix: &str) -> Self {
        let mut name = self.name.clone();
        name.push(suffix);
        Self::new(self.directory.clone(), name)
    }

    /// Returns the status of the file, without following a link; `None` if it does not exist.
    ///
    /// # Errors
    /// The errors of `fstatat(2)`.
    pub fn about(&self) -> io::Result<Option<Stat>> {
        match statat(&self.directory.fd, &self.name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(about) => Ok(Some(about)),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Returns the target of the link; `None` if this is not a link.
    pub fn link(&self) -> Option<PathBuf> {
        let text = readlinkat(&self.directory.fd, &self.name, Vec::new()).ok()?;
        Some(PathBuf::from(OsString::from_vec(text.into_bytes())))
    }

    /// Opens the regular file for reading, without following a link.
    ///
    /// # Errors
    /// [`crate::regular::Unfit`]; the errors of `openat(2)`.
    pub fn open(&self) -> io::Result<File> {
        regular::open_at(&self.directory.fd, Path::new(&self.name), OFlags::NOFOLLOW)
    }

    /// Reads the file, if it has at most `limit` bytes.
    ///
    /// # Errors
    /// As [`Place::open`]; [`crate::regular::Unfit::Larger`]; the errors of `read(2)`.
    pub fn read(&self, limit: u64) -> io::Result<Vec<u8>> {
        regular::read_whole(self.open()?, limit)
    }

    /// Writes a new file in the same directory, completely and synced to the disk. Its name ends with [`NEW`]
    /// and a random number.
    ///
    /// # Errors
    /// The errors of `openat(2)`, `write(2)`, `fchown(2)`, `fchmod(2)` and `fsync(2)`; then no file is left.
    pub fn write_beside(&self, content: &[u8], attributes: Attributes) -> io::Result<Self> {
        let (place, file) = self.create_beside()?;
        let written = fill(file, content, attributes);
        if written.is_err() {
            let _ = place.remove();
        }
        written.map(|()| place)
    }

    fn create_beside(&self) -> io::Result<(Self, File)> {
        const ATTEMPTS: usize = 100;
        self.directory.permit()?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        for _ in 0..ATTEMPTS {
            let place = self.beside(&format!("{NEW}-{:016x}", RandomState::new().build_hasher().finish()));
            match openat(&self.directory.fd, &place.name, flags, mode) {
                Ok(file) => return Ok((place, File::from(file))),
                Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(Errno::EXIST.into())
    }

    /// Renames the file to `to` in the same directory, and replaces the file with that name.
    ///
    /// # Errors
    /// The errors of `renameat(2)`.
    pub fn rename(&self, to: &Self) -> io::Result<()> {
        self.directory.permit()?;
        to.directory.permit()?;
        Ok(renameat(&self.directory.fd, &self.name, &to.directory.fd, &to.name)?)
    }

    /// Removes the file or link.
    ///
    /// # Errors
    /// The errors of `unlinkat(2)`.
    pub fn remove(&self) -> io::Result<()> {
        self.directory.permit()?;
        Ok(unlinkat(&self.directory.fd, &self.name, AtFlags::empty())?)
    }

    /// Returns the files in the same directory that an interrupted [`Place::write_beside`] has left.
    pub fn unfinished(&self) -> Vec<Self> {
        let prefix = self.beside(NEW).name;
        let names = self.directory.names().unwrap_or_default().into_iter();
        names
            .filter(|name| name.as_bytes().starts_with(prefix.as_bytes()))
            .map(|name| Self::new(self.directory.clone(), name))
            .collect()
    }
}

fn fill(mut file: File, content: &[u8], attributes: Attributes) -> io::Result<()> {
    file.write_all(content)?;
    if let Some(label) = attributes.label {
        // File systems without labels do not need one.
        let _ = fsetxattr(&file, ATTRIBUTE, &label, XattrFlags::empty());
    }
    if let Some((user, group)) = attributes.owner {
        fchown(&file, Some(Uid::from_raw(user)), Some(Gid::from_raw(group)))?;
    }
    // After fchown, which clears set-user-ID.
    fchmod(&file, Mode::from_raw_mode(attributes.mode))?;
    file.sync_all()
}
