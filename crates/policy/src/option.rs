//! Defines the table of the socket options that keepalive sets. All lists of options are derived from this table, so a
//! new option requires only a new row.

mod row;

pub use row::{ByEbpf, Flag, Group, Handshake, KernelDefault, KernelField, Row, Stage, Unit};

/// `SOL_SOCKET` (socket(7)); the same number on every architecture that keepalive supports.
pub const SOL_SOCKET: i32 = 1;
/// `IPPROTO_TCP`, the level of the `TCP_*` options (tcp(7)).
pub const IPPROTO_TCP: i32 = 6;

/// The base of the rows of [`Group::Other`]: a TCP option that affects only the handshake. The rows override what
/// differs.
const OTHER: Row = Row {
    name: "",
    variable: "",
    flag: None,
    expected: "",
    unit: Unit::Count,
    range: (0, 0),
    level: IPPROTO_TCP,
    optname: 0,
    kernel_default: KernelDefault::Route,
    stage: Stage::Created,
    handshake: Handshake::Only,
    order: 0,
    by_ebpf: ByEbpf::No,
    group: Group::Other,
};

/// The base of the rows of [`Group::Keepalive`]. The rows override what differs.
const TIMING: Row = Row {
    unit: Unit::Seconds,
    range: (1, 32_767),
    handshake: Handshake::None,
    group: Group::Keepalive,
    ..OTHER
};

