//! System calls made directly: they neither touch `errno` nor are they cancellation points, and no other library's hook
//! sees them. The numbers and constants are those of the kernel's headers (`include/uapi`).

use core::ffi::{c_int, c_long, c_void};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// `sizeof(int)`, the length of every option that is set or read here.
const INT: u32 = size_of::<c_int>() as u32;

/// Numbers of the system calls, from the kernel's tables.
#[cfg(target_arch = "x86_64")]
pub(crate) mod number {
    use core::ffi::c_long;
    pub(crate) const SOCKET: c_long = 41;
    pub(crate) const CONNECT: c_long = 42;
    pub(crate) const ACCEPT: c_long = 43;
    pub(crate) const LISTEN: c_long = 50;
    pub(crate) const SETSOCKOPT: c_long = 54;
    pub(crate) const GETSOCKOPT: c_long = 55;
    pub(crate) const ACCEPT4: c_long = 288;
    pub(crate) const PRCTL: c_long = 157;
    pub(crate) const SECCOMP: c_long = 317;
    pub(crate) const CLOSE: c_long = 3;
    pub(crate) const WRITE: c_long = 1;
    pub(crate) const OPENAT: c_long = 257;
    pub(crate) const GETPID: c_long = 39;
    pub(crate) const PPOLL: c_long = 271;
    pub(crate) const STATX: c_long = 332;
    pub(crate) const RT_SIGPROCMASK: c_long = 14;
    pub(crate) const RT_SIGTIMEDWAIT: c_long = 128;
    pub(crate) const MMAP: c_long = 9;
    pub(crate) const GETSOCKNAME: c_long = 51;
    pub(crate) const GETPEERNAME: c_long = 52;
    pub(crate) const READ: c_long = 0;
    pub(crate) const FSTAT: c_long = 5;
}
#[cfg(target_arch = "aarch64")]
pub(crate) mod number {
    use core::ffi::c_long;
    pub(crate) const SOCKET: c_long = 198;
    pub(crate) const CONNECT: c_long = 203;
    pub(crate) const ACCEPT: c_long = 202;
    pub(crate) const LISTEN: c_long = 201;
    pub(crate) const SETSOCKOPT: c_long = 208;
    pub(crate) const GETSOCKOPT: c_long = 209;
    pub(crate) const ACCEPT4: c_long = 242;
    pub(crate) const PRCTL: c_long = 167;
    pub(crate) const SECCOMP: c_long = 277;
    pub(crate) const CLOSE: c_long = 57;
    pub(crate) const WRITE: c_long = 64;
    pub(crate) const OPENAT: c_long = 56;
    pub(crate) const GETPID: c_long = 172;
    pub(crate) const PPOLL: c_long = 73;
    pub(crate) const STATX: c_long = 291;
    pub(crate) const RT_SIGPROCMASK: c_long = 135;
    pub(crate) const RT_SIGTIMEDWAIT: c_long = 137;
    pub(crate) const MMAP: c_long = 222;
    pub(crate) const GETSOCKNAME: c_long = 204;
    pub(crate) const GETPEERNAME: c_long = 205;
    pub(crate) const READ: c_long = 63;
    pub(crate) const FSTAT: c_long = 80;
}
#[cfg(target_arch = "x86")]
pub(crate) mod number {
    use core::ffi::c_long;
    pub(crate) const SOCKET: c_long = 359;
    pub(crate) const CONNECT: c_long = 362;
    pub(crate) const ACCEPT4: c_long = 364;
    /// i386 has no `accept` of its own: libc makes it of `accept4`.
    pub(crate) const ACCEPT: c_long = -1;
    pub(crate) const LISTEN: c_long = 363;
    pub(crate) const SETSOCKOPT: c_long = 366;
    pub(crate) const GETSOCKOPT: c_long = 365;
    pub(crate) const PRCTL: c_long = 172;
    pub(crate) const SECCOMP: c_long = 354;
    pub(crate) const CLOSE: c_long = 6;
    pub(crate) const WRITE: c_long = 4;
    pub(crate) const OPENAT: c_long = 295;
    pub(crate) const GETPID: c_long = 20;
    pub(crate) const PPOLL: c_long = 309;
    pub(crate) const STATX: c_long = 383;
    pub(crate) const RT_SIGPROCMASK: c_long = 175;
    pub(crate) const RT_SIGTIMEDWAIT: c_long = 177;
    /// The older way to all socket calls (socketcall(2)).
    pub(crate) const SOCKETCALL: c_long = 102;
    /// `mmap2`, which counts its offset in pages.
    pub(crate) const MMAP: c_long = 192;
    pub(crate) const GETSOCKNAME: c_long = 367;
    pub(crate) const GETPEERNAME: c_long = 368;
    pub(crate) const READ: c_long = 3;
    /// `fstat64`.
    pub(crate) const FSTAT: c_long = 197;
}

