//! Opens regular files in a way that no other type of file can make the caller wait or read without end.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, fstat, fstatfs, makedev, openat, openat2};
use rustix::io::Errno;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::time::{Duration, Instant};

/// Flags for reading: open(2) does not wait for a FIFO's writer, and no terminal becomes the controlling one.
pub(crate) const READ: OFlags = OFlags::RDONLY
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY)
    .union(OFlags::CLOEXEC);

/// The reason why a file is not read. It is the inner error of an [`io::Error`] of kind `InvalidInput`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// The file is not regular; contains its type.
    Type(FileType),
    /// The file has more bytes than this limit.
    Larger(u64),
    /// The writer has not closed the pipe within this time.
    Endless(Duration),
}

impl Unfit {
    /// Returns the reason in `error`, if it contains one.
    pub fn of(error: &io::Error) -> Option<Self> {
        error.get_ref()?.downcast_ref().copied()
    }
}

impl From<Unfit> for io::Error {
    fn from(unfit: Unfit) -> Self {
        Self::new(io::ErrorKind::InvalidInput, unfit)
    }
}

impl std::error::Error for Unfit {}

impl fmt::Display for Unfit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Type(kind) => write!(formatter, "it is {}, not a regular file", article(*kind)),
            Self::Larger(limit) if limit % 1024 == 0 => write!(formatter, "it has more than {} KiB", limit / 1024),
            Self::Larger(limit) => write!(formatter, "it has more than {limit} bytes"),
            Self::Endless(limit) => write!(formatter, "it has not ended within {} s", limit.as_secs()),
        }
    }
}

fn article(kind: FileType) -> &'static str {
    match kind {
        FileType::RegularFile => "a regular file",
        FileType::Directory => "a directory",
        FileType::Symlink => "a symbolic link",
        FileType::Fifo => "a FIFO",
        FileType::Socket => "a socket",
        FileType::CharacterDevice => "a character device",
        FileType::BlockDevice => "a block device",
        FileType::Unknown => "of an unknown type",
    }
}

/// Opens the regular file at `path` for reading. A file of another type is not opened, unless it replaces the
/// regular file in between, and is never read.
///
/// # Errors
/// [`Unfit::Type`]; the errors of `open(2)`, `EISDIR` for a directory.
pub fn open(path: &Path) -> io::Result<File> {
    open_at(CWD, path, OFlags::empty())
}

/// As [`open`], relative to a directory and with more flags (`O_NOFOLLOW`).
pub(crate) fn open_at(directory: impl rustix::fd::AsFd, path: &Path, more: OFlags) -> io::Result<File> {
    let seen = openat(&directory, path, OFlags::PATH | OFlags::CLOEXEC | more, Mode::empty())?;
    require_regular(&seen)?;
    let file = openat(&directory, path, READ | more, Mode::empty())?;
    require_regular(&file)?;
    Ok(File::from(file))
}

fn require_regular(fd: &OwnedFd) -> io::Result<()> {
    match file_type(fd)? {
        FileType::RegularFile => Ok(()),
        FileType::Directory => Err(Errno::ISDIR.into()),
        other => Err(Unfit::Type(other).into()),
    }
}

fn file_type(fd: &OwnedFd) -> io::Result<FileType> {
    Ok(FileType::from_raw_mode(fstat(fd)?.st_mode))
}

/// Reads the regular file at `path`, if it has at most `limit` bytes.
///
/// # Errors
/// [`Unfit`]; the errors of `open(2)` and `read(2)`.
pub fn read(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    read_whole(open(path)?, limit)
}

/// Reads the rest of `source`, if that has at most `limit` bytes.
///
/// # Errors
/// [`Unfit::Larger`]; the errors of reading.
pub fn read_whole(source: impl Read, limit: u64) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    source.take(limit.saturating_add(1)).read_to_end(&mut content)?;
    if u64::try_from(content.len()).is_ok_and(|length| length > limit) {
        return Err(Unfit::Larger(limit).into());
    }
    Ok(content)
}

/// As [`read`], below a directory whose owner may put anything there: follows no symbolic link, and enters no other file
/// system, such as one whose server never answers (Linux 5.6).
///
/// # Errors
/// As [`read`]; `ELOOP` for a symbolic link, `EXDEV` for another file system or a path that leads out of the directory.
pub fn read_beneath(directory: &Path, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = openat(CWD, directory, flags, Mode::empty())?;
    let seen = openat2(&directory, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve)?;
    require_regular(&seen)?;
    let file = openat2(&directory, path, READ, Mode::empty(), resolve)?;
    require_regular(&file)?;
    read_whole(File::from(file), limit)
}

