//! Walks from the root directory to a file, name by name.

use super::{Directory, Root};
use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, StatxFlags, fstat, mkdirat, openat, readlinkat, statx};
use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Component, Path, PathBuf};

/// The limit of links that the kernel follows.
const LINKS: usize = 40;

/// A walk through a tree.
pub(super) struct Walk<'a> {
    root: &'a Root,
    /// The directories below the root directory, each with its name. `..` returns to the directory that was
    /// opened before, since a directory that was moved meanwhile has another parent.
    way: Vec<Step>,
    links: usize,
}

struct Step {
    name: OsString,
    directory: OwnedFd,
    mount: u64,
    /// Whether a link has led from one mount to another on the way here.
    is_astray: bool,
}

impl<'a> Walk<'a> {
    pub(super) fn new(root: &'a Root) -> Self {
        Self {
            root,
            way: Vec::new(),
            links: 0,
        }
    }

    /// Follows `path`. Returns the last name if it is missing or is not a directory.
    pub(super) fn go(&mut self, path: &Path) -> io::Result<Option<OsString>> {
        self.follow(path, false)
    }

    /// Follows `path`, and creates missing directories.
    pub(super) fn make(&mut self, path: &Path) -> io::Result<()> {
        match self.follow(path, true)? {
            None => Ok(()),
            Some(name) => Err(self.not_a_directory(&name)),
        }
    }

    fn follow(&mut self, path: &Path, is_making: bool) -> io::Result<Option<OsString>> {
        let mut rest: Vec<OsString> = Vec::new();
        push(&mut rest, path);
        while let Some(name) = rest.pop() {
            if name == ".." {
                self.way.pop();
                continue;
            }
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let found = match openat(self.here(), &name, flags, Mode::empty()) {
                Err(Errno::NOENT) if is_making => {
                    self.permit()?;
                    match mkdirat(self.here(), &name, Mode::from_raw_mode(0o755)) {
                        Ok(()) | Err(Errno::EXIST) => openat(self.here(), &name, flags, Mode::empty()),
                        Err(error) => Err(error),
                    }
                }
                other => other,
            };
            let found = match found {
                Ok(found) => found,
                Err(Errno::NOENT) if rest.is_empty() => return Ok(Some(name)),
                Err(error) => return Err(error.into()),
            };
            let about = fstat(&found)?;
            if let Some(owner) = self.root.owner
                && ![0, owner].contains(&about.st_uid)
            {
                let text = format!("'{}' belongs to another user", self.path().join(&name).display());
                return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
            }
            match FileType::from_raw_mode(about.st_mode) {
                FileType::Symlink => {
                    self.links += 1;
                    if self.links > LINKS {
                        return Err(Errno::LOOP.into());
                    }
                    // A magic link of /proc, which leads out of any tree, is treated as text here, like every
                    // other link.
                    let target = readlinkat(&found, "", Vec::new())?.into_bytes();
                    let target = PathBuf::from(OsString::from_vec(target));
                    if target.is_absolute() {
                        self.way.clear();
                    }
                    push(&mut rest, &target);
                }
                FileType::Directory => self.enter(name, found)?,
                _ if rest.is_empty() => return Ok(Some(name)),
                _ => return Err(Errno::NOTDIR.into()),
            }
        }
        Ok(None)
    }

    fn enter(&mut self, name: OsString, directory: OwnedFd) -> io::Result<()> {
        let mount = mount_of(&directory)?;
        let (before, was_astray) = match self.way.last() {
            Some(step) => (step.mount, step.is_astray),
            None => (mount_of(&self.root.directory)?, false),
        };
        let is_astray = was_astray || (self.links > 0 && mount != before);
        self.way.push(Step {
            name,
            directory,
            mount,
            is_astray,
        });
        Ok(())
    }

    fn here(&self) -> &OwnedFd {
        self.way.last().map_or(&self.root.directory, |step| &step.directory)
    }

    /// Returns the path of the current directory inside that system.
    fn path(&self) -> PathBuf {
        let names = self.way.iter().map(|step| step.name.as_os_str());
        std::iter::once(OsStr::new("/")).chain(names).collect()
    }

    /// Refuses a mount that a link has reached. Mounts in a tree may belong to the host (`/run`, `/dev`), and
    /// a link in the tree must not cause writes there. The path of the mount itself may be named.
    fn permit(&self) -> io::Result<()> {
        match self.way.last() {
            Some(step) if step.is_astray && !self.root.is_ours() => Err(astray(&self.path())),
            _ => Ok(()),
        }
    }

    /// Goes back to the parent, and returns the name of the directory that was left.
    pub(super) fn up(&mut self) -> Option<OsString> {
        self.way.pop().map(|step| step.name)
    }

    pub(super) fn directory(mut self) -> io::Result<Directory> {
        let path = self.path();
        let is_astray = self.permit().is_err();
        let directory = match self.way.pop() {
            Some(step) => step.directory,
            None => self.root.directory.try_clone()?,
        };
        Ok(Directory::new(directory, self.root.outside(&path), path, is_astray))
    }

    /// Returns why `name`, at which [`Walk::go`] has stopped, is not a directory.
    pub(super) fn not_a_directory(&self, name: &OsStr) -> io::Error {
        match rustix::fs::statat(self.here(), name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(_) => Errno::NOTDIR.into(),
            Err(error) => error.into(),
        }
    }
}

/// Returns the error for a file behind a link from one mount to another, which must not be changed.
pub(super) fn astray(path: &Path) -> io::Error {
    let text = format!(
        "a symbolic link in the tree leads to '{}', another mount",
        path.display()
    );
    io::Error::new(io::ErrorKind::CrossesDevices, text)
}

/// Returns the number of the mount (Linux 5.8), or of the file system.
pub(super) fn mount_of(directory: &OwnedFd) -> io::Result<u64> {
    match statx(directory, "", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID) {
        Ok(about) if about.stx_mask & StatxFlags::MNT_ID.bits() != 0 => Ok(about.stx_mnt_id),
        _ => Ok(fstat(directory)?.st_dev),
    }
}

/// Prepends the names of `path` to the remaining ones, which are in reverse order.
fn push(rest: &mut Vec<OsString>, path: &Path) {
    if path.as_os_str().as_bytes().is_empty() {
        return;
    }
    let names = path.components().rev().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some(OsString::from("..")),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    });
    rest.extend(names);
}