/// An error number of the kernel, positive.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Errno(pub(crate) c_int);

/// `AF_INET`.
pub(crate) const AF_INET: c_int = 2;
/// `AF_INET6`.
pub(crate) const AF_INET6: c_int = 10;
/// `SOCK_STREAM`.
pub(crate) const SOCK_STREAM: c_int = 1;
/// `SOCK_CLOEXEC`, on every architecture here.
pub(crate) const SOCK_CLOEXEC: c_int = 0o2_000_000;
/// `IPPROTO_TCP`.
pub(crate) const IPPROTO_TCP: c_int = 6;
/// `IPPROTO_MPTCP`.
pub(crate) const IPPROTO_MPTCP: c_int = 262;
/// `SOL_SOCKET`.
pub(crate) const SOL_SOCKET: c_int = 1;
/// `SO_ERROR` of level `SOL_SOCKET`.
pub(crate) const SO_ERROR: c_int = 4;
const SO_ACCEPTCONN: c_int = 30;
const SO_PROTOCOL: c_int = 38;
const SO_DOMAIN: c_int = 39;
const TCP_INFO: c_int = 11;
/// `TCP_ESTABLISHED` of `tcpi_state` (`include/net/tcp_states.h`).
const TCP_ESTABLISHED: u8 = 1;

/// Makes a system call.
///
/// # Safety
/// The arguments must be what system call `n` asks for: every pointer among them valid as it says.
#[cfg(target_arch = "x86_64")]
#[inline]
pub(crate) unsafe fn call(n: c_long, [a, b, c, d, e, f]: [c_long; 6]) -> c_long {
    let result;
    // SAFETY: the kernel's calling convention (syscall(2)): it clobbers rcx and r11 and keeps the rest; the arguments
    // are the caller's promise.
    unsafe {
        core::arch::asm!("syscall", inlateout("rax") n => result, in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d,
            in("r8") e, in("r9") f, lateout("rcx") _, lateout("r11") _, options(nostack, preserves_flags));
    }
    result
}

/// Makes a system call.
///
/// # Safety
/// The arguments must be what system call `n` asks for: every pointer among them valid as it says.
#[cfg(target_arch = "aarch64")]
#[inline]
pub(crate) unsafe fn call(n: c_long, [a, b, c, d, e, f]: [c_long; 6]) -> c_long {
    let result;
    // SAFETY: the kernel's calling convention (syscall(2)): only x0 changes; the arguments are the caller's promise.
    unsafe {
        core::arch::asm!("svc 0", in("x8") n, inlateout("x0") a => result, in("x1") b, in("x2") c, in("x3") d,
            in("x4") e, in("x5") f, options(nostack, preserves_flags));
    }
    result
}

