//! Where the kernel's structures have what programs read of them, and in which units.

use crate::kernel_types::KernelTypes;
use keepalive_sys::clock::coarse_resolution;
use std::io;

/// What a program reads of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fields {
    /// `keepalive_time` in `struct tcp_sock`, in jiffies.
    pub idle: i16,
    /// `keepalive_intvl`, in jiffies.
    pub interval: i16,
    /// `keepalive_probes`, a byte.
    pub count: i16,
    /// `icsk_user_timeout`, in milliseconds.
    pub user_timeout: i16,
    /// How many jiffies are a second.
    pub hz: i32,
    /// What counts where those are 0.
    pub defaults: Option<Defaults>,
}

/// The sysctls of a socket's network namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Defaults {
    /// The pointer to the namespace in `struct tcp_sock`.
    pub namespace: i16,
    /// `tcp_keepalive_time` there, in jiffies.
    pub idle: i16,
    /// `tcp_keepalive_intvl`, in jiffies.
    pub interval: i16,
    /// `tcp_keepalive_probes`.
    pub count: i16,
    /// Whether that is a byte, as since Linux 5.13.
    pub is_count_a_byte: bool,
}

/// Where the name of a task stands, and how it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaskFields {
    /// `group_leader` in `struct task_struct`.
    pub leader: i16,
    /// `comm` in it.
    pub name: i16,
    /// By which helpers.
    pub read: ReadTask,
}

/// How a task is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadTask {
    /// By `bpf_get_current_task_btf()` (Linux 5.11).
    Typed,
    /// By `bpf_probe_read_kernel()` (Linux 5.5), which a kernel that is locked down refuses.
    Copied,
}

// The structures begin with each other: `struct tcp_sock` with `inet_connection_sock`, that with `inet_sock`, that with `sock`,
// and that with `sock_common`.
impl Fields {
    /// In the running kernel; with the defaults where that is asked for.
    pub fn find(types: &KernelTypes, with_defaults: bool) -> Option<Self> {
        Some(Self {
            idle: types.offset("tcp_sock", "keepalive_time")?,
            interval: types.offset("tcp_sock", "keepalive_intvl")?,
            count: types.offset("tcp_sock", "keepalive_probes")?,
            user_timeout: types.offset("inet_connection_sock", "icsk_user_timeout")?,
            hz: jiffies_per_second().ok()?,
            defaults: if with_defaults {
                Some(Defaults::find(types)?)
            } else {
                None
            },
        })
    }
}

impl Defaults {
    fn find(types: &KernelTypes) -> Option<Self> {
        let ipv4 = types.offset("net", "ipv4")?;
        let within = |field| types.number("netns_ipv4", field);
        let number = |field| within(field).filter(|(_, size)| *size == 4);
        let (count, size) = within("sysctl_tcp_keepalive_probes")?;
        Some(Self {
            namespace: types.offset("sock_common", "skc_net")?,
            idle: ipv4.checked_add(number("sysctl_tcp_keepalive_time")?.0)?,
            interval: ipv4.checked_add(number("sysctl_tcp_keepalive_intvl")?.0)?,
            count: ipv4.checked_add(count)?,
            is_count_a_byte: match size {
                1 => true,
                4 => false,
                _ => return None,
            },
        })
    }
}

impl TaskFields {
    /// In the running kernel.
    pub fn find(types: &KernelTypes, read: ReadTask) -> Option<Self> {
        Some(Self {
            leader: types.offset("task_struct", "group_leader")?,
            name: types.offset("task_struct", "comm")?,
            read,
        })
    }
}

/// `CONFIG_HZ`: the coarse clock advances once a jiffy.
fn jiffies_per_second() -> io::Result<i32> {
    const NANOSECONDS: i64 = 1_000_000_000;
    match coarse_resolution()? {
        // A jiffy of 300 Hz is no whole number of nanoseconds.
        jiffy @ 100_000..NANOSECONDS => Ok(i32::try_from((NANOSECONDS + jiffy / 2) / jiffy).unwrap_or(i32::MAX)),
        jiffy => Err(io::Error::other(format!("a jiffy of {jiffy} ns"))),
    }
}
