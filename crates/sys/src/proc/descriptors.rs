//! The descriptors of processes, and which of them are sockets (`proc_pid_fd(5)`).

use super::{numbers, parse_status};
use rustix::fd::OwnedFd;
use rustix::fs::{Mode, OFlags, RawDir, SeekFrom, fstat, openat, readlinkat_raw, seek};
use rustix::io::Errno;
use rustix::path::DecInt;
use std::fs;
use std::io;
use std::mem::MaybeUninit;
use std::num::NonZero;
use std::os::unix::ffi::OsStrExt as _;
use std::thread;

/// Returns the open descriptors of a process, in no order.
///
/// # Errors
/// `ENOENT` if the process no longer exists, `EACCES` without ptrace access (`/proc/pid/fd`, `proc_pid_fd(5)`).
pub fn fds(pid: u32) -> io::Result<Vec<i32>> {
    numbers(format!("/proc/{pid}/fd"))
}

/// Returns the open sockets of a thread, by descriptor, each with its inode. The main thread has the number
/// of its process.
///
/// # Errors
/// As [`fds`].
pub fn sockets(pid: u32, tid: u32) -> io::Result<Vec<(i32, u64)>> {
    sockets_of(&format!("/proc/{pid}/task/{tid}"))
}

/// Returns the present size of a thread's descriptor table. The main thread has the number of its process.
///
/// # Errors
/// `ENOENT` if the thread no longer exists.
pub fn fd_size(pid: u32, tid: u32) -> io::Result<u32> {
    table_size(&format!("/proc/{pid}/task/{tid}"))
}

fn table_size(thread: &str) -> io::Result<u32> {
    Ok(parse_status(&fs::read(format!("{thread}/status"))?).fd_size)
}

/// Returns the inode of the socket that a descriptor of a thread refers to; `None` if it refers to none.
pub fn socket_at(pid: u32, tid: u32, fd: i32) -> Option<u64> {
    let target = fs::read_link(format!("/proc/{pid}/task/{tid}/fd/{fd}")).ok()?;
    socket_inode(target.as_os_str().as_bytes())
}

/// Returns the open sockets of this process, as [`sockets`] does.
///
/// # Errors
/// Any failure to read `/proc`; `ENOENT` if it does not show this process.
pub fn own_sockets() -> io::Result<Vec<(i32, u64)>> {
    sockets_of("/proc/self")
}

/// Reading this many links takes longer than starting a thread.
const MANY: usize = 512;

fn sockets_of(thread: &str) -> io::Result<Vec<(i32, u64)>> {
    let path = format!("{thread}/fd");
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = openat(rustix::fs::CWD, &path, flags, Mode::empty())?;
    let dense = dense(thread, &directory).unwrap_or(0);
    let mut fds: Vec<i32> = (0..dense).collect();
    fds.extend(fds_from(&directory, dense)?);
    if fds.len() <= MANY {
        return sockets_among(&directory, &fds);
    }
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    let shares = fds.chunks(fds.len().div_ceil(threads).max(MANY));
    thread::scope(|scope| {
        let directory = &directory;
        let read = |share| {
            let reader = thread::Builder::new().spawn_scoped(scope, move || sockets_among(directory, share));
            // The limit of threads may be reached.
            reader.map_err(|_| share)
        };
        let readers: Vec<_> = shares.map(read).collect();
        let mut found = Vec::new();
        for reader in readers {
            found.extend(match reader {
                Ok(reader) => reader.join().unwrap_or_else(|_| Err(Errno::IO.into())),
                Err(share) => sockets_among(directory, share),
            }?);
        }
        Ok(found)
    })
}

/// Returns the number of open descriptors if they are many and fill at least half of their table: most of them have a lower
/// number than this. To try each of these numbers takes less time than to read them from the directory. Before Linux 6.2
/// the directory does not show how many descriptors are open.
fn dense(thread: &str, directory: &OwnedFd) -> Option<i32> {
    let open = usize::try_from(fstat(directory).ok()?.st_size).ok()?;
    if open <= MANY {
        return None;
    }
    let size = table_size(thread).ok()?;
    let is_dense = 2 * open >= usize::try_from(size).ok()?;
    i32::try_from(open).ok().filter(|_| is_dense)
}

/// Returns the open descriptors from `first` on.
fn fds_from(directory: &OwnedFd, first: i32) -> io::Result<Vec<i32>> {
    /// The position of descriptor 0: `.` and `..` come first (`proc_readfd_common` in `fs/proc/fd.c`).
    const START: u64 = 2;
    seek(directory, SeekFrom::Start(u64::from(first.unsigned_abs()) + START))?;
    let mut found = Vec::new();
    let mut buffer = Vec::with_capacity(32 * 1024);
    let mut entries = RawDir::new(directory, buffer.spare_capacity_mut());
    while let Some(entry) = entries.next() {
        let name = entry?.file_name().to_string_lossy().parse::<i32>();
        // `.` and `..` are no descriptors.
        found.extend(name);
    }
    Ok(found)
}

fn sockets_among(directory: &OwnedFd, fds: &[i32]) -> io::Result<Vec<(i32, u64)>> {
    let mut found = Vec::new();
    // The longest name of a socket fits; a longer name is cut off, and is none.
    let mut buffer = [MaybeUninit::uninit(); 64];
    for fd in fds {
        match readlinkat_raw(directory, DecInt::new(*fd), &mut buffer) {
            Ok((target, _)) => found.extend(socket_inode(target).map(|inode| (*fd, inode))),
            // A descriptor that is closed is not an error.
            Err(Errno::NOENT | Errno::SRCH) => {}
            // Root may be able to open the directory without being allowed to read its links.
            Err(error) => return Err(error.into()),
        }
    }
    Ok(found)
}

fn socket_inode(target: &[u8]) -> Option<u64> {
    let inode = target.strip_prefix(b"socket:[")?.strip_suffix(b"]")?;
    std::str::from_utf8(inode).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::io::fcntl_dupfd_cloexec;
    use std::net::UdpSocket;
    use std::os::fd::AsRawFd;

    #[test]
    fn only_sockets_have_a_sockets_inode() {
        assert_eq!(socket_inode(b"socket:[4242]"), Some(4242));
        for other in [
            "pipe:[4242]",
            "socket:[]",
            "socket:[x]",
            "/tmp/socket:[1]",
            "socket:[1] (deleted)",
        ] {
            assert_eq!(socket_inode(other.as_bytes()), None, "{other}");
        }
    }

    #[test]
    fn sockets_are_found_among_few_descriptors_and_among_many() {
        for count in [1, 2 * MANY] {
            let bind = |_| Ok(OwnedFd::from(UdpSocket::bind("127.0.0.1:0")?));
            let Ok(mut sockets) = (0..count).map(bind).collect::<io::Result<Vec<_>>>() else {
                return println!("SKIP: the limit of descriptors is too low");
            };
            // One is above a gap in the numbers.
            let last = sockets.pop().expect("a socket");
            let far = last.as_raw_fd() + 50;
            sockets.push(fcntl_dupfd_cloexec(&last, far).expect("a duplicate"));
            drop(last);
            let mut found = own_sockets().expect("sockets");
            found.retain(|(fd, _)| sockets.iter().any(|socket| socket.as_raw_fd() == *fd));
            let inodes = sockets.iter().map(|socket| fstat(socket).expect("a socket").st_ino);
            let mut expected: Vec<_> = sockets.iter().map(AsRawFd::as_raw_fd).zip(inodes).collect();
            expected.sort_unstable();
            found.sort_unstable();
            assert_eq!(found, expected);
        }
    }
}
