//! Reports new cgroups when they are created (`inotify(7)`).

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::inotify::{CreateFlags, ReadFlags, Reader, WatchFlags, add_watch, init, remove_watch};
use rustix::io::Errno;
use std::collections::HashMap;
use std::fs;
use std::io;
use std::mem::MaybeUninit;
use std::path::{Path, PathBuf};

/// The number of directories that are watched. The kernel keeps about 1 KB for each, and users can create cgroups.
const MOST: usize = 8192;

/// A queue of new cgroups. Poll its descriptor for reading.
#[derive(Debug)]
pub struct CreatedCgroups {
    inotify: OwnedFd,
    /// The watched directories, by watch descriptor, and the reverse.
    directories: HashMap<i32, PathBuf>,
    watches: HashMap<PathBuf, i32>,
    /// The directory below which everything is watched.
    root: Option<PathBuf>,
    /// Why some directories are not watched, if so.
    unwatched: Option<Errno>,
}

/// What has happened since the last call of [`CreatedCgroups::take`].
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Created {
    /// The directories of new cgroups. Some may no longer exist.
    pub directories: Vec<PathBuf>,
    /// Whether events were lost: any cgroup may be new.
    pub has_lost_events: bool,
}

impl CreatedCgroups {
    /// Creates a queue that watches nothing.
    ///
    /// # Errors
    /// `EMFILE` if the user has too many inotify instances.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            inotify: init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?,
            directories: HashMap::new(),
            watches: HashMap::new(),
            root: None,
            unwatched: None,
        })
    }

    /// Watches everything below a cgroup, that which will be created there included, as far as the kernel allows it
    /// ([`Self::unwatched`]). Call it again to try the rest.
    ///
    /// # Errors
    /// Any other failure of `inotify_add_watch(2)`.
    pub fn watch_all_below(&mut self, root: &Path) -> io::Result<()> {
        self.root = Some(root.to_owned());
        self.unwatched = None;
        self.add_with_all_below(root, &mut Vec::new())
    }

    /// Returns why some directories are not watched, if so: `ENOSPC` if there are more than 8192, or the user has too many
    /// watches, and `ENAMETOOLONG` for paths of more than 4096 bytes. Users can create such directories where their own
    /// were delegated to them.
    pub fn unwatched(&self) -> Option<io::Error> {
        self.unwatched.map(io::Error::from)
    }

    /// Watches the existing directories above this one, so that its creation is reported. Call it again after each event:
    /// there may be more of them.
    ///
    /// # Errors
    /// As [`Self::watch_all_below`].
    pub fn watch_for(&mut self, root: &Path, directory: &Path) -> io::Result<()> {
        let mut above: Vec<&Path> = directory
            .ancestors()
            .skip(1)
            .filter(|path| path.starts_with(root))
            .collect();
        above.reverse();
        for path in above {
            if !self.add(path)? {
                break;
            }
        }
        Ok(())
    }

    /// Returns the directories that are watched: with [`Self::watch_all_below`] all cgroups.
    pub fn directories(&self) -> Vec<PathBuf> {
        self.watches.keys().cloned().collect()
    }

    /// Returns what has happened since the last call. Does not wait.
    ///
    /// # Errors
    /// As [`Self::watch_all_below`], for new directories.
    pub fn take(&mut self) -> io::Result<Created> {
        let mut created = Created::default();
        let mut seen = Vec::new();
        let mut buffer = [MaybeUninit::uninit(); 8192];
        let mut reader = Reader::new(&self.inotify, &mut buffer);
        loop {
            let event = match reader.next() {
                Ok(event) => event,
                Err(Errno::AGAIN) => break,
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            };
            if event.events().contains(ReadFlags::QUEUE_OVERFLOW) {
                created.has_lost_events = true;
            } else if let (Some(parent), Some(name)) = (self.directories.get(&event.wd()), event.file_name())
                && let Ok(name) = name.to_str()
            {
                seen.push((parent.join(name), event.events().contains(ReadFlags::CREATE)));
            }
        }
        for (directory, is_new) in seen {
            // The kernel keeps the watch of a removed cgroup (`fs/kernfs/dir.c` leaves its number of links).
            self.remove(&directory);
            if !is_new {
                continue;
            }
            if self.root.is_some() {
                self.add_with_all_below(&directory, &mut created.directories)?;
            } else {
                created.directories.push(directory);
            }
        }
        if let Some(root) = self.root.clone().filter(|_| created.has_lost_events) {
            self.add_with_all_below(&root, &mut Vec::new())?;
        }
        Ok(created)
    }

    /// Watches a directory and all below it, and appends them to `found`.
    fn add_with_all_below(&mut self, directory: &Path, found: &mut Vec<PathBuf>) -> io::Result<()> {
        let first = found.len();
        found.push(directory.to_owned());
        let mut next = first;
        while let Some(directory) = found.get(next).cloned() {
            // A directory that is created before the watch exists is found by the list, one that is created later by the
            // watch, and one in between by both.
            self.add(&directory)?;
            let entries = fs::read_dir(&directory).into_iter().flatten().flatten();
            let below = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
            found.extend(below.map(|entry| entry.path()));
            next += 1;
        }
        Ok(())
    }

    fn remove(&mut self, directory: &Path) {
        if let Some(watch) = self.watches.remove(directory) {
            self.directories.remove(&watch);
            // In a file system that removes the watch itself there is none left.
            let _ = remove_watch(&self.inotify, watch);
        }
    }

    /// Watches a directory. Returns whether it exists.
    fn add(&mut self, directory: &Path) -> io::Result<bool> {
        let flags = WatchFlags::CREATE | WatchFlags::DELETE | WatchFlags::ONLYDIR;
        let added = if self.directories.len() < MOST || self.watches.contains_key(directory) {
            add_watch(&self.inotify, directory, flags)
        } else {
            Err(Errno::NOSPC)
        };
        match added {
            Ok(watch) => {
                if self.watches.get(directory) != Some(&watch) {
                    self.remove(directory);
                    self.watches.insert(directory.to_owned(), watch);
                    self.directories.insert(watch, directory.to_owned());
                }
                Ok(true)
            }
            // It has been removed, or the user may not read it.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::NODEV | Errno::ACCESS) => Ok(false),
            Err(error @ (Errno::NOSPC | Errno::NAMETOOLONG)) => {
                self.unwatched = Some(error);
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }
}

impl AsFd for CreatedCgroups {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_are_reported_at_any_depth() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        fs::create_dir(root.join("old")).unwrap();
        let mut created = CreatedCgroups::new().unwrap();
        created.watch_all_below(root).unwrap();
        assert_eq!(created.take().unwrap(), Created::default());
        fs::create_dir_all(root.join("old/a/b")).unwrap();
        let found = created.take().unwrap().directories;
        assert!(found.contains(&root.join("old/a/b")), "{found:?}");
        fs::create_dir(root.join("old/a/b/c")).unwrap();
        assert_eq!(created.take().unwrap().directories, [root.join("old/a/b/c")]);
        fs::remove_dir(root.join("old/a/b/c")).unwrap();
        assert_eq!(created.take().unwrap(), Created::default());
        assert!(!created.directories().contains(&root.join("old/a/b/c")));
    }

    #[test]
    fn only_directories_above_one_are_watched_for_it() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        let wanted = root.join("a/b");
        let mut created = CreatedCgroups::new().unwrap();
        for path in ["a", "a/b"] {
            created.watch_for(root, &wanted).unwrap();
            fs::create_dir(root.join(path)).unwrap();
            assert_eq!(created.take().unwrap().directories, [root.join(path)]);
        }
        created.watch_for(root, &wanted).unwrap();
        fs::create_dir(root.join("a/b/c")).unwrap();
        assert_eq!(created.take().unwrap(), Created::default());
    }
}
