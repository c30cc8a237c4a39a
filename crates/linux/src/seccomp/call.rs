//! What a system call that waits is about to do.

use super::filter::Kind;
use super::listener::Notification;
use crate::memory;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// A system call that was caught. Its arguments are read once: another thread may change what stands in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// `connect(2)`, or a send that opens the connection.
    Connect {
        /// The socket.
        fd: i32,
        /// Where the address stands.
        address: Address,
    },
    /// `listen(2)`.
    Listen {
        /// The socket.
        fd: i32,
    },
    /// `setsockopt(2)`.
    SetOption {
        /// The socket.
        fd: i32,
        /// The option's level.
        level: i32,
        /// The option's number.
        name: i32,
        /// Where the new value stands.
        value: u64,
        /// How many bytes it has.
        length: u32,
    },
}

/// A socket address in a program's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    pointer: u64,
    length: u32,
}

impl Call {
    /// The socket.
    pub fn fd(&self) -> i32 {
        match self {
            Self::Connect { fd, .. } | Self::Listen { fd } | Self::SetOption { fd, .. } => *fd,
        }
    }

    /// The call of `notification`; `None` for one that means nothing here.
    ///
    /// # Errors
    /// As [`memory::read`], of arguments that stand in memory.
    pub fn read(notification: &Notification) -> io::Result<Option<Self>> {
        let tid = notification.tid;
        match Kind::of(notification.arch, notification.number) {
            Some(Kind::Socketcall) => {
                let [number, pointer, ..] = notification.arguments;
                let Some(kind) = Kind::of_socketcall(number) else {
                    return Ok(None);
                };
                let mut words = [0; 24];
                memory::read(tid, pointer, &mut words)?;
                let mut arguments = [0; 6];
                for (argument, word) in arguments.iter_mut().zip(words.as_chunks().0) {
                    *argument = u32::from_ne_bytes(*word).into();
                }
                Self::of(kind, arguments, tid, true)
            }
            Some(kind) => Self::of(kind, notification.arguments, tid, is_narrow(notification.arch)),
            None => Ok(None),
        }
    }

    fn of(kind: Kind, arguments: [u64; 6], tid: u32, is_narrow: bool) -> io::Result<Option<Self>> {
        let [first, second, third, fourth, fifth, sixth] = arguments;
        let fd = low(first).cast_signed();
        Ok(Some(match kind {
            Kind::Connect => Self::Connect {
                fd,
                address: Address {
                    pointer: second,
                    length: low(third),
                },
            },
            Kind::Listen => Self::Listen { fd },
            Kind::SetOption => Self::SetOption {
                fd,
                level: low(second).cast_signed(),
                name: low(third).cast_signed(),
                value: fourth,
                length: low(fifth),
            },
            Kind::SendTo => Self::Connect {
                fd,
                address: Address {
                    pointer: fifth,
                    length: low(sixth),
                },
            },
            // Of several messages the first opens the connection, and it begins with its `struct msghdr`.
            Kind::SendMsg | Kind::SendMmsg => Self::Connect {
                fd,
                address: Address::of_message(tid, second, is_narrow)?,
            },
            Kind::Socketcall => return Ok(None),
        }))
    }
}

impl Address {
    /// `msg_name` and `msg_namelen` (`recvmsg(2)`).
    fn of_message(tid: u32, message: u64, is_narrow: bool) -> io::Result<Self> {
        let mut bytes = [0; 12];
        memory::read(tid, message, &mut bytes)?;
        let [a, b, c, d, e, f, g, h, i, j, k, l] = bytes;
        Ok(if is_narrow {
            Self {
                pointer: u32::from_ne_bytes([a, b, c, d]).into(),
                length: u32::from_ne_bytes([e, f, g, h]),
            }
        } else {
            Self {
                pointer: u64::from_ne_bytes([a, b, c, d, e, f, g, h]),
                length: u32::from_ne_bytes([i, j, k, l]),
            }
        })
    }

    /// The address, if it is one of IPv4 or IPv6.
    ///
    /// # Errors
    /// As [`memory::read`].
    pub fn read(self, tid: u32) -> io::Result<Option<SocketAddr>> {
        let mut bytes = [0; 28];
        let length = usize::try_from(self.length).unwrap_or(usize::MAX).min(bytes.len());
        if length < 16 {
            return Ok(None);
        }
        memory::read(tid, self.pointer, &mut bytes[..length])?;
        Ok(parse(&bytes[..length]))
    }
}

/// `struct sockaddr_in` and `struct sockaddr_in6` (ip(7), ipv6(7)).
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

/// The kernel takes an `int` from the lower half of an argument.
fn low(argument: u64) -> u32 {
    let [a, b, c, d, ..] = argument.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

/// Whether programs of this architecture have 32-bit pointers (`__AUDIT_ARCH_64BIT`).
fn is_narrow(arch: u32) -> bool {
    arch & 0x8000_0000 == 0
}

#[cfg(test)]
mod tests;
