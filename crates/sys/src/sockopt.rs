//! The options of a TCP socket, read and set through any descriptor of it: this process's own, or a duplicate
//! of another process's.

use crate::arch::call;
use crate::pidfd::PidFd;
use crate::sock_diag::State;
use keepalive_policy::SocketOption;
use keepalive_policy::option::KEEPALIVE;
use keepalive_policy::protocol::{PASSING_OPTION_LENGTH, PASSING_OPTION_MARK};
use libc::c_long;
use rustix::fd::{AsFd, OwnedFd};
use rustix::net::{AddressFamily, SocketType, getpeername, getsockname, ipproto, sockopt};
use serde::{Deserialize, Serialize};
use std::io;
use std::mem::size_of;
use std::net::SocketAddr;
use std::os::fd::AsRawFd as _;
use std::time::Duration;

/// The protocol of a socket that supports keepalive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Protocol {
    /// TCP (RFC 9293).
    Tcp,
    /// Multipath TCP (RFC 8684); its subflows send the keepalive probes.
    Mptcp,
}

/// The keepalive settings of one TCP or MPTCP socket, by `getsockopt(2)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TcpSocket {
    /// The local address; absent only while the socket is unbound and the kernel reports none.
    pub local: Option<SocketAddr>,
    /// The peer's address, if the socket is connected.
    pub peer: Option<SocketAddr>,
    /// Whether the socket listens (`SO_ACCEPTCONN`).
    pub listening: bool,
    /// The values of the options.
    pub numbers: Numbers,
}

/// The values of the options of [`KEEPALIVE`] on a socket, in the kernel's units. An unset time has the value
/// of its sysctl. MPTCP sockets do not report the user timeout (`ENOPROTOOPT` on Linux 6.18), nor, before
/// 2024, the times and the count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Numbers([Option<u32>; KEEPALIVE.len()]);

impl Numbers {
    /// Returns the value of `option`; `None` if this kernel or protocol does not report it.
    pub fn get(&self, option: SocketOption) -> Option<u32> {
        KEEPALIVE.into_iter().zip(self.0).find(|(of, _)| *of == option)?.1
    }

    /// Returns these values with that of `option` read again from `socket`.
    #[must_use]
    pub fn refreshed(mut self, socket: impl AsFd, option: SocketOption) -> Self {
        let place = KEEPALIVE.into_iter().position(|of| of == option);
        if let Some(number) = place.and_then(|place| self.0.get_mut(place)) {
            *number = get(socket, option).ok();
        }
        self
    }

    /// Returns whether keepalive is on.
    pub fn is_on(&self) -> bool {
        self.get(SocketOption::Keepalive).is_some_and(|number| number != 0)
    }
}

/// Reads the settings of `socket`; `None` if it is not TCP or MPTCP over IPv4 or IPv6.
///
/// # Errors
/// The errors of `getsockopt(2)`, except `ENOTSOCK`, for which the result is `None` too.
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

/// The kind of a descriptor, with respect to keepalive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A TCP or MPTCP socket.
    Tcp(Protocol),
    /// Another socket.
    OtherSocket,
    /// Not a socket, or a descriptor that only names one (`O_PATH`).
    NoSocket,
}

/// Returns the kind of `descriptor`. The number of its protocol alone is not sufficient: a raw socket can have that of TCP,
/// and so can sockets of other domains.
///
/// # Errors
/// The errors of `getsockopt(2)`, except `ENOTSOCK` and `EBADF` (of `O_PATH`).
pub fn kind(descriptor: impl AsFd) -> io::Result<Kind> {
    let socket = descriptor.as_fd();
    let protocol = match sockopt::socket_protocol(socket) {
        Err(rustix::io::Errno::NOTSOCK | rustix::io::Errno::BADF) => return Ok(Kind::NoSocket),
        Ok(Some(ipproto::TCP)) => Protocol::Tcp,
        Ok(Some(ipproto::MPTCP)) => Protocol::Mptcp,
        Ok(_) => return Ok(Kind::OtherSocket),
        Err(error) => return Err(error.into()),
    };
    // No other socket with this number has an option of TCP, so that this call replaces the two below.
    if protocol == Protocol::Tcp && get(socket, SocketOption::Idle).is_ok() {
        return Ok(Kind::Tcp(protocol));
    }
    let domain = sockopt::socket_domain(socket)?;
    let is_internet = domain == AddressFamily::INET || domain == AddressFamily::INET6;
    if !is_internet || sockopt::socket_type(socket)? != SocketType::STREAM {
        return Ok(Kind::OtherSocket);
    }
    Ok(Kind::Tcp(protocol))
}

