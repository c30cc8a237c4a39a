//! What the kernel has set on a TCP socket, read and changed through any descriptor of it, this process's own or a
//! duplicate of another's.

use crate::pidfd::PidFd;
use crate::sock_diag::State;
use keepalive_policy::SocketOption;
use keepalive_policy::option::KEEPALIVE;
use rustix::fd::{AsFd, OwnedFd};
use rustix::net::{AddressFamily, SocketType, getpeername, getsockname, ipproto, sockopt};
use serde::{Deserialize, Serialize};
use std::io;
use std::mem::size_of;
use std::net::SocketAddr;
use std::os::fd::AsRawFd as _;
use std::time::Duration;

/// The protocol of a socket on which keepalive can be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Protocol {
    /// TCP (RFC 9293).
    Tcp,
    /// Multipath TCP (RFC 8684); its keepalive is that of its subflows.
    Mptcp,
}

/// The keepalive settings of one TCP or MPTCP socket, as `getsockopt(2)` tells them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TcpSocket {
    /// The local address, absent only while the socket is unbound and the kernel has none to tell.
    pub local: Option<SocketAddr>,
    /// The peer's address, of a connected socket.
    pub peer: Option<SocketAddr>,
    /// Whether the socket listens (`SO_ACCEPTCONN`).
    pub listening: bool,
    /// What is set.
    pub numbers: Numbers,
}

/// The numbers of the options of [`KEEPALIVE`] on a socket, in the kernel's units. A time that nothing has set is the sysctl's.
/// MPTCP sockets do not tell the user timeout (`ENOPROTOOPT` on Linux 6.18), nor, before 2024, the times and the count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Numbers([Option<u32>; KEEPALIVE.len()]);

impl Numbers {
    /// The number of `option`; `None` where this kernel or protocol does not tell it.
    pub fn get(&self, option: SocketOption) -> Option<u32> {
        KEEPALIVE.into_iter().zip(self.0).find(|(of, _)| *of == option)?.1
    }

    /// Whether keepalive is on.
    pub fn is_on(&self) -> bool {
        self.get(SocketOption::Keepalive).is_some_and(|number| number != 0)
    }
}

/// Reads the settings of `socket`; `None` when it is not TCP or MPTCP over IPv4 or IPv6.
///
/// # Errors
/// Whatever `getsockopt(2)` gives, except `ENOTSOCK`, which is `None` too.
pub fn read(socket: impl AsFd) -> io::Result<Option<TcpSocket>> {
    let socket = socket.as_fd();
    if protocol(socket)?.is_none() {
        return Ok(None);
    }
    Ok(Some(TcpSocket {
        local: local(socket),
        peer: peer(socket),
        listening: sockopt::socket_acceptconn(socket)?,
        numbers: numbers(socket)?,
    }))
}

/// What a descriptor is, as far as keepalive is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A TCP or MPTCP socket.
    Tcp {
        /// Its protocol.
        protocol: Protocol,
        /// Its domain: `AF_INET6` rather than `AF_INET`.
        is_ipv6: bool,
    },
    /// Another socket.
    OtherSocket,
    /// No socket, or a descriptor that only names one (`O_PATH`).
    NoSocket,
}

/// The kind of `descriptor`. Its options alone would not tell: others accept `SO_KEEPALIVE` silently, and the protocol of
/// a raw socket can be that of TCP.
///
/// # Errors
/// Whatever `getsockopt(2)` gives, except `ENOTSOCK` and `EBADF` (of `O_PATH`).
pub fn kind(descriptor: impl AsFd) -> io::Result<Kind> {
    let socket = descriptor.as_fd();
    let is_ipv6 = match sockopt::socket_domain(socket) {
        Err(rustix::io::Errno::NOTSOCK | rustix::io::Errno::BADF) => return Ok(Kind::NoSocket),
        Ok(AddressFamily::INET) => false,
        Ok(AddressFamily::INET6) => true,
        Ok(_) => return Ok(Kind::OtherSocket),
        Err(error) => return Err(error.into()),
    };
    let protocol = match sockopt::socket_protocol(socket)? {
        Some(ipproto::TCP) => Protocol::Tcp,
        Some(ipproto::MPTCP) => Protocol::Mptcp,
        _ => return Ok(Kind::OtherSocket),
    };
    if sockopt::socket_type(socket)? != SocketType::STREAM {
        return Ok(Kind::OtherSocket);
    }
    Ok(Kind::Tcp { protocol, is_ipv6 })
}

