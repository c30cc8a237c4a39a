//! What a row of the table of options has.

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// The name in settings and, after `--`, on the command line.
    pub name: &'static str,
    /// The environment variable; empty where there is none.
    pub variable: &'static str,
    /// The flag of the command line, if there is one.
    pub flag: Option<Flag>,
    /// The values that are accepted, for error messages.
    pub expected: &'static str,
    /// What its number counts.
    pub unit: Unit,
    /// The smallest and the largest number that the kernel accepts (tcp(7); `net/ipv4/tcp.c`).
    pub range: (u32, u32),
    /// The level for `setsockopt(2)`.
    pub level: i32,
    /// The option's number for `setsockopt(2)` (`include/uapi/linux/tcp.h`).
    pub optname: i32,
    /// What the option is on a socket on which nothing has set it.
    pub kernel_default: KernelDefault,
    /// From when on a socket may have it.
    pub stage: Stage,
    /// Its effect on the handshake.
    pub handshake: Handshake,
    /// Its place in the order in which options are set, from 0 on.
    pub order: usize,
    /// How the eBPF programs set it.
    pub by_ebpf: ByEbpf,
    /// What it is about.
    pub group: Group,
}

/// The help of a flag.
#[derive(Clone, Copy, Debug)]
pub struct Flag {
    /// The name of its value.
    pub value: &'static str,
    /// One line, without a full stop.
    pub short: &'static str,
    /// Range, default and an example.
    pub long: &'static str,
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

/// What an option is on a socket on which nothing has set it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KernelDefault {
    /// Always this number.
    Fixed(u32),
    /// The value of a sysctl of the network namespace (tcp(7)).
    Sysctl {
        /// Its name for sysctl(8).
        name: &'static str,
        /// Its value unless the administrator changes it (`include/net/tcp.h`).
        built_in: u32,
    },
    /// It depends on the route of the connection.
    Route,
}

/// From when on a socket may have an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// As soon as the socket exists.
    Created,
    /// On listeners only.
    Listening,
    /// When the connection is established; on listeners, whose connections inherit it.
    Established,
}

/// The effect of an option on the handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handshake {
    /// None.
    None,
    /// It has no other effect: it must be there before, and does nothing afterwards.
    Only,
    /// It must be there before, and has an effect afterwards, too.
    Also,
}

/// How the eBPF programs set an option.
#[derive(Clone, Copy, Debug)]
pub enum ByEbpf {
    /// They do not.
    No,
    /// Whatever the program has set.
    Always,
    /// As the mode says, where the program has set it: then this field of the kernel is not 0.
    Unless(KernelField),
}

/// A field that contains the number of an option.
#[derive(Clone, Copy, Debug)]
pub struct KernelField {
    /// One of the structures that `struct tcp_sock` begins with, or itself.
    pub structure: &'static str,
    /// Its name in it.
    pub name: &'static str,
    /// Whether it counts jiffies where the option counts seconds.
    pub is_in_jiffies: bool,
}

/// What an option is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// When a connection is probed and given up: the log and `list` print these options, and the supervisor catches the
    /// program's own setsockopt(2) of them.
    Keepalive,
    /// Something else.
    Other,
}

impl KernelDefault {
    /// The number unless the administrator has changed the sysctl; `None` where it depends on the route.
    pub const fn built_in(self) -> Option<u32> {
        match self {
            Self::Fixed(number) | Self::Sysctl { built_in: number, .. } => Some(number),
            Self::Route => None,
        }
    }
}
