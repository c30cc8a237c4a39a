//! The meaning of a caught system call.

use super::filter::Kind;
use super::listener::Notification;
use crate::memory;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// A caught system call. Its arguments are read once: another thread may change those in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// `connect(2)`, or a send that opens the connection.
    Connect {
        /// The socket.
        fd: i32,
        /// The location of the address.
        address: Address,
    },
    /// `listen(2)`.
    Listen {
        /// The socket.
        fd: i32,
        /// The limit of connections that wait to be accepted.
        backlog: i32,
    },
    /// `setsockopt(2)`.
    SetOption {
        /// The socket.
        fd: i32,
        /// The option's level.
        level: i32,
        /// The option's number.
        name: i32,
        /// The address of the new value.
        value: u64,
        /// The size of the new value, in bytes. The kernel fails with `EINVAL` for a negative number.
        length: i32,
    },
}

/// A socket address in a program's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Address {
    /// The address is an argument of the call.
    Plain {
        /// The pointer to the address.
        pointer: u64,
        /// The size of the address, in bytes.
        length: i32,
    },
    /// The address is in a message header.
    Message {
        /// The pointer to the header, a `struct msghdr`.
        header: u64,
        /// Whether the program has 32-bit pointers.
        is_narrow: bool,
    },
}

impl Call {
    /// Returns the socket.
    pub fn fd(&self) -> i32 {
        match self {
            Self::Connect { fd, .. } | Self::Listen { fd, .. } | Self::SetOption { fd, .. } => *fd,
        }
    }

    /// Returns the call of `notification`; `None` for a call without a meaning here. Arguments in memory are
    /// read by the number of the thread. The caller must confirm that number before it uses them
    /// ([`Listener::is_waiting`](super::Listener::is_waiting)).
    ///
    /// # Errors
    /// As [`memory::read`], for arguments in memory.
    pub fn read(notification: &Notification) -> io::Result<Option<Self>> {
        let tid = notification.tid;
        match Kind::of(notification.arch, notification.number) {
            Some(Kind::Socketcall) => {
                let [number, pointer, ..] = notification.arguments;
                let Some(kind) = Kind::of_socketcall(number) else {
                    return Ok(None);
                };
                // The kernel reads exactly the words of the call; the memory after them may not exist.
                let mut words = [0; 24];
                memory::read(tid, pointer, &mut words[..4 * arguments(kind)])?;
                let mut arguments = [0; 6];
                for (argument, word) in arguments.iter_mut().zip(words.as_chunks().0) {
                    *argument = u32::from_ne_bytes(*word).into();
                }
                Ok(Self::of(kind, arguments, true))
            }
            Some(kind) => Ok(Self::of(kind, notification.arguments, is_narrow(notification.arch))),
            None => Ok(None),
        }
    }

    fn of(kind: Kind, arguments: [u64; 6], is_narrow: bool) -> Option<Self> {
        let [first, second, third, fourth, fifth, sixth] = arguments;
        let fd = low(first);
        Some(match kind {
            Kind::Connect => Self::Connect {
                fd,
                address: Address::Plain {
                    pointer: second,
                    length: low(third),
                },
            },
            Kind::Listen => Self::Listen {
                fd,
                backlog: low(second),
            },
            Kind::SetOption => Self::SetOption {
                fd,
                level: low(second),
                name: low(third),
                value: fourth,
                length: low(fifth),
            },
            Kind::SendTo => Self::Connect {
                fd,
                address: Address::Plain {
                    pointer: fifth,
                    length: low(sixth),
                },
            },
            // The first of several messages opens the connection, and begins with its `struct msghdr`.
            Kind::SendMsg | Kind::SendMmsg => Self::Connect {
                fd,
                address: Address::Message {
                    header: second,
                    is_narrow,
                },
            },
            Kind::Socketcall => return None,
        })
    }
}

