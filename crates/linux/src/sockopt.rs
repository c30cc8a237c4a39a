//! What the kernel really has set on a TCP socket, of this process or of another one.

use rustix::fd::{AsFd, OwnedFd};
use rustix::net::{AddressFamily, getpeername, getsockname, ipproto, sockopt};
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

/// The keepalive settings of one TCP or MPTCP socket, as `getsockopt(2)` tells them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TcpSocket {
    /// The local address, absent only while the socket is unbound and the kernel has none to tell.
    pub local: Option<SocketAddr>,
    /// The peer's address, of a connected socket.
    pub peer: Option<SocketAddr>,
    /// Whether the socket listens (`SO_ACCEPTCONN`).
    pub listening: bool,
    /// `SO_KEEPALIVE`.
    pub keepalive: bool,
    /// `TCP_KEEPIDLE` in seconds: the socket's own value, or the sysctl's where it has none.
    pub idle: u64,
    /// `TCP_KEEPINTVL` in seconds, likewise.
    pub interval: u64,
    /// `TCP_KEEPCNT`, likewise.
    pub count: u32,
    /// `TCP_USER_TIMEOUT` in milliseconds, 0 for none. MPTCP sockets do not tell it (`ENOPROTOOPT` on Linux 6.18).
    pub user_timeout: u32,
}

/// Reads the settings of `socket`; `None` when it is not TCP or MPTCP over IPv4 or IPv6.
///
/// # Errors
/// Whatever `getsockopt(2)` gives, except `ENOTSOCK`, which is `None` too.
pub fn read(socket: impl AsFd) -> io::Result<Option<TcpSocket>> {
    let socket = socket.as_fd();
    let domain = match sockopt::socket_domain(socket) {
        Err(rustix::io::Errno::NOTSOCK | rustix::io::Errno::BADF) => return Ok(None),
        other => other?,
    };
    let is_inet = domain == AddressFamily::INET || domain == AddressFamily::INET6;
    if !is_inet || !matches!(sockopt::socket_protocol(socket)?, Some(ipproto::TCP | ipproto::MPTCP)) {
        return Ok(None);
    }
    Ok(Some(TcpSocket {
        local: getsockname(socket)
            .ok()
            .and_then(|address| SocketAddr::try_from(address).ok()),
        peer: getpeername(socket)
            .ok()
            .flatten()
            .and_then(|address| SocketAddr::try_from(address).ok()),
        listening: sockopt::socket_acceptconn(socket)?,
        keepalive: sockopt::socket_keepalive(socket)?,
        idle: sockopt::tcp_keepidle(socket).unwrap_or(Duration::ZERO).as_secs(),
        interval: sockopt::tcp_keepintvl(socket).unwrap_or(Duration::ZERO).as_secs(),
        count: sockopt::tcp_keepcnt(socket).unwrap_or(0),
        user_timeout: sockopt::tcp_user_timeout(socket).unwrap_or(0),
    }))
}

/// A duplicate, in this process, of file descriptor `fd` of process `pid` (`pidfd_getfd(2)`, Linux 5.6).
///
/// # Errors
/// `ESRCH` when the process is gone, `EBADF` when it has no such descriptor, `EPERM` without ptrace access to it.
pub fn duplicate(pid: u32, fd: i32) -> io::Result<OwnedFd> {
    let pid = i32::try_from(pid)
        .ok()
        .and_then(Pid::from_raw)
        .ok_or(rustix::io::Errno::SRCH)?;
    let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
    Ok(pidfd_getfd(&pidfd, fd, PidfdGetfdFlags::empty())?)
}
