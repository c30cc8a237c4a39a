//! The types of a row in the table of options.

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// The name in settings and, after `--`, on the command line.
    pub name: &'static str,
    /// The environment variable, or an empty text.
    pub variable: &'static str,
    /// The flag of the command line, if the option has one.
    pub flag: Option<Flag>,
    /// The valid values, for error messages.
    pub expected: &'static str,
    /// The unit of the number.
    pub unit: Unit,
    /// The smallest and the largest number that the kernel accepts (tcp(7); `net/ipv4/tcp.c`).
    pub range: (u32, u32),
    /// The level for `setsockopt(2)`.
    pub level: i32,
    /// The option's number for `setsockopt(2)` (`include/uapi/linux/tcp.h`).
    pub optname: i32,
    /// The value of the option on a socket on which no program has set it.
    pub kernel_default: KernelDefault,
    /// The state of a socket from which on the option may be set.
    pub stage: Stage,
    /// The option's effect on the handshake.
    pub handshake: Handshake,
    /// The option's position in the order in which options are set, from 0.
    pub order: usize,
    /// How the eBPF programs set the option.
    pub by_ebpf: ByEbpf,
    /// The group of the option.
    pub group: Group,
}

/// The help of a flag.
#[derive(Clone, Copy, Debug)]
pub struct Flag {
    /// The name of the flag's value.
    pub value: &'static str,
    /// The summary: one line, without a full stop.
    pub short: &'static str,
    /// The description: range, default and an example.
    pub long: &'static str,
}

/// The unit of an option's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// On or off.
    Switch,
    /// Whole seconds.
    Seconds,
    /// Milliseconds. In settings the value is a duration: a number without a unit is in seconds.
    Milliseconds,
    /// A number without a unit: probes, tries or bytes.
    Count,
}

/// The value of an option on a socket on which no program has set it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KernelDefault {
    /// Always this number.
    Fixed(u32),
    /// The value of a sysctl of the network namespace (tcp(7)).
    Sysctl {
        /// The name for sysctl(8).
        name: &'static str,
        /// The value unless the administrator changes it (`include/net/tcp.h`).
        built_in: u32,
    },
    /// A value that depends on the route of the connection.
    Route,
}

/// The state of a socket from which on an option may be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// As soon as the socket exists.
    Created,
    /// On listeners only.
    Listening,
    /// When the connection is established; also on listeners, whose connections inherit the option.
    Established,
}

/// The effect of an option on the handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handshake {
    /// None.
    None,
    /// The option affects only the handshake. It must be set before the handshake.
    Only,
    /// The option affects the handshake and the established connection. It must be set before the handshake.
    Also,
}

/// How the eBPF programs set an option.
#[derive(Clone, Copy, Debug)]
pub enum ByEbpf {
    /// The eBPF programs do not set the option.
    No,
    /// The eBPF programs always set the option and replace the program's value.
    Always,
    /// If this field of the kernel is not 0, the program has set the option, and the mode decides. Otherwise the eBPF
    /// programs set the option.
    Unless(KernelField),
}

/// A field that contains the number of an option.
#[derive(Clone, Copy, Debug)]
pub struct KernelField {
    /// The structure that contains the field: `struct tcp_sock`, or a structure at its beginning.
    pub structure: &'static str,
    /// The name of the field in the structure.
    pub name: &'static str,
    /// Whether the field counts jiffies while the option counts seconds.
    pub is_in_jiffies: bool,
}

/// The group of an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// When the kernel probes a connection and ends it. The log and `list` print these options, and the supervisor
    /// catches the program's setsockopt(2) calls for them.
    Keepalive,
    /// All other options.
    Other,
}

impl KernelDefault {
    /// Returns the number unless the administrator has changed the sysctl; `None` if the number depends on the route.
    pub const fn built_in(self) -> Option<u32> {
        match self {
            Self::Fixed(number) | Self::Sysctl { built_in: number, .. } => Some(number),
            Self::Route => None,
        }
    }
}
