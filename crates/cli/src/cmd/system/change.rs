//! Changes files atomically: at any time, and after any crash, each file has either its old or its new
//! content. Changes can be undone.

use super::failed;
use super::place::is_there;
use crate::error::Error;
use keepalive_sys::rooted::{Attributes, Place};
use keepalive_sys::{regular, selinux};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

/// The largest file that is read whole, in bytes: far larger than keepalive's library, and than any
/// /etc/ld.so.preload.
pub(super) const LARGEST: u64 = 16 << 20;

/// A file with new content that is complete and synced to the disk, but not yet renamed to its place.
#[derive(Debug)]
pub(super) struct Staged {
    new: Place,
    place: Place,
}

impl Staged {
    /// Returns the temporary path of the file, inside that system.
    pub(super) fn temporary(&self) -> PathBuf {
        self.new.inside()
    }
}

/// The completed steps, which can be undone or finished.
#[derive(Debug, Default)]
pub(super) struct Change {
    undo: Vec<Undo>,
    /// Copies of the old files, which `finish` removes.
    asides: Vec<Place>,
}

#[derive(Debug)]
enum Undo {
    Remove(Place),
    Restore { aside: Place, place: Place },
}

impl Change {
    /// Writes the new content of `place` to a temporary file in the same directory.
    ///
    /// # Errors
    /// The file could not be written.
    pub(super) fn stage(&mut self, place: &Place, content: &[u8], attributes: Attributes) -> Result<Staged, Error> {
        Ok(Staged {
            new: self.write_beside(place, content, attributes)?,
            place: place.clone(),
        })
    }

    /// Moves the file to its place. The old file is kept as `aside`, permanently or until [`Self::finish`].
    ///
    /// # Errors
    /// The file could not be moved; the old file is still in place.
    pub(super) fn put(&mut self, staged: &Staged, aside: &Aside<'_>) -> Result<(), Error> {
        let Staged { new, place } = staged;
        let undo = self.set_aside(place, aside)?;
        new.rename(place)
            .map_err(|error| failed("replace", &place.outside(), "rename", &error))?;
        self.undo.push(undo.unwrap_or_else(|| Undo::Remove(place.clone())));
        sync_directory(place)
    }

    /// Removes the file at `place`, and keeps it as `aside`.
    ///
    /// # Errors
    /// The file could not be removed.
    pub(super) fn remove(&mut self, place: &Place, aside: &Aside<'_>) -> Result<(), Error> {
        let undo = self.set_aside(place, aside)?;
        place
            .remove()
            .map_err(|error| failed("remove", &place.outside(), "unlink", &error))?;
        self.undo.extend(undo);
        sync_directory(place)
    }

    /// Copies the file at `place`, if it exists. A copy is used instead of a second link, because users may
    /// compare and edit it.
    fn set_aside(&mut self, place: &Place, aside: &Aside<'_>) -> Result<Option<Undo>, Error> {
        let Some((content, attributes)) = read(place)? else {
            return Ok(None);
        };
        let Aside::At { copy, is_kept } = *aside else {
            return Ok(None);
        };
        let new = self.write_beside(copy, &content, attributes)?;
        if !is_there(copy) {
            self.undo.push(Undo::Remove(copy.clone()));
        }
        new.rename(copy)
            .map_err(|error| failed("write", &copy.outside(), "rename", &error))?;
        if !is_kept {
            self.asides.push(copy.clone());
        }
        Ok(Some(Undo::Restore {
            aside: copy.clone(),
            place: place.clone(),
        }))
    }

    fn write_beside(&mut self, place: &Place, content: &[u8], attributes: Attributes) -> Result<Place, Error> {
        let new = place
            .write_beside(content, attributes)
            .map_err(|error| failed("write", &place.outside(), "", &error))?;
        self.undo.push(Undo::Remove(new.clone()));
        Ok(new)
    }

    /// Undoes all steps, the last one first.
    ///
    /// # Errors
    /// The steps that could not be undone; all others are undone.
    pub(super) fn roll_back(mut self) -> Result<(), Error> {
        let mut errors = Vec::new();
        while let Some(step) = self.undo.pop() {
            let (place, done) = match step {
                Undo::Restore { aside, place } => {
                    let done = aside.rename(&place);
                    (place, done)
                }
                Undo::Remove(place) => {
                    let done = place.remove();
                    (place, done)
                }
            };
            match done {
                Ok(()) => {
                    let _ = sync_directory(&place);
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => errors.push(failed("restore", &place.outside(), "rename", &error)),
            }
        }
        self.finish();
        Error::all(errors.into_iter()).map_or(Ok(()), Err)
    }

    /// Removes the files that only undoing needs.
    pub(super) fn finish(self) {
        for aside in self.asides {
            let _ = aside.remove();
        }
    }
}

/// What happens to a file that is replaced or removed.
pub(super) enum Aside<'a> {
    /// The file is deleted.
    None,
    /// The file is kept at `copy`, permanently or until the change is finished.
    At { copy: &'a Place, is_kept: bool },
}

/// Returns the content and the attributes of the file at `place`; `None` if it does not exist.
///
/// # Errors
/// The file could not be read.
pub(super) fn read(place: &Place) -> Result<Option<(Vec<u8>, Attributes)>, Error> {
    let cannot = |call: &str, error: &io::Error| failed("read", &place.outside(), call, error);
    let file = match place.open() {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(cannot("open", &error)),
    };
    let metadata = file.metadata().map_err(|error| cannot("fstat", &error))?;
    let label = selinux::label(&file);
    let content = regular::read_whole(file, LARGEST).map_err(|error| cannot("read", &error))?;
    let attributes = Attributes {
        mode: metadata.mode() & 0o7777,
        owner: Some((metadata.uid(), metadata.gid())),
        label,
    };
    Ok(Some((content, attributes)))
}

/// Syncs the names in the directory of `place` to the disk.
fn sync_directory(place: &Place) -> Result<(), Error> {
    let directory = place.directory();
    directory
        .sync()
        .map_err(|error| failed("write", directory.outside(), "fsync", &error))
}
