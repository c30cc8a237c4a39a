//! Writes to files that other processes also write to. A write does not wait, raises no signal, and never reaches a
//! descriptor that now refers to another file.
//!
//! poll(2) promises that a write of some unknown length does not wait, and another writer may write first. So for each
//! kind of file the library uses the call with which the kernel itself does not wait. O_NONBLOCK on a descriptor of the
//! program would affect all processes that share its open file description.

use super::{Errno, SOCK_CLOEXEC, call, close, number, result, socket};
use core::ffi::{CStr, c_int, c_long};

const AT_FDCWD: c_long = -100;
const O_WRONLY: c_long = 0o1;
const O_CREAT: c_long = 0o100;
const O_NOCTTY: c_long = 0o400;
const O_APPEND: c_long = 0o2000;
const O_NONBLOCK: c_long = 0o4000;
const O_CLOEXEC: c_long = 0o2_000_000;
const MSG_DONTWAIT: c_long = 0x40;
const MSG_NOSIGNAL: c_long = 0x4000;

/// How to write to a file without waiting.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Way {
    /// A local socket: send(2) with `MSG_DONTWAIT`.
    Send,
    /// A pipe: pwritev2(2) with `RWF_NOWAIT` (Linux 6.4); for a FIFO, and for a pipe on an older kernel, as for a
    /// terminal.
    Pipe,
    /// A terminal: write(2) to a descriptor that this library opens with `O_NONBLOCK` and closes again.
    Terminal,
    /// A regular file on a local file system: write(2), the only way, which waits at most for the disk.
    File,
    /// A device that is not a terminal (/dev/null): pwritev2(2); if that fails, nothing is written.
    Device,
}

impl Way {
    /// Returns the way that was stored as `number`.
    pub(crate) fn from_number(number: u8) -> Option<Self> {
        [Self::Send, Self::Pipe, Self::Terminal, Self::File, Self::Device]
            .into_iter()
            .find(|way| *way as u8 == number)
    }
}

/// The file behind a descriptor.
pub(crate) struct File {
    /// The device and the inode.
    pub(crate) identity: [u64; 2],
    kind: u32,
    is_local: bool,
}

impl File {
    /// Returns the file behind `fd` (statx(2), Linux 4.11), or `None` if `fd` is closed or the file is unknown. Does
    /// not contact a file server.
    pub(crate) fn of(fd: c_int) -> Option<Self> {
        const AT_EMPTY_PATH: c_long = 0x1000;
        const AT_STATX_DONT_SYNC: c_long = 0x4000;
        const STATX_TYPE_AND_INO: c_long = 0x101;
        const STATX_ATTR_IMMUTABLE: u64 = 0x10;
        // `struct statx` has 256 bytes: the mode, 16 bits, is at 28, the inode at 32, the mask of the attributes that the
        // file system has at 56, and the device's numbers at 136 and 140.
        let mut status = [0_u64; 32];
        let arguments = [
            c_long::from(fd),
            c"".as_ptr() as c_long,
            AT_EMPTY_PATH | AT_STATX_DONT_SYNC,
            STATX_TYPE_AND_INO,
            &raw mut status as c_long,
            0,
        ];
        // SAFETY: statx(2) reads a string and writes a `struct statx`, both live.
        let returned = unsafe { call(number::STATX, arguments) };
        let [_, _, _, mode, inode, _, _, attributes, ..] = status;
        let device = status[17];
        // The low half is the major number, 0 if there is no device.
        let has_device = device as u32 != 0;
        (returned == 0).then_some(Self {
            identity: [inode, device],
            kind: (mode >> 32) as u32 & super::S_IFMT,
            is_local: has_device || attributes & STATX_ATTR_IMMUTABLE != 0,
        })
    }

    /// Returns how to write to `fd`, which must refer to this file. Returns `None` if every way might wait, or might
    /// corrupt a foreign file or connection.
    pub(crate) fn way(&self, fd: c_int) -> Option<Way> {
        const S_IFIFO: u32 = 0o010_000;
        const S_IFCHR: u32 = 0o020_000;
        const AF_UNIX: u32 = 1;
        match self.kind {
            super::S_IFSOCK => (super::domain(fd) == Some(AF_UNIX)).then_some(Way::Send),
            S_IFIFO => Some(Way::Pipe),
            S_IFCHR if is_terminal(fd) => Some(Way::Terminal),
            S_IFCHR => Some(Way::Device),
            super::S_IFREG => (self.is_local || is_in_memory(fd)).then_some(Way::File),
            _ => None,
        }
    }