/// Makes a system call.
///
/// # Safety
/// The arguments must be what system call `n` asks for: every pointer among them valid as it says.
#[cfg(target_arch = "x86")]
#[inline]
pub(crate) unsafe fn call(n: c_long, [a, b, c, d, e, f]: [c_long; 6]) -> c_long {
    /// Takes the number and the six arguments as an array: ebx, esi and ebp cannot be operands of inline assembly.
    #[unsafe(naked)]
    unsafe extern "C" fn from_array(arguments: *const [c_long; 7]) -> c_long {
        core::arch::naked_asm!(
            "push ebp",
            "push ebx",
            "push esi",
            "push edi",
            "mov eax, [esp + 20]",
            "mov ebx, [eax + 4]",
            "mov ecx, [eax + 8]",
            "mov edx, [eax + 12]",
            "mov esi, [eax + 16]",
            "mov edi, [eax + 20]",
            "mov ebp, [eax + 24]",
            "mov eax, [eax]",
            "int 0x80",
            "pop edi",
            "pop esi",
            "pop ebx",
            "pop ebp",
            "ret",
        )
    }
    let arguments = [n, a, b, c, d, e, f];
    // SAFETY: `arguments` lives through the call; what they mean is the caller's promise.
    unsafe { from_array(&raw const arguments) }
}

/// Splits a result of the kernel into a value and an error (−4095 to −1, syscall(2)).
pub(crate) fn result(returned: c_long) -> Result<c_long, Errno> {
    if (-4095..0).contains(&returned) {
        Err(Errno(-returned as c_int))
    } else {
        Ok(returned)
    }
}

/// Sets an option that is an `int`.
pub(crate) fn set_option(fd: c_int, level: c_int, name: c_int, value: u32) -> Result<(), Errno> {
    let pointer = &raw const value;
    // SAFETY: setsockopt(2) reads `INT` bytes at `pointer`, a live `u32`.
    let returned = unsafe {
        call(
            number::SETSOCKOPT,
            [fd as _, level as _, name as _, pointer as c_long, INT as _, 0],
        )
    };
    result(returned).map(drop)
}

