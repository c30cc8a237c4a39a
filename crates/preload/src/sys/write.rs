//! Writing where others write too: without waiting, without a signal, into nothing that has become something else.

use super::{Errno, SOCK_CLOEXEC, call, close, number, result, socket};
use core::ffi::{c_int, c_long};

/// The device and the inode behind `fd` (statx(2), Linux 4.11), or `None` where it is closed or they cannot be told.
pub(crate) fn identity(fd: c_int) -> Option<[u64; 2]> {
    const AT_EMPTY_PATH: c_long = 0x1000;
    const STATX_INO: c_long = 0x100;
    // `struct statx` has 256 bytes: the inode is at 32, the device's numbers are at 136 and 140.
    let mut status = [0_u64; 32];
    let arguments = [
        c_long::from(fd),
        c"".as_ptr() as c_long,
        AT_EMPTY_PATH,
        STATX_INO,
        &raw mut status as c_long,
        0,
    ];
    // SAFETY: statx(2) reads a string and writes a `struct statx`, both live.
    let returned = unsafe { call(number::STATX, arguments) };
    (returned == 0).then_some([status[4], status[17]])
}

/// Opens the file at `path` (which ends with a NUL) to append to it; a FIFO without a reader is refused, not waited for.
pub(crate) fn open_to_append(path: &[u8; 256]) -> Result<c_int, Errno> {
    const AT_FDCWD: c_long = -100;
    const O_WRONLY: c_long = 0o1;
    const O_CREAT: c_long = 0o100;
    const O_NOCTTY: c_long = 0o400;
    const O_APPEND: c_long = 0o2000;
    const O_NONBLOCK: c_long = 0o4000;
    const O_CLOEXEC: c_long = 0o2_000_000;
    let flags = O_WRONLY | O_CREAT | O_NOCTTY | O_APPEND | O_NONBLOCK | O_CLOEXEC;
    // SAFETY: openat(2) reads the string, which is live.
    let returned = unsafe { call(number::OPENAT, [AT_FDCWD, path.as_ptr() as c_long, flags, 0o600, 0, 0]) };
    result(returned).map(|fd| fd as c_int)
}

/// A socket that is connected to the system's log (syslog(3)).
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
    // SAFETY: connect(2) reads the address, whose length is given.
    let returned = unsafe { call(number::CONNECT, [fd as _, &raw const address as c_long, 11, 0, 0, 0]) };
    match result(returned) {
        Ok(_) => Ok(fd),
        Err(error) => {
            close(fd);
            Err(error)
        }
    }
}

/// Writes `line` to `fd` if that takes it at once. Neither waits nor lets a signal of its own reach the program: SIGPIPE,
/// SIGXFSZ (over the limit of a file's size), SIGTTOU (in the background of a terminal that stops writers).
pub(crate) fn write_without_waiting(fd: c_int, line: &[u8]) {
    const POLLOUT: u16 = 4;
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
    #[repr(C)]
    struct Poll {
        fd: c_int,
        events: u16,
        found: u16,
    }
    let mut poll = Poll {
        fd,
        events: POLLOUT,
        found: 0,
    };
    let no_time = [0 as c_long; 2];
    // SAFETY: ppoll(2) takes one `struct pollfd`, a `struct timespec` and no signal set.
    unsafe {
        call(
            number::PPOLL,
            [&raw mut poll as c_long, 1, &raw const no_time as c_long, 0, 0, 0],
        )
    };
    // A pipe without a reader shows POLLERR beside it.
    if poll.found != POLLOUT {
        return;
    }
    let blocked = SIGPIPE | SIGTTOU | SIGXFSZ;
    let mut before: u64 = 0;
    let (new, old) = (&raw const blocked, &raw mut before);
    // SAFETY: rt_sigprocmask(2) reads one set and writes the other.
    unsafe {
        call(
            number::RT_SIGPROCMASK,
            [SIG_BLOCK, new as c_long, old as c_long, SET, 0, 0],
        )
    };
    // SAFETY: write(2) reads the line.
    let returned = unsafe {
        call(
            number::WRITE,
            [fd as _, line.as_ptr() as c_long, line.len() as c_long, 0, 0, 0],
        )
    };
    let raised = match result(returned) {
        Err(EPIPE) => SIGPIPE,
        Err(EFBIG) => SIGXFSZ,
        _ => 0,
    };
    // Where the program blocks it itself, one that is pending may be the program's.
    let ours = raised & !before;
    if ours != 0 {
        let set = &raw const ours;
        // SAFETY: rt_sigtimedwait(2) reads a set and a time, and wants nothing written.
        unsafe {
            call(
                number::RT_SIGTIMEDWAIT,
                [set as c_long, 0, &raw const no_time as c_long, SET, 0, 0],
            )
        };
    }
    // SAFETY: rt_sigprocmask(2) reads the set that it wrote above.
    unsafe { call(number::RT_SIGPROCMASK, [SIG_SETMASK, old as c_long, 0, SET, 0, 0]) };
}
