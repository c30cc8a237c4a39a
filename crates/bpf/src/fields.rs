//! Where the kernel's structures have what programs read of them, and in which units.

use crate::assembler::Size;
use crate::kernel_types::KernelTypes;
use keepalive_policy::option::{BY_EBPF, ByEbpf, KernelDefault, KernelField, Row};
use keepalive_sys::clock::coarse_resolution;
use std::io;

/// What a program reads of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fields {
    /// Where the socket has what was set of each option, in the order of [`BY_EBPF`]; 0 where nothing was.
    pub set: [Option<Field>; BY_EBPF.len()],
    /// How many jiffies are a second.
    pub hz: i32,
    /// What counts where those are 0.
    pub defaults: Option<Defaults>,
}

/// Where a structure has a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// In bytes from its beginning.
    pub offset: i16,
    /// How large the number is.
    pub size: Size,
}

/// The sysctls of a socket's network namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Defaults {
    /// The pointer to the namespace in `struct tcp_sock`.
    pub namespace: i16,
    /// Where the namespace has the default of each option, in the order of [`BY_EBPF`], in the unit of the socket's own number.
    pub sysctls: [Option<Field>; BY_EBPF.len()],
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
        let set = of_each(|row| match row.by_ebpf {
            ByEbpf::Unless(KernelField { structure, name, .. }) => Some(Field::find(types, structure, name)),
            ByEbpf::Always | ByEbpf::No => None,
        });
        Some(Self {
            set: set?,
            hz: jiffies_per_second().ok()?,
            defaults: if with_defaults {
                Some(Defaults::find(types)?)
            } else {
                None
            },
        })
    }
}

impl Field {
    fn find(types: &KernelTypes, structure: &str, name: &str) -> Option<Self> {
        let (offset, bytes) = types.number(structure, name)?;
        let size = match bytes {
            1 => Size::Byte,
            4 => Size::Word,
            _ => return None,
        };
        Some(Self { offset, size })
    }
}

impl Defaults {
    fn find(types: &KernelTypes) -> Option<Self> {
        let ipv4 = types.offset("net", "ipv4")?;
        let within = |name: &str| {
            let field = Field::find(types, "netns_ipv4", &format!("sysctl_{name}"))?;
            let offset = ipv4.checked_add(field.offset)?;
            Some(Field { offset, ..field })
        };
        let sysctls = of_each(|row| match row.kernel_default {
            KernelDefault::Sysctl { name, .. } => Some(within(name.rsplit('.').next()?)),
            KernelDefault::Fixed(_) | KernelDefault::Route => None,
        });
        Some(Self {
            namespace: types.offset("sock_common", "skc_net")?,
            sysctls: sysctls?,
        })
    }
}

/// A field for each option of [`BY_EBPF`] that `find` looks for one of; `None` where it does not find one.
fn of_each(find: impl Fn(Row) -> Option<Option<Field>>) -> Option<[Option<Field>; BY_EBPF.len()]> {
    let mut fields = [None; BY_EBPF.len()];
    for (option, field) in BY_EBPF.into_iter().zip(&mut fields) {
        if let Some(found) = find(option.row()) {
            *field = Some(found?);
        }
    }
    Some(fields)
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