/// Defines the options, their list and their rows. The rows are a `match`, because the pointers in an array would need
/// relocations in the preload library.
macro_rules! table {
    ($($(#[$documentation:meta])+ $option:ident = $row:expr;)+) => {
        /// A socket option that keepalive sets.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum SocketOption {
            $($(#[$documentation])+ $option,)+
        }

        /// The options, in the order in which keepalive lists them.
        pub const OPTIONS: [SocketOption; [$(SocketOption::$option),+].len()] = [$(SocketOption::$option),+];

        impl SocketOption {
            /// Returns the option's row of the table.
            #[inline]
            pub const fn row(self) -> Row {
                match self {
                    $(Self::$option => $row,)+
                }
            }
        }
    };
}

// The order also works on a live connection. Setting the idle time re-arms a running timer at once, so all values that
// the timer uses are set before (`net/ipv4/tcp.c`, `tcp_sock_set_keepidle_locked`). The user timeout comes last,
// because it may be computed from the other options.
table! {
    /// `SO_KEEPALIVE`: whether the kernel probes an idle connection.
    Keepalive = Row {
        name: "keepalive",
        variable: "KEEPALIVE",
        expected: "on, off or skip",
        unit: Unit::Switch,
        range: (0, 1),
        level: SOL_SOCKET,
        optname: 9,
        kernel_default: KernelDefault::Fixed(0),
        order: 2,
        by_ebpf: ByEbpf::Always,
        ..TIMING
    };

    /// `TCP_KEEPIDLE`: how long a connection is idle before the first probe.
    Idle = Row {
        name: "idle",
        variable: "KEEPIDLE",
        flag: Some(Flag {
            value: "TIME",
            short: "Idle time before the first probe",
            long: "TCP_KEEPIDLE, 1 to 32767 seconds: 90, 90s, 5m or 2h. Example: --idle 5m",
        }),
        expected: SECONDS,
        optname: 4,
        kernel_default: KernelDefault::Sysctl { name: "net.ipv4.tcp_keepalive_time", built_in: 7200 },
        order: 3,
        by_ebpf: ByEbpf::Unless(KernelField { structure: "tcp_sock", name: "keepalive_time", is_in_jiffies: true }),
        ..TIMING
    };

    /// `TCP_KEEPINTVL`: the time between unanswered probes.
    Interval = Row {
        name: "interval",
        variable: "KEEPINTVL",
        flag: Some(Flag {
            value: "TIME",
            short: "Time between unanswered probes",
            long: "TCP_KEEPINTVL, 1 to 32767 seconds. Example: --interval 15",
        }),
        expected: SECONDS,
        optname: 5,
        kernel_default: KernelDefault::Sysctl { name: "net.ipv4.tcp_keepalive_intvl", built_in: 75 },
        order: 1,
        by_ebpf: ByEbpf::Unless(KernelField { structure: "tcp_sock", name: "keepalive_intvl", is_in_jiffies: true }),
        ..TIMING
    };

    /// `TCP_KEEPCNT`: how many unanswered probes end the connection.
    Count = Row {
        name: "count",
        variable: "KEEPCNT",
        flag: Some(Flag {
            value: "N",
            short: "Unanswered probes that end the connection",
            long: "TCP_KEEPCNT, 1 to 127. A dead peer is detected after idle + interval x count. Example: --count 5",
        }),
        expected: "1 to 127 probes, such as 5",
        unit: Unit::Count,
        range: (1, 127),
        optname: 6,
        kernel_default: KernelDefault::Sysctl { name: "net.ipv4.tcp_keepalive_probes", built_in: 9 },
        order: 0,
        by_ebpf: ByEbpf::Unless(KernelField { structure: "tcp_sock", name: "keepalive_probes", is_in_jiffies: false }),
        ..TIMING
    };

    /// `TCP_USER_TIMEOUT`: how long sent data, or a probe, may stay unacknowledged (RFC 5482). Set before connect(2),
    /// the option also limits the handshake.
    UserTimeout = Row {
        name: "user-timeout",
        variable: "KEEPALIVE_USER_TIMEOUT",
        flag: Some(Flag {
            value: "TIME",
            short: "How long sent data may stay unacknowledged",
            long: "TCP_USER_TIMEOUT: off, a time up to 2147483647ms, or auto (idle + interval x count). With a user timeout \
                   the kernel ignores the count, and ends connections to a peer that stops reading. Default: off. Example: \
                   --user-timeout auto",
        }),
        expected: "off, auto, or up to 2147483647ms, such as 30, 1500ms, 30s or 2m",
        unit: Unit::Milliseconds,
        range: (0, 2_147_483_647),
        optname: 18,
        kernel_default: KernelDefault::Fixed(0),
        stage: Stage::Established,
        order: 8,
        by_ebpf: ByEbpf::Unless(KernelField {
            structure: "inet_connection_sock",
            name: "icsk_user_timeout",
            is_in_jiffies: false,
        }),
        ..TIMING
    };

    /// `TCP_SYNCNT`: how many times the kernel retransmits a SYN.
    SynCount = Row {
        name: "syn-count",
        expected: "1 to 127 tries",
        range: (1, 127),
        optname: 7,
        kernel_default: KernelDefault::Sysctl { name: "net.ipv4.tcp_syn_retries", built_in: 6 },
        order: 4,
        ..OTHER
    };

    /// `TCP_DEFER_ACCEPT`: how long the kernel waits for the first data before accept(2) returns a connection. On a
    /// client, the option delays the last ACK of the handshake.
    DeferAccept = Row {
        name: "defer-accept",
        expected: SECONDS,
        unit: Unit::Seconds,
        range: (1, 32_767),
        optname: 9,
        kernel_default: KernelDefault::Fixed(0),
        stage: Stage::Listening,
        order: 7,
        ..OTHER
    };

    /// `TCP_MAXSEG`: the maximum segment size.
    MaxSegment = Row {
        name: "max-segment",
        expected: "88 to 32767 bytes",
        range: (88, 32_767),
        optname: 2,
        order: 5,
        ..OTHER
    };

    /// `TCP_WINDOW_CLAMP`: the maximum receive window that the kernel advertises.
    WindowClamp = Row {
        name: "window-clamp",
        expected: "1 to 2147483647 bytes",
        range: (1, 2_147_483_647),
        optname: 10,
        handshake: Handshake::Also,
        order: 6,
        ..OTHER
    };
}

const SECONDS: &str = "1 to 32767 seconds, such as 90, 90s, 5m or 2h";

/// All options, in the order in which keepalive sets them.
const IN_ORDER: [SocketOption; OPTIONS.len()] = {
    let mut ordered = [None; OPTIONS.len()];
    let mut index = 0;
    while index < OPTIONS.len() {
        let place = OPTIONS[index].row().order;
        assert!(ordered[place].is_none(), "two options have the same place in the order");
        ordered[place] = Some(OPTIONS[index]);
        index += 1;
    }
    let mut all = OPTIONS;
    while index > 0 {
        index -= 1;
        if let Some(option) = ordered[index] {
            all[index] = option;
        }
    }
    all
};

/// Defines the list of the options of `$all` whose row meets a condition, in the same order.
macro_rules! options_where {
    ($(#[$documentation:meta])+ $name:ident = $all:ident where $row:ident: $condition:expr) => {
        $(#[$documentation])+
        pub const $name: [SocketOption; {
            let (mut count, mut index) = (0, 0);
            while index < $all.len() {
                let $row = $all[index].row();
                count += $condition as usize;
                index += 1;
            }
            count
        }] = {
            let mut options = [$all[0]; _];
            let (mut count, mut index) = (0, 0);
            while index < $all.len() {
                let $row = $all[index].row();
                if $condition {
                    options[count] = $all[index];
                    count += 1;
                }
                index += 1;
            }
            options
        };
    };
}

options_where! {
    /// The options that are set on every new socket, in the order in which they are set.
    LIVE_ORDER = IN_ORDER where row: matches!(row.stage, Stage::Created)
}
options_where! {
    /// The options that are set on listeners in addition to [`LIVE_ORDER`].
    FOR_LISTENERS = IN_ORDER where row: !matches!(row.stage, Stage::Created)
}
options_where! {
    /// The options that affect the handshake.
    FOR_HANDSHAKES = IN_ORDER where row: !matches!(row.handshake, Handshake::None)
}
options_where! {
    /// The options that must be set before a socket listens: the options that affect the handshake, and the options
    /// that accepted connections inherit.
    BEFORE_LISTEN = IN_ORDER where row: !matches!((row.stage, row.handshake), (Stage::Created, Handshake::None))
}
options_where! {
    /// The options that the eBPF programs set, in this order.
    BY_EBPF = IN_ORDER where row: !matches!(row.by_ebpf, ByEbpf::No)
}
options_where! {
    /// The options whose default is a sysctl of the network namespace.
    WITH_SYSCTL = IN_ORDER where row: matches!(row.kernel_default, KernelDefault::Sysctl { .. })
}
options_where! {
    /// The options of [`Group::Keepalive`], in the order in which keepalive lists them.
    KEEPALIVE = OPTIONS where row: matches!(row.group, Group::Keepalive)
}
options_where! {
    /// The options of [`Group::Other`].
    OTHERS = OPTIONS where row: matches!(row.group, Group::Other)
}

impl SocketOption {
    /// Returns the option with this level and number for `setsockopt(2)`; `None` if keepalive does not set it.
    pub fn from_number(level: i32, optname: i32) -> Option<Self> {
        OPTIONS
            .into_iter()
            .find(|option| option.row().level == level && option.row().optname == optname)
    }

    /// Returns the option with this name.
    pub fn from_name(name: &[u8]) -> Option<Self> {
        OPTIONS.into_iter().find(|option| option.row().name.as_bytes() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_time_is_set_after_what_its_timer_uses_and_user_timeout_last() {
        let place = |option| IN_ORDER.iter().position(|other| *other == option);
        for option in [SocketOption::Count, SocketOption::Interval, SocketOption::Keepalive] {
            assert!(place(option) < place(SocketOption::Idle), "{option:?}");
        }
        assert_eq!(IN_ORDER.last(), Some(&SocketOption::UserTimeout));
        for option in OPTIONS {
            assert_eq!(place(option), Some(option.row().order), "{option:?}");
        }
    }

    #[test]
    fn numbers_without_a_user_are_within_the_range_or_off() {
        for option in OPTIONS {
            let row = option.row();
            let built_in = row.kernel_default.built_in().unwrap_or(row.range.0);
            assert!(
                built_in == 0 || (row.range.0..=row.range.1).contains(&built_in),
                "{option:?}"
            );
        }
    }
}
