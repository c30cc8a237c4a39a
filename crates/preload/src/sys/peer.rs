//! Reads socket addresses: the peer's, the local one, and those that a program passes to connect(2).

use super::{AF_INET, AF_INET6, call, is_readable, number};
use crate::state;
use core::ffi::{c_int, c_long, c_void};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// `struct sockaddr_in` or `struct sockaddr_in6` (ip(7), ipv6(7)): 16 or 28 bytes.
#[repr(C, align(4))]
struct Address([u8; 28]);

impl Address {
    /// Returns the IP address and the port. IPv4-mapped IPv6 addresses stay unchanged.
    fn read(&self) -> Option<(IpAddr, u16)> {
        let [_, _, p0, p1, a0, a1, a2, a3, v6 @ ..] = &self.0;
        let port = u16::from_be_bytes([*p0, *p1]);
        match self.family() {
            AF_INET => Some((IpAddr::V4(Ipv4Addr::new(*a0, *a1, *a2, *a3)), port)),
            AF_INET6 => Some((IpAddr::V6(Ipv6Addr::from(*v6.first_chunk::<16>()?)), port)),
            _ => None,
        }
    }

    fn family(&self) -> c_int {
        let [f0, f1, ..] = self.0;
        c_int::from(u16::from_ne_bytes([f0, f1]))
    }

    /// Copies the first bytes of an address that a program has passed.
    ///
    /// # Safety
    /// `address` must point to `length` bytes.
    unsafe fn copy(address: *const c_void, length: u32) -> Self {
        let mut copy = Self([0; 28]);
        for (index, to) in copy.0.iter_mut().take(length as usize).enumerate() {
            // SAFETY: the byte is within the caller's `length`.
            let from = unsafe { address.cast::<u8>().add(index) };
            // SAFETY: as above.
            *to = unsafe { *from };
        }
        copy
    }
}

/// Returns the address that a program has passed to connect(2). The kernel has accepted the address.
///
/// # Safety
/// `address` must point to `length` bytes.
pub(crate) unsafe fn read_address(address: *const c_void, length: u32) -> Option<(IpAddr, u16)> {
    // SAFETY: the caller's promise.
    let copy = unsafe { Address::copy(address, length) };
    (length >= 16).then(|| copy.read())?
}

/// Returns the address that a program is about to pass to connect(2) on a TCP socket of `domain`. Returns `None` if the
/// kernel would refuse the address because of its family, its length or its memory, or if the address has another
/// purpose (`AF_UNSPEC`).
pub(crate) fn try_read_address(domain: c_int, address: *const c_void, length: u32) -> Option<(IpAddr, u16)> {
    try_copy(domain, address, length)?.read()
}

/// Returns the bytes of the structure, at most 28, under the conditions of [`try_read_address`]. Also returns `None`
/// for IPv6 addresses without `sin6_scope_id` (24 to 27 bytes), which the kernel accepts: a copy with that field would
/// be another address.
pub(crate) fn try_read_bytes(domain: c_int, address: *const c_void, length: u32) -> Option<[u8; 28]> {
    if domain == AF_INET6 && length < 28 {
        return None;
    }
    Some(try_copy(domain, address, length)?.0)
}

fn try_copy(domain: c_int, address: *const c_void, length: u32) -> Option<Address> {
    /// `sizeof(struct sockaddr_storage)`. The kernel refuses longer addresses (`net/socket.c`, `move_addr_to_kernel`).
    const LONGEST: u32 = 128;
    // `sizeof(struct sockaddr_in)`, and `SIN6_LEN_RFC2133` (`net/ipv4/tcp_ipv4.c`, `net/ipv6/tcp_ipv6.c`).
    let (shortest, size) = if domain == AF_INET { (16, 16) } else { (24, 28) };
    if !(shortest..=LONGEST).contains(&length) || !is_readable(address, length as usize) {
        return None;
    }
    // SAFETY: the kernel can read all of the address. Only a program that unmaps the address in another thread during
    // its own call breaks this.
    let copy = unsafe { Address::copy(address, length.min(size)) };
    (copy.family() == domain).then_some(copy)
}

/// Whether the address that connect(2) accepted has the family `AF_UNSPEC`, which ends the connection.
///
/// # Safety
/// `address` must point to `length` bytes.
pub(crate) unsafe fn is_unspecified(address: *const c_void, length: u32) -> bool {
    const AF_UNSPEC: c_int = 0;
    // SAFETY: the caller's promise.
    length >= 2 && unsafe { Address::copy(address, 2) }.family() == AF_UNSPEC
}

fn name(number: c_long, fd: c_int) -> Option<(IpAddr, u16)> {
    if state::is_confined() {
        return None;
    }
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

/// Returns the address and port of the peer of `fd`, if the socket has one.
pub(crate) fn peer(fd: c_int) -> Option<(IpAddr, u16)> {
    name(number::GETPEERNAME, fd)
}

/// Returns the local port of `fd`.
pub(crate) fn local_port(fd: c_int) -> Option<u16> {
    name(number::GETSOCKNAME, fd).map(|(_, port)| port)
}
