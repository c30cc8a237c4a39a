//! The kernel's information on TCP sockets for every user (`sock_diag(7)`): addresses, state, inode, and the
//! running timer, but none of the options.

mod message;

pub use message::{Progress, decode};

use message::Request;
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::netlink::{SOCK_DIAG, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, connect, recv, send, socket_with};
use serde::{Deserialize, Serialize};
use std::io;
use std::net::SocketAddr;

/// The state of a TCP socket (RFC 9293 §3.3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the RFC's names")]
pub enum State {
    Established,
    SynSent,
    SynReceived,
    FinWait1,
    FinWait2,
    TimeWait,
    Closed,
    CloseWait,
    LastAck,
    Listen,
    Closing,
}

/// The running timer of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timer {
    /// The purpose of the timer.
    pub kind: TimerKind,
    /// Milliseconds until it expires.
    pub expires_ms: u64,
}

/// The purpose of a timer. The kernel reports only one timer; retransmission and window probes hide keepalive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TimerKind {
    /// Sends the next keepalive probe.
    Keepalive,
    /// Retransmits unacknowledged data or a SYN.
    Retransmit,
    /// Probes the peer's closed receive window.
    ZeroWindow,
}

/// One TCP socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The local address; IPv4-mapped if an IPv6 socket uses IPv4.
    pub local: SocketAddr,
    /// The peer's address, if the socket has a peer.
    pub peer: Option<SocketAddr>,
    /// The state.
    pub state: State,
    /// The inode in `/proc/PID/fd`. Several rows may have the same inode (the subflows of MPTCP). 0 if no
    /// process holds the socket.
    pub inode: u64,
    /// `SO_COOKIE`.
    pub cookie: u64,
    /// The number of the cgroup in which the socket was created (Linux 5.9).
    pub cgroup: Option<u64>,
    /// The user that created the socket.
    pub uid: u32,
    /// The running timer, if any.
    pub timer: Option<Timer>,
    /// The number of unanswered keepalive or window probes; unknown while data is retransmitted.
    pub unanswered: Option<u8>,
}

/// Returns every TCP socket, IPv4 and IPv6, in the network namespace of the calling thread, except sockets
/// that all their holders have closed.
///
/// # Errors
/// Any error of the kernel: `ENOENT` without `CONFIG_INET_TCP_DIAG`, or the error of a sandbox.
pub fn dump() -> io::Result<Vec<Row>> {
    match answer(&[Request::AllFamilies]) {
        // A sandbox may know only the newer request. That one is for one address family; each takes as long as one for both.
        Err(_) => answer(&[Request::Ipv4, Request::Ipv6]),
        rows => rows,
    }
}

/// The kernel fills up to 32 KiB at once if the reader's buffer is large enough (`net/netlink/af_netlink.c`).
const BUFFER: usize = 32 * 1024;

fn answer(requests: &[Request]) -> io::Result<Vec<Row>> {
    let mut rows = Vec::new();
    let mut datagram = vec![0; BUFFER];
    for request in requests {
        let socket = ask(*request)?;
        loop {
            let length = match recv(&socket, &mut datagram[..], RecvFlags::empty()) {
                Ok((length, _)) => length,
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            };
            if decode(&datagram[..length], &mut rows)? == Progress::Done {
                break;
            }
        }
    }
    Ok(rows)
}

fn ask(request: Request) -> io::Result<OwnedFd> {
    let socket = socket_with(
        AddressFamily::NETLINK,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC,
        Some(SOCK_DIAG),
    )?;
    // Then only the kernel can answer.
    connect(&socket, &SocketAddrNetlink::new(0, 0))?;
    send(&socket, &request.bytes(), SendFlags::empty())?;
    Ok(socket)
}

impl State {
    /// Returns the state with this number (`include/net/tcp_states.h`). A connection that has not been
    /// accepted yet (`TCP_NEW_SYN_RECV`) is not a socket.
    pub fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::Established,
            2 => Self::SynSent,
            3 => Self::SynReceived,
            4 => Self::FinWait1,
            5 => Self::FinWait2,
            6 => Self::TimeWait,
            7 => Self::Closed,
            8 => Self::CloseWait,
            9 => Self::LastAck,
            10 => Self::Listen,
            11 => Self::Closing,
            _ => return None,
        })
    }

    /// Returns the name of the state.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Established => "established",
            Self::SynSent => "syn-sent",
            Self::SynReceived => "syn-received",
            Self::FinWait1 => "fin-wait-1",
            Self::FinWait2 => "fin-wait-2",
            Self::TimeWait => "time-wait",
            Self::Closed => "closed",
            Self::CloseWait => "close-wait",
            Self::LastAck => "last-ack",
            Self::Listen => "listen",
            Self::Closing => "closing",
        }
    }

    /// Returns the short name that ss(8) prints.
    pub const fn short_name(self) -> &'static str {
        match self {
            Self::Established => "ESTAB",
            Self::SynSent => "SYN-SENT",
            Self::SynReceived => "SYN-RECV",
            Self::FinWait1 => "FIN-WAIT-1",
            Self::FinWait2 => "FIN-WAIT-2",
            Self::TimeWait => "TIME-WAIT",
            Self::Closed => "UNCONN",
            Self::CloseWait => "CLOSE-WAIT",
            Self::LastAck => "LAST-ACK",
            Self::Listen => "LISTEN",
            Self::Closing => "CLOSING",
        }
    }
}

impl TimerKind {
    /// Returns the name of the timer's purpose.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Keepalive => "keepalive",
            Self::Retransmit => "retransmit",
            Self::ZeroWindow => "zero-window",
        }
    }
}
