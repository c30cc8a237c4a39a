//! Locks of directories (`flock(2)`). None of these functions waits, since other processes control how long
//! they hold a lock.

use rustix::fs::{FlockOperation, Mode, OFlags, flock, fstat, major, minor, open};
use rustix::io::Errno;
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// Takes the exclusive lock of a directory, held until the descriptor is closed; `None` while another process
/// holds any lock of the directory.
///
/// # Errors
/// As `open(2)` and `flock(2)`.
pub fn try_exclusive(directory: &Path) -> io::Result<Option<OwnedFd>> {
    try_lock(directory, FlockOperation::NonBlockingLockExclusive)
}

/// Takes a shared lock of a directory, held until the descriptor is closed; `None` while another process
/// holds the exclusive lock.
///
/// # Errors
/// As `open(2)` and `flock(2)`.
pub fn try_shared(directory: &Path) -> io::Result<Option<OwnedFd>> {
    try_lock(directory, FlockOperation::NonBlockingLockShared)
}

fn try_lock(directory: &Path, operation: FlockOperation) -> io::Result<Option<OwnedFd>> {
    let directory = open_directory(directory)?;
    match flock(&directory, operation) {
        Ok(()) => Ok(Some(directory)),
        Err(Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Returns the number of the process that holds a lock of a directory; `None` if no process holds one, or if
/// this pid namespace does not show the holder (`proc_locks(5)`).
///
/// # Errors
/// As `open(2)`; any failure to read `/proc/locks`.
pub fn holder(directory: &Path) -> io::Result<Option<u32>> {
    let about = fstat(open_directory(directory)?.as_fd())?;
    let file = format!(
        "{:02x}:{:02x}:{}",
        major(about.st_dev),
        minor(about.st_dev),
        about.st_ino
    );
    Ok(holder_in(&fs::read_to_string("/proc/locks")?, &file))
}

/// A line is `1: FLOCK  ADVISORY  WRITE 4242 00:1c:7 0 EOF`. With `->` before `FLOCK`, the process is waiting.
fn holder_in(locks: &str, file: &str) -> Option<u32> {
    locks.lines().find_map(|line| {
        let words: Vec<_> = line.split_whitespace().collect();
        match words.as_slice() {
            [_, "FLOCK", _, _, pid, of, ..] if *of == file => pid.parse().ok().filter(|pid| *pid > 0),
            _ => None,
        }
    })
}

fn open_directory(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(open(path, flags, Mode::empty())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_holder_is_found_and_who_waits_is_not() {
        let locks = "1: -> FLOCK  ADVISORY  WRITE 77 00:1c:7 0 EOF\n\
                     1: POSIX  ADVISORY  WRITE 78 00:1c:7 0 EOF\n\
                     2: FLOCK  ADVISORY  WRITE 79 00:1c:71 0 EOF\n\
                     3: FLOCK  ADVISORY  WRITE 4242 00:1c:7 0 EOF\n";
        assert_eq!(holder_in(locks, "00:1c:7"), Some(4242));
        assert_eq!(holder_in(locks, "00:1c:71"), Some(79));
        assert_eq!(holder_in(locks, "00:1c:8"), None);
        assert_eq!(holder_in("1: OFDLCK ADVISORY  WRITE -1 00:1c:8 0 EOF", "00:1c:8"), None);
    }

    #[test]
    fn the_lock_of_this_process_is_seen_in_the_kernels_list() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        assert_eq!(holder(directory.path()).expect("the list"), None);
        let lock = try_exclusive(directory.path()).expect("a directory").expect("a lock");
        assert_eq!(holder(directory.path()).expect("the list"), Some(std::process::id()));
        assert!(try_exclusive(directory.path()).expect("a directory").is_none());
        assert!(try_shared(directory.path()).expect("a directory").is_none());
        drop(lock);
        let shared = try_shared(directory.path()).expect("a directory").expect("a lock");
        assert!(try_exclusive(directory.path()).expect("a directory").is_none());
        drop(shared);
        assert!(try_exclusive(directory.path()).expect("a directory").is_some());
    }
}