/// Returns the number of arguments of a call (`nargs` in `net/socket.c`).
fn arguments(kind: Kind) -> usize {
    match kind {
        Kind::Listen | Kind::Socketcall => 2,
        Kind::Connect | Kind::SendMsg => 3,
        Kind::SendMmsg => 4,
        Kind::SetOption => 5,
        Kind::SendTo => 6,
    }
}

/// `sizeof(struct sockaddr_storage)`: the kernel accepts no longer address.
const LONGEST: i32 = 128;
/// The minimum sizes that the kernel accepts: `sizeof(struct sockaddr_in)`, and `SIN6_LEN_RFC2133` of `struct
/// sockaddr_in6`.
const SHORTEST: i32 = 16;
const SHORTEST_IPV6: i32 = 24;

impl Address {
    /// Reads a peer's address as connect(2) on a TCP socket of this family does; `None` for other addresses,
    /// with which the kernel disconnects (`AF_UNSPEC`) or fails. Like the kernel, it reads the whole length.
    ///
    /// # Errors
    /// As [`memory::read`].
    pub fn read(self, tid: u32, is_ipv6: bool) -> io::Result<Option<SocketAddr>> {
        let (pointer, length) = match self {
            Self::Plain { pointer, length } => (pointer, length),
            Self::Message { header, is_narrow } => message_name(tid, header, is_narrow)?,
        };
        let shortest = if is_ipv6 { SHORTEST_IPV6 } else { SHORTEST };
        let mut bytes = [0; LONGEST as usize];
        let bytes = match usize::try_from(length) {
            Ok(size) if (shortest..=LONGEST).contains(&length) => &mut bytes[..size],
            _ => return Ok(None),
        };
        memory::read(tid, pointer, bytes)?;
        Ok(parse(bytes).filter(|address| address.is_ipv6() == is_ipv6))
    }
}

/// Returns `msg_name` and `msg_namelen` (`recvmsg(2)`). The kernel shortens a name that is too long (`net/socket.c`).
fn message_name(tid: u32, header: u64, is_narrow: bool) -> io::Result<(u64, i32)> {
    let mut bytes = [0; 12];
    let bytes = if is_narrow { &mut bytes[..8] } else { &mut bytes[..] };
    memory::read(tid, header, bytes)?;
    let (pointer, length) = match *bytes {
        [a, b, c, d, e, f, g, h] => (
            u32::from_ne_bytes([a, b, c, d]).into(),
            i32::from_ne_bytes([e, f, g, h]),
        ),
        [a, b, c, d, e, f, g, h, i, j, k, l] => (
            u64::from_ne_bytes([a, b, c, d, e, f, g, h]),
            i32::from_ne_bytes([i, j, k, l]),
        ),
        _ => (0, 0),
    };
    Ok((pointer, length.min(LONGEST)))
}

/// Parses `struct sockaddr_in` and `struct sockaddr_in6` (ip(7), ipv6(7)).
fn parse(bytes: &[u8]) -> Option<SocketAddr> {
    let family = u16::from_ne_bytes(*bytes.first_chunk()?);
    let port = u16::from_be_bytes(*bytes.get(2..)?.first_chunk()?);
    let address = match i32::from(family) {
        libc::AF_INET => IpAddr::V4(Ipv4Addr::from(*bytes.get(4..)?.first_chunk::<4>()?)),
        libc::AF_INET6 => IpAddr::V6(Ipv6Addr::from(*bytes.get(8..)?.first_chunk::<16>()?)),
        _ => return None,
    };
    Some(SocketAddr::new(address, port))
}

/// Returns the lower half of an argument, which the kernel reads as an `int`.
fn low(argument: u64) -> i32 {
    let [a, b, c, d, ..] = argument.to_le_bytes();
    i32::from_le_bytes([a, b, c, d])
}

/// Returns whether programs of this architecture have 32-bit pointers (`__AUDIT_ARCH_64BIT`).
fn is_narrow(arch: u32) -> bool {
    arch & 0x8000_0000 == 0
}

#[cfg(test)]
mod tests;
