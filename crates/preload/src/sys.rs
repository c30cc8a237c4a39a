//! Makes system calls directly. They do not change `errno`, they are not cancellation points, and no other library's
//! hook sees them. The numbers and constants are those of the kernel's headers (`include/uapi`).

mod futex;
mod memory;
pub(crate) mod number;
mod peer;
mod write;

pub(crate) use crate::arch::call;
use crate::{arch, state, supervised};
use core::ffi::{c_char, c_int, c_long};
pub(crate) use futex::{is_readable, wait_100_us};
use keepalive_policy::protocol::{PASSING_OPTION_LENGTH, PASSING_OPTION_MARK};
pub(crate) use memory::{RegularFile, Room};
pub(crate) use peer::{is_unspecified, local_port, peer, read_address, try_read_address, try_read_bytes};
pub(crate) use write::{File, Way, connect_to_syslog, open_to_append, send, write, write_to_standard_error};

/// `sizeof(int)`, the length of an option that is an `int`.
const INT: u32 = size_of::<c_int>() as u32;

/// A positive error number of the kernel.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Errno(pub(crate) c_int);

const EPERM: Errno = Errno(1);
/// `ENOENT`.
pub(crate) const ENOENT: Errno = Errno(2);
/// `EACCES`.
pub(crate) const EACCES: Errno = Errno(13);
const ENODEV: Errno = Errno(19);

/// `AF_INET`.
pub(crate) const AF_INET: c_int = 2;
/// `AF_INET6`.
pub(crate) const AF_INET6: c_int = 10;
/// `SOCK_STREAM`.
pub(crate) const SOCK_STREAM: c_int = 1;
/// `SOCK_CLOEXEC`. The number is the same on all supported architectures.
pub(crate) const SOCK_CLOEXEC: c_int = 0o2_000_000;
/// `IPPROTO_TCP`.
pub(crate) const IPPROTO_TCP: c_int = 6;
/// `IPPROTO_MPTCP`.
pub(crate) const IPPROTO_MPTCP: c_int = 262;
/// `SOL_SOCKET`.
pub(crate) const SOL_SOCKET: c_int = 1;
/// `SO_ERROR` of level `SOL_SOCKET`.
pub(crate) const SO_ERROR: c_int = 4;
const SO_TYPE: c_int = 3;
const SO_ACCEPTCONN: c_int = 30;
const SO_PROTOCOL: c_int = 38;
const SO_DOMAIN: c_int = 39;
const TCP_INFO: c_int = 11;
/// States of `tcpi_state` (`include/net/tcp_states.h`).
const TCP_ESTABLISHED: u8 = 1;
const TCP_CLOSE: u8 = 7;
const TCP_LISTEN: u8 = 10;

/// Splits a result of the kernel into a value and an error (−4095 to −1, syscall(2)).
pub(crate) fn result(returned: c_long) -> Result<c_long, Errno> {
    if (-4095..0).contains(&returned) {
        Err(Errno(-returned as c_int))
    } else {
        Ok(returned)
    }
}

/// Sets an option that is an `int`, so that a supervisor's filter lets it pass.
#[inline(always)]
pub(crate) fn set_option(fd: c_int, level: c_int, name: c_int, value: u32) -> Result<(), Errno> {
    if state::is_confined() {
        return Err(EPERM);
    }
    let values = [value, 0];
    let (length, mark) = if supervised::is_supervised() {
        (PASSING_OPTION_LENGTH, PASSING_OPTION_MARK as c_long)
    } else {
        (INT, 0)
    };
    // SAFETY: setsockopt(2) reads at most `length` bytes of `values`, which lives through the call.
    let returned = unsafe {
        call(
            number::SETSOCKOPT,
            [
                fd as _,
                level as _,
                name as _,
                &raw const values as c_long,
                length as _,
                mark,
            ],
        )
    };
    result(returned).map(drop)
}

/// Returns the socket's cookie, a number that the kernel never assigns to another socket (`SO_COOKIE`, socket(7), Linux
/// 4.12); `None` if the kernel refuses.
pub(crate) fn cookie(fd: c_int) -> Option<u64> {
    const SO_COOKIE: c_int = 57;
    option_bytes(fd, SOL_SOCKET, SO_COOKIE).map(u64::from_ne_bytes)
}

