//! The end of a TCP connection, as the kernel shows it.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

/// The end of a TCP connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ending {
    /// When it ended.
    pub time: SystemTime,
    /// The process that held the socket; `None` if the socket was gone before its holder was known.
    pub owner: Option<Owner>,
    /// The path of the socket's cgroup below the cgroup file system; `None` if it is not known any more.
    pub cgroup: Option<String>,
    /// The id of the container, if the cgroup's path contains one.
    pub container: Option<String>,
    /// The local address; IPv4 if an IPv6 socket uses IPv4.
    pub local: SocketAddr,
    /// The peer's address, likewise.
    pub peer: SocketAddr,
    /// `None` if the start was not seen.
    pub direction: Option<Direction>,
    /// What ended the connection.
    pub cause: Cause,
    /// The time without data or answers in either direction before what ended the connection.
    pub idle: Duration,
    /// `None` if the start was not seen.
    pub lived: Option<Duration>,
    /// What the socket had set at its end.
    pub settings: Settings,
    /// Keepalive probes without an answer.
    pub unanswered_probes: u32,
    /// Retransmissions of the last data without an answer.
    pub retransmits: u32,
    /// The socket's error as errno; `None` if there was none.
    pub errno: Option<i32>,
}

/// A process that holds a socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The number of the process.
    pub pid: u32,
    /// The name of its program.
    pub program: OsString,
}

/// Who began a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Direction {
    /// This end, by connect(2).
    Connect,
    /// The peer.
    Accept,
}

/// What ended a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Cause {
    /// Keepalive probes got no answer.
    DeadPeer,
    /// RST in answer to a keepalive probe.
    ResetOnProbe,
    /// RST in answer to the first data after the idle time: the path or the peer had forgotten the connection.
    ResetOnSend,
    /// Data after the idle time were never acknowledged.
    TimeoutOnSend,
    /// RST that nothing provoked.
    Reset,
    /// FIN from the peer.
    ClosedByPeer,
    /// The program closed the socket, or ended.
    Closed,
    /// Anything else, as `ss --kill`.
    Other,
}

/// The keepalive settings of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Whether keepalive is on.
    pub is_on: bool,
    /// Seconds; the values in effect, whether set on the socket or by a sysctl.
    pub idle: u32,
    /// Seconds, likewise.
    pub interval: u32,
    /// Probes, likewise.
    pub count: u32,
    /// Milliseconds; 0 if unset.
    pub user_timeout: u32,
}

impl Direction {
    /// Returns the name in JSON and in rules.
    pub fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Accept => "accept",
        }
    }
}

impl Cause {
    /// All causes.
    pub const ALL: [Self; 8] = [
        Self::DeadPeer,
        Self::ResetOnProbe,
        Self::ResetOnSend,
        Self::TimeoutOnSend,
        Self::Reset,
        Self::ClosedByPeer,
        Self::Closed,
        Self::Other,
    ];

    /// Returns the name in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::DeadPeer => "dead-peer",
            Self::ResetOnProbe => "reset-on-probe",
            Self::ResetOnSend => "reset-on-send",
            Self::TimeoutOnSend => "timeout-on-send",
            Self::Reset => "reset",
            Self::ClosedByPeer => "closed-by-peer",
            Self::Closed => "closed",
            Self::Other => "other",
        }
    }
}
