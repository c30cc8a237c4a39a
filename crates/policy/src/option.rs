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
    /// Probes.
    Probes,
}

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// The name in settings and, after `--`, on the command line.
    pub name: &'static str,
    /// The environment variable.
    pub variable: &'static str,
    /// What its number counts.
    pub unit: Unit,
    /// The smallest and the largest number that the kernel accepts (tcp(7); `net/ipv4/tcp.c`, `tcp_sock_set_*`).
    pub range: (u32, u32),
    /// The level for `setsockopt(2)`.
    pub level: i32,
    /// The option's number for `setsockopt(2)`.
    pub optname: i32,
}

/// The options, in the order in which people think of them.
pub const OPTIONS: [SocketOption; 5] = [
    SocketOption::Keepalive,
    SocketOption::Idle,
    SocketOption::Interval,
    SocketOption::Count,
    SocketOption::UserTimeout,
];

impl SocketOption {
    /// The table. A `match` rather than an array: an array's pointers would be relocations in the preload library.
    #[inline]
    pub const fn row(self) -> Row {
        match self {
            Self::Keepalive => Row {
                name: "keepalive",
                variable: "KEEPALIVE",
                unit: Unit::Switch,
                range: (0, 1),
                level: SOL_SOCKET,
                optname: 9,
            },
            Self::Idle => Row {
                name: "idle",
                variable: "KEEPIDLE",
                unit: Unit::Seconds,
                range: (1, 32_767),
                level: IPPROTO_TCP,
                optname: 4,
            },
            Self::Interval => Row {
                name: "interval",
                variable: "KEEPINTVL",
                unit: Unit::Seconds,
                range: (1, 32_767),
                level: IPPROTO_TCP,
                optname: 5,
            },
            Self::Count => Row {
                name: "count",
                variable: "KEEPCNT",
                unit: Unit::Probes,
                range: (1, 127),
                level: IPPROTO_TCP,
                optname: 6,
            },
            Self::UserTimeout => Row {
                name: "user-timeout",
                variable: "KEEPALIVE_USER_TIMEOUT",
                unit: Unit::Milliseconds,
                range: (0, 2_147_483_647),
                level: IPPROTO_TCP,
                optname: 18,
            },
        }
    }
}

/// The keepalive options in the order that is right on a live connection too: the idle time, which re-arms a running
/// timer at once, comes last, when all that the timer uses is in place (`net/ipv4/tcp.c`, `tcp_sock_set_keepidle_locked`).
/// The user timeout is not among them: it must wait until the connection is established.
pub const LIVE_ORDER: [SocketOption; 4] = [
    SocketOption::Count,
    SocketOption::Interval,
    SocketOption::Keepalive,
    SocketOption::Idle,
];