    /// Whether this is a regular file whose server may block calls indefinitely (FUSE, NFS).
    pub(crate) fn is_remote(&self, fd: c_int) -> bool {
        self.kind == super::S_IFREG && self.way(fd).is_none()
    }
}

fn is_terminal(fd: c_int) -> bool {
    const TCGETS: c_long = 0x5401;
    // The kernel's `struct termios` has 36 bytes on the supported architectures.
    let mut settings = [0_u32; 16];
    // SAFETY: ioctl(2) with TCGETS writes a `struct termios`, for which there is room.
    let returned = unsafe { call(number::IOCTL, [fd as _, TCGETS, &raw mut settings as c_long, 0, 0, 0]) };
    returned == 0
}

/// Whether `fd` is a file on tmpfs, which has no device, and before Linux 6.0 no attributes.
fn is_in_memory(fd: c_int) -> bool {
    const F_GET_SEALS: c_long = 1034;
    // SAFETY: fcntl(2) with F_GET_SEALS takes no pointer; files of other kinds refuse it.
    let returned = unsafe { call(number::FCNTL, [fd as _, F_GET_SEALS, 0, 0, 0, 0]) };
    returned >= 0
}

/// Opens the file at `path` (which ends with a NUL) to append to it. Fails for a FIFO without a reader, and does not
/// wait for one.
pub(crate) fn open_to_append(path: &[u8; 256]) -> Result<c_int, Errno> {
    // SAFETY: the path ends with a NUL.
    unsafe { open(path.as_ptr(), O_CREAT) }
}

/// # Safety
/// `path` must be a string that ends with a NUL.
unsafe fn open(path: *const u8, more: c_long) -> Result<c_int, Errno> {
    let flags = O_WRONLY | O_NOCTTY | O_APPEND | O_NONBLOCK | O_CLOEXEC | more;
    // SAFETY: openat(2) reads the string.
    let returned = unsafe { call(number::OPENAT, [AT_FDCWD, path as c_long, flags, 0o600, 0, 0]) };
    result(returned).map(|fd| fd as c_int)
}

/// Returns a socket that is connected to the system log (syslog(3)).
pub(crate) fn connect_to_syslog() -> Result<c_int, Errno> {
    const AF_UNIX: c_int = 1;
    const SOCK_DGRAM: c_int = 2;
    const SOCK_NONBLOCK: c_int = 0o4000;
    #[repr(C)]
    struct Address {
        family: u16,
        path: [u8; 9],
    }
    let address = Address {
        family: AF_UNIX as u16,
        path: *b"/dev/log\0",
    };
    let fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)?;
    // SAFETY: connect(2) reads 11 bytes of the address, which has that length.
    let returned = unsafe { call(number::CONNECT, [fd as _, &raw const address as c_long, 11, 0, 0, 0]) };
    match result(returned) {
        Ok(_) => Ok(fd),
        Err(error) => {
            close(fd);
            Err(error)
        }
    }
}

/// Writes `line` to standard error in the given way, if standard error still is the file with this `identity`. Returns
/// the number of written bytes.
pub(crate) fn write_to_standard_error(identity: [u64; 2], way: Way, line: &[u8]) -> usize {
    const EOPNOTSUPP: Errno = Errno(95);
    const ENOSYS: Errno = Errno(38);
    let is_same = |fd| File::of(fd).is_some_and(|file| file.identity == identity);
    if !is_same(2) {
        return 0;
    }
    let written = match way {
        Way::Send => return send(2, line),
        Way::File => return write(2, line),
        Way::Pipe | Way::Device => without_signals(|| write_now(2, line)),
        Way::Terminal => Err(EOPNOTSUPP),
    };
    match written {
        Ok(written) => written as usize,
        Err(EOPNOTSUPP | ENOSYS) if way != Way::Device => {
            const PATH: &CStr = c"/proc/thread-self/fd/2";
            // SAFETY: a constant.
            let opened = unsafe { open(PATH.as_ptr().cast(), 0) };
            let Ok(fd) = opened else { return 0 };
            let written = if is_same(fd) { write(fd, line) } else { 0 };
            close(fd);
            written
        }
        Err(_) => 0,
    }
}