/// Reads an option that is an `int`, none of which is negative here; `None` when the kernel refuses.
pub(crate) fn option(fd: c_int, level: c_int, name: c_int) -> Option<u32> {
    let mut value: u32 = 0;
    let mut length = INT;
    // SAFETY: getsockopt(2) writes at most `length` bytes at `value` and the length at `length`, both live and ours.
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
pub(crate) const S_IFSOCK: u32 = 0o140_000;
const S_IFREG: u32 = 0o100_000;

/// The type of the file behind `fd` (inode(7)), 0 where it is closed. Asked with fstat(2), which no filter forbids: the
/// loader needs it to load us, while the socket calls may be forbidden to a program that has no sockets, under pain of
/// death.
pub(crate) fn file_type(fd: c_int) -> u32 {
    /// Where `st_mode` is in the kernel's `struct stat`, as an index of 32-bit words.
    const MODE: usize = if cfg!(target_arch = "x86_64") { 6 } else { 4 };
    const S_IFMT: u32 = 0o170_000;
    // The largest `struct stat` has 144 bytes.
    let mut status = [0_u32; 48];
    // SAFETY: fstat(2) writes a `struct stat`, for which there is room.
    let returned = unsafe { call(number::FSTAT, [fd as _, &raw mut status as c_long, 0, 0, 0, 0]) };
    if returned == 0 { status[MODE] & S_IFMT } else { 0 }
}

/// Whether `fd` is TCP or MPTCP over IPv4 or IPv6, as the kernel says. Protocol numbers mean something else in other
/// domains (6 is XFRM in netlink).
pub(crate) fn is_tcp(fd: c_int) -> bool {
    matches!(
        option(fd, SOL_SOCKET, SO_DOMAIN).map(u32::cast_signed),
        Some(AF_INET | AF_INET6)
    ) && matches!(
        option(fd, SOL_SOCKET, SO_PROTOCOL).map(u32::cast_signed),
        Some(IPPROTO_TCP | IPPROTO_MPTCP)
    )
}

/// Whether `fd` is a TCP connection whose handshake is complete (`TCP_INFO`, whose first byte is the state).
pub(crate) fn is_established(fd: c_int) -> bool {
    option(fd, IPPROTO_TCP, TCP_INFO).is_some_and(|info| info.to_ne_bytes()[0] == TCP_ESTABLISHED)
}

/// `struct sockaddr_in` or `struct sockaddr_in6` (ip(7), ipv6(7)): 16 or 28 bytes.
#[repr(C, align(4))]
struct Address([u8; 28]);

impl Address {
    /// The address and the port in it; IPv4-mapped IPv6 addresses stay as they are.
    fn read(&self) -> Option<(IpAddr, u16)> {
        let [f0, f1, p0, p1, a0, a1, a2, a3, v6 @ ..] = &self.0;
        let port = u16::from_be_bytes([*p0, *p1]);
        match c_int::from(u16::from_ne_bytes([*f0, *f1])) {
            AF_INET => Some((IpAddr::V4(Ipv4Addr::new(*a0, *a1, *a2, *a3)), port)),
            AF_INET6 => Some((IpAddr::V6(Ipv6Addr::from(*v6.first_chunk::<16>()?)), port)),
            _ => None,
        }
    }
}

/// The address that a program has given to connect(2).
///
/// # Safety
/// `address` must point to `length` bytes.
pub(crate) unsafe fn read_address(address: *const c_void, length: u32) -> Option<(IpAddr, u16)> {
    let mut copy = Address([0; 28]);
    for (index, to) in copy.0.iter_mut().take(length as usize).enumerate() {
        // SAFETY: the byte is within the caller's `length`.
        let from = unsafe { address.cast::<u8>().add(index) };
        // SAFETY: as above.
        *to = unsafe { *from };
    }
    (length >= 16).then(|| copy.read())?
}

/// As [`read_address`], before the kernel has read it: `None` where it could not.
pub(crate) fn try_read_address(address: *const c_void, length: u32) -> Option<(IpAddr, u16)> {
    let is_there = |offset: usize| is_readable(address.cast::<u8>().wrapping_add(offset).cast());
    let last = (length.min(28) as usize).checked_sub(8)?;
    if !is_there(0) || !is_there(last) {
        return None;
    }
    // SAFETY: the kernel can read its beginning and its end, which lie within two pages at most.
    unsafe { read_address(address, length) }
}

fn name(number: c_long, fd: c_int) -> Option<(IpAddr, u16)> {
    let mut address = Address([0; 28]);
    let mut length = size_of::<Address>() as u32;
    // SAFETY: getsockname(2) and getpeername(2) write at most `length` bytes, and the length.
    let returned = unsafe {
        call(
            number,
            [fd as _, &raw mut address as c_long, &raw mut length as c_long, 0, 0, 0],
        )
    };
    (returned == 0).then(|| address.read())?
}

/// The address and port of the peer of `fd`, once there is one.
pub(crate) fn peer(fd: c_int) -> Option<(IpAddr, u16)> {
    name(number::GETPEERNAME, fd)
}

/// The local port of `fd`.
pub(crate) fn local_port(fd: c_int) -> Option<u16> {
    name(number::GETSOCKNAME, fd).map(|(_, port)| port)
}

/// Maps `length` bytes of zeros, for good. Pages that are never touched cost nothing.
pub(crate) fn map(length: usize) -> Option<*mut c_void> {
    const PROT_READ_WRITE: c_long = 3;
    const MAP_PRIVATE_ANONYMOUS_NORESERVE: c_long = 0x4022;
    let arguments = [
        0,
        length as c_long,
        PROT_READ_WRITE,
        MAP_PRIVATE_ANONYMOUS_NORESERVE,
        -1,
        0,
    ];
    // SAFETY: mmap(2) with no address and no descriptor takes nothing from anybody.
    result(unsafe { call(number::MMAP, arguments) })
        .ok()
        .map(|address| address as *mut c_void)
}

/// Bytes of our own, of this length or none.
fn memory(length: usize) -> &'static mut [u8] {
    match map(length) {
        // SAFETY: mapped for good, zeroed, and nobody else's.
        Some(address) => unsafe { core::slice::from_raw_parts_mut(address.cast(), length) },
        None => &mut [],
    }
}

/// A copy of `text` that stays; empty when there is no memory.
pub(crate) fn copy(text: &[u8]) -> &'static [u8] {
    let copy = memory(text.len().max(1));
    copy.iter_mut().zip(text).for_each(|(to, from)| *to = *from);
    copy.get(..text.len()).unwrap_or_default()
}

