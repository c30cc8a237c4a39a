//! Changing files so that each is, at any moment and after any crash, either as it was or as it will be; and undoing it.

use super::failed;
use super::place::{NEW, beside};
use crate::error::Error;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};

/// Who may do what with a new file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attributes {
    pub(super) mode: u32,
    /// User and group; as files are made here where there are none.
    pub(super) owner: Option<(u32, u32)>,
}

/// A file with a new content, complete and on the disk, but not in its place yet.
#[derive(Debug)]
pub(super) struct Staged {
    new: PathBuf,
    path: PathBuf,
}

impl Staged {
    /// Where it is for now.
    pub(super) fn temporary(&self) -> &Path {
        &self.new
    }
}

/// What has been done, to be undone or finished.
#[derive(Debug, Default)]
pub(super) struct Change {
    undo: Vec<Undo>,
    /// Files as they were, of no use when all is well.
    asides: Vec<PathBuf>,
}

#[derive(Debug)]
enum Undo {
    Remove(PathBuf),
    Restore { aside: PathBuf, path: PathBuf },
}

impl Change {
    /// Writes the new content of `path` beside it.
    ///
    /// # Errors
    /// It could not be written.
    pub(super) fn stage(&mut self, path: &Path, content: &[u8], attributes: Attributes) -> Result<Staged, Error> {
        let new = beside(path, NEW);
        self.undo.push(Undo::Remove(new.clone()));
        write(&new, content, attributes)?;
        Ok(Staged {
            new,
            path: path.to_owned(),
        })
    }

    /// Puts it in its place. What was there is kept as `aside`, for good or until [`Self::finish`].
    ///
    /// # Errors
    /// It could not be put there, and what was there is there.
    pub(super) fn put(&mut self, staged: &Staged, aside: &Aside<'_>) -> Result<(), Error> {
        let Staged { new, path } = staged;
        let undo = self.set_aside(path, aside)?;
        fs::rename(new, path).map_err(|error| failed("replace", path, "rename", &error))?;
        self.undo.push(undo.unwrap_or_else(|| Undo::Remove(path.clone())));
        sync_directory(path)
    }

    /// Removes `path`, which is kept as `aside`.
    ///
    /// # Errors
    /// It could not be removed.
    pub(super) fn remove(&mut self, path: &Path, aside: &Aside<'_>) -> Result<(), Error> {
        let undo = self.set_aside(path, aside)?;
        fs::remove_file(path).map_err(|error| failed("remove", path, "unlink", &error))?;
        self.undo.extend(undo);
        sync_directory(path)
    }

    /// Copies what is at `path`, if anything. A copy, and no second link: it may be compared, and changed, by hand.
    fn set_aside(&mut self, path: &Path, aside: &Aside<'_>) -> Result<Option<Undo>, Error> {
        let Some((content, attributes)) = read(path)? else {
            return Ok(None);
        };
        let Aside::At { copy, is_kept } = *aside else {
            return Ok(None);
        };
        let new = beside(copy, NEW);
        self.undo.push(Undo::Remove(new.clone()));
        write(&new, &content, attributes)?;
        if copy.symlink_metadata().is_err() {
            self.undo.push(Undo::Remove(copy.to_owned()));
        }
        fs::rename(&new, copy).map_err(|error| failed("write", copy, "rename", &error))?;
        if !is_kept {
            self.asides.push(copy.to_owned());
        }
        Ok(Some(Undo::Restore {
            aside: copy.to_owned(),
            path: path.to_owned(),
        }))
    }

    /// Undoes everything, the last step first.
    ///
    /// # Errors
    /// What could not be undone; the rest is.
    pub(super) fn roll_back(mut self) -> Result<(), Error> {
        let mut errors = Vec::new();
        while let Some(step) = self.undo.pop() {
            let (path, done) = match step {
                Undo::Restore { aside, path } => {
                    let done = fs::rename(aside, &path);
                    (path, done)
                }
                Undo::Remove(path) => {
                    let done = fs::remove_file(&path);
                    (path, done)
                }
            };
            match done {
                Ok(()) => {
                    let _ = sync_directory(&path);
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => errors.push(failed("restore", &path, "rename", &error)),
            }
        }
        self.finish();
        Error::all(errors.into_iter()).map_or(Ok(()), Err)
    }

    /// Drops what only undoing needs.
    pub(super) fn finish(self) {
        for aside in self.asides {
            let _ = fs::remove_file(aside);
        }
    }
}

/// What becomes of the file that is replaced or removed.
pub(super) enum Aside<'a> {
    /// It is gone.
    None,
    /// It is kept there, for good or until all is well.
    At { copy: &'a Path, is_kept: bool },
}

/// The content of the file at `path`, and who may do what with it; `None` where there is none.
///
/// # Errors
/// It could not be read.
pub(super) fn read(path: &Path) -> Result<Option<(Vec<u8>, Attributes)>, Error> {
    use std::os::unix::fs::MetadataExt as _;
    let metadata = match path.metadata() {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed("read", path, "stat", &error)),
    };
    let content = fs::read(path).map_err(|error| failed("read", path, "open", &error))?;
    let attributes = Attributes {
        mode: metadata.mode() & 0o7777,
        owner: Some((metadata.uid(), metadata.gid())),
    };
    Ok(Some((content, attributes)))
}

/// Writes a new file, and waits until it is on the disk. What is there, a leftover, goes.
fn write(path: &Path, content: &[u8], attributes: Attributes) -> Result<(), Error> {
    let cannot = |call: &str, error: &io::Error| failed("write", path, call, error);
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(cannot("unlink", &error)),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(|error| cannot("open", &error))?;
    file.write_all(content).map_err(|error| cannot("write", &error))?;
    if let Some((user, group)) = attributes.owner {
        fchown(&file, Some(user), Some(group)).map_err(|error| cannot("fchown", &error))?;
    }
    // After fchown, which takes set-user-ID away.
    file.set_permissions(Permissions::from_mode(attributes.mode))
        .map_err(|error| cannot("fchmod", &error))?;
    file.sync_all().map_err(|error| cannot("fsync", &error))
}

/// Waits until the names in the directory of `path` are on the disk.
fn sync_directory(path: &Path) -> Result<(), Error> {
    let directory = path.parent().unwrap_or(path);
    match File::open(directory).and_then(|directory| directory.sync_all()) {
        // Some file systems have nothing to wait for (fsync(2)).
        Err(error) if error.kind() != io::ErrorKind::InvalidInput => Err(failed("write", directory, "fsync", &error)),
        _ => Ok(()),
    }
}