/// Sends `line` to the socket `fd` without waiting. Returns the number of sent bytes; 0 on an error.
pub(crate) fn send(fd: c_int, line: &[u8]) -> usize {
    let (start, length) = (line.as_ptr() as c_long, line.len() as c_long);
    let flags = MSG_DONTWAIT | MSG_NOSIGNAL;
    // SAFETY: sendto(2) reads the line; there is no address.
    let returned = unsafe { call(number::SENDTO, [fd as _, start, length, flags, 0, 0]) };
    result(returned).map_or(0, |sent| sent as usize)
}

/// Writes `line` to `fd`, on which a write does not wait. Returns the number of written bytes; 0 on an error.
pub(crate) fn write(fd: c_int, line: &[u8]) -> usize {
    let written = without_signals(|| {
        let (start, length) = (line.as_ptr() as c_long, line.len() as c_long);
        // SAFETY: write(2) reads the line.
        result(unsafe { call(number::WRITE, [fd as _, start, length, 0, 0, 0]) })
    });
    written.map_or(0, |written| written as usize)
}

/// Writes `line` to `fd`. Fails with `EAGAIN` if the write would wait, and with `EOPNOTSUPP` if the file does not
/// support writes without waiting.
fn write_now(fd: c_int, line: &[u8]) -> Result<c_long, Errno> {
    const RWF_NOWAIT: c_long = 8;
    #[repr(C)]
    struct Vector {
        start: *const u8,
        length: usize,
    }
    let vector = Vector {
        start: line.as_ptr(),
        length: line.len(),
    };
    // Offset −1, in two halves, means the file's current offset.
    let arguments = [fd as _, &raw const vector as c_long, 1, -1, -1, RWF_NOWAIT];
    // SAFETY: pwritev2(2) reads one `struct iovec` and the line.
    result(unsafe { call(number::PWRITEV2, arguments) })
}

/// Calls `write`, and keeps its signals from the program: SIGPIPE, SIGXFSZ (above the limit of a file's size), SIGTTOU
/// (a background process on a terminal with `TOSTOP`).
fn without_signals(write: impl FnOnce() -> Result<c_long, Errno>) -> Result<c_long, Errno> {
    const SIG_BLOCK: c_long = 0;
    const SIG_SETMASK: c_long = 2;
    /// A signal's bit in the kernel's signal set, which has 8 bytes.
    const fn bit(signal: u32) -> u64 {
        1 << (signal - 1)
    }
    const SIGPIPE: u64 = bit(13);
    const SIGTTOU: u64 = bit(22);
    const SIGXFSZ: u64 = bit(25);
    const SET: c_long = 8;
    const EPIPE: Errno = Errno(32);
    const EFBIG: Errno = Errno(27);
    let blocked = SIGPIPE | SIGTTOU | SIGXFSZ;
    let mut before: u64 = 0;
    let (new, old) = (&raw const blocked as c_long, &raw mut before as c_long);
    // SAFETY: rt_sigprocmask(2) reads one set and writes the other.
    unsafe { call(number::RT_SIGPROCMASK, [SIG_BLOCK, new, old, SET, 0, 0]) };
    let written = write();
    let raised = match written {
        Err(EPIPE) => SIGPIPE,
        Err(EFBIG) => SIGXFSZ,
        _ => 0,
    };
    // If the program itself blocks the signal, a pending signal may be the program's.
    let ours = raised & !before;
    if ours != 0 {
        let no_time = [0 as c_long; 2];
        let (set, time) = (&raw const ours as c_long, &raw const no_time as c_long);
        // SAFETY: rt_sigtimedwait(2) reads a set and a time, and writes nothing.
        unsafe { call(number::RT_SIGTIMEDWAIT, [set, 0, time, SET, 0, 0]) };
    }
    // SAFETY: rt_sigprocmask(2) reads the set that it wrote above.
    unsafe { call(number::RT_SIGPROCMASK, [SIG_SETMASK, old, 0, SET, 0, 0]) };
    written
}