/// As [`read`], but treats `/dev/null` as an empty file, and reads an unnamed pipe too, as a shell passes it
/// for `<(COMMAND)`: until its writers have closed it, for at most `patience`. Returns whether the file was a
/// pipe.
///
/// # Errors
/// [`Unfit`]; the errors of `open(2)` and `read(2)`.
pub fn read_or_pipe(path: &Path, limit: u64, patience: Duration) -> io::Result<(Vec<u8>, bool)> {
    /// The file system of unnamed pipes (`linux/magic.h`).
    const PIPEFS_MAGIC: u64 = 0x5049_5045;
    let seen = openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let about = fstat(&seen)?;
    if FileType::from_raw_mode(about.st_mode) == FileType::CharacterDevice && about.st_rdev == makedev(1, 3) {
        return Ok((Vec::new(), false));
    }
    let is_pipe = file_type(&seen)? == FileType::Fifo
        && fstatfs(&seen).is_ok_and(|system| u64::try_from(system.f_type) == Ok(PIPEFS_MAGIC));
    if !is_pipe {
        return Ok((read(path, limit)?, false));
    }
    let pipe = openat(CWD, path, READ, Mode::empty())?;
    match file_type(&pipe)? {
        FileType::Fifo => {}
        other => return Err(Unfit::Type(other).into()),
    }
    let pipe = Patient {
        pipe: File::from(pipe),
        deadline: Instant::now() + patience,
        patience,
    };
    Ok((read_whole(pipe, limit)?, true))
}

/// A pipe that is read until a deadline.
struct Patient {
    pipe: File,
    deadline: Instant,
    patience: Duration,
}

impl Read for Patient {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.pipe.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                other => return other,
            }
            let left = self.deadline.saturating_duration_since(Instant::now());
            let left = Timespec::try_from(left).map_err(io::Error::other)?;
            match poll(&mut [PollFd::new(&self.pipe, PollFlags::IN)], Some(&left)) {
                Ok(0) => return Err(Unfit::Endless(self.patience).into()),
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::mkfifoat;
    use std::os::fd::AsRawFd as _;

    fn unfit(result: io::Result<Vec<u8>>) -> Option<Unfit> {
        Unfit::of(&result.unwrap_err())
    }

    #[test]
    fn other_types_are_refused_at_once() {
        let directory = tempfile::tempdir().unwrap();
        let fifo = directory.path().join("fifo");
        mkfifoat(CWD, &fifo, Mode::RUSR).unwrap();
        for (path, kind) in [
            (fifo.as_path(), FileType::Fifo),
            (Path::new("/dev/zero"), FileType::CharacterDevice),
        ] {
            assert_eq!(unfit(read(path, 9)), Some(Unfit::Type(kind)), "{}", path.display());
            let wait = read_or_pipe(path, 9, Duration::from_mins(1)).map(|(content, _)| content);
            assert_eq!(unfit(wait), Some(Unfit::Type(kind)), "{}", path.display());
        }
    }

    #[test]
    fn directory_errno_is_that_of_open() {
        let error = read(Path::new("/"), 9).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::IsADirectory);
    }

    #[test]
    fn no_more_than_the_limit_is_read() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "12345").unwrap();
        assert_eq!(read(file.path(), 5).unwrap(), b"12345");
        assert_eq!(unfit(read(file.path(), 4)), Some(Unfit::Larger(4)));
        file.as_file().set_len(1 << 40).unwrap();
        assert_eq!(unfit(read(file.path(), 4096)), Some(Unfit::Larger(4096)));
    }

    #[test]
    fn the_null_device_is_an_empty_file() {
        let read = read_or_pipe(Path::new("/dev/null"), 9, Duration::ZERO);
        assert_eq!(read.unwrap(), (Vec::new(), false));
    }

    #[test]
    fn a_pipe_is_read_to_its_end_and_not_waited_for_without_limit() {
        let (reader, mut writer) = io::pipe().unwrap();
        let path = format!("/dev/fd/{}", reader.as_raw_fd());
        let path = Path::new(&path);
        io::Write::write_all(&mut writer, b"text").unwrap();
        let wait = read_or_pipe(path, 9, Duration::from_millis(10)).map(|(content, _)| content);
        assert!(matches!(unfit(wait), Some(Unfit::Endless(_))));
        io::Write::write_all(&mut writer, b"more").unwrap();
        drop(writer);
        let wait = read_or_pipe(path, 9, Duration::from_mins(1)).unwrap();
        assert_eq!(wait, (b"more".to_vec(), true));
    }
}
