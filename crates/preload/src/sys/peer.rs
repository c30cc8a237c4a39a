//! Socket addresses: of a peer, of this end, and as a program gives them.

use super::{AF_INET, AF_INET6, Errno, call, number, result};
use core::ffi::{c_int, c_long, c_void};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

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

/// Whether the kernel can read eight bytes at `address`. Nothing happens where it cannot: rt_sigprocmask(2) reads the
/// set of signals before it looks at the operation, and there is no operation −1 (`kernel/signal.c`).
pub(crate) fn is_readable(address: *const u64) -> bool {
    const EINVAL: Errno = Errno(22);
    // SAFETY: rt_sigprocmask(2) refuses, and writes nothing.
    let returned = unsafe { call(number::RT_SIGPROCMASK, [-1, address as c_long, 0, 8, 0, 0]) };
    result(returned) == Err(EINVAL)
}