/// Reads an option that is an `int` and not negative; `None` if the kernel refuses.
pub(crate) fn option(fd: c_int, level: c_int, name: c_int) -> Option<u32> {
    option_bytes(fd, level, name).map(u32::from_ne_bytes)
}

/// Reads an option of `SIZE` bytes; `None` if the kernel refuses.
#[inline(always)]
fn option_bytes<const SIZE: usize>(fd: c_int, level: c_int, name: c_int) -> Option<[u8; SIZE]> {
    if state::is_confined() {
        return None;
    }
    let mut value = [0; SIZE];
    let mut length = SIZE as u32;
    // SAFETY: getsockopt(2) writes at most `length` bytes at `value` and the length at `length`. Both are live local
    // variables.
    let returned = unsafe {
        call(
            number::GETSOCKOPT,
            [
                fd as _,
                level as _,
                name as _,
                &raw mut value as c_long,
                &raw mut length as c_long,
                0,
            ],
        )
    };
    (returned == 0).then_some(value)
}

/// `S_IFSOCK` of [`file_type`] (inode(7)).
const S_IFSOCK: u32 = 0o140_000;
const S_IFREG: u32 = 0o100_000;
const S_IFMT: u32 = 0o170_000;

/// Whether `fd` is a socket. Uses lseek(2) and fstat(2), which no filter forbids because the C library needs them. A
/// filter may kill a program without sockets at a socket call. lseek(2) comes first, because fstat(2) of a file may
/// wait for a file server (FUSE, NFS).
pub(crate) fn is_socket(fd: c_int) -> bool {
    const SEEK_CUR: c_long = 1;
    const ESPIPE: Errno = Errno(29);
    // SAFETY: lseek(2) takes no pointer, and an offset of 0 from the current position changes nothing.
    let returned = unsafe { call(number::LSEEK, [fd as _, 0, SEEK_CUR, 0, 0, 0]) };
    result(returned) == Err(ESPIPE) && file_type(fd) == S_IFSOCK
}

/// Returns the type of the file behind `fd` (inode(7)); 0 if `fd` is closed.
fn file_type(fd: c_int) -> u32 {
    status(fd).0
}

/// Returns the type of the file behind `fd`, and its size.
fn status(fd: c_int) -> (u32, usize) {
    // The largest `struct stat` has 144 bytes.
    let mut status = [0_u32; 48];
    // SAFETY: fstat(2) writes a `struct stat`, for which there is room.
    let returned = unsafe { call(number::FSTAT, [fd as _, &raw mut status as c_long, 0, 0, 0, 0]) };
    if returned == 0 {
        let size = u64::from(status[arch::STAT_SIZE]) | u64::from(status[arch::STAT_SIZE + 1]) << 32;
        (
            status[arch::STAT_MODE] & S_IFMT,
            usize::try_from(size).unwrap_or(usize::MAX),
        )
    } else {
        (0, 0)
    }
}

/// Whether the file at `path`, a string that ends with a NUL, has the set-user-ID bit (statx(2), Linux 4.11). False if
/// that is unknown.
pub(crate) fn is_set_user_id(path: *const c_char) -> bool {
    const AT_FDCWD: c_long = -100;
    const STATX_MODE: c_long = 0x2;
    const S_ISUID: u32 = 0o4000;
    // `struct statx` has 256 bytes: the mode, 16 bits, is at 28.
    let mut status = [0_u32; 64];
    let arguments = [AT_FDCWD, path as c_long, 0, STATX_MODE, &raw mut status as c_long, 0];
    // SAFETY: statx(2) reads a string, refuses a null pointer, and writes a `struct statx`, which is live.
    let returned = unsafe { call(number::STATX, arguments) };
    returned == 0 && status[7] & S_ISUID != 0
}

mod privilege;

pub(crate) use privilege::{is_first_to_speak, is_privileged};

/// Returns the domain of `fd`, `AF_INET` or `AF_INET6`, if the socket is TCP or MPTCP; otherwise `None`. The protocol
/// number alone is not enough: in other domains it has another meaning (6 is XFRM in netlink), and raw sockets for TCP
/// segments have it too.
pub(crate) fn tcp_domain(fd: c_int) -> Option<c_int> {
    if !has_protocol_of_tcp(fd) || option(fd, SOL_SOCKET, SO_TYPE) != Some(SOCK_STREAM.cast_unsigned()) {
        return None;
    }
    internet_domain(fd)
}