/// The protocol of `socket`; `None` when it is not TCP or MPTCP over IPv4 or IPv6.
///
/// # Errors
/// As [`kind`].
pub fn protocol(socket: impl AsFd) -> io::Result<Option<Protocol>> {
    Ok(match kind(socket)? {
        Kind::Tcp { protocol, .. } => Some(protocol),
        Kind::OtherSocket | Kind::NoSocket => None,
    })
}

/// The address that `socket` is bound to.
pub fn local(socket: impl AsFd) -> Option<SocketAddr> {
    getsockname(socket).ok()?.try_into().ok()
}

/// The address that `socket` is connected to.
pub fn peer(socket: impl AsFd) -> Option<SocketAddr> {
    getpeername(socket).ok()??.try_into().ok()
}

/// What is set on `socket`, which is TCP or MPTCP.
///
/// # Errors
/// Whatever `getsockopt(2)` gives for `SO_KEEPALIVE`; an option that this kernel or protocol has not is `None`.
pub fn numbers(socket: impl AsFd) -> io::Result<Numbers> {
    let socket = socket.as_fd();
    get(socket, SocketOption::Keepalive)?;
    Ok(Numbers(KEEPALIVE.map(|option| get(socket, option).ok())))
}

/// The number of `option`, in the kernel's unit (seconds, or milliseconds of the user timeout).
///
/// # Errors
/// `ENOPROTOOPT` or `EOPNOTSUPP` where this kernel has no such option for this protocol.
pub fn get(socket: impl AsFd, option: SocketOption) -> io::Result<u32> {
    let row = option.row();
    get_word(socket, row.level, row.optname)
}

/// Sets `option`. What the kernel makes of it, only [`get`] tells.
///
/// # Errors
/// As [`get`]; `EINVAL` for a number that is out of range.
pub fn set(socket: impl AsFd, option: SocketOption, number: u32) -> io::Result<()> {
    let row = option.row();
    // SAFETY: the descriptor is borrowed for the call, and the kernel reads four bytes, which are those of `number`
    // (setsockopt(2)).
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            row.level,
            row.optname,
            (&raw const number).cast(),
            LENGTH,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// The state of `socket`, which is TCP or MPTCP, and how many probes have not been answered (`TCP_INFO`, of which these are
/// the first and the fourth byte).
///
/// # Errors
/// Whatever `getsockopt(2)` gives.
pub fn state(socket: impl AsFd) -> io::Result<(Option<State>, u8)> {
    let socket = socket.as_fd();
    if sockopt::socket_protocol(socket)? == Some(ipproto::MPTCP) {
        match first_subflow(socket) {
            Ok(Some([state, _, _, unanswered])) => return Ok((State::from_number(state), unanswered)),
            Ok(None) => return Ok((Some(State::Closed), 0)),
            // Before Linux 5.16.
            Err(_) => {}
        }
    }
    let [state, _, _, unanswered] = get_word(socket, libc::IPPROTO_TCP, libc::TCP_INFO)?.to_ne_bytes();
    Ok((State::from_number(state), unanswered))
}

/// The first four bytes of `struct tcp_info` of the first subflow of `socket`, which is MPTCP (`MPTCP_TCPINFO`,
/// `include/uapi/linux/mptcp.h`, Linux 5.16); `None` before it has one. `TCP_INFO` makes one where there is none, and then the
/// kernel checks the ranges of what the program sets, which it does not before (`net/mptcp/sockopt.c`).
///
/// # Errors
/// `EOPNOTSUPP` on older kernels.
fn first_subflow(socket: impl AsFd) -> io::Result<Option<[u8; 4]>> {
    const SOL_MPTCP: i32 = 284;
    const MPTCP_TCPINFO: i32 = 2;
    // `struct mptcp_subflow_data`: its size, the number of subflows, the size of what the kernel has of each, the size
    // of what we have room for; then that room.
    let mut words: [u32; 5] = [16, 0, 0, 4, 0];
    let mut length = libc::socklen_t::try_from(size_of_val(&words)).map_err(io::Error::other)?;
    // SAFETY: the descriptor is borrowed for the call, and the kernel writes at most `length` bytes, which is the size of
    // `words` (getsockopt(2)).
    let result = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            SOL_MPTCP,
            MPTCP_TCPINFO,
            words.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    let [_, subflows, _, _, info] = words;
    Ok((subflows > 0).then(|| info.to_ne_bytes()))
}

/// How a connection is, and for how long nothing has come from the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Activity {
    /// The state; `None` for one that no socket of a process has.
    pub state: Option<State>,
    /// Since the last acknowledgement.
    pub since_ack: Duration,
    /// Since the last packet from the peer that meant something: an acknowledgement, or data.
    pub since_packet: Duration,
    /// Segments sent and received, also those that meant nothing: repeated parts of the handshake, say. They wrap around.
    pub segments: u32,
    /// Whether the peer has sent data.
    pub has_data: bool,
}

