//! The one table of the socket options that keepalive sets. Everything that lists options walks it.

/// `SOL_SOCKET` (socket(7)); the same number on every architecture that keepalive supports.
pub const SOL_SOCKET: i32 = 1;
/// `IPPROTO_TCP`, the level of the `TCP_*` options (tcp(7)).
pub const IPPROTO_TCP: i32 = 6;

/// A socket option that keepalive sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketOption {
    /// `SO_KEEPALIVE`: whether the kernel probes an idle connection at all.
    Keepalive,
    /// `TCP_KEEPIDLE`: how long a connection is idle before the first probe.
    Idle,
    /// `TCP_KEEPINTVL`: the time between probes that are not answered.
    Interval,
    /// `TCP_KEEPCNT`: how many unanswered probes end the connection.
    Count,
    /// `TCP_USER_TIMEOUT`: how long sent data, or a probe, may stay unacknowledged (RFC 5482).
    UserTimeout,
    /// `TCP_SYNCNT`: how many times connecting is tried again.
    SynCount,
    /// `TCP_DEFER_ACCEPT`: how long a listener waits for the first data before it shows a connection.
    DeferAccept,
    /// `TCP_MAXSEG`: the largest segment.
    MaxSegment,
    /// `TCP_WINDOW_CLAMP`: the largest receive window that is announced.
    WindowClamp,
}

/// What the number of an option counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// On or off.
    Switch,
    /// Whole seconds.
    Seconds,
    /// Milliseconds for the kernel; written as a duration, where a bare number is seconds.
    Milliseconds,
    /// A bare number: probes, tries or bytes.
    Count,
}

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// The name in settings and, after `--`, on the command line.
    pub name: &'static str,
    /// The environment variable; empty where there is none.
    pub variable: &'static str,
    /// What its number counts.
    pub unit: Unit,
    /// The smallest and the largest number that the kernel accepts (tcp(7); `net/ipv4/tcp.c`).
    pub range: (u32, u32),
    /// The level for `setsockopt(2)`.
    pub level: i32,
    /// The option's number for `setsockopt(2)` (`include/uapi/linux/tcp.h`).
    pub optname: i32,
}

/// The options, in the order in which people think of them.
pub const OPTIONS: [SocketOption; 9] = [
    SocketOption::Keepalive,
    SocketOption::Idle,
    SocketOption::Interval,
    SocketOption::Count,
    SocketOption::UserTimeout,
    SocketOption::SynCount,
    SocketOption::DeferAccept,
    SocketOption::MaxSegment,
    SocketOption::WindowClamp,
];

/// The options that are set as soon as a socket is there, in the order that is right on a live connection too: the idle
/// time, which re-arms a running timer at once, comes when all that the timer uses is in place (`net/ipv4/tcp.c`,
/// `tcp_sock_set_keepidle_locked`). Two are not among them: the user timeout must wait until the connection is
/// established, and `TCP_DEFER_ACCEPT` is for listeners (a client that has it delays its last ACK).
pub const LIVE_ORDER: [SocketOption; 7] = [
    SocketOption::Count,
    SocketOption::Interval,
    SocketOption::Keepalive,
    SocketOption::Idle,
    SocketOption::SynCount,
    SocketOption::MaxSegment,
    SocketOption::WindowClamp,
];

const fn row(
    name: &'static str,
    variable: &'static str,
    unit: Unit,
    range: (u32, u32),
    level: i32,
    optname: i32,
) -> Row {
    Row {
        name,
        variable,
        unit,
        range,
        level,
        optname,
    }
}

impl SocketOption {
    /// The table. A `match` rather than an array: an array's pointers would be relocations in the preload library.
    #[inline]
    pub const fn row(self) -> Row {
        const TCP: i32 = IPPROTO_TCP;
        match self {
            Self::Keepalive => row("keepalive", "KEEPALIVE", Unit::Switch, (0, 1), SOL_SOCKET, 9),
            Self::Idle => row("idle", "KEEPIDLE", Unit::Seconds, (1, 32_767), TCP, 4),
            Self::Interval => row("interval", "KEEPINTVL", Unit::Seconds, (1, 32_767), TCP, 5),
            Self::Count => row("count", "KEEPCNT", Unit::Count, (1, 127), TCP, 6),
            Self::UserTimeout => row(
                "user-timeout",
                "KEEPALIVE_USER_TIMEOUT",
                Unit::Milliseconds,
                (0, 2_147_483_647),
                TCP,
                18,
            ),
            Self::SynCount => row("syn-count", "", Unit::Count, (1, 127), TCP, 7),
            Self::DeferAccept => row("defer-accept", "", Unit::Seconds, (1, 32_767), TCP, 9),
            Self::MaxSegment => row("max-segment", "", Unit::Count, (88, 32_767), TCP, 2),
            Self::WindowClamp => row("window-clamp", "", Unit::Count, (1, 2_147_483_647), TCP, 10),
        }
    }

    /// The option whose number for `setsockopt(2)` this is, if keepalive sets it.
    pub fn from_number(level: i32, optname: i32) -> Option<Self> {
        OPTIONS
            .into_iter()
            .find(|option| option.row().level == level && option.row().optname == optname)
    }

    /// The option of this name.
    pub fn from_name(name: &[u8]) -> Option<Self> {
        OPTIONS.into_iter().find(|option| option.row().name.as_bytes() == name)
    }
}