fn internet_domain(fd: c_int) -> Option<c_int> {
    domain(fd)
        .map(u32::cast_signed)
        .filter(|domain| matches!(*domain, AF_INET | AF_INET6))
}

/// Returns the domain of the socket `fd`.
fn domain(fd: c_int) -> Option<u32> {
    option(fd, SOL_SOCKET, SO_DOMAIN)
}

/// Whether the kernel reports that `fd` is TCP or MPTCP over IPv4 or IPv6.
pub(crate) fn is_tcp(fd: c_int) -> bool {
    tcp_domain(fd).is_some()
}

/// Returns the domain of `fd` if connect(2) reads only the first 16 (`AF_INET`) or 28 bytes (`AF_INET6`) of an address.
/// This is true for every protocol over IPv4, and for TCP, MPTCP and UDP over IPv6. (L2TP over IPv6 has a longer
/// address.)
pub(crate) fn domain_of_plain_addresses(fd: c_int) -> Option<c_int> {
    const IPPROTO_UDP: c_int = 17;
    internet_domain(fd)
        .filter(|domain| *domain == AF_INET || has_protocol(fd, &[IPPROTO_TCP, IPPROTO_UDP, IPPROTO_MPTCP]))
}

/// Whether `fd` has the protocol number of TCP or MPTCP. This check is enough if the socket was TCP before.
pub(crate) fn has_protocol_of_tcp(fd: c_int) -> bool {
    has_protocol(fd, &[IPPROTO_TCP, IPPROTO_MPTCP])
}

fn has_protocol(fd: c_int, protocols: &[c_int]) -> bool {
    option(fd, SOL_SOCKET, SO_PROTOCOL).is_some_and(|protocol| protocols.contains(&protocol.cast_signed()))
}

/// Returns the state of the TCP connection `fd`, the first byte of `TCP_INFO`.
fn tcp_state(fd: c_int) -> Option<u8> {
    option(fd, IPPROTO_TCP, TCP_INFO).map(|info| info.to_ne_bytes()[0])
}

/// Whether `fd` is a TCP connection whose handshake is complete.
pub(crate) fn is_established(fd: c_int) -> bool {
    tcp_state(fd) == Some(TCP_ESTABLISHED)
}

/// Whether the TCP socket `fd` may begin to connect: it does not listen, is not connected and is not connecting. Also
/// true if the kernel does not report the state (MPTCP before Linux 5.16).
pub(crate) fn is_closed(fd: c_int) -> bool {
    tcp_state(fd).is_none_or(|state| state == TCP_CLOSE)
}

/// Whether the TCP socket `fd` may listen: it already listens, or is not a connection. Also true if the kernel does not
/// report the state.
pub(crate) fn may_listen(fd: c_int) -> bool {
    tcp_state(fd).is_none_or(|state| matches!(state, TCP_CLOSE | TCP_LISTEN))
}

/// Whether `fd` listens.
pub(crate) fn is_listening(fd: c_int) -> bool {
    option(fd, SOL_SOCKET, SO_ACCEPTCONN) == Some(1)
}

/// Creates a socket.
pub(crate) fn socket(domain: c_int, kind: c_int, protocol: c_int) -> Result<c_int, Errno> {
    // SAFETY: socket(2) takes no pointer.
    let returned = unsafe { call(number::SOCKET, [domain as _, kind as _, protocol as _, 0, 0, 0]) };
    result(returned).map(|fd| fd as c_int)
}

/// Closes a descriptor that this library has opened.
pub(crate) fn close(fd: c_int) {
    // SAFETY: close(2) takes no pointer; the descriptor is one that this library opened itself.
    let _ = unsafe { call(number::CLOSE, [fd as _, 0, 0, 0, 0, 0]) };
}

/// Returns the process id.
pub(crate) fn getpid() -> u32 {
    // SAFETY: getpid(2) has no arguments.
    let pid = unsafe { call(number::GETPID, [0; 6]) };
    pid as u32
}