/// The activity of `socket`, which is TCP (`struct tcp_info` in `include/uapi/linux/tcp.h`).
///
/// # Errors
/// Whatever `getsockopt(2)` gives.
pub fn activity(socket: impl AsFd) -> io::Result<Activity> {
    /// Up to `tcpi_segs_in` and with it (Linux 4.2); an older kernel leaves it 0.
    const LENGTH: usize = 144;
    let info = get_bytes::<LENGTH>(socket, libc::IPPROTO_TCP, libc::TCP_INFO)?;
    let [state, ..] = info;
    let (numbers, _) = info.as_chunks::<4>();
    let number = |offset: usize| numbers.get(offset / 4).map_or(0, |bytes| u32::from_ne_bytes(*bytes));
    let milliseconds = |offset| Duration::from_millis(number(offset).into());
    let (since_data, since_ack) = (milliseconds(52), milliseconds(56));
    Ok(Activity {
        state: State::from_number(state),
        has_data: number(128) != 0 || number(132) != 0,
        segments: number(136).wrapping_add(number(140)),
        since_ack,
        since_packet: since_data.min(since_ack),
    })
}

/// A number that no other socket has had since the machine was started (`SO_COOKIE`, Linux 4.12).
///
/// # Errors
/// `ENOPROTOOPT` on older kernels.
pub fn cookie(socket: impl AsFd) -> io::Result<u64> {
    get_long(socket, libc::SOL_SOCKET, libc::SO_COOKIE)
}

#[expect(clippy::cast_possible_truncation, reason = "it is four")]
const LENGTH: libc::socklen_t = size_of::<u32>() as libc::socklen_t;

/// The first four bytes of an option.
fn get_word(socket: impl AsFd, level: i32, name: i32) -> io::Result<u32> {
    get_bytes(socket, level, name).map(u32::from_ne_bytes)
}

/// An option of eight bytes.
pub(crate) fn get_long(socket: impl AsFd, level: i32, name: i32) -> io::Result<u64> {
    get_bytes(socket, level, name).map(u64::from_ne_bytes)
}

/// The first `N` bytes of an option; where it has fewer, the rest is 0.
fn get_bytes<const N: usize>(socket: impl AsFd, level: i32, name: i32) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    let mut length = libc::socklen_t::try_from(N).map_err(io::Error::other)?;
    // SAFETY: the descriptor is borrowed for the call, and the kernel writes at most `length` bytes, which is the size of
    // `bytes` (getsockopt(2)).
    let result = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            level,
            name,
            bytes.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if result == 0 {
        Ok(bytes)
    } else {
        Err(io::Error::last_os_error())
    }
}

/// A duplicate, in this process, of file descriptor `fd` of process `pid`; see [`PidFd::duplicate`].
///
/// # Errors
/// As there.
pub fn duplicate(pid: u32, fd: i32) -> io::Result<OwnedFd> {
    PidFd::open(pid)?.duplicate(fd)
}