/// Returns whether the domain of `socket` is `AF_INET6`.
///
/// # Errors
/// The errors of `getsockopt(2)`.
pub fn is_ipv6(socket: impl AsFd) -> io::Result<bool> {
    Ok(sockopt::socket_domain(socket)? == AddressFamily::INET6)
}

/// Returns the protocol of `socket`; `None` if it is not TCP or MPTCP over IPv4 or IPv6.
///
/// # Errors
/// As [`kind`].
pub fn protocol(socket: impl AsFd) -> io::Result<Option<Protocol>> {
    Ok(match kind(socket)? {
        Kind::Tcp(protocol) => Some(protocol),
        Kind::OtherSocket | Kind::NoSocket => None,
    })
}

/// Returns the address to which `socket` is bound.
pub fn local(socket: impl AsFd) -> Option<SocketAddr> {
    getsockname(socket).ok()?.try_into().ok()
}

/// Returns the address to which `socket` is connected.
pub fn peer(socket: impl AsFd) -> Option<SocketAddr> {
    getpeername(socket).ok()??.try_into().ok()
}

/// Returns the values of the options of `socket`, which must be TCP or MPTCP.
///
/// # Errors
/// The errors of `getsockopt(2)` for `SO_KEEPALIVE`; an option that this kernel or protocol lacks is `None`.
pub fn numbers(socket: impl AsFd) -> io::Result<Numbers> {
    let socket = socket.as_fd();
    let keepalive = get(socket, SocketOption::Keepalive)?;
    Ok(Numbers(KEEPALIVE.map(|option| match option {
        SocketOption::Keepalive => Some(keepalive),
        option => get(socket, option).ok(),
    })))
}

/// Returns the value of `option`, in the kernel's unit (seconds, or milliseconds for the user timeout).
///
/// # Errors
/// `ENOPROTOOPT` or `EOPNOTSUPP` if this kernel lacks the option for this protocol.
pub fn get(socket: impl AsFd, option: SocketOption) -> io::Result<u32> {
    let row = option.row();
    get_word(socket, row.level, row.optname)
}

