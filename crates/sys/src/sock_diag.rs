//! The kernel's information on TCP sockets for every user (`sock_diag(7)`): addresses, state, inode, and the
//! running timer, but none of the options.

use netlink_packet_core::{
    DecodeError, NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload, Nla as _,
};
use netlink_packet_sock_diag::SockDiagMessage;
use netlink_packet_sock_diag::constants::{AF_INET, AF_INET6, IPPROTO_TCP};
use netlink_packet_sock_diag::inet::nlas::Nla as Attribute;
use netlink_packet_sock_diag::inet::{ExtensionFlags, InetRequest, InetResponse, SocketId, StateFlags, Timer as Armed};
use netlink_sys::{Socket, SocketAddr as NetlinkAddr, protocols::NETLINK_SOCK_DIAG};
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
    let mut rows = Vec::new();
    for (family, socket_id) in [(AF_INET, SocketId::new_v4()), (AF_INET6, SocketId::new_v6())] {
        let socket = ask(family, socket_id)?;
        let mut datagram = Vec::with_capacity(BUFFER);
        loop {
            datagram.clear();
            socket.recv(&mut datagram, 0)?;
            if decode(&datagram, &mut rows)? == Progress::Done {
                break;
            }
        }
    }
    Ok(rows)
}

/// The kernel fills up to 32 KiB at once if the reader's buffer is large enough (`net/netlink/af_netlink.c`).
const BUFFER: usize = 32 * 1024;

fn ask(family: u8, socket_id: SocketId) -> io::Result<Socket> {
    let mut socket = Socket::new(NETLINK_SOCK_DIAG)?;
    socket.bind_auto()?;
    socket.connect(&NetlinkAddr::new(0, 0))?;
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | NLM_F_DUMP;
    let request = InetRequest {
        family,
        protocol: IPPROTO_TCP,
        // Requesting information on the connection itself would make the kernel lock each socket.
        extensions: ExtensionFlags::empty(),
        // A connection in TIME_WAIT no longer has a socket.
        states: StateFlags::all() - StateFlags::TIME_WAIT,
        socket_id,
    };
    let mut message = NetlinkMessage::new(header, SockDiagMessage::InetRequest(request).into());
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    socket.send(&bytes, 0)?;
    Ok(socket)
}

/// Whether more of an answer follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// More datagrams follow.
    More,
    /// The answer is complete.
    Done,
}

/// Decodes one datagram of the kernel's answer.
///
/// # Errors
/// The kernel's own error, or `InvalidData` for a datagram that is not such an answer.
pub fn decode(mut datagram: &[u8], rows: &mut Vec<Row>) -> io::Result<Progress> {
    while !datagram.is_empty() {
        let message = NetlinkMessage::<SockDiagMessage>::deserialize(datagram).map_err(invalid)?;
        match message.payload {
            NetlinkPayload::InnerMessage(SockDiagMessage::InetResponse(response)) => {
                rows.extend(row(&response, datagram.get(RETRANS).copied().unwrap_or(0)));
            }
            NetlinkPayload::Done(done) if done.code == 0 => return Ok(Progress::Done),
            // A kernel without CONFIG_INET_TCP_DIAG reports that at the end.
            NetlinkPayload::Done(done) => return Err(refused(done.code)),
            NetlinkPayload::Error(error) if error.code.is_some() => return Err(refused(error.raw_code())),
            _ => {}
        }
        // Messages begin at multiples of four bytes.
        let length = usize::try_from(message.header.length).map_err(io::Error::other)?;
        datagram = datagram.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(Progress::More)
}

/// The kernel's error numbers are negative.
fn refused(code: i32) -> io::Error {
    io::Error::from_raw_os_error(code.saturating_neg())
}

// The crate's error is consumed where it arises.
#[expect(clippy::needless_pass_by_value)]
fn invalid(error: DecodeError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("sock_diag: {error}"))
}

/// The offset of `idiag_retrans` (`include/uapi/linux/inet_diag.h`), after the message's header and three
/// bytes. The crate exposes this field only for retransmissions.
const RETRANS: usize = 16 + 3;

/// Returns the row; `None` for a state that no TCP socket of a process has.
fn row(response: &InetResponse, repeated: u8) -> Option<Row> {
    let header = &response.header;
    let id = &header.socket_id;
    let timer = |kind, expires: std::time::Duration| {
        let expires_ms = u64::try_from(expires.as_millis()).unwrap_or(u64::MAX);
        Some(Timer { kind, expires_ms })
    };
    Some(Row {
        local: SocketAddr::new(id.source_address, id.source_port),
        peer: (id.destination_port != 0).then(|| SocketAddr::new(id.destination_address, id.destination_port)),
        state: State::from_number(header.state)?,
        inode: header.inode.into(),
        cookie: u64::from_ne_bytes(id.cookie),
        cgroup: response.nlas.iter().find_map(cgroup),
        uid: header.uid,
        timer: match header.timer {
            Some(Armed::KeepAlive(expires)) => timer(TimerKind::Keepalive, expires),
            Some(Armed::Retransmit(expires, _)) => timer(TimerKind::Retransmit, expires),
            Some(Armed::Probe(expires)) => timer(TimerKind::ZeroWindow, expires),
            Some(Armed::TimeWait) | None => None,
        },
        unanswered: match header.timer {
            Some(Armed::Retransmit(..)) => None,
            _ => Some(repeated),
        },
    })
}

/// Returns the number of a cgroup if this is that attribute (`INET_DIAG_CGROUP_ID`), which the crate does not
/// support.
fn cgroup(attribute: &Attribute) -> Option<u64> {
    const CGROUP_ID: u16 = 21;
    if attribute.kind() != CGROUP_ID {
        return None;
    }
    let mut bytes = vec![0; attribute.value_len()];
    attribute.emit_value(&mut bytes);
    Some(u64::from_ne_bytes(bytes.try_into().ok()?))
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