/// At most `count` items, in memory that stays.
pub(crate) fn collect<T: Copy + 'static>(count: usize, items: impl Iterator<Item = T>) -> &'static [T] {
    let bytes = count.saturating_mul(size_of::<T>());
    let Some(start) = (count > 0).then(|| map(bytes)).flatten() else {
        return &[];
    };
    let start = start.cast::<T>();
    let mut filled = 0;
    for item in items.take(count) {
        // SAFETY: the memory has room for `count` items, and a page's alignment.
        let slot = unsafe { start.add(filled) };
        // SAFETY: as above; nobody else has this memory.
        unsafe { slot.write(item) };
        filled += 1;
    }
    // SAFETY: so many have been written, and nobody writes any more.
    unsafe { core::slice::from_raw_parts(start, filled) }
}

/// The content of the file at `path`, a string that ends with a NUL, up to the last whole line within 256 KiB; `None` when
/// it cannot be opened or is no regular file.
pub(crate) fn read_file(path: *const u8) -> Option<&'static [u8]> {
    const AT_FDCWD: c_long = -100;
    const O_NOCTTY_NONBLOCK_CLOEXEC: c_long = 0o2_004_400;
    const LARGEST: usize = 256 * 1024;
    // SAFETY: openat(2) reads the string.
    let opened = unsafe {
        call(
            number::OPENAT,
            [AT_FDCWD, path as c_long, O_NOCTTY_NONBLOCK_CLOEXEC, 0, 0, 0],
        )
    };
    let fd = result(opened).ok()? as c_int;
    if file_type(fd) != S_IFREG {
        close(fd);
        return None;
    }
    let content = memory(LARGEST);
    let mut length = 0;
    while let Some(rest) = content.get_mut(length..).filter(|rest| !rest.is_empty()) {
        // SAFETY: read(2) writes at most that many bytes.
        let read = unsafe {
            call(
                number::READ,
                [fd as _, rest.as_mut_ptr() as c_long, rest.len() as c_long, 0, 0, 0],
            )
        };
        match result(read) {
            Ok(read @ 1..) => length += read as usize,
            _ => break,
        }
    }
    close(fd);
    if length == LARGEST {
        length = content.iter().rposition(|byte| *byte == b'\n').unwrap_or(0);
    }
    content.get(..length)
}

/// Whether `fd` listens.
pub(crate) fn is_listening(fd: c_int) -> bool {
    option(fd, SOL_SOCKET, SO_ACCEPTCONN) == Some(1)
}

/// Whether the kernel can read eight bytes at `address`. Nothing happens where it cannot: rt_sigprocmask(2) reads the
/// set of signals before it looks at the operation, and there is no operation −1 (`kernel/signal.c`).
pub(crate) fn is_readable(address: *const u64) -> bool {
    const EINVAL: Errno = Errno(22);
    // SAFETY: rt_sigprocmask(2) refuses, and writes nothing.
    let returned = unsafe { call(number::RT_SIGPROCMASK, [-1, address as c_long, 0, 8, 0, 0]) };
    result(returned) == Err(EINVAL)
}

/// Makes a socket.
pub(crate) fn socket(domain: c_int, kind: c_int, protocol: c_int) -> Result<c_int, Errno> {
    // SAFETY: socket(2) takes no pointer.
    let returned = unsafe { call(number::SOCKET, [domain as _, kind as _, protocol as _, 0, 0, 0]) };
    result(returned).map(|fd| fd as c_int)
}

/// Closes a descriptor of ours.
pub(crate) fn close(fd: c_int) {
    // SAFETY: close(2) takes no pointer; the descriptor is one that this library opened itself.
    let _ = unsafe { call(number::CLOSE, [fd as _, 0, 0, 0, 0, 0]) };
}

/// The process id.
pub(crate) fn getpid() -> u32 {
    // SAFETY: getpid(2) takes nothing.
    let pid = unsafe { call(number::GETPID, [0; 6]) };
    pid as u32
}

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