/// Makes the kernel send one keepalive probe on `socket` at once, if it is an established TCP connection. Changes no option and
/// no timer: `TCP_REPAIR` is switched off, which it is, and that sends a probe (`tcp_send_window_probe` of Linux 3.5 and
/// later). The kernel counts neither the probe nor a missing answer.
///
/// Between the check of `SO_REUSEADDR` and the call, a program may set that option. On an established connection it has no
/// effect.
///
/// # Errors
/// `EPERM` without `CAP_NET_ADMIN` in the user namespace of the socket's network; `EBUSY` if `SO_REUSEADDR` is set, which the
/// call would clear; those of `setsockopt(2)`.
pub fn send_probe(socket: impl AsFd) -> io::Result<()> {
    const TCP_REPAIR: i32 = 19;
    let socket = socket.as_fd();
    if get_word(socket, libc::SOL_SOCKET, libc::SO_REUSEADDR)? != 0
        || get_word(socket, libc::IPPROTO_TCP, TCP_REPAIR)? != 0
    {
        return Err(rustix::io::Errno::BUSY.into());
    }
    let off: u32 = 0;
    // SAFETY: the descriptor is borrowed for the call, and the kernel reads four bytes, which are those of `off`
    // (setsockopt(2)).
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            TCP_REPAIR,
            (&raw const off).cast(),
            LENGTH,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Sets `option`. The kernel may change the value; [`get`] returns the result.
///
/// # Errors
/// As [`get`]; `EINVAL` for a value that is out of range.
pub fn set(socket: impl AsFd, option: SocketOption, number: u32) -> io::Result<()> {
    set_by(socket, option, number, LENGTH, 0)
}

/// As [`set`], by a call that a supervisor over this process lets pass.
///
/// # Errors
/// As [`set`].
pub fn set_past_supervisor(socket: impl AsFd, option: SocketOption, number: u32) -> io::Result<()> {
    set_by(socket, option, number, PASSING_OPTION_LENGTH, PASSING_OPTION_MARK)
}

fn set_by(socket: impl AsFd, option: SocketOption, number: u32, length: libc::socklen_t, mark: u32) -> io::Result<()> {
    let row = option.row();
    // The kernel reads the first; the greater length requires two.
    let value = [number, 0];
    let arguments = [
        socket.as_fd().as_raw_fd().into(),
        row.level.into(),
        row.optname.into(),
        value.as_ptr().expose_provenance().cast_signed() as c_long,
        length.cast_signed().into(),
        mark.cast_signed().into(),
    ];
    // SAFETY: the descriptor is borrowed for the call, and the kernel reads up to `length` bytes of `value`, which has eight
    // (setsockopt(2)).
    unsafe { call(libc::SYS_setsockopt, arguments) }.map(drop)
}

/// Returns the state of `socket`, which must be TCP or MPTCP, and the number of unanswered probes (the first
/// and the fourth byte of `TCP_INFO`).
///
/// # Errors
/// The errors of `getsockopt(2)`.
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

/// Returns the first four bytes of `struct tcp_info` of the first subflow of `socket`, which must be MPTCP
/// (`MPTCP_TCPINFO`, `include/uapi/linux/mptcp.h`, Linux 5.16); `None` if it has no subflow yet. `TCP_INFO`
/// would create a subflow. From then on the kernel would check the ranges of the values that the program
/// sets, which it does not do before (`net/mptcp/sockopt.c`).
///
/// # Errors
/// `EOPNOTSUPP` on older kernels.
fn first_subflow(socket: impl AsFd) -> io::Result<Option<[u8; 4]>> {
    const SOL_MPTCP: i32 = 284;
    const MPTCP_TCPINFO: i32 = 2;
    // `struct mptcp_subflow_data`: its size, the number of subflows, the kernel's size per subflow, the size
    // of the buffer per subflow; then the buffer.
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

/// The state of a connection, and the time since the peer's last packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Activity {
    /// The state; `None` for a state that no socket of a process has.
    pub state: Option<State>,
    /// The time since the last acknowledgement.
    pub since_ack: Duration,
    /// The time since the last relevant packet from the peer: an acknowledgement, or data.
    pub since_packet: Duration,
    /// The number of segments sent and received, including irrelevant ones, such as repeated parts of the
    /// handshake. It wraps around.
    pub segments: u32,
    /// The number of segments received, as in `segments`.
    pub segments_received: u32,
    /// The time since the last relevant packet in either direction.
    pub since_any: Duration,
    /// The number of segments sent that carry data.
    pub data_segments_sent: u32,
    /// Whether data, or a probe of the kernel's timers, waits for an acknowledgement.
    pub is_unacknowledged: bool,
    /// Whether the peer has sent data.
    pub has_data: bool,
}

/// Returns the activity of `socket`, which must be TCP (`struct tcp_info` in `include/uapi/linux/tcp.h`).
///
/// # Errors
/// The errors of `getsockopt(2)`.
pub fn activity(socket: impl AsFd) -> io::Result<Activity> {
    /// The size up to and including `tcpi_data_segs_out` (Linux 4.6); an older kernel leaves 0 what it lacks.
    const LENGTH: usize = 160;
    let info = get_bytes::<LENGTH>(socket, libc::IPPROTO_TCP, libc::TCP_INFO)?;
    let [state, _, _, unanswered_probes, ..] = info;
    let (numbers, _) = info.as_chunks::<4>();
    let number = |offset: usize| numbers.get(offset / 4).map_or(0, |bytes| u32::from_ne_bytes(*bytes));
    let milliseconds = |offset| Duration::from_millis(number(offset).into());
    let (since_data, since_ack) = (milliseconds(52), milliseconds(56));
    Ok(Activity {
        state: State::from_number(state),
        has_data: number(128) != 0 || number(132) != 0,
        segments: number(136).wrapping_add(number(140)),
        segments_received: number(140),
        since_any: since_data.min(since_ack).min(milliseconds(44)),
        data_segments_sent: number(156),
        is_unacknowledged: number(24) != 0 || unanswered_probes != 0,
        since_ack,
        since_packet: since_data.min(since_ack),
    })
}

/// Returns a number that is unique among all sockets since the machine was started (`SO_COOKIE`, Linux 4.12).
///
/// # Errors
/// `ENOPROTOOPT` on older kernels.
pub fn cookie(socket: impl AsFd) -> io::Result<u64> {
    get_long(socket, libc::SOL_SOCKET, libc::SO_COOKIE)
}

#[expect(clippy::cast_possible_truncation, reason = "it is four")]
const LENGTH: libc::socklen_t = size_of::<u32>() as libc::socklen_t;

/// Returns the first four bytes of an option.
fn get_word(socket: impl AsFd, level: i32, name: i32) -> io::Result<u32> {
    get_bytes(socket, level, name).map(u32::from_ne_bytes)
}

/// Returns an option of eight bytes.
pub(crate) fn get_long(socket: impl AsFd, level: i32, name: i32) -> io::Result<u64> {
    get_bytes(socket, level, name).map(u64::from_ne_bytes)
}

/// Returns the first `N` bytes of an option. If the option has fewer bytes, the rest is 0.
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

/// Returns a duplicate, in this process, of file descriptor `fd` of process `pid`; see [`PidFd::duplicate`].
///
/// # Errors
/// As [`PidFd::open`] and [`PidFd::duplicate`].
pub fn duplicate(pid: u32, fd: i32) -> io::Result<OwnedFd> {
    PidFd::open(pid)?.duplicate(fd)
}
